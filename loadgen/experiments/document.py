"""Turns plan, server, record and readings of a run into its results."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import replace
from typing import assert_never

from frontend_launch.affinity import affinity
from frontend_launch.counters import Counters
from frontend_launch.launch.deployment import LATENCY_SLO_MICROS
from frontend_launch.launch.launcher import UNWATCHED
from frontend_launch.launch.placement import difference
from loadgen.config import ExperimentConfig, OpenLoop, Saturate
from loadgen.hardware.summary import idle_cores, summarise
from loadgen.hardware.watch import Watch
from loadgen.judging import remarks, slo, validity
from loadgen.judging.evidence import Evidence, of_client, of_processes, on_machine
from loadgen.judging.intervals import with_intervals
from loadgen.judging.validity import Check
from loadgen.judging.verdict import Verdict, judge
from loadgen.load import summary as load_summary
from loadgen.load.answers import AnswerCheck
from loadgen.load.arrivals import Renewal
from loadgen.load.clients import Senders
from loadgen.load.dispatcher import MAX_UNANSWERED
from loadgen.load.ending import Ending
from loadgen.load.record import Record
from loadgen.load.summary import Summary
from loadgen.load.target import Outcome
from loadgen.plan import FIRST_ANSWER_S, Plan
from loadgen.results import document as results_file
from loadgen.results.document import Results
from loadgen.results.environment import Environment, command
from loadgen.results.sections import (
    ComparedAnswers,
    InFlightWindow,
    Measurements,
    NodeConfig,
    PlacementRow,
    PlannedArrivals,
    SentInputs,
    ServedModel,
    Threshold,
    Transport,
)
from loadgen.served import CataloguedModel, Deploy, External
from loadgen.servers.frontend import PROXIED
from loadgen.servers.server import Readings, ServerFacts

NOT_JUDGED = "certificate not judged: nothing was measured"


def end_of_run(server: ServerFacts, record: Record, lost: str | None) -> tuple[Ending, str | None]:
    """Why the run ended, and how the server was lost if it was.

    Args:
        server: what was loaded.
        record: of the run.
        lost: how the readings after the run found the server lost; None where they did not.
    """
    failure = server.deployment.failure if server.deployment is not None else None
    if failure is not None and (record.ended is Ending.STOPPED or lost is not None):
        lost = str(failure)  # which says more than that a page of metrics cannot be read
    elif record.ended is Ending.STOPPED and lost is None:
        return Ending.INTERRUPTED, None
    return (record.ended, None) if lost is None else (Ending.SERVER_LOST, lost)


BUSY_CLIENT = 0.9
"""From this share of a core on, the client may be the cause, even if it keeps its schedule."""


def ended_because(
    ended: Ending,
    plan: Plan,
    server: ServerFacts,
    record: Record,
    lost: str | None,
    workers: Sequence[str] | None = None,
) -> str | None:
    """One line that says how a run ended that did not end as asked.

    Args:
        ended: why.
        plan: what was asked for.
        server: what was loaded.
        record: of the run.
        lost: how the server was lost; None if it was not.
        workers: the faults of workers on other machines; None without workers.
    """
    kept = "what the clients measured is kept" if record.measured_ns else "nothing was measured"
    match ended:
        case (
            Ending.DURATION
            | Ending.REQUESTS
            | Ending.SCHEDULE
            | Ending.STEADY
            | Ending.CUT_SHORT
            | Ending.DECIDED
            | Ending.ENOUGH
        ):
            return None
        case Ending.STALLED:
            return f"no answer to any request for {plan.config.patience.stall_s:g} s (--stall)"
        case Ending.NO_ANSWER:
            return f"no answer to the first request within {FIRST_ANSWER_S:g} s: {server.no_answer_hint}"
        case Ending.OVERRUN:
            if record.outcomes[Outcome.TIMED_OUT] - record.late > MAX_UNANSWERED:
                return f"{MAX_UNANSWERED:,} requests timed out and have no answer yet: {_who_is_behind(record)}"
            most = f"{plan.window:,} requests are in flight, the most that --max-in-flight allows"
            return f"{most}: {_who_is_behind(record)}"
        case Ending.CLIENT_LOST if workers:
            return f"{workers[0]}; {kept}"
        case Ending.CLIENT_LOST:
            return f"a client process ended early, was stopped or fell silent: {kept}"
        case Ending.SERVER_LOST:
            return lost
        case Ending.INTERRUPTED | Ending.STOPPED:
            until = "; what was measured until then is kept" if record.measured_ns else " before anything was measured"
            return f"interrupted{until}"
        case _:
            assert_never(ended)


def broke_off(ended: Ending, workers: Sequence[str] | None) -> bool:
    """Whether a run could not go on, except where a client of a worker was lost: the check of workers says that.

    Args:
        ended: why it ended.
        workers: the faults of workers on other machines; None without workers.
    """
    return ended.broke_off and not (ended is Ending.CLIENT_LOST and bool(workers))


def _who_is_behind(record: Record) -> str:
    """Names the cause: the client, if its own figures show it; otherwise the server."""
    evidence = of_client(record, 1, 1)
    remedy = "use a lower rate, or more client processes (--clients)"
    if evidence.unsent_share >= validity.UNSENT_SHARE:
        return f"{validity.behind(evidence)}; {remedy}"
    if evidence.client_cpu_share >= BUSY_CLIENT:
        used = f"the client used {evidence.client_cpu_share:.0%} of a core"
        return f"{used}, so whether the server is behind is not known; {remedy}"
    return "the server is far behind"


def results_of(
    plan: Plan,
    server: ServerFacts,
    connections: int | None,
    senders: Senders,
    record: Record,
    check: AnswerCheck | None,
    readings: Readings,
    watch: Watch,
    started_at: str,
    surroundings: Environment,
) -> Results:
    """The results of a run, not yet saved.

    Args:
        plan: what was asked for.
        server: what was loaded.
        connections: of each client, at most; None where the protocol fixes them.
        senders: the clients that sent.
        record: of all of them together.
        check: what answers were compared with; None where none were.
        readings: of the server.
        watch: of the hardware.
        started_at: wall-clock time, ISO 8601 with offset.
        surroundings: the machine and the software.
    """
    model, serve = plan.model, plan.config.serve
    xla = isinstance(serve, Deploy) and serve.xla
    ended, lost = end_of_run(server, record, readings.lost)
    payload_bytes = plan.inputs.payload_bytes
    seen = readings.evidence(record, plan)  # before the measurements, which it may find to be of another load
    measurements = _measurements(record, readings)
    failed_batches = remarks.failed_count(measurements.frontend_counters)
    summary = with_intervals(load_summary.summarise(record, plan.load.timeout_s), record)
    summary = replace(summary, failed_batches=failed_batches)
    assignments = [*plan.placement.here, *senders.assignments]
    watched = summarise(
        watch.readings(),
        record.measured_from_ns,
        record.measured_from_ns + record.measured_ns,
        [*assignments, *watch.assignments],
    )
    faults = None if senders.workers is None else senders.workers.faults
    error = ended_because(ended, plan, server, record, lost, faults)
    evidence = replace(
        of_processes(on_machine(seen, watched, assignments, watch.died), running_replicas(plan, server)),
        misplaced=_misplaced(plan, server),
        workers=faults,
        broke_off=error if broke_off(ended, faults) else None,
    )
    if varies(plan.config.load):
        evidence = replace(evidence, first_third_rps=None, last_third_rps=None)
    checks = validity.certificate(evidence)
    verdict = _verdict(server, record, evidence, checks)
    if watched is not None and (verdict.saturated, verdict.limit) == ("yes", "replicas"):
        watched = replace(watched, findings=idle_cores(watched, assignments))
    if watched is not None and watched.energy is not None and server.deployment is not None:
        gpus = [row.gpu for row in plan.placement.here if row.gpu is not None]
        watched = replace(watched, energy=watched.energy.shared_by(gpus, summary.throughput_rps))
    return Results(
        command=command(),
        started_at=started_at,
        ended=ended,
        error=error or remarks.error(record),
        model=ServedModel(model.name, model.framework, model.weights, xla),
        environment=surroundings,
        placement=_placement_rows(plan, server, senders),
        inputs=_inputs(plan),
        arrivals=_arrivals(plan.config),
        tags=dict(plan.config.tags),
        answers=None if check is None else _answers(check, record),
        window=InFlightWindow(plan.window, payload_bytes, plan.window * payload_bytes),
        summary=summary,
        thresholds=_thresholds(plan.config, summary, validity.invalid(checks) is None),
        verdict=verdict,
        certificate=checks if record.measured_ns else [],
        workers=senders.workers,
        hardware=watched,
        histograms=results_file.histograms(record),
        node_configs=_node_configs(plan, server, evidence, measurements),
        client_metrics=results_file.client_metrics(record),
        failures=dict(record.failures),
        transport=None if server.transport is None else Transport(**server.transport),
        connections=connections,
        addresses=dict(record.addresses),
        clipper_metrics=measurements.clipper_metrics,
        frontend_counters=measurements.frontend_counters,
        stages=measurements.stages,
        request_stages=results_file.request_stages(record),
        server_statistics=measurements.server_statistics,
        server_metrics=measurements.server_metrics,
        notes=[
            *_notes(plan, server, readings.notes, record, summary, measurements.frontend_counters),
            *(validity.notes(evidence, checks) if record.measured_ns else [NOT_JUDGED]),
            *(() if watched is None else watched.findings),
        ],
    )


def _notes(
    plan: Plan,
    server: ServerFacts,
    of_readings: Sequence[str],
    record: Record,
    summary: Summary,
    counters: Counters | None,
) -> list[str]:
    """What is to be known of a run beside its figures.

    Args:
        plan: what was asked for.
        server: what was loaded.
        of_readings: notes of the server's readings.
        record: of the run.
        summary: of the record.
        counters: of the frontend; None of another server.
    """
    return [
        *plan.notes,
        *server.notes,
        *(() if server.deployment is None else server.deployment.losses),
        *of_readings,
        *record.notes,
        *remarks.remarks(record),
        *remarks.short(record, plan.window),
        *remarks.warmup(record, plan.load.warmup_s),
        *remarks.steady(record),
        *remarks.unsteady(record, plan.config.until_steady),
        *remarks.marked(summary),
        *remarks.uncertain(summary),
        *remarks.failed_batches(counters),
        *remarks.default_outputs(counters),
        *remarks.refused(counters),
    ]


def varies(load: OpenLoop | Saturate) -> bool:
    """Whether the schedule itself may load the first third of a run differently from the last."""
    match load:
        case OpenLoop(Renewal(cv=cv)):
            return cv > 1  # bursts
        case OpenLoop():
            return True
        case Saturate():
            return False


def _measurements(record: Record, readings: Readings) -> Measurements:
    """The server's statistics, with the client's count of answers beside the server's."""
    measurements = readings.measurements
    statistics = measurements.server_statistics
    if statistics is None:
        return measurements
    return replace(measurements, server_statistics=replace(statistics, client_replies=record.replies))


