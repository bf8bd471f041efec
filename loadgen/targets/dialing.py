"""Connections to one server: as many as are wanted, and again after the server was away."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable

from loadgen.errors import TargetError

log = logging.getLogger(__name__)

CONNECT_TIMEOUT_S = 10.0
FIRST_PAUSE_S, LONGEST_PAUSE_S = 0.1, 1.0
"""Between two attempts to connect to a server that is away."""


class Dialer:
    """Opens connections beside the load; while the server is away, one attempt at a time.

    Args:
        name: of the server, for the log.
        connect: make one connection, which from then on counts as one; OSError when it cannot be made.
        wanted: how many more connections are wanted now.
    """

    def __init__(self, name: str, connect: Callable[[], Awaitable[None]], wanted: Callable[[], int]) -> None:
        self._name, self._connect, self._wanted = name, connect, wanted
        self._opening: set[asyncio.Task[None]] = set()
        self._lost = self._closed = False

    async def first(self, count: int = 1) -> None:
        """Make connections before there is any load.

        Raises:
            TargetError: the server cannot be reached within 10 s.
        """
        try:
            for _ in range(count):
                await self._connect_in_time()
        except OSError as error:
            raise TargetError(f"{self._name}: it cannot be reached: {_why(error)}") from None

    def open_more(self) -> None:
        """Begin to make the connections that are wanted; the number may have changed."""
        wanted = self._wanted()
        most = min(1, wanted) if self._lost else wanted
        while not self._closed and len(self._opening) < most:
            task = asyncio.create_task(self._reach(), name="connect")
            self._opening.add(task)
            task.add_done_callback(self._reached)

    def _reached(self, task: asyncio.Task[None]) -> None:
        self._opening.discard(task)
        if not task.cancelled():
            self.open_more()

    async def _reach(self) -> None:
        """Connect, however often it takes; requests wait as they would at a server that is busy."""
        pause_s = FIRST_PAUSE_S
        while True:
            try:
                await self._connect_in_time()
            except OSError as error:
                if not self._lost:
                    log.warning("%s: no connection (%s); requests wait for one", self._name, _why(error))
                self._lost = True
            else:
                if self._lost:
                    log.warning("%s: connected again", self._name)
                self._lost = False
                return
            await asyncio.sleep(pause_s)
            pause_s = min(2 * pause_s, LONGEST_PAUSE_S)

    async def _connect_in_time(self) -> None:
        async with asyncio.timeout(CONNECT_TIMEOUT_S):
            await self._connect()

    async def close(self) -> None:
        """Make no more."""
        self._closed = True
        opening = list(self._opening)
        for task in opening:
            task.cancel()
        await asyncio.gather(*opening, return_exceptions=True)


def _why(error: OSError) -> str:
    """An error of connecting, in a few words."""
    if isinstance(error, TimeoutError):
        return f"nobody answered within {CONNECT_TIMEOUT_S:.0f} s"
    return (error.strerror or str(error) or type(error).__name__).strip()
