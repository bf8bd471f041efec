"""Judges from paired rounds whether B is worse than A: effects, exact intervals and a decision. Pure.

A round measures A and B next to each other, with the same arrivals and the same inputs. The effect of a round is the
logarithm of the ratio of a figure of both, positive where B is worse. Requests of one run share its queue, so the unit
is the round, never the request.

If A and B are equal, the effect of a round is as likely ``x`` as ``-x``. So the test of "equal" compares the mean
effect with the means after all ``2**n`` changes of signs (Fisher 1935, The Design of Experiments). It assumes nothing
else of the noise. The effects that this test does not refute form an interval. Its ends are order statistics of the
means of all subsets of rounds (Hartigan 1969, JASA 64, 1303). It is exact; few rounds have no interval.

B is *not worse* where the interval ends below the margin, which is what `compare` tolerates. B is *worse* where the
interval begins above zero and does not end below the margin. The first condition has Holm's correction (1979,
Scandinavian Journal of Statistics 6, 65) for the number of metrics. Otherwise this metric is *undecided*.

Runs at another time than their baseline are not paired. The machine may differ between the two times by as much as the
baseline's own runs differ, so this spread widens both bounds. B is *worse* beyond the margin and the spread, and *not
worse* where the interval plus the spread ends below the margin.
"""

from __future__ import annotations

import itertools
import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from statistics import NormalDist

import numpy as np

from frontend_launch.quantities import plural
from loadgen.judging.steady import student_quantile
from loadgen.load.summary import PERCENTILES, Summary, is_few

RISK = 0.05
"""Risk of calling equal configurations different in any metric; half of it for calling a worse one not worse."""

POWER = 0.9
COARSE = 1.06
"""Factor that a test of signs needs beyond Student's, with few rounds."""

MAX_ROUNDS = 20
"""Most rounds; with more, the changes of signs are too many to enumerate."""

THROUGHPUT = "throughput"
METRICS = (THROUGHPUT, "mean", *(f"p{percentile:g}" for percentile in PERCENTILES))
"""What can be compared. More of a throughput is better; less of all others, which are latencies."""

SATURATING = (THROUGHPUT,)
OPEN_LOOP = (THROUGHPUT, "p50", "p95", "p99")
"""Compared unless metrics are named. In a saturating run latencies follow from the throughput."""

LEAST_BASELINE = 3
"""Fewest runs that show a spread."""


class Outcome(StrEnum):
    """What was shown of a metric, or of all."""

    NOT_WORSE = "not worse"
    WORSE = "worse"
    UNDECIDED = "undecided"


@dataclass(frozen=True, slots=True)
class Effect:
    """One metric of B, compared with that of A.

    Attributes:
        metric: of `METRICS`.
        outcome: what was shown; None where it is not gated.
        ratio: of B ÷ of A, the geometric mean of the rounds; None where a round does not tell.
        interval: 95% interval of the ratio; None where there are too few rounds for one.
        p: how likely such an effect is if they are equal, corrected for the number of metrics; None where not tested.
        text: why it is undecided or not gated; empty otherwise.
        margin: the ratio, in the direction that is worse, which is tolerated.
        spread: the largest of the baseline's runs ÷ the least; None where rounds are paired.
        figures: geometric means of A and of B, None where unknown; None in files from before they were recorded.
        more: rounds that would probably decide; None where unknown or more than `MAX_ROUNDS` in all.
    """

    metric: str
    outcome: Outcome | None
    ratio: float | None = None
    interval: tuple[float, float] | None = None
    p: float | None = None
    text: str = ""
    margin: float = 1.0
    more: int | None = None
    spread: float | None = None
    figures: tuple[float | None, float | None] | None = None

    @property
    def beyond(self) -> bool:
        """Whether it was shown that B is worse by more than the margin."""
        low, high = self.interval or (self.margin, self.margin)
        return high < self.margin < 1 or low > self.margin > 1


