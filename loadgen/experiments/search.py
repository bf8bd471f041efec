"""Searches the highest rate that holds an objective: asks for probes and judges them. Pure.

1. **Bracket.** From a first rate on, double while probes pass, or halve while they do not.
2. **Narrow.** Halve the bracket on a logarithmic scale until its ends are two tolerances apart. Until here short probes
   decide by what they measured, which may be chance: they say only where to look.
3. **Confirm.** Long probes, on both sides of what was found, decide by the 95 % interval of what they measured. The
   first is a tolerance below; where it does not pass, the next is twice as far away, and so on. The same above, until
   one does not pass. Where both are far apart, the middle is probed too.

No probe of the first two steps is evidence: a search that probes until something passes selects the lucky probe. A long
probe whose interval holds the bound decides nothing, and is not made again at its rate.

A probe *passes* when all conditions hold, the rate was carried and the backlog did not grow; it is *unstable* when the
backlog grew, whatever the latencies were in so short a time. It is *invalid* when the client or the machine failed a
check of its certificate, which says nothing about the server: it is made again after a while, some times at most. What
an overloaded or broken server does, such as lost answers, does not make a probe invalid.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Generator, Sequence
from dataclasses import dataclass
from typing import Literal

from frontend_launch.integers import plural
from loadgen.checks import finite, whole
from loadgen.constraints import MAX_DURATION_S
from loadgen.errors import FieldError
from loadgen.judging.slo import GOODPUT, OUTCOMES, Condition, evaluate
from loadgen.judging.validity import invalid
from loadgen.judging.verdict import CARRIED_SHARE, carried
from loadgen.load.ending import Ending
from loadgen.load.summary import Summary
from loadgen.results.document import Results

Outcome = Literal["pass", "fail", "unstable", "undecided", "invalid", "lost"]
Step = Literal["bracket", "narrow", "confirm", "above"]

NARROW = 2.0
"""Short probes end where the bracket is no wider than so many tolerances."""

WIDE = 4.0
"""Long probes end where the answer is no wider than so many tolerances."""

MOST_CONFIRMING = 16
"""Most long probes, repeated ones included."""

SAMPLES = 6.6
"""Requests that a probe has at least, times the share that may be slow: 660 for a 99th percentile, as many as 99 %
confidence wants of independent requests."""

MAX_STRETCH = 4.0
"""But a probe is stretched by no more than this for them."""

REPEATS = 4
BACK_OFF_S = 5.0
"""An invalid probe is made again so often at most; before that the search waits for so long, then twice as long."""

GROWTH = 1.5
"""A backlog that is so many times as large in the second half as in the first has grown: one that grows evenly is 3
times as large, one that grows like the square root of time, as at exactly full utilisation, 1.83 times."""

GROWN_REQUESTS = 3.0
"""And by so many requests at least, which leaves out those backlogs that are hardly any."""

GROWING = 5
BACKLOG_FACTOR = 4.0
"""A probe is cut short when its backlog is worth so many times the bound of a p99, or so many seconds without one, and
has grown since then for so many intervals. A lower percentile allows longer queues, as `_tail` says; long probes wait
for longer, as `hopeless_after` says."""

MEAN_SHARE = 0.1
"""The share of a probe in which such a backlog, which is worth 18 times the bound of a mean, breaks it."""

UNBOUND_SHARE = 0.5
"""The share of a long probe in which it shows that a rate is not carried, where no condition is about latencies."""

SERVERS_OWN = ("answers", "throughput unchanged", "replicas answer", "failed batches")
"""Checks of the certificate that a server fails, not the client or the machine."""

LOWEST_RPS = 0.01
HIGHEST_RPS = 1e6


@dataclass(frozen=True, slots=True)
class ProbeRequest:
    """The probe that the search wants next.

    Attributes:
        step: what for.
        rate_rps: requests a second.
        duration_s: of its measured part.
        wait_s: time to wait before, since the last one was invalid.
    """

    step: Step
    rate_rps: float
    duration_s: float
    wait_s: float = 0.0

    @property
    def confirms(self) -> bool:
        """Its interval decides."""
        return self.step in ("confirm", "above")


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
        tolerance: how exact the answer is to be; an interval of four times this is not narrowed.
        duration_s: of a short probe.
        probes: most of them, repeated and long ones included.
        confirm_s: of a probe that decides.
        samples: requests of each probe at least, up to `MAX_STRETCH` times its duration.
    """

    tolerance: float = 0.02
    duration_s: float = 30.0
    probes: int = 60
    confirm_s: float = 300.0
    samples: int = 660

    def __post_init__(self) -> None:
        finite(self, "tolerance", zero=True)
        if not 0.001 <= self.tolerance <= 0.5:
            raise FieldError("Limits.tolerance", f"{self.tolerance:.3g}", "is out of bounds", "use 0.1% to 50%")
        finite(self, "duration_s", "confirm_s", most=MAX_DURATION_S)
        whole(self, "probes", "samples")

    def length_s(self, rate_rps: float, confirms: bool) -> float:
        """How long a probe lasts.

        Args:
            rate_rps: of the probe.
            confirms: it is one that decides.
        """
        usual_s = self.confirm_s if confirms else self.duration_s
        return max(usual_s, min(self.samples / rate_rps, MAX_STRETCH * usual_s))


