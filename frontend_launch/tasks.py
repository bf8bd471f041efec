"""Runs coroutines at once or to their end, and starts processes, so that a cancellation leaves nothing behind."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Coroutine
from typing import Any, TypeVar

T = TypeVar("T")


async def gather_all(*work: Coroutine[Any, Any, T]) -> list[T]:
    """Run coroutines at once; the first failure cancels the others and is raised alone."""
    try:
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(part) for part in work]
    except ExceptionGroup as failures:
        raise failures.exceptions[0] from None
    return [task.result() for task in tasks]


async def to_completion(work: Coroutine[Any, Any, T]) -> T:
    """Do something that must not be cut short: a cancellation is raised when it is done.

    Where the work fails, its error comes first, and the caller is cancelled where it waits next. A second cancellation
    cancels the work too.
    """
    task = asyncio.create_task(work)
    try:
        return await asyncio.shield(task)
    except asyncio.CancelledError:
        try:
            await task
        except Exception:
            cancel_again()
            raise
        raise


def cancel_again() -> None:
    """Cancel the current task where it waits next, in place of a cancellation that it has just caught."""
    task = asyncio.current_task()
    assert task is not None
    task.uncancel()
    task.cancel()


async def create_process(*command: str, **options: Any) -> asyncio.subprocess.Process:
    """Create a process, see `asyncio.create_subprocess_exec`; when that is cancelled, end it and wait for its end."""
    creating = asyncio.create_task(asyncio.create_subprocess_exec(*command, **options))
    try:
        return await asyncio.shield(creating)
    except asyncio.CancelledError:
        await kill(await creating)
        raise


async def kill(process: asyncio.subprocess.Process) -> None:
    """End a process with SIGKILL, and wait for its end and that of its output."""
    with contextlib.suppress(ProcessLookupError):
        process.kill()
    await process.communicate()
