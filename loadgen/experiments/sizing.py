"""Searches the cheapest configuration that carries a rate: asks for runs. Pure.

Sizes of deployments are tried by cost, the cheapest first. A size is measured only where it may carry the rate:

1. **Curve.** One replica, saturated for a short time at two or three batch sizes, gives the throughput at the others
   (`loadgen.experiments.scaling`).
2. **Scaling.** *n* replicas do at most *n* times as much. Each saturated size narrows the law; a size whose predicted
   interval lies below the rate is ruled out.
3. **Saturate.** A size that may suffice is saturated; its throughput shows whether it does, and its limit.
4. **Confirm.** An open loop at the rate decides by its 95% interval whether the objective holds
   (`loadgen.experiments.probes`): a short one, which may say that it does not, then a long one. Where it does not, or
   that is undecided, the next size is taken.

A queue of equal batches at the rate (`loadgen.experiments.scaling`) chooses the batch size. Where even its latencies
are too long, with the fastest batches that the measurements allow, a cell is ruled out.

The first size that holds is the answer; sizes that cost as much or more are left out. The remaining time goes into
longer open loops of cheaper undecided sizes, and into the interval of the answer: runs far apart in time show how much
the machine varies.

`loadgen.experiments.size_knowledge` holds what the runs have shown.
"""

from __future__ import annotations

import math
from collections.abc import Generator, Sequence
from dataclasses import replace
from itertools import groupby

from frontend_launch.quantities import number
from loadgen.experiments.grid import GridCell, Size
from loadgen.experiments.probes import Outcome
from loadgen.experiments.size_answer import (
    OPEN_STATES,
    TIME_IS_UP,
    Answer,
    Ask,
    Beyond,
    Finding,
    Question,
    Run,
    State,
    Told,
)
from loadgen.experiments.size_knowledge import SERVER, Kind, Knowledge, counts_as, kind_of

MIN_BATCHES = 10
"""A batch size is skipped where fewer batches fit into a short run."""

TRIES = 3
BACK_OFF_S = 5.0
"""Most runs of an open loop that is invalid, and the wait before the second; the next wait is twice as long.
An invalid saturating run is repeated once, unless the run before it was invalid too."""

STRETCH = 1.5
"""An undecided open loop is extended at least by this factor."""


COMFORTABLE = 0.7
"""A queue whose predicted latency is at most this share of the bound is likely to hold."""

CHOICES = 2
"""Most batch sizes that are tried of one size of deployment."""

REPEATS = 4
"""Saturating runs of the answer; the first one comes before its confirmation."""

STARTING_S, OVERHEAD_S = 10.0, 4.0
"""Time of a run beyond its own, with a new deployment and without; guesses until runs show it."""

SHARES = (0.8, 0.6, 0.4)
"""Where nothing carries the rate: the shares of the throughput at which the objective is tried."""

Steps = Generator[Ask, Told, Answer]
_Part = Generator[Ask, Told, None]


