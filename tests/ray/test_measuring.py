"""The verbs that measure, with replicas, frontends and clients on the nodes of a real Ray cluster of three nodes.

Without the extra these are skipped: make install EXTRAS=ray. Cluster and runs take two to four minutes.
"""

import json
import os
import signal
import subprocess
import sys
import time
from contextlib import contextmanager

import pytest
from ray_nodes import Nodes
from ray_runs import ENDED_S, gone

STARTED_S = 120.0


@pytest.fixture(scope="module")
def nodes():
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    cluster = Nodes()
    yield cluster
    cluster.shutdown()


def command(nodes, tmp_path, verb, *arguments, runtime="ray"):
    words = [sys.executable, "-m", "loadgen", verb, "-m", "noop", "--runtime", runtime, *arguments]
    environment = {**os.environ, "RAY_ADDRESS": nodes.address}
    return [*words, "--no-ceiling", "--allow-invalid", "--results-dir", str(tmp_path)], environment


def ran(nodes, tmp_path, *arguments, runtime="ray"):
    words, environment = command(nodes, tmp_path, *arguments, runtime=runtime)
    return subprocess.run(words, env=environment, capture_output=True, text=True, timeout=STARTED_S + ENDED_S)


@contextmanager
def running(nodes, tmp_path, *arguments, until="thruput"):
    """A run that has said something, with the file that has its output."""
    words, environment = command(nodes, tmp_path, *arguments)
    path = tmp_path / "log"
    with path.open("w") as log, subprocess.Popen(words, env=environment, stdout=log, stderr=log) as process:
        try:
            said(path, until, process)
            yield process, path
        finally:
            process.kill()


def said(path, text, process):
    """Wait until a run says something."""
    limit = time.monotonic() + STARTED_S
    while text not in path.read_text():
        assert process.poll() is None, path.read_text()
        assert time.monotonic() < limit, path.read_text()
        time.sleep(0.05)


def all_results(tmp_path):
    return [json.loads(path.read_text()) for path in sorted(tmp_path.rglob("results-*.json"))]


AT_THE_EDGES = 5
"""Requests on their way when frontends are asked, at the begin and at the end of a schedule."""


def reconciles(found, edges=AT_THE_EDGES):
    """Whether workers, frontends and replicas count the same requests, all of which were answered."""
    counters, sent = found["frontend_counters"], found["summary"]["sent"]
    queries = sum(row["queries"] for row in counters["replicas"].values())
    if found["workers"] is not None and sum(row["sent"] for row in found["workers"]["workers"]) != sent:
        return False
    return found["summary"]["completed"] == sent and all(0 <= sent - n <= edges for n in (counters["replies"], queries))


def homes(found):
    """The nodes of the replicas."""
    return {row["node"] for row in found["placement"] if row["role"].startswith("replica-")}


WORKERS = ("--workers", "ray", "--clients", "2")
"""Clients on the nodes too."""


@pytest.mark.parametrize("workers", [(), WORKERS], ids=["client here", "workers"])
def test_a_rate_is_counted_alike_by_all(nodes, tmp_path, workers):
    """Replicas are on three nodes; nothing is left."""
    load = ("rate", "--rate", "100", "-d", "2s", "--warmup", "0")
    run = ran(nodes, tmp_path, *load, "--replicas", "3", "--frontends", "2", *workers)
    assert run.returncode == 0, run.stderr
    (found,) = all_results(tmp_path)
    assert found["summary"]["completed"] == 200
    assert reconciles(found), found["frontend_counters"]
    assert len(homes(found)) == 3
    assert found["placement"][0]["role"] == ("coordinator" if workers else "client")
    assert not nodes.parts()


def test_a_sweep_connects_once_and_skips_what_the_nodes_lack(nodes, tmp_path):
    """Once for its plan, and once for all of its cells."""
    before = nodes.connections()
    sizes = ("-r", "1,2,9", "-b", "1", "--rates", "50", "-d", "1s", "--warmup", "0")
    run = ran(nodes, tmp_path, "sweep", *sizes, "--skip-impossible", *WORKERS)
    assert run.returncode == 0, run.stderr
    assert "r9-c1: 9 replicas of 1 core: the 3 nodes of the cluster have room for 6" in run.stdout
    found = all_results(tmp_path)
    assert [len(homes(each)) for each in found] == [1, 2, 1]
    assert all(reconciles(each) for each in found)
    assert nodes.connections() - before == 2
    assert not nodes.parts()


def test_a_sweep_that_the_nodes_cannot_place_is_refused(nodes, tmp_path):
    """Before anything is started."""
    run = ran(nodes, tmp_path, "sweep", "-r", "1,9", "-d", "1s")
    assert run.returncode == 3
    assert "measure the others with --skip-impossible" in run.stderr
    assert not all_results(tmp_path)


