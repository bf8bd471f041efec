"""The planner: who runs where."""

from __future__ import annotations

import pytest
from machines import BIG, machine

from frontend_launch.integers import core_ranges
from frontend_launch.launch.cores import share_out
from frontend_launch.launch.placement import Placement, difference
from frontend_launch.launch.placement_request import CONTAINERS, FRONTENDS, PlacementRequest, with_frontends
from frontend_launch.launch.planner import plan
from frontend_launch.launch.topology import describe

DUAL = describe("cpus=0-31,gpus=0-1,smt=2,numa=2")
"""Two nodes of eight physical cores with two threads and one GPU each: 0-7,16-23 and 8-15,24-31."""
SMT = describe("cpus=0-7,smt=2")
"""Four physical cores: 0 and 4, 1 and 5, 2 and 6, 3 and 7."""


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
    """Classic settings for a machine of 32 cores and 2 GPUs fit, without shared cores."""
    cores = summary(plan(BIG, request_))
    assert [cores[f"replica-{i}"] for i in range(4)] == replicas
    assert cores["frontends"] == "0-3"
    assert cores["client"] == ("24-27" if request_.client_cpus else "4-7")


LAYOUT = {"redis": "0", "management": "8", "query": "1-5,9-13"}


@pytest.mark.parametrize(
    ("request_", "expected"),
    [
        pytest.param(
            PlacementRequest(1, 1, tuple(range(20, 28)), infrastructure=CONTAINERS),
            {"client": "6,7,14,15", **LAYOUT, "replica-0": "20"},
            id="first example, one replica of one core",
        ),
        pytest.param(
            PlacementRequest(4, 2, tuple(range(20, 28)), infrastructure=CONTAINERS),
            {
                "client": "6,7,14,15",
                **LAYOUT,
                "replica-0": "20,21",
                "replica-1": "22,23",
                "replica-2": "24,25",
                "replica-3": "26,27",
            },
            id="first example, four replicas of two cores",
        ),
        pytest.param(
            PlacementRequest(1, 2, (20, 21, 22, 23), (0, 1), infrastructure=CONTAINERS),
            {"client": "6,7,14,15", **LAYOUT, "replica-0": "30,31@0"},
            id="second example, one replica",
        ),
        pytest.param(
            PlacementRequest(3, 2, (20, 21, 22, 23), (0, 1), infrastructure=CONTAINERS),
            {"client": "6,7,14,15", **LAYOUT, "replica-0": "30,31@0", "replica-1": "28,29@1", "replica-2": "20,21"},
            id="second example, three replicas",
        ),
        pytest.param(
            PlacementRequest(4, 2, (20, 21, 22, 23), (0, 1), (24, 25, 26, 27), CONTAINERS),
            {
                "client": "24-27",
                **LAYOUT,
                "replica-0": "30,31@0",
                "replica-1": "28,29@1",
                "replica-2": "20,21",
                "replica-3": "22,23",
            },
            id="second example, four replicas, the client on 24 to 27",
        ),
    ],
)
def test_the_examples_of_the_original(request_, expected):
    """What the original's documentation runs on 32 cores and 2 GPUs is accepted, without shared cores."""
    assert summary(plan(BIG, request_)) == expected


@pytest.mark.parametrize("core", [0, *range(1, 6), 8, *range(9, 14)])
def test_the_layout_gives_way_to_what_the_user_named(core):
    """A core of the layout that is named for replicas is theirs alone."""
    placement = plan(BIG, PlacementRequest(cpus=(core,), infrastructure=CONTAINERS))
    assert placement["replica-0"].cores == (core,)
    assert not any(a.shared for a in placement.assignments)


