"""The types of the results document.

Its sections are the classes of `loadgen.results.sections`, and those of the modules that make them. The schema beside
this file is made from them by `loadgen.results.schema`. A later version of the program reads every earlier version of
the document; a change that cannot be read that way gets the next number.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Annotated, Any

import msgspec

from frontend_launch.counters import Counters
from frontend_launch.stages import Stages
from loadgen.constraints import Count, Positive
from loadgen.hardware.summary import Hardware
from loadgen.judging.ceiling import ClientCeiling
from loadgen.judging.validity import Check, invalid
from loadgen.judging.verdict import Verdict
from loadgen.load.ending import Ending
from loadgen.load.record import Record
from loadgen.load.summary import Summary, latencies_ms
from loadgen.load.worker_use import WorkersUse
from loadgen.results.environment import Environment
from loadgen.results.sections import (
    ClientMetrics,
    ClipperMetrics,
    ComparedAnswers,
    Histograms,
    InFlightWindow,
    NodeConfig,
    PlacementRow,
    PlannedArrivals,
    RequestStage,
    RequestStages,
    SentInputs,
    ServedModel,
    ServerMetrics,
    ServerStatistics,
    StageTime,
    StageTimes,
    Threshold,
    Transport,
)

SCHEMA_VERSION = 2
NOT_WRITTEN = ("path", "rows_not_saved")
"""Members of `Results` that are not part of the document."""

SCHEMA_PATH = Path(__file__).with_name("results.schema.json")


@dataclass(frozen=True, slots=True)
class Results:
    """The results of one experiment.

    Attributes:
        command: the command line.
        started_at: wall-clock time, ISO 8601 with offset.
        ended: why the run ended; a later version may have more values.
        error: one line when the run did not end as asked; else None.
        model: what was served.
        environment: the machine and the software.
        placement: a row per process.
        inputs: what was sent; None in files from before it was recorded.
        arrivals: the schedule of an open loop; None where a window says when to send.
        answers: how many answers were compared with the right ones; None when none were.
        thresholds: conditions that were not to come true; None without any.
        hardware: what cores, processes and GPUs did in the measured part; None where it was not watched.
        window: most requests in flight, and what they weigh.
        summary: what was measured.
        verdict: who was the limit.
        histograms: the latencies.
        node_configs: the 2017 description of the deployment, one per model.
        clipper_metrics: the query frontend's metrics at the end; None where they could not be read.
        client_metrics: the 2017 series.
        frontend_counters: the counters of this project's frontend over the measured part; None without one.
        stages: where the time went, by ``name:version`` and ``name:version:replica id``; None where it is unknown.
        request_stages: where the time of single requests went; None without answers, and in files from before it was
            recorded.
        server_statistics: what an external server counted in the measured part; None where it did not say.
        server_metrics: its Prometheus metrics before and after the measured part; None where it has none.
        failures: requests that failed, by the reason that the server gave; what differs from one to another is ``…``.
        transport: how the query frontend was reached; None without one, and in files from before it was recorded.
        connections: most connections of each client to an external server; None otherwise.
        addresses: requests sent to each address of an external server; none where its name has one, or over ZeroMQ.
        certificate: the checks that decide whether the run is valid; none in files from before it was recorded.
        client_ceiling: what the client can do by itself; None where that was not measured.
        tags: names and values that the user gave; none in files from before they were recorded.
        workers: what the workers on other machines did; None where all clients were on this one.
        notes: what the reader should know, such as metrics that could not be read.
        path: where the document was saved, None where it could not be; not part of it.
        rows_not_saved: why the rows of requests are not where they were to be, and where they are; not part of it.
    """

    command: list[str]
    started_at: str
    ended: Annotated[
        str, msgspec.Meta(extra_json_schema={"enum": [ended for ended in Ending if not ended.of_a_client]})
    ]
    error: str | None
    model: ServedModel
    environment: Environment
    placement: list[PlacementRow]
    window: InFlightWindow
    summary: Summary
    verdict: Verdict
    histograms: Histograms
    node_configs: list[NodeConfig]
    clipper_metrics: ClipperMetrics | None
    client_metrics: ClientMetrics
    frontend_counters: Counters | None
    notes: list[str] = field(default_factory=list)
    inputs: SentInputs | None = None
    arrivals: PlannedArrivals | None = None
    answers: ComparedAnswers | None = None
    hardware: Hardware | None = None
    thresholds: list[Threshold] | None = None
    stages: Mapping[str, StageTimes] | None = None
    request_stages: RequestStages | None = None
    server_statistics: ServerStatistics | None = None
    server_metrics: ServerMetrics | None = None
    failures: Mapping[str, Positive] = field(default_factory=dict)
    transport: Transport | None = None
    connections: Positive | None = None
    addresses: Mapping[str, Count] = field(default_factory=dict)
    certificate: list[Check] = field(default_factory=list)
    client_ceiling: ClientCeiling | None = None
    tags: Mapping[str, str] = field(default_factory=dict)
    workers: WorkersUse | None = None
    path: Path | None = None
    rows_not_saved: str | None = None

    @property
    def invalid(self) -> Check | None:
        """The check that makes the run invalid; None for a valid run."""
        return invalid(self.certificate)

    @property
    def saved_at(self) -> Path:
        """The path of results that were saved."""
        assert self.path is not None
        return self.path

    def document(self) -> dict[str, Any]:
        """The JSON document; a number that is NaN or infinite, which JSON does not have, is None."""
        members = {item.name: getattr(self, item.name) for item in fields(self) if item.name not in NOT_WRITTEN}
        whole = msgspec.to_builtins({"schema_version": SCHEMA_VERSION, **members}, enc_hook=_plain)
        document: dict[str, Any] = strict(whole)
        return document


def parse(text: str) -> Any:
    """Read JSON; NaN, Infinity and numbers too large for a float become None."""
    return json.loads(text, parse_constant=lambda _: None, parse_float=_finite)


def strict(document: Any) -> Any:
    """The document with None for each number that is NaN or infinite, which JSON does not have."""
    return parse(json.dumps(document))


def _finite(text: str) -> float | None:
    value = float(text)
    return value if math.isfinite(value) else None


def _plain(value: object) -> float:
    """The floats of numpy as Python's."""
    if isinstance(value, float):
        return float(value)
    raise NotImplementedError(f"{type(value).__name__} is no part of a document")


