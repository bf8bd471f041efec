"""Searches the highest rate that holds an objective: asks for probes and judges them. Pure.

1. **Bracket.** From a first rate on, double while probes pass, or halve while they do not.
2. **Narrow.** Halve the bracket on a logarithmic scale until its ends are a quarter of the tolerance apart, with longer
   probes towards the end: a rate so close to capacity passes or fails by chance, which time makes smaller.
3. **Confirm.** A long probe at the highest rate that passed, and one 5 % above it. Where the first fails, the search
   goes down by a quarter of the tolerance. Where the second passes, it confirms its own rate: the next one is 10 %
   above that, then 20 %, and so on until one fails, and the search narrows again below that.

A probe *passes* when all conditions hold, the rate was carried and the backlog did not grow; it is *unstable* when the
backlog grew, whatever the latencies were in so short a time. It is *invalid* when its certificate says so, which says
nothing about the server: it is made once more, and where that is invalid too, the search ends undecided. Where invalid
probes are allowed, one that does not pass is made once more too, and the second counts. Lost answers and a throughput
that changes are what an overloaded server does, and do not make a probe invalid.
"""

from __future__ import annotations

import math
from collections.abc import Generator, Sequence
from dataclasses import dataclass
from typing import Literal

from frontend_launch.integers import plural
from loadgen.checks import finite, whole
from loadgen.constraints import MAX_DURATION_S
from loadgen.errors import FieldError
from loadgen.judging.slo import Condition, evaluate
from loadgen.judging.validity import invalid
from loadgen.judging.verdict import CARRIED_SHARE
from loadgen.load.ending import Ending
from loadgen.results.document import Results

Outcome = Literal["pass", "fail", "unstable", "invalid", "lost"]
Step = Literal["bracket", "narrow", "confirm", "above"]

ABOVE = 1.05
"""The second of the confirming probes asks for so much more."""

LONGER = 5.0
"""A probe near the end of the search, and one that confirms it, lasts so many times as long as the others."""

NEAR = 4.0
"""Near the end is where the bracket is no wider than so many tolerances."""

SAMPLES = 660
"""Requests that a probe has at least: as many as 99 % confidence in a 99th percentile wants."""

MAX_STRETCH = 4.0
"""But a probe is stretched by no more than this for them."""

GROWTH = 1.5
"""A backlog that is so many times as large in the second half as in the first has grown: one that grows evenly is 3
times as large, one that grows like the square root of time, as at exactly full utilisation, 1.83 times."""

GROWN_REQUESTS = 3.0
"""And by so many requests at least, which leaves out those backlogs that are hardly any."""

BACKLOG_FACTOR = 4.0
"""A probe is cut short when its backlog is worth so many times the latency bound, or so many seconds without one."""

OVERLOAD = ("answers", "throughput unchanged")
"""Checks of the certificate that a server fails because of its load."""

LOWEST_RPS = 0.01
HIGHEST_RPS = 1e6


@dataclass(frozen=True, slots=True)
class ProbeRequest:
    """The probe that the search wants next.

    Attributes:
        step: what for.
        rate_rps: requests a second.
        duration_s: of its measured part.
    """

    step: Step
    rate_rps: float
    duration_s: float


@dataclass(frozen=True, slots=True)
class Probe:
    """What a probe came to.

    Attributes:
        step: what it was for.
        rate_rps: requests a second that were asked for.
        duration_s: of its measured part.
        outcome: see the module.
        text: why, for a reader.
        results: name of its results file; empty without.
        invalid: why it is invalid though it was judged on its figures, which was allowed; None for others.
    """

    step: Step
    rate_rps: float
    duration_s: float
    outcome: Outcome
    text: str
    results: str = ""
    invalid: str | None = None


@dataclass(frozen=True, slots=True)
class Limits:
    """When to stop.

    Attributes:
        tolerance: how exact the answer is to be; narrowing ends at a quarter of it.
        duration_s: of a probe.
        probes: most of them.
    """

    tolerance: float = 0.02
    duration_s: float = 30.0
    probes: int = 60

    def __post_init__(self) -> None:
        finite(self, "tolerance", zero=True)
        if not 0.001 <= self.tolerance <= 0.5:
            raise FieldError("Limits.tolerance", f"{self.tolerance:.3g}", "is out of bounds", "use 0.1% to 50%")
        finite(self, "duration_s", most=MAX_DURATION_S)
        whole(self, "probes")


