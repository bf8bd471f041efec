"""The question of the search for the cheapest configuration, its runs, and its answer. Pure."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Literal

from loadgen.checks import finite
from loadgen.experiments.grid import GridCell, Size
from loadgen.experiments.probes import Outcome, samples
from loadgen.experiments.scaling import Estimate
from loadgen.judging.slo import Condition

LEAST_RUN_S, LEAST_CONFIRM_S = 3.0, 10.0
"""The shortest saturating run and open loop."""

_LONGEST_S = 1e9
"""The longest open loop; lower rates cannot be shown."""

State = Literal["holds", "fails", "ruled out", "undecided", "not started", "not tried", "dearer"]
"""The state of a size or a cell; `docs/size.md` explains each."""

TIME_IS_UP = "the next run did not fit into the time"
"""Why a search ended."""

OPEN_STATES = ("undecided", "not started", "not tried")
"""States of which nothing is known."""


@dataclass(frozen=True, slots=True)
class Question:
    """What is asked.

    Attributes:
        rate_rps: requests a second to carry.
        sizes: of deployments that the machine has room for.
        batch_sizes: to choose from.
        conditions: that have to hold.
        within_s: time for the search.
        core_cost: of a core for an hour, in any currency; 0 where no cost is known.
        gpu_cost: likewise of a GPU.
    """

    rate_rps: float
    sizes: tuple[Size, ...]
    batch_sizes: tuple[int, ...]
    conditions: tuple[Condition, ...] = ()
    within_s: float = 600.0
    core_cost: float = 0.0
    gpu_cost: float = 0.0

    def __post_init__(self) -> None:
        finite(self, "rate_rps", "within_s")
        finite(self, "core_cost", "gpu_cost", zero=True)

    @property
    def run_s(self) -> float:
        """Measured part of a saturating run."""
        return min(10.0, max(LEAST_RUN_S, round(self.within_s / 60)))

    @property
    def confirm_s(self) -> float:
        """Measured part of the open loop that decides: a sixth of the time, or longer for its least requests."""
        return max(min(120.0, round(self.within_s / 6)), self.least_s(self.rate_rps))

    def least_s(self, rate_rps: float) -> float:
        """The shortest time with the requests that the conditions need."""
        return max(LEAST_CONFIRM_S, math.ceil(min(samples(self.conditions) / rate_rps, _LONGEST_S)))

    @property
    def priced(self) -> bool:
        """Whether costs are known."""
        return bool(self.core_cost or self.gpu_cost)

    def hourly(self, size: Size) -> float:
        """What a size costs an hour."""
        return size.cores * self.core_cost + size.gpus * self.gpu_cost

    def rank(self, size: Size) -> tuple[float, int, int]:
        """The key of a sort by cost: the cost where it is known, else GPUs, then cores."""
        return self.hourly(size) if self.priced else 0.0, size.gpus, size.cores


@dataclass(frozen=True, slots=True)
class Ask:
    """The run that the search wants next.

    Attributes:
        cell: with a rate for an open loop, without one for a saturating run.
        duration_s: of its measured part.
        repeat: how often the cell was asked for before.
        wait_s: time to wait before, since the last one was invalid.
    """

    cell: GridCell
    duration_s: float
    repeat: int
    wait_s: float = 0.0


@dataclass(frozen=True, slots=True)
class Told:
    """The outcome of a run.

    Attributes:
        elapsed_s: time since the search began, at its end.
        throughput_rps: answers a second; None where it has no results.
        interval_rps: its 95% interval; None where not known.
        limit: by its verdict.
        limit_text: the verdict in words.
        invalid: why its figures do not count; None for a valid run.
        failed: why it did not end as asked; None where it did.
        outcome: of an open loop; None of a saturating run.
        text: what was found of the objective.
        results: name of its results file; empty without.
        measured_s: length of its measured part, where an earlier search made the run with another length.
    """

    elapsed_s: float
    throughput_rps: float | None = None
    interval_rps: tuple[float, float] | None = None
    limit: str = "unknown"
    limit_text: str = ""
    invalid: str | None = None
    failed: str | None = None
    outcome: Outcome | None = None
    text: str = ""
    results: str = ""
    measured_s: float | None = None

    @property
    def measured(self) -> bool:
        """Whether there are results: the deployment could be started."""
        return self.throughput_rps is not None


@dataclass(frozen=True, slots=True)
class Run:
    """A run that was made."""

    ask: Ask
    told: Told


@dataclass(frozen=True, slots=True)
class Finding:
    """What is known of a size.

    Attributes:
        size: which.
        state: what is known.
        text: why, in words.
    """

    size: Size
    state: State
    text: str


@dataclass(frozen=True, slots=True)
class Fleet:
    """The number of replicas that a rate needs, by the law.

    Attributes:
        rate_rps: requests a second.
        replicas: the best estimate; None where the largest number is not enough.
        low: at least; None where the largest number is not enough.
        high: at most; None where unknown.
    """

    rate_rps: float
    replicas: int | None
    low: int | None
    high: int | None


@dataclass(frozen=True, slots=True)
class Beyond:
    """A prediction for more replicas than the machine has cores for.

    Attributes:
        cell: the configuration, as large as the machine has cores for.
        share: of its highest throughput at which the objective was shown to hold; None where that was not shown.
        deployments: number of such deployments that carry the rate together, each at this share, or at full speed.
        fleet: replicas of one deployment that carry it.
        measured: numbers of replicas that were measured.
    """

    cell: GridCell
    share: float | None
    deployments: int
    fleet: Fleet
    measured: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Answer:
    """What was found.

    Attributes:
        question: what was asked.
        best: the cheapest configuration that was shown to carry the rate; None where none was.
        shown: the open loop that shows it.
        capacity: its throughput when saturated; None where that is not known.
        capacity_runs: valid runs that the capacity rests on.
        repeated: its interval comes from the spread of repeated runs; else from the trust in a short run.
        at_least: it may be higher: the replicas were not the limit.
        limit: its first limit.
        findings: of each size, the cheapest first.
        runs: all that were made.
        ended: why the search ended.
        beyond: what a larger machine would take; None where this one does.
    """

    question: Question
    best: GridCell | None
    shown: Run | None
    capacity: Estimate | None
    capacity_runs: int
    repeated: bool
    at_least: bool
    limit: str
    findings: tuple[Finding, ...]
    runs: tuple[Run, ...]
    ended: str
    beyond: Beyond | None = None

    @property
    def cheaper(self) -> tuple[Finding, ...]:
        """Sizes that cost less than the best one; all sizes where no best one is known."""
        if self.best is None:
            return self.findings
        rank = self.question.rank
        return tuple(found for found in self.findings if rank(found.size) < rank(self.best.size))

    @property
    def unknown(self) -> tuple[Finding, ...]:
        """Those of the cheaper sizes of which nothing is known."""
        return tuple(found for found in self.cheaper if found.state in OPEN_STATES)

    @property
    def undecided(self) -> bool:
        """Whether no size was shown to carry the rate, although one may."""
        return self.best is None and bool(self.unknown)

    @property
    def measured(self) -> frozenset[GridCell]:
        """The cells of the grid that were measured, validly or not."""
        return frozenset(replace(run.ask.cell, rate_rps=0.0) for run in self.runs if run.told.measured)

    @property
    def cells(self) -> int:
        """How many the grid has."""
        return len(self.question.sizes) * len(self.question.batch_sizes)

    @property
    def headroom(self) -> float | None:
        """The capacity over the rate; None where not known."""
        return None if self.capacity is None else self.capacity.value / self.question.rate_rps

    @property
    def per_million(self) -> float | None:
        """What a million requests at the rate cost; None where no cost is known."""
        if self.best is None or not self.question.priced:
            return None
        return self.question.hourly(self.best.size) / (3600 * self.question.rate_rps) * 1e6

    @property
    def skipped(self) -> Mapping[State, int]:
        """How many cells were not measured, by the state of their size."""
        counts: dict[State, int] = {}
        measured = self.measured
        for found in self.findings:
            cells = {GridCell(found.size, batch_size) for batch_size in self.question.batch_sizes}
            counts[found.state] = counts.get(found.state, 0) + len(cells - measured)
        return {state: count for state, count in counts.items() if count}
