"""Latencies and counts of a run.

Pure: told the time, never reads it. A record is picklable, and records of several processes merge.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import zip_longest

import numpy as np
from typing_extensions import override

from frontend_launch.histogram import NS_PER_S, LatencyHistogram
from loadgen.load.in_flight import Lost, Settled
from loadgen.load.requests_log import RequestsLog
from loadgen.load.target import Outcome, Replies

HIGHEST_TIME_NS = 2**63 - 1
MAX_INTERVALS = 30_000
"""Intervals that are kept, some 50 MB; a day at the usual three seconds. Later ones are logged only."""
_AS_ASKED = ("duration", "requests", "schedule")
_OUTCOMES = tuple(Outcome)
"""By their codes, without the cost of asking the enumeration for each reading."""


@dataclass(frozen=True, slots=True)
class Interval:
    """The answers of one logging interval.

    Attributes:
        end_s: its end, seconds since the measured part began.
        duration_s: its length.
        completed: answers that arrived in it.
        p99_s: 99th percentile of their latency, None without answers.
        mean_s: mean of their latency, None without answers.
        in_flight: mean number of requests in flight.
        histogram: their latencies, encoded; None without answers.
    """

    end_s: float
    duration_s: float
    completed: int
    p99_s: float | None
    mean_s: float | None
    in_flight: float
    histogram: str | None

    @classmethod
    def of(cls, histogram: LatencyHistogram, end_s: float, duration_s: float, in_flight: float) -> Interval:
        """An interval with these latencies.

        Args:
            histogram: latencies of the answers that arrived in it.
            end_s: since the measured part began.
            duration_s: its length, above 0.
            in_flight: mean number of requests.
        """
        p99_ns, mean_ns = histogram.percentile_ns(99), histogram.mean_ns
        return cls(
            end_s=end_s,
            duration_s=duration_s,
            completed=histogram.total,
            p99_s=None if p99_ns is None else p99_ns / NS_PER_S,
            mean_s=None if mean_ns is None else mean_ns / NS_PER_S,
            in_flight=in_flight,
            histogram=histogram.encode() if histogram.total else None,
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
        )

    @property
    def throughput_rps(self) -> float:
        """Answers a second."""
        return self.completed / self.duration_s


@dataclass(slots=True)
class ClientUse:
    """What one client process did during the measured part: the evidence that it was not the limit.

    Attributes:
        cpu_ns: CPU time of the whole process, ZeroMQ's I/O thread included.
        in_flight_ns: the number in flight, integrated over time.
    """

    cpu_ns: int = 0
    in_flight_ns: int = 0


@dataclass(slots=True)
class Offered:
    """What became of the requests that a schedule planned for the measured part.

    Attributes:
        planned: how many there were.
        answered: how many of them were answered, at any time.
        arrived: answers that arrived in the measured part, to whichever request of the run.
        service: latencies of the answers, from when ZeroMQ took the request.
        lag: how much later than planned requests were sent.
    """

    planned: int = 0
    answered: int = 0
    arrived: int = 0
    service: LatencyHistogram = field(default_factory=LatencyHistogram)
    lag: LatencyHistogram = field(default_factory=LatencyHistogram)

    def add(self, other: Offered) -> None:
        """Add what became of another client's share."""
        self.planned += other.planned
        self.answered += other.answered
        self.arrived += other.arrived
        self.service.add(other.service)
        self.lag.add(other.lag)


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
        measured_sent: requests sent in it.
        latency: latencies of the answers that arrived in it; where a schedule says when to send, from the planned time,
            of the answers to requests that were planned for it.
        intervals: latencies of the answers that arrived in it, by logging interval.
        clients: how each client process used its time.
        offered: what became of a schedule; None where a window says when to send.
        requests: a log of each client, where rows are kept.
        ended: why the run ended: ``duration``, ``requests``, ``schedule``, ``overrun``, ``stalled``, ``no_answer``,
            ``client_lost``, ``enough`` or ``stopped``.
        failures: requests that failed, by the reason that the server gave.
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
    measured_sent: int = 0
    latency: LatencyHistogram = field(default_factory=LatencyHistogram)
    intervals: list[Interval] = field(default_factory=list)
    clients: list[ClientUse] = field(default_factory=lambda: [ClientUse()])
    offered: Offered | None = None
    requests: list[RequestsLog] = field(default_factory=list)
    ended: str = "duration"
    failures: Counter[str] = field(default_factory=Counter)

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
        self.intervals = [
            Interval.merged([interval for interval in both if interval is not None])
            for both in zip_longest(self.intervals, other.intervals)
        ]
        self.clients += other.clients
        if self.ended in _AS_ASKED:
            self.ended = other.ended
        if self.offered is not None and other.offered is not None:
            self.offered.add(other.offered)
        self.requests += other.requests
        self.failures += other.failures


