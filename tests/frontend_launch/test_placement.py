"""The planner: who runs where, and why not."""

from __future__ import annotations

from dataclasses import replace
from itertools import chain

import pytest
from hypothesis import given
from hypothesis import strategies as st

from frontend_launch.errors import PlacementError
from frontend_launch.launch.placement import (
    FRONTENDS,
    Placement,
    PlacementRequest,
    core_ranges,
    difference,
    plan,
)
from frontend_launch.launch.topology import Topology, describe

BIG = describe("cpus=0-31,gpus=0-1")


def machine(cores: int, gpus: int = 0) -> Topology:
    """A machine with so many cores and GPUs."""
    return Topology(tuple(range(cores)), tuple(range(gpus)), "here", described=False)


def summary(placement: Placement) -> dict[str, str]:
    """Each role's cores, its GPU after an @, and a * where cores are shared."""
    return {
        a.role: core_ranges(a.cores) + (f"@{a.gpu}" if a.gpu is not None else "") + ("*" if a.shared else "")
        for a in placement.assignments
    }


@pytest.mark.parametrize(
    ("cores", "request_", "expected"),
    [
        pytest.param(1, PlacementRequest(), {"client": "0*", "frontends": "0*", "replica-0": "0*"}, id="one core"),
        pytest.param(2, PlacementRequest(), {"client": "0*", "frontends": "0*", "replica-0": "1"}, id="one spare core"),
        pytest.param(
            2,
            PlacementRequest(replicas=2),
            {"client": "0,1*", "frontends": "0,1*", "replica-0": "0*", "replica-1": "1*"},
            id="no spare core: all the replicas' cores",
        ),
        pytest.param(3, PlacementRequest(), {"client": "1", "frontends": "0", "replica-0": "2"}, id="two spare cores"),
        pytest.param(4, PlacementRequest(), {"client": "2", "frontends": "0,1", "replica-0": "3"}, id="three spare"),
        pytest.param(
            12, PlacementRequest(), {"client": "4-7", "frontends": "0-3", "replica-0": "11"}, id="never more than four"
        ),
        pytest.param(
            8,
            PlacementRequest(replicas=2, cpus_per_replica=2),
            {"client": "2,3", "frontends": "0,1", "replica-0": "4,5", "replica-1": "6,7"},
            id="unnamed cores from the high end",
        ),
        pytest.param(
            8,
            PlacementRequest(replicas=2, cpus_per_replica=2, cpus=(7, 2, 0, 5)),
            {"client": "4,6", "frontends": "1,3", "replica-0": "2,7", "replica-1": "0,5"},
            id="named cores in the order given",
        ),
        pytest.param(
            6,
            PlacementRequest(cpus=(2, 3, 4, 5)),
            {"client": "1", "frontends": "0", "replica-0": "2"},
            id="named cores stay free although no replica needs them",
        ),
        pytest.param(
            3,
            PlacementRequest(cpus=(0, 1, 2)),
            {"client": "2", "frontends": "1", "replica-0": "0"},
            id="named cores that no replica needs when there are no others",
        ),
        pytest.param(
            4,
            PlacementRequest(client_cpus=(3,)),
            {"client": "3", "frontends": "0,1", "replica-0": "2"},
            id="replicas go beside the named client",
        ),
        pytest.param(
            4,
            PlacementRequest(replicas=2, client_cpus=(1, 0)),
            {"client": "0,1*", "frontends": "0,1*", "replica-0": "2", "replica-1": "3"},
            id="frontends share with the named client before they share with replicas",
        ),
        pytest.param(
            4,
            PlacementRequest(cpus=(1, 2), client_cpus=(0, 3)),
            {"client": "0,3", "frontends": "2", "replica-0": "1"},
            id="both named, frontends on a core that no replica needs",
        ),
        pytest.param(
            4,
            PlacementRequest(replicas=0, infrastructure=()),
            {"client": "0-3"},
            id="only a client, for a server that runs elsewhere",
        ),
        pytest.param(
            2,
            PlacementRequest(replicas=0, infrastructure=(), client_cpus=(1,)),
            {"client": "1"},
            id="only a named client",
        ),
        pytest.param(
            2,
            PlacementRequest(replicas=2, infrastructure=()),
            {"client": "0,1*", "replica-0": "0*", "replica-1": "1*"},
            id="no frontends and no spare core",
        ),
    ],
)
def test_cpu_plan(cores, request_, expected):
    """Replicas have their cores alone where the machine allows, and sharing is marked."""
    assert summary(plan(machine(cores), request_)) == expected


