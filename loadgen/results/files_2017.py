"""Reads results files of the 2017 driver as results of this project; missing members are unknown.

Such a file has one entry per 50 answers: requests a second, mean latency and p99 of these 50. Throughput and mean of
the whole run follow exactly from these; its percentiles do not, and are left out.
"""

from __future__ import annotations

import contextlib
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

import msgspec

from frontend_launch.histogram import LatencyHistogram
from loadgen.judging.evidence import Evidence, of_metrics
from loadgen.judging.verdict import Verdict
from loadgen.load.ending import Ending
from loadgen.load.summary import MeasuredPart, Summary
from loadgen.results.document import Results
from loadgen.results.environment import Environment
from loadgen.results.sections import (
    ClientMetrics,
    ClipperMetrics,
    Histograms,
    InFlightWindow,
    NodeConfig,
    SentInputs,
    ServedModel,
)

WINDOW = 50
"""Answers per entry of the series."""

UNKNOWN = "unknown"

_TIME = re.compile(r"results-(\d{6}_\d{6})")
_MOST_WINDOWS = 1_000_000


class _Document(msgspec.Struct):
    node_configs: list[dict[str, Any]]
    client_metrics: ClientMetrics | list[ClientMetrics]
    clipper_metrics: ClipperMetrics | None = None


def is_of_2017(document: object) -> bool:
    """Whether a JSON document is a results file of the 2017 driver."""
    return (
        isinstance(document, dict)
        and "schema_version" not in document
        and {"node_configs", "client_metrics"} <= document.keys()
    )


def read_2017(document: Mapping[str, Any], name: str, modified: datetime) -> Results:
    """Results from a document of 2017.

    Args:
        document: as JSON has it; `client_metrics` may be a list, one for each client.
        name: of the file, which says when it was saved.
        modified: when the file was, for names that do not say it.

    Raises:
        ValueError: it holds something else.
    """
    given = msgspec.convert(document, _Document)
    if not given.node_configs:
        raise ValueError("node_configs is empty")
    nodes = [_node(node) for node in given.node_configs]
    clients = given.client_metrics if isinstance(given.client_metrics, list) else [given.client_metrics]
    times_s = [_checked(series) for series in clients]
    windows = sum(map(len, times_s))
    duration_s = max((sum(one) for one in times_s), default=0.0)
    throughput_rps = sum(WINDOW * len(one) / sum(one) for one in times_s if one)
    means_s = [mean_s for series in clients for mean_s in series.mean_lats if mean_s is not None]
    evidence = Evidence(
        max_batch=nodes[0].batch_size,
        client_cpu_share=0.0,
        window=0,
        in_flight_mean=0.0,
        replicas=None,
        clients=max(1, len(clients)),
        throughput_rps=throughput_rps,
        duration_s=duration_s,
    )
    metrics = given.clipper_metrics
    return Results(
        command=[],
        started_at=_started_at(name, modified, duration_s),
        ended=Ending.DURATION,
        error=None if windows else f"fewer than {WINDOW} requests were answered by a model",
        model=ServedModel(nodes[0].name, UNKNOWN, UNKNOWN),
        environment=Environment(
            python=UNKNOWN,
            platform=UNKNOWN,
            packages={},
            cpu_model=UNKNOWN,
            cores=0,
            usable_cores=[],
            memory_bytes=0,
            variables={},
            git_commit=None,
        ),
        placement=[],
        window=InFlightWindow(0, 0, 0),
        summary=Summary(
            sent=WINDOW * windows,
            completed=WINDOW * windows,
            defaulted=0,
            timed_out=0,
            failed=0,
            abandoned=0,
            late=0,
            unexpected=0,
            left_behind=None,
            measured=MeasuredPart(duration_s, WINDOW * windows, WINDOW * windows),
            throughput_rps=throughput_rps,
            latency_ms={"mean": 1000 * sum(means_s) / len(means_s)} if means_s else {},
        ),
        verdict=Verdict(
            "undecided",
            UNKNOWN,
            "undecided: a results file of 2017 does not say what the limit was",
            evidence if metrics is None else of_metrics(evidence, metrics, nodes[0].name),
        ),
        histograms=Histograms(LatencyHistogram().encode(), []),
        node_configs=nodes,
        clipper_metrics=metrics,
        client_metrics=clients[0] if len(clients) == 1 else ClientMetrics([], [], []),
        frontend_counters=None,
        inputs=SentInputs(UNKNOWN, nodes[0].input_type),
        notes=[
            "results of 2017: there are no percentiles of all answers, only a p99 of every 50",
            *([] if metrics is None else _defaults(metrics, nodes[0].name)),
        ],
    )


def _node(row: Mapping[str, Any]) -> NodeConfig:
    """A node, whose GPUs may be null."""
    node = msgspec.convert({**row, "gpus": row.get("gpus") or [], "runtime": "docker"}, NodeConfig)
    return replace(node, allocated_cpus=sorted(set(node.allocated_cpus)))


def _checked(series: ClientMetrics) -> list[float]:
    """How long each window took, seconds.

    Raises:
        ValueError: the series are of different lengths, or a value cannot have been measured.
    """
    counts = {len(series.thrus), len(series.p99_lats), len(series.mean_lats)}
    if len(counts) > 1 or max(counts) > _MOST_WINDOWS:
        raise ValueError("client_metrics has series of different lengths, or too long ones")
    for values, least in ((series.thrus, 1e-9), (series.mean_lats, 0.0), (series.p99_lats, 0.0)):
        if not all(value is None or (math.isfinite(value) and least <= value < 1e12) for value in values):
            raise ValueError("client_metrics holds numbers that no measurement comes to")
    return [WINDOW / rate for rate in series.thrus]


def _started_at(name: str, modified: datetime, duration_s: float) -> str:
    """When the first request was sent, estimated from the time when the file was saved."""
    saved, found = modified, _TIME.match(name)
    with contextlib.suppress(ValueError):  # digits that are no time
        saved = datetime.strptime(found[1], "%y%m%d_%H%M%S") if found else saved
    try:
        return (saved - timedelta(seconds=duration_s)).isoformat(timespec="seconds")
    except OverflowError:
        return saved.isoformat(timespec="seconds")


def _defaults(metrics: ClipperMetrics, application: str) -> Sequence[str]:
    """A sentence on default outputs, which the series leave out; none without them."""
    rows = {name: row for one in metrics.get("ratio_counters", []) for name, row in one.items()}
    try:
        share = float(rows[f"app:{application}:default_prediction_ratio"]["ratio"])
    except (KeyError, ValueError):
        return []
    return [f"{share:.1%} of the answers were the default output, which the series leave out"] if share > 0 else []
