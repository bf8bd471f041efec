"""The plan over the nodes of a cluster."""

from __future__ import annotations

from dataclasses import replace

import pytest

from frontend_launch.errors import PlacementError
from frontend_launch.integers import core_ranges
from frontend_launch.launch.cluster import (
    Bundle,
    ClusterTopology,
    ClusterUse,
    Node,
    named,
    plan_over,
    reservations,
    shortage,
)
from frontend_launch.launch.placement import Placement
from frontend_launch.launch.placement_request import FRONTENDS, PlacementRequest, with_frontends
from frontend_launch.launch.topology import Topology, describe, first_cores


def node(name: str, cores: int, gpus: int = 0) -> Topology:
    return Topology(tuple(range(cores)), tuple(range(gpus)), name)


def summary(placement: Placement) -> dict[str, str]:
    """Each role's node, cores, GPU after an @, and a * where cores are shared."""
    return {
        row.role: f"{row.node}:{core_ranges(row.cores)}"
        + (f"@{row.gpu}" if row.gpu is not None else "")
        + ("*" if row.shared else "")
        for row in placement.assignments
    }


THREE = (node("a", 4), node("b", 4), node("c", 4))


@pytest.mark.parametrize(
    ("here", "nodes", "request_", "expected"),
    [
        pytest.param(
            node("a", 4),
            THREE,
            PlacementRequest(replicas=2),
            {"client": "a:0-3", "frontends": "b:1,2", "replica-0": "b:3", "replica-1": "c:3"},
            id="the client's node comes last",
        ),
        pytest.param(
            node("elsewhere", 2),
            THREE,
            PlacementRequest(replicas=4),
            {
                "client": "elsewhere:0,1",
                "frontends": "a:1",
                "replica-0": "a:2",
                "replica-1": "b:3",
                "replica-2": "c:3",
                "replica-3": "a:3",
            },
            id="in turn, the frontend where most replicas are",
        ),
        pytest.param(
            node("a", 4),
            THREE,
            PlacementRequest(replicas=4, cpus_per_replica=2, infrastructure=with_frontends(FRONTENDS, 2)),
            {},
            id="more than the nodes have beside a core for others",
        ),
        pytest.param(
            node("a", 4),
            THREE,
            PlacementRequest(replicas=4, infrastructure=with_frontends(FRONTENDS, 2)),
            {
                "client": "a:0-2",
                "frontends-0": "b:1",
                "frontends-1": "c:1,2",
                "replica-0": "b:2",
                "replica-1": "c:3",
                "replica-2": "a:3",
                "replica-3": "b:3",
            },
            id="a frontend for every second replica",
        ),
        pytest.param(
            node("a", 4),
            (node("a", 4), node("b", 4, gpus=1), node("c", 8, gpus=1)),
            PlacementRequest(replicas=3, gpus=(0,)),
            {
                "client": "a:0-3",
                "frontends": "c:1-4",
                "replica-0": "c:6@0",
                "replica-1": "b:3@0",
                "replica-2": "c:7",
            },
            id="nodes with a GPU first, the number of it is the node's",
        ),
        pytest.param(
            node("one", 1),
            (node("one", 1),),
            PlacementRequest(),
            {"client": "one:0*", "frontends": "one:0*", "replica-0": "one:0*"},
            id="one node with one core",
        ),
        pytest.param(
            node("a", 4),
            (node("a", 2), node("b", 2)),
            PlacementRequest(replicas=5, allow_overlap=True),
            {
                "client": "a:0,1*",
                "frontends": "b:0,1*",
                "replica-0": "b:1*",
                "replica-1": "a:0*",
                "replica-2": "b:0*",
                "replica-3": "a:1*",
                "replica-4": "b:1*",
            },
            id="overlaps are allowed",
        ),
    ],
)
def test_who_runs_on_which_node(here, nodes, request_, expected):
    """Roles are numbered over the cluster, cores are those of each node."""
    placement = plan_over(here, nodes, request_)
    roles = [row.role for row in placement.assignments]
    assert roles[0] == "client"
    assert [row.role for row in placement.replicas] == [f"replica-{number}" for number in range(request_.replicas)]
    assert not expected or summary(placement) == expected
    on_node = [(row.node, core) for row in placement.replicas for core in row.cores]
    assert request_.allow_overlap or len(on_node) == len(set(on_node))


def test_nodes_that_have_too_few_cores_are_refused():
    """With what they have room for."""
    with pytest.raises(PlacementError, match="7 replicas of 2 cores: the 3 nodes of the cluster have room for 6; use"):
        plan_over(THREE[0], THREE, PlacementRequest(replicas=7, cpus_per_replica=2))


