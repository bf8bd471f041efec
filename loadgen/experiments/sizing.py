"""Searches the cheapest configuration that carries a rate: asks for runs. Pure.

Sizes of deployments are taken by what they cost, the cheapest first. A size is tried only where it may do:

1. **Curve.** One replica of so many cores, saturated for a short time at two or three batch sizes, tells the throughput
   at the others (`loadgen.experiments.scaling`).
2. **Scaling.** So many replicas do at most so many times as much. Each size that is saturated tells more of the law;
   what is predicted to do less than the rate, with its interval, is ruled out.
3. **Saturate.** What may do is saturated: its throughput says whether it does, and what its limit is.
4. **Confirm.** An open loop at the rate decides by its 95 % interval whether the objective holds
   (`loadgen.experiments.probes`): a short one, which may say that it does not, then a long one. Where it does not, or
   that is undecided, the next size is taken.

A queue of equal batches at the rate (`loadgen.experiments.scaling`) chooses the batch size. Where even its latencies
are too long, with the fastest batches that the measurements allow, a cell is ruled out.

The first size that holds is the answer, and all that cost as much or more are left out. What time is left goes into its
interval, since runs far apart in time show what the machine does, and into longer open loops of cheaper sizes that were
undecided.

A short run is trusted to a tenth (`DRIFT`): that is how far the same run may be off some minutes later. Only repeated
runs make an interval narrower.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Generator, Sequence
from dataclasses import dataclass, replace
from itertools import groupby

import numpy as np

from loadgen.experiments.grid import GridCell, Size
from loadgen.experiments.probes import Outcome
from loadgen.experiments.scaling import BatchCurve, Estimate, Law, latencies_s
from loadgen.experiments.size_answer import (
    OPEN_STATES,
    Answer,
    Ask,
    Beyond,
    Finding,
    Fleet,
    Question,
    Run,
    State,
    Told,
)
from loadgen.judging.slo import GOODPUT, LATENCIES, Condition
from loadgen.judging.steady import student_quantile

DRIFT = 0.1
"""How far a single short run may be off, as a share."""

KNEE_SHARE = 0.95
"""The smallest batch with so much of the most throughput is tried first: a smaller one is quicker."""

MIN_BATCHES = 10
"""A batch size is left out where fewer batches fit into a short run."""

TRIES = 3
BACK_OFF_S = 5.0
"""An open loop that is invalid is made so often at most; before that the search waits for so long, then twice as long.
A saturating run is made once more, unless the one before it was invalid too."""

STRETCH = 1.5
"""An open loop that decided nothing is made again for so many times as long at least."""

SLOWER = 1.25
"""A cell is ruled out where a queue of the fastest batches is so many times as slow as the objective allows."""

COMFORTABLE = 0.7
"""A queue that is predicted to be so many times as slow as is allowed is likely to hold."""

CHOICES = 2
"""Most batch sizes of one size of deployment that are tried, each chosen by all that is known then."""

REPEATS = 4
"""The answer is saturated so often, the first time before it is confirmed."""

LEAST_WIDTH = 0.02
"""No interval of a capacity reaches less far: so few runs may agree by chance."""

STARTING_S, OVERHEAD_S = 10.0, 4.0
"""What a run takes beyond its own time, with a new deployment and without; guesses until there is experience."""

SHARES = (0.8, 0.6, 0.4)
"""Where nothing carries the rate: at so much of the most throughput the objective is tried."""

_COUNTS = tuple(dict.fromkeys(round(max(count, 1.02**count)) for count in range(1, 450)))
"""Numbers of replicas of which one is asked whether so many do: all up to some hundred, then every fiftieth."""

Steps = Generator[Ask, Told, Answer]
_Part = Generator[Ask, Told, None]


class _TimeIsUpError(Exception):
    """No further run fits."""


@dataclass(frozen=True, slots=True)
class _Kind:
    """Sizes of one number of cores per replica, with or without GPUs."""

    cpus_per_replica: int
    gpu: bool


class Sizer:
    """A search.

    Args:
        question: what is asked.
    """

    def __init__(self, question: Question) -> None:
        self._question = question
        self._elapsed_s = 0.0
        self._size: Size | None = None
        self._starting_s, self._overhead_s = STARTING_S, OVERHEAD_S
        self._runs: list[Run] = []
        self._findings: dict[Size, Finding] = {}
        self._batches = tuple(sorted(question.batch_sizes))
        self._preferred: tuple[int, ...] = ()
        self._curved: dict[_Kind, Size] = {}
        self._passed_over: list[Size] = []
        self._best: GridCell | None = None
        self._shown: Run | None = None
        self._beyond: Beyond | None = None

    @classmethod
    def of(cls, answer: Answer) -> Sizer:
        """A search that knows what another one found, to ask it for numbers of replicas."""
        sizer = cls(answer.question)
        sizer._runs = list(answer.runs)
        for run in answer.runs:
            size = run.ask.cell.size
            base = sizer._curved.setdefault(_kind(size), size)
            if size.replicas < base.replicas:
                sizer._curved[_kind(size)] = size
        return sizer

    def steps(self) -> Steps:
        """The search as a generator: it yields what to run, is sent what came out, and returns what it found."""
        try:
            yield from self._search()
        except _TimeIsUpError:
            return self.so_far("the time is over" if self._best is None else "found")
        return self.so_far("nothing holds" if self._best is None else "found")

    def so_far(self, ended: str) -> Answer:
        """What is known.

        Args:
            ended: why the search ended, or that it did not.
        """
        best = self._best
        capacity, repeated = (None, False) if best is None else self._capacity(best)
        limits = [] if best is None else [run.told for run in self._saturated(best)]
        return Answer(
            self._question,
            best,
            self._shown,
            capacity,
            len(limits),
            repeated,
            any(told.limit not in _SERVER for told in limits),
            f"{limits[-1].limit}; saturated {limits[-1].limit_text}"
            if limits
            else "not known: no valid saturating run",
            tuple(self._finding(size) for size in sorted(self._question.sizes, key=self._question.rank)),
            tuple(self._runs),
            ended,
            self._beyond,
        )

    def fleet(self, cell: GridCell, rate_rps: float, share: float = 1.0) -> Fleet:
        """How many replicas a rate takes, by the law of those that were measured.

        Args:
            cell: says of which replicas.
            rate_rps: requests a second.
            share: of their throughput that is to be used.
        """
        kind = _kind(cell.size)
        base = self._curved.get(kind)
        if base is None or not self._curve(kind).measured:
            return Fleet(rate_rps, None, 1, None)
        one, law = self._curve(kind).at(cell.batch_size).scaled(share / base.replicas), self._law(kind)
        enough: dict[str, int] = {}
        for count in _COUNTS:
            predicted = one.times(law.at(max(1.0, count / base.replicas))).scaled(count)
            for name, reached in (("low", predicted.high), ("value", predicted.value), ("high", predicted.low)):
                if reached >= rate_rps:
                    enough.setdefault(name, count)
            if "high" in enough:
                break
        return Fleet(rate_rps, enough.get("value"), enough.get("low"), enough.get("high"))

    # The search --------------------------------------------------------------------------------------------

    def _search(self) -> _Part:
        ordered = sorted(self._question.sizes, key=self._question.rank)
        for _, group in groupby(ordered, key=self._question.rank):
            yield from self._try_equal(list(group))
            if self._best is not None:
                break
        yield from self._try_passed_over()
        yield from self._look_again()
        if self._best is not None:
            yield from self._make_sure()
        elif all(found.state not in OPEN_STATES for found in self._findings.values()):
            yield from self._look_beyond()

    def _try_equal(self, sizes: list[Size]) -> _Part:
        """Sizes of one cost, the one that may do the most first, until one holds."""
        while pending := [size for size in sizes if size not in self._findings and not self._ruled_out(size)]:
            size = max(pending, key=lambda size: (self._most(size), -size.replicas))
            if self._late and not self._comfortable(size):
                sizes.remove(size)
                self._passed_over.append(size)
            elif _kind(size) in self._curved:
                yield from self._try(size)
            else:
                yield from self._measure_curve(_kind(size))
            if self._best is not None:
                return

    def _try_passed_over(self) -> _Part:
        """Sizes that were passed over for a likelier one, while time allows: the cheapest first, until one holds."""
        rank, best = self._question.rank, self._best
        needed_s = self._question.run_s + self._question.confirm_s + self._reserve_s
        for size in self._passed_over:
            cheaper = best is None or rank(size) < rank(best.size)
            if not cheaper or _kind(size) not in self._curved or self._ruled_out(size):
                continue
            if not self._fits(GridCell(size, self._batches[-1]), needed_s):
                return
            yield from self._try(size)
            if self._best is not best:
                return

    @property
    def _reserve_s(self) -> float:
        """What making sure of an answer takes."""
        return REPEATS * self._question.run_s + 2 * self._starting_s

    @property
    def _late(self) -> bool:
        """Whether half of the time has brought no answer: then one that is likely is wanted first."""
        return self._elapsed_s > self._question.within_s / 2

    def _comfortable(self, size: Size) -> bool:
        """Whether a size is likely to hold: its queue is far shorter than is allowed."""
        choice = self._choice(size) if _kind(size) in self._curved else ()
        return bool(choice) and self._likely(GridCell(size, choice[0])) <= COMFORTABLE

    def _measure_curve(self, kind: _Kind) -> _Part:
        """The throughput of the smallest deployment of a kind at some batch sizes."""
        sizes = [size for size in self._question.sizes if _kind(size) == kind and size not in self._findings]
        base = min(sizes, key=lambda size: size.replicas)
        self._curved[kind] = base
        smallest = self._batches[0]
        if self._preferred:
            chosen: Sequence[int] = self._preferred
        else:
            yield from self._saturate(GridCell(base, smallest))
            one = self._estimate(GridCell(base, smallest))
            if one is not None:
                batch_s = base.replicas * smallest / one.value
                self._batches = tuple(
                    size for size in self._batches if size / smallest * batch_s <= self._question.run_s / MIN_BATCHES
                ) or (smallest,)
            chosen = (self._batches[len(self._batches) // 2], self._batches[-1])
        for batch_size in dict.fromkeys(chosen):
            if (cell := GridCell(base, batch_size)) not in self._measured() and base not in self._findings:
                yield from self._saturate(cell)
        if base in self._findings:  # it could not be started: the next larger one tells the curve
            del self._curved[kind]
            return
        knees = self._knees(kind)
        small = knees[0] if knees[0] != self._batches[-1] else self._batches[len(self._batches) // 2]
        self._preferred = (small, self._batches[-1])

    def _try(self, size: Size) -> _Part:
        """Whether a size carries the rate, at the batch sizes whose queues are the shortest."""
        rate_rps = self._question.rate_rps
        texts: list[str] = []
        tried: list[int] = []
        state: State = "ruled out"
        while len(tried) < CHOICES and (left := [each for each in self._choice(size) if each not in tried]):
            cell = GridCell(size, left[0])  # by all that is known now
            if tried and self._predicted(cell).value < rate_rps:
                texts.append(self._too_little(cell))
                break
            tried.append(cell.batch_size)
            if cell not in self._measured():
                yield from self._saturate(cell)
                if size in self._findings:
                    return
            if (why := self._hopeless(cell)) is not None:
                texts.append(why)
                continue
            outcome, text = yield from self._confirm(cell, rate_rps)
            texts.append(f"{cell.name}: {text}")
            if outcome == "pass":
                self._holds(cell, text)
                return
            if outcome != "fail":
                state = "undecided"
                break
            state = "fails"
        if not tried:
            self._ruled_out(size)
            return
        self._findings[size] = Finding(size, state, "; ".join(dict.fromkeys(texts)))

    def _holds(self, cell: GridCell, text: str) -> None:
        self._best, self._shown = cell, self._runs[-1]
        self._findings[cell.size] = Finding(cell.size, "holds", text)

    def _confirm(self, cell: GridCell, rate_rps: float) -> Generator[Ask, Told, tuple[Outcome, str]]:
        """Whether an open loop at a rate holds the objective: a short one may refute it, a long one decides."""
        at_rate, least_s = replace(cell, rate_rps=rate_rps), self._question.least_s(rate_rps)
        length_s = max(self._question.confirm_s, least_s)
        short_s = max(least_s, self._question.run_s)
        if 2 * short_s <= length_s and self._fits(at_rate, short_s, length_s):
            told = yield from self._valid(at_rate, short_s)
            if _outcome(told) == "fail" or told.failed is not None or told.invalid is not None:
                return _outcome(told), _said(told)
        left_s = self._question.within_s - self._elapsed_s - self._needed(at_rate, 0.0, 0.0)
        told = yield from self._valid(at_rate, max(least_s, min(length_s, math.floor(left_s))))
        return _outcome(told), _said(told)

    def _look_again(self) -> _Part:
        """What was undecided and is cheaper than what holds, for longer, while time is left: the likeliest first."""
        rank, reserve_s = self._question.rank, self._reserve_s
        while True:
            best = None if self._best is None else rank(self._best.size)
            left = [found for found in self._findings.values() if best is None or rank(found.size) < best]
            cells = [cell for found in left if (cell := self._last_undecided(found)) is not None]
            if not cells:
                return
            cell = min(cells, key=self._likely)
            made_s = max(run.ask.duration_s for run in self._runs if run.ask.cell == cell)
            left_s = self._question.within_s - self._elapsed_s - reserve_s - self._needed(cell, 0.0, 0.0)
            if left_s < STRETCH * made_s:
                return
            # One long run says more than several.
            told = yield from self._valid(cell, math.floor(max(STRETCH * made_s, left_s / len(cells))))
            name = replace(cell, rate_rps=0.0).name
            if (outcome := _outcome(told)) == "pass":
                self._holds(replace(cell, rate_rps=0.0), told.text)
            else:
                state: State = "fails" if outcome == "fail" else "undecided"
                text = _said(told)
                self._findings[cell.size] = Finding(cell.size, state, f"{name}: {text}")
                if told.invalid is not None or told.failed is not None:
                    return

    def _likely(self, cell: GridCell) -> float:
        """Less is likelier to hold: the queue that is predicted to be the shortest, of the runs so far."""
        plain = replace(cell, rate_rps=0.0)
        known = self._curve(_kind(cell.size)).measured
        return self._slowness(plain, self._predicted(plain).value)[0] if known else math.inf

    def _last_undecided(self, found: Finding) -> GridCell | None:
        if found.state != "undecided":
            return None
        loops = [run for run in self._runs if run.ask.cell.size == found.size and run.ask.cell.rate_rps]
        return next((run.ask.cell for run in reversed(loops) if _outcome(run.told) == "undecided"), None)

    def _make_sure(self) -> _Part:
        """Saturate the answer again, and the first cell, as far as time allows: their spread is the machine's."""
        assert self._best is not None
        first = next((run.ask.cell for run in self._runs if not run.ask.cell.rate_rps and _counts_as(run.told)), None)
        cells = [self._best, *([] if first in (None, self._best) else [first]), *[self._best] * (REPEATS - 2)]
        for cell in cells:
            if cell is None or not self._fits(cell, self._question.run_s):
                return
            yield from self._ask(cell, self._question.run_s)

    def _look_beyond(self) -> _Part:
        """Where no size does, how many replicas would, if replicas were as these."""
        known = [kind for kind in self._curved if self._curve(kind).measured]
        if not known:
            return
        rank = self._question.rank

        def per_cost(kind: _Kind) -> float:
            base = self._curved[kind]
            money, gpus, cores = rank(base)
            return self._curve(kind).at(self._knees(kind)[-1]).value / (money or 1000 * gpus + cores)

        kind = max(known, key=per_cost)
        largest = max((size for size in self._question.sizes if _kind(size) == kind), key=lambda size: size.replicas)
        cell, share = GridCell(largest, self._knees(kind)[0]), None
        if cell not in self._measured() and self._fits(cell, self._question.run_s):
            yield from self._saturate(cell)
        for likely, wanted in self._quick(largest):
            if not self._fits(likely, self._question.run_s + self._question.confirm_s):
                break
            if likely not in self._measured():
                yield from self._saturate(likely)
            outcome, _ = yield from self._confirm(likely, float(f"{wanted * self._predicted(likely).value:.3g}"))
            if outcome == "pass":
                cell, share = likely, wanted
                break
        each_rps = (share or 1.0) * self._predicted(cell).value
        fleet = self.fleet(cell, self._question.rate_rps, share or 1.0)
        counts = {run.ask.cell.size.replicas for run in self._runs if _kind(run.ask.cell.size) == kind}
        deployments = math.ceil(self._question.rate_rps / each_rps)
        self._beyond = Beyond(cell, share, deployments, fleet, tuple(sorted(counts)))

    def _quick(self, size: Size) -> list[tuple[GridCell, float]]:
        """Cells of a size, each with a share of its throughput at which its queue is short enough: the most first."""
        found: list[tuple[float, GridCell, float]] = []
        for cell in (GridCell(size, each) for each in self._batches):
            rate_rps = self._predicted(cell).value
            quick = (share for share in SHARES if self._slowness(cell, rate_rps, share * rate_rps)[0] <= 1)
            found += [(share * rate_rps, cell, share) for share in quick]
        return [(cell, share) for _, cell, share in sorted(found, reverse=True)[:TRIES]]

    # Runs --------------------------------------------------------------------------------------------------

    def _ask(self, cell: GridCell, duration_s: float, wait_s: float = 0.0) -> Generator[Ask, Told, Told]:
        if not self._fits(cell, duration_s, wait_s):
            raise _TimeIsUpError
        ask = Ask(cell, duration_s, sum(run.ask.cell == cell for run in self._runs), wait_s)
        told = yield ask
        beyond_s = told.elapsed_s - self._elapsed_s - wait_s - duration_s
        if beyond_s > 0 and cell.size == self._size:
            self._overhead_s = beyond_s if self._overhead_s == OVERHEAD_S else max(self._overhead_s, beyond_s)
        elif beyond_s > 0:
            self._starting_s = beyond_s if self._starting_s == STARTING_S else max(self._starting_s, beyond_s)
        self._elapsed_s, self._size = told.elapsed_s, cell.size if told.failed is None else None
        self._runs.append(Run(ask if told.measured_s is None else replace(ask, duration_s=told.measured_s), told))
        return told

    def _needed(self, cell: GridCell, duration_s: float, wait_s: float) -> float:
        return wait_s + duration_s + (self._overhead_s if cell.size == self._size else self._starting_s)

    def _fits(self, cell: GridCell, duration_s: float, more_s: float = 0.0) -> bool:
        return self._elapsed_s + self._needed(cell, duration_s, more_s) <= self._question.within_s

    def _valid(self, cell: GridCell, duration_s: float) -> Generator[Ask, Told, Told]:
        """A run, made again while it is invalid, some times at most."""
        disturbed = bool(self._runs) and self._runs[-1].told.invalid is not None
        tries = TRIES if cell.rate_rps else 1 if disturbed else 2
        wait_s = 0.0
        for number in range(tries):
            told = yield from self._ask(cell, duration_s, wait_s)
            wait_s = BACK_OFF_S * 2**number
            if told.invalid is None or told.failed is not None or not self._fits(cell, duration_s, wait_s):
                break
        return told

    def _saturate(self, cell: GridCell) -> _Part:
        told = yield from self._valid(cell, self._question.run_s)
        if told.failed is not None and told.throughput_rps is None:
            self._findings[cell.size] = Finding(cell.size, "not started", told.failed)

    # What is known -----------------------------------------------------------------------------------------

    def _measured(self) -> set[GridCell]:
        """Cells that were saturated, validly or not."""
        return {run.ask.cell for run in self._runs if not run.ask.cell.rate_rps}

    def _saturated(self, cell: GridCell) -> list[Run]:
        """Valid runs at full speed."""
        return [run for run in self._runs if run.ask.cell == cell and _counts_as(run.told)]

    def _estimate(self, cell: GridCell) -> Estimate | None:
        """The throughput of a cell by its runs, each trusted to `DRIFT` or its own interval; None without one.

        An invalid run is no evidence: its figure has no bounds. It is a hint, where there is nothing better.
        """
        runs = self._saturated(cell)
        if not runs:
            hints = [
                run.told.throughput_rps for run in self._runs if run.ask.cell == cell and not run.ask.cell.rate_rps
            ]
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

    def _capacity(self, cell: GridCell) -> tuple[Estimate | None, bool]:
        """The throughput of a cell, and whether its interval is by the spread of all runs that were repeated."""
        one = self._estimate(cell)
        if one is None or not self._saturated(cell):
            return None, False
        squares, degrees = 0.0, 0
        for each in self._measured():
            logs = [math.log(run.told.throughput_rps or 1.0) for run in self._saturated(each)]
            if len(logs) > 1:
                squares += statistics.variance(logs) * (len(logs) - 1)
                degrees += len(logs) - 1
        runs = len(self._saturated(cell))
        if degrees < 2 or runs < 2:
            return one, False
        deviation = math.sqrt(squares / degrees / runs)
        quantile = _STUDENT_2 if degrees == 2 else student_quantile(0.975, degrees)
        known = [run.told for run in self._saturated(cell) if run.told.interval_rps is not None]
        own = max(
            (told.interval_rps[1] / (told.throughput_rps or 1.0) - 1 for told in known if told.interval_rps), default=0
        )
        width = max(math.expm1(quantile * deviation), own / math.sqrt(runs), LEAST_WIDTH)
        return Estimate.around(one.value, width), True

    def _curve(self, kind: _Kind) -> BatchCurve:
        base = self._curved[kind]
        estimates = {size: self._estimate(GridCell(base, size)) for size in self._batches}
        known = {size: one for size, one in estimates.items() if one is not None}
        batches = {size: one.value / size * self._question.run_s for size, one in known.items()}
        return BatchCurve(known, batches)

    def _law(self, kind: _Kind) -> Law:
        """The law of a kind's replicas, of all of its cells that were measured."""
        base, curve = self._curved[kind], self._curve(kind)
        points: dict[float, Estimate] = {}
        for cell in self._measured():
            count = cell.size.replicas / base.replicas
            if _kind(cell.size) != kind or count == 1 or not curve.measured:
                continue
            known, one = self._estimate(cell), curve.at(cell.batch_size)
            if known is not None and self._limited(cell):
                points[count] = Estimate.around(known.value / (count * one.value), known.width)
        return Law(points)

    def _limited(self, cell: GridCell) -> bool:
        """Whether the deployment was the limit of all valid runs of a cell: only then it does no more."""
        return all(run.told.limit in _SERVER for run in self._saturated(cell))

    def _predicted(self, cell: GridCell) -> Estimate:
        """What a cell does at full speed: measured, or by curve and law; without end where nothing is known."""
        kind = _kind(cell.size)
        known = self._estimate(cell)
        if known is not None:
            return known if self._limited(cell) else replace(known, high=math.inf)
        base = self._curved.get(kind)
        if base is None or not self._curve(kind).measured:
            return Estimate(math.inf, 0.0, math.inf)
        count = cell.size.replicas / base.replicas
        one = self._curve(kind).at(cell.batch_size)
        if not all(self._limited(GridCell(base, size)) for size in self._batches):
            one = replace(one, high=math.inf)
        return one.times(self._law(kind).at(max(1.0, count))).scaled(count)

    def _most(self, size: Size) -> float:
        """The most that a size is predicted to do."""
        kind = _kind(size)
        if kind not in self._curved:
            return self._linear(size)
        return max(self._predicted(GridCell(size, batch_size)).high for batch_size in self._batches)

    def _linear(self, size: Size) -> float:
        """The most that replicas of other cores do, if twice the cores do twice as much; without end without any."""
        most = math.inf
        for kind, base in self._curved.items():
            if not kind.gpu and not size.gpus and kind.cpus_per_replica < size.cpus_per_replica:
                most = min(most, self._most(base) / base.cores * size.cores)
        return most

    def _knees(self, kind: _Kind) -> tuple[int, ...]:
        """The smallest batch with nearly the most throughput, and the one with the most."""
        curve = self._curve(kind)
        if not curve.measured:
            return self._batches[-1:]
        rates = {size: curve.at(size).value for size in self._batches}
        most = max(rates, key=lambda size: rates[size])
        knee = next(size for size, rate in rates.items() if rate >= KNEE_SHARE * rates[most])
        return tuple(dict.fromkeys((knee, most)))

    def _choice(self, size: Size) -> tuple[int, ...]:
        """Batch sizes to try, those whose queues are the shortest first; none where all are hopeless."""
        cells = [GridCell(size, each) for each in self._batches if self._hopeless(GridCell(size, each)) is None]
        if any(map(_bounds_latency, self._question.conditions)) and self._curve(_kind(size)).measured:
            shortest = sorted(cells, key=lambda cell: (self._likely(cell), -self._predicted(cell).value))
            return tuple(cell.batch_size for cell in shortest)
        return tuple(each for each in self._knees(_kind(size)) if GridCell(size, each) in cells)

    def _slowness(self, cell: GridCell, throughput_rps: float, rate_rps: float = 0.0) -> tuple[float, str]:
        """How many times as slow as is allowed a queue of a cell is, and what of it.

        Args:
            cell: which.
            throughput_rps: that it does when saturated.
            rate_rps: of its requests; 0 for the rate that is asked for.
        """
        rate_rps = rate_rps or self._question.rate_rps
        if throughput_rps <= rate_rps:
            return math.inf, "its queue grows without end"
        alpha, beta = self._curve(_kind(cell.size)).coefficients_s
        # Relative to the line: batches are as quick as the throughput says.
        factor = cell.size.replicas * cell.batch_size / (alpha + beta * cell.batch_size) / throughput_rps
        batch_s = (float(f"{alpha * factor:.3g}"), float(f"{beta * factor:.3g}"))
        latencies_ms = 1000 * latencies_s(batch_s, cell.size.replicas, cell.batch_size, rate_rps)
        found = [_slower(one, latencies_ms) for one in self._question.conditions if _bounds_latency(one)]
        return max(found, default=(0.0, ""))

    def _hopeless(self, cell: GridCell) -> str | None:
        """Why a cell cannot do, by what was measured; None where it may."""
        predicted = self._predicted(cell)
        if predicted.high < self._question.rate_rps:
            return self._too_little(cell)
        if not math.isfinite(predicted.high) or not self._curve(_kind(cell.size)).measured:
            return None
        slower, what = self._slowness(cell, predicted.high)
        return f"{cell.name}: {what} predicted at best" if slower > SLOWER else None

    def _ruled_out(self, size: Size) -> bool:
        if _kind(size) not in self._curved:
            most = self._linear(size)
            text = f"at most {most:.4g} requests/s, if more cores for each replica do as much more"
            if most >= self._question.rate_rps:
                return False
        elif self._choice(size):
            return False
        else:
            cell = max((GridCell(size, each) for each in self._batches), key=lambda cell: self._predicted(cell).high)
            text = self._hopeless(cell) or ""
        self._findings.setdefault(size, Finding(size, "ruled out", text))
        return True

    def _too_little(self, cell: GridCell) -> str:
        """That a cell does less than the rate."""
        predicted = self._predicted(cell)
        if self._estimate(cell) is not None:
            return f"{cell.name}: only {predicted.value:.4g} requests/s when saturated"
        most = f", {predicted.high:.4g} at most" if math.isfinite(predicted.high) else ""
        return f"{cell.name}: {predicted.value:.4g} requests/s predicted{most}"

    def _finding(self, size: Size) -> Finding:
        if (found := self._findings.get(size)) is not None:
            return found
        best = self._best
        if best is not None and self._question.rank(size) >= self._question.rank(best.size):
            equal = self._question.rank(size) == self._question.rank(best.size)
            return Finding(size, "dearer", f"costs {'as much as' if equal else 'more than'} {best.name}, which holds")
        if (loops := [run for run in self._runs if run.ask.cell.size == size and run.ask.cell.rate_rps]) != []:
            told = loops[-1].told
            return Finding(size, "undecided", _said(told))
        if self._ruled_out(size):
            return self._findings[size]
        return Finding(size, "not tried", "no time was left")