@pytest.mark.parametrize(
    ("topology", "request_", "replicas", "overlaps"),
    [
        pytest.param(
            BIG,
            PlacementRequest(4, 2, (20, 21, 22, 23), allow_overlap=True),
            ["20,21*", "22,23*", "20,21*", "22,23*"],
            ("replicas share cores 20-23",),
            id="too many cores per replica",
        ),
        pytest.param(
            machine(2),
            PlacementRequest(3, allow_overlap=True),
            ["1*", "0*", "1*"],
            ("replicas share core 1",),
            id="more replicas than cores",
        ),
        pytest.param(
            machine(2, gpus=2),
            PlacementRequest(3, gpus=(0, 1), allow_overlap=True),
            ["0@0*", "0@1*", "1"],
            ("replicas share core 0",),
            id="replicas with GPUs",
        ),
        pytest.param(machine(4), PlacementRequest(allow_overlap=True), ["3"], (), id="nothing to allow"),
    ],
)
def test_replicas_share_where_that_is_allowed(topology, request_, replicas, overlaps):
    """They take turns on what there is, and the plan says so."""
    placement = plan(topology, request_)
    cores = summary(placement)
    assert [cores[f"replica-{i}"] for i in range(request_.replicas)] == replicas
    assert placement.overlaps == overlaps


@pytest.mark.parametrize(
    ("cores", "expected"),
    [
        pytest.param(1, ["0*", "0*", "0*", "0*", "0*"], id="one core for all"),
        pytest.param(2, ["0*", "0*", "0*", "0*", "1"], id="the replica alone"),
        pytest.param(3, ["0", "1*", "1*", "1*", "2"], id="the client alone too"),
        pytest.param(4, ["2", "0*", "0*", "1", "3"], id="the query frontend alone too"),
        pytest.param(6, ["3,4", "0", "1", "2", "5"], id="everybody alone"),
        pytest.param(8, ["3-5", "0", "6", "1,2", "7"], id="more for client and query frontend"),
        pytest.param(12, ["6,9-11", "0", "8", "1-5", "7"], id="four for the client"),
        pytest.param(16, ["6,7,13,14", "0", "8", "1-5,9-12", "15"], id="the layout but for a core"),
        pytest.param(17, ["6,7,14,15", "0", "8", "1-5,9-13", "16"], id="the layout"),
    ],
)
def test_containers_on_smaller_machines(cores, expected):
    """Client, Redis, management, query frontend and a replica: the layout as far as there are cores for it."""
    assert list(summary(plan(machine(cores), PlacementRequest(infrastructure=CONTAINERS))).values()) == expected


def test_cores_named_for_the_infrastructure():
    """They are taken, the rest is planned around them, and services may share among themselves."""
    named = {"redis": (15,), "management": (15,)}
    placement = plan(machine(16), PlacementRequest(infrastructure=CONTAINERS, infrastructure_cpus=named))
    assert list(summary(placement).values()) == ["0,6-8", "15*", "15*", "1-5,9-13", "14"]


