"""The types of the results document.

The schema is ``results.schema.json`` beside this file. A later version of the program reads every earlier
version of the document; a change that cannot be read that way gets the next number.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from frontend_launch.stages import Stages
from loadgen.judging.verdict import Verdict
from loadgen.load.record import Record
from loadgen.load.summary import Summary, latencies_ms

SCHEMA_VERSION = 1
SCHEMA_PATH = Path(__file__).with_name("results.schema.json")


@dataclass(frozen=True, slots=True)
class ClientMetrics:
    """The seed's series, one entry per logging interval; seconds, None where nothing completed."""

    thrus: list[float]
    p99_lats: list[float | None]
    mean_lats: list[float | None]


@dataclass(frozen=True, slots=True)
class Histograms:
    """Latencies as base64 HdrHistogram V2 blobs, nanoseconds; an interval without answers is None.

    `service` and `lag` are None where a window says when to send.
    """

    latency: str
    intervals: list[str | None]
    service: str | None = None
    lag: str | None = None


@dataclass(frozen=True, slots=True)
class Measurements:
    """What the server itself said of the measured part; each None where it did not.

    Attributes:
        clipper_metrics: the query frontend's metrics at the end.
        frontend_counters: our frontend's counters.
        stages: where the time went, by model and replica.
        server_statistics: counts of a server of the Open Inference Protocol.
        server_metrics: its Prometheus metrics before and after, by name and labels.
    """

    clipper_metrics: Mapping[str, Any] | None = None
    frontend_counters: Mapping[str, Any] | None = None
    stages: Mapping[str, Any] | None = None
    server_statistics: Mapping[str, Any] | None = None
    server_metrics: Mapping[str, list[float]] | None = None


@dataclass(frozen=True, slots=True)
class Results:
    """Everything one experiment leaves behind.

    Attributes:
        command: the command line.
        started_at: wall-clock time, ISO 8601 with offset.
        ended: why the run ended, see `loadgen.load.record.Record.ended`.
        error: one line when the run did not end as asked, else None.
        model: name, framework and weights of what was served.
        environment: the machine and the software.
        placement: a row per process.
        inputs: what was sent; None in files from before it was recorded.
        arrivals: the schedule of an open loop, in words and its rate, None of one that varies; None where a window says
            when to send.
        answers: how many answers were compared with the right ones, and how many were wrong; None when none were.
        thresholds: conditions that were not to come true, each with its text and whether it did; None without any.
        hardware: what cores, processes and GPUs did in the measured part; None where it was not watched.
        window: most requests in flight, and what they weigh.
        summary: what was measured.
        verdict: who was the limit.
        histograms: the latencies.
        node_configs: the seed's description of the deployment, one per model.
        clipper_metrics: the query frontend's metrics at the end; None where they could not be read.
        client_metrics: the seed's series.
        frontend_counters: our frontend's counters over the measured part; None where there are none.
        stages: where the time went in the measured part, by model and replica; None where our frontend did not say.
        server_statistics: what somebody else's server counted in the measured part; None where it did not say.
        server_metrics: its Prometheus metrics before and after the measured part, by name and labels; likewise.
        failures: requests that failed, by the reason that the server gave.
        transport: how ``client`` and ``replicas`` reached the query frontend, ``tcp`` or ``ipc``; None without one, and
            in files from before it was recorded.
        connections: of each client to somebody else's server, at most; None otherwise.
        notes: what the reader should know, such as metrics that could not be read.
        path: where the document was saved; not part of it.
    """

    command: list[str]
    started_at: str
    ended: str
    error: str | None
    model: Mapping[str, Any]
    environment: Mapping[str, Any]
    placement: list[Mapping[str, Any]]
    window: Mapping[str, Any]
    summary: Summary
    verdict: Verdict
    histograms: Histograms
    node_configs: list[Mapping[str, Any]]
    clipper_metrics: Mapping[str, Any] | None
    client_metrics: ClientMetrics
    frontend_counters: Mapping[str, Any] | None
    notes: list[str] = field(default_factory=list)
    inputs: Mapping[str, Any] | None = None
    arrivals: Mapping[str, Any] | None = None
    answers: Mapping[str, Any] | None = None
    hardware: Mapping[str, Any] | None = None
    thresholds: list[Mapping[str, Any]] | None = None
    stages: Mapping[str, Any] | None = None
    server_statistics: Mapping[str, Any] | None = None
    server_metrics: Mapping[str, list[float]] | None = None
    failures: Mapping[str, int] = field(default_factory=dict)
    transport: Mapping[str, str] | None = None
    connections: int | None = None
    path: Path | None = None

    @property
    def saved_at(self) -> Path:
        """The path of results that were saved."""
        assert self.path is not None
        return self.path

    def document(self) -> dict[str, Any]:
        """The JSON document."""
        return {"schema_version": SCHEMA_VERSION, **{k: v for k, v in asdict(self).items() if k != "path"}}


def stage_tables(stages: Mapping[str, Stages]) -> dict[str, Any]:
    """Queue wait, RPC and compute of each model and replica, condensed and whole; and batches by size."""
    return {
        key: {
            **{
                name: {"count": histogram.total, "time_ms": latencies_ms(histogram), "histogram": histogram.encode()}
                for name in ("queue_wait", "rpc", "compute")
                if (histogram := getattr(row, name)).total
            },
            "batch_sizes": {str(size): count for size, count in sorted(row.batch_sizes.items())},
        }
        for key, row in stages.items()
    }


def client_metrics(record: Record) -> ClientMetrics:
    """The seed's three series."""
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
