"""What holds for every plan, whatever the machine and the request."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from itertools import chain

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from frontend_launch.errors import PlacementError
from frontend_launch.integers import core_ranges
from frontend_launch.launch.placement import Placement
from frontend_launch.launch.placement_request import CONTAINERS, FRONTENDS, PlacementRequest, with_frontends
from frontend_launch.launch.planner import plan
from frontend_launch.launch.topology import Topology, describe


@st.composite
def topologies(draw: st.DrawFn) -> Topology:
    """Machines with up to twelve cores and three GPUs, of which more may be known."""
    if draw(st.booleans()):
        threads, nodes = draw(st.sampled_from([1, 2])), draw(st.sampled_from([1, 2]))
        cores = threads * nodes * draw(st.integers(1, 4))
        whole = describe(f"cpus=0-{cores - 1},gpus=0-{draw(st.integers(0, 2))},smt={threads},numa={nodes}")
        return draw(st.just(whole) | st.sets(st.sampled_from(whole.cores), min_size=1).map(partial(_within, whole)))
    chosen = draw(st.sets(st.integers(0, 20), min_size=1, max_size=12))
    return Topology(tuple(sorted(chosen)), tuple(range(draw(st.integers(0, 3)))), "here")


def _within(whole: Topology, usable: set[int]) -> Topology:
    """A machine of which a process may use some cores only, also single threads of physical cores."""
    siblings = (tuple(core for core in group if core in usable) for group in whole.siblings)
    nodes = (replace(node, cores=tuple(core for core in node.cores if core in usable)) for node in whole.numa_nodes)
    return replace(
        whole,
        cores=tuple(sorted(usable)),
        siblings=tuple(group for group in siblings if len(group) > 1),
        numa_nodes=tuple(node for node in nodes if node.cores),
    )


@st.composite
def problems(draw: st.DrawFn) -> tuple[Topology, PlacementRequest]:
    """A machine and a request that mostly names what exists, so that plans are as frequent as refusals."""
    topology = draw(topologies())
    shuffled = draw(st.permutations(topology.cores))
    cuts = sorted(draw(st.lists(st.integers(0, len(shuffled)), min_size=2, max_size=2)))
    wild = st.lists(st.integers(-1, 21), max_size=3).map(tuple) if draw(st.integers(0, 4)) == 0 else st.nothing()
    infrastructure = draw(st.sampled_from([FRONTENDS, FRONTENDS, CONTAINERS, CONTAINERS, ()]))
    if infrastructure:
        infrastructure = with_frontends(infrastructure, draw(st.sampled_from([1, 1, 2, 3])))
    roles = {service.role for service in infrastructure}
    named = tuple(shuffled[cuts[1] :])
    request = PlacementRequest(
        replicas=draw(st.sampled_from([1, 1, 1, 2, 2, 3, 4, 0])),
        cpus_per_replica=draw(st.sampled_from([1, 1, 1, 1, 2, 2, 3, 0])),
        cpus=draw(st.sampled_from([None, tuple(shuffled[: cuts[0]]) or None]) | wild),
        gpus=draw(st.sampled_from([(), topology.gpus, topology.gpus[::-1]]) | wild),
        client_cpus=draw(st.sampled_from([None, tuple(shuffled[cuts[0] : cuts[1]]) or None]) | wild),
        infrastructure=infrastructure,
        infrastructure_cpus=dict.fromkeys(draw(st.sets(st.sampled_from(sorted(roles)))), named)
        if roles and named
        else {},
        allow_overlap=draw(st.sampled_from([False, False, False, True])),
    )
    return topology, request


@given(problems())
def test_a_plan_keeps_its_promises(problem):
    """Either a refusal, or every replica has its cores, no two replicas share, and sharing is marked."""
    topology, request = problem
    try:
        placement = plan(topology, request)
    except PlacementError:
        return
    roles = [a.role for a in placement.assignments]
    replicas = [a for a in placement.assignments if a.role.startswith("replica-")]

    expected = ["client", *(role for service in request.infrastructure for role in service.roles)]
    assert roles == expected + [f"replica-{i}" for i in range(request.replicas)]
    assert all(len(set(a.cores)) == len(a.cores) == request.cpus_per_replica for a in replicas)
    assert all(a.cores and set(a.cores) <= set(topology.cores) for a in placement.assignments)
    assert all(a.numa_nodes == topology.memory_of(a.cores) for a in placement.assignments)
    replica_cores = [core for a in replicas for core in a.cores]
    gpus = tuple(a.gpu for a in replicas if a.gpu is not None)
    assert gpus == request.gpus[: request.replicas]
    assert len(set(gpus)) == len(gpus)
    for a in placement.assignments:
        others = {core for b in placement.assignments if b is not a for core in b.cores}
        assert a.shared == bool(others & set(a.cores))
        threads = {thread for core in a.cores for thread in topology.physical(core)}
        assert a.shares_physical == bool(others & threads), "sharing of physical cores is marked"
    if request.client_cpus:
        assert set(placement["client"].cores) == set(request.client_cpus)
    for role, cores in request.infrastructure_cpus.items():
        of_processes = [a.cores for a in placement.of(role)]
        assert set(chain(*of_processes)) == set(cores[: max(len(cores), len(of_processes))])
    if request.cpus:
        assert all(set(a.cores) <= set(request.cpus) for a in replicas if a.gpu is None)
    if not request.allow_overlap:
        assert not placement.overlaps
        assert len(replica_cores) == len(set(replica_cores))
        if len(topology.cores) > len(replica_cores):
            assert not any(a.shared for a in replicas if a.gpu is None), "there was a core for the others"
        assert not (_sharing(placement, request) and _unused(topology, placement, request)), "there was another core"


def _sharing(placement: Placement, request: PlacementRequest) -> list[str]:
    """Those on a physical core of others whose cores the planner chose."""
    named = {"client"} if request.client_cpus else set()
    named |= {a.role for role in request.infrastructure_cpus for a in placement.of(role)}
    named |= {a.role for a in placement.replicas if request.cpus and a.gpu is None}
    return [a.role for a in placement.assignments if a.shares_physical and a.role not in named]


def _unused(topology: Topology, placement: Placement, request: PlacementRequest) -> list[int]:
    """The cores whose physical core is neither assigned nor named."""
    taken = {core for a in placement.assignments for core in a.cores}
    taken |= {*request.named_for_others, *(request.cpus or ())}
    return [core for core in topology.cores if taken.isdisjoint(topology.physical(core))]


@example((describe("cpus=0-1"), PlacementRequest(cpus_per_replica=2, infrastructure=with_frontends(FRONTENDS, 2))))
@given(problems())
def test_naming_what_the_planner_chose_changes_nothing(problem):
    """The cores that the planner chose for CPU replicas can be named, and the same plan comes out."""
    topology, request = problem
    try:
        placement = plan(topology, replace(request, cpus=None, allow_overlap=False))
    except PlacementError:
        return
    chosen = [a.cores for a in placement.assignments if a.role.startswith("replica-") and a.gpu is None]
    if chosen and not topology.siblings and not topology.numa_nodes:
        named = replace(request, cpus=tuple(chain(*chosen)), allow_overlap=False)
        assert plan(topology, named) == placement


@given(
    physical=st.integers(1, 8),
    threads=st.sampled_from([1, 2, 4]),
    replicas=st.integers(1, 6),
    each=st.integers(1, 5),
    data=st.data(),
)
def test_replicas_share_no_physical_core_where_there_are_enough(physical, threads, replicas, each, data):
    """With whole physical cores for each replica, no two replicas meet on one, whether their cores are named or not."""
    topology = describe(f"cpus=0-{physical * threads - 1},gpus=0-5,smt={threads}")
    named = data.draw(st.none() | st.permutations(topology.cores).map(tuple))
    if replicas * -(-each // threads) > physical:
        return
    placement = plan(topology, PlacementRequest(replicas, each, named))
    threads_of = [{t for core in a.cores for t in topology.physical(core)} for a in placement.replicas]
    assert sum(map(len, threads_of)) == len(set().union(*threads_of))


@st.composite
def whole_machines(draw: st.DrawFn) -> Topology:
    """Machines in words, with up to 64 cores, as `--topology` takes them."""
    threads, nodes = draw(st.sampled_from([1, 2, 4])), draw(st.sampled_from([1, 2, 4]))
    cores = threads * nodes * draw(st.integers(1, 16 // nodes))
    gpus = draw(st.integers(0, 8))
    return describe(f"cpus=0-{cores - 1},gpus={f'0-{gpus - 1}' if gpus else 'none'},smt={threads},numa={nodes}")


@st.composite
def unnamed_requests(draw: st.DrawFn) -> PlacementRequest:
    """Requests that name no cores."""
    frontends = draw(st.integers(1, 3))
    return PlacementRequest(
        replicas=draw(st.integers(frontends, 10)),
        cpus_per_replica=draw(st.integers(1, 5)),
        infrastructure=with_frontends(draw(st.sampled_from([FRONTENDS, CONTAINERS])), frontends),
        clients=draw(st.integers(1, 6)),
    )


@given(whole_machines(), unnamed_requests(), st.integers(0, 8))
def test_nobody_shares_a_physical_core_where_there_are_enough(topology, request, gpus):
    """With a physical core for each process, and whole ones for each replica."""
    request = replace(request, gpus=topology.gpus[:gpus])
    threads = max(map(len, topology.siblings), default=1)
    processes = 1 + sum(service.processes for service in request.infrastructure)
    if request.replicas * -(-request.cpus_per_replica // threads) + processes > len(topology.cores) // threads:
        return
    placement = plan(topology, request)
    assert not [a.role for a in placement.assignments if a.shares_physical]


@given(whole_machines(), unnamed_requests(), st.integers(0, 8))
def test_a_frontend_is_on_the_node_of_its_replicas_where_it_can(topology, request, gpus):
    """Two cores on one of these nodes, on no physical core of another process, would do."""
    request = replace(
        request,
        gpus=topology.gpus[:gpus],
        infrastructure=with_frontends(FRONTENDS, request.infrastructure[-1].processes),
    )
    try:
        placement = plan(topology, request)
    except PlacementError:
        return
    frontends = placement.of("frontends")
    used = {t for a in placement.assignments for core in a.cores for t in topology.physical(core)}
    for number, frontend in enumerate(frontends):
        fed = {node for a in placement.replicas[number :: len(frontends)] for node in a.numa_nodes}
        free = [core for node in topology.numa_nodes if node.number in fed for core in node.cores if core not in used]
        assert set(frontend.numa_nodes) <= fed or len(free) < 2


@given(st.data())
def test_what_the_user_named_twice_is_refused_by_number(data):
    """The refusal has the cores in it that are in two lists."""
    cores = st.sets(st.integers(0, 7), min_size=1, max_size=4).map(sorted).map(tuple)
    cpus, client, query = data.draw(cores), data.draw(cores), data.draw(cores)
    request = PlacementRequest(1, 1, cpus, (), client, CONTAINERS, {"query": query})
    pairs = [set(cpus) & set(client), set(cpus) & set(query), set(client) & set(query)]
    if any(pairs):
        with pytest.raises(PlacementError, match="add --allow-overlap") as caught:
            plan(describe("cpus=0-7"), request)
        assert all(core_ranges(both) in str(caught.value) for both in pairs if both)
    else:
        assert plan(describe("cpus=0-7"), request).overlaps == ()
