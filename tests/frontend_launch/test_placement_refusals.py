"""What the planner refuses, and what it says."""

from __future__ import annotations

from dataclasses import replace

import pytest
from machines import BIG, machine

from frontend_launch.errors import PlacementError
from frontend_launch.launch.placement_request import CONTAINERS, PlacementRequest
from frontend_launch.launch.planner import plan
from frontend_launch.launch.topology import Topology


@pytest.mark.parametrize(
    ("option", "changes"),
    [
        pytest.param("--redis-cpus", {"infrastructure_cpus": {"redis": (0, 20)}}, id="Redis"),
        pytest.param("--management-cpus", {"infrastructure_cpus": {"management": (20,)}}, id="management"),
        pytest.param("--query-cpus", {"infrastructure_cpus": {"query": (1, 2, 20)}}, id="query frontend"),
        pytest.param("--client-cpus", {"client_cpus": (19, 20)}, id="client"),
    ],
)
def test_conflicts(option, changes):
    """Model cores against the others' are refused by name, unless that is allowed; then it is recorded and marked."""
    request = PlacementRequest(1, 2, (20, 21), infrastructure=CONTAINERS, **changes)
    overlap = f"--cpus and {option} both name core 20"
    with pytest.raises(PlacementError) as caught:
        plan(BIG, request)
    assert str(caught.value) == f"{overlap}; name different cores or add --allow-overlap"

    placement = plan(BIG, replace(request, allow_overlap=True))
    assert placement.overlaps == (overlap,)
    assert [a.role for a in placement.assignments if a.shared] == [option[2:-5], "replica-0"]


def test_all_conflicts_are_named_at_once():
    """Client against infrastructure too."""
    request = PlacementRequest(1, 1, (5, 6), (), (6, 7), CONTAINERS, {"query": (7, 8), "redis": (8,)})
    with pytest.raises(PlacementError) as caught:
        plan(BIG, request)
    assert str(caught.value) == (
        "--cpus and --client-cpus both name core 6; --client-cpus and --query-cpus both name core 7; "
        "name different cores or add --allow-overlap"
    )


