"""Runs one experiment: plan → server → job → record → verdict → results.

    results = await run_experiment(ExperimentConfig(Deploy("noop"), Saturate(duration_s=5)))

is all a notebook or a test needs; the command line does nothing else.
"""

from __future__ import annotations

import asyncio
import contextlib
import datetime
import logging
import tempfile
import time
from collections.abc import AsyncIterator, Coroutine, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar

from frontend_launch import models
from frontend_launch.affinity import pinned
from frontend_launch.errors import LaunchError
from frontend_launch.launch.deployment import Deployment
from frontend_launch.launch.launcher import model_environment
from frontend_launch.launch.placement import Assignment
from frontend_launch.quantities import plural
from frontend_launch.tasks import cancel_again, to_completion, until_done
from loadgen.config import ExperimentConfig, Saturate
from loadgen.errors import ConfigError, Interrupted, NotSavedError
from loadgen.experiments.ceiling import measure_ceiling, with_ceiling
from loadgen.experiments.document import pids, results_of
from loadgen.feed.messages import RunPlanned
from loadgen.feed.view import NO_VIEW, View, showing
from loadgen.hardware.watch import Watch, watching
from loadgen.judging.early_stop import Decided, FirstOf, UntilSteady, Watched, Watcher
from loadgen.judging.slo import Condition, slow_bounds_ns
from loadgen.load import open_files, requests_log
from loadgen.load.answers import AnswerCheck, answer_check
from loadgen.load.clients import Senders
from loadgen.load.ending import Ending
from loadgen.load.inputs import InputSource
from loadgen.load.job import Job
from loadgen.load.last_part import last_part
from loadgen.load.record import Record
from loadgen.load.runner import Hooks, Phase, run
from loadgen.plan import Plan, prepare, replica_options
from loadgen.prerequisites import connected
from loadgen.results import files
from loadgen.results.document import Results
from loadgen.results.environment import environment
from loadgen.served import CataloguedModel, Deploy
from loadgen.servers.server import Server, Workload
from loadgen.servers.serving import serving
from loadgen.workers.clusters import senders
from model_containers.units import NS_PER_S

log = logging.getLogger(__name__)

T = TypeVar("T")


LAST_READINGS_S = 2.0
"""Timeout for the server's own figures after a cancellation, or after the loss of a frontend."""


class ExperimentInterrupted(Interrupted):
    """The experiment was cancelled once load had begun.

    Attributes:
        results: of the measured time until then; they are saved.
    """

    def __init__(self, results: Results) -> None:
        super().__init__(f"interrupted; what was measured until then is in {results.path or 'the results'}")
        self.results = results


async def run_experiment(config: ExperimentConfig) -> Results:
    """Bring up the configuration, load it, judge, save, and take everything down.

    Cancel its task to end it early; further cancellations have no effect.

    Args:
        config: what to do.

    Returns:
        The results, which are saved too (`Results.path`); `Results.error` says what went wrong once load had begun.

    Raises:
        ConfigError: the configuration contradicts itself.
        FrontendLaunchError: nothing could be started; nothing was measured and nothing is left running.
        TargetError: the server does not answer.
        ExperimentInterrupted: it was cancelled once load had begun; what was measured is saved.
        CancelledError: it was cancelled before.
    """
    async with connected(config):
        plan = await prepare(config)
        async with live_view(plan) as view:
            log_plan(plan)
            return await run_plan(plan, view)


def live_view(plan: Plan, command: str = "", *, several: bool = False) -> AbstractAsyncContextManager[View]:
    """The live outputs that the configuration of a plan wants, while the context lasts.

    Args:
        plan: of the first run.
        command: what is measured, where that is more than a run.
        several: it has several runs.
    """
    config = plan.config
    name = command or ("saturate" if isinstance(config.load, Saturate) else "rate")
    return showing(config.live, beside_frontends(plan), name, config.tags, several=several)


def beside_frontends(plan: Plan) -> Assignment:
    """Whose cores the processes use that look on: the first frontend's, or the client's where this machine has none."""
    client, *others = plan.placement.here
    return next((row for row in others if not row.role.startswith("replica")), client)