@dataclass(frozen=True, slots=True)
class Comparison:
    """What rounds show.

    Attributes:
        effects: of each metric that was asked for.
        rounds: on which they rest.
        margin: what is tolerated, a share.
    """

    effects: tuple[Effect, ...]
    rounds: int
    margin: float

    @property
    def outcome(self) -> Outcome:
        """*Worse* if any metric is, *not worse* if all are."""
        outcomes = {effect.outcome for effect in self.effects if effect.outcome is not None}
        if Outcome.WORSE in outcomes:
            return Outcome.WORSE
        return Outcome.NOT_WORSE if outcomes == {Outcome.NOT_WORSE} else Outcome.UNDECIDED

    @property
    def more(self) -> int | None:
        """Rounds that would probably decide all metrics; None where unknown, too many, or nothing is undecided."""
        more = [effect.more for effect in self.effects if effect.outcome == Outcome.UNDECIDED]
        known = [count for count in more if count is not None]
        return max(known) if known and len(known) == len(more) else None


# Tests of paired effects -----------------------------------------------------------------------------------


def subset_means(effects: Sequence[float]) -> np.ndarray:
    """The means of all subsets of effects but the empty one, ascending."""
    sums, counts = np.zeros(1), np.zeros(1)
    for effect in effects:
        sums, counts = np.concatenate([sums, sums + effect]), np.concatenate([counts, counts + 1])
    means: np.ndarray = np.sort(sums[1:] / counts[1:])
    return means


def sign_flip_p(effects: Sequence[float], mean: float = 0.0) -> float:
    """The probability of effects at least this far from a mean, in either direction, if signs are chance.

    Args:
        effects: one a round.
        mean: the hypothesis.
    """
    # Changing the signs of a subset leaves a mean as large if, and only if, the subset's own is at most `mean`.
    means = subset_means(effects)
    tail = 1 + min(int((means <= mean).sum()), int((means >= mean).sum()))
    return float(min(1.0, 2 * tail / (len(means) + 1)))


def interval(effects: Sequence[float], risk: float = RISK) -> tuple[float, float] | None:
    """The means that `sign_flip_p` does not refute; None where it cannot refute any.

    Args:
        effects: one a round.
        risk: of leaving the true mean out.
    """
    outside = math.floor(risk / 2 * 2 ** len(effects))
    if outside < 1:
        return None
    means = subset_means(effects)
    return float(means[outside - 1]), float(means[-outside])


def holm(p_values: Sequence[float]) -> list[float]:
    """The p-values of several tests, corrected so that the risk of one error among them is that of one test."""
    order = sorted(range(len(p_values)), key=lambda at: p_values[at])
    corrected, largest = [0.0] * len(p_values), 0.0
    for place, at in enumerate(order):
        largest = max(largest, min(1.0, (len(order) - place) * p_values[at]))
        corrected[at] = largest
    return corrected


# How many rounds -------------------------------------------------------------------------------------------


def least_rounds(metrics: int) -> int:
    """The fewest rounds in which a difference can be shown.

    Args:
        metrics: that are tested together.
    """
    return math.ceil(math.log2(2 * max(1, metrics) / RISK))


def largest_scatter(rounds: int, metrics: int, margin: float) -> float:
    """The largest scatter between rounds at which a share `POWER` of comparisons finds a loss of the margin.

    Args:
        rounds: that are measured.
        metrics: that are tested together.
        margin: a share.

    Returns:
        The standard deviation of the logarithms of the ratios.
    """
    return math.log1p(margin) / _deviations(rounds, RISK / max(1, metrics))


def _deviations(rounds: int, risk: float) -> float:
    """The effect, in standard deviations of a round, that is found with `POWER`."""
    outside = math.floor(risk / 2 * 2**rounds)
    if outside < 1:
        return math.inf
    if outside == 1:  # all rounds have to agree
        return NormalDist().inv_cdf(POWER ** (1 / rounds))
    degrees = rounds - 1
    quantiles = student_quantile(1 - outside / 2**rounds, degrees) + student_quantile(POWER, degrees)
    return COARSE * quantiles / math.sqrt(rounds)