@pytest.mark.parametrize(
    ("topology", "request_", "message"),
    [
        pytest.param(
            BIG,
            PlacementRequest(3, 2, (6, 7, 14, 15)),
            "3 replicas of 2 cores need 6 cores and --cpus names 4 (6,7,14,15); "
            "use fewer replicas, --cpus-per-replica 1 or name more cores",
            id="fewer named than needed",
        ),
        pytest.param(
            BIG,
            PlacementRequest(4, 2, (20, 21, 22), gpus=(0, 1)),
            "2 CPU replicas of 2 cores need 4 cores and --cpus names 3 (20-22); "
            "use fewer replicas, --cpus-per-replica 1 or name more cores",
            id="fewer named than the replicas without GPU need",
        ),
        pytest.param(
            machine(2),
            PlacementRequest(3),
            "3 replicas of 1 core need 3 cores and this machine offers 2 (0,1); use fewer replicas",
            id="a small machine",
        ),
        pytest.param(
            machine(2),
            PlacementRequest(1, 3, (0, 1)),
            "1 replica of 3 cores needs 3 cores and --cpus names 2 (0,1); use --cpus-per-replica 2",
            id="all cores named, still too few",
        ),
        pytest.param(
            Topology((0, 1), (), "here", "", "the CPU quota of 2 cores leaves 0,1 of cores 0-7"),
            PlacementRequest(3),
            "3 replicas of 1 core need 3 cores and this machine offers 2 (0,1) "
            "(the CPU quota of 2 cores leaves 0,1 of cores 0-7); use fewer replicas",
            id="a quota explains",
        ),
        pytest.param(
            machine(4),
            PlacementRequest(2, client_cpus=(0, 1, 2)),
            "2 replicas of 1 core need 2 cores and --client-cpus leaves 1 (3); "
            "use fewer replicas or name fewer --client-cpus",
            id="the client's cores are missing",
        ),
        pytest.param(
            machine(1),
            PlacementRequest(client_cpus=(0,)),
            "1 replica of 1 core needs 1 core and --client-cpus leaves none; name fewer --client-cpus",
            id="the client has everything",
        ),
        pytest.param(
            machine(2, gpus=2),
            PlacementRequest(3, gpus=(0, 1)),
            "2 GPU replicas of 1 core need 2 cores and the others leave 1 (0); use fewer replicas",
            id="GPU replicas never share with each other",
        ),
        pytest.param(
            machine(2, gpus=1),
            PlacementRequest(3, gpus=(0,)),
            "1 GPU replica of 1 core needs 1 core and the others leave none; use fewer replicas",
            id="a GPU replica never shares with a CPU replica",
        ),
        pytest.param(
            machine(8),
            PlacementRequest(cpus=(7, 8, 9)),
            "--cpus 8,9: not usable here; choose from 0-7",
            id="unknown cores",
        ),
        pytest.param(
            machine(8),
            PlacementRequest(client_cpus=(8,)),
            "--client-cpus 8: not usable here; choose from 0-7",
            id="an unknown core for the client",
        ),
        pytest.param(
            machine(8),
            PlacementRequest(cpus=(4, 5, 4)),
            "--cpus 4: named more than once; name each once",
            id="a core twice",
        ),
        pytest.param(
            BIG,
            PlacementRequest(gpus=(0, 2)),
            "--gpus 2: not usable here; choose from 0,1",
            id="an unknown GPU",
        ),
        pytest.param(
            machine(8),
            PlacementRequest(gpus=(0, 1)),
            "--gpus 0,1: not usable here; this machine has no GPUs; use --gpus none",
            id="no GPU at all",
        ),
        pytest.param(
            BIG, PlacementRequest(gpus=(1, 1)), "--gpus 1: named more than once; name each once", id="a GPU twice"
        ),
        pytest.param(
            machine(8),
            PlacementRequest(cpus=(4, 5, 6), client_cpus=(6, 5)),
            "--cpus and --client-cpus both name cores 5,6; name different cores or add --allow-overlap",
            id="a collision",
        ),
        pytest.param(machine(8), PlacementRequest(0), "--replicas 0: too few; use at least 1", id="no replica"),
        pytest.param(
            machine(8),
            PlacementRequest(-1, infrastructure=()),
            "--replicas -1: too few; use at least 0",
            id="negative",
        ),
        pytest.param(
            machine(8),
            PlacementRequest(cpus_per_replica=0),
            "--cpus-per-replica 0: too few; use at least 1",
            id="replicas without cores",
        ),
        pytest.param(
            machine(8),
            PlacementRequest(cpus=()),
            "--cpus: names no core; name at least one, or leave it out",
            id="empty",
        ),
        pytest.param(
            machine(8),
            PlacementRequest(infrastructure_cpus={"redis": (0,)}),
            "--redis-cpus 0: this runtime has no process 'redis', only frontends; "
            "use --frontends-cpus, or --runtime docker",
            id="cores for what is not started",
        ),
        pytest.param(
            machine(2),
            PlacementRequest(client_cpus=(0,), infrastructure=CONTAINERS, infrastructure_cpus={"query": (1,)}),
            "1 replica of 1 core needs 1 core and --client-cpus and --query-cpus leave none; "
            "name fewer --client-cpus or --query-cpus",
            id="client and infrastructure have everything",
        ),
        pytest.param(
            machine(2),
            PlacementRequest(1, 3, (0, 1), allow_overlap=True),
            "1 replica of 3 cores needs 3 cores and --cpus names 2 (0,1); use --cpus-per-replica 2",
            id="no overlap makes cores of nothing",
        ),
    ],
)
def test_refusals(topology, request_, message):
    """What cannot be placed is refused in one line with the numbers and a remedy."""
    with pytest.raises(PlacementError) as caught:
        plan(topology, request_)
    assert str(caught.value) == message
