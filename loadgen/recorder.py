"""Latencies and counts of a run; the only place that knows percentiles.

Pure: told the time, never reads it. A record is picklable, and records of several processes merge by
adding their counts, so that percentiles are computed once, from all samples.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from hdrh.histogram import HdrHistogram

from loadgen.targets.target import Outcome

NS_PER_S = 1_000_000_000
LOWEST_NS = 1_000
HIGHEST_NS = 3_600 * NS_PER_S
HIGHEST_TIME_NS = 2**63 - 1
DIGITS = 3

_LAYOUT = HdrHistogram(LOWEST_NS, HIGHEST_NS, DIGITS)
_UNIT_BITS: int = _LAYOUT.unit_magnitude
_HALF_BITS: int = _LAYOUT.sub_bucket_half_count_magnitude


class LatencyHistogram:
    """An HDR histogram of nanoseconds, 1 µs to 1 h at 3 significant digits, filled in bulk.

    The bucket layout is HdrHistogram's: the index of a value is computed here for whole arrays at once
    (the library's own call costs about a microsecond a value), everything that leaves is the library's format.

    Attributes:
        counts: int64, one per bucket.
        total: number of values.
        sum_ns: exact sum of the values.
        min_ns: exact smallest value; 0 without values.
        max_ns: exact largest value; 0 without values.
    """

    def __init__(self) -> None:
        self.counts = np.zeros(_LAYOUT.counts_len, dtype=np.int64)
        self.total = self.sum_ns = self.min_ns = self.max_ns = 0

    def record(self, values_ns: np.ndarray) -> None:
        """Add values, int64 nanoseconds; beyond an hour they count as an hour."""
        if not values_ns.size:
            return
        values = np.clip(values_ns, 0, HIGHEST_NS)
        np.add.at(self.counts, _indices(values), 1)
        smallest, largest = int(values.min()), int(values.max())
        self.min_ns = min(self.min_ns, smallest) if self.total else smallest
        self.max_ns = max(self.max_ns, largest)
        self.sum_ns += int(values.sum())
        self.total += values.size

    def add(self, other: LatencyHistogram) -> None:
        """Add another histogram's values."""
        if not other.total:
            return
        self.counts += other.counts
        self.min_ns = min(self.min_ns, other.min_ns) if self.total else other.min_ns
        self.max_ns = max(self.max_ns, other.max_ns)
        self.sum_ns += other.sum_ns
        self.total += other.total

    def percentile_ns(self, percentile: float) -> int | None:
        """The largest value equivalent to the one at a percentile, as HdrHistogram defines it; None when empty."""
        if not self.total:
            return None
        rank = max(1, int(percentile / 100 * self.total + 0.5))
        index = int(np.searchsorted(np.cumsum(self.counts), rank))
        highest: int = _LAYOUT.get_highest_equivalent_value(_LAYOUT.get_value_from_index(index))
        return min(highest, self.max_ns)

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
        """Read what `encode` wrote; the sum, the smallest and the largest value come back to 3 digits."""
        histogram = HdrHistogram.decode(text.encode())
        result = cls()
        result.counts[:] = np.frombuffer(histogram.counts, dtype=np.uint64)[: len(result.counts)]
        result.total = histogram.get_total_count()
        if result.total:
            result.min_ns, result.max_ns = histogram.get_min_value(), histogram.get_max_value()
            result.sum_ns = round(histogram.get_mean_value() * result.total)
        return result


def _indices(values: np.ndarray) -> np.ndarray:
    """HdrHistogram's ``countsArrayIndex`` for many values: the power of two picks the bucket, the top bits the slot."""
    exponents = np.frexp(values.astype(np.float64))[1]  # values < 2**53, so the exponent is exact
    buckets = np.maximum(exponents - (_UNIT_BITS + _HALF_BITS + 1), 0)
    indices: np.ndarray = (buckets << _HALF_BITS) + (values >> (buckets + _UNIT_BITS))
    return indices


@dataclass(frozen=True, slots=True)
class Interval:
    """The answers of one logging interval.

    Attributes:
        end_s: its end, seconds since the measured part began.
        duration_s: its length.
        completed: answers that arrived in it.
        p99_s: 99th percentile of their latency, None without answers.
        mean_s: mean of their latency, None without answers.
        histogram: their latencies, encoded; None without answers.
    """

    end_s: float
    duration_s: float
    completed: int
    p99_s: float | None
    mean_s: float | None
    histogram: str | None

    @property
    def throughput_rps(self) -> float:
        """Answers a second."""
        return self.completed / self.duration_s


@dataclass(slots=True)
class ClientUse:
    """What the client itself did during the measured part: the evidence that it was not the limit.

    Attributes:
        cpu_ns: CPU time of the whole process, ZeroMQ's I/O thread included.
        in_flight_ns: the number in flight, integrated over time.
    """

    cpu_ns: int = 0
    in_flight_ns: int = 0

    def add(self, other: ClientUse) -> None:
        """Add another process's use."""
        self.cpu_ns += other.cpu_ns
        self.in_flight_ns += other.in_flight_ns


@dataclass(slots=True)
class Record:
    """What happened in one run, over the whole of it unless said otherwise.

    Attributes:
        sent: requests sent.
        outcomes: requests by how they ended; they add up to `sent`.
        late: replies to requests whose outcome was final.
        unexpected: replies to nothing that was sent.
        compared: answers that were compared with the right ones.
        mismatched: those of them that were wrong.
        left_behind: requests still unanswered when the client left a server that runs on.
        measured_from_ns: when the measured part began, monotonic clock; 0 when it never did.
        measured_ns: length of the measured part.
        measured_sent: requests sent in it.
        latency: latencies of the answers that arrived in it.
        intervals: the same, by logging interval.
        client: the client's own use of its time.
        ended: why the run ended: ``duration``, ``requests``, ``stalled``, ``no_answer`` or ``stopped``.
    """

    sent: int = 0
    outcomes: dict[Outcome, int] = field(default_factory=lambda: dict.fromkeys(Outcome, 0))
    late: int = 0
    unexpected: int = 0
    compared: int = 0
    mismatched: int = 0
    left_behind: int | None = None
    measured_from_ns: int = 0
    measured_ns: int = 0
    measured_sent: int = 0
    latency: LatencyHistogram = field(default_factory=LatencyHistogram)
    intervals: list[Interval] = field(default_factory=list)
    client: ClientUse = field(default_factory=ClientUse)
    ended: str = "duration"

    def merge(self, other: Record) -> None:
        """Add the record of another client that ran at the same time; intervals stay this one's."""
        self.sent += other.sent
        for outcome, count in other.outcomes.items():
            self.outcomes[outcome] += count
        self.late += other.late
        self.unexpected += other.unexpected
        self.compared += other.compared
        self.mismatched += other.mismatched
        if other.left_behind is not None:
            self.left_behind = (self.left_behind or 0) + other.left_behind
        self.measured_ns = max(self.measured_ns, other.measured_ns)
        self.measured_sent += other.measured_sent
        self.latency.add(other.latency)
        self.client.add(other.client)


class Recorder:
    """Fills a record while a run is under way; outside the measured part only outcomes are counted.

    Attributes:
        record: what was recorded so far.
        measuring: the measured part is under way.
    """

    def __init__(self) -> None:
        self.record = Record()
        self.measuring = False
        self._interval = LatencyHistogram()
        self._started_ns = self._until_ns = self._cut_ns = 0

    def begin_measured(self, now_ns: int, until_ns: int | None) -> None:
        """The measured part begins; answers after `until_ns` will not belong to it."""
        self.measuring = True
        self._started_ns = self._cut_ns = self.record.measured_from_ns = now_ns
        self._until_ns = HIGHEST_TIME_NS if until_ns is None else until_ns

    def end_measured(self, now_ns: int) -> None:
        """The measured part is over."""
        self.measuring = False
        self.record.measured_ns = now_ns - self._started_ns

    def sent(self, count: int) -> None:
        """Count requests that were sent now."""
        self.record.sent += count
        if self.measuring:
            self.record.measured_sent += count

    def ended(self, outcome: Outcome, count: int) -> None:
        """Count requests that ended without a reply."""
        self.record.outcomes[outcome] += count

    def compared(self, agrees: bool) -> None:
        """Count an answer that was compared with the right one."""
        self.record.compared += 1
        self.record.mismatched += not agrees

    def replied(self, outcomes: np.ndarray, sent_ns: np.ndarray, done_ns: np.ndarray) -> None:
        """Record replies: uint8 outcomes, int64 times, arrays of one length."""
        counts = np.bincount(outcomes, minlength=len(Outcome))
        for outcome in Outcome:
            self.record.outcomes[outcome] += int(counts[outcome])
        if not self.measuring:
            return
        answered = (outcomes == Outcome.COMPLETED) & (done_ns >= self._started_ns) & (done_ns < self._until_ns)
        self._interval.record((done_ns - sent_ns)[answered])

    def cut(self, now_ns: int) -> Interval | None:
        """Close the present interval and begin the next; None when it would have no length."""
        if not self.measuring or now_ns <= self._cut_ns:
            return None
        histogram, self._interval = self._interval, LatencyHistogram()
        p99_ns, mean_ns = histogram.percentile_ns(99), histogram.mean_ns
        interval = Interval(
            end_s=(now_ns - self._started_ns) / NS_PER_S,
            duration_s=(now_ns - self._cut_ns) / NS_PER_S,
            completed=histogram.total,
            p99_s=None if p99_ns is None else p99_ns / NS_PER_S,
            mean_s=None if mean_ns is None else mean_ns / NS_PER_S,
            histogram=histogram.encode() if histogram.total else None,
        )
        self._cut_ns = now_ns
        self.record.latency.add(histogram)
        self.record.intervals.append(interval)
        return interval
