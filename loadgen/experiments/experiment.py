"""One experiment: deployment (or none) → job → record → verdict → results.

    results = await run_experiment(ExperimentConfig(model="noop", duration_s=5))

is all a notebook or a test needs; the command line does nothing else.
"""

from __future__ import annotations

import asyncio
import contextlib
import datetime
import logging
import os
from collections.abc import AsyncIterator, Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from frontend_launch import models
from frontend_launch.launch.deployment import LATENCY_SLO_MICROS
from frontend_launch.launch.launcher import model_environment
from frontend_launch.launch.process import pinned
from frontend_launch.launch.topology import core_ranges
from loadgen.config import ExperimentConfig, Plan, prepare, replica_options
from loadgen.errors import ConfigError
from loadgen.hardware.summary import summarise
from loadgen.hardware.watch import Watch, watching
from loadgen.judging import remarks, slo
from loadgen.judging.early_stop import UntilSteady, Watched, Watcher
from loadgen.judging.verdict import Verdict, judge
from loadgen.load import requests_log
from loadgen.load.answers import AnswerCheck, answer_check
from loadgen.load.arrivals import Renewal
from loadgen.load.clients import Clients, clients
from loadgen.load.inputs import InputSource
from loadgen.load.recorder import Record
from loadgen.load.runner import Hooks, Job
from loadgen.load.target import TargetSpec
from loadgen.results import document as results_file
from loadgen.results.document import Results, Summary
from loadgen.results.environment import command, environment
from loadgen.servers.frontend import PROXIED
from loadgen.servers.server import Readings, Server
from loadgen.servers.serving import FIRST_ANSWER_S, serving
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
    if config.topology is not None and config.topology.described:
        raise ConfigError("nothing can run on a described topology: plan for it with --dry-run")
    stop = stop or asyncio.Event()
    plan = await unless(stop, prepare(config))
    results_file.make_directory(config.results_dir)
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
        clients(plan.config.clients, plan.placement["client"]) as senders,
        watching({**_pids(server), **senders.pids}, beside, server.metrics_addresses) as watch,
    ):
        hooks = Hooks(readings.on_phase)
        watched = Watched(watcher or (UntilSteady() if plan.config.until_steady else None), hooks.enough, halt)
        record = await senders.run(_job(plan, inputs, target, check), halt, replace(hooks, on_interval=watched))
        record.ended = watched.ended or record.ended
        results = _results(plan, server, senders, record, check, readings, watch, started_at, surroundings)
        results.notes.extend(await watch.notes())
    if plan.config.requests_log is not None:
        results.notes.extend(_save_requests(plan.config.requests_log, record, len(plan.inputs.make())))
    return replace(results, path=results_file.save(results, plan.config.results_dir))


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
    arrivals, payload_bytes = plan.config.arrivals, plan.inputs.payload_bytes
    if arrivals is None:
        log.info("at most %d requests in flight, %d bytes each", plan.window, payload_bytes)
    else:
        log.info("%s for %g s, %d bytes each", arrivals.text, arrivals.duration_s, payload_bytes)


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
    config = plan.config
    return Job(
        target=target,
        inputs=inputs,
        window=plan.window,
        duration_s=config.duration_s if config.requests is None and config.arrivals is None else None,
        requests=config.requests,
        warmup_s=config.warmup_or_default_s,
        timeout_s=config.timeout_or_default_s,
        stall_s=config.stall_s,
        first_answer_s=None if config.starts else FIRST_ANSWER_S,
        log_every_s=config.log_every_s,
        drain_s=config.drain_or_default_s,
        check=check,
        arrivals=config.arrivals,
        keep_requests=config.requests_log is not None,
    )


async def known_answers(plan: Plan) -> AnswerCheck | None:
    """The right answers, if any are to be compared, from the model itself; asked on the cores of a replica."""
    config, model = plan.config, plan.model
    if config.verify is None:
        return None
    if model.output.data_type is DataType.STRINGS:
        raise ConfigError(f"--verify: {model.name} answers with text, which cannot be compared: leave it out")
    inputs = plan.inputs.make().stacked()
    replica = next(iter(plan.placement.replicas), plan.placement["client"])
    environment = model_environment(model, replica)
    with pinned(replica.cores):
        answers = await models.reference(
            config.model, inputs, replica_options(config), environment, config.ready_timeout_s
        )
    log.info("%d right answers known: every %d. answer will be compared", len(answers), config.verify)
    labels = model.answer == "label"
    return answer_check(config.verify, answers, model.output.dtype, model.tolerance, labels)


# The results -----------------------------------------------------------------------------------------------


_ERRORS = {
    "stalled": "no answer to any request for {stall_s:g} s (--stall)",
    "no_answer": "no answer to the first request within {first_answer_s:g} s: {silence}",
    "overrun": "{window} requests without an answer are more than memory is meant for: the server is far behind "
    "(--max-in-flight)",
    "client_lost": "a client process ended early or fell silent: the others stopped, and what they measured is kept",
    "interrupted": "interrupted; what was measured until then is kept",
}


def _ending(plan: Plan, server: Server, record: Record, lost: str | None) -> tuple[str, str | None]:
    """Why the run ended, and one line where that is not as asked."""
    if lost is not None:
        return "server_lost", lost
    if record.ended == "stopped":
        failure = server.deployment.failure if server.deployment is not None else None
        if failure is not None:
            return "server_lost", str(failure)
        return "interrupted", _ERRORS["interrupted"]
    text = _ERRORS.get(record.ended)
    if text is None:
        return record.ended, None
    return record.ended, text.format(
        stall_s=plan.config.stall_s, window=plan.window, first_answer_s=FIRST_ANSWER_S, silence=server.silence
    )


