"""HDR histograms of latencies, filled in bulk; the only module that computes percentiles of them.

Pure. Histograms of several processes merge by adding their counts, so that percentiles are computed once, from all
samples.
"""

from __future__ import annotations

import math
from array import array
from collections.abc import Iterable
from fractions import Fraction
from typing import NamedTuple

import numpy as np
from hdrh.histogram import HdrHistogram

from model_containers.units import NS_PER_S

LOWEST_NS = 1_000
HIGHEST_NS = 3_600 * NS_PER_S
DIGITS = 3

_LAYOUT = HdrHistogram(LOWEST_NS, HIGHEST_NS, DIGITS)
_UNIT_BITS: int = _LAYOUT.unit_magnitude
_HALF_BITS: int = _LAYOUT.sub_bucket_half_count_magnitude

_WAITING = 4096
"""Values that wait to be counted, at most."""

SPECTRUM_POINTS = 24
"""Points of a spectrum from one power of ten to the next."""


def rank(percentile: float, number: int) -> int:
    """Which of the values, in ascending order and counted from 1, is a percentile: the least that has its share below.

    The share of values at or below it is at least the percentile. The arithmetic is exact: p99.9 of 1000 is the 999th.

    Args:
        percentile: 0 to 100, as a decimal fraction.
        number: of values.
    """
    return max(1, math.ceil(Fraction(str(percentile)) * number / 100))


class PackedHistogram(NamedTuple):
    """The values of a histogram in little memory.

    Attributes:
        places: int32, the buckets that have values.
        counts: int64, values in each.
        sum_ns: exact sum of the values.
        min_ns: exact smallest value; 0 without values.
        max_ns: exact largest value; 0 without values.
    """

    places: np.ndarray
    counts: np.ndarray
    sum_ns: int
    min_ns: int
    max_ns: int


