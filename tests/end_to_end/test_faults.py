"""Faults that a run survives, as a user sees them: nothing is lost, and each fault is named."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import subprocess
from pathlib import Path

import uvloop
from program import BRIEFLY, DEADLINE_S, noop, started, until

from frontend_launch import stopped
from frontend_launch.ports import Ports
from loadgen.config import Client, ExperimentConfig, Output, Saturate
from loadgen.experiments.experiment import run_experiment
from loadgen.results import files
from loadgen.served import Deploy


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


def children() -> set[int]:
    """The processes that this one started."""
    return set(map(int, Path(f"/proc/{os.getpid()}/task/{os.getpid()}/children").read_text().split()))


def test_frontends_that_stay_stopped_end_the_run(tmp_path, monkeypatch, caplog):
    """They are named at once, and what was measured is kept."""
    monkeypatch.setattr(stopped, "LOOK_EVERY_S", 0.05)
    monkeypatch.setattr(stopped, "PATIENCE_S", 0.5)
    known = children()
    found: list[int] = []

    class Stop(logging.Handler):
        """Once something was measured."""

        def emit(self, record: logging.LogRecord) -> None:
            if "thruput" in record.getMessage() and not found:
                for pid in children() - known:
                    words = Path(f"/proc/{pid}/cmdline").read_text().split("\0")
                    if "frontend_launch" in words and "serve" in words:
                        found.append(pid)
                        os.kill(pid, signal.SIGSTOP)

    ports, output = Ports(0, 0, 0, 0, 0), Output(tmp_path, log_every_s=0.2)
    serve, load = Deploy("noop", ports=ports), Saturate(600.0, warmup_s=0.1)
    config = ExperimentConfig(serve, load, output=output, client=Client(ceiling=False))
    handler = Stop()
    logging.getLogger("loadgen").addHandler(handler)
    caplog.set_level(logging.INFO, "loadgen")
    try:
        results = uvloop.run(asyncio.wait_for(run_experiment(config), DEADLINE_S))
    finally:
        logging.getLogger("loadgen").removeHandler(handler)
    (frontends,) = found
    assert f"frontends is stopped by a signal or a debugger; continue it with kill -CONT {frontends}" in caplog.messages
    assert (results.ended, results.summary.completed > 0) == ("server_lost", True)
    assert results.error == "frontends is stopped by a signal or a debugger for 10 s"
    assert any(
        note.startswith("frontends was stopped by a signal or a debugger once, for about ") for note in results.notes
    )


def test_a_replica_that_dies_is_replaced_and_nothing_is_lost(tmp_path):
    """The run goes on with as many replicas as before, and the results say what happened."""
    two = ("-r", "2", "--cpus-per-replica", "1", "--allow-overlap", "--restart-replicas")
    short = (*BRIEFLY, "-d", "10s", "--log-every", "200ms")
    command = started(noop(tmp_path, "saturate", *two, *short, "--max-in-flight", "100"))
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
    assert "replica-1 was replaced once, because it ended with exit code -9" in results.notes
    assert "1 of 2 replicas worked throughout" in results.verdict.text
    assert results.frontend_counters is not None
    rows = results.frontend_counters.replicas.values()
    assert sorted((row.role, row.alive) for row in rows)[-1:] == [("replica-1", True)]
