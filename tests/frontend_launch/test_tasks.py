"""Coroutines under cancellation."""

import asyncio
import os
import threading
from pathlib import Path
from typing import Any

import pytest
import uvloop

from frontend_launch import models
from frontend_launch.children import Command, start
from frontend_launch.tasks import in_daemon, to_completion


def children():
    return Path(f"/proc/{os.getpid()}/task/{os.getpid()}/children").read_text().split()


async def cancelled_after(work, turns, times=1, apart=1):
    """Do something, and cancel it after a number of turns of the loop, a number of times."""
    task = asyncio.ensure_future(work)
    for wait in (turns, *[apart] * (times - 1)):
        for _ in range(wait):
            await asyncio.sleep(0)
        task.cancel()
    await task


@pytest.mark.parametrize("times", [1, 2, 5])
@pytest.mark.parametrize("turns", range(1, 6))
def test_a_process_whose_start_is_cancelled(tmp_path, turns, times):
    """It has ended when the cancellation is raised."""
    command = Command("some", ["-c", "import time; time.sleep(60)"])
    before = children()
    with pytest.raises(asyncio.CancelledError):
        uvloop.run(cancelled_after(start(command, tmp_path, read_stdout=True), turns, times))
    assert children() == before


@pytest.mark.parametrize("times", [1, 2, 5])
@pytest.mark.parametrize("turns", [1, 2, 3, 10])
def test_a_question_to_a_model_that_is_cancelled(turns, times):
    """Nothing of it is left either."""
    before = children()
    with pytest.raises(asyncio.CancelledError):
        uvloop.run(cancelled_after(models.describe("noop"), turns, times))
    assert children() == before


@pytest.mark.parametrize("times", range(1, 6))
@pytest.mark.parametrize("apart", [0, 1, 2])
def test_work_that_is_not_cut_short(times, apart):
    """Cancellations, however many, come as one when it is done."""
    events = []

    async def work():
        for _ in range(20):
            await asyncio.sleep(0)
        events.append("done")

    async def act():
        try:
            await to_completion(work())
        finally:
            events.append("raised")
            await asyncio.sleep(0)
            events.append("cleaned up")

    with pytest.raises(asyncio.CancelledError):
        asyncio.run(cancelled_after(act(), 2, times, apart))
    assert events == ["done", "raised", "cleaned up"]


def test_work_that_fails_after_a_cancellation():
    """Its error comes first; the next wait is cancelled."""
    events: list[Any] = []

    async def work():
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        raise ValueError

    async def act():
        try:
            await to_completion(work())
        except ValueError as error:
            events.append(error)
        await asyncio.sleep(0)
        events.append(None)

    with pytest.raises(asyncio.CancelledError):
        asyncio.run(cancelled_after(act(), 2))
    assert [type(event) for event in events] == [ValueError]


def test_work_that_blocks_is_left_behind():
    """The loop goes on meanwhile, and a caller that is cancelled does not wait."""
    release = threading.Event()
    with pytest.raises(asyncio.CancelledError):
        uvloop.run(cancelled_after(in_daemon(release.wait), 3))
    release.set()


def test_what_work_in_a_thread_returns_or_raises_is_for_the_caller():
    """As if it had been called."""
    assert uvloop.run(in_daemon(lambda: 5)) == 5
    with pytest.raises(ZeroDivisionError):
        uvloop.run(in_daemon(lambda: 1 / 0))