class Recorder:
    """Fills a record while a run is under way; outside the measured part only outcomes are counted.

    Args:
        log: gets a row for each request that has ended.

    Attributes:
        record: what was recorded so far.
        measuring: the measured part is under way.
    """

    def __init__(self, log: RequestsLog | None = None) -> None:
        self.record = Record()
        self.measuring = False
        self._log = log
        if log is not None:
            self.record.requests.append(log)
        self._interval = LatencyHistogram()
        self._started_ns = self._until_ns = self._cut_ns = self._cut_in_flight_ns = 0

    def begin_measured(self, now_ns: int, until_ns: int | None) -> None:
        """The measured part begins; answers after `until_ns` will not belong to it.

        Args:
            now_ns: its beginning, monotonic clock.
            until_ns: its end, monotonic clock; None for none, as in a run that ends by count.
        """
        self.measuring = True
        self._started_ns = self._cut_ns = self.record.measured_from_ns = now_ns
        self._until_ns = HIGHEST_TIME_NS if until_ns is None else until_ns

    def planned(self, count: int) -> None:
        """So many requests were planned for the measured part, if there is a plan."""

    def end_measured(self, now_ns: int) -> None:
        """The measured part is over."""
        self.measuring = False
        self.record.measured_ns = now_ns - self._started_ns

    def sent(self, count: int, now_ns: int, planned_ns: np.ndarray | None = None) -> None:
        """Count requests that were sent now, with their planned times if there is a plan.

        Args:
            count: how many.
            now_ns: monotonic clock.
            planned_ns: int64 ``(count,)``, ascending; None without a plan.
        """
        self.record.sent += count
        if self.measuring:
            self.record.measured_sent += count

    def ended(self, outcome: Outcome, lost: Lost) -> None:
        """Count requests that ended without a reply.

        Args:
            outcome: of all of them.
            lost: which.
        """
        self.record.outcomes[outcome] += len(lost.ids)
        if self._log is not None:
            self._log.lost(lost, outcome)

    def compared(self, agrees: bool) -> None:
        """Count an answer that was compared with the right one."""
        self.record.compared += 1
        self.record.mismatched += not agrees

    def replied(self, replies: Replies, settled: Settled) -> None:
        """Record replies to requests that were outstanding.

        Args:
            replies: in the order of arrival.
            settled: what `InFlight.settle` said of them, one for each reply.
        """
        ids, done_ns, outcomes = replies.ids, replies.done_ns, replies.outcomes
        known, planned_ns, sent_ns = settled
        if replies.reasons:
            failed = np.flatnonzero(outcomes == Outcome.FAILED).tolist()
            why = zip(failed, replies.reasons, strict=True)
            self.record.failures.update(reason for place, reason in why if known[place])
        if self.measuring:
            self.record.replies += len(ids)
        if np.count_nonzero(known) < len(known):
            ids, done_ns, outcomes = ids[known], done_ns[known], outcomes[known]
            planned_ns, sent_ns = planned_ns[known], sent_ns[known]
        if self._log is not None:
            self._log.replied(ids, planned_ns, sent_ns, done_ns, outcomes)
        if np.count_nonzero(outcomes):  # the code of completed is 0
            for outcome, count in zip(_OUTCOMES, np.bincount(outcomes).tolist(), strict=False):
                self.record.outcomes[outcome] += count
            completed = outcomes == Outcome.COMPLETED
            planned_ns, sent_ns, done_ns = planned_ns[completed], sent_ns[completed], done_ns[completed]
        else:
            self.record.outcomes[Outcome.COMPLETED] += len(outcomes)
        if len(done_ns):
            self._measure(planned_ns, sent_ns, done_ns)

    def _measure(self, planned_ns: np.ndarray, sent_ns: np.ndarray, done_ns: np.ndarray) -> None:
        """Record those good answers, in the order of their arrival, that belong to the measured part."""
        if self.measuring:
            latency_ns = done_ns - planned_ns
            self._interval.record(_between(latency_ns, done_ns, self._started_ns, self._until_ns))

    def _closed(self, histogram: LatencyHistogram) -> None:
        """An interval was closed."""
        self.record.latency.add(histogram)

    def cut(self, now_ns: int) -> Interval | None:
        """Close the present interval and begin the next; None when it would have no length."""
        if not self.measuring or now_ns <= self._cut_ns:
            return None
        histogram, self._interval = self._interval, LatencyHistogram()
        in_flight_ns = self.record.clients[0].in_flight_ns
        interval = Interval.of(
            histogram,
            end_s=(now_ns - self._started_ns) / NS_PER_S,
            duration_s=(now_ns - self._cut_ns) / NS_PER_S,
            in_flight=(in_flight_ns - self._cut_in_flight_ns) / (now_ns - self._cut_ns),
        )
        self._cut_ns, self._cut_in_flight_ns = now_ns, in_flight_ns
        self._closed(histogram)
        if len(self.record.intervals) < MAX_INTERVALS:
            self.record.intervals.append(interval)
        return interval


