"""Counts how requests ended, by time; of the completed ones, how many took longer than given bounds.

Pure: told the time, never reads it. Picklable, and those of several clients merge. The number of batches is bounded as
that of `loadgen.load.time_batches`.
"""

from __future__ import annotations

from collections.abc import Sequence
from copy import copy

import numpy as np

from loadgen.load.target import Outcome
from loadgen.load.time_batches import FIRST_LENGTH_NS, MAX_BATCHES

_HALF = MAX_BATCHES // 2
OUTCOMES = len(Outcome)
"""Columns before those of the bounds."""


class Tally:
    """Requests of the measured part by how they ended, each counted when it ends.

    Args:
        bounds_ns: a completed request that took so long, or longer, is counted as slow.

    Attributes:
        bounds_ns: as given.
        totals: int64, a sum for each `Outcome`, then the slow ones of each bound, then those of half of each bound.
            Where slow ones are few, the last show how they cluster.
        length_ns: of each batch.
    """

    def __init__(self, bounds_ns: Sequence[int] = ()) -> None:
        self.bounds_ns = tuple(bounds_ns)
        self._levels_ns = (*self.bounds_ns, *(bound_ns // 2 for bound_ns in self.bounds_ns))
        self.totals = np.zeros(OUTCOMES + len(self._levels_ns), dtype=np.int64)
        self.length_ns = FIRST_LENGTH_NS
        self._counts = np.zeros((MAX_BATCHES, len(self.totals)), dtype=np.int64)

    def completed(self, latency_ns: np.ndarray, at_ns: int) -> None:
        """Count answers that came together.

        Args:
            latency_ns: int64.
            at_ns: when, since the measured part began.
        """
        slow = [int(np.count_nonzero(latency_ns >= level_ns)) for level_ns in self._levels_ns]
        self._add(np.array([len(latency_ns), *([0] * (OUTCOMES - 1)), *slow]), at_ns)

    def completed_at(self, latency_ns: np.ndarray, at_ns: np.ndarray) -> None:
        """Count answers that came one by one.

        Args:
            latency_ns: int64.
            at_ns: int64 of one length, ascending: when, since the measured part began.
        """
        first = 0
        while first < len(at_ns):
            came_ns = int(at_ns[first])
            end_ns = (max(0, came_ns) // self.length_ns + 1) * self.length_ns
            end = len(at_ns) if at_ns[-1] < end_ns else int(np.searchsorted(at_ns, end_ns))
            self.completed(latency_ns[first:end], came_ns)
            first = end

    def lost(self, outcome: int, count: int, at_ns: int) -> None:
        """Count requests that ended otherwise.

        Args:
            outcome: of all of them.
            count: how many.
            at_ns: when, since the measured part began.
        """
        if count:
            added = np.zeros(len(self.totals), dtype=np.int64)
            added[outcome] = count
            self._add(added, at_ns)

    def _add(self, added: np.ndarray, at_ns: int) -> None:
        while (batch := max(0, at_ns) // self.length_ns) >= MAX_BATCHES:
            self._coarsen()
        self._counts[batch] += added
        self.totals += added

    def _coarsen(self) -> None:
        """Merge neighbours in pairs."""
        self._counts[:_HALF] = self._counts[::2] + self._counts[1::2]
        self._counts[_HALF:] = 0
        self.length_ns *= 2

    def merge(self, other: Tally) -> None:
        """Add another client's, with the same bounds, whose measured part began at the same time."""
        while self.length_ns < other.length_ns:
            self._coarsen()
        while other.length_ns < self.length_ns:
            other._coarsen()
        self._counts += other._counts
        self.totals += other.totals

    def since(self, before: Sequence[int]) -> Tally:
        """A tally with the same batches and without some of the requests.

        Args:
            before: what they were counted as, as `totals`.
        """
        tally = copy(self)
        tally.totals = self.totals - np.array(before, dtype=np.int64)
        return tally

    def within(self, from_ns: int, until_ns: int) -> np.ndarray:
        """The whole batches of a time; what ended later counts in the last of them.

        Args:
            from_ns: its beginning, since the measured part began.
            until_ns: its end, likewise.

        Returns:
            int64, a row for each batch, as `totals`.
        """
        first, whole = -(-from_ns // self.length_ns), min(until_ns // self.length_ns, MAX_BATCHES)
        counts = self._counts.copy()
        if whole:
            counts[whole - 1] += counts[whole:].sum(axis=0)
        return counts[first:whole]
