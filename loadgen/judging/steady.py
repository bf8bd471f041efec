"""Tests whether a run became steady: equivalence of the slopes of throughput and p99 over intervals; pure.

A test that finds no trend proves nothing: noise hides trends. So the burden is turned round (two one-sided tests, TOST;
Schuirmann 1987). A line by least squares gives the change of each series over the window. A run is steady when the
confidence interval of that change lies within a margin of the series' mean. Noise makes the interval wide, and the
answer no.

Intervals resemble their neighbours, since queues remember, and a line through such values is less certain than the
textbook says. Let r be the autocorrelation of the residuals at lag 1. Then n intervals are worth n (1 - r) / (1 + r)
independent ones. That number replaces n in the standard error and in the degrees of freedom (Santer and others 2000, J.
Geophys. Res. 105, 7337). A negative r counts as 0, which makes the test stricter.

The window is the last half of the intervals so far. It forgets a start that was slow, and it grows, so that a long run
can be steady in spite of more noise. At exactly full utilisation a backlog grows like the square root of time. Its last
half then always grows by a third of its mean; a window of fixed length would in the end call it steady.

A run looks after each interval and so has many chances to err. So `SteadyParameters.alpha`, the risk of one look, is
small, and several looks in a row must agree. This keeps the risk of a whole run at some percent in the worst case:
`benchmarks/steady_error_rates.py` prints both kinds of error.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from statistics import NormalDist

import numpy as np

_MIN_DEGREES = 3.0
"""Fewest degrees of freedom that are assumed: below, the quantile is huge and its approximation poor."""


@dataclass(frozen=True, slots=True)
class SteadyParameters:
    """What counts as steady.

    Attributes:
        min_intervals: fewest intervals of a window, at least 10; a shorter run is not steady.
        throughput_margin: largest change of the throughput over the window, as a share of its mean.
        p99_margin: the same of the p99, which is noisier.
        alpha: chance that one look calls a change steady that is exactly at the margin.
        looks: intervals in a row at which the answer must be yes.
    """

    min_intervals: int = 30
    throughput_margin: float = 0.05
    p99_margin: float = 0.25
    alpha: float = 0.005
    looks: int = 5


DEFAULTS = SteadyParameters()


@dataclass(frozen=True, slots=True)
class Steadiness:
    """The answer.

    Attributes:
        steady: whether throughput and p99 were both shown to change by less than their margins.
        text: the change of each over the window, or why it is unknown.
        window: intervals at the end of the run that were judged; 0 where nothing can be said.
    """

    steady: bool
    text: str
    window: int


def steadiness(
    throughput_rps: Sequence[float], p99_ms: Sequence[float | None], parameters: SteadyParameters = DEFAULTS
) -> Steadiness:
    """Judge whether a run is steady.

    Args:
        throughput_rps: requests a second in each interval of the measured part so far; intervals of one length.
        p99_ms: 99th percentile of the latency in the same intervals; None where it is not known, which is not steady.
        parameters: what counts as steady.
    """
    count = len(throughput_rps)
    now = _look(throughput_rps, p99_ms, parameters)
    earlier = range(count - 1, count - parameters.looks, -1) if now.steady else ()
    for past in earlier:
        if not _look(throughput_rps[:past], p99_ms[:past], parameters).steady:
            return replace(now, steady=False, text=f"{now.text}, but not yet after {past} intervals")
    return now


def _look(throughput_rps: Sequence[float], p99_ms: Sequence[float | None], parameters: SteadyParameters) -> Steadiness:
    """The answer of one look alone."""
    count = len(throughput_rps)
    if count < parameters.min_intervals:
        return Steadiness(False, f"{count} intervals, of {parameters.min_intervals} at least", 0)
    window = max(parameters.min_intervals, count // 2)
    known_ms = [p99 for p99 in p99_ms[-window:] if p99 is not None]
    if len(known_ms) < window:
        return Steadiness(False, f"no p99 in {window - len(known_ms)} of the last {window} intervals", 0)
    changes = (
        ("throughput", _change(throughput_rps[-window:], parameters.alpha), parameters.throughput_margin),
        ("p99", _change(known_ms, parameters.alpha), parameters.p99_margin),
    )
    said = ", ".join(f"{name} {change} (margin {100 * margin:g}%)" for name, change, margin in changes)
    steady = all(change.within(margin) for _, change, margin in changes)
    return Steadiness(steady, f"over the last {window} intervals {said}", window)


@dataclass(frozen=True, slots=True)
class _Change:
    """The change of a series over its window, as a share of its mean: an estimate and its uncertainty."""

    share: float
    uncertainty: float

    def __str__(self) -> str:
        return f"{100 * self.share:+.1f} ± {100 * self.uncertainty:.1f}%"

    def within(self, margin: float) -> bool:
        """Whether both one-sided tests reject a change as large as the margin."""
        return abs(self.share) + self.uncertainty < margin


def _change(series: Sequence[float], alpha: float) -> _Change:
    values = np.asarray(series, dtype=np.float64)
    count, mean = len(values), float(values.mean())
    if not mean > 0:
        return _Change(0.0, np.inf)
    time = np.arange(count) - (count - 1) / 2
    spread = float(time @ time)
    slope = float(time @ values) / spread
    residuals = values - mean - slope * time
    squares = float(residuals @ residuals)
    degrees = max(_MIN_DEGREES, count * _independent_share(residuals, squares, mean) - 2)
    error = np.sqrt(squares / degrees / spread)
    return _Change(slope * count / mean, float(student_quantile(1 - alpha, degrees) * error * count / mean))


def _independent_share(residuals: np.ndarray, squares: float, mean: float) -> float:
    """How many independent values one value is worth, 0 to 1."""
    count = len(residuals)
    if squares <= count * (1e-9 * mean) ** 2:  # no noise but that of arithmetic, which resembles itself
        return 1.0
    seen = float(residuals[1:] @ residuals[:-1]) / squares
    # Around a fitted line the estimate is too low by (2 + 4r) / n (van Giersbergen 2005, Economics Letters 89).
    correlation = min(1.0, max(0.0, (count * seen + 2) / (count - 4)))
    return (1 - correlation) / (1 + correlation)


def student_quantile(probability: float, degrees: float) -> float:
    """A quantile of Student's distribution, within 1% from 3 degrees of freedom on, up to a probability of 0.995.

    The expansion around the normal quantile in powers of 1 / degrees (Abramowitz & Stegun 1964, 26.7.5).

    Args:
        probability: between 0 and 1.
        degrees: of freedom, need not be whole.
    """
    z = NormalDist().inv_cdf(probability)
    terms = (
        (z**3 + z) / 4,
        (5 * z**5 + 16 * z**3 + 3 * z) / 96,
        (3 * z**7 + 19 * z**5 + 17 * z**3 - 15 * z) / 384,
        (79 * z**9 + 776 * z**7 + 1482 * z**5 - 1920 * z**3 - 945 * z) / 92160,
    )
    return z + sum(term / degrees**power for power, term in enumerate(terms, start=1))