@pytest.mark.parametrize(
    ("topology", "request_", "replicas"),
    [
        pytest.param(SMT, PlacementRequest(2, 2), ["2,6", "3,7"], id="both threads to one replica"),
        pytest.param(SMT, PlacementRequest(4, 1), ["4", "5", "6", "7"], id="one thread each, the other left"),
        pytest.param(SMT, PlacementRequest(5, 1), ["3", "4", "5", "6", "7"], id="the fifth has to share a core"),
        pytest.param(SMT, PlacementRequest(2, 2, (0, 1, 4, 5)), ["0,4", "1,5"], id="named cores by physical core"),
        pytest.param(SMT, PlacementRequest(2, 2, (1, 2, 4, 5)), ["1,5", "2,4"], id="the rest makes the second"),
        pytest.param(SMT, PlacementRequest(2, 3), ["1,4,5", "3,6,7"], id="three cores take two physical ones"),
        pytest.param(
            describe("cpus=0-47,smt=4,numa=4"),
            PlacementRequest(2, 5),
            ["8,20,32,43,44", "11,23,35,46,47"],
            id="a replica that one node cannot hold any more goes to the next one",
        ),
        pytest.param(
            DUAL, PlacementRequest(2, 2, (0, 8, 1, 9)), ["0,1", "8,9"], id="a replica's cores are on one NUMA node"
        ),
        pytest.param(
            DUAL,
            PlacementRequest(2, 2, gpus=(0, 1), infrastructure=CONTAINERS),
            ["7,23@0", "15,31@1"],
            id="GPU replicas are on the node of their GPU",
        ),
        pytest.param(
            DUAL,
            PlacementRequest(4, 2, (20, 21, 22, 23), (0, 1), (24, 25, 26, 27), CONTAINERS),
            ["3,19@0", "15,31@1", "20,21", "22,23"],
            id="second example, on no physical core of a CPU replica, nor beside the query frontend",
        ),
        pytest.param(
            DUAL,
            PlacementRequest(1, 1, gpus=(1,), client_cpus=(*range(8, 16), *range(24, 32))),
            ["23@1"],
            id="no core left on the GPU's node: another one's, before sharing",
        ),
    ],
)
def test_physical_cores_and_numa_nodes(topology, request_, replicas):
    """Replicas share neither physical cores nor spread over nodes where it can be helped."""
    cores = summary(plan(topology, request_))
    assert [cores[f"replica-{i}"] for i in range(request_.replicas)] == replicas


HUGE = describe("cpus=0-127,gpus=0-7,smt=2,numa=4")
"""Four nodes of 16 physical cores with two threads and two GPUs each: 0-15,64-79, and so on."""


@pytest.mark.parametrize(
    ("topology", "request_", "others"),
    [
        pytest.param(
            describe("cpus=0-15,smt=2,numa=1"),
            PlacementRequest(2, 2),
            {"client": "4,5,12,13", "frontends": "0-3"},
            id="the client takes both threads of free cores, not those beside the frontends",
        ),
        pytest.param(
            HUGE,
            PlacementRequest(10, gpus=tuple(range(8)), infrastructure=with_frontends(FRONTENDS, 2), clients=2),
            {"client": "52-55", "frontends-0": "48,49", "frontends-1": "50,51"},
            id="frontends on the node of most of their replicas, and the client beside them",
        ),
        pytest.param(
            HUGE,
            PlacementRequest(2, gpus=(0, 7), infrastructure=with_frontends(FRONTENDS, 2)),
            {"client": "2-5", "frontends-0": "0,1", "frontends-1": "48,49"},
            id="each frontend on the node of its replica",
        ),
        pytest.param(
            describe("cpus=0-31,numa=2"),
            PlacementRequest(16),
            {"client": "4-7", "frontends": "0-3"},
            id="no core left on the node of the replicas",
        ),
        pytest.param(
            describe("cpus=0-15,smt=2"),
            PlacementRequest(2, 2, (6, 14, 7, 15), infrastructure=CONTAINERS),
            {"client": "4,5,12,13", "redis": "0", "management": "1", "query": "2,3,10,11"},
            id="the layout of containers",
        ),
        pytest.param(
            describe("cpus=0-3,smt=2"), PlacementRequest(), {"client": "2+", "frontends": "0+"}, id="one core for both"
        ),
        pytest.param(
            describe("cpus=0-3,smt=2"),
            PlacementRequest(infrastructure=CONTAINERS),
            {"client": "2+", "redis": "0*", "management": "0*", "query": "0*"},
            id="one thread for the containers",
        ),
        pytest.param(SMT, PlacementRequest(4), {"client": "1+", "frontends": "0+"}, id="only threads beside replicas"),
    ],
)
def test_physical_cores_of_client_and_infrastructure(topology, request_, others):
    """They share one only when there is no other, which the plan marks (``+``), on the node of their replicas."""
    placement = plan(topology, request_)
    marked = {
        a.role: core_ranges(a.cores) + ("*" if a.shared else "+" if a.shares_physical else "")
        for a in placement.assignments
        if not a.role.startswith("replica")
    }
    assert marked == others


