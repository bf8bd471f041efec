"""Runs the search of the cheapest configuration: brings up what it asks for, measures, and keeps each run at once."""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import time
from collections.abc import AsyncIterator, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from frontend_launch.affinity import pinned
from frontend_launch.errors import FrontendLaunchError, LaunchError, PlacementError, UnavailableError
from frontend_launch.quantities import exact, number, plural
from frontend_launch.tasks import to_completion
from loadgen.checks import finite, instance, whole
from loadgen.config import ExperimentConfig, OpenLoop, Saturate
from loadgen.errors import ConfigError, FieldError, Interrupted, TargetError
from loadgen.experiments import ledger as ledgers
from loadgen.experiments.capacity import INTERVAL_S, Backlog
from loadgen.experiments.experiment import awaited, live_view, log_plan, measure, reference_answers
from loadgen.experiments.grid import GridCell, Size
from loadgen.experiments.ledger import Entry, Ledger
from loadgen.experiments.probes import ProbeRequest, judge
from loadgen.experiments.size_answer import Answer, Ask, Question, Told
from loadgen.experiments.size_document import size_document
from loadgen.experiments.sizing import STARTING_S, Sizer
from loadgen.experiments.trace_peaks import peak_rps
from loadgen.feed.view import View
from loadgen.judging.slo import Condition, check_direction, check_rate
from loadgen.load import requests_log
from loadgen.load.answers import AnswerCheck
from loadgen.load.arrivals import Renewal, Trace
from loadgen.load.ending import Ending
from loadgen.plan import Plan, PlanContext, plan_on, survey
from loadgen.prerequisites import connected
from loadgen.results.document import Results, strict
from loadgen.results.environment import command
from loadgen.results.files import read
from loadgen.served import MAX_BATCH, Deploy
from loadgen.servers.server import Server
from loadgen.servers.serving import serving

log = logging.getLogger(__name__)

BATCH_SIZES = (1, 2, 4, 8, 16, 32)
"""Choices by default."""

MOST_REFUSED = 3
"""The search ends once this number of sizes could not be started, for one reason, and no other size could."""

KIND = "size"
SIZE = "size.json"
"""In the directory of a search: its answer."""

WARMUP_S = 1.0


@dataclass(frozen=True, slots=True)
class SizeConfig:
    """The configuration of a search for the cheapest size.

    Attributes:
        base: all settings but those that the search varies.
        conditions: that have to hold.
        rate_rps: requests a second to carry; None for the peak of the trace.
        trace: whose peak is to be carried.
        within_s: time for the search.
        replicas: to choose from; empty for all that the machine has room for.
        cpus_per_replica: to choose from; empty for 1, 2, 4 and so on.
        batch_sizes: to choose from.
        core_cost: of a core for an hour; 0 where no cost is known.
        gpu_cost: likewise of a GPU.
    """

    base: ExperimentConfig
    conditions: tuple[Condition, ...]
    rate_rps: float | None = None
    trace: Trace | None = None
    within_s: float = 600.0
    replicas: tuple[int, ...] = ()
    cpus_per_replica: tuple[int, ...] = ()
    batch_sizes: tuple[int, ...] = ()
    core_cost: float = 0.0
    gpu_cost: float = 0.0

    def __post_init__(self) -> None:
        instance(self, "base", of=(ExperimentConfig,))
        instance(self, "conditions", of=(Condition,), each=True)
        instance(self, "trace", of=(Trace,))
        if not self.conditions:
            raise FieldError("SizeConfig.conditions", "()", "is empty", "name one at least")
        check_direction("SizeConfig.conditions", self.conditions, objective=True)
        if not isinstance(self.base.serve, Deploy):
            raise ConfigError("a server that runs already has its size; use find_capacity")
        whole(self, "replicas", "cpus_per_replica", each=True)
        whole(self, "batch_sizes", most=MAX_BATCH, each=True)
        finite(self, "rate_rps")
        finite(self, "within_s")
        finite(self, "core_cost", "gpu_cost", zero=True)
        if (self.rate_rps is None) == (self.trace is None):
            raise ConfigError("{SizeConfig.rate_rps} or {SizeConfig.trace}: exactly one is needed; give one")
        check_rate("SizeConfig.conditions", self.conditions, self.wanted_rps)

    @property
    def wanted_rps(self) -> float:
        """Requests a second to carry."""
        if self.rate_rps is not None:
            return self.rate_rps
        assert self.trace is not None
        return peak_rps(self.trace)

    @property
    def settings(self) -> dict[str, Any]:
        """The settings, as JSON, that two searches must share to use the same runs; neither the rate nor the time."""
        settings: dict[str, Any] = json.loads(json.dumps(asdict(self.base), default=str))
        del settings["output"]["results_dir"], settings["load"], settings["allow_invalid"]
        del settings["live"], settings["tags"]
        settings["max_in_flight"] = self.base.load.max_in_flight
        return {"base": settings, "slo": [str(condition) for condition in self.conditions]}