def _more_rounds(effects: np.ndarray, allowed: tuple[float, float], risk: float) -> int | None:
    """Further rounds until the interval probably excludes one of the two bounds.

    Args:
        effects: one a round.
        allowed: B is worse above the first, and not worse below the second.
        risk: of the interval.
    """
    mean, deviation = float(effects.mean()), float(effects.std(ddof=1)) if len(effects) > 1 else 0.0
    reach = max(mean - allowed[0], allowed[1] - mean)
    for rounds in range(len(effects) + 1, MAX_ROUNDS + 1):
        outside = math.floor(risk / 2 * 2**rounds)
        if outside >= 1 and student_quantile(1 - risk / 2, rounds - 1) * deviation / math.sqrt(rounds) < reach:
            return rounds - len(effects)
    return None


# Comparisons -----------------------------------------------------------------------------------------------


def gated(metrics: Sequence[str], requests: float) -> tuple[str, ...]:
    """The metrics that runs with this number of requests can show.

    Args:
        metrics: that are asked for.
        requests: of one run.
    """
    return tuple(name for name in metrics if not _is_below_floor(name, requests))


def floor_text(metric: str, requests: float) -> str:
    """Why a percentile is not gated.

    Args:
        metric: a percentile.
        requests: of the run with the fewest.
    """
    return f"{metric} is not gated: a run has {requests:.0f} requests, which are too few for it"


def paired(rounds: Sequence[tuple[Summary, Summary]], metrics: Sequence[str], margin: float) -> Comparison:
    """Compare the second of each round with the first.

    Args:
        rounds: A and B of each, both valid.
        metrics: of `METRICS`.
        margin: what is tolerated, a share.
    """
    spreads = dict.fromkeys(metrics)
    return _compared([(first,) for first, _ in rounds], [second for _, second in rounds], margin, spreads)


def unpaired(
    baseline: Sequence[Summary], again: Sequence[Summary], metrics: Sequence[str], margin: float
) -> Comparison:
    """Compare runs with earlier runs, whose spread stands for what times may differ by.

    The machine may have been slower at another time, unseen. So B counts as worse only beyond the spread of the
    baseline's runs and beyond the margin. It counts as not worse only if it stays within the margin with the spread
    added.

    Args:
        baseline: `LEAST_BASELINE` runs of A or more.
        again: runs of B.
        metrics: of `METRICS`.
        margin: what is tolerated, a share.
    """
    spreads = {name: spread(baseline, name) for name in metrics}
    return _compared([baseline] * len(again), again, margin, spreads)


def spread(baseline: Sequence[Summary], name: str) -> float:
    """The largest figure ÷ the least.

    Args:
        baseline: runs of one configuration.
        name: one of `METRICS`.
    """
    known = [value for one in baseline if (value := figure(one, name))]
    return max(known) / min(known) if known else 1.0


def is_wide(ratio: float | None, margin: float) -> bool:
    """Whether a baseline's spread is as large as the margin, so that equal sides cannot be shown.

    Args:
        ratio: its largest figure ÷ the least; None where rounds are paired.
        margin: what is tolerated, a share.
    """
    return ratio is not None and ratio >= 1 + margin


def _compared(
    before: Sequence[Sequence[Summary]],
    after: Sequence[Summary],
    margin: float,
    spreads: Mapping[str, float | None],
) -> Comparison:
    """The decisions on all metrics.

    Args:
        before: of each round the runs that B is compared with.
        after: of each round B.
        margin: what is tolerated, a share.
        spreads: of each metric, of the baseline's runs; None where rounds are paired.
    """
    allowed = {name: _allowed(margin, ratio) for name, ratio in spreads.items()}
    untold = {name: effect for name in allowed if (effect := _untold(name, before, after)) is not None}
    effects = {name: _effects(name, before, after) for name in allowed if after and name not in untold}
    p_values = holm([sign_flip_p(values.tolist(), allowed[name][0]) for name, values in effects.items()])
    p_of = dict(zip(effects, p_values, strict=True))
    earlier = list({id(run): run for run in itertools.chain(*before)}.values())
    rows = [
        _judged(name, effects[name], allowed[name], p_of[name], len(effects), margin)
        if name in effects
        else untold.get(name) or Effect(name, Outcome.UNDECIDED, text="no round was measured")
        for name in allowed
    ]
    told = (
        replace(row, spread=spreads[row.metric], figures=(_mean(earlier, row.metric), _mean(after, row.metric)))
        for row in rows
    )
    return Comparison(tuple(told), len(after), margin)