def awaited(plan: Plan) -> str:
    """What load waits for, in words."""
    match plan.config.serve:
        case Deploy():
            return f"{plural(len(plan.placement.replicas), 'replica')} to load and warm up"
        case _:
            return "the server"


async def run_plan(plan: Plan, view: View = NO_VIEW) -> Results:
    """Carry out a plan, as `run_experiment` does.

    Args:
        plan: what to do.
        view: is told how it goes.
    """
    files.make_directory(plan.config.output.results_dir)
    view.waits("the right answers")
    check = await reference_answers(plan)
    results: Results | None = None
    try:
        view.waits(awaited(plan))
        with pinned(plan.placement.own.cores):
            async with serving(plan) as server:
                results = await measure(plan, server, check, view=view)
                if results.path is not None:
                    await to_completion(server.keep_logs(files.logs_beside(results.path)))
    except asyncio.CancelledError:
        if results is None:
            raise
        raise ExperimentInterrupted(results) from None
    return results


async def measure(
    plan: Plan,
    server: Server,
    check: AnswerCheck | None,
    watcher: Watcher | None = None,
    objective: Sequence[Condition] = (),
    view: View = NO_VIEW,
) -> Results:
    """Load a server that is up as a plan says, from this process, which is on its cores; judge and save.

    A cancellation before load begins is raised at once. A later one ends the run, and further ones have no effect: the
    results are returned, or an error is raised, and the caller is cancelled at its next await.

    Args:
        plan: what to do.
        server: that is loaded.
        check: the right answers, if any are to be compared.
        watcher: may end the run early, beside the plan's own watchers; None for no other.
        objective: conditions that the results will be judged by, beside those of the plan.
        view: is told how it goes.

    Raises:
        TargetError: the server does not answer.
    """
    load_began, stop = asyncio.Event(), asyncio.Event()
    measuring = asyncio.create_task(_measure(plan, server, check, watcher, objective, view, load_began, stop))

    def end() -> None:
        if not load_began.is_set():
            measuring.cancel()
        stop.set()

    if await until_done(measuring, end) and not measuring.cancelled():
        cancel_again()
    return measuring.result()


async def answer_time(plan: Plan, server: Server) -> float | None:
    """Seconds that the answer to a single request takes; None without a good one. Nothing is saved.

    Args:
        plan: says what to send, and how long to wait.
        server: that is loaded.

    Raises:
        TargetError: the server cannot be reached.
    """
    config = replace(plan.config, client=replace(plan.config.client, processes=1))
    single = replace(plan, config=config).with_load(Saturate(requests=1, max_in_flight=1))
    async with server.load(single, keep_outputs=False) as workload:
        job = replace(_job(single, workload, None), keep_requests=False)
        record = await run(job, hooks=Hooks(on_interval=lambda _: None))
    return record.latency.max_ns / NS_PER_S if record.latency.total else None


