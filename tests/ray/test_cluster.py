"""Load from the nodes of a real Ray cluster: three nodes on this machine, with tiny object stores.

Without the extras these are skipped: make install EXTRAS=ray,oip. Cluster and runs take one to three minutes.
"""

import asyncio
import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from cluster_of_tests import counting_server
from ray_nodes import CLIENTS, own_address
from ray_runs import Runs, gone

SUPPORT, ROOT = Path(__file__).parents[1] / "support", Path(__file__).parents[2]


@pytest.fixture
def server():
    with counting_server(own_address()) as found:
        yield found


@pytest.fixture
def runs(nodes, tmp_path):
    return Runs(nodes, tmp_path, "--workers", "ray")


def clients(nodes):
    """The client processes of workers, by their roles."""
    parts = nodes.parts().items()
    return {Path(words[words.index(CLIENTS) + 1]).stem: pid for pid, (words, *_) in parts if CLIENTS in words}


@pytest.mark.parametrize(
    "load",
    [("saturate", "--requests", "3000"), ("rate", "--rate", "300", "-d", "3")],
    ids=["saturate", "rate"],
)
def test_workers_on_three_nodes_share_a_load(runs, server, load):
    """Counts of workers and of the server reconcile, and each node has one worker."""
    run = runs.ran(*load, "--target", server.url, "--clients", "3")
    assert run.returncode == 0, run.stderr
    found = runs.results()
    workers = found["workers"]["workers"]
    assert [row["clients"] for row in workers] == [["client-0"], ["client-1"], ["client-2"]]
    assert sum(row["sent"] for row in workers) == found["summary"]["sent"]
    assert sum(row["completed"] for row in workers) <= found["summary"]["sent"] <= server.requests
    assert found["workers"]["start_skew_ms"] is not None
    roles = [row["role"] for row in found["placement"]]
    assert {"client-0", "client-1", "client-2", "worker-0", "worker-1", "worker-2"} <= {*roles}


@pytest.mark.parametrize(
    ("search", "code"),
    [
        (("sweep", "--rates", "20,40", "-d", "1s"), 0),
        (("capacity", "--slo", "p99<10s", "--start", "20", "--probes", "2", "-d", "1s", "--confirm-for", "1s"), 8),
    ],
    ids=["sweep", "capacity"],
)
def test_each_measurement_of_a_search_runs_on_workers(runs, server, search, code):
    """Which start anew; two probes confirm no capacity."""
    run = runs.ran(*search, "--target", server.url, "--clients", "2")
    assert run.returncode == code, run.stderr
    found = runs.all_results()
    assert len(found) >= 2
    assert all(len(each["workers"]["workers"]) == 2 for each in found)
    assert sum(each["summary"]["sent"] for each in found) <= server.requests


def test_a_search_is_ended_by_sigterm(runs, server):
    """Also after Ray was connected and disconnected, which has handlers of its own."""
    search = ("sweep", "--rates", "20,40,60", "-d", "1s", "--target", server.url, "--clients", "1")
    with runs.running(*search, until=" 1 of 4") as run:
        run.process.send_signal(signal.SIGTERM)
        assert run.exit_code() == 143
    assert "interrupted" in run.log


def test_a_cluster_is_reached_through_its_client_server(nodes, runs, server):
    """From a machine that is no node of it; no trace of Ray's threads is printed."""
    load = ("saturate", "--requests", "300", "--target", server.url, "--clients", "2")
    run = runs.ran(*load, "--workers", nodes.client_server)
    assert run.returncode == 0, run.stderr
    assert all(line.startswith("loadgen: the run is invalid") for line in run.stderr.splitlines()), run.stderr
    assert len(runs.results()["workers"]["workers"]) == 2


@pytest.mark.parametrize("way", ["address", "client_server"])
def test_a_connection_that_breaks_on_a_node_is_not_that_to_the_head(monkeypatch, nodes, way):
    """What an actor raises comes as it is."""
    from frontend_launch import ray_cluster  # behind an extra

    class Actor:
        async def work(self):
            raise ConnectionResetError("by its peer")

    async def scenario():
        async with ray_cluster.connected("ray"):
            actor = await ray_cluster.actor(Actor, (await ray_cluster.nodes())[0].node_id, 0)
            with pytest.raises(ConnectionResetError, match="by its peer"):
                await ray_cluster.answer(actor.work.remote)

    monkeypatch.setenv("RAY_ADDRESS", getattr(nodes, way))
    asyncio.run(scenario())


def test_a_connection_of_the_program_that_calls_is_used_and_stays(monkeypatch, nodes):
    """In Python, as of a job that uses Ray itself; each call watches the head anew."""
    import ray  # behind an extra

    from frontend_launch import ray_cluster

    async def scenario():
        async with ray_cluster.connected("ray"), ray_cluster.connected("ray"):
            return len(await ray_cluster.nodes()), ray_cluster.head_lost()

    monkeypatch.setenv("RAY_ADDRESS", nodes.address)
    ray.init(log_to_driver=False)
    try:
        assert [asyncio.run(scenario()) for _ in range(2)] == [(3, False)] * 2
        assert ray.is_initialized()
    finally:
        ray.shutdown()


