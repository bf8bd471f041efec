"""What is known of a measurement that is under way, from its messages and the sampler's readings. Pure."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import NamedTuple, assert_never

from frontend_launch.histogram import LatencyHistogram
from loadgen.feed.messages import (
    Begin,
    Closed,
    IntervalDone,
    LoadBegins,
    LogLine,
    Message,
    Progress,
    RunEnds,
    RunPlanned,
    Waits,
)
from loadgen.hardware.readings import Reading
from loadgen.hardware.summary import Sample, between, summarise
from loadgen.judging import validity
from loadgen.judging.evidence import Evidence, on_machine
from loadgen.judging.slo import GOODPUT, LATENCIES, OUTCOMES, Condition, with_unit
from loadgen.load.record import Interval
from loadgen.load.tally import OUTCOMES as OUTCOMES_COUNTED
from loadgen.load.target import Outcome
from model_containers.units import NS_PER_S

MOST_POINTS = 600
"""Intervals of a run that are kept for drawing; their counts stay in the sums."""

NEAR = 0.9
"""From this share of a limit on, a check is about to fail."""

_MACHINE_CHECKS = ("CPU quota", "outside load")
"""Checks of the certificate that the readings of the machine alone can tell."""


class Point(NamedTuple):
    """One interval, for drawing.

    Attributes:
        end_s: its end, since the measured part began.
        throughput_rps: answers a second.
        p50_ms: None without answers.
        p99_ms: likewise, or where it falls among lost requests.
        in_flight: mean number of requests.
    """

    end_s: float
    throughput_rps: float
    p50_ms: float | None
    p99_ms: float | None
    in_flight: float


class CheckState(NamedTuple):
    """A check that fails as things stand, or is about to.

    Attributes:
        name: of the check or condition.
        reason: what was found, in one line.
        fails: it does not hold now; else it is near its limit.
    """

    name: str
    reason: str
    fails: bool


@dataclass(slots=True)
class Counts:
    """Requests and latencies of measured parts.

    Attributes:
        sent: requests.
        completed: of them, with a good answer.
        lost: without one.
        latency: of the good answers.
    """

    sent: int = 0
    completed: int = 0
    lost: int = 0
    latency: LatencyHistogram = field(default_factory=LatencyHistogram)

    def add(self, interval: Interval, latency: LatencyHistogram) -> None:
        """Add an interval.

        Args:
            interval: what was counted in it.
            latency: its latencies.
        """
        self.sent += interval.sent
        self.completed += interval.completed
        self.lost += interval.lost
        self.latency.add(latency)

    def percentile_ms(self, percentile: float) -> float | None:
        """Lost requests count as slower than all answers; None where the percentile falls among them."""
        if not self.latency.total:
            return None
        value_ns = self.latency.percentile_ns(percentile, self.lost)
        return None if value_ns is None else value_ns / 1e6


@dataclass(slots=True)
class Run:
    """One run.

    Attributes:
        planned: what it is to be.
        began_ns: when load began; None before.
        over: it has ended.
        last: the latest interval; None before.
        points: of the latest intervals.
        counts: of all intervals.
        measured_s: the end of the latest.
        gaps_s: time that the client did not run when it was due to.
        ended: counts of the tally; empty where nothing needs them.
        sample: what the machine did between the two latest readings; None before.
        queue_length: queries that wait, by model, at the latest reading.
        checks: those that fail or are about to.
    """

    planned: RunPlanned
    began_ns: int | None = None
    over: bool = False
    last: Interval | None = None
    points: deque[Point] = field(default_factory=lambda: deque(maxlen=MOST_POINTS))
    counts: Counts = field(default_factory=Counts)
    measured_s: float = 0.0
    gaps_s: float = 0.0
    ended: list[int] = field(default_factory=list)
    sample: Sample | None = None
    queue_length: Mapping[str, int] = field(default_factory=dict)
    checks: list[CheckState] = field(default_factory=list)
    _first: Reading | None = None
    """The first one of the measured part."""
    _reading: Reading | None = None
    _machine: list[CheckState] = field(default_factory=list)

    @property
    def measured_from_ns(self) -> int | None:
        """When the measured part begins; None before load begins."""
        return None if self.began_ns is None else self.began_ns + round(self.planned.warmup_s * NS_PER_S)

    @property
    def throughput_rps(self) -> float | None:
        """Answers a second over all intervals."""
        return self.counts.completed / self.measured_s if self.measured_s else None

    def add(self, interval: Interval) -> LatencyHistogram:
        """An interval is over; returns its latencies."""
        latency = LatencyHistogram() if interval.histogram is None else LatencyHistogram.decode(interval.histogram)
        self.last = interval
        self.counts.add(interval, latency)
        self.measured_s = interval.end_s
        self.gaps_s += interval.gaps_s
        if interval.ended:
            before = self.ended or [0] * len(interval.ended)
            self.ended = [sum(pair) for pair in zip(before, interval.ended, strict=True)]
        p50_ns = latency.percentile_ns(50, interval.lost) if latency.total else None
        self.points.append(
            Point(
                interval.end_s,
                interval.throughput_rps,
                None if p50_ns is None else p50_ns / 1e6,
                None if interval.p99_s is None else 1000 * interval.p99_s,
                interval.in_flight,
            )
        )
        self._judge()
        return latency

    def read(self, reading: Reading) -> None:
        """The sampler has a reading."""
        began_ns = self.measured_from_ns
        if self._reading is not None:
            self.sample = between(self._reading, reading, began_ns or reading.at_ns)
        self._reading = reading
        self.queue_length = {key: queue.length for key, queue in reading.queues.items()}
        if began_ns is not None and reading.at_ns >= began_ns and not self.over:
            if self._first is None:
                self._first = reading
            else:
                self._judge_machine(self._first, reading)
                self._judge()

    def _judge(self) -> None:
        conditions = [found for each in self.planned.conditions if (found := _condition(each, self)) is not None]
        self.checks = sorted([*conditions, *self._client(), *self._machine], key=lambda check: not check.fails)

    def _client(self) -> list[CheckState]:
        """Whether the client ran when it should. The certificate is milder: it leaves out what did no harm."""
        share = self.gaps_s / self.measured_s if self.measured_s else 0.0
        if share < NEAR * validity.STALLED_SHARE:
            return []
        reason = f"client on time: it did not run when it was due to for {share:.1%} of the time"
        return [CheckState("client on time", reason, False)]

    def _judge_machine(self, first: Reading, last: Reading) -> None:
        hardware = summarise((first, last), first.at_ns, last.at_ns, self.planned.assignments)
        nothing = Evidence(max_batch=1, client_cpu_share=0.0, window=1, in_flight_mean=0.0)
        checks = validity.certificate(on_machine(nothing, hardware, self.planned.assignments))
        self._machine = [
            CheckState(check.name, check.reason, check.verdict == "failed")
            for check in checks
            if check.name in _MACHINE_CHECKS and check.verdict in ("failed", "noted")
        ]


def _condition(condition: Condition, run: Run) -> CheckState | None:
    """A condition that does not hold as things stand, or hardly holds; None for others, and where that is unknown."""
    value = _value(condition, run)
    if value is None:
        return None
    fails = not condition.allows(value)
    upper = condition.operator in ("<", "<=")
    near = value >= NEAR * condition.value if upper else NEAR * value <= condition.value
    if not fails and not (near and condition.value):
        return None
    scale = 100.0 if condition.unit == "%" else 1.0
    shown = "above all answers" if math.isinf(value) else with_unit(f"{value * scale:.4g}", condition.unit)
    reason = f"{condition.name} {shown}, wanted {condition.text[len(condition.name) :]}"
    return CheckState(condition.name, reason, fails)


def _value(condition: Condition, run: Run) -> float | None:
    """A condition's metric over the intervals until now, in the unit of its value; None where it is not known."""
    counts = run.counts
    if condition.metric in LATENCIES:
        if not counts.latency.total:
            return None
        if condition.metric == "mean":
            return (counts.latency.mean_ns or 0.0) / 1e6
        if condition.metric == "max":
            return counts.latency.max_ns / 1e6
        value_ms = counts.percentile_ms(float(condition.metric[1:]))
        return math.inf if value_ms is None else value_ms
    if condition.metric == "throughput":
        return run.throughput_rps
    if condition.metric == GOODPUT and condition.within_ns is not None:
        ended = counts.completed + counts.lost
        return counts.latency.count_at_most(condition.within_ns) / ended if ended else None
    if condition.metric in OUTCOMES and run.ended:
        count, ended = run.ended[Outcome[condition.metric.upper()]], sum(run.ended[:OUTCOMES_COUNTED])
        return count if condition.unit != "%" else count / ended if ended else None
    return None