@dataclass(frozen=True, slots=True)
class Capacity:
    """What was found.

    Attributes:
        rate_rps: the highest rate that passed; where it is not confirmed, below all that did not. None where none did.
        failed_rps: the lowest rate above it that did not pass; None where none was found.
        confirmed: a longer probe passed at the rate, and one 5 % above it did not.
        ended: why the search ended.
        probes: all of them, in order.
        undecided: the search ended because a probe was invalid twice.
    """

    rate_rps: float | None
    failed_rps: float | None
    confirmed: bool
    ended: str
    probes: tuple[Probe, ...]
    undecided: bool = False

    @property
    def invalid(self) -> tuple[Probe, ...]:
        """Invalid probes on which the answer rests, since that was allowed."""
        return tuple(probe for probe in self.probes if probe.invalid is not None)


Search = Generator[ProbeRequest, Probe, Capacity]


class _SearchEnded(Exception):  # noqa: N818 - not a fault: there are no more probes
    """The search has to end."""


class _Searcher:
    """The state of a search; `run` carries it out."""

    def __init__(self, start_rps: float, limits: Limits, highest_rps: float) -> None:
        self._start_rps, self._limits, self._highest_rps = start_rps, limits, highest_rps
        self._probes: list[Probe] = []
        self._judged: list[Probe] = []  # those that count: the second of two
        self._low: float | None = None
        self._high: float | None = None
        self._passed_rps = 0.0  # the highest rate at which a confirming probe passed
        self._failed_rps = math.inf  # at which one above it failed
        self._confirmed = self._undecided = False

    def run(self) -> Search:
        try:
            ended = yield from self._search()
        except _SearchEnded as why:
            ended = str(why)
        return Capacity(*self._answer(), self._confirmed, ended, tuple(self._probes), self._undecided)

    def _answer(self) -> tuple[float | None, float | None]:
        """What was found, and what failed above it: probed rates, which the ends of the bracket need not be."""
        passed = [probe.rate_rps for probe in self._judged if probe.outcome == "pass"]
        failed = [probe.rate_rps for probe in self._judged if probe.outcome != "pass"]
        rate_rps = self._low
        if not self._confirmed:
            rate_rps = max((one for one in passed if one < min(failed, default=math.inf)), default=None)
        return rate_rps, min((one for one in failed if one > (rate_rps or 0.0)), default=None)

    def _search(self) -> Generator[ProbeRequest, Probe, str]:
        yield from self._bracket()
        while True:
            yield from self._narrow()
            if (yield from self._confirm()):
                return "confirmed"

    def _bracket(self) -> Generator[ProbeRequest, Probe, None]:
        rate_rps = self._start_rps
        while self._low is None or self._high is None:
            if (yield from self._passes("bracket", rate_rps)):
                self._low = rate_rps
                rate_rps *= 2
            else:
                self._high = rate_rps
                rate_rps /= 2

    def _narrow(self) -> Generator[ProbeRequest, Probe, None]:
        assert self._low is not None
        assert self._high is not None
        tolerance, near = self._limits.tolerance, False
        while self._high / self._low > 1 + tolerance / 4:
            if not near and self._high / self._low <= 1 + NEAR * tolerance:
                # Chance may have decided the short probes that found the ends. Both move out by a tolerance, so that
                # the long probes can put a wrong end right; once only, or the bracket would never close.
                near = True
                self._low = max(self._low / (1 + tolerance), self._passed_rps)
                self._high = min(self._high * (1 + tolerance), self._failed_rps)
            middle = math.sqrt(self._low * self._high)
            if (yield from self._passes("narrow", middle, LONGER if near else 1.0)):
                self._low = middle
            else:
                self._high = middle

    def _confirm(self) -> Generator[ProbeRequest, Probe, bool]:
        """True when it is confirmed; else the bracket has moved."""
        assert self._low is not None
        while self._low > self._passed_rps and not (yield from self._passes("confirm", self._low, LONGER)):
            self._high = self._low
            self._low = max(self._low / (1 + self._limits.tolerance / 4), self._passed_rps)
        step = ABOVE - 1
        above = max(self._high or 0.0, self._low * ABOVE)
        while above != self._failed_rps and (yield from self._passes("above", above, LONGER)):
            self._low = self._passed_rps = above
            step *= 2
            above *= 1 + step
        self._high = self._failed_rps = above
        self._confirmed = step == ABOVE - 1
        return self._confirmed

    def _passes(self, step: Step, rate_rps: float, longer: float = 1.0) -> Generator[ProbeRequest, Probe, bool]:
        if not LOWEST_RPS <= rate_rps <= self._highest_rps:
            raise _SearchEnded(f"no bracket between {LOWEST_RPS:g} and {self._highest_rps:g} requests/s")
        if len(self._judged) >= self._limits.probes:
            raise _SearchEnded(f"{plural(self._limits.probes, 'probe was', 'probes were')} not enough")
        wanted_s = min(SAMPLES / rate_rps, MAX_STRETCH * self._limits.duration_s)
        ask = ProbeRequest(step, rate_rps, longer * max(self._limits.duration_s, wanted_s))
        probe = yield from self._made(ask)
        if probe.outcome == "invalid" or (probe.outcome != "pass" and probe.invalid is not None):
            probe = yield from self._made(ask)
        if probe.outcome == "invalid":
            self._undecided = True
            raise _SearchEnded(f"{rate_rps:.4g} requests/s: invalid twice: {probe.text}")
        self._judged.append(probe)
        return probe.outcome == "pass"

    def _made(self, ask: ProbeRequest) -> Generator[ProbeRequest, Probe, Probe]:
        probe = yield ask
        self._probes.append(probe)
        if probe.outcome == "lost":
            raise _SearchEnded(f"{ask.rate_rps:.4g} requests/s: {probe.text}")
        return probe