def stage_tables(stages: Mapping[str, Stages]) -> dict[str, StageTimes]:
    """Queue wait, RPC and compute of each model and replica, condensed and whole; and batches by size."""
    return {
        key: StageTimes(
            batch_sizes={str(size): count for size, count in sorted(row.batch_sizes.items())},
            **{
                name: StageTime(histogram.total, latencies_ms(histogram), histogram.encode())
                for name in ("queue_wait", "rpc", "compute")
                if (histogram := getattr(row, name)).total
            },
        )
        for key, row in stages.items()
    }


def request_stages(record: Record) -> RequestStages | None:
    """The stages of the requests that were timed; None where none was."""
    histograms = record.stages.histograms
    whole_ns = sum(histogram.sum_ns for histogram in histograms.values())
    if not record.stages.timed:
        return None
    rows = {}
    for name, histogram in histograms.items():
        times_ms = latencies_ms(histogram)
        mean_ms, p50_ms, p99_ms = (times_ms[metric] or 0.0 for metric in ("mean", "p50", "p99"))
        share = histogram.sum_ns / whole_ns if whole_ns else 0.0
        rows[name] = RequestStage(histogram.total, mean_ms, p50_ms, p99_ms, share)
    return RequestStages(record.stages.timed, record.stages.requests, **rows)


def client_metrics(record: Record) -> ClientMetrics:
    """The three series of 2017."""
    return ClientMetrics(
        thrus=[interval.throughput_rps for interval in record.intervals],
        p99_lats=[interval.p99_s for interval in record.intervals],
        mean_lats=[interval.mean_s for interval in record.intervals],
    )


def histograms(record: Record) -> Histograms:
    """The latencies of a record, encoded."""
    offered = record.offered
    return Histograms(
        latency=record.latency.encode(),
        intervals=[interval.histogram for interval in record.intervals],
        service=None if offered is None else offered.service.encode(),
        lag=None if offered is None else offered.lag.encode(),
    )
