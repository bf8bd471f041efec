"""How long a supervisor on a node of a cluster lives: as long as its launcher asks it, and its node has a manager.

It runs inside a process of the cluster and ends what it started before itself. Time in which it did not run does not
count: what has arrived meanwhile is read first.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import sys
from collections.abc import Callable, Coroutine
from importlib.metadata import PackageNotFoundError, version

from frontend_launch.patience import Alarm

LEASE_S = 10.0
"""Patience for the launcher to ask."""

ANSWER_BYTES = 96 << 10
"""Most of one answer of a supervisor.

Ray hands an answer of up to 100 KiB over directly. A larger one goes through the object stores of both nodes, and where
that of the launcher's machine is gone, Ray ends the launcher.
"""

LINES_BYTES = ANSWER_BYTES // 4
"""Most of the lines of logs in one answer: a byte of a line takes up to four of the answer."""

PARENT_EVERY_S = 0.5
"""Between two looks at the parent of this process, which is another one when the node's manager is gone."""


def own_version() -> str:
    """Of loadgen; empty where its sources are on the module path."""
    with contextlib.suppress(PackageNotFoundError):
        return version("loadgen")
    return ""


def module_path() -> dict[str, str]:
    """The variable with which a process finds the modules that this one does.

    A cluster gives its processes paths that those that they start would not have.
    """
    return {"PYTHONPATH": os.pathsep.join(entry for entry in sys.path if entry)}


class Supervision:
    """The base of supervisors: what they start is on the stack, and ends with `close`.

    Args:
        abandoned: called when the launcher or the node's manager is gone, and everything has ended.
    """

    def __init__(self, abandoned: Callable[[], object] = lambda: os._exit(1)) -> None:
        self._abandoned = abandoned
        self._stack = contextlib.AsyncExitStack()
        self._parent = os.getppid()
        self._tasks: list[asyncio.Task[None]] = []
        self._lease: Alarm | None = None
        self._ending: asyncio.Task[None] | None = None

    async def close(self) -> None:
        """End everything that was started."""
        if self._lease is not None:
            self._lease.cancel()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._stack.aclose()

    def _begin(self, more_s: float = 0.0) -> None:
        """Something was started: from now on the launcher has to ask.

        Args:
            more_s: patience for the first question, beyond the usual one.
        """
        self._run(self._watch_parent())
        self._renew(more_s)

    def _renew(self, more_s: float = 0.0) -> None:
        """The launcher has asked."""
        if self._lease is not None:
            self._lease.cancel()
        self._lease = Alarm(LEASE_S + more_s, self._end)

    def _run(self, work: Coroutine[None, None, None]) -> None:
        """Do something until the end."""
        self._tasks.append(asyncio.create_task(work))

    async def _watch_parent(self) -> None:
        while True:
            await asyncio.sleep(PARENT_EVERY_S)
            if os.getppid() != self._parent:
                self._end()

    def _end(self) -> None:
        if self._ending is None:
            self._ending = asyncio.create_task(self.close(), name="ending")
            self._ending.add_done_callback(lambda _: self._abandoned())
