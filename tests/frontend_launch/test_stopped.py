"""Processes that a signal holds are named, and acted on once when they stay so."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys

import pytest
import uvloop
from program import until

from frontend_launch import stopped
from frontend_launch.stopped import StoppedProcesses, is_stopped

LOOKS = round(stopped.PATIENCE_S / stopped.LOOK_EVERY_S)


@pytest.fixture
def process():
    """One that does nothing."""
    started = subprocess.Popen([sys.executable, "-S", "-c", "import time; time.sleep(600)"])
    yield started
    started.kill()
    started.wait()


def test_a_stopped_process_is_found(process):
    """Until it goes on; one that is gone is not stopped."""
    assert not is_stopped(process.pid)
    os.kill(process.pid, signal.SIGSTOP)
    until(lambda: is_stopped(process.pid))
    os.kill(process.pid, signal.SIGCONT)
    until(lambda: not is_stopped(process.pid))
    process.kill()
    process.wait()
    assert not is_stopped(process.pid)


@pytest.fixture
def held(monkeypatch):
    """The processes that are stopped."""
    pids: set[int] = set()
    monkeypatch.setattr(stopped, "is_stopped", pids.__contains__)
    return pids


def test_it_is_named_in_the_second_look_and_acted_on_once(held, caplog):
    """A debugger that attaches stops a process for a moment."""
    acted: list[str] = []
    processes = StoppedProcesses(lambda: {"client-0": 1, "client-1": 2}, acted.append)
    held.add(2)
    processes.look()
    assert (processes.notes, caplog.messages) == ([], [])
    processes.look()
    assert caplog.messages == ["client-1 is stopped by a signal or a debugger; continue it with kill -CONT 2"]
    for _ in range(LOOKS - 3):
        processes.look()
    assert acted == []
    for _ in range(5):
        processes.look()
    assert acted == ["client-1"]
    assert processes.notes == ["client-1 was stopped by a signal or a debugger once, for about 14 s"]


def test_one_that_goes_on_is_told_and_noted(held, caplog):
    """Each time counts."""
    acted: list[str] = []
    processes = StoppedProcesses(lambda: {"frontends": 1}, acted.append)
    for _ in range(2):
        held.add(1)
        for _ in range(3):
            processes.look()
        held.clear()
        processes.look()
    assert caplog.messages.count("frontends goes on") == 2
    assert acted == []
    assert processes.notes == ["frontends was stopped by a signal or a debugger twice, for about 6 s"]


def test_it_looks_until_it_is_cancelled(held, monkeypatch):
    """Beside a run."""
    monkeypatch.setattr(stopped, "LOOK_EVERY_S", stopped.PATIENCE_S / 4)
    monkeypatch.setattr(asyncio, "sleep", lambda _, sleep=asyncio.sleep: sleep(0))
    held.add(1)

    async def scenario():
        done = asyncio.Event()
        watching = asyncio.create_task(StoppedProcesses(lambda: {"sampler": 1}, lambda _: done.set()).watch())
        await done.wait()
        watching.cancel()

    uvloop.run(scenario())