def test_each_probe_of_a_capacity_is_counted_alike_by_all(nodes, tmp_path):
    """Two probes confirm no capacity."""
    probes = ("--slo", "p99<10s", "--start", "20", "--probes", "2", "-d", "1s", "--warmup", "0")
    run = ran(nodes, tmp_path, "capacity", *probes, "--replicas", "2", *WORKERS)
    assert run.returncode == 8, run.stderr
    found = all_results(tmp_path)
    assert len(found) == 2
    assert all(reconciles(each) for each in found)
    assert all(len(homes(each)) == 2 for each in found)
    assert not nodes.parts()


def test_the_cheapest_size_of_a_cluster_is_found(nodes, tmp_path):
    """Of those that its nodes have room for."""
    asked = ("--rate", "30", "--slo", "p99<10s", "--within", "60s", "-r", "1,9", "-p", "1", "-b", "1")
    run = ran(nodes, tmp_path, "size", *asked, *WORKERS)
    assert run.returncode == 0, run.stderr
    assert "r1-c1-b1: 1 replica x 1 core" in run.stdout
    assert all(len(each["workers"]["workers"]) == 2 for each in all_results(tmp_path))
    assert not nodes.parts()


def test_a_cluster_is_reached_through_its_client_server(nodes, tmp_path):
    """From a machine that is no node of it; its own row in the plan is of none."""
    pytest.importorskip("grpc")
    run = ran(nodes, tmp_path, "saturate", "--requests", "1000", "--replicas", "3", runtime=nodes.client_server)
    assert run.returncode == 0, run.stderr
    (found,) = all_results(tmp_path)
    assert reconciles(found, edges=0)
    assert found["placement"][0]["node"] not in homes(found)
    assert not nodes.parts()


def test_a_cluster_of_one_run_serves_and_sends(nodes, tmp_path):
    """Where replicas have all of its cores, clients share them."""
    load = ("rate", "--rate", "50", "-d", "1s", "--warmup", "0", "--workers", "ray:local")
    run = ran(nodes, tmp_path, *load, runtime="ray:local")
    assert run.returncode == 0, run.stderr
    (found,) = all_results(tmp_path)
    assert reconciles(found)


@pytest.mark.parametrize(
    ("verb", "until", "text"),
    [
        (("rate", "--rate", "50", "-d", "60s", "--log-every", "500ms"), "thruput", "Saved results"),
        (("sweep", "--rates", "20,40", "-d", "2s"), " 1 of 3", "interrupted before the sweep was finished"),
    ],
    ids=["rate", "sweep"],
)
def test_an_interrupt_keeps_what_was_measured(nodes, tmp_path, verb, until, text):
    """And nothing is left of replicas, frontends and clients."""
    with running(nodes, tmp_path, *verb, "--replicas", "2", *WORKERS, until=until) as (process, log):
        pids = nodes.parts()
        process.send_signal(signal.SIGINT)
        assert process.wait(ENDED_S) == 130
    assert text in log.read_text()
    assert pids
    assert gone(pids)
    assert all_results(tmp_path)


def lost_node(nodes, tmp_path, with_frontends, *arguments):
    """The exit code and results of a rate during which a node dies: one with frontends, or with replicas only."""
    load = ("rate", "--rate", "50", "-d", "15s", "--log-every", "500ms")
    with running(nodes, tmp_path, *load, *arguments) as (process, log):
        parts = nodes.parts()
        serving = {part.raylet for part in parts.values() if "frontend_launch" in part.words}
        (raylet, *_) = serving if with_frontends else nodes.others() - serving
        nodes.kill_raylet(raylet)
        code = process.wait(STARTED_S)
    (found,) = all_results(tmp_path)
    assert gone(parts)
    assert " is lost: " in log.read_text()
    return code, found


def test_a_rate_goes_on_without_a_node_of_replicas(nodes, tmp_path):
    """Of the last tests: a node is gone. Check and note say which replica went with it."""
    code, found = lost_node(nodes, tmp_path, False, "--replicas", "3")
    assert code == 0
    (check,) = [check for check in found["certificate"] if check["name"] == "replicas alive"]
    assert (check["verdict"], check["measured"][:6]) == ("noted", "2 of 3")
    assert any("cannot be reached; 2 replicas go on" in note for note in found["notes"])
    assert found["ended"] == "schedule"


def test_a_rate_ends_with_the_node_of_its_frontends(nodes, tmp_path):
    """The last of the tests: another node is gone. What was measured is kept."""
    code, found = lost_node(nodes, tmp_path, True, "--replicas", "2")
    assert code == 6
    assert found["summary"]["completed"] > 0