_SERVER = ("replicas", "frontend")
"""Limits that belong to the deployment: it does no more."""

_STUDENT_2 = 4.303
"""The 97.5th percentile of Student's distribution with 2 degrees of freedom."""


def _kind(size: Size) -> _Kind:
    return _Kind(size.cpus_per_replica, size.gpus > 0)


def _bounds_latency(condition: Condition) -> bool:
    """Whether a queue's latencies can break a condition."""
    if condition.metric == GOODPUT:
        return condition.operator in (">", ">=") and condition.slow_share > 0
    return condition.metric in LATENCIES and condition.metric != "max" and condition.operator in ("<", "<=")


def _slower(condition: Condition, latencies_ms: np.ndarray) -> tuple[float, str]:
    """How many times as slow as a condition allows latencies are, and what of them.

    Args:
        condition: that bounds latencies.
        latencies_ms: ascending.
    """
    if condition.metric == GOODPUT:
        good = np.searchsorted(latencies_ms, (condition.within_ns or 0) / 1e6) / len(latencies_ms)
        return float((1 - good) / condition.slow_share), f"{condition.name} {100 * good:.3g} %"
    if condition.metric == "mean":
        value = float(latencies_ms.mean())
    else:
        value = float(np.quantile(latencies_ms, float(condition.metric[1:]) / 100))
    return value / condition.value, f"{condition.metric} {value:.4g} ms"


def _counts_as(told: Told) -> bool:
    """Whether a run at full speed is evidence."""
    return told.outcome is None and told.invalid is None and told.failed is None and bool(told.throughput_rps)


def _said(told: Told) -> str:
    """What an open loop came to, in words."""
    if told.failed is not None:
        return told.failed
    return told.text if told.invalid is None else f"invalid: {told.invalid.partition(';')[0]}"


def _outcome(told: Told) -> Outcome:
    """Of an open loop; what is unstable, lost or invalid is not known."""
    if told.invalid is not None or told.outcome is None:
        return "undecided"
    return told.outcome if told.outcome in ("pass", "fail") else "undecided"


def busiest_rps(times_s: Sequence[float], window_s: float) -> float:
    """The highest rate of any window of a trace.

    Args:
        times_s: of its requests, ascending.
        window_s: length of the window.
    """
    most, first = 0, 0
    for last, time_s in enumerate(times_s):
        while times_s[first] <= time_s - window_s:
            first += 1
        most = max(most, last - first + 1)
    return most / window_s