@dataclass(frozen=True, slots=True)
class Effort:
    """What a search takes.

    Attributes:
        probes: fewest that confirm an answer, and most.
        measured_s: the least and the most time that is measured, waits included, at rates that stretch no probe.
        stretched_below_rps: below this rate some probes are stretched, by `MAX_STRETCH` at most.
    """

    probes: tuple[int, int]
    measured_s: tuple[float, float]
    stretched_below_rps: float


def effort(limits: Limits, warmup_s: float = 0.0, first_s: float = 0.0) -> Effort:
    """How many probes a search makes, and how long they take.

    Args:
        limits: when to stop.
        warmup_s: before each probe.
        first_s: length of a run before the first probe.
    """
    narrowing, ratio = 0, 2.0
    while ratio > 1 + NARROW * limits.tolerance:
        narrowing, ratio = narrowing + 1, math.sqrt(ratio)
    # At least one short and one long probe pass; those that do not may be cut short at once.
    least, least_s = 2 + narrowing + 2, limits.duration_s + limits.confirm_s
    long = min(MOST_CONFIRMING, limits.probes) if limits.confirm_s > limits.duration_s else 0
    waits_s = sum(BACK_OFF_S * 2**each for each in range(REPEATS)) * math.ceil(limits.probes / (REPEATS + 1))
    most_s = long * limits.confirm_s + (limits.probes - long) * limits.duration_s + waits_s
    return Effort(
        (least, limits.probes),
        (first_s + least * warmup_s + least_s, first_s + limits.probes * warmup_s + most_s),
        limits.samples / min(limits.duration_s, limits.confirm_s),
    )


@dataclass(frozen=True, slots=True)
class Capacity:
    """What was found.

    Attributes:
        rate_rps: the highest rate that is known to hold; where it is not confirmed, the highest that passed below all
            that did not. None where none did.
        failed_rps: the lowest rate above it that did not pass; None where none was found.
        confirmed: a long probe passed at the rate, and one at `failed_rps` did not: with 95 % confidence each,
            capacity is between the two.
        ended: why the search ended.
        probes: all of them, in order.
        undecided: the search ended because probes were invalid, or long ones did not decide.
        confirm_s: length of the probes that decide.
    """

    rate_rps: float | None
    failed_rps: float | None
    confirmed: bool
    ended: str
    probes: tuple[Probe, ...]
    undecided: bool = False
    confirm_s: float = 0.0

    @property
    def interval_rps(self) -> tuple[float, float] | None:
        """Where capacity is, with 95 % confidence at each end; None where that is not confirmed."""
        if not self.confirmed or self.rate_rps is None or self.failed_rps is None:
            return None
        return self.rate_rps, self.failed_rps

    @property
    def bracket(self) -> str:
        """What is known, in words."""
        failed = "" if self.failed_rps is None else f"{self.failed_rps:.4g}"
        if self.rate_rps is None:
            return f"{failed} requests/s did not pass, and no lower rate did" if failed else "no rate passed"
        return f"{self.rate_rps:.4g} requests/s passed" + (f", {failed} did not" if failed else "")

    @property
    def invalid(self) -> tuple[Probe, ...]:
        """Invalid probes on which the answer rests, since that was allowed."""
        return tuple(probe for probe in self.probes if probe.invalid is not None)


