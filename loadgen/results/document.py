"""The results document: typed, versioned, written atomically, read back.

The schema is ``results.schema.json`` beside this file. A later version of the program reads every earlier
version of the document; a change that cannot be read that way gets the next number.
"""

from __future__ import annotations

import contextlib
import json
import os
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from frontend_launch.histogram import LatencyHistogram
from frontend_launch.members import from_members
from frontend_launch.stages import Stages
from loadgen.errors import ConfigError
from loadgen.judging.verdict import Evidence, Verdict
from loadgen.load.recorder import Record
from loadgen.load.target import Outcome

SCHEMA_VERSION = 1
SCHEMA_PATH = Path(__file__).with_name("results.schema.json")
PERCENTILES = (50.0, 90.0, 95.0, 99.0, 99.9)
_NS_PER_MS = 1e6


@dataclass(frozen=True, slots=True)
class Measured:
    """The measured part: its length, requests sent in it, answers that arrived in it."""

    duration_s: float
    sent: int
    completed: int


@dataclass(frozen=True, slots=True)
class Summary:
    """Counts over the whole run, warm-up included; throughput and latency of the measured part.

    `sent` is the sum of `completed`, `defaulted`, `timed_out`, `failed` and `abandoned`. `left_behind` is None
    where the run did not wait for what was outstanding. Latencies are milliseconds, None without answers.

    Where a schedule says when to send, `latency_ms` counts from the planned time, over all requests that were planned
    for the measured part; those that were not answered as they should be count as slower than any answer. What falls
    among them is None, and `latency_above_ms` says what it is larger than. `service_ms` counts from when ZeroMQ took
    the request, its queue included; `lag_ms` is how much later than planned requests were sent; `planned` requests are
    `offered_rps` a second. All five are None where a window says when to send.
    """

    sent: int
    completed: int
    defaulted: int
    timed_out: int
    failed: int
    abandoned: int
    late: int
    unexpected: int
    left_behind: int | None
    measured: Measured
    throughput_rps: float
    latency_ms: Mapping[str, float | None]
    planned: int | None = None
    offered_rps: float | None = None
    latency_above_ms: Mapping[str, float] | None = None
    service_ms: Mapping[str, float | None] | None = None
    lag_ms: Mapping[str, float | None] | None = None


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
        ended: why the run ended, see `loadgen.load.recorder.Record.ended`.
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


def summarise(record: Record, timeout_s: float | None = None) -> Summary:
    """Condense a record.

    Args:
        record: of the client.
        timeout_s: patience for one reply, which is what all are known to have taken where all of them timed out.
    """
    outcomes, offered = record.outcomes, record.offered
    measured_s = record.measured_ns / 1e9
    lost = 0 if offered is None else offered.planned - offered.answered
    arrived = record.latency.total if offered is None else offered.arrived
    latency_ms = _latencies(record.latency, lost)
    summary = Summary(
        sent=record.sent,
        completed=outcomes[Outcome.COMPLETED],
        defaulted=outcomes[Outcome.DEFAULTED],
        timed_out=outcomes[Outcome.TIMED_OUT],
        failed=outcomes[Outcome.FAILED],
        abandoned=outcomes[Outcome.ABANDONED],
        late=record.late,
        unexpected=record.unexpected,
        left_behind=record.left_behind,
        measured=Measured(measured_s, record.measured_sent, record.latency.total),
        throughput_rps=arrived / measured_s if measured_s else 0.0,
        latency_ms=latency_ms,
    )
    if offered is None:
        return summary
    slowest_ms = record.latency.max_ns / _NS_PER_MS if record.latency.total else None
    # A percentile that falls among unanswered requests is above the slowest answer. Without any answer only a timeout
    # bounds it from below, and only if every request waited that long: failed and abandoned ones may not have.
    if slowest_ms is None and timeout_s is not None and record.sent == outcomes[Outcome.TIMED_OUT]:
        slowest_ms = timeout_s * 1e3
    return replace(
        summary,
        planned=offered.planned,
        offered_rps=offered.planned / measured_s if measured_s else 0.0,
        latency_above_ms={
            name: slowest_ms for name, value in latency_ms.items() if value is None and slowest_ms is not None
        },
        service_ms=_latencies(offered.service),
        lag_ms=_latencies(offered.lag),
    )