@dataclass(frozen=True, slots=True)
class SizePlan:
    """The plan of a search on a machine.

    Attributes:
        config: of the search.
        question: that it answers.
        context: the model and the machine.
        gpus: those that replicas may have, in this order.
        notes: of the plans of all sizes.
    """

    config: SizeConfig
    question: Question
    context: PlanContext
    gpus: tuple[int, ...]
    notes: tuple[str, ...] = ()

    def plan(self, cell: GridCell) -> Plan:
        """The plan of a cell, without a load."""
        return plan_on(_cell_config(self.config.base, cell, self.gpus), self.context)


@dataclass(frozen=True, slots=True)
class Sized:
    """The results of a search.

    Attributes:
        answer: what was found.
        plan: of the search.
        directory: of its results.
        seconds: how long it took.
        shares: the replicas of the answer share cores with client or frontends.
        taken: invalid runs that were taken as they are.
        not_saved: for each run whose results or rows could not be saved as asked: the reason, and where they are; for
            the answer likewise.
    """

    answer: Answer
    plan: SizePlan
    directory: Path
    seconds: float
    shares: bool = False
    taken: int = 0
    not_saved: tuple[str, ...] = ()

    @property
    def json(self) -> str:
        """The answer for machines."""
        base, trace = self.plan.config.base, self.plan.config.trace
        document = size_document(self.answer, base.serve.model, trace, self.seconds, self.directory)
        return json.dumps(strict(document), indent=2, allow_nan=False) + "\n"


def _cell_config(base: ExperimentConfig, cell: GridCell, gpus: tuple[int, ...]) -> ExperimentConfig:
    size = cell.size
    assert isinstance(base.serve, Deploy)
    cores = None if size.gpus else size.cpus_per_replica
    own = gpus if size.gpus and base.serve.on_cluster else gpus[: size.gpus]  # there of each node
    serve = replace(base.serve, replicas=size.replicas, cpus_per_replica=cores, gpus=own, batch_size=cell.batch_size)
    return replace(base, serve=serve)


async def prepare_size(config: SizeConfig) -> SizePlan:
    """Work out a search without starting anything.

    Raises:
        ConfigError: it contradicts itself or the model, or has too little time.
        PlacementError: the machine has no room for any size.
        DescribeError: there is no such model.
    """
    base = replace(config.base, serve=replace(config.base.serve, batch_size=1))
    context = await survey(base)
    rate_rps = config.wanted_rps
    most = context.model.max_batch
    batch_sizes = config.batch_sizes or tuple(size for size in BATCH_SIZES if most is None or size <= most)
    gpus = _gpus(base, context)
    sizes, notes = _sizes(config, context, base, gpus)
    if config.core_cost and not config.gpu_cost and any(size.gpus for size in sizes):
        remedy = "name what one costs an hour, or leave them out with {Deploy.gpus} none"
        raise FieldError("SizeConfig.gpu_cost", "0", "makes GPUs free beside cores that cost", remedy)
    question = Question(
        rate_rps,
        sizes,
        tuple(sorted(set(batch_sizes))),
        config.conditions,
        config.within_s,
        config.core_cost,
        config.gpu_cost,
    )
    least_s = question.run_s + question.least_s(rate_rps) + STARTING_S
    if least_s > config.within_s:
        objective = ",".join(map(str, config.conditions))
        wanted = f"{number(question.least_s(rate_rps))} s of {number(rate_rps)} requests/s tell {objective}"
        problem = f"is too short: {wanted}, and a run before that takes {question.run_s:.0f} s"
        raise FieldError(
            "SizeConfig.within_s", f"{exact(config.within_s)}s", problem, f"use {2 * least_s:.0f}s or more"
        )
    return SizePlan(config, question, context, gpus, notes)


