"""Runs a sweep: measures every combination of settings and keeps each result at once.

Replicas stay up while only the batch size changes. The failure of a cell is recorded, and the sweep goes on, unless no
cell can be started, as with a port in use or an external server that is down. An invalid run is repeated once, and
marked if the repeat is invalid too.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import logging
import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from typing_extensions import override

from frontend_launch.affinity import pinned
from frontend_launch.errors import FrontendLaunchError, PlacementError, UnavailableError
from frontend_launch.quantities import duration, number, plural
from frontend_launch.tasks import to_completion
from loadgen.checks import finite, instance, whole
from loadgen.config import MAX_IN_FLIGHT, ExperimentConfig, OpenLoop, scheduled
from loadgen.errors import (
    ConfigError,
    FieldError,
    Interrupted,
    TargetError,
    UnreachableError,
    Worded,
    without_secret_members,
    without_secrets,
)
from loadgen.experiments import ledger as ledgers
from loadgen.experiments.experiment import awaited, live_view, log_plan, measure, reference_answers
from loadgen.experiments.grid import NOWHERE, GridCell, Measurement, Size, by_size, cells, schedule, with_loads
from loadgen.experiments.ledger import Entry, Ledger
from loadgen.feed.view import View
from loadgen.load import requests_log
from loadgen.load.answers import AnswerCheck
from loadgen.load.arrivals import Renewal
from loadgen.load.ending import Ending
from loadgen.plan import Plan, PlanContext, default_cpus_per_replica, plan_on, survey
from loadgen.prerequisites import connected
from loadgen.results.cells import Drift, Measured, drift
from loadgen.results.document import Results
from loadgen.results.environment import command
from loadgen.served import MAX_BATCH, Deploy
from loadgen.servers.server import Server
from loadgen.servers.serving import serving

log = logging.getLogger(__name__)

MAX_MEASUREMENTS = 20_000
"""Most measurements of one sweep: the shortest take hours."""

OVERHEAD_S = 1.0
START_S = 5.0
"""Time of a measurement beyond its own, and to bring up a deployment; guesses until runs show it."""


@dataclass(frozen=True, slots=True)
class SweepConfig:
    """The configuration of a sweep.

    Attributes:
        base: all settings but those that the grid varies.
        replicas: to combine; empty for the one that a single run would have.
        cpus_per_replica: to combine; empty for the one that a single run would have.
        batch_sizes: to combine; empty for the one that a single run would have.
        in_flight: loads to combine with them, each a number of requests in flight.
        rates_rps: more of them, each a rate; with neither there is one load, that of a single run.
        cv: coefficient of variation of the time between requests, where there are rates.
        repeat: how often each cell is measured.
        anchor_every: cells after which the first is measured again; None for once, at the end.
    """

    base: ExperimentConfig
    replicas: tuple[int, ...] = ()
    cpus_per_replica: tuple[int, ...] = ()
    batch_sizes: tuple[int, ...] = ()
    in_flight: tuple[int, ...] = ()
    rates_rps: tuple[float, ...] = ()
    cv: float = 0.0
    repeat: int = 1
    anchor_every: int | None = None

    def __post_init__(self) -> None:
        instance(self, "base", of=(ExperimentConfig,))
        whole(self, "repeat", "anchor_every")
        whole(self, "replicas", "cpus_per_replica", each=True)
        whole(self, "in_flight", most=MAX_IN_FLIGHT, each=True)
        whole(self, "batch_sizes", most=MAX_BATCH, each=True)
        finite(self, "rates_rps", each=True)
        finite(self, "cv", zero=True)
        axes = (self.replicas, self.cpus_per_replica, self.batch_sizes, (*self.in_flight, *self.rates_rps))
        cells = math.prod(max(1, len(set(axis))) for axis in axes)
        if cells * self.repeat > MAX_MEASUREMENTS:
            problem = f"{{value}} and {plural(cells, 'cell')} are more than {MAX_MEASUREMENTS:,} measurements"
            raise FieldError("SweepConfig.repeat", self.repeat, problem, "measure fewer")
        for rate_rps in dict.fromkeys(self.rates_rps):
            self.load_at(rate_rps)

    def load_at(self, rate_rps: float) -> OpenLoop:
        """The load of cells of a rate, in requests a second."""
        arrivals = Renewal(rate_rps, self.base.load.expected_s, self.cv, self.base.seed)
        return scheduled(self.base.load, arrivals)

    @property
    def batches(self) -> tuple[int, ...]:
        """The batch sizes to combine, one at least."""
        return self.batch_sizes or (self.base.serve.batch_size,)

    @property
    def settings(self) -> dict[str, Any]:
        """The settings, as JSON, that make two sweeps the same."""
        settings: dict[str, Any] = json.loads(json.dumps(asdict(self), default=str))
        # These settings do not change what is measured: the place of the results, the treatment of invalid runs, live
        # views, tags, and the time to wait for a server.
        del settings["base"]["output"]["results_dir"], settings["base"]["allow_invalid"]
        del settings["base"]["live"], settings["base"]["tags"]
        target = settings["base"]["serve"].get("target")
        if target is not None:  # headers may be secrets, and so may what stands in a URL or a body
            del target["wait_ready_s"]
            target["access"]["headers"] = _digest(json.dumps(target["access"]["headers"]))
            for holder, name in ((target["address"], "path"), (target, "metrics_url")):
                if (url := holder[name]) and without_secrets(url) != url:
                    holder[name] = _digest(url)
            if (body := target["body"]) is not None and without_secret_members(body) != body:
                target["body"] = _digest(body)
        return settings


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


class CellsError(Worded, PlacementError):
    """Combinations that cannot be placed, with their names.

    Args:
        refused: the reason for each.
        cells: how many there are, with those that can be placed.
        remedy: the message says how to measure the others.
    """

    several_lines = True

    def __init__(self, refused: Mapping[GridCell, Exception], cells: int, *, remedy: bool = True) -> None:
        self.refused, self.cells, self.remedy = refused, cells, remedy
        super().__init__(refused, cells)

    @override
    def worded(self, name: Callable[[str], str]) -> str:
        """The message: sizes of deployments, by the reasons for which they cannot be placed."""
        # The batch size has no part in it, so sizes of deployments say it all.
        reasons: dict[str, dict[str, None]] = {}
        for cell, error in self.refused.items():
            reason = error.worded(name) if isinstance(error, Worded) else str(error)
            reasons.setdefault(reason, {})[cell.name if cell.size == NOWHERE else cell.size.name] = None
        lines = [f"  {', '.join(names)}: {reason}" for reason, names in reasons.items()]
        if self.remedy and len(self.refused) < self.cells:
            lines.append(f"measure the others with {name('prepare_sweep.skip_impossible')}")
        return "\n".join([f"{len(self.refused)} of {self.cells} combinations cannot be placed:", *lines])


@dataclass(frozen=True, slots=True)
class SweepPlan:
    """The plan of a sweep on a machine.

    Attributes:
        config: the configuration.
        plans: of each cell.
        order: what is measured, in this order.
        skipped: what cannot be placed, and why.
    """

    config: SweepConfig
    plans: Mapping[GridCell, Plan]
    order: tuple[Measurement, ...]
    skipped: Mapping[GridCell, Exception] = field(default_factory=dict)

    @property
    def refusal(self) -> CellsError | None:
        """The combinations that are left out, with the reasons; None without any."""
        return CellsError(self.skipped, len(self.skipped) + len(self.plans), remedy=False) if self.skipped else None

    @property
    def expected_s(self) -> float:
        """About how long it takes."""
        measured_s = sum(self.plans[measurement.cell].load.expected_s + OVERHEAD_S for measurement in self.order)
        return measured_s + START_S * sum(1 for _ in by_size(self.order))


@dataclass(frozen=True, slots=True)
class Sweep:
    """The results of a sweep.

    Attributes:
        directory: of its results.
        entries: finished measurements, of this start and of earlier ones.
    """

    directory: Path
    entries: tuple[Entry, ...]

    @property
    def drift(self) -> Drift | None:
        """The drift of the first cell, see `loadgen.results.cells.drift`."""
        cell = next((entry.cell for entry in self.entries if entry.kind == "anchor"), None)
        return drift(
            Measured(entry.kind == "anchor", entry.throughput_rps or 0.0, entry.p99_ms, entry.error or entry.invalid)
            for entry in self.entries
            if entry.cell == cell
        )


async def prepare_sweep(config: SweepConfig, *, skip_impossible: bool = False) -> SweepPlan:
    """Work out a sweep without starting anything.

    Args:
        config: of the sweep.
        skip_impossible: leave out the combinations that cannot be placed, unless none can.

    Raises:
        ConfigError: it contradicts itself or the model.
        PlacementError: there are combinations that cannot be placed; it names all of them.
        DescribeError: there is no such model.
    """
    context = await survey(_with_batches(config.base, min(config.batches)))
    grid = with_loads(_grid(config, context), config.in_flight, config.rates_rps)
    plans, refused = _plans(config, context, grid)
    if not plans and len(set(map(str, refused.values()))) == 1:
        raise next(iter(refused.values()))  # no matter which combination
    if refused and not (plans and skip_impossible):
        raise CellsError(refused, len(grid))
    order = schedule(tuple(plans), config.repeat, config.base.seed, config.anchor_every)
    return SweepPlan(config, plans, order, refused)


def _grid(config: SweepConfig, context: PlanContext) -> tuple[GridCell, ...]:
    """The cells; an axis that was not given has the one value of a single run."""
    serve = config.base.serve
    if not isinstance(serve, Deploy):
        return cells((NOWHERE.replicas,), (NOWHERE.cpus_per_replica,), config.batches)
    if config.replicas and config.cpus_per_replica:
        return cells(config.replicas, config.cpus_per_replica, config.batches)
    grid: list[GridCell] = []
    for count in config.replicas or (max(1, len(serve.gpus or ())),):
        each = config.cpus_per_replica or (default_cpus_per_replica(config.base, context, count),)
        grid += cells((count,), each, config.batches)
    return tuple(grid)


def _plans(
    config: SweepConfig, context: PlanContext, grid: Sequence[GridCell]
) -> tuple[dict[GridCell, Plan], dict[GridCell, Exception]]:
    """A plan for each cell, or the reason why it cannot be planned."""
    plans: dict[GridCell, Plan] = {}
    refused: dict[GridCell, Exception] = {}
    for cell in grid:
        try:
            plans[cell] = plan_on(_cell_config(config, cell), context)
        except (ConfigError, PlacementError) as error:
            refused[cell] = error
    return plans, refused


def _cell_config(config: SweepConfig, cell: GridCell) -> ExperimentConfig:
    size, base = cell.size, _with_batches(config.base, cell.batch_size)
    serve, load = base.serve, base.load
    if isinstance(serve, Deploy):
        serve = replace(serve, replicas=size.replicas, cpus_per_replica=size.cpus_per_replica)
    if cell.in_flight:
        load = replace(load, max_in_flight=cell.in_flight)
    if cell.rate_rps:
        load = config.load_at(cell.rate_rps)
    return replace(base, serve=serve, load=load)


def _with_batches(config: ExperimentConfig, batch_size: int) -> ExperimentConfig:
    return replace(config, serve=replace(config.serve, batch_size=batch_size))


async def run_sweep(plan: SweepPlan, *, resume: bool = False) -> Sweep:
    """Make the missing measurements, and keep each as soon as it is finished.

    Cancel its task to end it early; the measurement under way is lost, all others are kept.

    Args:
        plan: what to measure.
        resume: go on with the newest sweep of these settings.

    Raises:
        ConfigError: there is nothing to resume, or the results cannot be saved.
        UnavailableError: nothing can be started, whatever the cell.
        TargetError: the external server cannot be reached.
        Interrupted: it was cancelled.
    """
    config = plan.config
    header = {
        "command": command(),
        "started_at": ledgers.now(),
        "model": config.base.serve.model,
        "tags": dict(config.base.tags),
        "cells": len(plan.plans),
        "repeat": config.repeat,
        "settings": config.settings,
    }
    results_dir = config.base.output.results_dir
    opened = ledgers.resume(results_dir, header) if resume else ledgers.begin(results_dir, header)
    first = next(iter(plan.plans.values()))
    async with connected(config.base), live_view(first, "sweep", several=True) as view:
        with opened as ledger:
            done = {entry.measurement for entry in ledger.entries}
            todo = [measurement for measurement in plan.order if measurement not in done]
            log.info("%d of %d measurements to make, kept in %s", len(todo), len(plan.order), ledger.directory)
            try:
                await _SweepRun(plan, ledger, todo, view).run()
            except asyncio.CancelledError:
                kept = f"its measurements are in {ledger.directory}"
                remedy = "start it again with {run_sweep.resume} to go on"
                raise Interrupted(f"interrupted before the sweep was finished; {kept}; {remedy}") from None
            return Sweep(ledger.directory, tuple(ledger.entries))


class _SweepRun:
    """The measurements of a sweep that are still to be made."""

    def __init__(self, plan: SweepPlan, ledger: Ledger, todo: Sequence[Measurement], view: View) -> None:
        self._plan, self._ledger, self._view = plan, ledger, view
        self._todo = list(todo)
        self._check: AnswerCheck | None = None
        self._began_s = time.monotonic()
        self._done = 0

    async def run(self) -> None:
        """One deployment after the other."""
        if not self._todo:
            return
        self._check = await reference_answers(self._plan.plans[self._todo[0].cell])
        for size, group in list(by_size(self._todo)):
            left = group
            while left:
                left = left[await self._with_deployment(size, left) :]

    async def _with_deployment(self, size: Size, group: Sequence[Measurement]) -> int:
        """Measure on one deployment as long as it lasts; returns how many measurements are finished."""
        largest = max((cell for cell in self._plan.plans if cell.size == size), key=lambda cell: cell.batch_size)
        plan = self._cell_plan(largest)
        log_plan(plan)
        self._progress(group[0])
        self._view.waits(awaited(plan))
        external = not isinstance(plan.config.serve, Deploy)
        finished, up = 0, False
        try:
            with pinned(plan.placement.own.cores):
                async with serving(plan) as server:
                    up = True
                    for measurement in group:
                        results = await self._measure(server, measurement)
                        finished += 1
                        if results.ended == Ending.SERVER_LOST:
                            break
                    logs = self._ledger.directory / f"{group[0].cell.name}-{group[0].repeat}.logs"
                    await to_completion(server.keep_logs(logs))
        except (FrontendLaunchError, TargetError) as error:
            unreachable = external and (not up or isinstance(error, UnreachableError))
            if unreachable and finished:
                return finished  # the caller reaches it again first, with its patience
            if unreachable or isinstance(error, UnavailableError):  # every other cell would fail for the same reason
                if kept := len(self._ledger.entries):
                    of = plural(len(self._plan.order), "measurement")
                    error.add_note(f"{kept} of {of} kept in {self._ledger.directory}")
                raise
            # Without a deployment none of them can be measured; once there was one, it is this measurement's fault.
            lost = group[finished : finished + 1] if up else group
            for measurement in lost:
                log.error("%s: %s", measurement.cell.name, error)
                self._keep(measurement, None, str(error))
            finished += len(lost)
        return finished

    async def _measure(self, server: Server, measurement: Measurement) -> Results:
        """Measure, and repeat an invalid measurement once."""
        results = await self._run_of(server, measurement)
        taken = results.error is not None or self._plan.config.base.allow_invalid
        if results.invalid is not None and not taken:
            log.warning("%s: invalid, measured again: %s", measurement.cell.name, results.invalid.reason)
            results = await self._run_of(server, measurement, "-again")
        self._keep(measurement, results, results.error)
        return results

    async def _run_of(self, server: Server, measurement: Measurement, suffix: str = "") -> Results:
        cell = measurement.cell
        self._progress(measurement)
        deployment = server.facts.deployment
        if deployment is not None:
            await deployment.set_batch_size(cell.batch_size)
        plan = self._cell_plan(cell)
        output = plan.config.output
        name = f"{cell.name}-{measurement.repeat}-{measurement.kind}{suffix}"
        rows = requests_log.numbered(output.requests_log, name)
        plan = plan.with_output(replace(output, requests_log=rows))
        results = await measure(plan, server, self._check, view=self._view)
        if results.ended == Ending.INTERRUPTED:
            raise asyncio.CancelledError
        return results

    def _cell_plan(self, cell: GridCell) -> Plan:
        plan = self._plan.plans[cell]
        return plan.with_output(replace(plan.config.output, results_dir=self._ledger.directory))

    def _keep(self, measurement: Measurement, results: Results | None, error: str | None) -> None:
        cell = measurement.cell
        if results is not None and results.path is None:
            error = error or "its results could not be saved"
        entry = Entry(
            cell=cell.name,
            replicas=cell.size.replicas,
            cpus_per_replica=cell.size.cpus_per_replica,
            batch_size=cell.batch_size,
            repeat=measurement.repeat,
            kind=measurement.kind,
            results=None if results is None else ledgers.place(results.path, self._ledger.directory),
            error=error,
            throughput_rps=None if results is None else results.summary.throughput_rps,
            p99_ms=None if results is None else results.summary.latency_ms["p99"],
            saturated=None if results is None else results.verdict.saturated,
            finished_at=ledgers.now(),
            in_flight=cell.in_flight,
            rate_rps=cell.rate_rps,
            crossed=[] if results is None else _thresholds(results, True),
            invalid=None if results is None or results.invalid is None else results.invalid.reason,
            undecided=[] if results is None or results.invalid is not None else _thresholds(results, None),
            p99_uncertain=results is not None and "p99" in results.summary.uncertain,
            rows_not_saved=None if results is None else results.rows_not_saved,
        )
        self._ledger.add(entry)
        self._done += 1
        of = f"{len(self._ledger.entries)} of {len(self._plan.order)}"
        log.info("%s, %s: %s; %s left", of, cell.name, _outcome(entry), duration(self._left_s))

    @property
    def _left_s(self) -> float:
        """Time left, by that of the measurements made, or by the plan before the first."""
        if not self._done:
            return sum(self._plan.plans[each.cell].load.expected_s + OVERHEAD_S for each in self._todo)
        return (len(self._todo) - self._done) * (time.monotonic() - self._began_s) / self._done

    def _progress(self, measurement: Measurement) -> None:
        done, total = len(self._ledger.entries), len(self._plan.order)
        self._view.progress("cells", done, total, measurement.cell.name, self._left_s)


def _thresholds(results: Results, crossed: bool | None) -> list[str]:
    """Conditions that came true, or that are undecided, each with what was found."""
    return [f"{one.condition}: {one.found}" for one in results.thresholds or () if one.crossed is crossed]


def _outcome(entry: Entry) -> str:
    if entry.throughput_rps is None:
        return f"failed, {entry.error}"
    p99 = f"{'~' if entry.p99_uncertain else ''}{number(entry.p99_ms)}"
    invalid = None if entry.invalid is None else f"invalid: {entry.invalid}"
    verdict = entry.error or invalid or f"saturated {entry.saturated}"
    return f"{number(entry.throughput_rps)} requests/s, p99 {p99} ms, {verdict}"
