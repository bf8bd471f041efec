"""Chooses the cheapest measured configuration that carries a rate within an objective; pure.

What a run shows of a rate R:

* An **open loop** at R or more can show that its configuration carries R: less load is no harder. For that it must hold
  the objective, be answered at its rate, and end as asked. An open loop at R or less that does not hold the objective
  shows that the configuration does not carry R. An open loop at a rate that varies says nothing about R.
* A **saturating** run shows a throughput T. If T < R and the limit was the replicas or the frontend, the configuration
  does not carry R. If the limit was the client or the load, more was possible and nothing is known. If T >= R, the
  throughput suffices. The latency is that of a window that is always full. If it holds the objective, it does so for
  senders that never have more requests outstanding. It shows nothing about requests that arrive at rate R regardless
  of replies: it does not bound their queue, and they do not wait as long as in a window of thousands.

A metric that was not measured, or is not known well enough to lie on one side of its bound (`loadgen.judging.slo`),
shows nothing either: the configuration is undecided.

An invalid run shows nothing. If a valid one would decide, the configuration was not measured validly.

A configuration with failed batches is barred: smaller batches gave the answers, so the figures are not its own.

So open loops come first; a window is a weaker claim, which the text says. Nothing is interpolated or extrapolated.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import IntEnum
from typing import TYPE_CHECKING, NamedTuple

from frontend_launch.quantities import number, plural, times
from loadgen.judging.slo import Condition, evaluate
from loadgen.judging.verdict import CARRIED_SHARE, carried

if TYPE_CHECKING:
    from loadgen.results.cells import Cell, Configuration, Load, Run

_SURE_Z2 = 2.576**2
"""Squared quantile of the normal distribution for 99% confidence."""


class Shown(IntEnum):
    """What was shown of a configuration at the rate, best first."""

    OPEN_LOOP = 0
    WINDOW = 1
    UNDECIDED = 2
    """The measurements are too uncertain for the objective."""
    THROUGHPUT = 3
    NOTHING = 4
    INVALID = 5
    """The runs that would decide are invalid."""
    NOT = 6
    BARRED = 7
    """Batches failed, so the configuration is unusable at any rate."""


@dataclass(frozen=True, slots=True)
class Candidate:
    """One configuration, and what is known of it at the rate.

    Attributes:
        name: of the configuration.
        configuration: what it is.
        shown: what was shown.
        text: how, in one line.
        p99_ms: of the cell that shows it, as in a report; the largest of several; None where no cell has one.
        p99_uncertain: it has no interval.
        limit: what limits it, in words; None where no saturating run says so.
        caution: why to be careful, such as too few samples for a percentile; None without reason.
    """

    name: str
    configuration: Configuration
    shown: Shown
    text: str
    p99_ms: float | None = None
    p99_uncertain: bool = False
    limit: str | None = None
    caution: str | None = None

    @property
    def cost(self) -> tuple[int, int] | None:
        """GPUs and cores of the replicas, GPUs first, since a GPU costs more than a core; None where unknown."""
        cores, gpus = self.configuration.cores, self.configuration.gpus
        return None if cores is None or gpus is None else (gpus, cores)


@dataclass(frozen=True, slots=True)
class Choice:
    """The answer.

    Attributes:
        best: the cheapest configuration that carries the rate within the objective; None where none was shown to.
        runner_up: the next one, on evidence of the same kind.
        unknown: cheaper configurations that may carry the rate, but whose measurements do not decide.
            Those that were not measured validly are among the candidates only.
        candidates: all of them, as they were judged.
    """

    best: Candidate | None
    runner_up: Candidate | None
    unknown: tuple[Candidate, ...]
    candidates: tuple[Candidate, ...]

    @property
    def undecided(self) -> bool:
        """Whether no configuration was shown to carry the rate, although one may, or none was measured."""
        ruled_out = [candidate.shown in (Shown.NOT, Shown.BARRED) for candidate in self.candidates]
        return self.best is None and (not ruled_out or not all(ruled_out))


def choose(cells: Iterable[Cell], rate_rps: float, objective: Sequence[Condition]) -> Choice:
    """The cheapest configuration (fewest GPUs, then fewest cores, then lowest p99) for a rate.

    Args:
        cells: what was measured; anchors count as runs like others.
        rate_rps: requests a second to carry.
        objective: conditions that must all hold.
    """
    groups: dict[Configuration, list[Cell]] = {}
    for cell in cells:
        groups.setdefault(cell.configuration, []).append(cell)
    cases = (
        _Case(
            name=_name(configuration, own),
            configuration=configuration,
            cells=tuple(own),
            runs=tuple(run for cell in own for run in (*cell.runs, *cell.anchors) if run.results.error is None),
            rate_rps=rate_rps,
            objective=objective,
        )
        for configuration, own in groups.items()
    )
    candidates = sorted((case.judged() for case in cases), key=_rank)
    shown = [c for c in candidates if c.shown <= Shown.WINDOW and c.cost is not None]
    best = min(shown, key=lambda c: c.shown, default=None)
    alike = [c for c in shown if best is not None and c.shown == best.shown and c is not best]
    unknown = [
        c
        for c in candidates
        if c is not best and c.shown < Shown.INVALID and (best is None or (c.shown > best.shown and _cheaper(c, best)))
    ]
    return Choice(best, alike[0] if alike else None, tuple(unknown), tuple(candidates))


def _rank(candidate: Candidate) -> tuple[float, ...]:
    cost = candidate.cost or (math.inf, math.inf)
    return (*cost, math.inf if candidate.p99_ms is None else candidate.p99_ms)


def _cheaper(candidate: Candidate, other: Candidate) -> bool:
    return candidate.cost is not None and other.cost is not None and candidate.cost < other.cost


@dataclass(frozen=True, slots=True)
class _Case:
    """One configuration and the question."""

    name: str
    configuration: Configuration
    cells: tuple[Cell, ...]
    runs: tuple[Run, ...]
    rate_rps: float
    objective: Sequence[Condition]

    def judged(self) -> Candidate:
        """What the runs show: valid ones, unless batches failed in one of them."""
        if barred := max(map(_failed_batches, self.runs), default=0):
            run = max(self.runs, key=_failed_batches)
            return self._candidate(Shown.BARRED, f"{plural(barred, 'batch', 'batches')} failed ({run.path.name})")
        valid = [run for run in self.runs if run.invalid is None]
        found = self._found(valid)
        invalid = next((run for run in self.runs if run.invalid is not None), None)
        if invalid is None or _decides(found):
            return found
        whole = self._found(self.runs)
        if not _decides(whole) and (whole.shown != Shown.UNDECIDED or found.shown == Shown.UNDECIDED):
            return found
        text = f"not measured validly: {invalid.invalid} ({invalid.path.name})"
        return self._candidate(Shown.INVALID, text)

    def _found(self, runs: Sequence[Run]) -> Candidate:
        """What some runs show: open loops first, since the question is about a rate."""
        open_loops = [run for run in runs if _offered(run)]
        failed = [run for run in open_loops if _offered(run) <= self.rate_rps and self._broken(run)]
        if failed:
            run = max(failed, key=_offered)
            return self._candidate(Shown.NOT, f"{_open_loop(run)}: {self._broken(run)}")
        good = [
            group
            for group in _by_load(run for run in open_loops if _offered(run) >= self.rate_rps)
            if not any(map(self._broken, group))
        ]
        sure = [group for group in good if not any(map(self._unknown, group))]
        if sure:
            nearest = min(sure, key=lambda group: _offered(group[0]))
            return self._candidate(Shown.OPEN_LOOP, _open_loop(nearest[0]), nearest)
        found = [self._of_window(group) for group in _by_load(_saturating(runs))]
        if good:
            nearest = min(good, key=lambda group: _offered(group[0]))
            unknown = next(filter(None, map(self._unknown, nearest)))
            found.append(self._candidate(Shown.UNDECIDED, f"{_open_loop(nearest[0])}: {unknown}"))
        nothing = self._candidate(Shown.NOTHING, "no valid run that says anything about this rate")
        return min(found, key=lambda c: c.shown, default=nothing)

    def _of_window(self, runs: Sequence[Run]) -> Candidate:
        """What saturating runs with one window show."""
        least = min(runs, key=_throughput)
        rate, limit = f"{number(_throughput(least))} requests/s when saturated", least.results.verdict.limit
        if _throughput(least) < self.rate_rps:
            if limit in ("replicas", "frontend"):
                return self._candidate(Shown.NOT, f"only {rate}")
            text = f"only {rate}, but the server was not shown to be the limit ({limit}): it may carry more"
            return self._candidate(Shown.NOTHING, text)
        violated = next(filter(None, map(self._violated, runs)), None)
        if violated is None:
            in_flight = plural(least.load.window or 0, "request")
            text = f"{rate}, at most {in_flight} in flight"
            if (unsure := next(filter(None, map(self._unknown, runs)), None)) is not None:
                return self._candidate(Shown.UNDECIDED, f"{text}: {unsure}")
            return self._candidate(Shown.WINDOW, text, runs)
        unknown = f"with a full window: {violated}; at {number(self.rate_rps)} requests/s: not measured"
        return self._candidate(Shown.THROUGHPUT, f"{rate}; {unknown}")

    def _candidate(self, shown: Shown, text: str, runs: Sequence[Run] = ()) -> Candidate:
        """A candidate that runs support."""
        own = [cell for cell in self.cells if any(run in runs for run in (*cell.runs, *cell.anchors))]
        spreads = [(cell.latency_ms("p99"), cell.uncertain("p99")) for cell in own]
        known = [(spread.median, uncertain) for spread, uncertain in spreads if spread is not None]
        p99_ms, uncertain = max(known, default=(None, False))
        return Candidate(
            name=self.name,
            configuration=self.configuration,
            shown=shown,
            text=text + (f", {times(len(runs))}" if len(runs) > 1 else ""),
            p99_ms=p99_ms,
            p99_uncertain=uncertain,
            limit=_limit(self.runs),
            caution=self._caution(runs),
        )

    def _broken(self, run: Run) -> str | None:
        """Why an open loop does not carry its rate within the objective; None where it does, or that is not known."""
        if (few := _too_few(run)) is not None and few.sure:
            return few.text
        return self._violated(run)

    def _violated(self, run: Run) -> str | None:
        """The first condition that does not hold for sure."""
        findings = [evaluate(condition, run.results.summary) for condition in self.objective]
        return next((finding.text for finding in findings if finding.decided and not finding.holds), None)

    def _unknown(self, run: Run) -> str | None:
        """The rate or the first condition that is undecided."""
        if (few := _too_few(run)) is not None and not few.sure:
            return few.text
        findings = [evaluate(condition, run.results.summary) for condition in self.objective]
        return next((finding.text for finding in findings if not finding.decided), None)

    def _caution(self, runs: Sequence[Run]) -> str | None:
        """Whether a percentile has no interval; in files without intervals, whether its answers are few.

        A percentile q needs z²·q/(1-q) independent answers for an error of 1-q at 99% confidence.
        """
        answers = min((run.results.summary.measured.completed for run in runs), default=0)
        for metric in (condition.metric for condition in self.objective):
            if any(metric in run.results.summary.uncertain for run in runs):
                return f"{metric} has no interval (too few independent answers); its bounds hold the objective"
            if metric.startswith("p") and any(run.results.summary.intervals_ms is None for run in runs):
                quantile = float(metric[1:]) / 100
                wanted = math.ceil(_SURE_Z2 * quantile / (1 - quantile))
                if answers < wanted:
                    return f"{plural(answers, 'answer')}: few for a {metric}, which needs {wanted:,} independent ones"
        return None


def _decides(found: Candidate) -> bool:
    """Whether a configuration is shown to carry the rate, or not to."""
    return found.shown <= Shown.WINDOW or found.shown == Shown.NOT


def _by_load(runs: Iterable[Run]) -> list[list[Run]]:
    groups: dict[Load, list[Run]] = {}
    for run in runs:
        groups.setdefault(run.load, []).append(run)
    return list(groups.values())


def _limit(runs: Iterable[Run]) -> str | None:
    """The verdict of the saturating run with the highest throughput."""
    saturating = [run for run in _saturating(runs) if run.invalid is None]
    if not saturating:
        return None
    run = max(saturating, key=_throughput)
    verdict = run.results.verdict
    busy = verdict.evidence.busy_share
    replicas = "" if busy is None else f" (replicas busy {busy:.0%})"
    return f"{verdict.limit}{replicas}, at {number(_throughput(run))} requests/s when saturated"


def _name(configuration: Configuration, cells: Sequence[Cell]) -> str:
    """The cells' name, without their loads."""
    prefix = f"{configuration.model} " if cells[0].name.startswith(f"{configuration.model} ") else ""
    return prefix + configuration.name


