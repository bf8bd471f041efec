"""Faults that a run survives, as a user sees them: nothing is lost, and each fault is named."""

from __future__ import annotations

import os
import signal
import subprocess
from pathlib import Path

from program import DEADLINE_S, noop, started, until

from loadgen.results import files


def process_of(command: subprocess.Popen[str], role: str) -> int | None:
    """The process of a role of the plan, if there is one."""
    variable = f"LOADGEN_ROLE={role}".encode()
    for children in Path(f"/proc/{command.pid}/task").glob("*/children"):
        for child in children.read_text().split():
            try:
                if variable in Path(f"/proc/{child}/environ").read_bytes().split(b"\0"):
                    return int(child)
            except OSError:
                continue
    return None


def test_a_replica_that_dies_is_replaced_and_nothing_is_lost(tmp_path):
    """The run goes on with as many replicas as before, and the results say what happened."""
    two = ("-r", "2", "--cpus-per-replica", "1", "--allow-overlap", "--restart-replicas")
    command = started(noop(tmp_path, "saturate", *two, "-d", "5s", "--max-in-flight", "100"))
    first = process_of(command, "replica-1")
    assert first is not None
    os.kill(first, signal.SIGKILL)
    until(lambda: (process_of(command, "replica-1") or first) != first)
    _, said = command.communicate(timeout=DEADLINE_S)
    assert command.returncode == 0, said
    (path,) = (tmp_path / "results").glob("*.json")
    results = files.read(path)
    summary = results.summary
    assert summary.sent == summary.completed + summary.abandoned, "the rest was in flight at the end"
    assert "replica-1 was replaced 1 time, the last time because it ended with exit code -9" in results.notes
    assert "1 of 2 replicas worked throughout" in results.verdict.text
    assert results.frontend_counters is not None
    rows = results.frontend_counters.replicas.values()
    assert sorted((row.role, row.alive) for row in rows)[-1:] == [("replica-1", True)]
