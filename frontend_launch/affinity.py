"""Reads the cores that a process may use, and pins this process to some of them."""

from __future__ import annotations

import contextlib
import os
import threading
from collections.abc import Iterable, Iterator
from pathlib import Path

from frontend_launch.errors import LaunchError
from frontend_launch.integers import core_ranges


def affinity(pid: int) -> tuple[int, ...]:
    """The cores that the kernel lets a process use, over all of its threads; empty when it is gone."""
    allowed: set[int] = set()
    for thread in _threads(pid):
        with contextlib.suppress(ProcessLookupError):
            allowed |= os.sched_getaffinity(thread)
    return tuple(sorted(allowed))


MOST_CORES = 8192
"""More than a kernel numbers; it ignores the numbers of cores that there are not."""


def reachable() -> tuple[int, ...]:
    """The cores that this process may pin its children to, also those outside its own affinity.

    ``taskset`` and ``numactl`` set an affinity, which a process may widen; a cpuset holds.
    """
    found = os.sched_getaffinity(0)

    def widen() -> None:
        nonlocal found
        with contextlib.suppress(OSError):
            os.sched_setaffinity(0, range(MOST_CORES))  # of this thread alone, which ends here
            found = os.sched_getaffinity(0)

    thread = threading.Thread(target=widen, name="affinity")
    thread.start()
    thread.join()
    return tuple(sorted(found))


@contextlib.contextmanager
def pinned(cores: tuple[int, ...]) -> Iterator[None]:
    """Run this process, all of its threads, on these cores and no others while the context lasts.

    Raises:
        LaunchError: the kernel does not allow it.
    """
    before = os.sched_getaffinity(0)
    try:
        pin(os.getpid(), cores)
    except OSError as error:
        raise LaunchError(f"this process cannot run on cores {core_ranges(cores)}: {error.strerror}") from None
    try:
        yield
    finally:
        pin(os.getpid(), before)


def pin(pid: int, cores: Iterable[int]) -> None:
    """Run all threads of a process on these cores and no others; one that is gone runs nowhere.

    Args:
        pid: of the process.
        cores: for it.

    Raises:
        OSError: the kernel does not allow it.
    """
    for thread in _threads(pid):
        with contextlib.suppress(ProcessLookupError):
            os.sched_setaffinity(thread, cores)


def _threads(pid: int) -> list[int]:
    with contextlib.suppress(FileNotFoundError):
        return [int(entry.name) for entry in Path(f"/proc/{pid}/task").iterdir()]
    return []
