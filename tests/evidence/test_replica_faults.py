"""Replicas that are stopped or killed under full load, with the command: nothing is lost, and each fault is named."""

from __future__ import annotations

import os
import signal
import time
from functools import partial

import deployed
import program
import pytest
from deployed import Ended

pytestmark = pytest.mark.skipif((os.cpu_count() or 1) < 2, reason="client and replica need a core each")

THREE = ["--replicas", "3", "--cpus-per-replica", "1", "--cpus", "1", "--allow-overlap", "--max-in-flight", "200"]
EVERY_S = 9.0
FAULTS = (signal.SIGSTOP, signal.SIGKILL, signal.SIGSTOP)


def saturate(duration_s: int, *options: str) -> list[str]:
    """The words of a run, which other load of the machine may make invalid."""
    return ["saturate", *deployed.model("Sleep5"), *THREE, "-d", f"{duration_s}s", "--allow-invalid", *options]


def check_counts(ended: Ended) -> None:
    """Each request was answered well, but for those in flight at the end; what all counted is the same."""
    summary = ended.document["summary"]
    assert summary["sent"] == summary["completed"] + summary["abandoned"], ended.said
    assert summary["abandoned"] <= 200
    assert summary["late"] == summary["unexpected"] == 0
    assert "counts agree" not in ended.failed


def test_a_replica_that_is_stopped_is_named_and_its_batches_are_served(tmp_path):
    """By the others, which are what is measured from then on."""
    with deployed.running(tmp_path / "run", *saturate(16)) as command:
        pid = command.pids()["replica-1"]
        command.measuring()
        with deployed.stopped(pid):
            ended = command.end()
    check_counts(ended)
    assert "2 of 3 replicas worked throughout" in ended.document["verdict"]["text"]
    assert "(replica-1) for " in ended.measured("replicas answer")
    (row,) = (row for row in ended.document["frontend_counters"]["replicas"].values() if row["role"] == "replica-1")
    assert (row["alive"], row["aside"], row["hung_times"]) == (True, True, 1)


def gone(pid):
    """Whether a process has ended."""
    return not program.alive(pid)


def test_replicas_that_are_stopped_and_killed_are_replaced(tmp_path):
    """One after the other, on their cores."""
    with deployed.running(tmp_path / "run", *saturate(40, "--restart-replicas")) as command:
        pids = command.pids()
        command.measuring()
        for number, fault in enumerate(FAULTS):
            os.kill(pids[f"replica-{number}"], fault)
            time.sleep(EVERY_S)
            program.until(partial(gone, pids[f"replica-{number}"]))
        ended = command.end()
    check_counts(ended)
    notes = ended.document["notes"]
    for number, why in enumerate(("did not answer in time", "ended with exit code -9", "did not answer in time")):
        assert f"replica-{number} was replaced once, because it {why}" in notes
    rows = ended.document["frontend_counters"]["replicas"].values()
    assert sorted(row["role"] for row in rows if row["alive"]) == ["replica-0", "replica-1", "replica-2"]