Search = Generator[ProbeRequest, Probe, Capacity]


class _SearchEnded(Exception):  # noqa: N818 - not a fault: there are no more probes
    """The search has to end."""


class Searcher:
    """A search.

    Args:
        start_rps: the first rate to probe.
        limits: when to stop.
        highest_rps: the highest rate to probe.
    """

    def __init__(self, start_rps: float, limits: Limits, highest_rps: float = HIGHEST_RPS) -> None:
        self._start_rps, self._limits, self._highest_rps = start_rps, limits, highest_rps
        self._probes: list[Probe] = []
        self._judged: list[Probe] = []  # those that count: the last of several
        self._low: float | None = None
        self._high: float | None = None
        self._held: float | None = None  # the highest rate at which a long probe passed
        self._failed: float | None = None  # the lowest at which one failed
        self._confirming = 0
        self._undecided = False

    def steps(self) -> Search:
        """The search as a generator: it yields what to probe, is sent what came out, and returns what it found."""
        try:
            ended = yield from self._search()
        except _SearchEnded as why:
            ended = str(why)
        return self.so_far(ended)

    def so_far(self, ended: str) -> Capacity:
        """What is known.

        Args:
            ended: why the search ended, or that it did not.
        """
        confirmed = self._held is not None and self._failed is not None
        passed = [probe.rate_rps for probe in self._judged if probe.outcome == "pass"]
        failed = [probe.rate_rps for probe in self._judged if probe.outcome in ("fail", "unstable")]
        rate_rps, failed_rps = self._held, self._failed
        if not confirmed:
            least = min(failed, default=math.inf) if failed_rps is None else failed_rps
            if rate_rps is None:
                rate_rps = max((one for one in passed if one < least), default=None)
            failed_rps = min((one for one in failed if one > (rate_rps or 0.0)), default=None)
        undecided = self._undecided and not confirmed
        return Capacity(rate_rps, failed_rps, confirmed, ended, tuple(self._probes), undecided, self._limits.confirm_s)

    def _search(self) -> Generator[ProbeRequest, Probe, str]:
        yield from self._bracket()
        yield from self._narrow()
        assert self._low is not None
        assert self._high is not None
        found = math.sqrt(self._low * self._high)
        yield from self._below(found)
        yield from self._above(found)
        yield from self._closer()
        return "confirmed"

    def _bracket(self) -> Generator[ProbeRequest, Probe, None]:
        rate_rps = self._start_rps
        while self._low is None or self._high is None:
            if (yield from self._probed("bracket", rate_rps)) == "pass":
                self._low = rate_rps
                rate_rps *= 2
            else:
                self._high = rate_rps
                rate_rps /= 2

    def _narrow(self) -> Generator[ProbeRequest, Probe, None]:
        assert self._low is not None
        assert self._high is not None
        while self._high / self._low > 1 + NARROW * self._limits.tolerance:
            middle = math.sqrt(self._low * self._high)
            if (yield from self._probed("narrow", middle)) == "pass":
                self._low = middle
            else:
                self._high = middle

    def _below(self, rate_rps: float) -> Generator[ProbeRequest, Probe, None]:
        """Find a rate that holds, below one."""
        step = self._limits.tolerance
        while self._held is None:
            lower = rate_rps / (1 + step)
            if (yield from self._decided("confirm", lower)) == "fail":
                rate_rps = lower
            step = min(2 * step, 1.0)

    def _above(self, rate_rps: float) -> Generator[ProbeRequest, Probe, None]:
        """Find a rate that does not hold, above one."""
        step = self._limits.tolerance
        while self._failed is None:
            higher = rate_rps * (1 + step)
            if (yield from self._decided("above", higher)) == "pass":
                rate_rps = higher
            step = min(2 * step, 1.0)

    def _closer(self) -> Generator[ProbeRequest, Probe, None]:
        """Halve what lies between, as long as that is decided; what is confirmed stays so."""
        assert self._held is not None
        assert self._failed is not None
        while self._failed / self._held > 1 + WIDE * self._limits.tolerance:
            middle = math.sqrt(self._held * self._failed)
            try:
                outcome = yield from self._decided("above", middle)
            except _SearchEnded:
                return
            if outcome not in ("pass", "fail"):
                return

    def _decided(self, step: Step, rate_rps: float) -> Generator[ProbeRequest, Probe, Outcome]:
        """Make a long probe, and keep what it decides."""
        outcome = yield from self._probed(step, rate_rps)
        if outcome == "pass":
            self._held = max(rate_rps, self._held or 0.0)
        elif outcome == "fail":
            self._failed = min(rate_rps, self._failed or math.inf)
        else:
            self._undecided = True
        return outcome

    def _probed(self, step: Step, rate_rps: float) -> Generator[ProbeRequest, Probe, Outcome]:
        if not LOWEST_RPS <= rate_rps <= self._highest_rps:
            raise _SearchEnded(f"no bracket between {LOWEST_RPS:g} and {self._highest_rps:g} requests/s")
        confirms = step in ("confirm", "above")
        length_s, wait_s = self._limits.length_s(rate_rps, confirms), 0.0
        for repeat in range(REPEATS + 1):
            if len(self._probes) >= self._limits.probes:
                raise _SearchEnded(f"{plural(self._limits.probes, 'probe was', 'probes were')} not enough")
            if confirms and self._confirming >= MOST_CONFIRMING:
                raise _SearchEnded(f"{MOST_CONFIRMING} probes of {self._limits.confirm_s:g} s were not enough")
            self._confirming += confirms
            probe = yield ProbeRequest(step, rate_rps, length_s, wait_s)
            self._probes.append(probe)
            if probe.outcome == "lost":
                raise _SearchEnded(f"{rate_rps:.4g} requests/s: {probe.text}")
            allowed = probe.invalid is not None and probe.outcome != "pass" and repeat == 0
            if probe.outcome != "invalid" and not allowed:
                self._judged.append(probe)
                return probe.outcome
            wait_s = BACK_OFF_S * 2**repeat
        self._undecided = True
        raise _SearchEnded(f"{rate_rps:.4g} requests/s: invalid {REPEATS + 1} times: {probe.text}")