@dataclass(slots=True)
class State:
    """A measurement: one run, or several after each other.

    Attributes:
        begin: what is measured.
        waits: what it waits for; None for nothing.
        run: the latest run; None before the first.
        progress: of several runs; None of one.
        counts: of all runs.
        runs: how many have begun.
        dropped: messages that this process was too slow for.
        lines: of the log that are to be shown, which `take_lines` empties.
        closed: nothing follows.
    """

    begin: Begin = field(default_factory=lambda: Begin(""))
    waits: Waits | None = None
    run: Run | None = None
    progress: Progress | None = None
    counts: Counts = field(default_factory=Counts)
    runs: int = 0
    dropped: int = 0
    lines: list[str] = field(default_factory=list)
    closed: bool = False

    def take(self, message: Message) -> None:
        """Take a message."""
        match message:
            case Begin():
                self.begin = message
            case Waits():
                self.waits = message
            case RunPlanned():
                self.run = Run(message)
            case LoadBegins(at_ns):
                self.waits = None
                self.runs += 1
                if self.run is not None:
                    self.run.began_ns = at_ns
            case IntervalDone(interval, dropped):
                self.dropped = dropped
                if self.run is not None:
                    self.counts.add(interval, self.run.add(interval))
            case RunEnds():
                if self.run is not None:
                    self.run.over = True
            case Progress():
                self.progress = message
            case LogLine(text):
                self.lines.append(text)
            case Closed():
                self.closed = True
            case _:
                assert_never(message)

    def take_lines(self) -> list[str]:
        """The lines of the log that have not been taken yet."""
        lines, self.lines = self.lines, []
        return lines
