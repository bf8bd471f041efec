"""Objectives such as ``p99<250ms,failed<0.1%``: reads conditions and judges whether a measurement holds them. Pure.

A condition is a metric, an operator (``<``, ``<=``, ``>``, ``>=``) and a value with its unit; of conditions joined by
commas all must hold.

========================================== =============================================== ===================
metric                                     meaning                                         units
========================================== =============================================== ===================
p50, p90, p95, p99, p99.9, mean, max       latency of the measured part                    us, ms, s
throughput                                 completed requests a second                     req/s, or none
failed, timed_out, defaulted, abandoned    requests of the whole run that ended so         %  (of all sent), or
                                                                                           none (their number)
achieved                                   answers ÷ requests sent, of the measured part   %
failed_batches                             batches of the measured part that failed        none (their number)
========================================== =============================================== ===================
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from loadgen.errors import ConfigError

if TYPE_CHECKING:
    from loadgen.load.summary import Summary

LATENCIES: Final = ("p50", "p90", "p95", "p99", "p99.9", "mean", "max")
OUTCOMES: Final = ("failed", "timed_out", "defaulted", "abandoned")
METRICS: Final = (*LATENCIES, "throughput", *OUTCOMES, "achieved", "failed_batches")

_MS_PER_UNIT: Final[Mapping[str, float]] = {"us": 0.001, "µs": 0.001, "ms": 1.0, "s": 1000.0}
_UNITS: Final[Mapping[str, tuple[str, ...]]] = {
    **dict.fromkeys(LATENCIES, tuple(_MS_PER_UNIT)),
    "throughput": ("req/s", ""),
    **dict.fromkeys(OUTCOMES, ("%", "")),
    "achieved": ("%",),
    "failed_batches": ("",),
}
_NUMBER = r"[0-9]+(?:\.[0-9]*)?|\.[0-9]+"
_CONDITION = re.compile(rf"([a-z][a-z0-9_.]*)\s*(<=|>=|<|>)\s*({_NUMBER})\s*([a-zµ/%]*)", re.IGNORECASE)
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
    """

    metric: str
    operator: str
    value: float
    unit: str
    text: str

    def __str__(self) -> str:
        return self.text

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
    """What a condition came to.

    Attributes:
        condition: the bound.
        value: what was measured, in the bound's unit; None where nothing was.
        holds: whether it keeps the bound; what was not measured keeps none.
        text: for a reader, such as ``p99 231 ms, wanted <250ms``.
    """

    condition: Condition
    value: float | None
    holds: bool
    text: str


def parse(text: str) -> list[Condition]:
    """Read conditions, joined by commas.

    Raises:
        ConfigError: there is none, or one of them makes no sense.
    """
    return [_condition(part.strip()) for part in text.split(",")]


def _condition(text: str) -> Condition:
    match = _CONDITION.fullmatch(text)
    if match is None:
        raise ConfigError(f"{text!r} is no condition: {_EXAMPLE}, joined by commas")
    metric, operator, number, unit = match[1].lower(), match[2], float(match[3]), match[4].lower()
    if metric not in _UNITS:
        raise ConfigError(f"{text!r}: there is no metric {metric}, only {', '.join(METRICS)}")
    if unit not in _UNITS[metric]:
        units = " or ".join(name or "no unit" for name in _UNITS[metric])
        raise ConfigError(f"{text!r}: {metric} is measured in {units}, so {_example(metric)}")
    if not math.isfinite(number):
        raise ConfigError(f"{text!r}: {match[3]} is too large")
    written = re.sub(r"\s", "", text)
    if metric in LATENCIES:
        return Condition(metric, operator, number * _MS_PER_UNIT[unit], "ms", written)
    if metric == "throughput":
        return Condition(metric, operator, number, "req/s", written)
    return Condition(metric, operator, number / 100 if unit == "%" else number, unit, written)


def _example(metric: str) -> str:
    usual = "<250ms" if metric in LATENCIES else "<0.1%"
    value = {"throughput": ">100req/s", "achieved": ">=99%", "failed_batches": "<1"}.get(metric, usual)
    return f"write {metric}{value}"


def evaluate(condition: Condition, summary: Summary) -> Finding:
    """Does a condition hold? What was not measured, such as a percentile without answers, holds neither way.

    Args:
        condition: what has to hold.
        summary: what was measured.
    """
    value = _measured(condition, summary)
    holds = value is not None and condition.allows(value)
    shown = "unknown" if value is None else _shown(condition, value)
    bound = condition.text[len(condition.metric) :]
    return Finding(condition, value, holds, f"{condition.metric} {shown}, wanted {bound}")


def crossed(condition: Condition, summary: Summary) -> tuple[bool | None, str]:
    """Whether a condition that must not come true did; what was not measured counts as true.

    Undecided where the metric's interval is known and holds the bound.

    Args:
        condition: what must not come true.
        summary: what was measured.

    Returns:
        Whether it has, None where undecided; and a text for a reader, such as ``p99 is 231 ms``.
    """
    value = _measured(condition, summary)
    shown = "unknown" if value is None else _shown(condition, value)
    if condition.metric in (above := summary.latency_above_ms or {}):
        shown = f"above {above[condition.metric]:.4g} ms"
    interval = _interval(condition, summary)
    if value is not None and interval is not None and condition.allows(interval[0]) != condition.allows(interval[1]):
        low, high = (f"{end:.4g}" for end in interval)
        return None, f"{condition.metric} is {shown}, between {low} and {high} with 95 % confidence"
    return value is None or condition.allows(value), f"{condition.metric} is {shown}"


def _interval(condition: Condition, summary: Summary) -> tuple[float, float] | None:
    """The metric's interval in the unit of the condition's value; None where not known."""
    if condition.metric == "throughput":
        return summary.throughput_interval_rps
    return (summary.intervals_ms or {}).get(condition.metric)


def _measured(condition: Condition, summary: Summary) -> float | None:
    """The metric in the unit of the condition's value."""
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


def _shown(condition: Condition, value: float) -> str:
    """A value in so many digits, four at least, that the reader too sees on which side of the bound it is."""
    scale = 100.0 if condition.unit == "%" else 1.0
    for digits in (4, 6, 9, 17):
        text = f"{value * scale:.{digits}g}" if value * scale < 1000 else f"{value * scale:.{digits - 4}f}"
        if condition.allows(float(text) / scale) == condition.allows(value):
            break
    return f"{text} {condition.unit}".rstrip()
