"""Knowledge of all sizes from the runs of a search: throughput, scaling and queues. Pure.

A run at full speed is trusted to a tenth (`DRIFT`), since the same run may differ by that some minutes later. Only
repeated runs narrow an interval. Other sizes are predicted by the curve over batch sizes and the law of replicas
(`loadgen.experiments.scaling`), each with its interval.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from frontend_launch.quantities import number
from loadgen.experiments.grid import GridCell, Size
from loadgen.experiments.scaling import BatchCurve, Estimate, Law, latencies_s
from loadgen.experiments.size_answer import Answer, Fleet, Question, Run, Told
from loadgen.judging.slo import GOODPUT, LATENCIES, Condition
from loadgen.judging.steady import student_quantile

DRIFT = 0.1
"""The uncertainty of a single short run, as a share."""

KNEE_SHARE = 0.95
"""The smallest batch with this share of the highest throughput is tried first, since a smaller one is quicker."""

SLOWER = 1.25
"""A cell is ruled out where a queue of the fastest batches is slower than the objective allows by this factor."""

LEAST_WIDTH = 0.02
"""The least width of a capacity's interval, since few runs may agree by chance."""

_COUNTS = tuple(dict.fromkeys(round(max(count, 1.02**count)) for count in range(1, 450)))
"""Numbers of replicas to look at: each up to some hundred, then in steps of 2%."""

MOST_REPLICAS = _COUNTS[-1]

SERVER = ("replicas", "frontend")
"""Limits of the deployment itself."""

_STUDENT_2 = 4.303
"""The 97.5th percentile of Student's distribution with 2 degrees of freedom."""


@dataclass(frozen=True, slots=True)
class Kind:
    """Sizes of one number of cores per replica, with or without GPUs."""

    cpus_per_replica: int
    gpu: bool


