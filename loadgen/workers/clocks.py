"""Clock offsets between coordinator and workers, the start that they agree on, and its skew. Pure.

An offset moves moments from one clock to another: when to begin, and when something happened. Latencies are differences
of one clock, and no offset is ever part of one.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple

LEAD_NS = 50_000_000
"""Least time from the agreement to the start."""

ROUND_TRIPS = 4
"""Beyond that, this number of the longest round trips, so that each worker has its order in time."""


class Exchange(NamedTuple):
    """One reading of another process's clock.

    Attributes:
        sent_ns: when the question left, own clock.
        read_ns: what the other clock said.
        received_ns: when the answer came, own clock.
    """

    sent_ns: int
    read_ns: int
    received_ns: int

    @property
    def round_trip_ns(self) -> int:
        """From question to answer."""
        return self.received_ns - self.sent_ns


class ClockOffset(NamedTuple):
    """How far another clock is ahead.

    Attributes:
        offset_ns: the other clock minus the own one.
        error_ns: the true offset differs by at most this: half the least round trip, rounded up.
    """

    offset_ns: int
    error_ns: int


def estimate(exchanges: Sequence[Exchange]) -> ClockOffset:
    """The offset by the exchange with the least round trip.

    The other clock was read between question and answer. The middle of the two is off by half the round trip at most,
    however the way there and the way back share it.

    Args:
        exchanges: at least one.
    """
    least = min(exchanges, key=lambda exchange: exchange.round_trip_ns)
    middle_ns = (least.sent_ns + least.received_ns) // 2
    return ClockOffset(least.read_ns - middle_ns, (least.round_trip_ns + 1) // 2)


def agreed_start(now_ns: int, round_trips_ns: Iterable[int]) -> int:
    """When all workers begin, by the coordinator's clock.

    Args:
        now_ns: by the same clock.
        round_trips_ns: of the exchanges with all workers.
    """
    return now_ns + LEAD_NS + ROUND_TRIPS * max(round_trips_ns, default=0)


class Began(NamedTuple):
    """How a worker kept the agreed start.

    Attributes:
        late_ns: how much later than agreed it began, by its own clock.
        error_ns: of its clock offset.
    """

    late_ns: int
    error_ns: int


class StartSkew(NamedTuple):
    """Time between the first and the last worker that began.

    Attributes:
        skew_ns: as the workers' own clocks have it.
        error_ns: the true skew differs by at most this: the two largest errors of offsets.
    """

    skew_ns: int
    error_ns: int


def start_skew(began: Sequence[Began]) -> StartSkew:
    """The skew of workers.

    Args:
        began: of each; at least one.
    """
    late_ns = [each.late_ns for each in began]
    if len(began) == 1:
        return StartSkew(0, 0)
    return StartSkew(max(late_ns) - min(late_ns), sum(sorted(each.error_ns for each in began)[-2:]))
