"""Objectives such as ``p99<250ms,failed<0.1%``: reads conditions and judges whether a measurement holds them. Pure.

A condition is a metric, an operator (``<``, ``<=``, ``>``, ``>=``) and a value with its unit; of conditions joined by
commas all must hold.

========================================== =============================================== ===================
metric                                     meaning                                         units
========================================== =============================================== ===================
p50, p90, p95, p99, p99.9, mean, max       latency of the measured part                    us, ms, s, m, h
throughput                                 completed requests a second                     req/s, /m, /h, or none
failed, timed_out, defaulted, abandoned    requests of the whole run that ended so         %  (of all sent), or
                                                                                           none (their number)
resent                                     requests of the whole run that were sent once   %  (of all sent), or
                                           more, see `Summary`                             none (their number)
achieved                                   answers ÷ requests sent, of the measured part   %
goodput(latency<100ms)                     requests of the measured part with a good       %
                                           answer within a time
failed_batches                             batches of the measured part that failed        none (their number)
========================================== =============================================== ===================
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final, NamedTuple

from frontend_launch.quantities import number
from loadgen.errors import ConfigError, FieldError
from loadgen.load.summary import Share, Summary, slow_name
from loadgen.load.tally import OUTCOMES as OUTCOMES_COUNTED
from loadgen.load.target import Outcome
from loadgen.parsing import NUMBER

LATENCIES: Final = ("p50", "p90", "p95", "p99", "p99.9", "mean", "max")
OUTCOMES: Final = ("failed", "timed_out", "defaulted", "abandoned")
GOODPUT: Final = "goodput"
METRICS: Final = (*LATENCIES, "throughput", *OUTCOMES, "resent", "achieved", "failed_batches", GOODPUT)
_BETTER_HIGH: Final = ("throughput", "achieved", GOODPUT)
"""Metrics of which more is better; of the others it is less."""

_NS_PER_MS: Final = 1e6
_S_PER_UNIT: Final = {"s": 1.0, "m": 60.0, "min": 60.0, "h": 3600.0}
_MS_PER_UNIT: Final[Mapping[str, float]] = {
    **{"us": 0.001, "µs": 0.001, "ms": 1.0},
    **{unit: 1000 * seconds for unit, seconds in _S_PER_UNIT.items()},
}
_UNITS_PER_RPS: Final[Mapping[str, float]] = {
    **{"": 1.0, "rps": 1.0, "qps": 1.0},
    **{f"{of}/{unit}": seconds for of in ("req", "requests", "") for unit, seconds in _S_PER_UNIT.items()},
}
_UNITS: Final[Mapping[str, tuple[str, ...]]] = {
    **dict.fromkeys(LATENCIES, tuple(_MS_PER_UNIT)),
    "throughput": tuple(_UNITS_PER_RPS),
    **dict.fromkeys((*OUTCOMES, "resent"), ("%", "")),
    "achieved": ("%",),
    "failed_batches": ("",),
    GOODPUT: ("%",),
}
_NUMBER = rf"{NUMBER}(?:e[+-]?[0-9]{{1,3}})?"
_CONDITION = re.compile(
    rf"(?P<metric>[a-z][a-z0-9_.]*)\s*(?P<within>\([^)]*\))?\s*"
    rf"(?P<operator><=|>=|<|>)\s*(?P<number>{_NUMBER})\s*(?P<unit>[a-zµ/%]*)",
    re.IGNORECASE,
)
_WITHIN = re.compile(rf"\(\s*latency\s*(<=|<)\s*({_NUMBER})\s*([a-zµ]+)\s*\)", re.IGNORECASE)
_FEW_UNITS: Final = {"throughput": ("req/s", "req/m", "req/h", "")}
"""Those that are named, of metrics that have many."""
_EXAMPLE = "write such as p99<250ms or failed<0.1%"


@dataclass(frozen=True, slots=True)
class Condition:
    """One bound.

    Attributes:
        metric: one of `METRICS`.
        operator: ``<``, ``<=``, ``>`` or ``>=``.
        value: the bound: milliseconds, requests a second, a share (1 is all) or a number of requests.
        unit: ``ms``, ``req/s``, ``%`` (the value is a share) or nothing (a number of requests).
        text: as it was written, without spaces.
        within_ns: of goodput: a good answer takes less.
    """

    metric: str
    operator: str
    value: float
    unit: str
    text: str
    within_ns: int | None = None

    def __str__(self) -> str:
        return self.text

    @property
    def name(self) -> str:
        """What is measured, as it was written."""
        return self.text[: self.text.index(")") + 1] if self.metric == GOODPUT else self.metric

    @property
    def slow_ns(self) -> int | None:
        """Whether the condition is true depends on how many requests have no good answer in less; None otherwise."""
        if self.metric == GOODPUT:
            return self.within_ns
        if self.metric not in LATENCIES or self.metric == "mean":
            return None
        return round(self.value * _NS_PER_MS) + (self.operator in ("<=", ">"))

    @property
    def slow_share(self) -> float:
        """The share of such requests with which the metric is at its bound; 0 for metrics that have none."""
        if self.metric == GOODPUT:
            return round(1 - self.value, 15)
        if self.slow_ns is None or self.metric == "max":
            return 0.0
        return (1000 - round(10 * float(self.metric[1:]))) / 1000

    @property
    def is_fact(self) -> bool:
        """Whether its metric is a fact of each run, without an interval: the slowest answer, or a number."""
        return self.metric in _FACTS and self.unit != "%"

    @property
    def opposite(self) -> Condition:
        """The condition that is true where this one is not."""
        return self.with_operator({"<": ">=", "<=": ">", ">": "<=", ">=": "<"}[self.operator])

    def with_operator(self, operator: str) -> Condition:
        """The condition with another operator."""
        text = f"{self.name}{operator}{self.text[len(self.name) + len(self.operator) :]}"
        return replace(self, operator=operator, text=text)

    @property
    def is_objective(self) -> bool:
        """Whether better servers keep the bound; otherwise they break it."""
        return (self.metric in _BETTER_HIGH) == (self.operator in (">", ">="))

    def allows(self, measured: float) -> bool:
        """Whether a value, in the unit of `value`, keeps the bound."""
        match self.operator:
            case "<":
                return measured < self.value
            case "<=":
                return measured <= self.value
            case ">":
                return measured > self.value
            case _:
                return measured >= self.value


@dataclass(frozen=True, slots=True)
class Finding:
    """The result of a condition.

    Attributes:
        condition: the bound.
        value: what was measured, in the bound's unit; None where nothing was.
        holds: whether it keeps the bound; an unmeasured value does not, unless its lower bound decides.
        text: for a reader, such as ``p99 231 ms, wanted <250ms``.
        decided: all that is known of the value is on one side of the bound; nothing is known of an unmeasured one.
        sure: an interval, a bound or a fact such as a count decides, not the value alone.
    """

    condition: Condition
    value: float | None
    holds: bool
    text: str
    decided: bool = True
    sure: bool = False


def parse(text: str) -> list[Condition]:
    """Read conditions, joined by commas.

    Raises:
        ConfigError: the text has no condition, or one of them makes no sense.
    """
    if re.search("[0-9],[0-9]", text):
        raise ConfigError(f"{text!r}: has a comma in a number; write 0.5 for a half, and 1000 for a thousand")
    return [_condition(part.strip()) for part in text.split(",")]


def check_direction(field: str, conditions: Iterable[Condition], *, objective: bool) -> None:
    """Refuse conditions whose comparison is reversed, and those that are true in every run, or in none.

    Args:
        field: of the conditions, for the error.
        conditions: to check.
        objective: they have to hold; otherwise they must not come true.

    Raises:
        FieldError: better servers break an objective, or make come true what must not; or no run tells anything.
    """
    for condition in conditions:
        if condition.is_objective == objective:
            if (true := _foregone(condition)) is not None:
                problem = f"is true in {'every' if true else 'no'} run"
                raise FieldError(field, condition.text, problem, _sensible(condition))
            continue
        better = "higher" if condition.metric in _BETTER_HIGH else "lower"
        effect = "so good servers miss this objective" if objective else "so good runs fail"
        mirrored = condition.with_operator(condition.operator.translate(str.maketrans("<>", "><")))
        remedy = f"write {mirrored}" if _foregone(mirrored) is None else _sensible(mirrored)
        raise FieldError(field, condition.text, f"a {better} {condition.metric} is better, {effect}", remedy)


def check_rate(field: str, conditions: Iterable[Condition], rate_rps: float) -> None:
    """Refuse objectives that no server can be shown to hold at a rate.

    Args:
        field: of the conditions, for the error.
        conditions: to check.
        rate_rps: requests a second that are sent.

    Raises:
        FieldError: more answers are wanted than requests are sent.
    """
    for condition in conditions:
        if condition.metric == "throughput" and condition.is_objective and condition.value >= rate_rps:
            problem = f"cannot be shown: {number(rate_rps)} requests/s have at most as many answers"
            raise FieldError(field, condition.text, problem, "write achieved>=99%")


def _foregone(condition: Condition) -> bool | None:
    """Whether a condition is true in every run or in none, whatever is measured; None where runs differ."""
    least, most = 0.0, 1.0 if condition.unit == "%" else math.inf
    if condition.metric in LATENCIES and condition.value == 0:
        return condition.operator in (">", ">=")  # no answer takes no time
    ends = (condition.allows(least), condition.allows(most))
    return ends[0] if ends[0] == ends[1] else None


def _sensible(condition: Condition) -> str:
    """The remedy for a condition of which no run tells anything."""
    other = condition.with_operator(condition.operator[0] + "=" * (len(condition.operator) == 1))
    if _foregone(other) is None:
        return f"write {other}"
    return "use 0% to 100%" if condition.unit == "%" else "use a bound above 0"


def _condition(text: str) -> Condition:
    match = _CONDITION.fullmatch(text)
    if match is None:
        raise ConfigError(f"{text!r}: not a condition; {_EXAMPLE}, joined by commas")
    metric, operator, number, unit = match["metric"].lower(), match["operator"], match["number"], _unit(match["unit"])
    if metric not in _UNITS:
        raise ConfigError(f"{text!r}: there is no metric {metric}; use one of {', '.join(METRICS)}")
    if (match["within"] is not None) != (metric == GOODPUT):
        raise ConfigError(
            f"{text!r}: {'only goodput' if match['within'] else metric} has a latency; {_example(GOODPUT)}"
        )
    if unit not in _UNITS[metric]:
        units = " or ".join(name or "no unit" for name in (_FEW_UNITS.get(metric) or _UNITS[metric]))
        raise ConfigError(f"{text!r}: {metric} is measured in {units}; {_example(metric)}")
    value = float(number)
    if not math.isfinite(value):
        raise ConfigError(f"{text!r}: {number} is too large")
    written = re.sub(r"\s", "", text)
    if metric in LATENCIES:
        return Condition(metric, operator, value * _MS_PER_UNIT[unit], "ms", written)
    if metric == "throughput":
        return Condition(metric, operator, value / _UNITS_PER_RPS[unit], "req/s", written)
    within_ns = _within_ns(text, match["within"]) if metric == GOODPUT else None
    share = round(value / 100, 15)  # 99.9 / 100 is not quite 0.999
    return Condition(metric, operator, share if unit == "%" else value, unit, written, within_ns)


def _unit(written: str) -> str:
    """A unit as the tables have it: the Greek letter is as good as the sign for a millionth."""
    return written.lower().replace("\N{GREEK SMALL LETTER MU}", "\N{MICRO SIGN}")


def _within_ns(text: str, within: str) -> int:
    """A request is good when it takes less than this."""
    match = _WITHIN.fullmatch(within)
    if match is None or _unit(match[3]) not in _MS_PER_UNIT:
        raise ConfigError(f"{text!r}: {within} is not a bound of a latency; {_example(GOODPUT)}")
    bound_ns = float(match[2]) * _MS_PER_UNIT[_unit(match[3])] * _NS_PER_MS
    if bound_ns < 1:
        raise ConfigError(f"{text!r}: no answer is so quick as {match[2]}{match[3]}; {_example(GOODPUT)}")
    if not math.isfinite(bound_ns):
        raise ConfigError(f"{text!r}: {match[2]} is too large")
    return round(bound_ns) + (match[1] == "<=")


def slow_bounds_ns(conditions: Iterable[Condition]) -> tuple[int, ...] | None:
    """The bounds by which ended requests are to be counted; None where no condition is about how requests ended."""
    conditions = list(conditions)
    bounds_ns = {condition.slow_ns for condition in conditions}
    if bounds_ns == {None} and not any(condition.metric in OUTCOMES for condition in conditions):
        return None
    return tuple(sorted(bound_ns for bound_ns in bounds_ns if bound_ns is not None)) if conditions else None


def _example(metric: str) -> str:
    usual = "<250ms" if metric in LATENCIES else "<0.1%"
    examples = {"throughput": ">100req/s", "achieved": ">=99%", "failed_batches": "<1", GOODPUT: "(latency<100ms)>99%"}
    return f"write {metric}{examples.get(metric, usual)}"


def comes_true(condition: Condition, ended: Sequence[int], bounds_ns: Sequence[int], most: int | None) -> bool:
    """Whether a condition is sure to be true at the end of a run.

    Args:
        condition: one that more slow or lost requests cannot make false; others do not come true early.
        ended: requests until now, as `Tally.totals`.
        bounds_ns: of the tally.
        most: requests that the run has at most; None where that is not known.
    """
    if condition.slow_ns is not None:
        place = OUTCOMES_COUNTED + bounds_ns.index(condition.slow_ns)
        slow = ended[place] + sum(ended[:OUTCOMES_COUNTED]) - ended[Outcome.COMPLETED]
        if condition.metric == "max":
            return condition.operator in (">", ">=") and ended[place] > 0
        if most is None or condition.operator not in (("<", "<=") if condition.metric == GOODPUT else (">", ">=")):
            return False
        allowed = condition.slow_share * most
        return slow > allowed or (slow == allowed and condition.operator == "<=")
    if condition.metric not in OUTCOMES or condition.operator not in (">", ">="):
        return False
    count = ended[Outcome[condition.metric.upper()]]
    if condition.unit != "%":
        return condition.allows(count)
    return most is not None and condition.allows(count / most)


def evaluate(condition: Condition, summary: Summary) -> Finding:
    """Does a condition hold? What was not measured, such as a percentile without answers, is undecided.

    Args:
        condition: what has to hold.
        summary: what was measured.
    """
    value, known = _measured(condition, summary), _known(condition, summary)
    holds = known is not None and all(known.truths) if value is None else condition.allows(value)
    agree = known is not None and known.truths[0] == known.truths[1]
    bound = condition.text[len(condition.name) :]
    text = f"{condition.name} {_found(condition, summary, value)}, wanted {bound}"
    if value is not None and not agree and known is not None:
        text = f"{text} ({known.text})"
    sure = known is not None and known.sure and {*known.truths} == {holds}
    return Finding(condition, value, holds, text, agree, sure)


def crossed(condition: Condition, summary: Summary) -> tuple[bool | None, str]:
    """Whether a condition that must not come true did.

    Undecided where the metric is unknown, or may lie on either side of the bound: a percentile among lost requests has
    a lower bound only, which decides one direction.

    Args:
        condition: what must not come true.
        summary: what was measured.

    Returns:
        Whether it has, None where undecided; and a text for a reader, such as ``p99 is 231 ms``.
    """
    value, known = _measured(condition, summary), _known(condition, summary)
    text = f"{condition.name} is {_found(condition, summary, value)}"
    if known is None:
        return None, text
    truth, other = known.truths
    if truth == other:
        return truth, text
    return None, f"{text}, {known.text}" if known.text else text


class _Known(NamedTuple):
    """What is known of a metric.

    Attributes:
        truths: whether the condition is true at the lowest and at the highest possible value.
        text: these values in words; empty where they are the same.
        sure: they come from an interval or a fact, not from a value of unknown precision.
    """

    truths: tuple[bool, bool]
    text: str
    sure: bool


def _known(condition: Condition, summary: Summary) -> _Known | None:
    """None where nothing is known of the metric.

    The share of slow requests decides more often than the interval of a percentile, which needs many slower requests.
    Where it does not decide on a percentile among lost requests, the lower bound of the percentile may.
    """
    share, value = _share(condition, summary), _measured(condition, summary)
    above = summary.latency_above_ms or {}
    of_share = None
    if share is not None and share.interval is not None and condition.metric != "max":
        of_share = _of_share(condition, share.interval)
        if value is not None or condition.metric not in above or of_share.truths[0] == of_share.truths[1]:
            return of_share
    if condition.metric in LATENCIES:
        if value is None and condition.metric not in above:
            return None
        low, high = summary.within_ms(condition.metric)
        sure = of_share is None and (low != high or condition.metric == "max")
        return _Known((condition.allows(low), condition.allows(high)), _words(condition, summary, low, high), sure)
    if condition.metric == "throughput" and summary.throughput_interval_rps is not None:
        low, high = summary.throughput_interval_rps
        return _Known((condition.allows(low), condition.allows(high)), _words(condition, summary, low, high), True)
    if value is None:
        return None
    return _Known((condition.allows(value),) * 2, "", condition.is_fact)


def _of_share(condition: Condition, interval: tuple[float, float]) -> _Known:
    """What the interval of a share of requests says."""
    low, high = interval
    if condition.unit == "ms":
        truths = [(end <= condition.slow_share) == (condition.operator in ("<", "<=")) for end in interval]
        bound = condition.text[len(condition.name) :].lstrip("<>=")
        return _Known(
            (truths[0], truths[1]),
            f"{number(100 * low, 3)} to {number(100 * high, 3)}% exceed {bound}, with 95% confidence",
            True,
        )
    if condition.metric == GOODPUT:
        low, high = 1 - high, 1 - low
    text = f"between {number(100 * low)} and {number(100 * high)}% with 95% confidence"
    return _Known((condition.allows(low), condition.allows(high)), text, True)


def _words(condition: Condition, summary: Summary, low: float, high: float) -> str:
    """Between which ends a metric lies, for a reader."""
    if condition.metric in (summary.latency_above_ms or {}):
        return ""
    if not math.isfinite(high):
        return "of too few requests" + (f": it is at least {number(low)}" if low else "")
    if condition.metric in (summary.bounds_ms or {}):
        return f"of too few independent answers: it is roughly between {number(low)} and {number(high)}"
    return f"between {number(low)} and {number(high)} with 95% confidence"


def _found(condition: Condition, summary: Summary, value: float | None) -> str:
    """What was measured, for a reader."""
    if condition.metric in LATENCIES and condition.metric in (above := summary.latency_above_ms or {}):
        return f"above {number(above[condition.metric])} ms"
    return "unknown" if value is None else _shown(condition, value)


def _share(condition: Condition, summary: Summary) -> Share | None:
    """The share of requests that the condition is about, where they were counted."""
    shares = summary.shares or {}
    if condition.slow_ns is not None:
        return shares.get(slow_name(condition.slow_ns))
    return shares.get(condition.metric) if condition.unit == "%" else None


def _measured(condition: Condition, summary: Summary) -> float | None:
    """The metric in the unit of the condition's value."""
    if condition.metric == GOODPUT:
        share = _share(condition, summary)
        return None if share is None else (share.requests - share.count) / share.requests
    if condition.metric in LATENCIES:
        return summary.latency_ms.get(condition.metric)
    if condition.metric == "throughput":
        return summary.throughput_rps
    if condition.metric == "achieved":
        return summary.measured.completed / summary.measured.sent if summary.measured.sent else None
    count: int | None = getattr(summary, condition.metric)
    if count is None or condition.unit != "%":
        return count
    return count / summary.sent if summary.sent else None


_FACTS: Final = ("max", *OUTCOMES, "resent", "failed_batches")
"""Metrics that are not estimates, but for shares."""


def _shown(condition: Condition, value: float) -> str:
    """A value with four digits, or with more where four would show it on the other side of the bound."""
    if isinstance(value, int):
        return with_unit(f"{value:,}", condition.unit)
    scale = 100.0 if condition.unit == "%" else 1.0
    for digits in (4, 6, 9, 17):
        text = number(value * scale, digits)
        if condition.allows(float(text.replace(",", "")) / scale) == condition.allows(value):
            break
    return with_unit(text, condition.unit)


def with_unit(text: str, unit: str) -> str:
    """A number as people read it: `0.1%`, `12 ms`, or the number alone."""
    return text + unit if unit == "%" else f"{text} {unit}".rstrip()
