"""The course of a run, and where its requests spent their time, from a results document. Pure.

Only what a document holds is here: older files have no queue lengths, and connected runs no processes.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import TYPE_CHECKING

from frontend_launch.histogram import LatencyHistogram
from loadgen.results.cells import REPLICA

if TYPE_CHECKING:
    from loadgen.results.document import Results
    from loadgen.results.sections import RequestStage, StageTime, StageTimes

Values = list[float | None]

MAX_POINTS = 200
"""Most points of one curve: a plot is hardly wider, and a report of many runs stays small."""

MAX_REPLICAS = 4
"""More replicas than this are shown by their mean."""

SAMPLER = "sampler"


@dataclass(frozen=True, slots=True)
class Curves:
    """Curves over one time axis.

    Attributes:
        at_s: seconds since the measured part began, one for each point.
        lines: values by name, as many as there are times; None where unknown.
    """

    at_s: list[float]
    lines: dict[str, Values]


def throughput_and_p99(results: Results) -> tuple[Curves, Curves]:
    """Requests a second and p99 (ms) by logging interval; where intervals are taken together, the largest p99."""
    series = results.client_metrics
    ends_s = _interval_ends_s(results)
    p99_ms: Values = [None if p99_s is None else 1000 * p99_s for p99_s in series.p99_lats]
    throughput: Values = list(series.thrus)
    return (
        _downsampled(Curves(ends_s, {"throughput": throughput}), _mean),
        _downsampled(Curves(ends_s, {"p99": p99_ms}), max),
    )


def _interval_ends_s(results: Results) -> list[float]:
    """When each logging interval ended: all are of one length but the last, which ends with the measured part.

    A document does not say how long they are, but how many answers an interval had, and how many a second that is.
    """
    count, duration_s = len(results.client_metrics.thrus), results.summary.measured.duration_s
    if not results.histograms.intervals:  # of 2017: each has as many answers as any other
        answers = results.summary.measured.completed / max(1, count)
        return list(accumulate(answers / rate if rate > 0 else 0.0 for rate in results.client_metrics.thrus))
    each_s = duration_s / max(1, count)
    for throughput_rps, blob in list(zip(results.client_metrics.thrus, results.histograms.intervals, strict=False))[
        :-1
    ]:
        if blob is not None and throughput_rps > 0:
            with contextlib.suppress(ValueError):  # one that is damaged tells nothing
                each_s = LatencyHistogram.decode(blob).total / throughput_rps
            break
    return [min(each_s * (number + 1), duration_s) for number in range(count - 1)] + [duration_s] * (count > 0)


def hardware(results: Results) -> dict[str, Curves]:
    """What was watched; what there is nothing of is left out.

    Returns:
        ``cpu`` of each process (1 is one core), ``gpu`` utilisation, ``queue`` length, ``fill`` of batches (1 is full).
    """
    samples = [] if results.hardware is None else results.hardware.samples
    if not samples:
        return {}
    lines = {
        "cpu": _grouped(_series([sample.processes for sample in samples])),
        "gpu": {f"GPU {gpu}": values for gpu, values in _series([sample.gpus for sample in samples]).items()},
        "queue": _series([sample.queue_length for sample in samples]),
        "fill": _series([sample.batch_fill for sample in samples]),
    }
    known = {
        name: {line: values for line, values in group.items() if any(value is not None for value in values)}
        for name, group in lines.items()
    }
    at_s = [sample.at_s for sample in samples]
    return {name: _downsampled(Curves(at_s, group), _mean) for name, group in known.items() if group}


def _series(rows: Sequence[Mapping[str, float | None]]) -> dict[str, Values]:
    """The values of each that the last row has."""
    return {key: [row.get(key) for row in rows] for key in rows[-1]}


def _grouped(processes: Mapping[str, Sequence[float | None]]) -> dict[str, Values]:
    """Without the sampler; many replicas as their mean."""
    lines = {role: list(values) for role, values in processes.items() if role != SAMPLER}
    replicas = [role for role in lines if role.startswith(REPLICA)]
    if len(replicas) <= MAX_REPLICAS:
        return lines
    together = [list(values) for values in zip(*(lines.pop(role) for role in replicas), strict=True)]
    return {**lines, f"mean of {len(replicas)} replicas": [_known(values, _mean) for values in together]}


def _downsampled(curves: Curves, how: Callable[[list[float]], float]) -> Curves:
    """Neighbours taken together, so that at most `MAX_POINTS` remain."""
    step = -(-len(curves.at_s) // MAX_POINTS)
    if step <= 1:
        return curves
    starts = range(0, len(curves.at_s), step)
    lines = {
        name: [_known(values[start : start + step], how) for start in starts] for name, values in curves.lines.items()
    }
    return Curves([curves.at_s[min(start + step, len(curves.at_s)) - 1] for start in starts], lines)


def _known(values: Sequence[float | None], how: Callable[[list[float]], float]) -> float | None:
    known = [value for value in values if value is not None]
    return how(known) if known else None


def _mean(values: list[float]) -> float:
    return sum(values) / len(values)


# Where the time went ---------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Stage:
    """One stage of a request.

    Attributes:
        name: for a reader.
        mean_ms: its mean; of RPC and compute over batches.
        p50_ms: its median; None where it is known as a difference of means only.
        p99_ms: likewise.
    """

    name: str
    mean_ms: float
    p50_ms: float | None = None
    p99_ms: float | None = None


_STAGES = {"queue_wait": "queue wait", "rpc": "RPC", "compute": "compute"}
SERVER_STAGES = {
    "queue": "server's queue",
    "compute_input": "compute input",
    "compute_infer": "compute infer",
    "compute_output": "compute output",
}
"""Of a server of the Open Inference Protocol, whose means are over requests."""
REQUEST_STAGES = {
    "schedule_lag": "schedule lag",
    "client_queue": "client's queue",
    "way_there": "way to the frontend",
    "frontend_queue": "frontend's queue",
    "rpc": "RPC",
    "model": "model",
    "way_back": "way back",
    "client_reading": "client's reading",
    "network": "network, both ways",
    "server": "network and server",
}
"""Of single requests, in the order a request meets them."""


def stages(results: Results) -> list[Stage]:
    """The stages of single requests, or else of the only model, in the order a request meets them."""
    if (timed := _request_stages(results)) is not None:
        return [Stage(REQUEST_STAGES[name], row.mean_ms, row.p50_ms, row.p99_ms) for name, row in timed.items()]
    times = _model_stages(results)
    if times is None:
        return []
    lag = results.summary.lag_ms or {}
    rows = [_stage("client wait", *(lag.get(name) for name in ("mean", "p50", "p99")))]
    for key, name in (_STAGES | SERVER_STAGES).items():
        stage: StageTime | None = getattr(times, key)
        time_ms = {} if stage is None else stage.time_ms
        rows.append(_stage(name, *(time_ms.get(metric) for metric in ("mean", "p50", "p99"))))
    return [row for row in rows if row is not None]


def requests_timed(results: Results) -> bool:
    """Whether the stages are those of single requests, and not of batches."""
    return _request_stages(results) is not None


def _request_stages(results: Results) -> dict[str, RequestStage] | None:
    """By their names; None where the server does not say where they spend their time in it."""
    timed = results.request_stages
    if timed is None or timed.frontend_queue is None:
        return None
    rows: dict[str, RequestStage | None] = {name: getattr(timed, name) for name in REQUEST_STAGES}
    return {name: row for name, row in rows.items() if row is not None}


def _model_stages(results: Results) -> StageTimes | None:
    models = [times for key, times in (results.stages or {}).items() if key.count(":") == 1]
    return models[0] if len(models) == 1 else None


def _stage(name: str, mean_ms: float | None, p50_ms: float | None, p99_ms: float | None) -> Stage | None:
    return None if mean_ms is None else Stage(name, mean_ms, p50_ms, p99_ms)


def budget(results: Results) -> list[Stage]:
    """A mean request's time, in parts that add up to its mean latency; empty where they are not known.

    RPC and compute are means over batches, so that parts are exact for batches of one size only; where they come to
    more than the latency, there is no budget.
    """
    latency_ms = results.summary.latency_ms.get("mean")
    if latency_ms is not None and (timed := _request_stages(results)) is not None:
        return [Stage(REQUEST_STAGES[name], row.share * latency_ms) for name, row in timed.items() if row.share]
    known = {stage.name: stage.mean_ms for stage in stages(results)}
    if latency_ms is not None and set(SERVER_STAGES.values()) <= known.keys():
        rest_ms = latency_ms - sum(known.values())
        return (
            [*(Stage(*item) for item in known.items()), Stage("client and transport", rest_ms)] if rest_ms >= 0 else []
        )
    if latency_ms is None or "queue wait" not in known or "RPC" not in known:
        return []
    rpc_ms, compute_ms = known["RPC"], known.get("compute")
    rest_ms = latency_ms - known.get("client wait", 0.0) - known["queue wait"] - rpc_ms
    if rest_ms < 0 or (compute_ms or 0.0) > rpc_ms:
        return []
    replica = [("RPC", rpc_ms)] if compute_ms is None else [("RPC beyond compute", rpc_ms - compute_ms)]
    parts = [("client wait", known.get("client wait")), ("queue wait", known["queue wait"]), *replica]
    parts += [("compute", compute_ms), ("client and transport", rest_ms)]
    return [Stage(name, mean_ms) for name, mean_ms in parts if mean_ms is not None]