class ScheduleRecorder(Recorder):
    """Fills the record of a run whose schedule says when to send.

    Latencies count from the planned time and are those of all requests that were planned for the measured part,
    whenever they were answered; so it is what was planned, not what happened to be answered, that is measured.

    Args:
        from_ns: when the measured part begins, by the plan.
        until_ns: when it ends.
        log: gets a row for each request that has ended.
    """

    def __init__(self, from_ns: int, until_ns: int, log: RequestsLog | None = None) -> None:
        super().__init__(log)
        self._from_ns, self._to_ns = from_ns, until_ns
        self.record.offered = self._offered = Offered()

    @override
    def planned(self, count: int) -> None:
        self._offered.planned = count

    @override
    def end_measured(self, now_ns: int) -> None:
        """A run that ends before its plan does has measured until then."""
        super().end_measured(now_ns)
        self._to_ns = min(self._to_ns, now_ns)

    @override
    def sent(self, count: int, now_ns: int, planned_ns: np.ndarray | None = None) -> None:
        assert planned_ns is not None
        self.record.sent += count
        counted = planned_ns if planned_ns[0] >= self._from_ns else planned_ns[planned_ns >= self._from_ns]
        self.record.measured_sent += len(counted)
        self._offered.lag.record(now_ns - counted)

    @override
    def _measure(self, planned_ns: np.ndarray, sent_ns: np.ndarray, done_ns: np.ndarray) -> None:
        latency_ns, service_ns = done_ns - planned_ns, done_ns - sent_ns
        arrived_ns = _between(latency_ns, done_ns, self._from_ns, self._to_ns)
        # Two sets: throughput and the interval's line are of what arrived in the measured part, the latencies below are
        # of what was planned for it. The second is not cut off at its end, or the slowest answers would be missing.
        self._offered.arrived += len(arrived_ns)
        if self.measuring:
            self._interval.record(arrived_ns)
        counted = planned_ns >= self._from_ns
        answered = int(np.count_nonzero(counted))
        if answered < len(counted):
            latency_ns, service_ns = latency_ns[counted], service_ns[counted]
        self._offered.answered += answered
        self.record.latency.record(latency_ns)
        self._offered.service.record(service_ns)

    @override
    def _closed(self, histogram: LatencyHistogram) -> None:
        """An interval is only for its line; what is measured is recorded as it comes."""


def _between(values: np.ndarray, times_ns: np.ndarray, from_ns: int, until_ns: int) -> np.ndarray:
    """The values of those times, ascending and at least one, that are in a period; mostly all are."""
    if times_ns[0] >= from_ns and times_ns[-1] < until_ns:
        return values
    return values[(times_ns >= from_ns) & (times_ns < until_ns)]