def _gpus(base: ExperimentConfig, context: PlanContext) -> tuple[int, ...]:
    """GPUs that replicas may have: the named ones, else those of the model's default that its machines have."""
    assert isinstance(base.serve, Deploy)
    if base.serve.gpus is not None:
        return base.serve.gpus
    return tuple(gpu for gpu in context.model.gpus if any(gpu in machine.gpus for machine in context.machines))


def _sizes(
    config: SizeConfig, context: PlanContext, base: ExperimentConfig, gpus: tuple[int, ...]
) -> tuple[tuple[Size, ...], tuple[str, ...]]:
    """The sizes that the machine has room for, and notes of their plans."""
    cores = max(len(machine.cores) for machine in context.machines)
    each = config.cpus_per_replica or tuple(1 << power for power in range(cores.bit_length()) if 1 << power <= cores)
    assert isinstance(base.serve, Deploy)
    kinds = [] if base.serve.gpus else [(count, False) for count in dict.fromkeys(each)]
    sizes: list[Size] = []
    notes: dict[str, None] = {}
    refused: Exception | None = None
    for cpus, gpu in (*kinds, *([(0, True)] if gpus else [])):
        room = sum(len(machine.cores) // cpus for machine in context.machines) if cpus else 0
        on_gpus = len(gpus) if context.cluster is None else context.cluster.count_gpus(gpus)
        most = on_gpus if gpu else max(1, room)
        for count in dict.fromkeys(config.replicas) or range(1, most + 1):
            if gpu and count > on_gpus:
                problem = f"{count} replicas need {count} GPUs, and replicas may use {on_gpus}"
                refused = refused or PlacementError(f"{problem}; use fewer replicas")
                continue
            size = Size(count, cpus, count if gpu else 0)
            try:
                plan = plan_on(_cell_config(base, GridCell(size, 1), gpus), context)
            except (ConfigError, PlacementError) as error:
                refused = refused or error  # of the fewest cores
                continue
            notes |= dict.fromkeys(plan.notes)
            sizes.append(_with_cores(size, plan) if gpu else size)
    if not sizes:
        assert refused is not None
        raise refused
    fit, wide = {size.replicas for size in sizes}, {size.cpus_per_replica for size in sizes}
    without = [plural(count, "replica") for count in dict.fromkeys(config.replicas) if count not in fit]
    without += [f"{plural(count, 'core')} for each replica" for count, _ in kinds if count not in wide]
    if without:
        notes[f"left out, for want of room on {context.where}: {', '.join(without)}"] = None
    return tuple(sizes), tuple(notes)


def _with_cores(size: Size, plan: Plan) -> Size:
    """A size with the cores that each of its replicas has by its plan."""
    return size._replace(cpus_per_replica=max(len(row.cores) for row in plan.placement.replicas))


async def find_size(plan: SizePlan, *, resume: bool = False) -> Sized:
    """Search, and keep each run as soon as it is finished.

    Cancel its task to end it early; the run under way is lost, all others are kept.

    Args:
        plan: of the search.
        resume: go on with the newest search of the same model and objective; its runs are not made again.

    Raises:
        ConfigError: the results cannot be saved.
        FrontendLaunchError: no size can be started.
        TargetError: no size answers.
        Interrupted: it was cancelled.
    """
    config = plan.config
    assert isinstance(config.base.serve, Deploy)
    header = {
        "command": command(),
        "started_at": ledgers.now(),
        "model": config.base.serve.model,
        "tags": dict(config.base.tags),
        "cells": len(plan.question.sizes) * len(plan.question.batch_sizes),
        "rate_rps": plan.question.rate_rps,
        "settings": config.settings,
    }
    question = plan.question
    first = plan.plan(GridCell(question.sizes[0], question.batch_sizes[0]))
    async with connected(config.base), live_view(first, "size", several=True) as view:
        return await _find_size(plan, header, resume, view)


async def _find_size(plan: SizePlan, header: dict[str, Any], resume: bool, view: View) -> Sized:
    results_dir = plan.config.base.output.results_dir
    opened = (ledgers.resume if resume else ledgers.begin)(results_dir, header, KIND)
    with opened as ledger:
        log.info("kept in %s", ledger.directory)
        search = _Search(plan, ledger, view)
        try:
            answer = await search.answer()
        except asyncio.CancelledError:
            kept = f"its runs are in {ledger.directory}"
            remedy = "start it again with {run_sweep.resume} to go on"
            raise Interrupted(f"interrupted before there was an answer; {kept}; {remedy}") from None
        shares = False
        if answer.best is not None:
            shares = any(row.shared for row in plan.plan(answer.best).placement.replicas)
        found = Sized(answer, plan, ledger.directory, search.seconds, shares, search.taken, tuple(ledger.not_saved))
    return replace(found, not_saved=(*found.not_saved, *_keep(found)))


def _keep(found: Sized) -> list[str]:
    """Write the answer beside its runs, for `loadgen report`; why that is impossible, if it is."""
    path = found.directory / SIZE
    draft = path.with_suffix(".new")
    try:
        draft.write_text(found.json, encoding="utf-8")
        draft.replace(path)
    except OSError as error:
        return [f"{path}: cannot be written ({error.strerror})"]
    return []


class _Search:
    """A search on this machine or a cluster.

    Attributes:
        taken: as in `Sized`.
    """

    def __init__(self, plan: SizePlan, ledger: Ledger, view: View) -> None:
        self._plan, self._ledger, self._view = plan, ledger, view
        self._known: Mapping[tuple[GridCell, int], Entry] = {
            (entry.measurement.cell, entry.repeat): entry for entry in ledger.entries
        }
        self._check: AnswerCheck | None = None
        self._began_s = time.monotonic()
        self._size: Size | None = None
        self._stack = contextlib.AsyncExitStack()
        self._server: Server | None = None
        self._number = len(ledger.entries)
        self._refused: dict[Size, FrontendLaunchError | TargetError] = {}
        self._came_up = False
        self.taken = 0

    @property
    def seconds(self) -> float:
        """Since it began."""
        return time.monotonic() - self._began_s

    async def answer(self) -> Answer:
        """Do what the search asks for until it has its answer."""
        base = self._plan.question
        self._check = await reference_answers(self._plan.plan(GridCell(base.sizes[0], base.batch_sizes[0])))
        steps = Sizer(base).steps()
        ask = next(steps)
        try:
            while True:
                told = await self._told(ask)
                log.info("%s", run_text(ask, told))
                self._came_up |= told.measured
                self._refuse_broken(MOST_REFUSED)
                try:
                    ask = steps.send(told)
                except StopIteration as end:
                    self._refuse_broken(1)
                    answer: Answer = end.value
                    return answer
        finally:
            await to_completion(self._take_down())

    async def _told(self, ask: Ask) -> Told:
        entry = self._known.get((ask.cell, ask.repeat))
        if entry is not None and (told := self._kept(entry)) is not None:
            return told
        left_s = self._plan.question.within_s - self.seconds
        self._view.progress("runs", len(self._ledger.entries), None, ask.cell.name, left_s, at_most=True)
        if ask.wait_s:
            log.info("the run is made again in %g s", ask.wait_s)
            await asyncio.sleep(ask.wait_s)
        try:
            await self._bring_up(ask.cell)
            assert self._server is not None
            return await self._measured(ask, self._server)
        except UnavailableError:
            raise  # every other size would fail for the same reason
        except (FrontendLaunchError, TargetError) as error:
            told = Told(self.seconds, failed=_reason(error))
            log.error("%s: %s", ask.cell.name, told.failed)
            self._refused[ask.cell.size] = error
            self._keep(ask, None, told)
            await self._take_down()
            return replace(told, elapsed_s=self.seconds)

    def _refuse_broken(self, sizes: int) -> None:
        """Raise the reason why nothing can be started.

        Args:
            sizes: the least number that failed, while none could be started; several must have one reason.
        """
        reasons = {_last_line(error) or str(error) for error in self._refused.values()}
        if self._came_up or len(self._refused) < sizes or (sizes > 1 and len(reasons) > 1):
            return
        (first, error), *rest = self._refused.items()
        others = f" and {plural(len(rest), 'more size')}" if rest else ""
        error.add_note(f"{first.name}{others} could not be started")
        raise error

    def _kept(self, entry: Entry) -> Told | None:
        """What the ledger has of a run; None where its file cannot be read."""
        if entry.results is None:
            return None
        try:
            results = read(self._ledger.directory / entry.results)
        except ConfigError:
            return None
        told = self._told_of(results, entry.error, entry.results)
        told = replace(told, measured_s=results.summary.measured.duration_s)
        if not entry.rate_rps:
            return told
        return replace(told, outcome=entry.outcome or None, text=entry.found, invalid=entry.invalid)  # type: ignore[arg-type]

    async def _bring_up(self, cell: GridCell) -> None:
        """Have a deployment of the cell's size, with its batch size."""
        if self._server is None or self._size != cell.size:
            await self._take_down()
            largest = max(self._plan.question.batch_sizes)
            plan = self._cell_plan(GridCell(cell.size, largest))
            log_plan(plan)
            self._size = cell.size
            self._view.waits(awaited(plan))
            self._stack.enter_context(pinned(plan.placement.own.cores))
            self._server = await self._stack.enter_async_context(self._served(plan, cell))
        deployment = self._server.facts.deployment
        if deployment is not None:
            await deployment.set_batch_size(cell.batch_size)

    @contextlib.asynccontextmanager
    async def _served(self, plan: Plan, cell: GridCell) -> AsyncIterator[Server]:
        async with serving(plan) as server:
            try:
                yield server
            finally:
                logs = self._ledger.directory / f"{cell.name}-{len(self._ledger.entries)}.logs"
                await to_completion(server.keep_logs(logs))

    async def _take_down(self) -> None:
        self._server, self._size = None, None
        stack, self._stack = self._stack, contextlib.AsyncExitStack()
        await stack.aclose()

    def _cell_plan(self, cell: GridCell) -> Plan:
        plan = self._plan.plan(replace(cell, rate_rps=0.0))
        output = plan.config.output
        return plan.with_output(replace(output, results_dir=self._ledger.directory, log_every_s=INTERVAL_S))

    async def _measured(self, ask: Ask, server: Server) -> Told:
        base, conditions = self._plan.config.base, self._plan.config.conditions
        plan = self._cell_plan(ask.cell)
        output = plan.config.output
        rows = requests_log.numbered(output.requests_log, f"{ask.cell.name}-{ask.repeat}")
        plan = plan.with_output(replace(output, requests_log=rows))
        rate_rps, in_flight = ask.cell.rate_rps, base.load.max_in_flight
        if not rate_rps:
            load: Saturate | OpenLoop = Saturate(ask.duration_s, max_in_flight=in_flight, warmup_s=WARMUP_S)
            results = await measure(plan.with_load(load), server, self._check, None, conditions, self._view)
            self._refuse_interrupted(results)
            told = self._told_of(results, results.error, "" if results.path is None else results.path.name)
        else:
            self._number += 1
            request = ProbeRequest("confirm", rate_rps, ask.duration_s)
            load = OpenLoop(Renewal(rate_rps, ask.duration_s, 1.0, base.seed + self._number), in_flight, WARMUP_S)
            backlog = Backlog(request, conditions, drains=False)
            results = await measure(plan.with_load(load), server, self._check, backlog, conditions, self._view)
            self._refuse_interrupted(results)
            probe = judge(request, results, conditions, backlog.in_flight, base.allow_invalid)
            told = self._told_of(results, None, probe.results)
            outcome = "undecided" if probe.outcome == "invalid" else probe.outcome
            invalid = probe.text if probe.outcome == "invalid" else None
            told = replace(told, outcome=outcome, text=probe.text, invalid=invalid)
            if probe.outcome == "lost":
                told = replace(told, failed=probe.text)
        self._keep(ask, results, told)
        if results.ended == Ending.SERVER_LOST:
            await self._take_down()
        return told

    def _refuse_interrupted(self, results: Results) -> None:
        if results.ended == Ending.INTERRUPTED:
            raise asyncio.CancelledError

    def _told_of(self, results: Results, error: str | None, name: str) -> Told:
        summary, invalid = results.summary, results.invalid
        if invalid is not None and results.error is None and self._plan.config.base.allow_invalid:
            self.taken += 1
            invalid = None
        reason = (
            None if invalid is None else f"{invalid.reason}; {invalid.remedy}" if invalid.remedy else invalid.reason
        )
        return Told(
            self.seconds,
            summary.throughput_rps,
            summary.throughput_interval_rps,
            results.verdict.limit,
            results.verdict.text,
            invalid=reason,
            failed=error,
            results=name,
        )

    def _keep(self, ask: Ask, results: Results | None, told: Told) -> None:
        cell = ask.cell
        unsaved = "its results could not be saved" if results is not None and results.path is None else None
        self._ledger.add(
            Entry(
                cell=cell.name,
                replicas=cell.size.replicas,
                cpus_per_replica=cell.size.cpus_per_replica,
                batch_size=cell.batch_size,
                repeat=ask.repeat,
                kind="cell",
                results=None if results is None else ledgers.place(results.path, self._ledger.directory),
                error=told.failed or unsaved,
                throughput_rps=told.throughput_rps,
                p99_ms=None if results is None else results.summary.latency_ms["p99"],
                saturated=None if results is None else results.verdict.saturated,
                finished_at=ledgers.now(),
                rate_rps=cell.rate_rps,
                invalid=told.invalid,
                p99_uncertain=results is not None and "p99" in results.summary.uncertain,
                rows_not_saved=None if results is None else results.rows_not_saved,
                gpus=cell.size.gpus,
                outcome=told.outcome or "",
                found=told.text,
            )
        )


def _reason(error: Exception) -> str:
    """Why a deployment could not be started, in one line, with the last line of its log."""
    return ": ".join(filter(None, (str(error), _last_line(error))))


def _last_line(error: Exception) -> str:
    """Of the log of what could not be started; empty without one."""
    lines = error.log_tail.split("\n") if isinstance(error, LaunchError) else []
    return next((line.strip() for line in reversed(lines) if line.strip()), "")


def run_text(ask: Ask, told: Told) -> str:
    """A run in one line."""
    if told.failed is not None and told.outcome is None:
        return f"{ask.cell.name}: {told.failed}"
    invalid = "" if told.invalid is None else f"invalid: {told.invalid}"
    if told.outcome is not None:
        found = invalid or f"{told.outcome}, {told.text}"
        return f"{ask.cell.name}: {number(ask.cell.rate_rps)} requests/s for {ask.duration_s:.0f} s: {found}"
    rate_rps = told.throughput_rps or 0.0
    return f"{ask.cell.name}: {number(rate_rps)} requests/s when saturated for {ask.duration_s:.0f} s" + (
        f", {invalid}" if invalid else f", limit {told.limit}"
    )