@pytest.mark.parametrize(
    ("cores", "request_", "expected"),
    [
        pytest.param(
            12,
            PlacementRequest(replicas=1, cpus_per_replica=2, gpus=(1,)),
            {"client": "4-7", "frontends": "0-3", "replica-0": "10,11@1"},
            id="cores of its own from what is left",
        ),
        pytest.param(
            6,
            PlacementRequest(replicas=2, gpus=(0, 1)),
            {"client": "2,3", "frontends": "0,1", "replica-0": "5@0", "replica-1": "4@1"},
            id="frontends and client leave room",
        ),
        pytest.param(
            4,
            PlacementRequest(replicas=2, gpus=(0, 1)),
            {"client": "1", "frontends": "0", "replica-0": "3@0", "replica-1": "2@1"},
            id="down to one core each",
        ),
        pytest.param(
            3,
            PlacementRequest(replicas=2, gpus=(1, 0)),
            {"client": "1", "frontends": "0*", "replica-0": "2@1", "replica-1": "0@0*"},
            id="one GPU replica shares with the frontends",
        ),
        pytest.param(
            1,
            PlacementRequest(replicas=1, gpus=(0,)),
            {"client": "0*", "frontends": "0*", "replica-0": "0@0*"},
            id="everything on one core",
        ),
        pytest.param(
            4,
            PlacementRequest(replicas=3, gpus=(0,), cpus=(2, 3)),
            {"client": "1", "frontends": "0*", "replica-0": "0@0*", "replica-1": "2", "replica-2": "3"},
            id="GPU replicas do not draw from the CPU replicas' cores",
        ),
        pytest.param(
            6,
            PlacementRequest(replicas=1, cpus_per_replica=2, gpus=(0,), cpus=(2, 3, 4, 5)),
            {"client": "1", "frontends": "0", "replica-0": "2,3@0"},
            id="named cores that no CPU replica needs, before sharing",
        ),
        pytest.param(
            4,
            PlacementRequest(replicas=1, gpus=(0, 1)),
            {"client": "2", "frontends": "0,1", "replica-0": "3@0"},
            id="more GPUs than replicas",
        ),
    ],
)
def test_gpu_plan(cores, request_, expected):
    """A replica with a GPU takes what cores are left, and shares with frontends and client at worst."""
    assert summary(plan(machine(cores, gpus=2), request_)) == expected


@pytest.mark.parametrize(
    ("request_", "replicas"),
    [
        pytest.param(
            PlacementRequest(4, 2, tuple(range(20, 28))),
            ["20,21", "22,23", "24,25", "26,27"],
            id="four replicas of two cores on 20 to 27",
        ),
        pytest.param(
            PlacementRequest(4, 2, (20, 21, 22, 23), gpus=(0, 1)),
            ["30,31@0", "28,29@1", "20,21", "22,23"],
            id="two on GPUs, two on 20 to 23",
        ),
        pytest.param(
            PlacementRequest(4, 2, (20, 21, 22, 23), gpus=(0, 1), client_cpus=(24, 25, 26, 27)),
            ["30,31@0", "28,29@1", "20,21", "22,23"],
            id="the same with the client on 24 to 27",
        ),
    ],
)
def test_large_machine(request_, replicas):
    """Classic settings for a machine of 32 cores and 2 GPUs fit, and nobody shares."""
    cores = summary(plan(BIG, request_))
    assert [cores[f"replica-{i}"] for i in range(4)] == replicas
    assert cores["frontends"] == "0-3"
    assert cores["client"] == ("24-27" if request_.client_cpus else "4-7")