def test_a_replica_that_is_larger_than_each_node_is_refused():
    """More nodes would not help."""
    nodes = (node("a", 4), node("b", 2))
    with pytest.raises(PlacementError) as refused:
        plan_over(nodes[0], nodes, PlacementRequest(replicas=1, cpus_per_replica=5))
    expected = "1 replica of 5 cores: the 2 nodes of the cluster have room for 0; use --cpus-per-replica 4"
    assert str(refused.value) == expected


@pytest.mark.parametrize(
    ("cores", "start"),
    [((9,), "--client-cpus 9: not usable here; choose from 0,1"), ((0, 1), "node a: 1 replica of 1 core needs 1 core")],
    ids=["option", "shortage"],
)
def test_a_refusal_begins_with_an_option_or_the_node(cores, start):
    """What an option names is of the client's machine."""
    nodes = (node("a", 2),)
    with pytest.raises(PlacementError) as refused:
        plan_over(nodes[0], nodes, PlacementRequest(replicas=1, cpus_per_replica=1, client_cpus=cores))
    assert str(refused.value).startswith(start)


def test_what_is_reserved_for_each_part():
    """Its own cores and its GPU: a core that two parts of a node share is reserved once."""
    nodes = (node("a", 5, gpus=1), node("b", 2))
    rows = plan_over(
        node("elsewhere", 2), nodes, PlacementRequest(replicas=3, gpus=(0,), cpus_per_replica=1)
    ).assignments
    assert reservations(rows[1:]) == {
        "frontends": Bundle(2, 0),
        "replica-0": Bundle(1, 1),
        "replica-1": Bundle(1, 0),
        "replica-2": Bundle(1, 0),
    }
    shared = [replace(rows[1], role=f"replica-{number}", cores=(0,), gpu=number) for number in range(2)]
    assert reservations([*shared, replace(shared[0], role="frontends", gpu=None)]) == {
        "replica-0": Bundle(1, 1),
        "replica-1": Bundle(0, 1),
    }


def test_gpus_that_no_node_has_are_refused():
    """Each node has numbers of its own."""
    with pytest.raises(PlacementError, match="--gpus 1,2: no node of the cluster has them; choose others"):
        plan_over(THREE[0], (node("a", 4, gpus=1), node("b", 4)), PlacementRequest(gpus=(0, 1, 2)))


def test_nodes_of_one_machine_have_names_of_their_own():
    """By their ids, so that the names are the same each time."""
    nodes = [Node(f"id-{number}", "vm", "10.0.0.1", 2) for number in (3, 1, 2)]
    found = named([*nodes, Node("id-0", "other", "10.0.0.2", 2)])
    assert {label: node.node_id for label, node in found.items()} == {
        "other (10.0.0.2)": "id-0",
        "vm (10.0.0.1)": "id-1",
        "vm (10.0.0.1) #2": "id-2",
        "vm (10.0.0.1) #3": "id-3",
    }


def test_the_machine_of_the_client_has_its_name_in_the_cluster():
    """Or its own, where it is no node."""
    assert ClusterTopology(THREE, "b").here(node("host", 2)).node == "b"
    assert ClusterTopology(THREE).here(node("host", 2)).node == "host"


def test_the_first_cores_of_a_machine():
    """With what belongs to them."""
    machine = replace(describe("cpus=0-7,gpus=0-1,smt=2,numa=2"), beyond=node("beyond", 9))
    part = first_cores(machine, 6, 1)
    assert (part.cores, part.gpus, part.siblings, part.beyond) == (tuple(range(6)), (0,), ((0, 4), (1, 5)), None)
    assert [(one.number, one.cores, one.gpus) for one in part.numa_nodes] == [(0, (0, 1, 4, 5), (0,)), (1, (2, 3), ())]


@pytest.mark.parametrize(
    ("wanted", "lack"),
    [
        ([], None),
        ([("a", "1", Bundle(2, 1))], None),
        ([("elsewhere", "9", Bundle(8, 8))], None),
        (
            [("a", "1", Bundle(2, 0)), ("a", "1", Bundle(1, 0))],
            "node a: 3 cores needed, 2 free; end what has actors there: process 1 on h and process 2 on h",
        ),
        ([("b", "2", Bundle(1, 0))], "node b: 1 core needed, 0 free; end what uses the node (`ray status`)"),
        (
            [("a", "1", Bundle(1, 0)), ("b", "2", Bundle(0, 1))],
            "node b: 1 GPU needed, 0 free; end what uses the node (`ray status`)",
        ),
    ],
    ids=["nothing", "enough", "unknown", "two parts of a node", "no core", "no GPU"],
)
def test_what_nodes_lack_is_said(wanted, lack):
    """With the programs that have it, where they are known."""
    use = ClusterUse({"1": Bundle(2, 1), "2": Bundle(0, 0)}, {"1": {"process 2 on h", "process 1 on h"}})
    assert shortage(wanted, use) == lack