class Knowledge:
    """What is known from the runs so far.

    Args:
        question: what is asked.

    Attributes:
        runs: that were made.
        batches: sizes of batches that are looked at, ascending.
        curved: of each kind, the size whose runs give the curve over batch sizes.
    """

    def __init__(self, question: Question, runs: Sequence[Run] = ()) -> None:
        self._question = question
        self.runs = list(runs)
        self.batches = tuple(sorted(question.batch_sizes))
        self.curved: dict[Kind, Size] = {}

    @classmethod
    def of(cls, answer: Answer) -> Knowledge:
        """What a search found, to ask it for numbers of replicas."""
        known = cls(answer.question, answer.runs)
        for run in answer.runs:
            size = run.ask.cell.size
            base = known.curved.setdefault(kind_of(size), size)
            if size.replicas < base.replicas:
                known.curved[kind_of(size)] = size
        return known

    def measured(self) -> set[GridCell]:
        """Cells that were saturated, validly or not."""
        return {run.ask.cell for run in self.runs if not run.ask.cell.rate_rps}

    def saturated(self, cell: GridCell) -> list[Run]:
        """Valid runs at full speed."""
        return [run for run in self.runs if run.ask.cell == cell and counts_as(run.told)]

    def estimate(self, cell: GridCell) -> Estimate | None:
        """The throughput of a cell by its runs, each trusted to `DRIFT` or its own interval; None without one.

        The figure of an invalid run has no bounds; it is used only where no valid run exists.
        """
        runs = self.saturated(cell)
        if not runs:
            hints = [run.told.throughput_rps for run in self.runs if run.ask.cell == cell and not run.ask.cell.rate_rps]
            return next((Estimate(hint, 0.0, math.inf) for hint in hints if hint), None)
        values = [run.told.throughput_rps or 0.0 for run in runs]
        return Estimate.around(statistics.geometric_mean(values), min(self._width(run) for run in runs))

    def _width(self, run: Run) -> float:
        rate_rps, width = run.told.throughput_rps or 0.0, DRIFT
        if run.told.interval_rps is not None:
            width = max(width, run.told.interval_rps[1] / rate_rps - 1)
        # The beginning and the end cut a batch of each replica.
        cell = run.ask.cell
        return max(width, cell.size.replicas * cell.batch_size / (rate_rps * run.ask.duration_s))

    def capacity(self, cell: GridCell) -> tuple[Estimate | None, bool]:
        """The throughput of a cell, and whether its interval comes from the spread of repeated runs."""
        one = self.estimate(cell)
        if one is None or not self.saturated(cell):
            return None, False
        squares, degrees = 0.0, 0
        for each in self.measured():
            logs = [math.log(run.told.throughput_rps or 1.0) for run in self.saturated(each)]
            if len(logs) > 1:
                squares += statistics.variance(logs) * (len(logs) - 1)
                degrees += len(logs) - 1
        runs = len(self.saturated(cell))
        if degrees < 2 or runs < 2:
            return one, False
        deviation = math.sqrt(squares / degrees / runs)
        quantile = _STUDENT_2 if degrees == 2 else student_quantile(0.975, degrees)
        known = [run.told for run in self.saturated(cell) if run.told.interval_rps is not None]
        own = max(
            (told.interval_rps[1] / (told.throughput_rps or 1.0) - 1 for told in known if told.interval_rps), default=0
        )
        width = max(math.expm1(quantile * deviation), own / math.sqrt(runs), LEAST_WIDTH)
        return Estimate.around(one.value, width), True

    def curve(self, kind: Kind) -> BatchCurve:
        """The throughput of a kind's smallest deployment by batch size."""
        base = self.curved[kind]
        estimates = {size: self.estimate(GridCell(base, size)) for size in self.batches}
        known = {size: one for size, one in estimates.items() if one is not None}
        batches = {size: one.value / size * self._question.run_s for size, one in known.items()}
        return BatchCurve(known, batches)

    def _law(self, kind: Kind) -> Law:
        """The law of a kind's replicas, of all of its cells that were measured."""
        base, curve = self.curved[kind], self.curve(kind)
        points: dict[float, Estimate] = {}
        for cell in self.measured():
            count = cell.size.replicas / base.replicas
            if kind_of(cell.size) != kind or count == 1 or not curve.measured:
                continue
            known, one = self.estimate(cell), curve.at(cell.batch_size)
            if known is not None and self._limited(cell):
                points[count] = Estimate.around(known.value / (count * one.value), known.width)
        return Law(points)

    def _limited(self, cell: GridCell) -> bool:
        """Whether the deployment was the limit of all valid runs of a cell; otherwise it may do more."""
        return all(run.told.limit in SERVER for run in self.saturated(cell))

    def predicted(self, cell: GridCell) -> Estimate:
        """The throughput of a cell at full speed: measured, or by curve and law; unbounded where nothing is known."""
        kind = kind_of(cell.size)
        known = self.estimate(cell)
        if known is not None:
            return known if self._limited(cell) else replace(known, high=math.inf)
        base = self.curved.get(kind)
        if base is None or not self.curve(kind).measured:
            return Estimate(math.inf, 0.0, math.inf)
        count = cell.size.replicas / base.replicas
        one = self.curve(kind).at(cell.batch_size)
        if not all(self._limited(GridCell(base, size)) for size in self.batches):
            one = replace(one, high=math.inf)
        return one.times(self._law(kind).at(max(1.0, count))).scaled(count)

    def most(self, size: Size) -> float:
        """The highest predicted throughput of a size."""
        kind = kind_of(size)
        if kind not in self.curved:
            return self.linear(size)
        return max(self.predicted(GridCell(size, batch_size)).high for batch_size in self.batches)

    def linear(self, size: Size) -> float:
        """The throughput in proportion to cores, from replicas with other core counts; unbounded without any."""
        most = math.inf
        for kind, base in self.curved.items():
            if not kind.gpu and not size.gpus and kind.cpus_per_replica < size.cpus_per_replica:
                most = min(most, self.most(base) / base.cores * size.cores)
        return most

    def knees(self, kind: Kind) -> tuple[int, ...]:
        """The smallest batch with nearly the most throughput, and the one with the most."""
        curve = self.curve(kind)
        if not curve.measured:
            return self.batches[-1:]
        rates = {size: curve.at(size).value for size in self.batches}
        most = max(rates, key=lambda size: rates[size])
        knee = next(size for size, rate in rates.items() if rate >= KNEE_SHARE * rates[most])
        return tuple(dict.fromkeys((knee, most)))

    def choice(self, size: Size) -> tuple[int, ...]:
        """Batch sizes to try, the shortest queue first; none where all are hopeless."""
        cells = [GridCell(size, each) for each in self.batches if self.hopeless(GridCell(size, each)) is None]
        if any(map(_bounds_latency, self._question.conditions)) and self.curve(kind_of(size)).measured:
            shortest = sorted(cells, key=lambda cell: (self.likely(cell), -self.predicted(cell).value))
            return tuple(cell.batch_size for cell in shortest)
        return tuple(each for each in self.knees(kind_of(size)) if GridCell(size, each) in cells)

    def slowness(self, cell: GridCell, throughput_rps: float, rate_rps: float = 0.0) -> tuple[float, str]:
        """The factor by which a cell's queue exceeds the objective, with the figure in words.

        Args:
            cell: which.
            throughput_rps: when saturated.
            rate_rps: of its requests; 0 for the rate of the question.
        """
        rate_rps = rate_rps or self._question.rate_rps
        if throughput_rps <= rate_rps:
            return math.inf, "its queue grows without end"
        alpha, beta = self.curve(kind_of(cell.size)).coefficients_s
        # Relative to the line: batches are as quick as the throughput says.
        factor = cell.size.replicas * cell.batch_size / (alpha + beta * cell.batch_size) / throughput_rps
        batch_s = (float(f"{alpha * factor:.3g}"), float(f"{beta * factor:.3g}"))
        latencies_ms = 1000 * latencies_s(batch_s, cell.size.replicas, cell.batch_size, rate_rps)
        found = [_slower(one, latencies_ms) for one in self._question.conditions if _bounds_latency(one)]
        return max(found, default=(0.0, ""))

    def hopeless(self, cell: GridCell) -> str | None:
        """Why measurements rule a cell out; None where they do not."""
        predicted = self.predicted(cell)
        if predicted.high < self._question.rate_rps:
            return self.too_little(cell)
        if not math.isfinite(predicted.high) or not self.curve(kind_of(cell.size)).measured:
            return None
        slower, what = self.slowness(cell, predicted.high)
        return f"{cell.name}: {what} predicted at best" if slower > SLOWER else None

    def too_little(self, cell: GridCell) -> str:
        """Why a cell does less than the rate, in words."""
        predicted = self.predicted(cell)
        if self.estimate(cell) is not None:
            return f"{cell.name}: only {number(predicted.value)} requests/s when saturated"
        most = f", {number(predicted.high)} at most" if math.isfinite(predicted.high) else ""
        return f"{cell.name}: {number(predicted.value)} requests/s predicted{most}"

    def likely(self, cell: GridCell) -> float:
        """The key of a sort by likelihood: the shortest predicted queue first."""
        plain = replace(cell, rate_rps=0.0)
        known = self.curve(kind_of(cell.size)).measured
        return self.slowness(plain, self.predicted(plain).value)[0] if known else math.inf

    def fleet(self, cell: GridCell, rate_rps: float, share: float = 1.0) -> Fleet:
        """The number of replicas that a rate needs, by the law of the measured ones.

        Args:
            cell: whose kind of replica.
            rate_rps: requests a second.
            share: of their throughput that may be used.
        """
        kind = kind_of(cell.size)
        base = self.curved.get(kind)
        if base is None or not self.curve(kind).measured:
            return Fleet(rate_rps, None, 1, None)
        one, law = self.curve(kind).at(cell.batch_size).scaled(share / base.replicas), self._law(kind)
        enough: dict[str, int] = {}
        for count in _COUNTS:
            predicted = one.times(law.at(max(1.0, count / base.replicas))).scaled(count)
            for name, reached in (("low", predicted.high), ("value", predicted.value), ("high", predicted.low)):
                if reached >= rate_rps:
                    enough.setdefault(name, count)
            if "high" in enough:
                break
        return Fleet(rate_rps, enough.get("value"), enough.get("low"), enough.get("high"))