@pytest.mark.parametrize(
    ("topology", "request_", "message"),
    [
        pytest.param(
            BIG,
            PlacementRequest(3, 2, (6, 7, 14, 15)),
            "3 replicas of 2 cores need 6 cores and --cpus names 4 (6,7,14,15): "
            "use fewer replicas, --cpus-per-replica 1 or name more cores",
            id="fewer named than needed",
        ),
        pytest.param(
            BIG,
            PlacementRequest(4, 2, (20, 21, 22), gpus=(0, 1)),
            "2 CPU replicas of 2 cores need 4 cores and --cpus names 3 (20-22): "
            "use fewer replicas, --cpus-per-replica 1 or name more cores",
            id="fewer named than the replicas without GPU need",
        ),
        pytest.param(
            machine(2),
            PlacementRequest(3),
            "3 replicas of 1 core need 3 cores and this machine offers 2 (0,1): use fewer replicas",
            id="a small machine",
        ),
        pytest.param(
            machine(2),
            PlacementRequest(1, 3, (0, 1)),
            "1 replica of 3 cores needs 3 cores and --cpus names 2 (0,1): use --cpus-per-replica 2",
            id="all cores named, still too few",
        ),
        pytest.param(
            Topology((0, 1), (), "here", False, "the CPU quota of 2 cores leaves 0,1 of cores 0-7"),
            PlacementRequest(3),
            "3 replicas of 1 core need 3 cores and this machine offers 2 (0,1); "
            "the CPU quota of 2 cores leaves 0,1 of cores 0-7: use fewer replicas",
            id="a quota explains",
        ),
        pytest.param(
            machine(4),
            PlacementRequest(2, client_cpus=(0, 1, 2)),
            "2 replicas of 1 core need 2 cores and --client-cpus leaves 1 (3): "
            "use fewer replicas or name fewer --client-cpus",
            id="the client's cores are missing",
        ),
        pytest.param(
            machine(1),
            PlacementRequest(client_cpus=(0,)),
            "1 replica of 1 core needs 1 core and --client-cpus leaves none: name fewer --client-cpus",
            id="the client has everything",
        ),
        pytest.param(
            machine(2, gpus=2),
            PlacementRequest(3, gpus=(0, 1)),
            "2 GPU replicas of 1 core need 2 cores and the others leave 1 (0): use fewer replicas",
            id="GPU replicas never share with each other",
        ),
        pytest.param(
            machine(2, gpus=1),
            PlacementRequest(3, gpus=(0,)),
            "1 GPU replica of 1 core needs 1 core and the others leave none: use fewer replicas",
            id="a GPU replica never shares with a CPU replica",
        ),
        pytest.param(
            machine(8),
            PlacementRequest(cpus=(7, 8, 9)),
            "--cpus names cores 8,9, not usable here: choose from 0-7",
            id="unknown cores",
        ),
        pytest.param(
            machine(8),
            PlacementRequest(client_cpus=(8,)),
            "--client-cpus names core 8, not usable here: choose from 0-7",
            id="an unknown core for the client",
        ),
        pytest.param(
            machine(8),
            PlacementRequest(cpus=(4, 5, 4)),
            "--cpus names core 4 more than once: name each once",
            id="a core twice",
        ),
        pytest.param(
            BIG,
            PlacementRequest(gpus=(0, 2)),
            "--gpus names GPU 2, not usable here: choose from 0,1",
            id="an unknown GPU",
        ),
        pytest.param(
            machine(8),
            PlacementRequest(gpus=(0, 1)),
            "--gpus names GPUs 0,1, not usable here: there is none, use --gpus none",
            id="no GPU at all",
        ),
        pytest.param(
            BIG, PlacementRequest(gpus=(1, 1)), "--gpus names GPU 1 more than once: name each once", id="a GPU twice"
        ),
        pytest.param(
            machine(8),
            PlacementRequest(cpus=(4, 5, 6), client_cpus=(6, 5)),
            "--cpus and --client-cpus both name cores 5,6: name different cores or add --allow-overlap",
            id="a collision",
        ),
        pytest.param(machine(8), PlacementRequest(0), "--replicas 0 is too few: use at least 1", id="no replica"),
        pytest.param(
            machine(8),
            PlacementRequest(-1, infrastructure=()),
            "--replicas -1 is too few: use at least 0",
            id="negative",
        ),
        pytest.param(
            machine(8),
            PlacementRequest(cpus_per_replica=0),
            "--cpus-per-replica 0 is too few: use at least 1",
            id="replicas without cores",
        ),
        pytest.param(
            machine(8), PlacementRequest(cpus=()), "--cpus names no core: name at least one or leave it out", id="empty"
        ),
    ],
)
def test_refusals(topology, request_, message):
    """What cannot be placed is refused in one line with the numbers and a remedy."""
    with pytest.raises(PlacementError) as caught:
        plan(topology, request_)
    assert str(caught.value) == message


