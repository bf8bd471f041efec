"""The record of a run: counts, latencies and intervals, as values that pickle and merge."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from heapq import heappop, heappush
from itertools import zip_longest
from typing import NamedTuple

from frontend_launch.histogram import LatencyHistogram
from loadgen.load.ending import Ending
from loadgen.load.parts import PlannedParts
from loadgen.load.requests_log import RequestsLog
from loadgen.load.stage_timings import StageTimings
from loadgen.load.tally import Tally
from loadgen.load.target import Outcome
from loadgen.load.time_batches import TimeBatches
from model_containers.units import NS_PER_S

MAX_INTERVALS = 30_000
"""Intervals that are kept, some 50 MB; a day at the usual three seconds. Later ones are logged only."""


LEAST_PAUSE_NS, MAX_PAUSES = NS_PER_S // 2, 1000
"""Pauses from this length on are kept, up to this number."""

LEAST_SILENCE_NS, MAX_SILENCES = 9 * NS_PER_S // 10, 1000
"""The same of silences, a second as timers have it; of more the longest."""


@dataclass(frozen=True, slots=True)
class Interval:
    """The answers of one logging interval.

    Attributes:
        end_s: its end, seconds since the measured part began.
        duration_s: its length.
        completed: answers that arrived in it.
        p99_s: 99th percentile of their latency, lost requests counting as slower; None without answers, or where it
            falls among lost requests.
        mean_s: mean of their latency, None without answers.
        in_flight: mean number of requests in flight.
        histogram: their latencies, encoded; None without answers.
        ended: of requests of the measured part that ended in it, counts as `Tally.totals`; empty without a tally.
        lost: requests that ended in it without an answer as it should be.
        sent: requests that were sent in it.
        gaps_s: time in it that the client did not run when it was due to; of several clients the most.
    """

    end_s: float
    duration_s: float
    completed: int
    p99_s: float | None
    mean_s: float | None
    in_flight: float
    histogram: str | None
    lost: int = 0
    ended: tuple[int, ...] = ()
    sent: int = 0
    gaps_s: float = 0.0

    @classmethod
    def of(
        cls,
        histogram: LatencyHistogram,
        end_s: float,
        duration_s: float,
        in_flight: float,
        lost: int = 0,
        ended: tuple[int, ...] = (),
        sent: int = 0,
        gaps_s: float = 0.0,
    ) -> Interval:
        """An interval with these latencies.

        Args:
            histogram: latencies of the answers that arrived in it.
            end_s: since the measured part began.
            duration_s: its length, above 0.
            in_flight: mean number of requests.
            lost: requests that ended in it without an answer as it should be.
            ended: counts of its tally.
            sent: requests that were sent in it.
            gaps_s: time that the client did not run when it was due to.
        """
        p99_ns, mean_ns = histogram.percentile_ns(99, lost), histogram.mean_ns
        return cls(
            end_s=end_s,
            duration_s=duration_s,
            completed=histogram.total,
            p99_s=None if p99_ns is None else p99_ns / NS_PER_S,
            mean_s=None if mean_ns is None else mean_ns / NS_PER_S,
            in_flight=in_flight,
            histogram=histogram.encode() if histogram.total else None,
            ended=ended,
            lost=lost,
            sent=sent,
            gaps_s=gaps_s,
        )

    @classmethod
    def merged(cls, intervals: Sequence[Interval]) -> Interval:
        """Intervals of several clients over the same time as one; their ends differ by what timers are late."""
        histogram = LatencyHistogram()
        for interval in intervals:
            if interval.histogram is not None:
                histogram.add(LatencyHistogram.decode(interval.histogram))
        return cls.of(
            histogram,
            max(interval.end_s for interval in intervals),
            sum(interval.duration_s for interval in intervals) / len(intervals),
            sum(interval.in_flight for interval in intervals),
            sum(interval.lost for interval in intervals),
            tuple(sum(counts) for counts in zip(*(interval.ended for interval in intervals), strict=True)),
            sum(interval.sent for interval in intervals),
            max(interval.gaps_s for interval in intervals),
        )

    @property
    def throughput_rps(self) -> float:
        """Answers a second."""
        return self.completed / self.duration_s


class Mark(NamedTuple):
    """What a client had counted at the end of a logging interval of the measured part.

    Attributes:
        sent: requests sent in it.
        unanswered: as of `Record`.
        timed_out: as of `Record`.
        in_flight_ns: as of `ClientUse`.
        cpu_ns: as of `ClientUse`; None where it was not read.
    """

    sent: int
    unanswered: int
    timed_out: int
    in_flight_ns: int
    cpu_ns: int | None = None


MAX_GAPS = 1000
"""Gaps of a client that are kept, the longest ones."""


@dataclass(slots=True)
class ClientUse:
    """What one client process did during the measured part: the evidence that it was not the limit.

    Attributes:
        cpu_ns: CPU time of the whole process, ZeroMQ's I/O thread included.
        in_flight_ns: the number in flight, integrated over time.
        gaps: how often the client did not run when it was due to; see `LATE_NS` of `loadgen.load.dispatcher`.
        gaps_ns: the time of all gaps, from when it was due.
        longest_gaps: a heap of the longest of them, with when each began, since this client's measured part began.
        marks: one for each of its logging intervals that is kept.
    """

    cpu_ns: int = 0
    in_flight_ns: int = 0
    gaps: int = 0
    gaps_ns: int = 0
    longest_gaps: list[tuple[int, int]] = field(default_factory=list)
    marks: list[Mark] = field(default_factory=list)

    @property
    def longest_gap_ns(self) -> int:
        """The longest gap; 0 without one."""
        return max(self.longest_gaps, default=(0, 0))[0]

    @property
    def longest_gap_at_ns(self) -> int:
        """When it began."""
        return max(self.longest_gaps, default=(0, 0))[1]

    def uncovered_ns(self, covered_ns: int) -> int:
        """What gaps are longer than a time that each may last without harm, all together."""
        return sum(max(0, gap_ns - covered_ns) for gap_ns, _ in self.longest_gaps)

    def add_gap(self, at_ns: int, gap_ns: int) -> None:
        """Count a gap.

        Args:
            at_ns: when the client was due to run, since the measured part began.
            gap_ns: how much later it ran.
        """
        self.gaps += 1
        self.gaps_ns += gap_ns
        heappush(self.longest_gaps, (gap_ns, at_ns))
        if len(self.longest_gaps) > MAX_GAPS:
            heappop(self.longest_gaps)


@dataclass(slots=True)
class Offered:
    """What became of the requests that a schedule planned for the measured part.

    Attributes:
        planned: how many there were.
        answered: how many of them were answered, at any time.
        arrived: answers that arrived in the measured part, to whichever request of the run.
        service: latencies of the answers, from when ZeroMQ took the request.
        lag: how much later than planned requests were sent.
        gap_distance: between the distributions of planned and real times between two requests; see `distance`. Of
            several clients the largest; None with fewer than two requests.
        unsent: requests of the whole run that were due when it ended, and not sent.
    """

    planned: int = 0
    answered: int = 0
    arrived: int = 0
    service: LatencyHistogram = field(default_factory=LatencyHistogram)
    lag: LatencyHistogram = field(default_factory=LatencyHistogram)
    gap_distance: float | None = None
    unsent: int = 0

    def add(self, other: Offered) -> None:
        """Add what became of another client's share."""
        self.planned += other.planned
        self.unsent += other.unsent
        self.answered += other.answered
        self.arrived += other.arrived
        self.service.add(other.service)
        self.lag.add(other.lag)
        known = [each for each in (self.gap_distance, other.gap_distance) if each is not None]
        self.gap_distance = max(known, default=None)