class _TimeIsUpError(Exception):
    """The time is too short for another run."""


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
        self._findings: dict[Size, Finding] = {}
        self._preferred: tuple[int, ...] = ()
        self._known = Knowledge(question)
        self._passed_over: list[Size] = []
        self._best: GridCell | None = None
        self._shown: Run | None = None
        self._beyond: Beyond | None = None

    def steps(self) -> Steps:
        """The search as a generator: it yields runs, is sent their outcomes, and returns the answer."""
        try:
            yield from self._search()
        except _TimeIsUpError:
            return self.so_far("found" if self._best is not None else TIME_IS_UP)
        answer = self.so_far("nothing holds" if self._best is None else "found")
        if not answer.undecided:
            return answer
        not_tried = any(found.state == "not tried" for found in answer.findings)
        return replace(answer, ended=TIME_IS_UP if not_tried else "no run decides")

    def so_far(self, ended: str) -> Answer:
        """What is known.

        Args:
            ended: why the search ended, or that it did not.
        """
        best = self._best
        capacity, repeated = (None, False) if best is None else self._known.capacity(best)
        limits = [] if best is None else [run.told for run in self._known.saturated(best)]
        return Answer(
            self._question,
            best,
            self._shown,
            capacity,
            len(limits),
            repeated,
            any(told.limit not in SERVER for told in limits),
            f"{limits[-1].limit}; saturated {limits[-1].limit_text}"
            if limits
            else "not known: no valid saturating run",
            tuple(self._finding(size) for size in sorted(self._question.sizes, key=self._question.rank)),
            tuple(self._known.runs),
            ended,
            self._beyond,
        )

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
        """Sizes of one cost, the highest predicted throughput first, until one holds."""
        while pending := [size for size in sizes if size not in self._findings and not self._ruled_out(size)]:
            size = max(pending, key=lambda size: (self._known.most(size), -size.replicas))
            if self._late and not self._comfortable(size):
                sizes.remove(size)
                self._passed_over.append(size)
            elif kind_of(size) in self._known.curved:
                yield from self._try(size)
            else:
                yield from self._measure_curve(kind_of(size))
            if self._best is not None:
                return

    def _try_passed_over(self) -> _Part:
        """Sizes that were skipped for a likelier one, while time allows: the cheapest first, until one holds."""
        rank, best = self._question.rank, self._best
        needed_s = self._question.run_s + self._question.confirm_s + self._reserve_s
        for size in self._passed_over:
            cheaper = best is None or rank(size) < rank(best.size)
            if not cheaper or kind_of(size) not in self._known.curved or self._ruled_out(size):
                continue
            if not self._fits(GridCell(size, self._known.batches[-1]), needed_s):
                return
            yield from self._try(size)
            if self._best is not best:
                return

    @property
    def _reserve_s(self) -> float:
        """The time to confirm an answer."""
        return REPEATS * self._question.run_s + 2 * self._starting_s

    @property
    def _late(self) -> bool:
        """Whether half of the time has passed without an answer; then likely sizes come first."""
        return self._elapsed_s > self._question.within_s / 2

    def _comfortable(self, size: Size) -> bool:
        """Whether a size is likely to hold: its queue is far shorter than is allowed."""
        choice = self._known.choice(size) if kind_of(size) in self._known.curved else ()
        return bool(choice) and self._known.likely(GridCell(size, choice[0])) <= COMFORTABLE

    def _measure_curve(self, kind: Kind) -> _Part:
        """The throughput of the smallest deployment of a kind at some batch sizes."""
        sizes = [size for size in self._question.sizes if kind_of(size) == kind and size not in self._findings]
        base = min(sizes, key=lambda size: size.replicas)
        self._known.curved[kind] = base
        smallest = self._known.batches[0]
        if self._preferred:
            chosen: Sequence[int] = self._preferred
        else:
            yield from self._saturate(GridCell(base, smallest))
            one = self._known.estimate(GridCell(base, smallest))
            if one is not None:
                batch_s = base.replicas * smallest / one.value
                self._known.batches = tuple(
                    size
                    for size in self._known.batches
                    if size / smallest * batch_s <= self._question.run_s / MIN_BATCHES
                ) or (smallest,)
            chosen = (self._known.batches[len(self._known.batches) // 2], self._known.batches[-1])
        for batch_size in dict.fromkeys(chosen):
            if (cell := GridCell(base, batch_size)) not in self._known.measured() and base not in self._findings:
                yield from self._saturate(cell)
        if base in self._findings:  # it could not be started: the next larger one tells the curve
            del self._known.curved[kind]
            return
        knees = self._known.knees(kind)
        small = knees[0] if knees[0] != self._known.batches[-1] else self._known.batches[len(self._known.batches) // 2]
        self._preferred = (small, self._known.batches[-1])

    def _try(self, size: Size) -> _Part:
        """Whether a size carries the rate, at the batch sizes whose queues are the shortest."""
        rate_rps = self._question.rate_rps
        texts: list[str] = []
        tried: list[int] = []
        state: State = "ruled out"
        while len(tried) < CHOICES and (left := [each for each in self._known.choice(size) if each not in tried]):
            cell = GridCell(size, left[0])  # by all that is known now
            if tried and self._known.predicted(cell).value < rate_rps:
                texts.append(self._known.too_little(cell))
                break
            tried.append(cell.batch_size)
            if cell not in self._known.measured():
                yield from self._saturate(cell)
                if size in self._findings:
                    return
            if (why := self._known.hopeless(cell)) is not None:
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
        self._best, self._shown = cell, self._known.runs[-1]
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
        """Longer open loops of cheaper, undecided sizes while time is left: the likeliest first."""
        rank, reserve_s = self._question.rank, self._reserve_s
        while True:
            best = None if self._best is None else rank(self._best.size)
            left = [found for found in self._findings.values() if best is None or rank(found.size) < best]
            cells = [cell for found in left if (cell := self._last_undecided(found)) is not None]
            if not cells:
                return
            cell = min(cells, key=self._known.likely)
            made_s = max(run.ask.duration_s for run in self._known.runs if run.ask.cell == cell)
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

    def _last_undecided(self, found: Finding) -> GridCell | None:
        if found.state != "undecided":
            return None
        loops = [run for run in self._known.runs if run.ask.cell.size == found.size and run.ask.cell.rate_rps]
        return next((run.ask.cell for run in reversed(loops) if _outcome(run.told) == "undecided"), None)

    def _make_sure(self) -> _Part:
        """Saturate the answer again, and the first cell, as far as time allows: their spread is the machine's."""
        assert self._best is not None
        first = next(
            (run.ask.cell for run in self._known.runs if not run.ask.cell.rate_rps and counts_as(run.told)), None
        )
        cells = [self._best, *([] if first in (None, self._best) else [first]), *[self._best] * (REPEATS - 2)]
        for cell in cells:
            if cell is None or not self._fits(cell, self._question.run_s):
                return
            yield from self._ask(cell, self._question.run_s)

    def _look_beyond(self) -> _Part:
        """Where no size carries the rate: the number of such replicas that would."""
        known = [kind for kind in self._known.curved if self._known.curve(kind).measured]
        if not known:
            return
        rank = self._question.rank

        def per_cost(kind: Kind) -> float:
            base = self._known.curved[kind]
            money, gpus, cores = rank(base)
            return self._known.curve(kind).at(self._known.knees(kind)[-1]).value / (money or 1000 * gpus + cores)

        kind = max(known, key=per_cost)
        largest = max((size for size in self._question.sizes if kind_of(size) == kind), key=lambda size: size.replicas)
        cell, share = GridCell(largest, self._known.knees(kind)[0]), None
        if cell not in self._known.measured() and self._fits(cell, self._question.run_s):
            yield from self._saturate(cell)
        for likely, wanted in self._quick(largest):
            if not self._fits(likely, self._question.run_s + self._question.confirm_s):
                break
            if likely not in self._known.measured():
                yield from self._saturate(likely)
            outcome, _ = yield from self._confirm(likely, float(f"{wanted * self._known.predicted(likely).value:.3g}"))
            if outcome == "pass":
                cell, share = likely, wanted
                break
        each_rps = (share or 1.0) * self._known.predicted(cell).value
        fleet = self._known.fleet(cell, self._question.rate_rps, share or 1.0)
        counts = {run.ask.cell.size.replicas for run in self._known.runs if kind_of(run.ask.cell.size) == kind}
        deployments = math.ceil(self._question.rate_rps / each_rps)
        self._beyond = Beyond(cell, share, deployments, fleet, tuple(sorted(counts)))

    def _quick(self, size: Size) -> list[tuple[GridCell, float]]:
        """Cells of a size, each with the share of throughput at which its queue is short enough; highest first."""
        found: list[tuple[float, GridCell, float]] = []
        for cell in (GridCell(size, each) for each in self._known.batches):
            rate_rps = self._known.predicted(cell).value
            quick = (share for share in SHARES if self._known.slowness(cell, rate_rps, share * rate_rps)[0] <= 1)
            found += [(share * rate_rps, cell, share) for share in quick]
        return [(cell, share) for _, cell, share in sorted(found, reverse=True)[:TRIES]]

    # Runs --------------------------------------------------------------------------------------------------

    def _ask(self, cell: GridCell, duration_s: float, wait_s: float = 0.0) -> Generator[Ask, Told, Told]:
        if not self._fits(cell, duration_s, wait_s):
            raise _TimeIsUpError
        ask = Ask(cell, duration_s, sum(run.ask.cell == cell for run in self._known.runs), wait_s)
        told = yield ask
        beyond_s = told.elapsed_s - self._elapsed_s - wait_s - duration_s
        if beyond_s > 0 and cell.size == self._size:
            self._overhead_s = beyond_s if self._overhead_s == OVERHEAD_S else max(self._overhead_s, beyond_s)
        elif beyond_s > 0:
            self._starting_s = beyond_s if self._starting_s == STARTING_S else max(self._starting_s, beyond_s)
        self._elapsed_s, self._size = told.elapsed_s, cell.size if told.failed is None else None
        self._known.runs.append(Run(ask if told.measured_s is None else replace(ask, duration_s=told.measured_s), told))
        return told

    def _needed(self, cell: GridCell, duration_s: float, wait_s: float) -> float:
        return wait_s + duration_s + (self._overhead_s if cell.size == self._size else self._starting_s)

    def _fits(self, cell: GridCell, duration_s: float, more_s: float = 0.0) -> bool:
        return self._elapsed_s + self._needed(cell, duration_s, more_s) <= self._question.within_s

    def _valid(self, cell: GridCell, duration_s: float) -> Generator[Ask, Told, Told]:
        """A run; an invalid one is repeated, a limited number of times."""
        disturbed = bool(self._known.runs) and self._known.runs[-1].told.invalid is not None
        tries = TRIES if cell.rate_rps else 1 if disturbed else 2
        wait_s = 0.0
        for attempt in range(tries):
            told = yield from self._ask(cell, duration_s, wait_s)
            wait_s = BACK_OFF_S * 2**attempt
            if told.invalid is None or told.failed is not None or not self._fits(cell, duration_s, wait_s):
                break
        return told

    def _saturate(self, cell: GridCell) -> _Part:
        told = yield from self._valid(cell, self._question.run_s)
        if not told.measured:
            assert told.failed is not None
            self._findings[cell.size] = Finding(cell.size, "not started", told.failed)

    # Findings ----------------------------------------------------------------------------------------------

    def _ruled_out(self, size: Size) -> bool:
        if kind_of(size) not in self._known.curved:
            most = self._known.linear(size)
            text = f"at most {number(most)} requests/s, if more cores for each replica do as much more"
            if most >= self._question.rate_rps:
                return False
        elif self._known.choice(size):
            return False
        else:
            cell = max(
                (GridCell(size, each) for each in self._known.batches),
                key=lambda cell: self._known.predicted(cell).high,
            )
            text = self._known.hopeless(cell) or ""
        self._findings.setdefault(size, Finding(size, "ruled out", text))
        return True

    def _finding(self, size: Size) -> Finding:
        if (found := self._findings.get(size)) is not None:
            return found
        best = self._best
        if best is not None and self._question.rank(size) >= self._question.rank(best.size):
            equal = self._question.rank(size) == self._question.rank(best.size)
            return Finding(size, "dearer", f"costs {'as much as' if equal else 'more than'} {best.name}, which holds")
        runs = [run for run in self._known.runs if run.ask.cell.size == size]
        if loops := [run for run in runs if run.ask.cell.rate_rps]:
            return Finding(size, "undecided", _said(loops[-1].told))
        if self._ruled_out(size):
            return self._findings[size]
        if not runs:
            return Finding(size, "not tried", "no time was left")
        told = runs[-1].told
        decides = "no time was left for the run at the rate that decides"
        return Finding(size, "undecided", decides if counts_as(told) else _said(told))


def _said(told: Told) -> str:
    """The outcome of an open loop, in words."""
    if told.failed is not None:
        return told.failed
    return told.text if told.invalid is None else f"invalid: {told.invalid.partition(';')[0]}"


def _outcome(told: Told) -> Outcome:
    """Of an open loop; an unstable, lost or invalid one is unknown."""
    if told.invalid is not None or told.outcome is None:
        return "undecided"
    return told.outcome if told.outcome in ("pass", "fail") else "undecided"