def search(start_rps: float, limits: Limits, highest_rps: float = HIGHEST_RPS) -> Search:
    """A search as a generator: it yields what to probe, is sent what came out, and returns what it found.

    Args:
        start_rps: the first rate to probe.
        limits: when to stop.
        highest_rps: the highest rate to probe.
    """
    return _Searcher(start_rps, limits, highest_rps).run()


def judge(
    ask: ProbeRequest,
    results: Results,
    conditions: Sequence[Condition],
    in_flight: Sequence[float],
    allow_invalid: bool = False,
) -> Probe:
    """What a probe came to.

    Args:
        ask: what was asked for.
        results: what was measured.
        conditions: that have to hold.
        in_flight: mean requests in flight of intervals of one length.
        allow_invalid: a probe that is invalid is judged on its figures.
    """
    outcome, text = _judged(results, conditions, in_flight)
    failed = invalid([check for check in results.certificate if check.name not in OVERLOAD])
    if failed is not None and outcome != "lost" and not allow_invalid:
        outcome, text, failed = "invalid", failed.reason, None
    name = "" if results.path is None else results.path.name
    reason = None if failed is None else failed.reason
    return Probe(ask.step, ask.rate_rps, ask.duration_s, outcome, text, name, reason)


def _judged(results: Results, conditions: Sequence[Condition], in_flight: Sequence[float]) -> tuple[Outcome, str]:
    summary = results.summary
    if results.ended == Ending.CUT_SHORT:
        return "fail", "cut short: the backlog grew beyond hope"
    if results.ended == Ending.OVERRUN:
        return "fail", results.error or "overrun"
    if results.ended != Ending.SCHEDULE:
        return "lost", results.error or results.ended
    findings = [evaluate(condition, summary) for condition in conditions]
    text = ", ".join(finding.text for finding in findings)
    if not all(finding.holds for finding in findings):
        return "fail", text
    if summary.throughput_rps < CARRIED_SHARE * (summary.offered_rps or 0.0) * _whole(results):
        return "fail", f"{summary.throughput_rps:.4g} of {summary.offered_rps:.4g} requests/s were answered"
    if growing(in_flight):
        return "unstable", f"{text}, but the backlog grew"
    return "pass", text


def _whole(results: Results) -> float:
    """The share of requests that can have been answered within the measured part: those of its last moments cannot."""
    summary = results.summary
    p99_ms = summary.latency_ms["p99"] or 0.0
    return max(0.5, 1 - p99_ms / 1000 / max(1e-9, summary.measured.duration_s))


def growing(in_flight: Sequence[float]) -> bool:
    """Whether a backlog grew: evenly, or like the square root of time.

    Args:
        in_flight: its mean over intervals of one length, at least four.
    """
    half = len(in_flight) // 2
    if half < 2:
        return False
    first, second = sum(in_flight[:half]) / half, sum(in_flight[-half:]) / half
    return second > GROWTH * first and second - first > GROWN_REQUESTS


def cannot_pass(in_flight: Sequence[float], rate_rps: float, bound_ms: float | None) -> bool:
    """Whether a probe that is under way cannot pass any more: its backlog grows, and is far more than is allowed.

    Args:
        in_flight: mean requests in flight of the intervals so far.
        rate_rps: requests a second that are sent; not answers, of which there are none while the first are under way.
        bound_ms: the largest latency that the conditions allow; None where they allow any.
    """
    if len(in_flight) < 3 or not in_flight[-3] < in_flight[-2] < in_flight[-1]:
        return False
    allowed_s = BACKLOG_FACTOR * (1.0 if bound_ms is None else bound_ms / 1000)
    return in_flight[-1] > max(GROWN_REQUESTS, rate_rps * allowed_s)


def bound_ms(conditions: Sequence[Condition]) -> float | None:
    """The largest latency that conditions allow for any percentile; None where they do not speak of it."""
    bounds = [one.value for one in conditions if one.unit == "ms" and one.operator in ("<", "<=")]
    return max(bounds, default=None)
