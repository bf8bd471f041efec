"""Runs a comparison: rounds that measure A and B next to each other, and what they show.

The order is A B, B A, A B, so that changes over time affect both sides alike. Arrivals and inputs of a round are
drawn from one seed for A and B, each round from another. Each run brings up its own deployment and is saved before the
next one begins. An invalid run is repeated once; if the repeat is invalid too, the round is left out.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import os
import time
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Literal

from frontend_launch.errors import FrontendLaunchError, UnavailableError
from frontend_launch.quantities import number as in_figures
from frontend_launch.quantities import plural
from loadgen.checks import finite, instance, whole
from loadgen.config import MAX_SEED, ExperimentConfig, Load, OpenLoop
from loadgen.errors import ConfigError, FieldError, LoadgenError, NotSavedError, TargetError
from loadgen.experiments.experiment import ExperimentInterrupted, live_view, run_plan
from loadgen.experiments.ledger import now, place
from loadgen.experiments.sweep import OVERHEAD_S, START_S
from loadgen.feed.view import View
from loadgen.judging import comparison
from loadgen.judging.comparison import LEAST_BASELINE, MAX_ROUNDS, METRICS, Comparison
from loadgen.plan import Plan, prepare
from loadgen.results import files
from loadgen.results.document import Results
from loadgen.results.environment import command
from loadgen.served import Deploy

log = logging.getLogger(__name__)

HEADER = "compare.json"
LEDGER = "rounds.jsonl"
FOUND = "comparison.json"
HOPELESS_ROUNDS = 3
"""After this many rounds of which none counts, a comparison ends."""

SCHEMA_VERSION = 1

Side = Literal["A", "B"]


@dataclass(frozen=True, slots=True, kw_only=True)
class CompareConfig:
    """The configuration of a comparison.

    Attributes:
        b: the side that is judged.
        a: the side that it is compared with; None where earlier results take its place.
        baseline: these results.
        margin: B may be worse by this share.
        rounds: their number; None for the fewest that can show a difference, or for one where nothing is judged.
        metrics: of `METRICS`; empty for those that are meaningful under the load.
        allow_unpaired: judge by earlier results.
        results_dir: where the directory of the comparison is made.
    """

    b: ExperimentConfig
    a: ExperimentConfig | None = None
    baseline: tuple[Results, ...] = ()
    margin: float = 0.05
    rounds: int | None = None
    metrics: tuple[str, ...] = ()
    allow_unpaired: bool = False
    results_dir: Path = Path("results")

    def __post_init__(self) -> None:
        instance(self, "b", of=(ExperimentConfig,))
        instance(self, "a", of=(ExperimentConfig, type(None)))
        instance(self, "results_dir", of=(Path,))
        finite(self, "margin", most=1.0)
        whole(self, "rounds", most=MAX_ROUNDS)
        for name in self.metrics:
            if name not in METRICS:
                raise FieldError("CompareConfig.metrics", name, "is unknown", f"use {', '.join(METRICS)}")
        if (self.a is None) == (not self.baseline):
            raise ConfigError("{CompareConfig.a} or {CompareConfig.baseline}: exactly one is needed; give one")
        if self.a is not None:
            self._check_alike(self.a)
        if self.b.seed + MAX_ROUNDS > MAX_SEED:
            problem = f"leaves no seeds for {MAX_ROUNDS} rounds"
            raise FieldError("ExperimentConfig.seed", self.b.seed, problem, f"use at most {MAX_SEED - MAX_ROUNDS}")
        if self.allow_unpaired and len(self.baseline) < LEAST_BASELINE:
            found = plural(len(self.baseline), "valid run")
            raise ConfigError(
                f"{{CompareConfig.baseline}}: has {found}, and a spread needs {LEAST_BASELINE}; "
                "name a directory with more, or leave {CompareConfig.allow_unpaired} out"
            )
        if self.allow_unpaired and self.other_load is not None:
            raise ConfigError(
                f"{{CompareConfig.baseline}}: measured under another load ({self.other_load}); give B that load, "
                "or leave {CompareConfig.allow_unpaired} out"
            )

    @property
    def other_load(self) -> str | None:
        """The load of a baseline whose load is not that of B; None where none is known to differ."""
        own = _load_text(self.b.load)
        loads = (_load(results) for results in self.baseline)
        return next((load for load in loads if load is not None and load != own), None)

    def _check_alike(self, a: ExperimentConfig) -> None:
        """Refuse sides that have no arrivals in common."""
        if a.seed != self.b.seed:
            raise ConfigError(
                f"{{CompareConfig.b}}: the seeds {a.seed} and {self.b.seed} differ, but both sides need the same "
                "arrivals and inputs; give both the same seed"
            )
        if replace(a.load, max_in_flight=None) != replace(self.b.load, max_in_flight=None):
            raise ConfigError(
                "{CompareConfig.b}: the loads differ, but both sides need the same arrivals; "
                "give both the same rate, arrivals, duration and warmup"
            )

    @property
    def typical(self) -> Results:
        """The run of the baseline with the median throughput, of two the lower."""
        ordered = sorted(self.baseline, key=lambda results: results.summary.throughput_rps)
        return ordered[(len(ordered) - 1) // 2]

    @property
    def gates(self) -> bool:
        """Whether the comparison decides anything."""
        return self.a is not None or self.allow_unpaired

    @property
    def wanted(self) -> tuple[str, ...]:
        """The metrics to compare, as far as runs have them."""
        usual = comparison.OPEN_LOOP if isinstance(self.b.load, OpenLoop) else comparison.SATURATING
        return tuple(dict.fromkeys(self.metrics)) or usual


@dataclass(frozen=True, slots=True)
class ComparePlan:
    """The plan of a comparison on this machine.

    Attributes:
        config: of it.
        sides: plan of each side that is measured.
        metrics: that are compared.
        rounds: how many.
        notes: on metrics that are not gated.
    """

    config: CompareConfig
    sides: Mapping[Side, Plan]
    metrics: tuple[str, ...]
    rounds: int
    notes: tuple[str, ...] = ()

    @property
    def expected_s(self) -> float:
        """About how long it takes."""
        return self.rounds * sum(
            plan.load.expected_s + OVERHEAD_S + START_S * isinstance(plan.config.serve, Deploy)
            for plan in self.sides.values()
        )

    @property
    def scatter(self) -> float:
        """See `largest_scatter`."""
        return comparison.largest_scatter(self.rounds, len(self.metrics), self.config.margin)

    def order(self, number: int) -> tuple[Side, ...]:
        """The sides in the order of a round, A B B A over two of them.

        Args:
            number: of the round, from 0.
        """
        sides = tuple(self.sides)
        return sides[::-1] if number % 2 else sides


@dataclass(frozen=True, slots=True)
class Made:
    """One run of a comparison, a line of its ledger.

    Attributes:
        round: its number, from 0.
        side: ``A`` or ``B``.
        seed: of arrivals and inputs.
        results: the file, below the directory of the comparison; None without one.
        left_out: why the run does not count; None where it does.
    """

    round: int
    side: Side
    seed: int
    results: str | None
    left_out: str | None = None


@dataclass(frozen=True, slots=True)
class Compared:
    """The results of a comparison.

    Attributes:
        plan: of the comparison.
        directory: of its results.
        comparison: what the rounds show; None where nothing was to be shown.
        rounds: the results of both sides of each whole round; of a baseline, its `CompareConfig.typical` run is A.
        left_out: a line for each round that does not count.
        interrupted: it was cancelled.
        elsewhere: results of a run could not be saved in the directory.
    """

    plan: ComparePlan
    directory: Path
    comparison: Comparison | None
    rounds: tuple[tuple[Results, Results], ...]
    left_out: tuple[str, ...] = ()
    interrupted: bool = False
    elsewhere: bool = False


async def prepare_comparison(config: CompareConfig) -> ComparePlan:
    """Work out a comparison without starting anything.

    Raises:
        ConfigError: it contradicts itself, or no metric can be compared.
        PlacementError: the machine does not have what a side asks for.
        DescribeError: there is no such model.
        TargetError: an external server cannot be reached.
    """
    sides: dict[Side, Plan] = {}
    both: tuple[tuple[Side, ExperimentConfig | None], ...] = (("A", config.a), ("B", config.b))
    for side, each in both:
        if each is not None:
            with _named(side):
                sides[side] = await prepare(each)
    wanted, load = config.wanted, config.b.load
    notes: tuple[str, ...] = ()
    metrics = wanted
    if isinstance(load, OpenLoop):
        requests = load.arrivals.mean_rps * load.arrivals.duration_s
        metrics = comparison.gated(wanted, requests)
        notes = tuple(comparison.floor_text(name, requests) for name in wanted if name not in metrics)
    if not metrics or (notes and config.metrics):
        raise FieldError("CompareConfig.metrics", ",".join(wanted), "{value}: " + "; ".join(notes), "measure longer")
    least = comparison.least_rounds(len(metrics)) if config.gates else 1
    rounds = config.rounds or least + least % 2 * config.gates  # in an even number, each side is first as often
    if rounds < least:
        problem = f"cannot show anything of {plural(len(metrics), 'metric')}"
        raise FieldError("CompareConfig.rounds", rounds, problem, f"use {least} or more, or fewer metrics")
    return ComparePlan(config, sides, metrics, rounds, notes)


@contextlib.contextmanager
def _named(side: Side) -> Iterator[None]:
    """Add a note to errors that names the side.

    Args:
        side: that is planned or measured.
    """
    try:
        yield
    except (FrontendLaunchError, LoadgenError) as error:
        error.add_note(side)
        raise


async def run_comparison(plan: ComparePlan) -> Compared:
    """Measure all rounds. Cancel its task to end it early; what was measured is kept and returned.

    Args:
        plan: what to measure.

    Raises:
        ConfigError: the results cannot be saved, or a side is on machines in words.
        FrontendLaunchError: a side cannot be started.
        TargetError: an external server does not answer.
    """
    for side in plan.sides.values():
        if isinstance(side.config.serve, Deploy):
            side.config.serve.check_not_described()
    async with live_view(plan.sides["B"], "compare", several=True) as view:
        return await _Rounds(plan, view).run()


class _Rounds:
    """The rounds of a comparison."""

    def __init__(self, plan: ComparePlan, view: View) -> None:
        self._plan, self._view, results_dir = plan, view, plan.config.results_dir
        files.make_directory(results_dir)
        try:
            self._directory = files.new_directory(results_dir, time.strftime("compare-%y%m%d_%H%M%S"))
        except OSError as error:
            text = f"{results_dir}: a comparison cannot be kept there ({error.strerror}); choose another"
            raise ConfigError(text) from None
        self._whole: list[tuple[Results, Results]] = []
        self._left_out: list[str] = []
        self._elsewhere = False

    async def run(self) -> Compared:
        plan = self._plan
        header = {
            "schema_version": SCHEMA_VERSION,
            "command": command(),
            "started_at": now(),
            "rounds": plan.rounds,
            "metrics": plan.metrics,
            "margin": plan.config.margin,
            "baseline": [str(results.path) for results in plan.config.baseline],
            "allow_unpaired": plan.config.allow_unpaired,
        }
        self._write(HEADER, json.dumps(header, indent=4) + "\n")
        self._write(LEDGER, "")
        log.info("%s to measure, kept in %s", plural(plan.rounds, "round"), self._directory)
        interrupted = False
        try:
            for number in range(plan.rounds):
                await self._round(number)
                if number + 1 == len(self._left_out) == HOPELESS_ROUNDS < plan.rounds:
                    self._give_up(number + 2)
                    break
        except (asyncio.CancelledError, ExperimentInterrupted):
            interrupted = True
        found = self._compared()
        if found is not None:
            self._write(FOUND, json.dumps({"outcome": found.outcome, **asdict(found)}, indent=4) + "\n")
        whole, left_out = tuple(self._whole), tuple(self._left_out)
        return Compared(plan, self._directory, found, whole, left_out, interrupted, self._elsewhere)

    def _give_up(self, number: int) -> None:
        """Say that the rounds from this one on are not measured."""
        last = self._plan.rounds
        which = f"round {last} is" if number == last else f"rounds {number} to {last} are"
        why = "each round before was left out; remove its cause and compare again"
        self._left_out.append(f"{which} not measured: {why}")
        log.warning("%s", self._left_out[-1])

    async def _round(self, number: int) -> None:
        """Measure the sides of a round; the second is skipped when the first does not count."""
        measured: dict[Side, Results] = {}
        for side in self._plan.order(number):
            results = await self._counted(number, side)
            if results is None:
                return
            measured[side] = results
        self._whole.append((measured.get("A") or self._plan.config.typical, measured["B"]))

    async def _counted(self, number: int, side: Side) -> Results | None:
        """The results of a run that counts, after one repeat if needed; None where neither counts."""
        seed = self._plan.config.b.seed + number
        reason, name = "", f"round {number + 1} of {self._plan.rounds}, {side}"
        log.info("%s", name)
        self._view.progress("rounds", number, self._plan.rounds, side, None)
        for attempt in range(2):
            try:
                results = await self._run(side, seed)
            except UnavailableError:
                raise
            except ExperimentInterrupted as error:
                self._keep(Made(number, side, seed, place(error.results.path, self._directory), "interrupted"))
                raise
            except (FrontendLaunchError, TargetError) as error:
                if not self._whole:
                    raise  # every other round would fail for the same reason
                reason, path = str(error), None
            else:
                reason, path = _unusable(results, self._plan.sides[side].config.allow_invalid) or "", results.path
                if not reason:
                    self._keep(Made(number, side, seed, place(path, self._directory)))
                    log.info("%s: %s requests/s", name, in_figures(results.summary.throughput_rps))
                    return results
            self._keep(Made(number, side, seed, place(path, self._directory), reason))
            if not attempt:
                log.warning("%s: measured again: %s", name, reason)
        self._left_out.append(f"round {number + 1} is left out: {side}: {reason}")
        log.warning("%s", self._left_out[-1])
        return None

    async def _run(self, side: Side, seed: int) -> Results:
        plan = self._plan.sides[side].with_seed(seed)
        output = replace(plan.config.output, results_dir=self._directory / side.lower())
        with _named(side):
            results = await run_plan(plan.with_output(output), self._view)
        self._elsewhere |= results.path is None or not results.path.is_relative_to(self._directory)
        return results

    def _compared(self) -> Comparison | None:
        config, metrics = self._plan.config, self._plan.metrics
        if not config.gates:
            return None
        if config.a is None:
            before, after = ([results.summary for results in side] for side in (config.baseline, self._seconds))
            return comparison.unpaired(before, after, metrics, config.margin)
        pairs = [(first.summary, second.summary) for first, second in self._whole]
        return comparison.paired(pairs, metrics, config.margin)

    @property
    def _seconds(self) -> list[Results]:
        return [second for _, second in self._whole]

    def _keep(self, made: Made) -> None:
        self._write(LEDGER, json.dumps(asdict(made)) + "\n")

    def _write(self, name: str, text: str) -> None:
        """Append to a file; the text is on disk when this returns."""
        try:
            with (self._directory / name).open("a") as file:
                file.write(text)
                file.flush()
                os.fsync(file.fileno())
        except OSError as error:
            remedy = "free some space and compare again"
            raise NotSavedError(f"{self._directory / name}: cannot be written ({error.strerror}); {remedy}") from None


def _load_text(load: Load) -> str:
    return f"open loop: {load.arrivals.text}" if isinstance(load, OpenLoop) else "saturating"


def _load(results: Results) -> str | None:
    """The load of a run, as `_load_text` has it; None where its file does not tell."""
    if results.summary.offered_rps is None:
        return "saturating"
    return None if results.arrivals is None else f"open loop: {results.arrivals.text}"


def _unusable(results: Results, allow_invalid: bool) -> str | None:
    """Why a run does not count; None where it does.

    Args:
        results: of the run.
        allow_invalid: an invalid run counts.
    """
    if results.error is not None:
        return results.error
    if results.answers is not None and results.answers.mismatched:
        return plural(results.answers.mismatched, "wrong answer")
    if results.invalid is not None and not allow_invalid:
        return results.invalid.reason
    return None if results.summary.throughput_rps else "nothing completed in the measured part"
