"""``--clients`` as a user types it."""

import contextlib
import os
import re
import signal
import time
from http.client import HTTPConnection
from pathlib import Path

import numpy as np
import pytest
from program import BRIEFLY, DEADLINE_S, keeps_schema, noop, ran, started, until

from frontend_launch.counters import Counters
from frontend_launch.histogram import LatencyHistogram
from loadgen.results import files


def results_in(tmp_path):
    (path,) = (tmp_path / "results").glob("*.json")
    return files.read(path)


def children_of(process):
    """The command lines of its child processes, by their ids."""
    lines = {}
    for pid in Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split():
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):  # it has ended since
            lines[int(pid)] = Path(f"/proc/{pid}/cmdline").read_text().split("\0")
    return lines


def test_histograms_of_several_clients_are_one(tmp_path):
    """Bucket for bucket that of the rows of all requests, and the schedule is that of a single client."""
    log = tmp_path / "requests.npz"
    arguments = ("--rate", "300", "--arrivals", "poisson", "-d", "1s", "--log-every", "250ms")
    done = ran(noop(tmp_path, "rate", "-n", "4", *BRIEFLY, *arguments, "--requests-log", str(log)))
    assert done.returncode == 0, done.stderr
    results, rows = results_in(tmp_path), np.load(log)
    assert sorted(set(rows["client"].tolist())) == [0, 1, 2, 3]
    measured_from_ns = np.sort(rows["planned_ns"])[-results.summary.planned]
    measured = rows["planned_ns"] >= measured_from_ns
    single = LatencyHistogram()
    single.record((rows["done_ns"] - rows["planned_ns"])[measured])
    assert np.array_equal(LatencyHistogram.decode(results.histograms.latency).counts, single.counts)
    assert results.summary.planned == results.summary.measured.sent == int(measured.sum())
    assert len(re.findall("thruput", done.stdout)) == len(results.client_metrics.thrus) == 4
    assert results.verdict.evidence.clients == 4
    assert {row.role for row in results.placement} == {
        "client",
        "frontends",
        "replica-0",
        *(f"client-{number}" for number in range(4)),
    }
    keeps_schema(results.document())


@pytest.mark.parametrize(
    ("kill", "code", "ended"), [(False, 130, "interrupted"), (True, 6, "client_lost")], ids=["Ctrl-C", "one is killed"]
)
def test_what_was_measured_is_kept(tmp_path, kill, code, ended):
    """Of all clients, or of those that are left; and no process stays."""
    process = started(noop(tmp_path, "saturate", *BRIEFLY, "-n", "2", "-d", "60s", "--log-every", "300ms"))
    children = children_of(process)
    senders = [pid for pid, line in children.items() if "loadgen.load.client_process" in line]
    assert len(senders) == 2
    os.kill(*((senders[0], signal.SIGKILL) if kill else (process.pid, signal.SIGINT)))
    _, said = process.communicate(timeout=DEADLINE_S)
    assert process.returncode == code, said
    results = results_in(tmp_path)
    assert results.ended == ended
    assert results.summary.measured.completed > 0
    assert results.verdict.evidence.clients == (1 if kill else 2)
    assert any(check.name == "run complete" for check in results.certificate) == kill
    assert not any(Path(f"/proc/{pid}").exists() for pid in children)


def metrics_of(process):
    """Where the sampler reads the metrics of the query frontend, once it runs."""
    words = [word for line in children_of(process).values() for word in line]
    return [word.removeprefix("--frontend=") for word in words if word.startswith("--frontend=")]


def requests_at(metrics):
    """How many requests the query frontend has read."""
    with contextlib.closing(HTTPConnection(metrics, timeout=DEADLINE_S)) as connection:
        connection.request("GET", "/metrics/loadgen")
        return Counters.from_json(connection.getresponse().read()).requests


def test_ctrl_c_does_not_wait_for_the_warm_up(tmp_path):
    """Nothing was measured then, which is said."""
    process = started(noop(tmp_path, "saturate", "-n", "2", "-d", "60s", "--warmup", "10m"), "replicas ready")
    (metrics,) = until(lambda: metrics_of(process))
    until(lambda: requests_at(metrics))  # the clients are warming up
    os.kill(process.pid, signal.SIGINT)
    said, _ = process.communicate(timeout=DEADLINE_S)
    assert process.returncode == 130
    assert "nothing was measured" in said
    assert results_in(tmp_path).summary.sent > 0


@pytest.mark.parametrize(
    ("clients", "who"),
    [(1, "the command"), (2, "the command"), (2, "its clients")],
    ids=["one client", "the leader of two clients", "two clients"],
)
def test_a_client_that_was_stopped_reads_what_has_arrived(tmp_path, clients, who):
    """For longer than its patience, while the server has answered all; nothing is lost, and the reader is told."""
    stall_s = 2.0
    words = ("-n", str(clients), "-d", "3s", "--max-in-flight", "50", "--stall", f"{stall_s}s", "--log-every", "200ms")
    process = started(noop(tmp_path, "saturate", *BRIEFLY, *words))
    senders = [pid for pid, line in children_of(process).items() if "loadgen.load.client_process" in line]
    stopped = senders if who == "its clients" else [process.pid]
    for pid in stopped:
        os.kill(pid, signal.SIGSTOP)
    goes_on_s = time.monotonic() + 2 * stall_s
    until(lambda: time.monotonic() > goes_on_s)
    for pid in stopped:
        os.kill(pid, signal.SIGCONT)
    _, said = process.communicate(timeout=DEADLINE_S)
    assert process.returncode == 0, said
    results = results_in(tmp_path)
    summary = results.summary
    assert (summary.sent, summary.timed_out, summary.failed) == (summary.completed + summary.abandoned, 0, 0)
    if clients == 1 or who == "its clients":
        assert any(note.startswith("the client did not run for ") for note in results.notes)
        assert summary.upper_bounds > 0