def _results(
    plan: Plan,
    server: Server,
    senders: Clients,
    record: Record,
    check: AnswerCheck | None,
    readings: Readings,
    watch: Watch,
    started_at: str,
    surroundings: Mapping[str, Any],
) -> Results:
    model = plan.model
    ended, error = _ending(plan, server, record, readings.lost)
    payload_bytes = plan.inputs.payload_bytes
    summary = results_file.summarise(record, plan.config.timeout_or_default_s)
    verdict = _verdict(plan, server, record, readings)
    watched = summarise(
        watch.readings(),
        record.measured_from_ns,
        record.measured_from_ns + record.measured_ns,
        [*plan.placement.assignments, *senders.assignments, watch.assignment],
        verdict.saturated == "yes",
    )
    return Results(
        command=command(),
        started_at=started_at,
        ended=ended,
        error=error or remarks.error(record),
        model={"name": model.name, "framework": model.framework, "weights": model.weights},
        environment=surroundings,
        placement=_placement_rows(plan, server, senders),
        inputs=_inputs(plan),
        arrivals=_arrivals(plan.config),
        answers=None if check is None else _answers(check, record),
        window={"requests": plan.window, "payload_bytes": payload_bytes, "bytes": plan.window * payload_bytes},
        summary=summary,
        thresholds=_thresholds(plan.config, summary),
        verdict=verdict,
        hardware=watched,
        histograms=results_file.histograms(record),
        node_configs=[] if server.deployment is None else [_node_config(plan)],
        client_metrics=results_file.client_metrics(record),
        failures=dict(record.failures),
        transport=server.transport,
        connections=server.connections,
        **_measurements(record, readings),
        notes=[
            *plan.notes,
            *server.notes,
            *(() if server.deployment is None else server.deployment.losses),
            *readings.notes,
            *remarks.remarks(record),
            *remarks.others(record, readings.measurements.server_statistics),
            *(watched or {}).get("findings", ()),
        ],
    )


def _measurements(record: Record, readings: Readings) -> dict[str, Any]:
    """What the server measured, and beside its count of answers that of the client."""
    measurements = asdict(readings.measurements)
    if measurements["server_statistics"] is not None:
        measurements["server_statistics"]["client_replies"] = record.replies
    return measurements


def _inputs(plan: Plan) -> dict[str, Any]:
    if plan.remote is None:
        return {"source": plan.inputs.text, "type": plan.model.input.data_type.canonical}
    kinds = ", ".join(plan.model.takes)
    return {
        "source": plan.inputs.text,
        "type": kinds,
        "rows": plan.config.batch_size,
        "target": plan.remote.options.address.text,
    }


def _arrivals(config: ExperimentConfig) -> dict[str, Any] | None:
    arrivals = config.arrivals
    if arrivals is None:
        return None
    return {"text": arrivals.text, "rate_rps": arrivals.rate_rps if isinstance(arrivals, Renewal) else None}


def _verdict(plan: Plan, server: Server, record: Record, readings: Readings) -> Verdict:
    verdict = judge(readings.evidence(record, plan))
    if not record.measured_ns:
        return replace(verdict, text="undecided: nothing was measured")
    if not record.latency.total:
        undecided = "undecided: no answer counted as completed in the measured part"
        return replace(verdict, saturated="undecided", limit="unknown", text=undecided)
    return replace(verdict, text=f"{verdict.text}; {PROXIED}") if server.proxied else verdict


def _thresholds(config: ExperimentConfig, summary: Summary) -> list[Mapping[str, Any]] | None:
    if not config.fail_if:
        return None
    found = [(condition, *slo.crossed(condition, summary)) for condition in config.fail_if]
    return [{"condition": str(condition), "found": text, "crossed": crossed} for condition, crossed, text in found]


def _answers(check: AnswerCheck, record: Record) -> dict[str, Any]:
    return {
        "every": check.every,
        "tolerance": check.tolerance,
        "compared": record.compared,
        "mismatched": record.mismatched,
    }


def _placement_rows(plan: Plan, server: Server, senders: Clients) -> list[Mapping[str, Any]]:
    pids = {**_pids(server), **senders.pids}
    return [{**asdict(row), "pid": pids[row.role]} for row in (*plan.placement.assignments, *senders.assignments)]


def _pids(server: Server) -> dict[str, int]:
    """The processes of the plan, by role."""
    parts = {} if server.deployment is None else server.deployment.parts
    return {"client": os.getpid(), **{role: part.pid for role, part in parts.items()}}


def _node_config(plan: Plan) -> dict[str, Any]:
    """The seed's description of a deployment."""
    config, model = plan.config, plan.model
    replicas = plan.placement.replicas
    return {
        "name": model.name,
        "input_type": model.input.data_type.canonical,
        "model_image": model.image,
        "allocated_cpus": sorted({core for row in replicas for core in row.cores}),
        "cpus_per_replica": plan.cpus_per_replica,
        "slo": LATENCY_SLO_MICROS,
        "num_replicas": len(replicas),
        "gpus": [row.gpu for row in replicas if row.gpu is not None],
        "batch_size": config.batch_size,
        "runtime": config.runtime,
    }
