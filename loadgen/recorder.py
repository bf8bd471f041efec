"""Latencies and counts of a run.

Pure: told the time, never reads it. A record is picklable, and records of several processes merge.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from frontend_launch.histogram import NS_PER_S, LatencyHistogram
from loadgen.targets.target import Outcome

HIGHEST_TIME_NS = 2**63 - 1


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
