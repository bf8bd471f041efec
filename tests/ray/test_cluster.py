"""Load from the nodes of a real Ray cluster: three nodes on this machine, with tiny object stores.

Without the extra these are skipped: make install EXTRAS=ray. Cluster and runs take one to three minutes.
"""

import json
import os
import select
import signal
import subprocess
import sys
import threading
import time
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

import pytest
from cluster_of_tests import counting_server
from ray_nodes import Nodes, own_address

CLIENTS = "loadgen.load.client_process"
STARTED_S, ENDED_S = 120.0, 60.0


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


def command(nodes, tmp_path, *arguments, workers="ray"):
    words = [sys.executable, "-m", "loadgen", *arguments, "--workers", workers, "--no-ceiling", "--log-every", "500ms"]
    environment = {**os.environ, "RAY_ADDRESS": nodes.address}
    return [*words, "--results-dir", str(tmp_path)], environment


def ran(nodes, tmp_path, *arguments, workers="ray"):
    words, environment = command(nodes, tmp_path, *arguments, workers=workers)
    return subprocess.run(words, env=environment, capture_output=True, text=True, timeout=STARTED_S + ENDED_S)


def results(tmp_path):
    (path,) = tmp_path.glob("results-*.json")
    return json.loads(path.read_text())


class Run:
    """A run whose output is read as it comes."""

    def __init__(self, process):
        self.process, self.log = process, ""
        self._told, self._ended = threading.Condition(), False
        self._reader = threading.Thread(target=self._read, name="output")
        self._reader.start()

    def _read(self):
        for line in self.process.stdout:
            with self._told:
                self.log += line
                self._told.notify_all()
        with self._told:
            self._ended = True
            self._told.notify_all()

    def until(self, text):
        """Wait until it says something."""
        with self._told:
            self._told.wait_for(lambda: text in self.log or self._ended, STARTED_S)
        assert text in self.log, self.log

    def exit_code(self):
        """Wait for its end."""
        code = self.process.wait(ENDED_S)
        self._reader.join()
        return code


@contextmanager
def running(nodes, tmp_path, *arguments, until="thruput"):
    """A run that has measured something, or said something else."""
    words, environment = command(nodes, tmp_path, *arguments)
    pipe = subprocess.PIPE
    with subprocess.Popen(words, env=environment, stdout=pipe, stderr=subprocess.STDOUT, text=True) as process:
        run = Run(process)
        try:
            run.until(until)
            yield run
        finally:
            process.kill()
            run.exit_code()


def parent(pid):
    return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])


def clients():
    """The client processes of workers, by their roles."""
    found = {}
    for path in Path("/proc").glob("[0-9]*"):
        with suppress(OSError, IndexError):
            words = (path / "cmdline").read_text().split("\0")
            above = Path(f"/proc/{parent(int(path.name))}/cmdline")
            if CLIENTS in words and above.read_text().startswith("ray::"):
                found[Path(words[words.index(CLIENTS) + 1]).stem] = int(path.name)
    return found


def gone(pids):
    """Whether processes end within the time that nothing may stay."""
    with ExitStack() as stack:
        left = select.poll()
        running = 0
        for pid in pids:
            with suppress(ProcessLookupError):
                descriptor = os.pidfd_open(pid)
                stack.callback(os.close, descriptor)
                left.register(descriptor, select.POLLIN)
                running += 1
        limit = time.monotonic() + ENDED_S
        while running:
            ended = left.poll(max(0, limit - time.monotonic()) * 1000)
            if not ended:
                return False
            for descriptor, _ in ended:
                left.unregister(descriptor)
            running -= len(ended)
    return True


@pytest.mark.parametrize(
    "load",
    [("saturate", "--requests", "3000"), ("rate", "--rate", "300", "-d", "3")],
    ids=["saturate", "rate"],
)
def test_workers_on_three_nodes_share_a_load(nodes, server, tmp_path, load):
    """Counts of workers and of the server reconcile, and each node has one worker."""
    run = ran(nodes, tmp_path, *load, "--target", server.url, "--clients", "3", "--allow-invalid")
    assert run.returncode == 0, run.stderr
    found = results(tmp_path)
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
def test_each_measurement_of_a_search_runs_on_workers(nodes, server, tmp_path, search, code):
    """Which start anew; two probes confirm no capacity."""
    run = ran(nodes, tmp_path, *search, "--target", server.url, "--clients", "2", "--allow-invalid")
    assert run.returncode == code, run.stderr
    found = [json.loads(path.read_text()) for path in tmp_path.rglob("results-*.json")]
    assert len(found) >= 2
    assert all(len(each["workers"]["workers"]) == 2 for each in found)
    assert sum(each["summary"]["sent"] for each in found) <= server.requests


