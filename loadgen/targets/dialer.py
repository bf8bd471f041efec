"""Keeps a number of connections to one server, and connects again after the server was away."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable

from frontend_launch.patience import patience
from loadgen.targets.client_limits import client_limit, unreachable

log = logging.getLogger(__name__)

CONNECT_TIMEOUT_S = 10.0
FIRST_PAUSE_S, LONGEST_PAUSE_S = 0.1, 1.0
"""Before an attempt to connect to a server that is away, or that is of no use."""


class Dialer:
    """Opens connections beside the load: all that are wanted at once, or one at a time with a pause before each.

    One at a time from an attempt that failed until one succeeds, and from a connection that was lost `unused` until
    another has `answered`. Attempts that were under way when the first of them failed each end by themselves.

    Args:
        name: of the server, for the log.
        connect: make one connection, which from then on counts as one; OSError when it cannot be made.
        wanted: how many more connections are wanted now.

    Attributes:
        notes: why requests waited for a connection, a line for each reason.
    """

    def __init__(self, name: str, connect: Callable[[], Awaitable[None]], wanted: Callable[[], int]) -> None:
        self._name, self._connect, self._wanted = name, connect, wanted
        self._opening: set[asyncio.Task[None]] = set()
        self._pause_s = 0.0  # before the next attempt; none while all is well
        self._no_use = self._dialing = False
        self.notes: list[str] = []

    async def first(self, count: int = 1) -> None:
        """Make connections before there is any load.

        Raises:
            TargetError: the server cannot be reached within 10 s.
        ClientLimitError: because of a limit of this machine.
        """
        try:
            for _ in range(count):
                await self._connect_in_time()
        except OSError as error:
            raise unreachable(f"{self._name}: ", _reason(error), error) from None
        self._dialing = True
        self.open_more()  # what was lost meanwhile

    def open_more(self) -> None:
        """Begin to make the connections that are wanted; the number may have changed."""
        wanted = self._wanted()
        most = min(1, wanted) if self._pause_s else wanted
        while self._dialing and len(self._opening) < most:
            task = asyncio.create_task(self._attempt(self._pause_s), name="connect")
            self._opening.add(task)
            task.add_done_callback(self._attempted)

    def unused(self) -> None:
        """A connection was lost that had answered nothing since it was made; call it before `open_more`."""
        self._no_use = True
        self._back_off("a connection was lost before it had answered anything", "the next are made one at a time")

    def answered(self) -> None:
        """A connection has answered, for the first time since it was made."""
        if self._no_use:
            self._no_use = False
            self._recover()
            self.open_more()

    def _attempted(self, task: asyncio.Task[None]) -> None:
        self._opening.discard(task)
        if not task.cancelled():
            self.open_more()

    async def _attempt(self, pause_s: float) -> None:
        """Connect, or fail to; requests wait meanwhile as they would at a server that is busy."""
        if pause_s:
            await asyncio.sleep(pause_s)
            self._pause_s = min(2 * self._pause_s, LONGEST_PAUSE_S)
        try:
            await self._connect_in_time()
        except OSError as error:
            self._back_off(f"no connection ({_reason(error)})", "requests wait for one")
        else:
            if not self._no_use:
                self._recover()

    def _back_off(self, why: str, so: str) -> None:
        if not self._pause_s:
            log.warning("%s: %s; %s", self._name, why, so)
            note = f"{self._name}: {why}; requests waited for the next one"
            if note not in self.notes:
                self.notes.append(note)
            self._pause_s = FIRST_PAUSE_S

    def _recover(self) -> None:
        if self._pause_s:
            log.warning("%s: connected again", self._name)
            self._pause_s = 0.0

    async def _connect_in_time(self) -> None:
        async with patience(CONNECT_TIMEOUT_S):
            await self._connect()

    async def close(self) -> None:
        """Make no more."""
        self._dialing = False
        opening = list(self._opening)
        for task in opening:
            task.cancel()
        await asyncio.gather(*opening, return_exceptions=True)


def _reason(error: OSError) -> str:
    """An error of connecting, in a few words."""
    if (limit := client_limit(error)) is not None:
        return limit
    if isinstance(error, TimeoutError):
        return f"no answer within {CONNECT_TIMEOUT_S:.0f} s"
    return (error.strerror or str(error) or type(error).__name__).strip()