def kind_of(size: Size) -> Kind:
    """Of a size."""
    return Kind(size.cpus_per_replica, size.gpus > 0)


def counts_as(told: Told) -> bool:
    """Whether a run at full speed is evidence."""
    return told.outcome is None and told.invalid is None and told.failed is None and bool(told.throughput_rps)


def _bounds_latency(condition: Condition) -> bool:
    """Whether a queue's latencies can break a condition."""
    if condition.metric == GOODPUT:
        return condition.operator in (">", ">=") and condition.slow_share > 0
    return condition.metric in LATENCIES and condition.metric != "max" and condition.operator in ("<", "<=")


def _slower(condition: Condition, latencies_ms: np.ndarray) -> tuple[float, str]:
    """The factor by which latencies exceed a condition's bound, with the figure in words.

    Args:
        condition: that bounds latencies.
        latencies_ms: ascending.
    """
    if condition.metric == GOODPUT:
        good = np.searchsorted(latencies_ms, (condition.within_ns or 0) / 1e6) / len(latencies_ms)
        return float((1 - good) / condition.slow_share), f"{condition.name} {number(100 * good, 3)}%"
    if condition.metric == "mean":
        value = float(latencies_ms.mean())
    else:
        value = float(np.quantile(latencies_ms, float(condition.metric[1:]) / 100))
    return value / condition.value, f"{condition.metric} {number(value)} ms"