async def _measure(
    plan: Plan,
    server: Server,
    check: AnswerCheck | None,
    watcher: Watcher | None,
    objective: Sequence[Condition],
    view: View,
    load_began: asyncio.Event,
    stop: asyncio.Event,
) -> Results:
    """Measure; `stop` ends the run early and keeps the measurements."""
    open_files.raise_limit()
    started_at = datetime.datetime.now().astimezone().isoformat(timespec="seconds")
    surroundings = environment()
    facts = server.facts
    beside = beside_frontends(plan)
    await view.place(beside)
    async with (
        server.readings() as readings,
        _halt_event(stop, facts.deployment) as halt,
        _halt_event(stop, facts.deployment) as over,
        server.load(plan, check is not None) as workload,
        senders(plan.config.client, plan.placement.own, plan.placement.started) as clients,
        watching(
            {**pids(plan, facts), **clients.pids}, beside, facts.metrics_addresses, facts.token, view.pids
        ) as watch,
    ):
        view.run_planned(_announced(plan, objective, clients, watch))
        measures_ceiling = plan.config.client.ceiling and plan.config.client.workers is None
        ceiling = None
        if measures_ceiling:
            view.waits("what the client can do by itself")
            ceiling = await _unless_failed(measure_ceiling(plan, workload, check, surroundings), facts.deployment)

        async def on_phase(phase: Phase) -> None:
            if not await _finished(readings.on_phase(phase), over, LAST_READINGS_S):
                text = f"the server's own numbers are left out: no answer within {LAST_READINGS_S:.0f} s"
                log.warning("%s", text)
                readings.notes.append(text)

        async def begin() -> int:
            load_began.set()
            begins_ns = time.monotonic_ns()
            view.load_begins(begins_ns)
            return begins_ns

        hooks = Hooks(on_phase, begin=begin)
        job = replace(_job(plan, workload, check), tally_ns=slow_bounds_ns((*plan.config.fail_if, *objective)))
        watchers = [] if watcher is None else [watcher]
        until_steady = UntilSteady(job.log_every_s) if plan.config.until_steady else None
        if until_steady is not None:
            watchers.append(until_steady)
        if plan.config.abort_on_fail:
            drains, most = facts.deployment is None, plan.load.most_requests
            watchers.append(Decided(plan.config.fail_if, job.tally_ns or (), most, drains))
        watched = Watched(FirstOf(*watchers) if watchers else None, hooks.stop_sending, halt)
        sending = clients.run(job, halt, replace(hooks, on_interval=view.passing(watched)))
        record = await _unless_failed(sending, facts.deployment, load_began)
        view.run_ends()
        if record.ended is not Ending.STOPPED or not stop.is_set():
            record.ended = watched.ended or record.ended
        if until_steady is not None and record.ended is Ending.STEADY:
            record = last_part(record, until_steady.first)
        results = results_of(
            plan, facts, workload.connections, clients, record, check, readings, watch, started_at, surroundings
        )
        results.notes.extend([*await watch.notes(), *await view.notes()])
    if ceiling is not None:
        results = with_ceiling(results, ceiling)
    return _saved(results, record, plan)


def _saved(results: Results, record: Record, plan: Plan) -> Results:
    """Results with their path, and the rows of requests where they are wanted; what cannot be written is said.

    Args:
        results: of the run.
        record: of the run.
        plan: of the run.
    """
    output = plan.config.output
    if output.requests_log is not None:
        try:
            results.notes.extend(_save_requests(output.requests_log, record, plan.inputs))
        except NotSavedError as error:
            log.error("%s", error)
            results.notes.append(str(error))
            results = replace(results, rows_not_saved=str(error))
    try:
        path = files.save(results, output.results_dir)
    except NotSavedError as error:  # there is the summary
        log.error("%s", error)
        return results
    return replace(results, path=path)


def _announced(plan: Plan, objective: Sequence[Condition], clients: Senders, watch: Watch) -> RunPlanned:
    """What a live view is told of a run."""
    load = plan.load
    return RunPlanned(
        title=plan.model.name,
        load=load.text,
        warmup_s=load.warmup_s,
        measured_s=load.duration_s if load.arrivals is None else load.arrivals.duration_s,
        requests=load.requests,
        open_loop=load.arrivals is not None,
        conditions=(*objective, *(condition.opposite for condition in plan.config.fail_if)),
        assignments=(*plan.placement.here, *clients.assignments, *watch.assignments),
        readings="" if watch.path is None else str(watch.path),
    )


async def _unless_failed(
    work: Coroutine[Any, Any, T], deployment: Deployment | None, load_began: asyncio.Event | None = None
) -> T:
    """Do the work; a deployment that fails before the load begins is reported as the cause, not its consequences.

    Args:
        work: to be cancelled then.
        deployment: that serves; None where loadgen did not start one.
        load_began: set when there is something to keep; None where nothing is.

    Raises:
        LaunchError: the deployment failed.
    """
    if deployment is None:
        return await work
    task, failed = asyncio.create_task(work), asyncio.create_task(deployment.failed.wait())
    try:
        await asyncio.wait({task, failed}, return_when=asyncio.FIRST_COMPLETED)
        if deployment.failure is not None and (load_began is None or not load_began.is_set()):
            raise LaunchError(str(deployment.failure))  # the log has the rest already
        return await task
    finally:
        for each in (task, failed):
            each.cancel()
        await asyncio.gather(task, failed, return_exceptions=True)


