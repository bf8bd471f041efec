"""A probe of a search: its request, its outcome, and when it is cut short. Pure.

A probe *passes* when all conditions hold, the rate was carried and the backlog did not grow; it is *unstable* when the
backlog grew, whatever the latencies were in so short a time. It is *invalid* when the client or the machine failed a
check of its certificate, which says nothing about the server. What an overloaded or broken server does, such as lost
answers, does not make a probe invalid.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from frontend_launch.quantities import number
from loadgen.judging.slo import GOODPUT, OUTCOMES, Condition, evaluate
from loadgen.judging.validity import invalid
from loadgen.judging.verdict import CARRIED_SHARE, carried
from loadgen.load.ending import Ending
from loadgen.load.summary import Summary
from loadgen.results.document import Results

Outcome = Literal["pass", "fail", "unstable", "undecided", "invalid", "lost"]
Step = Literal["bracket", "narrow", "confirm", "above"]

SAMPLES = 6.6
"""Least requests of a probe, times the share that may be slow: 660 for a p99, which 99% confidence needs if requests
are independent."""

GROWTH = 1.5
"""A backlog has grown when its second half is this many times its first. Even growth gives 3; growth with the square
root of time, as at exactly full utilisation, gives 1.83."""

GROWN_REQUESTS = 3.0
"""The second half must also exceed the first by this many requests, so that small backlogs do not count."""

GROWING = 5
BACKLOG_FACTOR = 4.0
"""A probe is cut short when its backlog lasts `BACKLOG_FACTOR` times the bound of a p99, and has grown for `GROWING`
intervals since. Without a bound, the backlog must last that many seconds. A lower percentile allows longer queues, see
`_tail`; long probes wait longer, see `hopeless_after`."""

MEAN_SHARE = 0.1
"""The share of a probe in which such a backlog, 18 times the bound of a mean, breaks that bound."""

UNBOUND_SHARE = 0.5
"""The share of a long probe in which such a backlog shows an overload, where no condition is about latencies."""

SERVERS_OWN = (
    "run complete",
    "answers",
    "throughput unchanged",
    "replicas answer",
    "replicas alive",
    "failed batches",
)
"""Checks of the certificate that a server fails, not the client or the machine."""


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
    """The outcome of a probe.

    Attributes:
        step: what it was for.
        rate_rps: requests a second that were asked for.
        duration_s: of its measured part.
        outcome: see the module.
        text: why, for a reader.
        results: name of its results file; empty without.
        invalid: why it is invalid, where it was judged on its figures all the same, as allowed; None for others.
    """

    step: Step
    rate_rps: float
    duration_s: float
    outcome: Outcome
    text: str
    results: str = ""
    invalid: str | None = None


def samples(conditions: Sequence[Condition]) -> int:
    """The fewest requests of a probe that can show whether conditions hold."""
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
    """Judge a probe.

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
        few = f"{number(summary.throughput_rps)} of {number(summary.offered_rps)} requests/s were answered"
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
    """The share of requests that can be answered within the measured part, which excludes those of its last moments."""
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
    """The seconds that a backlog must exceed its bound for the probe to be hopeless.

    In a long probe, the requests of that time make up the share that may be slow: a server that stops for ten seconds
    of three hundred may hold a p50. Short probes decide nothing, and end as early as possible.

    Args:
        conditions: that have to hold.
        ask: the probe.
    """
    if not ask.confirms:
        return GROWING
    shares = [one.slow_share or MEAN_SHARE * (one.metric == "mean") for one in conditions if _tail(one) is not None]
    return max(GROWING, math.ceil(min(shares, default=UNBOUND_SHARE) * ask.duration_s))


def cannot_pass(in_flight: Sequence[float], rate_rps: float, bound_s: float | None, lasting: int = GROWING) -> bool:
    """Whether a probe under way can no longer pass: its backlog is far above the bound, and grows.

    Args:
        in_flight: mean requests in flight of the intervals so far.
        rate_rps: requests a second that are sent, not answers: before the first answer their rate is 0.
        bound_s: the largest 99th percentile that the conditions allow; None where they allow any.
        lasting: intervals in which the backlog has been above that bound; `GROWING` at least.
    """
    latest = in_flight[-lasting:]
    allowed_s = BACKLOG_FACTOR * (1.0 if bound_s is None else bound_s)
    if len(latest) < lasting or min(latest) <= max(GROWN_REQUESTS, rate_rps * allowed_s):
        return False  # a server that stands still for a moment may catch up
    return all(before < after for before, after in itertools.pairwise(latest[-GROWING:]))


def bound_s(conditions: Sequence[Condition]) -> float | None:
    """The largest p99 that conditions allow if latencies are exponential; None without a condition on latencies."""
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