def search(start_rps: float, limits: Limits) -> Search:
    """The steps of a search.

    Args:
        start_rps: the first rate to probe.
        limits: when to stop.
    """
    return Searcher(start_rps, limits).steps()


def samples(conditions: Sequence[Condition]) -> int:
    """Requests that a probe wants at least, to tell whether conditions hold."""
    shares = [one.slow_share for one in conditions if one.slow_share]
    shares += [one.value for one in conditions if one.metric in OUTCOMES and one.unit == "%" and one.value]
    return math.ceil(SAMPLES / min(shares, default=0.01) - 1e-9)


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
    outcome, text = _judged(results, conditions, in_flight, ask.confirms)
    failed = invalid([check for check in results.certificate if check.name not in SERVERS_OWN])
    if failed is not None and outcome != "lost" and not allow_invalid:
        remedy = "" if failed.remedy is None else f"; {failed.remedy}"
        outcome, text, failed = "invalid", failed.reason + remedy, None
    name = "" if results.path is None else results.path.name
    reason = None if failed is None else failed.reason
    return Probe(ask.step, ask.rate_rps, ask.duration_s, outcome, text, name, reason)


def _judged(
    results: Results, conditions: Sequence[Condition], in_flight: Sequence[float], confirms: bool
) -> tuple[Outcome, str]:
    summary = results.summary
    if results.ended == Ending.CUT_SHORT:
        return "fail", "cut short: the backlog grew beyond hope"
    if results.ended == Ending.DECIDED:
        return "fail", ", ".join(evaluate(condition, summary).text for condition in conditions)
    if results.ended == Ending.OVERRUN:
        return "fail", results.error or "overrun"
    if results.ended != Ending.SCHEDULE:
        return "lost", results.error or results.ended
    findings = [evaluate(condition, summary) for condition in conditions]
    text = ", ".join(finding.text for finding in findings)
    broken = [finding for finding in findings if not finding.holds]
    if broken:
        return "undecided" if confirms and not any(finding.sure for finding in broken) else "fail", text
    wanted_rps = (summary.offered_rps or 0.0) * _whole(results) * (1 - _judged_share(conditions, summary))
    if not carried(summary.throughput_rps, wanted_rps, summary.measured.duration_s):
        _, most_rps = summary.throughput_interval_rps or (0.0, math.inf)
        few = f"{summary.throughput_rps:.4g} of {summary.offered_rps:.4g} requests/s were answered"
        return "undecided" if confirms and most_rps >= CARRIED_SHARE * wanted_rps else "fail", few
    if growing(in_flight):
        return "unstable", f"{text}, but the backlog grew"
    if confirms and not all(finding.sure for finding in findings):
        return "undecided", text
    return "pass", text


