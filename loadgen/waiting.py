"""Waits for something unless the user ends it."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any, TypeVar

from loadgen.errors import Interrupted

T = TypeVar("T")


async def unless(
    stop: asyncio.Event, work: Coroutine[Any, Any, T], text: str = "before there was anything to measure"
) -> T:
    """Do something, but give it up when `stop` is set.

    Args:
        stop: set it to cancel the work.
        work: awaited here; cancelled and waited for when `stop` is set.
        text: follows "interrupted" in the error.

    Raises:
        Interrupted: it was; `text` says what it was too early for.
    """
    task = asyncio.create_task(work)
    stopped = asyncio.create_task(stop.wait())
    try:
        await asyncio.wait({task, stopped}, return_when=asyncio.FIRST_COMPLETED)
        if task.done():
            return task.result()
        raise Interrupted(f"interrupted {text}")
    finally:
        for pending in (task, stopped):
            pending.cancel()
        await asyncio.gather(task, stopped, return_exceptions=True)