def _saturating(runs: Iterable[Run]) -> list[Run]:
    return [run for run in runs if run.load.arrivals is None]


def _offered(run: Run) -> float:
    """The rate of an open loop; nothing where it has not one rate."""
    return run.load.rate_rps or 0.0


def _throughput(run: Run) -> float:
    return run.results.summary.throughput_rps


def _failed_batches(run: Run) -> int:
    return run.results.summary.failed_batches or 0


class _TooFew(NamedTuple):
    """An open loop that was answered at less than its rate.

    Attributes:
        text: for a reader.
        sure: the interval of its throughput says so too, where it is known.
    """

    text: str
    sure: bool


def _too_few(run: Run) -> _TooFew | None:
    """The shortfall of an open loop; None for a run that was answered at its rate, or that has no rate."""
    summary = run.results.summary
    offered_rps, interval_rps = summary.offered_rps or 0.0, summary.throughput_interval_rps
    if carried(_throughput(run), offered_rps, summary.measured.duration_s):
        return None
    text = f"only {number(_throughput(run))} requests/s were answered"
    if interval_rps is None:
        return _TooFew(text, True)
    low, high = interval_rps
    return _TooFew(
        f"{text} (between {number(low)} and {number(high)} with 95% confidence)", high < CARRIED_SHARE * offered_rps
    )


def _open_loop(run: Run) -> str:
    return f"open loop at {number(_offered(run))} requests/s"
