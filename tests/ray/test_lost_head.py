"""The head of a real Ray cluster dies in mid-run: each test has a cluster of its own, of three nodes on this machine.

Without the extra these are skipped: make install EXTRAS=ray. Each takes half a minute.
"""

import json
import os
import select
import signal

import pytest
from cluster_of_tests import counting_server
from ray_nodes import Nodes, own_address
from ray_runs import STARTED_S, Runs, gone

LOST = "the connection to the head of the cluster is lost"
REPLICAS = ("-m", "noop", "--runtime", "ray", "--replicas", "2")
CLIENTS = ("--workers", "ray", "--clients", "3")


@pytest.fixture
def nodes():
    cluster = Nodes()
    yield cluster
    cluster.shutdown()


@pytest.fixture
def runs(nodes, tmp_path):
    return Runs(nodes, tmp_path)


def failed(found):
    """The names of the checks of the certificate that failed."""
    return [row["name"] for row in found["certificate"] if row["verdict"] == "failed"]


@pytest.mark.parametrize("killed", [("gcs_server",), ("gcs_server", "raylet")], ids=["head", "its-node"])
@pytest.mark.parametrize(
    ("options", "ended", "check"),
    [(REPLICAS, "server_lost", "run complete"), ((*REPLICAS, *CLIENTS), "client_lost", "workers")],
    ids=["replicas", "both"],
)
def test_a_run_with_replicas_ends_and_keeps_its_results(nodes, runs, options, ended, check, killed):
    """What is still there hands in what it measured; nothing is left on any node."""
    with runs.running("saturate", "-d", "60s", *options) as run:
        pids = nodes.parts()
        nodes.kill_head(*killed)
        assert run.exit_code() == 6, run.log
    assert gone(pids)
    found = runs.results()
    assert found["ended"] == ended
    assert check in failed(found)
    assert found["summary"]["completed"] > 0


def test_a_run_against_a_server_ends_and_keeps_its_results(nodes, runs):
    """Of workers that are still there; the run is invalid because of them."""
    with (
        counting_server(own_address()) as server,
        runs.running("saturate", "-d", "60s", "--target", server.url, *CLIENTS) as run,
    ):
        pids = nodes.parts()
        nodes.kill_head("gcs_server")
        assert run.exit_code() == 6, run.log
    assert gone(pids)
    found = runs.results()
    assert found["ended"] == "client_lost"
    assert "workers" in failed(found)
    assert any(LOST in fault for row in found["workers"]["workers"] for fault in row["faults"])
    assert all(row["completed"] > 0 for row in found["workers"]["workers"])


def test_an_interrupt_ends_a_run_without_a_head(nodes, runs):
    """Also where that is not known yet."""
    with runs.running("saturate", "-d", "60s", *REPLICAS) as run:
        pids = nodes.parts()
        nodes.kill_head()
        run.process.send_signal(signal.SIGINT)
        assert run.exit_code() == 130, run.log
    assert gone(pids)
    assert runs.results()["ended"] == "interrupted"


def test_a_client_server_that_is_gone_ends_a_run(nodes, runs):
    """The connection to it breaks, and is not made again."""
    with runs.running("saturate", "-d", "60s", *REPLICAS, RAY_ADDRESS=nodes.client_server) as run:
        pids = nodes.parts()
        nodes.kill_head("ray_client_server", "gcs_server", "raylet")
        assert run.exit_code() == 6, run.log
    assert gone(pids)
    assert LOST in run.log
    assert "data channel" not in run.log
    assert runs.results()["summary"]["completed"] > 0


def test_a_deployment_that_stays_ends_without_a_head(nodes, runs):
    """With the reason, before Ray ends it without one."""
    with runs.running("up", *REPLICAS, until="serving until Ctrl-C") as run:
        pids = nodes.parts()
        nodes.kill_head()
        assert run.exit_code() == 4, run.log
    assert gone(pids)
    assert LOST in run.log


def test_logs_that_are_followed_end_without_a_head(nodes, runs):
    """With the reason, and the deployment and its cluster named."""
    with (
        runs.running("up", *REPLICAS, until="serving until Ctrl-C") as run,
        runs.running("logs", "--follow", until="registered", RAY_ADDRESS="") as followed,
    ):
        nodes.kill_head("gcs_server")
        assert followed.exit_code() == 4, followed.log
        assert run.exit_code() == 4, run.log
    said = followed.log.splitlines()[-1]
    assert said.startswith(f"loadgen: pid-{run.process.pid}: its cluster {nodes.address}: {LOST}; ")


def test_a_head_that_dies_while_nodes_get_an_environment_is_the_reason(nodes, runs, tmp_path):
    """Not the environment, nor the node."""
    began, python = tmp_path / "began", tmp_path / "python"
    os.mkfifo(began)
    lines = ["#!/bin/sh", f"echo 1<> {began}  # which waits for no reader"]
    python.write_text("\n".join([*lines, "while kill -0 $PPID; do sleep 1; done", ""]))  # as long as its node
    python.chmod(0o755)
    environment = json.dumps({"py_executable": str(python)})
    with (
        runs.running("saturate", "--dry-run", *REPLICAS, until="", RAY_RUNTIME_ENV=environment) as run,
        open(os.open(began, os.O_RDONLY | os.O_NONBLOCK)) as worker,
    ):
        assert select.select([worker], [], [], STARTED_S)[0], run.log
        nodes.kill_head("gcs_server")
        assert run.exit_code() == 4, run.log
    assert run.log == f"loadgen: RAY_ADDRESS {nodes.address}: {LOST}; check that its head runs\n"


@pytest.mark.parametrize(
    ("verb", "until", "code"),
    [
        (("saturate", "-d", "60s", *REPLICAS), "requests in flight", 4),
        (("saturate", "-d", "60s", *REPLICAS), "ports on", 4),
        (("rate", "--rate", "50", "-d", "60s", *REPLICAS, "--restart-replicas"), "thruput", 6),
    ],
    ids=["planned", "starting", "replacing"],
)
def test_a_head_that_dies_at_another_moment_ends_a_run(nodes, runs, verb, until, code):
    """Nothing waits for it until Ray ends the program."""
    with runs.running(*verb, until=until) as run:
        pids = nodes.parts()
        nodes.kill_head("gcs_server")
        assert run.exit_code() == code, run.log
    assert gone(pids)
    assert LOST in run.log
    assert len(runs.all_results()) == (code == 6)


def test_a_sweep_ends_with_what_it_has(nodes, runs):
    """Instead of more cells, which would have no workers."""
    with (
        counting_server(own_address()) as server,
        runs.running("sweep", "--rates", "20,40,60", "-d", "25s", "--target", server.url, *CLIENTS) as run,
    ):
        nodes.kill_head("gcs_server")
        assert run.exit_code() in (4, 6), run.log
    assert LOST in run.log
    assert len(runs.all_results()) == 1
