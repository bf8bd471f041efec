"""Load from the nodes of a real Ray cluster: three nodes on this machine, with tiny object stores.

Without the extra these are skipped: make install EXTRAS=ray. Cluster and runs take one to three minutes.
"""

import json
import os
import signal
import socket
import subprocess
import sys
import time
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest
from cluster_of_tests import counting_server

CLIENTS = "loadgen.load.client_process"
STORE_BYTES = 80 << 20
STARTED_S, ENDED_S = 120.0, 60.0


class Nodes:
    """A cluster of three nodes."""

    def __init__(self):
        from ray.cluster_utils import Cluster

        head = {"num_cpus": 3, "object_store_memory": STORE_BYTES, "include_dashboard": False}
        self._cluster = Cluster(initialize_head=True, head_node_args=head)
        self._others = [self._cluster.add_node(num_cpus=3, object_store_memory=STORE_BYTES) for _ in range(2)]
        self.address = self._cluster.address

    def kill_raylet(self):
        """Of the last node, which no later run has any more."""
        os.kill(self._others.pop().all_processes["raylet"][0].process.pid, signal.SIGKILL)

    def shutdown(self):
        self._cluster.shutdown()


@pytest.fixture(scope="module")
def nodes():
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    cluster = Nodes()
    yield cluster
    cluster.shutdown()


@pytest.fixture
def server():
    with counting_server(own_address()) as found:
        yield found


def own_address():
    """An address of this machine that is no loopback address, as other machines would use it."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(("192.0.2.1", 9))  # nothing is sent
            return probe.getsockname()[0]
        except OSError:
            return "127.0.0.1"


def command(nodes, tmp_path, *arguments):
    words = [sys.executable, "-m", "loadgen", *arguments, "--workers", "ray", "--no-ceiling", "--log-every", "500ms"]
    environment = {**os.environ, "RAY_ADDRESS": nodes.address}
    return [*words, "--results-dir", str(tmp_path)], environment


def ran(nodes, tmp_path, *arguments):
    words, environment = command(nodes, tmp_path, *arguments)
    run = subprocess.run(words, env=environment, capture_output=True, text=True, timeout=STARTED_S + ENDED_S)
    return run, results(tmp_path)


def results(tmp_path):
    (path,) = tmp_path.glob("results-*.json")
    return json.loads(path.read_text())


@contextmanager
def running(nodes, tmp_path, *arguments):
    """A run that has measured something."""
    words, environment = command(nodes, tmp_path, *arguments)
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


def clients():
    """The client processes of workers, by their roles."""
    found = {}
    for path in Path("/proc").glob("[0-9]*"):
        with suppress(OSError, IndexError):
            words = (path / "cmdline").read_text().split("\0")
            parent = (path / "stat").read_text().rpartition(")")[2].split()[1]
            if CLIENTS in words and Path(f"/proc/{parent}/cmdline").read_text().startswith("ray::"):
                found[Path(words[words.index(CLIENTS) + 1]).stem] = int(path.name)
    return found


def gone(pids):
    """Whether processes end within the time that nothing may stay."""
    limit = time.monotonic() + ENDED_S
    while any(Path(f"/proc/{pid}").exists() for pid in pids):
        if time.monotonic() > limit:
            return False
        time.sleep(0.05)
    return True


@pytest.mark.parametrize(
    "load",
    [("saturate", "--requests", "3000"), ("rate", "--rate", "300", "-d", "3")],
    ids=["saturate", "rate"],
)
def test_workers_on_three_nodes_share_a_load(nodes, server, tmp_path, load):
    """Counts of workers and of the server reconcile, and each node has one worker."""
    run, found = ran(nodes, tmp_path, *load, "--target", server.url, "--clients", "3", "--allow-invalid")
    assert run.returncode == 0, run.stderr
    workers = found["workers"]["workers"]
    assert [row["clients"] for row in workers] == [["client-0"], ["client-1"], ["client-2"]]
    assert sum(row["sent"] for row in workers) == found["summary"]["sent"]
    assert sum(row["completed"] for row in workers) <= found["summary"]["sent"] <= server.requests
    assert found["workers"]["start_skew_ms"] is not None
    roles = [row["role"] for row in found["placement"]]
    assert {"client-0", "client-1", "client-2", "worker-0", "worker-1", "worker-2"} <= {*roles}


def test_an_interrupt_ends_all(nodes, server, tmp_path):
    """What was measured is kept, and nothing is left."""
    with running(nodes, tmp_path, "saturate", "-d", "60s", "--target", server.url, "--clients", "3") as process:
        pids = clients().values()
        process.send_signal(signal.SIGINT)
        assert process.wait(ENDED_S) == 130
    assert len(pids) == 3
    assert gone(pids)
    assert results(tmp_path)["ended"] == "interrupted"


def test_a_coordinator_that_is_killed_leaves_nothing(nodes, server, tmp_path):
    """The cluster ends its actors, and their clients end with them."""
    with running(nodes, tmp_path, "saturate", "-d", "60s", "--target", server.url, "--clients", "3") as process:
        pids = clients().values()
        process.kill()
    assert len(pids) == 3
    assert gone(pids)


def test_a_client_that_dies_makes_the_run_invalid_with_its_name(nodes, server, tmp_path):
    """And what the others measured is kept."""
    with running(nodes, tmp_path, "saturate", "-d", "60s", "--target", server.url, "--clients", "2") as process:
        os.kill(clients()["client-1"], signal.SIGKILL)
        assert process.wait(ENDED_S) == 6
    found = results(tmp_path)
    (check,) = [check for check in found["certificate"] if check["name"] == "workers"]
    assert check["verdict"] == "failed"
    assert "worker-1 on" in check["measured"]
    assert "client-1 ended early, with exit code -9" in check["measured"]
    assert found["summary"]["completed"] > 0


def test_a_node_that_dies_makes_the_run_invalid_with_its_name(nodes, server, tmp_path):
    """The last of the tests: a node is gone."""
    with running(nodes, tmp_path, "saturate", "-d", "60s", "--target", server.url, "--clients", "3") as process:
        pids = clients().values()
        nodes.kill_raylet()
        assert process.wait(ENDED_S) == 6
    assert gone(pids)
    (check,) = [check for check in results(tmp_path)["certificate"] if check["name"] == "workers"]
    assert check["verdict"] == "failed"
    assert "cannot be reached" in check["measured"] or "lost" in check["measured"]
