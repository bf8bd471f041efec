"""``loadgen rate`` as a user types it."""

import csv
import os
import re
import signal
import time
from pathlib import Path

import numpy as np
import pytest
from program import BRIEFLY, DEADLINE_S, invalid, keeps_schema, noop, ran, started, undisturbed

from frontend_launch.histogram import LatencyHistogram
from loadgen.results import files


def results_of(output):
    return files.read(Path(output.splitlines()[-1].removeprefix("Saved results to ")))


def test_what_was_planned_is_offered_and_answered(tmp_path):
    """Exactly the planned number of requests; every latency has its histogram; the document keeps its schema."""
    log = tmp_path / "requests.csv"
    done = ran(noop(tmp_path, "rate", "--rate", "200", "-d", "2s", "--log-every", "500ms", "--requests-log", str(log)))
    assert done.returncode == 0, done.stderr
    results = results_of(done.stdout)
    summary = results.summary
    assert (results.ended, summary.planned, summary.measured.sent, summary.measured.completed) == (
        "schedule",
        400,
        400,
        400,
    )
    assert (summary.sent, summary.completed) == (600, 600)
    assert summary.offered_rps == 200
    assert summary.intervals_ms == {}  # 400 answers are too few, whatever they are
    for blob, latencies in ((results.histograms.service, summary.service_ms), (results.histograms.lag, summary.lag_ms)):
        histogram = LatencyHistogram.decode(blob)
        assert histogram.total == 400
        p99_ns = histogram.percentile_ns(99)
        assert p99_ns is not None
        assert p99_ns / 1e6 == pytest.approx(latencies["p99"], rel=1e-3)
    assert results.verdict.limit == ("load" if results.invalid is None else "unknown")
    keeps_schema(results.document())
    rows = list(csv.DictReader(log.read_text().splitlines()))
    assert [int(row["id"]) for row in rows] == list(range(600))
    assert {row["outcome"] for row in rows} == {"completed"}
    planned_ns = np.array([int(row["planned_ns"]) for row in rows])
    assert set(np.diff(planned_ns)) == {5_000_000}
    assert "offered     200 requests/s: 400 of 400 planned were sent" in done.stdout


@pytest.mark.serial
def test_a_client_that_was_stopped_shows_it(tmp_path):
    """Schedule lag has the 300 ms, and so have the latencies from the plan."""
    process = started(noop(tmp_path, "rate", *BRIEFLY, "--rate", "200", "-d", "2s", "--log-every", "200ms"))
    os.kill(process.pid, signal.SIGSTOP)
    time.sleep(0.3)  # what is measured, not a wait for something
    os.kill(process.pid, signal.SIGCONT)
    output, errors = process.communicate(timeout=DEADLINE_S)
    assert process.returncode == 0, errors
    results = results_of(output)
    assert results.invalid is not None
    assert results.invalid.name == "client on time"
    summary = results.summary
    assert summary.planned == summary.measured.sent == 400
    # 60 of 400 requests came due while it was stopped, the first of them about 300 ms before it went on.
    assert summary.lag_ms["max"] >= 290
    assert summary.lag_ms["p99"] >= 250
    assert summary.latency_ms["max"] >= 290
    assert summary.latency_ms["p99"] >= 250


@pytest.mark.serial
def test_thresholds(tmp_path):
    """Those that are crossed are named with what was found, and the exit code is their own."""
    load = (*BRIEFLY, "--rate", "50", "-d", "1s", "--fail-if", "p99>0.001ms", "--fail-if", "failed>0")
    done = undisturbed(tmp_path, lambda at: ran(noop(at, "rate", *load)), lambda done: invalid(results_of(done.stdout)))
    assert done.returncode == 8
    assert re.fullmatch(r"loadgen: --fail-if p99>0.001ms: p99 is [0-9.,]+ ms\n", done.stderr)
    assert re.search(r"^condition   p99>0.001ms: came true, p99 is [0-9.,]+ ms$", done.stdout, re.MULTILINE)
    assert re.search(r"^condition   failed>0: did not come true, failed is 0$", done.stdout, re.MULTILINE)
    thresholds = results_of(done.stdout).thresholds
    assert [(row.condition, row.crossed) for row in thresholds] == [("p99>0.001ms", True), ("failed>0", False)]
