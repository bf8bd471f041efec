"""Replicas and frontends on the nodes of a real Ray cluster: three nodes on this machine.

Without the extra these are skipped: make install EXTRAS=ray. Cluster and runs take one to three minutes.
"""

import json
import os
import signal
import subprocess
import sys
import time
from contextlib import contextmanager
from pathlib import Path

import pytest
from ray_nodes import ENDED_S, Nodes, gone

STARTED_S = 120.0


@pytest.fixture(scope="module")
def nodes():
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    cluster = Nodes()
    yield cluster
    cluster.shutdown()


def command(nodes, tmp_path, *arguments):
    words = [sys.executable, "-m", "loadgen", "saturate", "-m", "noop", "--runtime", "ray", *arguments]
    environment = {**os.environ, "RAY_ADDRESS": nodes.address}
    return [
        *words,
        "--no-ceiling",
        "--allow-invalid",
        "--log-every",
        "500ms",
        "--results-dir",
        str(tmp_path),
    ], environment


def ran(nodes, tmp_path, *arguments):
    words, environment = command(nodes, tmp_path, *arguments)
    return subprocess.run(words, env=environment, capture_output=True, text=True, timeout=STARTED_S + ENDED_S)


def results(tmp_path):
    (path,) = tmp_path.glob("results-*.json")
    return json.loads(path.read_text())


@contextmanager
def running(nodes, tmp_path, *arguments):
    """A run that has measured something."""
    words, environment = command(nodes, tmp_path, "-d", "60s", *arguments)
    log = (tmp_path / "log").open("w+")
    with log, subprocess.Popen(words, env=environment, stdout=log, stderr=log, text=True) as process:
        try:
            limit = time.monotonic() + STARTED_S
            while "thruput" not in Path(log.name).read_text():
                assert process.poll() is None, Path(log.name).read_text()
                assert time.monotonic() < limit
                time.sleep(0.05)
            yield process
        finally:
            process.kill()


def test_replicas_on_other_nodes_count_as_the_client_does(nodes, tmp_path):
    """Client, frontends and replicas reconcile; each replica has a node, its logs come here."""
    run = ran(nodes, tmp_path, "--replicas", "3", "--frontends", "2", "--requests", "3000", "--verify", "1")
    assert run.returncode == 0, run.stderr
    found = results(tmp_path)
    counters = found["frontend_counters"]
    assert found["summary"]["completed"] == counters["replies"] == found["answers"]["compared"] == 3000
    assert sum(row["queries"] for row in counters["replicas"].values()) == 3000
    rows = {row["role"]: row for row in found["placement"]}
    assert len({rows[f"replica-{number}"]["node"] for number in range(3)}) == 3
    assert [rows[f"frontends-{number}"]["node"] for number in range(2)] == [
        rows[f"replica-{number}"]["node"] for number in range(2)
    ]
    (logs,) = tmp_path.glob("*.logs")
    assert {f"replica-{number}.log" for number in range(3)} <= {path.name for path in logs.iterdir()}
    assert found["node_configs"][0]["runtime"] == "ray"
    assert not nodes.parts()


def test_a_dry_run_names_the_nodes(nodes, tmp_path):
    """And starts nothing on them."""
    run = ran(nodes, tmp_path, "--replicas", "3", "--dry-run")
    assert run.returncode == 0, run.stderr
    assert "#2" in run.stdout
    assert "#3" in run.stdout


def test_load_and_replicas_share_the_cluster(nodes, tmp_path):
    """Workers get the cores that replicas leave."""
    run = ran(nodes, tmp_path, "--replicas", "2", "--workers", "ray", "--clients", "2", "--requests", "2000")
    assert run.returncode == 0, run.stderr
    found = results(tmp_path)
    assert found["frontend_counters"]["replies"] == found["summary"]["completed"] == 2000
    assert sum(row["completed"] for row in found["workers"]["workers"]) == 2000


def test_an_interrupt_ends_all(nodes, tmp_path):
    """What was measured is kept, and nothing is left."""
    with running(nodes, tmp_path, "--replicas", "2") as process:
        pids = nodes.parts()
        process.send_signal(signal.SIGINT)
        assert process.wait(ENDED_S) == 130
    assert len(pids) == 3
    assert gone(pids)
    assert results(tmp_path)["ended"] == "interrupted"


def test_a_coordinator_that_is_killed_leaves_nothing(nodes, tmp_path):
    """The cluster ends its actors, and their processes end with them."""
    with running(nodes, tmp_path, "--replicas", "2") as process:
        pids = nodes.parts()
        process.kill()
    assert len(pids) == 3
    assert gone(pids)


def test_the_actor_of_a_replica_that_dies_is_named(nodes, tmp_path):
    """The replica ends with it, the other one goes on."""
    with running(nodes, tmp_path, "--replicas", "2") as process:
        pids = nodes.parts()
        (replica, *_) = [part for part in pids.values() if "model_containers" in part.words]
        os.kill(replica.actor, signal.SIGKILL)
        limit = time.monotonic() + ENDED_S
        while "1 replica goes on" not in (tmp_path / "log").read_text():
            assert time.monotonic() < limit
            time.sleep(0.05)
        process.send_signal(signal.SIGINT)
        assert process.wait(ENDED_S) == 130
    assert gone(pids)
    lost = "is lost: the actor that supervises it, or its node, cannot be reached; 1 replica goes on"
    assert any(lost in note for note in results(tmp_path)["notes"])


def test_a_node_that_dies_is_named(nodes, tmp_path):
    """The last of the tests: a node is gone."""
    with running(nodes, tmp_path, "--replicas", "3") as process:
        pids = nodes.parts()
        nodes.kill_raylet()
        limit = time.monotonic() + ENDED_S
        while process.poll() is None and "cannot be reached" not in (tmp_path / "log").read_text():
            assert time.monotonic() < limit
            time.sleep(0.05)
        process.send_signal(signal.SIGINT)
        process.wait(ENDED_S)
    assert gone(pids)
    assert " is lost: " in (tmp_path / "log").read_text()