def test_memory_follows_cores():
    """Each process is told the nodes of its cores, and none where they are unknown."""
    request = PlacementRequest(1, 2, (6, 7), infrastructure=CONTAINERS)
    nodes = {a.role: a.numa_nodes for a in plan(DUAL, request).assignments}
    assert nodes == {"client": (1,), "redis": (0,), "management": (1,), "query": (0, 1), "replica-0": (0,)}
    assert {a.numa_nodes for a in plan(BIG, request).assignments} == {()}


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


def test_more_client_processes_want_more_cores():
    """Of a machine that has them; a few share what the client has in any case."""
    topology = describe("cpus=0-31")
    assert [len(plan(topology, PlacementRequest(clients=count))["client"].cores) for count in (1, 4, 8)] == [4, 4, 8]


@pytest.mark.parametrize(
    ("cores", "infrastructure", "frontends", "expected"),
    [
        pytest.param(2, FRONTENDS, 2, ["0,1*", "0*", "1*", "0*", "1*"], id="no spare core"),
        pytest.param(3, FRONTENDS, 2, ["0*", "0*", "0*", "1", "2"], id="one spare core for all"),
        pytest.param(5, FRONTENDS, 2, ["2", "0", "1", "3", "4"], id="one each"),
        pytest.param(5, FRONTENDS, 3, ["2", "0*", "1", "0*", "3", "4"], id="three share two"),
        pytest.param(6, FRONTENDS, 3, ["3", "0", "1", "2", "4", "5"], id="three with one each, before a second client"),
        pytest.param(16, FRONTENDS, 2, ["4-7", "0,1", "2,3", "14", "15"], id="two each"),
        pytest.param(16, FRONTENDS, 3, ["6-9", "0,1", "2,3", "4,5", "14", "15"], id="three with two each"),
        pytest.param(
            17, CONTAINERS, 2, ["6,7,13,14", "0", "8", "1-4", "5,9-12", "15", "16"], id="the layout is shared out"
        ),
    ],
)
def test_several_frontends(cores, infrastructure, frontends, expected):
    """Each has cores of its own, as far as there are any, and a line of the plan."""
    request = PlacementRequest(2, 1, infrastructure=with_frontends(infrastructure, frontends), allow_overlap=True)
    placement = plan(machine(cores), request)
    assert list(summary(placement).values()) == expected
    assert len(placement.of(infrastructure[-1].role)) == frontends


def test_cores_named_for_several_frontends():
    """Are shared out among them."""
    request = PlacementRequest(
        2, 1, infrastructure=with_frontends(FRONTENDS, 2), infrastructure_cpus={"frontends": (5, 6, 7)}
    )
    assert [a.cores for a in plan(machine(8), request).of("frontends")] == [(5,), (6, 7)]


@pytest.mark.parametrize(
    ("cores", "count", "shares"),
    [
        ((3,), 2, [(3,), (3,)]),
        ((3, 4), 2, [(3,), (4,)]),
        ((3, 4, 5), 2, [(3,), (4, 5)]),
        ((0, 1, 2, 3), 3, [(0,), (1,), (2, 3)]),
        ((0, 1), 3, [(0,), (1,), (0,)]),
    ],
)
def test_cores_are_dealt_out(cores, count, shares):
    """None is idle, and none is shared unless there are too few."""
    assert share_out(cores, count) == shares


def test_threads_of_one_physical_core_are_dealt_to_one_process():
    """Where that can be."""
    assert share_out((4, 5, 12, 13), 2, [(4, 12), (5, 13)]) == [(4, 12), (5, 13)]
    assert plan(SMT, PlacementRequest(2, 2))["client"].siblings == ((1, 5),)
    named = {"frontends": (0, 1, 4, 5)}
    request = PlacementRequest(2, infrastructure=with_frontends(FRONTENDS, 2), infrastructure_cpus=named)
    assert [a.cores for a in plan(SMT, request).of("frontends")] == [(0, 4), (1, 5)]