def _inputs(plan: Plan) -> SentInputs:
    match plan.config.serve:
        case External(target):
            types, rows = ", ".join(plan.model.takes), plan.config.serve.batch_size
            return SentInputs(source=plan.inputs.text, type=types, rows=rows, target=target.address.text)
        case CataloguedModel():
            return SentInputs(plan.inputs.text, plan.model.input.data_type.canonical)


def _arrivals(config: ExperimentConfig) -> PlannedArrivals | None:
    match config.load:
        case OpenLoop(arrivals):
            return PlannedArrivals(arrivals.text, arrivals.rate_rps if isinstance(arrivals, Renewal) else None)
        case Saturate():
            return None


def _verdict(server: ServerFacts, record: Record, evidence: Evidence, checks: Sequence[Check]) -> Verdict:
    verdict = judge(evidence, checks)
    if not record.measured_ns:
        return replace(verdict, saturated="undecided", limit="unknown", text="undecided: nothing was measured")
    if not record.latency.total:
        undecided = "undecided: no answer counted as completed in the measured part"
        return replace(verdict, saturated="undecided", limit="unknown", text=undecided)
    return replace(verdict, text=f"{verdict.text}; {PROXIED}") if server.proxied else verdict


def _thresholds(config: ExperimentConfig, summary: Summary, valid: bool) -> list[Threshold] | None:
    if not config.fail_if:
        return None
    found = [(condition, *slo.crossed(condition, summary)) for condition in config.fail_if]
    return [Threshold(str(condition), text, crossed if valid else None) for condition, crossed, text in found]