STAYS = """
import sys, ray

class Holder:
    def held(self): return True

ray.init(sys.argv[1], namespace="tests", log_to_driver=False)
if sys.argv[2] == "end":
    ray.kill(ray.get_actor("holder"))
else:
    options = {"name": "holder", "lifetime": "detached", "num_cpus": 3}
    ray.get(ray.remote(Holder).options(**options).remote().held.remote())
"""
"""Starts or ends an actor that has the cores of a node, and goes on without the program that started it."""


def test_a_program_that_has_ended_is_not_named_for_cores_that_its_actors_have(nodes, runs, server):
    """It cannot be ended any more."""
    program = [sys.executable, "-c", STAYS, nodes.address]
    subprocess.run([*program, "begin"], check=True, timeout=60, capture_output=True)
    try:
        run = runs.ran("saturate", "--requests", "10", "--target", server.url, "--clients", "3")
    finally:
        subprocess.run([*program, "end"], check=True, timeout=60, capture_output=True)
    assert run.returncode == 4, run.stdout
    assert run.stderr.endswith("2 cores needed, 0 free; end what uses the node (`ray status`)\n"), run.stderr


@pytest.mark.parametrize(("sent", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_an_interrupt_ends_all(nodes, runs, server, sent, code):
    """What was measured is kept, and nothing is left."""
    with runs.running("saturate", "-d", "60s", "--target", server.url, "--clients", "3") as run:
        pids = clients(nodes).values()
        run.process.send_signal(sent)
        assert run.exit_code() == code
    assert len(pids) == 3
    assert gone(pids)
    assert runs.results()["ended"] == "interrupted"
    assert "SIGTERM received" not in run.log  # Ray's handler is not there


def test_a_coordinator_that_is_killed_leaves_nothing(nodes, runs, server):
    """The cluster ends its actors, and their clients end with them."""
    with runs.running("saturate", "-d", "60s", "--target", server.url, "--clients", "3") as run:
        pids = clients(nodes).values()
        run.process.kill()
    assert len(pids) == 3
    assert gone(pids)


def test_a_client_that_dies_makes_the_run_invalid_with_its_name(nodes, runs, server):
    """And what the others measured is kept."""
    with runs.running("saturate", "-d", "60s", "--target", server.url, "--clients", "2") as run:
        os.kill(clients(nodes)["client-1"], signal.SIGKILL)
        assert run.exit_code() == 6
    found = runs.results()
    (check,) = [check for check in found["certificate"] if check["name"] == "workers"]
    assert check["verdict"] == "failed"
    assert "worker-1 on" in check["measured"]
    assert "client-1 ended early, with exit code -9" in check["measured"]
    assert found["summary"]["completed"] > 0


def test_a_worker_that_dies_makes_the_run_invalid_with_its_name(nodes, runs, server):
    """Ray's words of it are not printed: standard output may be a document."""
    with runs.running("saturate", "-d", "60s", "--target", server.url, "--clients", "2") as run:
        pids = clients(nodes)
        os.kill(nodes.parts()[pids["client-1"]].actor, signal.SIGKILL)
        assert run.exit_code() == 6
    assert gone(pids.values())
    (check,) = [check for check in runs.results()["certificate"] if check["name"] == "workers"]
    assert (check["verdict"], check["measured"].startswith("worker-1 on")) == ("failed", True)
    assert "(raylet)" not in run.log


def test_a_worker_that_begins_late_makes_the_run_invalid_with_its_name(runs, server):
    """What was measured is kept."""
    path = os.pathsep.join(map(str, (SUPPORT, ROOT)))
    late = json.dumps({"worker_process_setup_hook": "late_worker.install", "env_vars": {"PYTHONPATH": path}})
    load = ("saturate", "--requests", "1000", "--target", server.url, "--clients", "2")
    run = runs.ran(*load, RAY_RUNTIME_ENV=late)
    assert run.returncode == 0, run.stderr
    found = runs.results()
    (check,) = [check for check in found["certificate"] if check["name"] == "workers"]
    assert check["verdict"] == "failed"
    assert "worker-1 on" in check["measured"]
    assert "client-1 began" in check["measured"]
    assert found["summary"]["completed"] == 1000


def test_a_node_that_dies_makes_the_run_invalid_with_its_name(nodes, runs, server):
    """The last of the tests: a node is gone."""
    with runs.running("saturate", "-d", "60s", "--target", server.url, "--clients", "3") as run:
        pids = clients(nodes).values()
        nodes.kill_raylet()
        assert run.exit_code() == 6
    assert gone(pids)
    (check,) = [check for check in runs.results()["certificate"] if check["name"] == "workers"]
    assert check["verdict"] == "failed"
    assert "cannot be reached" in check["measured"] or "lost" in check["measured"]
