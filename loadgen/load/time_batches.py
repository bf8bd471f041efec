"""Latencies by time, in a bounded number of batches of one length, for intervals by batch means.

Pure: told the time, never reads it. Picklable, and those of several clients merge.

The number of batches is kept between 128 and 256: when one more is needed, neighbours are merged in pairs, so that
batches become twice as long. A batch has coarse buckets, some 2% wide: it says how counts vary over time, not which
latency a percentile is.
"""

from __future__ import annotations

import numpy as np

from frontend_launch.histogram import LOWEST_OF_BUCKET_NS, LatencyHistogram
from model_containers.units import NS_PER_S

MAX_BATCHES = 256
_HALF = MAX_BATCHES // 2
_MOST_WAITING = 64
FIRST_LENGTH_NS = NS_PER_S // 64
"""Length of a batch before the first merge: a run of two seconds has 128."""

_WIDTH = 1.02
"""Ratio of a coarse bucket's highest value to its lowest, where the histogram's own buckets are not wider."""


def _edges() -> np.ndarray:
    """Index of the first bucket of each coarse bucket."""
    lowest_ns = LOWEST_OF_BUCKET_NS.tolist()  # numpy takes ten times as long for one value, which every start has
    first = [0]
    for index, lowest in enumerate(lowest_ns):
        if lowest > _WIDTH * lowest_ns[first[-1]]:
            first.append(index)
    return np.array(first)


_FIRST = _edges()
COARSE_NS = LOWEST_OF_BUCKET_NS[_FIRST]
"""Lowest latency of each coarse bucket, int64 nanoseconds."""


class TimeBatches:
    """Batches of latencies, by when the answers arrived.

    Attributes:
        length_ns: of each batch.
    """

    def __init__(self) -> None:
        self.length_ns = FIRST_LENGTH_NS
        self._counts = np.zeros((MAX_BATCHES, len(_FIRST)), dtype=np.int32)
        self._sums_ns = np.zeros(MAX_BATCHES, dtype=np.int64)
        self._present = LatencyHistogram()
        self._batch = 0
        """Number of the batch that `_present` belongs to."""
        self._begun_ns = 0
        self._waiting: list[tuple[np.ndarray, np.ndarray]] = []
        """Latencies and times of the latest calls: a call of numpy costs the same for one value as for a hundred."""

    def record(self, latency_ns: np.ndarray, done_ns: np.ndarray, begun_ns: int) -> None:
        """Add latencies.

        Args:
            latency_ns: int64 nanoseconds, at least one.
            done_ns: int64, when the answers arrived; ascending, and none earlier than those of earlier calls.
            begun_ns: when the measured part began, by the same clock; the same in each call.
        """
        self._begun_ns = begun_ns
        self._waiting.append((latency_ns, done_ns))
        if len(self._waiting) >= _MOST_WAITING:
            self._take_in()

    def _take_in(self) -> None:
        """Put what waits into its batches."""
        if not self._waiting:
            return
        latency_ns, done_ns = (np.concatenate(column) for column in zip(*self._waiting, strict=True))
        begun_ns, self._waiting = self._begun_ns, []
        while done_ns[-1] >= (end_ns := begun_ns + (self._batch + 1) * self.length_ns):
            inside = int(np.searchsorted(done_ns, end_ns))
            if inside:
                self._present.record(latency_ns[:inside])
            self._store_present()
            latency_ns, done_ns = latency_ns[inside:], done_ns[inside:]
            self._go_to(max(self._batch + 1, (int(done_ns[0]) - begun_ns) // self.length_ns))
        self._present.record(latency_ns)

    def _go_to(self, batch: int) -> None:
        """Begin a batch."""
        self._batch = batch
        while self._batch >= MAX_BATCHES:
            self._coarsen()

    def _flush(self) -> None:
        """Take in what waits, and store what the present batch has, without ending it."""
        self._take_in()
        self._store_present()

    def _store_present(self) -> None:
        if self._present.total:
            self._store(self._batch, np.add.reduceat(self._present.counts, _FIRST), self._present.sum_ns)
            self._present = LatencyHistogram()

    def _store(self, batch: int, counts: np.ndarray, sum_ns: int) -> None:
        self._counts[batch] += counts.astype(np.int32)
        self._sums_ns[batch] += sum_ns

    def _coarsen(self) -> None:
        """Merge neighbours in pairs."""
        for values in (self._counts, self._sums_ns):
            values[:_HALF] = values[::2] + values[1::2]
            values[_HALF:] = 0
        self.length_ns *= 2
        self._batch //= 2

    def merge(self, other: TimeBatches) -> None:
        """Add another client's, whose measured part began at the same time."""
        self._flush()
        other._flush()
        while self.length_ns < other.length_ns:
            self._coarsen()
        while other.length_ns < self.length_ns:
            other._coarsen()
        self._counts += other._counts
        self._sums_ns += other._sums_ns
        self._batch = max(self._batch, other._batch)

    def within(self, from_ns: int, until_ns: int) -> tuple[np.ndarray, np.ndarray]:
        """The whole batches of a time; what arrived later counts in the last of them.

        Args:
            from_ns: its beginning, since the measured part began.
            until_ns: its end, likewise.

        Returns:
            int64 ``(batches, coarse buckets)``, answers by latency; float64 ``(batches,)``, sums of their latencies.
        """
        self._flush()
        first, whole = -(-from_ns // self.length_ns), min(until_ns // self.length_ns, MAX_BATCHES)
        counts, sums_ns = self._counts.astype(np.int64), self._sums_ns.astype(np.float64)
        if whole:
            counts[whole - 1] += counts[whole:].sum(axis=0)
            sums_ns[whole - 1] += sums_ns[whole:].sum()
        return counts[first:whole], sums_ns[first:whole]