def _misplaced(plan: Plan, server: ServerFacts) -> list[str]:
    """Roles that may run outside their planned cores; a role whose process is gone is left to other checks."""
    planned = {row.role for row in plan.placement.assignments}
    observed = {role: affinity(pid) for role, pid in pids(plan, server).items() if role in planned}
    return difference(plan.placement, {role: cores for role, cores in observed.items() if cores})


def running_replicas(plan: Plan, server: ServerFacts) -> dict[str, bool]:
    """Whether the process of each replica of a deployment runs, by role, as far as it is known; none of another server.

    Args:
        plan: with all replicas.
        server: what was loaded.
    """
    if server.deployment is None:
        return {}
    parts = server.deployment.parts
    ended = {role: part.exited.result() for role, part in parts.items() if part.exited.done()}
    return {
        row.role: row.role in parts and row.role not in ended
        for row in plan.placement.replicas
        if ended.get(row.role) not in UNWATCHED
    }


def _placement_rows(plan: Plan, server: ServerFacts, senders: Senders) -> list[PlacementRow]:
    parts = {} if server.deployment is None else server.deployment.parts
    pid_of = {**pids(plan, server), **{role: part.pid for role, part in parts.items()}, **senders.pids}
    rows = [(row, pid_of[row.role]) for row in (*plan.placement.assignments, *senders.assignments)]
    return [
        PlacementRow(
            node=row.node,
            role=row.role,
            pid=pid,
            cores=list(row.cores),
            gpu=row.gpu,
            shared=row.shared,
            numa_nodes=list(row.numa_nodes),
            shares_physical=row.shares_physical,
        )
        for row, pid in (*rows, *senders.elsewhere)
    ]