def _latencies(histogram: LatencyHistogram, lost: int = 0) -> dict[str, float | None]:
    """Milliseconds by name; `lost` values are slower than all of the histogram's."""

    def milliseconds(value_ns: float | None) -> float | None:
        return None if value_ns is None else value_ns / _NS_PER_MS

    return {
        "mean": None if lost else milliseconds(histogram.mean_ns),
        "min": milliseconds(histogram.min_ns if histogram.total else None),
        **{f"p{percentile:g}": milliseconds(histogram.percentile_ns(percentile, lost)) for percentile in PERCENTILES},
        "max": milliseconds(histogram.max_ns if histogram.total and not lost else None),
    }


def stage_tables(stages: Mapping[str, Stages]) -> dict[str, Any]:
    """Queue wait, RPC and compute of each model and replica, condensed and whole; and batches by size."""
    return {
        key: {
            **{
                name: {"count": histogram.total, "time_ms": _latencies(histogram), "histogram": histogram.encode()}
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


def make_directory(directory: Path) -> None:
    """Make the directory that results will be saved to, before anything is measured for nothing.

    Raises:
        ConfigError: it cannot be written.
    """
    try:
        directory.mkdir(parents=True, exist_ok=True)
        writable = os.access(directory, os.W_OK)
        reason = "" if writable else "it is not writable"
    except OSError as error:
        reason = error.strerror or type(error).__name__
    if reason:
        raise ConfigError(f"results cannot be saved to {directory} ({reason}): choose another --results-dir")


def new_directory(results_dir: Path, stem: str) -> Path:
    """Make a directory for several results; a number is added to its name where that exists already.

    Args:
        results_dir: made too where it is missing.
        stem: its name, unless that is taken.

    Raises:
        OSError: it cannot be made.
    """
    number = 1
    while True:
        directory = results_dir / (stem if number == 1 else f"{stem}-{number}")
        with contextlib.suppress(FileExistsError):
            directory.mkdir(parents=True)
            return directory.absolute()
        number += 1


def save(results: Results, directory: Path) -> Path:
    """Write a results file that never replaces another and is never seen half-written.

    Args:
        results: whole.
        directory: made where it is missing.

    Returns:
        Its absolute path, ``results-%y%m%d_%H%M%S.json``, with a number added where that exists already.

    Raises:
        ConfigError: the directory cannot be written.
    """
    stem = time.strftime("results-%y%m%d_%H%M%S")
    text = json.dumps(results.document(), indent=4)
    make_directory(directory)
    draft = directory / f".{stem}.{os.getpid()}.tmp"
    try:
        with draft.open("w") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        return _publish(draft, directory, stem)
    except OSError as error:
        raise ConfigError(f"results cannot be saved to {directory} ({error.strerror})") from None
    finally:
        with contextlib.suppress(OSError):
            draft.unlink()


def _publish(draft: Path, directory: Path, stem: str) -> Path:
    """Give a finished draft the first free name."""
    number = 1
    while True:
        path = directory / (f"{stem}.json" if number == 1 else f"{stem}-{number}.json")
        with contextlib.suppress(FileExistsError):
            _rename(draft, path)
            return path.absolute()
        number += 1


def _rename(draft: Path, path: Path) -> None:
    """Give a file another name, unless that is taken.

    Raises:
        FileExistsError: it is.
    """
    try:
        path.hardlink_to(draft)
    except FileExistsError:
        raise
    except OSError:  # a file system without links: take the name, then put the file there
        path.touch(exist_ok=False)
        draft.replace(path)


def read(path: Path) -> Results:
    """Read a results file of any version up to this one; members that this version does not know are ignored.

    Raises:
        ConfigError: it cannot be read, is no results file, or is of a later version.
    """
    try:
        document = json.loads(path.read_text())
        version = document.pop("schema_version")
        if version > SCHEMA_VERSION:
            raise ConfigError(f"{path} is of version {version}; this program reads up to {SCHEMA_VERSION}: update it")
        summary, verdict = document["summary"], document["verdict"]
        return from_members(
            Results,
            {
                **document,
                "summary": from_members(Summary, {**summary, "measured": from_members(Measured, summary["measured"])}),
                "verdict": from_members(Verdict, {**verdict, "evidence": from_members(Evidence, verdict["evidence"])}),
                "histograms": from_members(Histograms, document["histograms"]),
                "client_metrics": from_members(ClientMetrics, document["client_metrics"]),
                "path": None,  # not part of the document
            },
        )
    except OSError as error:
        raise ConfigError(f"{path} cannot be read: {error.strerror}") from None
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        if isinstance(error, ConfigError):
            raise
        raise ConfigError(f"{path} is not a results file: {error!r}") from None
