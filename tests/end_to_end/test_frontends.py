"""``--frontends`` as a user types it."""

import os
import signal
from pathlib import Path

import pytest
from program import BRIEFLY, DEADLINE_S, keeps_schema, noop, ran, started

from loadgen.results import files

TWO = ("--frontends", "2", "-r", "2", "--allow-overlap")


def results_in(tmp_path):
    (path,) = (tmp_path / "results").glob("*.json")
    return files.read(path)


@pytest.mark.serial
def test_each_frontend_gets_its_share(tmp_path):
    """Of the replicas and of the requests; what they counted is one reading, and answers are right."""
    done = ran(noop(tmp_path, "saturate", *TWO, "--requests", "4000", "--max-in-flight", "100", "--verify", "3"))
    assert done.returncode == 0, done.stderr
    results = results_in(tmp_path)
    keeps_schema(results.document())
    roles = {row.role: row for row in results.placement}
    assert set(roles) == {"client", "frontends-0", "frontends-1", "replica-0", "replica-1"}
    assert roles["frontends-0"].pid != roles["frontends-1"].pid
    assert results.summary.completed == 4000
    assert results.answers.compared > results.answers.mismatched == 0
    counters = results.frontend_counters
    assert set(counters.replicas) == {"noop:1:0", "noop:1:1"}
    shares = [row.queries for row in counters.replicas.values()]
    assert sum(shares) == 4000, "the first reading comes before the first request"
    assert min(shares) > 500, "the frontend that is slower gets less, but not nothing"
    assert results.verdict.evidence.replicas == 2
    batches = [results.stages[f"noop:1:{number}"].batch_sizes for number in range(2)]
    assert all(sum(sizes.values()) for sizes in batches)
    names = [name for row in results.clipper_metrics["counters"] for name in row]
    assert names.count("app:noop:num_predictions") == 2, "one row for each frontend"


def test_rate_and_sweep_take_it_too(tmp_path):
    """A batch size changes on all frontends before the next cell begins."""
    done = ran(noop(tmp_path, "rate", *TWO, *BRIEFLY, "--rate", "200", "-d", "1s", "-n", "2"))
    assert done.returncode == 0, done.stderr
    results = results_in(tmp_path)
    assert results.summary.measured.completed == 200
    shares = [row.queries for row in results.frontend_counters.replicas.values()]
    assert max(shares) - min(shares) <= 20, "idle frontends take turns"
    swept = ran(noop(tmp_path, "sweep", *TWO, *BRIEFLY, "-b", "2,4", "-d", "300ms"))
    assert swept.returncode == 0, swept.stderr
    cells = [files.read(path) for path in sorted((tmp_path / "results").glob("sweep-*/results*.json"))]
    largest = {}
    for cell in cells:
        assert cell.frontend_counters is not None
        largest[cell.node_configs[0].batch_size] = cell.frontend_counters.models["noop:1"].max_batch
    assert largest == {2: 2, 4: 4}


@pytest.mark.parametrize(
    ("role", "text"),
    [
        ("replica-1", "replica-1, the last replica of its frontend, ended with exit code -9"),
        ("frontends-1", "frontends-1 ended with exit code -9"),
    ],
)
def test_what_is_lost_ends_the_run(tmp_path, role, text):
    """Queries of that frontend would wait without end."""
    process = started(noop(tmp_path, "saturate", *TWO, *BRIEFLY, "-d", "60s", "--log-every", "300ms"))
    os.kill(pid_of(process.pid, role), signal.SIGKILL)
    _, said = process.communicate(timeout=DEADLINE_S)
    assert process.returncode == 6, said
    results = results_in(tmp_path)
    assert results.ended == "server_lost"
    assert results.error == text
    assert results.summary.measured.completed > 0
    assert results.invalid is not None
    assert results.invalid.reason == f"run complete: {text}"


def pid_of(parent, role):
    """The process of a role, known by its shard or by its log."""
    for pid in Path(f"/proc/{parent}/task/{parent}/children").read_text().split():
        words = Path(f"/proc/{pid}/cmdline").read_text() + Path(f"/proc/{pid}/environ").read_text()
        if f"{role}.log" in words or (role == "frontends-1" and "\0--shard\x001/2\0" in words):
            return int(pid)
    raise AssertionError(role)
