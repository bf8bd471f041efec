"""Timers that count only the time in which this process ran, and let it read what has arrived before they act."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Callable

from frontend_launch.running_time import LATE_NS, RunningTime
from model_containers.units import NS_PER_S

TICK_NS = 100_000_000
"""Between two looks at the clock; a pause is found shorter by up to this."""


class Alarm:
    """Acts once, when this process has run for a time.

    Args:
        within_s: that time.
        act: what to do then.
    """

    def __init__(self, within_s: float, act: Callable[[], object]) -> None:
        self._left_ns, self._act = round(within_s * NS_PER_S), act
        self._arm(min(TICK_NS, self._left_ns))

    def _arm(self, wait_ns: int, *, last: bool = False) -> None:
        self._due_ns = time.monotonic_ns() + wait_ns
        self._timer = asyncio.get_running_loop().call_later(wait_ns / NS_PER_S, self._tick, wait_ns, last)

    def _tick(self, waited_ns: int, last: bool) -> None:
        self._left_ns -= waited_ns
        if self._left_ns > 0:
            self._arm(min(TICK_NS, self._left_ns))
        elif not last and time.monotonic_ns() - self._due_ns > LATE_NS:
            # The loop calls timers before it reads sockets: once more, and what has arrived is read.
            self._arm(TICK_NS, last=True)
        else:
            self._act()

    def cancel(self) -> None:
        """Do not act any more."""
        self._timer.cancel()


@contextlib.asynccontextmanager
async def patience(within_s: float) -> AsyncIterator[None]:
    """`asyncio.timeout`, but for the time in which this process did not run.

    Args:
        within_s: seconds.

    Raises:
        TimeoutError: the body took longer.
    """
    loop = asyncio.get_running_loop()
    async with asyncio.timeout(None) as limit:
        alarm = Alarm(within_s, lambda: limit.reschedule(loop.time()))
        try:
            yield
        finally:
            alarm.cancel()


class Expiry:
    """Says regularly what has waited for too long, while this process ran.

    Args:
        patience_s: how long something may wait.
        every_s: between two calls of `expire`.
        expire: called with a time of the monotonic clock; what began then or before has waited for too long.
    """

    def __init__(self, patience_s: float, every_s: float, expire: Callable[[int], object]) -> None:
        self._patience_ns, self._every_ns, self._expire = (
            round(patience_s * NS_PER_S),
            round(every_s * NS_PER_S),
            expire,
        )
        self._running = RunningTime()
        self._expired_ns = time.monotonic_ns()
        self._arm()

    def _arm(self) -> None:
        self._due_ns = time.monotonic_ns() + TICK_NS
        self._timer = asyncio.get_running_loop().call_later(TICK_NS / NS_PER_S, self._tick)

    def _tick(self) -> None:
        now_ns = time.monotonic_ns()
        if now_ns - self._due_ns > LATE_NS:
            self._running.missed(self._due_ns, now_ns)
        elif now_ns - self._expired_ns >= self._every_ns:
            self._expired_ns = now_ns
            self._expire(self._running.before_ns(now_ns, self._patience_ns))
        self._arm()

    def before_ns(self, patience_s: float) -> int:
        """What began at this time or before has waited for so long.

        Args:
            patience_s: in place of the usual one.
        """
        return self._running.before_ns(time.monotonic_ns(), round(patience_s * NS_PER_S))

    def close(self) -> None:
        """Say no more."""
        self._timer.cancel()