@st.composite
def topologies(draw: st.DrawFn) -> Topology:
    """Machines with up to twelve cores and three GPUs."""
    cores = draw(st.sets(st.integers(0, 20), min_size=1, max_size=12))
    return Topology(tuple(sorted(cores)), tuple(range(draw(st.integers(0, 3)))), "here", described=False)


@st.composite
def problems(draw: st.DrawFn) -> tuple[Topology, PlacementRequest]:
    """A machine and a request that mostly names what exists, so that plans are as frequent as refusals."""
    topology = draw(topologies())
    shuffled = draw(st.permutations(topology.cores))
    cut = draw(st.integers(0, len(shuffled)))
    wild = st.lists(st.integers(-1, 21), max_size=3).map(tuple) if draw(st.integers(0, 4)) == 0 else st.nothing()
    request = PlacementRequest(
        replicas=draw(st.sampled_from([1, 1, 1, 2, 2, 3, 4, 0])),
        cpus_per_replica=draw(st.sampled_from([1, 1, 1, 1, 2, 2, 3, 0])),
        cpus=draw(st.sampled_from([None, tuple(shuffled[:cut]) or None]) | wild),
        gpus=draw(st.sampled_from([(), topology.gpus, topology.gpus[::-1]]) | wild),
        client_cpus=draw(st.sampled_from([None, tuple(shuffled[cut:]) or None]) | wild),
        infrastructure=draw(st.sampled_from([FRONTENDS, FRONTENDS, ()])),
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
    infrastructure = [a for a in placement.assignments if a not in replicas]

    expected = ["client", *(["frontends"] if request.infrastructure else [])]
    assert roles == expected + [f"replica-{i}" for i in range(request.replicas)]
    assert all(len(set(a.cores)) == request.cpus_per_replica for a in replicas)
    assert all(a.cores and set(a.cores) <= set(topology.cores) for a in placement.assignments)
    replica_cores = [core for a in replicas for core in a.cores]
    assert len(replica_cores) == len(set(replica_cores))
    gpus = tuple(a.gpu for a in replicas if a.gpu is not None)
    assert gpus == request.gpus[: request.replicas]
    assert len(set(gpus)) == len(gpus)
    for a in placement.assignments:
        others = {core for b in placement.assignments if b is not a for core in b.cores}
        assert a.shared == bool(others & set(a.cores))
    if len(topology.cores) > len(replica_cores):
        cpu_replicas = [a for a in replicas if a.gpu is None]
        assert not any(a.shared for a in cpu_replicas), "there was a core for the others"
    if request.client_cpus:
        assert set(infrastructure[0].cores) == set(request.client_cpus)
    if request.cpus:
        assert all(set(a.cores) <= set(request.cpus) for a in replicas if a.gpu is None)


@given(problems())
def test_naming_what_the_planner_chose_changes_nothing(problem):
    """The cores that the planner chose for CPU replicas can be named, and the same plan comes out."""
    topology, request = problem
    try:
        placement = plan(topology, replace(request, cpus=None))
    except PlacementError:
        return
    chosen = [a.cores for a in placement.assignments if a.role.startswith("replica-") and a.gpu is None]
    if chosen:
        assert plan(topology, replace(request, cpus=tuple(chain(*chosen)))) == placement


@pytest.mark.parametrize(
    ("observed", "lines"),
    [
        pytest.param({"client": (0,), "frontends": (0,), "replica-0": (1,)}, [], id="as planned"),
        pytest.param({"frontends": (0,), "replica-0": (1,)}, [], id="only some were looked at"),
        pytest.param(
            {"client": (0, 1), "frontends": (0,), "replica-0": (0,)},
            ["client is planned on 0 and may run on 0,1", "replica-0 is planned on 1 and may run on 0"],
            id="two differ",
        ),
        pytest.param({"frontends": ()}, ["frontends is planned on 0 and does not run"], id="one does not run"),
    ],
)
def test_difference(observed, lines):
    """Each role whose affinity is not the plan's gets a line."""
    assert difference(plan(machine(2), PlacementRequest()), observed) == lines


def test_a_role_is_found_by_its_name():
    """The plan answers for each role, and not for others."""
    placement = plan(machine(4), PlacementRequest())
    assert placement["replica-0"].cores == (3,)
    with pytest.raises(KeyError):
        placement["replica-1"]