@dataclass(slots=True)
class Record:
    """What happened in one run, over the whole of it unless said otherwise.

    Attributes:
        sent: requests sent.
        outcomes: requests by how they ended; they add up to `sent`.
        late: replies to requests whose outcome was final.
        unexpected: replies to nothing that was sent.
        replies: that arrived in the measured part, whatever they said.
        compared: answers that were compared with the right ones.
        mismatched: those of them that were wrong.
        left_behind: requests still unanswered when the client left a server that runs on.
        measured_from_ns: when the measured part began, monotonic clock; 0 when it never did.
        measured_ns: length of the measured part.
        skipped_ns: time between the warm-up and the measured part, of a record that was limited to its last part.
        measured_sent: requests sent in it.
        latency: latencies of the answers that arrived in it; where a schedule says when to send, from the planned time,
            of the answers to requests that were planned for it.
        batches: the values of `latency`, by when the answers arrived.
        intervals: latencies of the answers that arrived in it, by logging interval.
        clients: how each client process used its time.
        offered: what became of a schedule; None where a window says when to send.
        parts: the same by logging interval; None where that was not asked for.
        requests: a log of each client, where rows are kept.
        ended: why the run ended.
        failures: requests that failed, by the reason that the server gave.
        groups: by reason, the text that it has in common with similar ones.
        stages: where the time of some of the requests of `latency` went.
        upper_bounds: good answers that were read later than they arrived, since the client did not run: their latency
            is an upper bound.
        reading_ns: the longest time asked for between two readings of replies in the measured part; 0 where each was
            read as it came. A latency is too long by at most this, unless the client had to wait for its core.
        pauses: when a client did not run for long, monotonic clock: from when it was due to, until it did;
            of several clients, when one or more did not.
        unanswered: requests of a closed loop that ended in the measured part without a good answer. Requests that were
            outstanding at its end and never answered count too, if they waited twice as long as the slowest answer.
        timed_out: those of `lost` that are known to have waited for the whole timeout.
        notes: problems that did not end the run.
        resent: how often a request was sent once more; see `Delivery`.
        addresses: requests by the address that they were sent to; likewise.
        silences: when nothing completed for long in the measured part while the client ran, ascending, monotonic
            clock; of several clients, when none of them got an answer.
        tally: outcomes over time of the requests in `latency` and `lost`; None where no condition needs them.
    """

    sent: int = 0
    outcomes: dict[Outcome, int] = field(default_factory=lambda: dict.fromkeys(Outcome, 0))
    late: int = 0
    unexpected: int = 0
    replies: int = 0
    compared: int = 0
    mismatched: int = 0
    left_behind: int | None = None
    measured_from_ns: int = 0
    measured_ns: int = 0
    skipped_ns: int = 0
    measured_sent: int = 0
    latency: LatencyHistogram = field(default_factory=LatencyHistogram)
    batches: TimeBatches = field(default_factory=TimeBatches)
    intervals: list[Interval] = field(default_factory=list)
    clients: list[ClientUse] = field(default_factory=lambda: [ClientUse()])
    offered: Offered | None = None
    parts: PlannedParts | None = None
    requests: list[RequestsLog] = field(default_factory=list)
    ended: Ending = Ending.DURATION
    failures: Counter[str] = field(default_factory=Counter)
    groups: dict[str, str] = field(default_factory=dict)
    stages: StageTimings = field(default_factory=StageTimings)
    upper_bounds: int = 0
    reading_ns: int = 0
    pauses: list[tuple[int, int]] = field(default_factory=list)
    unanswered: int = 0
    timed_out: int = 0
    notes: list[str] = field(default_factory=list)
    resent: int = 0
    addresses: Counter[str] = field(default_factory=Counter)
    silences: list[tuple[int, int]] = field(default_factory=list)
    tally: Tally | None = None

    @property
    def lost(self) -> int:
        """Requests of the measured part without a good answer, each of which counts as slower than any answer."""
        return self.unanswered if self.offered is None else max(0, self.offered.planned - self.offered.answered)

    def silent(self, from_ns: int, until_ns: int) -> None:
        """Nothing completed for a time; only long ones are kept.

        Args:
            from_ns: since then, monotonic clock.
            until_ns: until then.
        """
        if until_ns - from_ns >= LEAST_SILENCE_NS:
            self.silences.append((from_ns, until_ns))
            if len(self.silences) > MAX_SILENCES:
                self.silences.remove(min(self.silences, key=_length_ns))

    def failed(self, failures: Iterable[str] | Mapping[str, int], groups: Mapping[str, str]) -> None:
        """Count failures; several texts of one group are counted under the group.

        Args:
            failures: reasons, or how often each came.
            groups: see `groups`.
        """
        self.failures.update(failures)
        self.groups.update(groups)
        texts = Counter(group for reason, group in self.groups.items() if reason in self.failures)
        for reason, group in self.groups.items():
            if reason in self.failures and reason != group and (texts[group] > 1 or group in self.failures):
                self.failures[group] += self.failures.pop(reason)

    def merge(self, other: Record) -> None:
        """Add the record of another client that ran at the same time."""
        self.sent += other.sent
        for outcome, count in other.outcomes.items():
            self.outcomes[outcome] += count
        self.late += other.late
        self.unexpected += other.unexpected
        self.replies += other.replies
        self.compared += other.compared
        self.mismatched += other.mismatched
        if other.left_behind is not None:
            self.left_behind = (self.left_behind or 0) + other.left_behind
        begun = [time_ns for time_ns in (self.measured_from_ns, other.measured_from_ns) if time_ns]
        self.measured_from_ns = min(begun, default=0)
        self.measured_ns = max(self.measured_ns, other.measured_ns)
        self.measured_sent += other.measured_sent
        self.latency.add(other.latency)
        self.batches.merge(other.batches)
        self.intervals = [
            Interval.merged([interval for interval in both if interval is not None])
            for both in zip_longest(self.intervals, other.intervals)
        ]
        self.clients += other.clients
        if self.ended.as_asked:
            self.ended = other.ended
        if self.offered is not None and other.offered is not None:
            self.offered.add(other.offered)
        if self.parts is not None and other.parts is not None:
            self.parts.add(other.parts)
        self.requests += other.requests
        self.failed(other.failures, other.groups)
        self.stages.add(other.stages)
        self.upper_bounds += other.upper_bounds
        self.reading_ns = max(self.reading_ns, other.reading_ns)
        self.pauses = union([*self.pauses, *other.pauses])
        self.unanswered += other.unanswered
        self.timed_out += other.timed_out
        if self.tally is not None and other.tally is not None:
            self.tally.merge(other.tally)
        self.resent += other.resent
        self.addresses.update(other.addresses)  # adding would drop those with none
        self.notes += [note for note in other.notes if note not in self.notes]
        common, self.silences = intersection(self.silences, other.silences), []
        for from_ns, until_ns in common:
            self.silent(from_ns, until_ns)

    def shift(self, by_ns: int) -> None:
        """Move moments to another clock; latencies and other durations stay as they are.

        Args:
            by_ns: the other clock minus the clock of this record.
        """
        if self.measured_from_ns:
            self.measured_from_ns += by_ns
        self.pauses, self.silences = (
            [(from_ns + by_ns, until_ns + by_ns) for from_ns, until_ns in intervals]
            for intervals in (self.pauses, self.silences)
        )
        for log in self.requests:
            log.shift(by_ns)


def _length_ns(interval: tuple[int, int]) -> int:
    return interval[1] - interval[0]


def intersection(one: Sequence[tuple[int, int]], other: Sequence[tuple[int, int]]) -> list[tuple[int, int]]:
    """The parts that two sequences of intervals have in common.

    Args:
        one: ascending, without overlap.
        other: likewise.
    """
    common, at, also = list[tuple[int, int]](), 0, 0
    while at < len(one) and also < len(other):
        from_ns, until_ns = max(one[at][0], other[also][0]), min(one[at][1], other[also][1])
        if from_ns < until_ns:
            common.append((from_ns, until_ns))
        at, also = (at + 1, also) if one[at][1] <= other[also][1] else (at, also + 1)
    return common


def union(intervals: Iterable[tuple[int, int]]) -> list[tuple[int, int]]:
    """Intervals as those that do not overlap, ascending."""
    merged: list[tuple[int, int]] = []
    for from_ns, until_ns in sorted(intervals):
        if merged and from_ns <= merged[-1][1]:
            merged[-1] = (merged[-1][0], max(merged[-1][1], until_ns))
        else:
            merged.append((from_ns, until_ns))
    return merged
