"""The time in which a process ran, for patience that does not count the time in which it was stopped. Pure."""

from __future__ import annotations

from collections import deque

LATE_NS = 10_000_000
"""What comes later than this after it was due shows that the process did not run: timers are late by less."""

MOST_GAPS = 256
"""Gaps that are kept; patience that reaches back beyond them is shorter by those that are forgotten."""


class RunningTime:
    """The time of the monotonic clock without the gaps in which the process did not run."""

    def __init__(self) -> None:
        self._gaps: deque[tuple[int, int]] = deque(maxlen=MOST_GAPS)

    def missed(self, from_ns: int, until_ns: int) -> None:
        """The process did not run.

        Args:
            from_ns: since this time, not before the end of the last gap.
            until_ns: until then.
        """
        self._gaps.append((from_ns, until_ns))

    def before_ns(self, now_ns: int, patience_ns: int) -> int:
        """What began at this time or before has waited for all of a patience, in which the process ran.

        Args:
            now_ns: monotonic clock, not before the end of the last gap.
            patience_ns: at least 0.
        """
        left_ns, ran_until_ns = patience_ns, now_ns
        for from_ns, until_ns in reversed(self._gaps):
            if left_ns <= ran_until_ns - until_ns:
                break
            left_ns -= ran_until_ns - until_ns
            ran_until_ns = from_ns
        return ran_until_ns - left_ns
