"""Watches the logging intervals of a run and ends it early when its watcher says so."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from itertools import zip_longest
from typing import Protocol

from typing_extensions import override

from loadgen.judging.slo import Condition, comes_true
from loadgen.judging.steady import steadiness
from loadgen.load.ending import Ending
from loadgen.load.record import Interval
from loadgen.load.runner import log_line

log = logging.getLogger(__name__)

FRAGMENT = 0.5
"""An interval shorter than this share of its planned length is skipped: it follows a late one, or ends the run."""


class Watcher(Protocol):
    """Judges after each logging interval whether the run should end.

    Attributes:
        ended: the reason, once it says so.
        drains: whether outstanding requests are then waited for.
    """

    ended: Ending
    drains: bool

    def should_end(self, interval: Interval) -> bool:
        """Whether the run should end after this interval, given the ones before."""
        ...


class UntilSteady(Watcher):
    """Ends a run once throughput and p99 are shown to be steady.

    Args:
        every_s: length of a logging interval that is not late.

    Attributes:
        first: number of the interval since which they are, of all intervals of the run; 0 where that was not shown.
    """

    ended = Ending.STEADY
    drains = True

    def __init__(self, every_s: float) -> None:
        self._throughput_rps: list[float] = []
        self._p99_ms: list[float | None] = []
        self._least_s, self._seen = FRAGMENT * every_s, 0
        self._numbers: list[int] = []
        """Of the intervals that were not skipped."""
        self.first = 0

    @override
    def should_end(self, interval: Interval) -> bool:
        self._seen += 1
        if interval.duration_s < self._least_s:
            return False
        self._numbers.append(self._seen - 1)
        self._throughput_rps.append(interval.throughput_rps)
        self._p99_ms.append(None if interval.p99_s is None else 1000 * interval.p99_s)
        found = steadiness(self._throughput_rps, self._p99_ms)
        if found.steady:
            log.info("steady: %s", found.text)
            self.first = self._numbers[max(0, len(self._numbers) - found.window)]
        return found.steady


class Decided(Watcher):
    """Ends a run once one of its conditions is true at its end, whatever follows.

    Args:
        conditions: that end it.
        bounds_ns: of the run's tally.
        most: requests that the run has at most; None where that is not known.
        drains: outstanding requests are waited for.
    """

    ended = Ending.DECIDED

    def __init__(
        self, conditions: Sequence[Condition], bounds_ns: Sequence[int], most: int | None, drains: bool
    ) -> None:
        self._conditions, self._bounds_ns, self._most, self.drains = conditions, bounds_ns, most, drains
        self._ended: Sequence[int] = ()

    @override
    def should_end(self, interval: Interval) -> bool:
        self._ended = [sum(each) for each in zip_longest(self._ended, interval.ended, fillvalue=0)]
        if not self._ended:
            return False
        true = [one for one in self._conditions if comes_true(one, self._ended, self._bounds_ns, self._most)]
        if true:
            log.info("%s is decided, whatever follows", ", ".join(map(str, true)))
        return bool(true)


class FirstOf(Watcher):
    """Ends a run when one of several watchers says so; each of them sees every interval.

    Args:
        watchers: at least one.
    """

    def __init__(self, *watchers: Watcher) -> None:
        self._watchers = watchers
        self.ended, self.drains = watchers[0].ended, watchers[0].drains

    @override
    def should_end(self, interval: Interval) -> bool:
        ending = [watcher for watcher in self._watchers if watcher.should_end(interval)]
        if ending:
            self.ended, self.drains = ending[0].ended, ending[0].drains
        return bool(ending)


class Watched:
    """Logs each interval, and ends the run when its watcher, if there is one, says so.

    Args:
        watcher: who looks.
        stop_sending: set to end the run and wait for outstanding requests.
        halt: set to end the run at once; others may set it too.

    Attributes:
        ended: why the run was ended; None where it was not.
    """

    def __init__(self, watcher: Watcher | None, stop_sending: asyncio.Event, halt: asyncio.Event) -> None:
        self._watcher, self._stop_sending, self._halt = watcher, stop_sending, halt
        self.ended: Ending | None = None

    def __call__(self, interval: Interval) -> None:
        """A logging interval is over."""
        if self.ended:
            return  # a fragment
        log_line(interval)
        watcher = self._watcher
        if watcher is not None and not self._halt.is_set() and watcher.should_end(interval):
            self.ended = watcher.ended
            (self._stop_sending if watcher.drains else self._halt).set()
