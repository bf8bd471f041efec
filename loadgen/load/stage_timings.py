"""Where the time of requests went: the latency of each timed one, split into stages that add up to it. Pure."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from frontend_launch.histogram import LatencyHistogram

STAGES = (
    "schedule_lag",
    "client_queue",
    "way_there",
    "frontend_queue",
    "rpc",
    "model",
    "way_back",
    "client_reading",
    "network",
    "server",
)
"""In the order of a request's life. `network` stands for both ways where client and frontend have two clocks, `server`
for all from sending to reading where the server says nothing."""

_ROWS = 256
"""Requests that are split together; more would hold up the loop that sends."""


class TimedRequest(NamedTuple):
    """What is known of one request; times of the client's monotonic clock and durations, nanoseconds.

    Attributes:
        planned_ns: from when its latency counts.
        turn_ns: when the client set about sending it.
        taken_ns: when the target had taken it and the others of its turn.
        done_ns: when the reply was read.
        unread_ns: as `loadgen.load.target.TimedReply` has it, and so are the others.
        arrived_ns: 0 where the server has another clock; -1 where it says nothing.
        queue_ns: in the server's queue.
        rpc_ns: between the server's front and the model.
        model_ns: in the model call; -1 where it is not known.
    """

    planned_ns: int
    turn_ns: int
    taken_ns: int
    done_ns: int
    unread_ns: int = 0
    arrived_ns: int = -1
    queue_ns: int = 0
    rpc_ns: int = 0
    model_ns: int = -1


def split(requests: list[TimedRequest]) -> np.ndarray:
    """The stages of each request, int64 ``(STAGES, requests)``; -1 for a stage that is not known.

    What is known adds up to the latency, to the nanosecond. A server's times that do not fit in between are left out.
    """
    planned, turn, taken, done, unread, arrived, queue, rpc, model = np.array(requests, dtype=np.int64).T
    told = arrived >= 0
    spent = queue + rpc + np.maximum(model, 0)
    told &= (queue >= 0) & (rpc >= 0) & (spent <= done - turn)
    one_clock = told & (arrived > 0) & (arrived >= turn) & (arrived + spent <= done)
    # Of a turn's requests the first have reached the server before the last are taken.
    answered = np.where(one_clock, arrived, taken) + spent
    received = np.clip(unread, np.minimum(answered, done), done)
    left = np.where(one_clock, np.minimum(taken, arrived), np.minimum(taken, received - spent))
    unknown = np.full_like(done, -1)
    return np.stack(
        [
            turn - planned,
            np.where(told, left, taken) - turn,
            np.where(one_clock, arrived - left, unknown),
            np.where(told, queue, unknown),
            np.where(told, rpc, unknown),
            np.where(told, model, unknown),
            np.where(one_clock, received - answered, unknown),
            np.where(told, done - received, unknown),
            np.where(told & ~one_clock, received - spent - left, unknown),
            np.where(told, unknown, done - taken),
        ]
    )


class StageTimings:
    """The stages of timed requests; timings of several processes merge.

    A timed request stands for the measured ones since the one before it, so that a rate at which fewer are timed counts
    in full.

    Attributes:
        timed: how many were timed.
        requests: how many they stand for.
    """

    def __init__(self) -> None:
        self._histograms: dict[str, LatencyHistogram] = {}
        self._waiting: list[TimedRequest] = []
        self._weights: list[int] = []
        self.timed = self.requests = 0

    def record(self, request: TimedRequest, weight: int = 1) -> None:
        """Add a request.

        Args:
            request: one that was answered as it should be.
            weight: how many it stands for.
        """
        if len(self._waiting) == _ROWS:
            self._split()
        self.timed += 1
        self.requests += weight
        self._waiting.append(request)
        self._weights.append(weight)

    def stand_for(self, more: int) -> None:
        """Have the request that was timed last stand for more; where none was timed they are only counted."""
        self.requests += more
        if self._weights:
            self._weights[-1] += more

    def add(self, other: StageTimings) -> None:
        """Add the requests of another process."""
        self.timed += other.timed
        self.requests += other.requests
        for name, histogram in other.histograms.items():
            self._histograms.setdefault(name, LatencyHistogram()).add(histogram)

    @property
    def histograms(self) -> dict[str, LatencyHistogram]:
        """The times of each stage that is known of any request, in the order of `STAGES`."""
        self._split()
        return {name: self._histograms[name] for name in STAGES if name in self._histograms}

    def _split(self) -> None:
        if not self._waiting:
            return
        weights = np.array(self._weights)
        for name, times_ns in zip(STAGES, split(self._waiting), strict=True):
            known = times_ns >= 0
            if np.count_nonzero(known):
                self._histograms.setdefault(name, LatencyHistogram()).record_weighted(times_ns[known], weights[known])
        self._waiting.clear()
        self._weights.clear()
