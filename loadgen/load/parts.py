"""What was planned for each logging interval of a run, so that a record can be limited to the last of them. Pure.

Picklable, and those of several clients merge. The latest intervals are histograms; of earlier ones, which few answers
still belong to, only the buckets that have values are kept.
"""

from __future__ import annotations

from collections import Counter

import numpy as np

from frontend_launch.histogram import LatencyHistogram, PackedHistogram

_OPEN = 4
"""Intervals that are kept as histograms."""

_MOST_WAITING = 64


class HistogramByPart:
    """Values by the number of the part that they belong to."""

    def __init__(self) -> None:
        self._open: dict[int, LatencyHistogram] = {}
        self._packed: dict[int, PackedHistogram] = {}
        self._waiting: list[tuple[np.ndarray, np.ndarray]] = []
        """Values of the latest calls: a call of numpy costs the same for one value as for a hundred."""

    def record(self, parts: np.ndarray, values_ns: np.ndarray) -> None:
        """Add values.

        Args:
            parts: int64, the part of each value.
            values_ns: int64 nanoseconds, as many.
        """
        self._waiting.append((parts, values_ns))
        if len(self._waiting) >= _MOST_WAITING:
            self._take_in()

    def _take_in(self) -> None:
        if not self._waiting:
            return
        parts, values_ns = (np.concatenate(column) for column in zip(*self._waiting, strict=True))
        self._waiting = []
        for part in np.unique(parts).tolist():
            self._histogram(part).record(values_ns[parts == part])

    def _histogram(self, part: int) -> LatencyHistogram:
        """The histogram of a part; where there are too many, the earliest is packed."""
        if part not in self._open:
            if len(self._open) == _OPEN:
                earliest = min(self._open)
                self._pack(earliest, self._open.pop(earliest))
            self._open[part] = LatencyHistogram()
        return self._open[part]

    def _pack(self, part: int, histogram: LatencyHistogram) -> None:
        if part in self._packed:
            histogram.add_packed(self._packed[part])
        self._packed[part] = histogram.packed()

    def since(self, first: int) -> LatencyHistogram:
        """The values of a part and of all that follow it."""
        self._take_in()
        whole = LatencyHistogram()
        for part, packed in self._packed.items():
            if part >= first:
                whole.add_packed(packed)
        for part, histogram in self._open.items():
            if part >= first:
                whole.add(histogram)
        return whole

    def add(self, other: HistogramByPart) -> None:
        """Add another client's."""
        other._take_in()
        self._take_in()
        for part, packed in other._packed.items():
            self._histogram(part).add_packed(packed)
        for part, histogram in other._open.items():
            self._histogram(part).add(histogram)


class PlannedParts:
    """What became of the requests that a schedule planned for each logging interval.

    Args:
        length_ns: of an interval.

    Attributes:
        length_ns: of an interval.
        latency: of answers, from the planned time.
        service: of the same answers, from when they were sent.
        lag: of requests, how much later than planned they were sent.
        timed_out: requests that waited for the whole timeout.
    """

    def __init__(self, length_ns: int) -> None:
        self.length_ns = length_ns
        self.latency, self.service, self.lag = HistogramByPart(), HistogramByPart(), HistogramByPart()
        self.timed_out: Counter[int] = Counter()

    def sent(self, planned_ns: np.ndarray, lag_ns: np.ndarray) -> None:
        """Requests were sent.

        Args:
            planned_ns: int64, since the measured part began.
            lag_ns: int64, of each.
        """
        self.lag.record(planned_ns // self.length_ns, lag_ns)

    def answered(self, planned_ns: np.ndarray, latency_ns: np.ndarray, service_ns: np.ndarray) -> None:
        """Requests were answered as they should be.

        Args:
            planned_ns: int64, since the measured part began.
            latency_ns: int64, of each.
            service_ns: int64, of each.
        """
        parts = planned_ns // self.length_ns
        self.latency.record(parts, latency_ns)
        self.service.record(parts, service_ns)

    def lost(self, planned_ns: np.ndarray) -> None:
        """Requests timed out: int64, since the measured part began."""
        self.timed_out.update((planned_ns // self.length_ns).tolist())

    def add(self, other: PlannedParts) -> None:
        """Add another client's share."""
        self.latency.add(other.latency)
        self.service.add(other.service)
        self.lag.add(other.lag)
        self.timed_out += other.timed_out
