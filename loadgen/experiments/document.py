"""What a run leaves behind: plan, server, record and readings become results."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import asdict, replace
from typing import Any

from frontend_launch.launch.deployment import LATENCY_SLO_MICROS
from loadgen.config import Deploy, ExperimentConfig, OpenLoop, Saturate
from loadgen.hardware.summary import summarise
from loadgen.hardware.watch import Watch
from loadgen.judging import remarks, slo
from loadgen.judging.verdict import Verdict, judge
from loadgen.load import summary as load_summary
from loadgen.load.answers import AnswerCheck
from loadgen.load.arrivals import Renewal
from loadgen.load.clients import Clients
from loadgen.load.record import Record
from loadgen.load.summary import Summary
from loadgen.plan import FIRST_ANSWER_S, Plan
from loadgen.results import document as results_file
from loadgen.results.document import Results
from loadgen.results.environment import command
from loadgen.servers.frontend import PROXIED
from loadgen.servers.server import Readings, Server

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
        stall_s=plan.config.patience.stall_s, window=plan.window, first_answer_s=FIRST_ANSWER_S, silence=server.silence
    )


def results_of(
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
    """Everything that a run leaves behind, not yet saved.

    Args:
        plan: what was asked for.
        server: what was loaded.
        senders: the clients that sent.
        record: of all of them together.
        check: what answers were compared with; None where none were.
        readings: what the server said of itself.
        watch: what the hardware did.
        started_at: wall-clock time, ISO 8601 with offset.
        surroundings: the machine and the software.
    """
    model = plan.model
    ended, error = _ending(plan, server, record, readings.lost)
    payload_bytes = plan.inputs.payload_bytes
    summary = load_summary.summarise(record, plan.load.timeout_s)
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
    match config.load:
        case OpenLoop(arrivals):
            return {"text": arrivals.text, "rate_rps": arrivals.rate_rps if isinstance(arrivals, Renewal) else None}
        case Saturate():
            return None


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
    pid_of = {**pids(server), **senders.pids}
    return [{**asdict(row), "pid": pid_of[row.role]} for row in (*plan.placement.assignments, *senders.assignments)]


def pids(server: Server) -> dict[str, int]:
    """The processes of the plan, by role."""
    parts = {} if server.deployment is None else server.deployment.parts
    return {"client": os.getpid(), **{role: part.pid for role, part in parts.items()}}


def _node_config(plan: Plan) -> dict[str, Any]:
    """The seed's description of a deployment."""
    config, model = plan.config, plan.model
    assert isinstance(config.serve, Deploy)
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
        "runtime": config.serve.runtime,
    }
