"""How many requests to send now: those that fit into a window, or those that a schedule has due. Pure."""

from __future__ import annotations

from typing import Protocol

import numpy as np
from typing_extensions import override

from loadgen.load.ending import Ending


class Pace(Protocol):
    """Says when to send; told what was sent and what is outstanding."""

    def due(self, now_ns: int, sent: int, outstanding: int) -> int:
        """How many requests to send now, at least 0.

        Args:
            now_ns: monotonic clock.
            sent: requests sent so far.
            outstanding: those of them without an outcome.
        """
        ...

    def next_ns(self, sent: int) -> int | None:
        """When the next request is due, if time alone decides; None where an answer comes first, or none is left."""
        ...

    def planned_ns(self, first: int, count: int) -> np.ndarray | None:
        """The planned times of requests, int64; None where there is no plan.

        Args:
            first: number of the first request, from 0.
            count: how many.
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
    """Keeps a number of requests in flight.

    Args:
        size: how many.
        requests: how many to send in all; None to send without end.
    """

    def __init__(self, size: int, requests: int | None) -> None:
        self._size, self._requests = size, requests

    @override
    def due(self, now_ns: int, sent: int, outstanding: int) -> int:
        room = self._size - outstanding
        return max(0, room if self._requests is None else min(room, self._requests - sent))

    @override
    def next_ns(self, sent: int) -> int | None:
        return None

    @override
    def planned_ns(self, first: int, count: int) -> np.ndarray | None:
        return None

    @override
    def between(self, from_ns: int, until_ns: int) -> int:
        return 0

    @override
    def over(self, now_ns: int, sent: int, outstanding: int) -> Ending | None:
        return Ending.REQUESTS if self._requests is not None and sent >= self._requests and not outstanding else None


class Schedule(Pace):
    """Sends each request at its planned time, however slowly answers come.

    Args:
        times_ns: int64, ascending.
        until_ns: end of the measured part.
        most: outstanding requests at which the run is given up, because memory is not without end.
    """

    def __init__(self, times_ns: np.ndarray, until_ns: int, most: int) -> None:
        self._times_ns, self._until_ns, self._most = times_ns, until_ns, most

    @override
    def due(self, now_ns: int, sent: int, outstanding: int) -> int:
        if sent >= len(self._times_ns) or self._times_ns[sent] > now_ns:
            return 0
        return int(np.searchsorted(self._times_ns[sent:], now_ns, side="right"))

    @override
    def next_ns(self, sent: int) -> int | None:
        return int(self._times_ns[sent]) if sent < len(self._times_ns) else None

    @override
    def planned_ns(self, first: int, count: int) -> np.ndarray | None:
        return self._times_ns[first : first + count]

    @override
    def between(self, from_ns: int, until_ns: int) -> int:
        first, end = np.searchsorted(self._times_ns, [from_ns, until_ns])
        return int(end - first)

    @override
    def over(self, now_ns: int, sent: int, outstanding: int) -> Ending | None:
        if outstanding > self._most:
            return Ending.OVERRUN
        return Ending.SCHEDULE if sent >= len(self._times_ns) and now_ns >= self._until_ns else None
