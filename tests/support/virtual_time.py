"""A clock for runs in memory: each look at it moves it a little, a sleep moves it to its end, and nothing waits."""

from __future__ import annotations

import asyncio
import heapq
import itertools
from collections.abc import Callable
from typing import Self

LOOK_NS = 1000
"""So that a run that never sleeps comes to its end too."""


class VirtualTime:
    """Stands for the module `time`, and for the timers of a target in memory."""

    def __init__(self) -> None:
        self._now_ns = 10**9
        self._timers: list[tuple[int, int, Callable[[], object]]] = []
        self._order = itertools.count()

    def monotonic_ns(self) -> int:
        """The time; a microsecond later than at the last look."""
        self.pass_until(self._now_ns + LOOK_NS)
        return self._now_ns

    process_time_ns = monotonic_ns

    def call_later(self, delay_s: float, act: Callable[[], object]) -> None:
        """Call `act` when the time has come."""
        heapq.heappush(self._timers, (self._now_ns + round(delay_s * 1e9), next(self._order), act))

    def pass_until(self, until_ns: int, ended: Callable[[], bool] = lambda: False) -> None:
        """Let time pass, and call what is due on the way, until something of that is the end."""
        while not ended() and self._timers and self._timers[0][0] <= until_ns:
            self._now_ns, _, act = heapq.heappop(self._timers)
            act()
        if not ended():
            self._now_ns = until_ns

    def sleeper(self) -> VirtualSleeper:
        """A sleeper, as a run makes one."""
        return VirtualSleeper(self)


class VirtualSleeper:
    """Stands for `loadgen.load.sleeper.Sleeper`."""

    def __init__(self, clock: VirtualTime) -> None:
        self._clock, self._woken = clock, False

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        pass

    def wake(self) -> None:
        """End the sleep that is under way, or the next one at once."""
        self._woken = True

    async def sleep_until(self, deadline_ns: int) -> None:
        """Let time pass until the deadline, or until something that is due before wakes the sleeper."""
        await asyncio.sleep(0)  # others get their turn
        self._clock.pass_until(max(deadline_ns, self._clock.monotonic_ns()), lambda: self._woken)
        self._woken = False
