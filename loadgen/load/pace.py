"""How many requests to send now: those that fit into a window, or those that a schedule has due. Pure."""

from __future__ import annotations

from typing import Protocol

import numpy as np
from typing_extensions import override

from loadgen.load.ending import Ending

NEVER_NS = 2**63 - 1
"""A time of the monotonic clock that does not come."""

_NO_END = 2**63 - 1


class Pace(Protocol):
    """Says when to send and when that is over; told what was sent and how many requests are outstanding.

    Attributes:
        measured_from_ns: when the measured part begins, monotonic clock.
        ends_ns: when it ends; `NEVER_NS` where that is not known yet, or time does not decide.
    """

    measured_from_ns: int
    ends_ns: int

    def begin_measured(self, now_ns: int) -> None:
        """The warm-up is over.

        Args:
            now_ns: monotonic clock, `measured_from_ns` or a little later.
        """
        ...

    def due(self, now_ns: int, sent: int, outstanding: int) -> int:
        """How many requests to send now, at least 0.

        Args:
            now_ns: monotonic clock.
            sent: requests sent so far.
            outstanding: those of them without an outcome.
        """
        ...

    def next_ns(self, sent: int) -> int:
        """When the next request is due, if time alone decides; `NEVER_NS` where replies decide, or none is left."""
        ...

    def times(self, first: int, count: int, turn_ns: int, taken_ns: int) -> tuple[int, np.ndarray | None]:
        """From when the latencies of requests count: when they were sent, and int64 when each was to be sent.

        Args:
            first: number of the first request, from 0.
            count: how many.
            turn_ns: when the core decided to send them.
            taken_ns: when the target had taken them all.

        Returns:
            The planned times are None where the time at which a request was sent is its planned time.
        """
        ...

    def between(self, from_ns: int, until_ns: int) -> int:
        """How many requests are planned for a time; 0 where there is no plan.

        Args:
            from_ns: monotonic clock; a request planned for this moment counts.
            until_ns: monotonic clock; one planned for this moment does not.
        """
        ...

    def over(self, now_ns: int, sent: int, outstanding: int) -> Ending | None:
        """Why there is nothing more to send or to wait for, if so.

        Args:
            now_ns: monotonic clock.
            sent: requests sent so far.
            outstanding: those of them without an outcome.
        """
        ...


class Window(Pace):
    """A closed loop: keeps a number of requests in flight.

    Args:
        size: how many.
        requests: how many to send in all; None to send without end.
        measured_from_ns: when the measured part begins.
        duration_ns: length of the measured part; None to end by count.
    """

    def __init__(self, size: int, requests: int | None, measured_from_ns: int, duration_ns: int | None) -> None:
        self._size, self._requests = size, _NO_END if requests is None else requests
        self._duration_ns = duration_ns
        self.measured_from_ns, self.ends_ns = measured_from_ns, NEVER_NS

    @override
    def begin_measured(self, now_ns: int) -> None:
        self.measured_from_ns = now_ns
        if self._duration_ns is not None:
            self.ends_ns = now_ns + self._duration_ns

    @override
    def due(self, now_ns: int, sent: int, outstanding: int) -> int:
        return max(0, min(self._size - outstanding, self._requests - sent))

    @override
    def next_ns(self, sent: int) -> int:
        return NEVER_NS

    @override
    def times(self, first: int, count: int, turn_ns: int, taken_ns: int) -> tuple[int, np.ndarray | None]:
        return turn_ns, None

    @override
    def between(self, from_ns: int, until_ns: int) -> int:
        return 0

    @override
    def over(self, now_ns: int, sent: int, outstanding: int) -> Ending | None:
        if now_ns >= self.ends_ns:
            return Ending.DURATION
        return Ending.REQUESTS if sent >= self._requests and not outstanding else None


class Schedule(Pace):
    """An open loop: sends each request at its planned time, however slowly replies come.

    Args:
        times_ns: int64, ascending.
        measured_from_ns: when the measured part begins.
        ends_ns: when it ends.
        most: outstanding requests at which the run fails, because memory is bounded.
    """

    def __init__(self, times_ns: np.ndarray, measured_from_ns: int, ends_ns: int, most: int) -> None:
        self._times_ns, self._most = times_ns, most
        self.measured_from_ns, self.ends_ns = measured_from_ns, ends_ns

    @override
    def begin_measured(self, now_ns: int) -> None:
        """The schedule says when, not the first look after it."""

    @override
    def due(self, now_ns: int, sent: int, outstanding: int) -> int:
        if sent >= len(self._times_ns) or self._times_ns[sent] > now_ns:
            return 0
        return int(np.searchsorted(self._times_ns[sent:], now_ns, side="right"))

    @override
    def next_ns(self, sent: int) -> int:
        return int(self._times_ns[sent]) if sent < len(self._times_ns) else NEVER_NS

    @override
    def times(self, first: int, count: int, turn_ns: int, taken_ns: int) -> tuple[int, np.ndarray | None]:
        return taken_ns, self._times_ns[first : first + count]

    @override
    def between(self, from_ns: int, until_ns: int) -> int:
        first, end = np.searchsorted(self._times_ns, [from_ns, until_ns])
        return int(end - first)

    @override
    def over(self, now_ns: int, sent: int, outstanding: int) -> Ending | None:
        if outstanding > self._most:
            return Ending.OVERRUN
        return Ending.SCHEDULE if sent >= len(self._times_ns) and now_ns >= self.ends_ns else None