def _judged_share(conditions: Sequence[Condition], summary: Summary) -> float:
    """The share of requests without a good answer on which conditions have the say, so that they may be missing."""
    judged = {one.metric for one in conditions}
    lost: list[int] = [getattr(summary, name) for name in OUTCOMES if name in judged or GOODPUT in judged]
    return sum(lost) / max(1, summary.sent)


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


def hopeless_after(conditions: Sequence[Condition], ask: ProbeRequest) -> int:
    """For how many seconds a backlog has to be far more than is allowed, so that the probe cannot pass any more.

    Of a long probe, for so long that those who wait meanwhile are as many as may be slow: a server that stands still
    for ten seconds of three hundred may hold a p50. Short ones decide nothing, and are to be short.

    Args:
        conditions: that have to hold.
        ask: the probe.
    """
    if not ask.confirms:
        return GROWING
    shares = [one.slow_share or MEAN_SHARE * (one.metric == "mean") for one in conditions if _tail(one) is not None]
    return max(GROWING, math.ceil(min(shares, default=UNBOUND_SHARE) * ask.duration_s))


def cannot_pass(in_flight: Sequence[float], rate_rps: float, bound_s: float | None, lasting: int = GROWING) -> bool:
    """Whether a probe that is under way cannot pass any more: its backlog is far more than is allowed, and grows.

    Args:
        in_flight: mean requests in flight of the intervals so far.
        rate_rps: requests a second that are sent; not answers, of which there are none while the first are under way.
        bound_s: the largest 99th percentile that the conditions allow; None where they allow any.
        lasting: for so many intervals it has been far more than that, `GROWING` at least.
    """
    latest = in_flight[-lasting:]
    allowed_s = BACKLOG_FACTOR * (1.0 if bound_s is None else bound_s)
    if len(latest) < lasting or min(latest) <= max(GROWN_REQUESTS, rate_rps * allowed_s):
        return False  # a server that stands still for a moment may catch up
    return all(before < after for before, after in itertools.pairwise(latest[-GROWING:]))


def bound_s(conditions: Sequence[Condition]) -> float | None:
    """The largest p99 that conditions allow if latencies are exponential; None where they do not speak of latencies."""
    bounds = [bound for one in conditions if (bound := _tail(one)) is not None]
    return max(bounds, default=None)


def _tail(condition: Condition) -> float | None:
    """The p99 that an upper bound of a latency allows, as of exponential latencies; at least the bound itself."""
    if condition.metric == GOODPUT:
        if condition.operator not in (">", ">=") or condition.within_ns is None:
            return None
        latency_s, share = condition.within_ns / 1e9, condition.slow_share
    elif condition.unit == "ms" and condition.operator in ("<", "<="):
        latency_s, share = condition.value / 1000, math.exp(-1) if condition.metric == "mean" else condition.slow_share
    else:
        return None
    if not 0 < share < 1:
        return latency_s
    return latency_s * max(1.0, math.log(0.01) / math.log(share))