def pids(plan: Plan, server: ServerFacts) -> dict[str, int]:
    """The processes of the plan on this machine, by role."""
    parts = {} if server.deployment is None else server.deployment.parts
    return {plan.placement.own.role: os.getpid(), **{role: part.pid for role, part in parts.items() if part.here}}


def _answers(check: AnswerCheck, record: Record) -> ComparedAnswers:
    return ComparedAnswers(check.every, check.tolerance, record.compared, record.mismatched)


def _node_configs(plan: Plan, server: ServerFacts, evidence: Evidence, measurements: Measurements) -> list[NodeConfig]:
    """The 2017 description of a deployment, or of a frontend that ran already; none of another server."""
    if server.deployment is not None:
        return [_node_config(plan)]
    if server.node is None:
        return []
    node, counters = server.node, measurements.frontend_counters
    models = {} if counters is None else counters.models
    named = [row.max_batch for name, row in models.items() if name.startswith(f"{node.name}:")]
    sizes = named or [row.max_batch for row in models.values()]
    return [
        replace(
            node,
            num_replicas=node.num_replicas if evidence.replicas is None else evidence.replicas,
            batch_size=sizes[0] if len(sizes) == 1 else 0,
        )
    ]


def _node_config(plan: Plan) -> NodeConfig:
    """The 2017 description of a deployment."""
    config, model = plan.config, plan.model
    assert isinstance(config.serve, Deploy)
    replicas = plan.placement.replicas
    return NodeConfig(
        name=model.name,
        input_type=model.input.data_type.canonical,
        model_image=model.image,
        allocated_cpus=sorted({core for row in replicas for core in row.cores}),
        cpus_per_replica=plan.cpus_per_replica,
        slo=LATENCY_SLO_MICROS,
        num_replicas=len(replicas),
        gpus=[row.gpu for row in replicas if row.gpu is not None],
        batch_size=config.serve.batch_size,
        runtime=config.serve.runtime.partition(":")[0],
    )