def _allowed(margin: float, ratio: float | None) -> tuple[float, float]:
    """The effect above which B is worse, and that below which it is not.

    Args:
        margin: what is tolerated, a share.
        ratio: the spread of a baseline; None where rounds are paired.
    """
    tolerated = math.log1p(margin)
    if ratio is None:
        return 0.0, tolerated
    return max(math.log(ratio), tolerated), tolerated - math.log(ratio)


def _mean(runs: Sequence[Summary], name: str) -> float | None:
    """Geometric, as that of the ratios; None where no run has the figure."""
    known = [value for run in runs if (value := figure(run, name)) is not None]
    return statistics.geometric_mean(known) if known else None


def _untold(name: str, before: Sequence[Sequence[Summary]], after: Sequence[Summary]) -> Effect | None:
    """Why a metric cannot be compared, where a run does not have it; None where all runs have it."""
    each = list({id(run): run for run in (*itertools.chain(*before), *after)}.values())
    if any(name in run.few for run in each):
        requests = min(run.measured.completed + (run.lost or 0) for run in each)
        return Effect(name, None, text=floor_text(name, requests))
    unknown = sum(not figure(run, name) for run in each)
    if not unknown:
        return None
    text = f"{unknown} of {plural(len(each), 'run')} did not answer the requests that decide it"
    return Effect(name, Outcome.UNDECIDED, text=text)


def _effects(name: str, before: Sequence[Sequence[Summary]], after: Sequence[Summary]) -> np.ndarray:
    """The effect of each round on a metric that all runs have."""
    firsts = [np.mean([math.log(figure(run, name) or 1.0) for run in group]) for group in before]
    seconds = [math.log(figure(run, name) or 1.0) for run in after]
    return _direction(name) * (np.array(seconds) - np.array(firsts))


def _judged(
    name: str, effects: np.ndarray, allowed: tuple[float, float], p: float, metrics: int, margin: float
) -> Effect:
    """The decision on one metric.

    Args:
        name: of the metric.
        effects: one a round.
        allowed: the effect above which B is worse, and that below which it is not.
        p: of the first of these, corrected.
        metrics: that are tested together.
        margin: what is tolerated, a share.
    """
    mean, ends = float(effects.mean()), interval(effects.tolist())
    if ends is not None and ends[1] < allowed[1]:
        outcome = Outcome.NOT_WORSE
    elif p <= RISK and mean > allowed[0]:
        outcome = Outcome.WORSE
    else:
        outcome = Outcome.UNDECIDED
    direction = _direction(name)
    low, high = sorted(math.exp(direction * end) for end in ends or (0.0, 0.0))
    return Effect(
        metric=name,
        outcome=outcome,
        ratio=math.exp(direction * mean),
        interval=None if ends is None else (low, high),
        p=p,
        margin=(1 + margin) ** direction,
        more=_more_rounds(effects, allowed, RISK / metrics) if outcome is Outcome.UNDECIDED else None,
    )


def figure(summary: Summary, name: str) -> float | None:
    """A figure of a run; None where it is unknown or 0.

    Args:
        summary: of the run.
        name: one of `METRICS`.
    """
    value = summary.throughput_rps if name == THROUGHPUT else summary.latency_ms.get(name)
    return value if value is not None and value > 0 else None


def _direction(name: str) -> int:
    """Of what is worse."""
    return -1 if name == THROUGHPUT else 1


def _is_below_floor(name: str, requests: float) -> bool:
    return name not in (THROUGHPUT, "mean") and is_few(float(name[1:]), int(requests))