async def _finished(work: Coroutine[Any, Any, None], stop: asyncio.Event, grace_s: float) -> bool:
    """Whether the work finishes; once `stop` is set, it has `grace_s` left."""
    task, stopped = asyncio.create_task(work), asyncio.create_task(stop.wait())
    try:
        await asyncio.wait({task, stopped}, return_when=asyncio.FIRST_COMPLETED)
        await asyncio.wait({task}, timeout=grace_s)
        if task.done():
            task.result()
        return task.done()
    finally:
        for each in (task, stopped):
            each.cancel()
        await asyncio.gather(task, stopped, return_exceptions=True)


def _save_requests(path: Path, record: Record, source: InputSource) -> list[str]:
    """Write a row per request, and note how many are left out.

    Raises:
        NotSavedError: it cannot be written there; it is elsewhere where that is possible.
    """
    try:
        inputs = len(source.make())
    except ConfigError as error:  # its files are gone
        text = f"--requests-log {path} is not written: {error}"  # a note in the results, as below
        raise NotSavedError(text) from None
    tables = [rows.table(inputs, client) for client, rows in enumerate(record.requests)]
    try:
        requests_log.save(path, tables)
    except ConfigError as error:
        text = error.worded(lambda _: "--requests-log")
        with contextlib.suppress(ConfigError, OSError):
            other = Path(tempfile.mkdtemp(prefix="requests-")) / path.name
            requests_log.save(other, tables)
            text = f"{text}; the rows are in {other}"
        raise NotSavedError(text) from None
    left_out = sum(rows.left_out for rows in record.requests)
    return [f"--requests-log: {left_out} requests beyond {requests_log.MAX_ROWS} are left out"] if left_out else []


def log_plan(plan: Plan) -> None:
    """Log what is going to happen where."""
    for row in plan.placement.assignments:
        log.info("%s", plan.placement.text_of(row))
    for note in plan.notes:
        log.info("%s", note)
    log.info("%s, %s bytes each", plan.load.text, f"{plan.inputs.payload_bytes:,}")


# The run ---------------------------------------------------------------------------------------------------


@contextlib.asynccontextmanager
async def _halt_event(stop: asyncio.Event, deployment: Deployment | None) -> AsyncIterator[asyncio.Event]:
    """An event that is set when a cancellation or the loss of the server ends the run."""
    halt = asyncio.Event()
    events = [stop] if deployment is None else [stop, deployment.failed]
    tasks = [asyncio.create_task(_relay(event, halt)) for event in events]
    try:
        yield halt
    finally:
        for task in tasks:
            task.cancel()


async def _relay(event: asyncio.Event, halt: asyncio.Event) -> None:
    await event.wait()
    halt.set()


def _job(plan: Plan, workload: Workload, check: AnswerCheck | None) -> Job:
    config, load = plan.config, plan.load
    return Job(
        target=workload.target,
        inputs=workload.inputs,
        window=load.window,
        duration_s=load.duration_s,
        requests=load.requests,
        warmup_s=load.warmup_s,
        timeout_s=load.timeout_s,
        stall_s=config.patience.stall_s,
        first_answer_s=load.first_answer_s,
        log_every_s=config.output.log_every_s,
        drain_s=load.drain_s,
        check=check,
        arrivals=load.arrivals,
        keep_requests=config.output.requests_log is not None,
        until_steady=config.until_steady,
    )


async def reference_answers(plan: Plan) -> AnswerCheck | None:
    """The right answers, if any are to be compared, from the model itself; asked on the cores of a replica."""
    serve, model = plan.config.serve, plan.model
    if not isinstance(serve, CataloguedModel) or serve.verify is None:
        return None
    inputs = plan.inputs.make().stacked()
    here = plan.placement.here
    replica = next((row for row in plan.placement.replicas if row in here), plan.placement.own)
    environment = model_environment(model, replica)
    with pinned(replica.cores):
        answers = await models.reference(
            serve.model, inputs, replica_options(serve, plan.config.seed), environment, serve.ready_timeout_s
        )
    log.info("%d right answers known: one answer in %d will be compared", len(answers), serve.verify)
    labels = model.answer == "label"
    return answer_check(serve.verify, answers, model.output.dtype, model.tolerance, labels)


# The results -----------------------------------------------------------------------------------------------