def test_a_search_is_ended_by_sigterm(nodes, server, tmp_path):
    """Also after Ray was connected and disconnected, which has handlers of its own."""
    search = ("sweep", "--rates", "20,40,60", "-d", "1s", "--target", server.url, "--clients", "1")
    with running(nodes, tmp_path, *search, until=" 1 of 4") as run:
        run.process.send_signal(signal.SIGTERM)
        assert run.exit_code() == 143
    assert "interrupted" in run.log


def test_a_cluster_is_reached_through_its_client_server(nodes, server, tmp_path):
    """From a machine that is no node of it; no trace of Ray's threads is printed."""
    pytest.importorskip("grpc")
    load = ("saturate", "--requests", "300", "--target", server.url, "--clients", "2", "--allow-invalid")
    run = ran(nodes, tmp_path, *load, workers=nodes.client_server)
    assert run.returncode == 0, run.stderr
    assert all(line.startswith("loadgen: the run is invalid") for line in run.stderr.splitlines()), run.stderr
    assert len(results(tmp_path)["workers"]["workers"]) == 2


@pytest.mark.parametrize(("sent", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_an_interrupt_ends_all(nodes, server, tmp_path, sent, code):
    """What was measured is kept, and nothing is left."""
    with running(nodes, tmp_path, "saturate", "-d", "60s", "--target", server.url, "--clients", "3") as run:
        pids = clients().values()
        run.process.send_signal(sent)
        assert run.exit_code() == code
    assert len(pids) == 3
    assert gone(pids)
    assert results(tmp_path)["ended"] == "interrupted"
    assert "SIGTERM received" not in run.log  # Ray's handler is not there


def test_a_coordinator_that_is_killed_leaves_nothing(nodes, server, tmp_path):
    """The cluster ends its actors, and their clients end with them."""
    with running(nodes, tmp_path, "saturate", "-d", "60s", "--target", server.url, "--clients", "3") as run:
        pids = clients().values()
        run.process.kill()
    assert len(pids) == 3
    assert gone(pids)


def test_a_client_that_dies_makes_the_run_invalid_with_its_name(nodes, server, tmp_path):
    """And what the others measured is kept."""
    with running(nodes, tmp_path, "saturate", "-d", "60s", "--target", server.url, "--clients", "2") as run:
        os.kill(clients()["client-1"], signal.SIGKILL)
        assert run.exit_code() == 6
    found = results(tmp_path)
    (check,) = [check for check in found["certificate"] if check["name"] == "workers"]
    assert check["verdict"] == "failed"
    assert "worker-1 on" in check["measured"]
    assert "client-1 ended early, with exit code -9" in check["measured"]
    assert found["summary"]["completed"] > 0


def test_a_worker_that_dies_makes_the_run_invalid_with_its_name(nodes, server, tmp_path):
    """Ray's words of it are not printed: standard output may be a document."""
    with running(nodes, tmp_path, "saturate", "-d", "60s", "--target", server.url, "--clients", "2") as run:
        pids = clients()
        os.kill(parent(pids["client-1"]), signal.SIGKILL)
        assert run.exit_code() == 6
    assert gone(pids.values())
    (check,) = [check for check in results(tmp_path)["certificate"] if check["name"] == "workers"]
    assert (check["verdict"], check["measured"].startswith("worker-1 on")) == ("failed", True)
    assert "(raylet)" not in run.log


def test_a_node_that_dies_makes_the_run_invalid_with_its_name(nodes, server, tmp_path):
    """The last of the tests: a node is gone."""
    with running(nodes, tmp_path, "saturate", "-d", "60s", "--target", server.url, "--clients", "3") as run:
        pids = clients().values()
        nodes.kill_raylet()
        assert run.exit_code() == 6
    assert gone(pids)
    (check,) = [check for check in results(tmp_path)["certificate"] if check["name"] == "workers"]
    assert check["verdict"] == "failed"
    assert "cannot be reached" in check["measured"] or "lost" in check["measured"]