class LatencyHistogram:
    """An HDR histogram of nanoseconds, 1 µs to 1 h at 3 significant digits, filled in bulk.

    The bucket layout is HdrHistogram's: the index of a value is computed here for whole arrays at once,
    since the library's own call costs about a microsecond a value. Everything that leaves is the library's format.
    Values are counted some thousands at a time, since computing the indices of one costs what a hundred do.

    Attributes:
        counts: int64, one per bucket.
        total: number of values.
        sum_ns: exact sum of the values.
        min_ns: exact smallest value; 0 without values.
        max_ns: exact largest value; 0 without values.
    """

    def __init__(self) -> None:
        self._counts = np.zeros(_LAYOUT.counts_len, dtype=np.int64)
        self._total = self._sum_ns = self._min_ns = self._max_ns = 0
        self._waiting = np.empty(_WAITING, dtype=np.int64)
        self._waits = 0
        self._few = array("q")
        """Those that wait too, and came as Python's integers."""

    def record(self, values_ns: np.ndarray) -> None:
        """Add values, int64 nanoseconds; beyond an hour they count as an hour."""
        waits = self._waits + len(values_ns)
        if waits > _WAITING:
            self._count_waiting()
            self._count(values_ns)
        else:
            self._waiting[self._waits : waits] = values_ns
            self._waits = waits

    def record_few(self, values_ns: Iterable[int]) -> None:
        """Add some values, as `record` does, in less time than an array of them takes."""
        self._few.extend(values_ns)
        if len(self._few) >= _WAITING:
            self._count_waiting()

    def record_weighted(self, values_ns: np.ndarray, weights: np.ndarray) -> None:
        """Add values that stand for several each.

        Args:
            values_ns: int64 nanoseconds, at least one; beyond an hour they count as an hour.
            weights: int64, how many each stands for, at least 1.
        """
        self._count(values_ns, weights)

    def since(self, earlier: LatencyHistogram) -> LatencyHistogram:
        """The values that came after an earlier state of this histogram; their extremes to 3 digits."""
        result = LatencyHistogram()
        counts = np.maximum(self.counts - earlier.counts, 0)
        result._counts, result._total = counts, int(counts.sum())
        if result._total:
            lowest, width = _buckets(np.flatnonzero(counts)[[0, -1]])
            # Which values came later is known by their bucket only; but none lies outside the extremes of all.
            result._min_ns = max(int(lowest[0]), self.min_ns)
            result._max_ns = min(int(lowest[1] + width[1] - 1), self.max_ns)
            result._sum_ns = max(0, self.sum_ns - earlier.sum_ns)
        return result

    def add(self, other: LatencyHistogram) -> None:
        """Add another histogram's values."""
        if not other.total:
            return
        self._min_ns = min(self.min_ns, other.min_ns) if self.total else other.min_ns
        self._max_ns = max(self.max_ns, other.max_ns)
        self._sum_ns += other.sum_ns
        self._total += other.total
        self._counts += other.counts

    def packed(self) -> PackedHistogram:
        """Its values in little memory."""
        places = np.flatnonzero(self.counts).astype(np.int32)
        return PackedHistogram(places, self.counts[places], self.sum_ns, self.min_ns, self.max_ns)

    def add_packed(self, other: PackedHistogram) -> None:
        """Add another histogram's values."""
        count = int(other.counts.sum())
        if not count:
            return
        self._min_ns = min(self.min_ns, other.min_ns) if self.total else other.min_ns
        self._max_ns = max(self.max_ns, other.max_ns)
        self._sum_ns += other.sum_ns
        self._total += count
        self._counts[other.places] += other.counts

    @property
    def counts(self) -> np.ndarray:
        """Values per bucket, int64; owned by the histogram."""
        self._count_waiting()
        return self._counts

    @property
    def total(self) -> int:
        """Number of values."""
        return self._total + self._waits + len(self._few)

    @property
    def sum_ns(self) -> int:
        """Sum of the values."""
        self._count_waiting()
        return self._sum_ns

    @property
    def min_ns(self) -> int:
        """The smallest value, exact; 0 without values."""
        self._count_waiting()
        return self._min_ns

    @property
    def max_ns(self) -> int:
        """The largest value, exact; 0 without values."""
        self._count_waiting()
        return self._max_ns

    def _count_waiting(self) -> None:
        if self._waits:
            waiting, self._waits = self._waiting[: self._waits], 0
            self._count(waiting)
        if self._few:
            few, self._few = np.frombuffer(self._few, dtype=np.int64), array("q")
            self._count(few)

    def _count(self, values_ns: np.ndarray, weights: np.ndarray | None = None) -> None:
        values = np.clip(values_ns, 0, HIGHEST_NS)
        np.add.at(self._counts, _indices(values), 1 if weights is None else weights)
        smallest, largest = int(values.min()), int(values.max())
        self._min_ns = min(self._min_ns, smallest) if self._total else smallest
        self._max_ns = max(self._max_ns, largest)
        self._sum_ns += int(values.sum() if weights is None else values @ weights)
        self._total += values.size if weights is None else int(weights.sum())

    def count_at_most(self, value_ns: int) -> int:
        """How many values are at most `value_ns`, to 3 digits."""
        return int(self.counts[: int(_indices(np.array([value_ns]))[0]) + 1].sum())

    def percentile_ns(self, percentile: float, beyond: int = 0) -> int | None:
        """The value at the rank of a percentile, see `rank`; to 3 digits, the largest of its bucket.

        Args:
            percentile: 0 to 100.
            beyond: values that are not recorded, known only to be larger than all that are.

        Returns:
            Nanoseconds; None when there are no values, or when the percentile falls among those beyond.
        """
        position = rank(percentile, self.total + beyond)
        if position > self.total:
            return None
        index = int(np.searchsorted(np.cumsum(self.counts), position))
        highest: int = _LAYOUT.get_highest_equivalent_value(_LAYOUT.get_value_from_index(index))
        return min(highest, self.max_ns)

    def spectrum(self, beyond: int = 0) -> tuple[np.ndarray, np.ndarray]:
        """Percentiles on a logarithmic scale, at ``x`` = 1/(1-q) for the quantile q: 2 is the median, 100 is p99.

        Ranks are those of `rank`. ``x`` ends one above the number of values, where the rank is that of the largest.

        Args:
            beyond: values that are not recorded, known only to be larger than all that are.

        Returns:
            float64 ``x``, rising, evenly spaced on a logarithmic scale, as far as values were recorded; int64
            nanoseconds. Both empty without values.
        """
        number = self.total + beyond
        if not self.total:
            return np.empty(0), np.empty(0, dtype=np.int64)
        decades = np.log10(number + 1)
        one_in = np.logspace(0, decades, round(decades * SPECTRUM_POINTS) + 1)
        # ceil(q * number) is number - floor(number / x). A quotient that ought to be whole may come out a little less,
        # which the addend makes up for.
        ranks = np.maximum(1, number - np.floor(number / one_in + 1e-9).astype(np.int64))
        one_in, ranks = one_in[ranks <= self.total], ranks[ranks <= self.total]
        lowest, width = _buckets(np.searchsorted(np.cumsum(self.counts), ranks))
        return one_in, np.minimum(lowest + width - 1, self.max_ns)

    @property
    def mean_ns(self) -> float | None:
        """The exact mean; None when empty."""
        return self.sum_ns / self.total if self.total else None

    def encode(self) -> str:
        """HdrHistogram's V2 compressed format in base64, which any HdrHistogram tool reads; unit nanoseconds."""
        histogram = HdrHistogram(LOWEST_NS, HIGHEST_NS, DIGITS)
        np.frombuffer(histogram.counts, dtype=np.uint64)[:] = self.counts
        histogram.total_count = self.total
        if self.total:
            histogram.min_value, histogram.max_value = self.min_ns, self.max_ns
        text: bytes = histogram.encode()
        return text.decode()

    @classmethod
    def decode(cls, text: str) -> LatencyHistogram:
        """Read what `encode` wrote; the sum, the smallest and the largest value come back to 3 digits.

        Raises:
            ValueError: it is damaged.
        """
        result = cls()
        counts = result._counts
        try:
            histogram = HdrHistogram.decode(text.encode())
            counts[:] = np.frombuffer(histogram.counts, dtype=np.uint64)[: len(counts)]
        except Exception as error:  # the library has a kind for each way in which it can be damaged
            raise ValueError(f"a histogram is damaged: {error or type(error).__name__}") from None
        result._total = histogram.get_total_count()
        if result._total:
            result._min_ns, result._max_ns = histogram.get_min_value(), histogram.get_max_value()
            lowest, width = _buckets(np.flatnonzero(counts))
            middles = lowest + (width >> 1)  # the library's mean, which takes milliseconds, is of these too
            result._sum_ns = round(float(counts[counts > 0] @ middles.astype(np.float64)))
        return result


def _indices(values: np.ndarray) -> np.ndarray:
    """HdrHistogram's ``countsArrayIndex`` for many values: the power of two picks the bucket, the top bits the slot."""
    exponents = np.frexp(values.astype(np.float64))[1]  # values < 2**53, so the exponent is exact
    buckets = np.maximum(exponents - (_UNIT_BITS + _HALF_BITS + 1), 0)
    indices: np.ndarray = (buckets << _HALF_BITS) + (values >> (buckets + _UNIT_BITS))
    return indices


def _buckets(indices: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The lowest value of each bucket and how many values are in it: HdrHistogram's ``get_value_from_index``."""
    buckets = np.maximum((indices >> _HALF_BITS) - 1, 0)
    slots = indices - (buckets << _HALF_BITS)
    shifts = buckets + _UNIT_BITS
    return slots << shifts, np.ones_like(indices) << shifts


LOWEST_OF_BUCKET_NS = _buckets(np.arange(_LAYOUT.counts_len))[0]
"""Lowest value of each bucket, int64 nanoseconds."""
