"""One experiment: deployment (or none) → job → record → verdict → results.

    results = await run_experiment(ExperimentConfig(Deploy("noop"), Saturate(duration_s=5)))

is all a notebook or a test needs; the command line does nothing else.
"""

from __future__ import annotations

import asyncio
import contextlib
import datetime
import logging
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

from frontend_launch import models
from frontend_launch.launch.launcher import model_environment
from frontend_launch.launch.process import pinned
from frontend_launch.launch.topology import Topology, core_ranges
from loadgen.config import CataloguedModel, Deploy, ExperimentConfig
from loadgen.errors import ConfigError
from loadgen.experiments.document import pids, results_of
from loadgen.hardware.watch import watching
from loadgen.judging.early_stop import UntilSteady, Watched, Watcher
from loadgen.load import requests_log
from loadgen.load.answers import AnswerCheck, answer_check
from loadgen.load.clients import clients
from loadgen.load.inputs import InputSource
from loadgen.load.record import Record
from loadgen.load.runner import Hooks, Job
from loadgen.load.target import TargetSpec
from loadgen.plan import Plan, prepare, replica_options
from loadgen.results import files
from loadgen.results.document import Results
from loadgen.results.environment import environment
from loadgen.servers.server import Server
from loadgen.servers.serving import serving
from loadgen.waiting import unless
from model_containers.wire import DataType

log = logging.getLogger(__name__)


async def run_experiment(config: ExperimentConfig, stop: asyncio.Event | None = None) -> Results:
    """Bring up what the configuration says, load it, judge, save, take everything down.

    Args:
        config: what to do.
        stop: set it to end early; what was measured by then is kept.

    Returns:
        The results, which are saved too (`Results.path`); `Results.error` says what went wrong once load had begun.

    Raises:
        ConfigError: the configuration contradicts itself.
        FrontendLaunchError: nothing could be started; nothing was measured and nothing is left running.
        TargetError: the server does not answer.
        Interrupted: `stop` was set before load had begun.
    """
    match config.serve:
        case Deploy(topology=Topology(described=True)):
            raise ConfigError("nothing can run on a described topology: plan for it with --dry-run")
    stop = stop or asyncio.Event()
    plan = await unless(stop, prepare(config))
    files.make_directory(config.output.results_dir)
    tell(plan)
    check = await unless(stop, known_answers(plan))
    with pinned(plan.placement["client"].cores):
        async with serving(plan, stop) as server:
            results = await measure(plan, server, check, stop)
            await server.keep_logs(results.saved_at.with_suffix(".logs"))
    return results


async def measure(
    plan: Plan, server: Server, check: AnswerCheck | None, stop: asyncio.Event, watcher: Watcher | None = None
) -> Results:
    """Load a server that is up as a plan says, from this process, which is where it shall be; judge and save.

    Args:
        plan: what to do.
        server: to whom.
        check: the right answers, if any are to be compared.
        stop: set it to end early; what was measured by then is kept.
        watcher: may end the run early too; None for none but what the plan wants.

    Raises:
        TargetError: the server does not answer.
        ConfigError: the results cannot be saved.
    """
    started_at = datetime.datetime.now().astimezone().isoformat(timespec="seconds")
    surroundings = environment()
    beside = plan.placement.assignments[0 if server.deployment is None else 1]
    async with (
        server.readings() as readings,
        _either(stop, server) as halt,
        server.load(plan, check is not None, halt) as (inputs, target),
        clients(plan.config.client.processes, plan.placement["client"]) as senders,
        watching({**pids(server), **senders.pids}, beside, server.metrics_addresses) as watch,
    ):
        hooks = Hooks(readings.on_phase)
        watched = Watched(watcher or (UntilSteady() if plan.config.until_steady else None), hooks.enough, halt)
        record = await senders.run(_job(plan, inputs, target, check), halt, replace(hooks, on_interval=watched))
        record.ended = watched.ended or record.ended
        results = results_of(plan, server, senders, record, check, readings, watch, started_at, surroundings)
        results.notes.extend(await watch.notes())
    output = plan.config.output
    if output.requests_log is not None:
        results.notes.extend(_save_requests(output.requests_log, record, len(plan.inputs.make())))
    return replace(results, path=files.save(results, output.results_dir))


def _save_requests(path: Path, record: Record, inputs: int) -> list[str]:
    """Write a row per request; what cannot be written is a note, for the results are worth no less."""
    try:
        requests_log.save(path, [rows.table(inputs, client) for client, rows in enumerate(record.requests)])
    except ConfigError as error:
        log.warning("%s", error)
        return [str(error)]
    left_out = sum(rows.left_out for rows in record.requests)
    return [f"--requests-log: {left_out} requests beyond {requests_log.MAX_ROWS} are left out"] if left_out else []


def tell(plan: Plan) -> None:
    """Log what is going to happen where."""
    for row in plan.placement.assignments:
        log.info("%s: cores %s%s", row.role, core_ranges(row.cores), " (shared)" if row.shared else "")
    for note in plan.notes:
        log.info("%s", note)
    log.info("%s, %d bytes each", plan.load.text, plan.inputs.payload_bytes)


# The run ---------------------------------------------------------------------------------------------------


@contextlib.asynccontextmanager
async def _either(stop: asyncio.Event, server: Server) -> AsyncIterator[asyncio.Event]:
    """An event that is set when the user or the loss of the server ends the run."""
    halt = asyncio.Event()
    events = [stop] if server.deployment is None else [stop, server.deployment.failed]
    tasks = [asyncio.create_task(_relay(event, halt)) for event in events]
    try:
        yield halt
    finally:
        for task in tasks:
            task.cancel()


async def _relay(event: asyncio.Event, halt: asyncio.Event) -> None:
    await event.wait()
    halt.set()


def _job(plan: Plan, inputs: InputSource, target: TargetSpec, check: AnswerCheck | None) -> Job:
    config, load = plan.config, plan.load
    return Job(
        target=target,
        inputs=inputs,
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
    )


async def known_answers(plan: Plan) -> AnswerCheck | None:
    """The right answers, if any are to be compared, from the model itself; asked on the cores of a replica."""
    serve, model = plan.config.serve, plan.model
    if not isinstance(serve, CataloguedModel) or serve.verify is None:
        return None
    if model.output.data_type is DataType.STRINGS:
        raise ConfigError(f"--verify: {model.name} answers with text, which cannot be compared: leave it out")
    inputs = plan.inputs.make().stacked()
    replica = next(iter(plan.placement.replicas), plan.placement["client"])
    environment = model_environment(model, replica)
    with pinned(replica.cores):
        answers = await models.reference(
            serve.model, inputs, replica_options(serve, plan.config.seed), environment, serve.ready_timeout_s
        )
    log.info("%d right answers known: every %d. answer will be compared", len(answers), serve.verify)
    labels = model.answer == "label"
    return answer_check(serve.verify, answers, model.output.dtype, model.tolerance, labels)


# The results -----------------------------------------------------------------------------------------------
