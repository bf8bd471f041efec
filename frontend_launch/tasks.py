"""Runs coroutines at once or to their end, and starts processes, so that a cancellation leaves nothing behind."""

from __future__ import annotations

import asyncio
import concurrent.futures
import contextlib
import threading
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

T = TypeVar("T")

BLOCKING = "blocking"
"""Name of threads that an exit of this program does not wait for, see `hangs`."""


async def gather_all(*work: Coroutine[Any, Any, T]) -> list[T]:
    """Run coroutines at once; the first failure cancels the others and is raised alone."""
    try:
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(part) for part in work]
    except ExceptionGroup as failures:
        raise failures.exceptions[0] from None
    return [task.result() for task in tasks]


async def to_completion(work: Coroutine[Any, Any, T]) -> T:
    """Do something that must not be cut short: cancellations, however many, are raised as one when it is done.

    Where the work fails, its error comes first, and the caller is cancelled where it waits next.
    """
    task = asyncio.create_task(work)
    cancelled = await until_done(task)
    if not cancelled:
        return task.result()
    if not task.cancelled() and task.exception() is not None:
        cancel_again()
        return task.result()
    raise asyncio.CancelledError


async def until_done(task: asyncio.Task[Any], on_cancel: Callable[[], object] = lambda: None) -> bool:
    """Wait for the end of a task, however often the caller is cancelled meanwhile.

    Args:
        task: it is not cancelled with the caller.
        on_cancel: called at the first cancellation.

    Returns:
        Whether the caller was cancelled; it is to be raised by the caller.
    """
    cancelled = False
    while not task.done():
        try:
            await asyncio.wait([task])
        except asyncio.CancelledError:
            if not cancelled:
                on_cancel()
            cancelled = True
    return cancelled


def cancel_again() -> None:
    """Cancel the current task where it waits next, in place of a cancellation that it has just caught."""
    task = asyncio.current_task()
    assert task is not None
    task.uncancel()
    task.cancel()


async def in_daemon(work: Callable[[], T]) -> T:
    """What work that blocks returns; neither a caller that is cancelled nor an exit of this program waits for its end.

    Args:
        work: called in a thread of its own.

    Raises:
        Exception: that the work raised.
    """
    future = concurrent.futures.Future[T]()
    future.set_running_or_notify_cancel()  # from now on a cancellation leaves it alone

    def run() -> None:
        try:
            future.set_result(work())
        except BaseException as error:  # it is for the caller
            future.set_exception(error)

    threading.Thread(target=run, name=BLOCKING, daemon=True).start()
    return await asyncio.wrap_future(future)


def hangs() -> bool:
    """Whether work that blocks still runs: inside a library in C++, which may crash when the interpreter ends."""
    return any(thread.name == BLOCKING for thread in threading.enumerate())


async def create_process(*command: str, **options: Any) -> asyncio.subprocess.Process:
    """Create a process, see `asyncio.create_subprocess_exec`; when that is cancelled, end it and wait for its end."""
    creating = asyncio.create_task(asyncio.create_subprocess_exec(*command, **options))
    if not await until_done(creating):
        return creating.result()
    if creating.exception() is None:
        await to_completion(kill(creating.result()))
    raise asyncio.CancelledError


async def kill(process: asyncio.subprocess.Process) -> None:
    """End a process with SIGKILL, and wait for its end and that of its output."""
    with contextlib.suppress(ProcessLookupError):
        process.kill()
    await process.communicate()
