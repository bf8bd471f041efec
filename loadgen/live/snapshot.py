"""The state of a measurement as the page gets it, in values that JSON takes. Pure."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from loadgen.live.screen import core_groups
from loadgen.live.state import Point, Run, State
from model_containers.units import NS_PER_S

PERCENTILES = (50, 90, 99, 99.9)
DIGITS = 4
"""Significant digits of what is drawn."""

MOST_POINTS = 300
"""Of a line; a longer one is thinned, its last point stays."""


def snapshot(state: State, now_ns: int, *, closed: bool = False) -> dict[str, Any]:
    """What the page shows.

    Args:
        state: of the measurement.
        now_ns: the clock of the state.
        closed: nothing follows.
    """
    progress, waits = state.progress, state.waits
    return {
        "command": state.begin.command,
        "tags": dict(state.begin.tags),
        "progress": None
        if progress is None
        else {
            "unit": progress.unit,
            "done": progress.done,
            "total": progress.total,
            "now": progress.now,
            "left": None if progress.left_s is None else _left(progress.left_s, now_ns - progress.at_ns),
            "atMost": progress.at_most,
        },
        "waits": None if waits is None else {"what": waits.what, "seconds": round((now_ns - waits.at_ns) / NS_PER_S)},
        "run": None if state.run is None or state.run.began_ns is None else _run(state.run, state.run.began_ns, now_ns),
        "dropped": state.dropped,
        "closed": closed or state.closed,
    }


def _run(run: Run, began_ns: int, now_ns: int) -> dict[str, Any]:
    counts, last, sample = run.counts, run.last, run.sample
    points = _thinned(list(run.points))
    fills = {} if sample is None else sample.batch_fill
    return {
        "title": run.planned.title,
        "load": run.planned.load,
        "openLoop": run.planned.open_loop,
        "elapsed": round((now_ns - began_ns) / NS_PER_S - run.planned.warmup_s),
        "seconds": run.planned.measured_s,
        "requests": run.planned.requests,
        "over": run.over,
        "sent": counts.sent,
        "completed": counts.completed,
        "lost": counts.lost,
        "throughput": _digits(run.throughput_rps),
        "latency": {f"p{each:g}": _digits(counts.percentile_ms(each)) for each in PERCENTILES},
        "inFlight": None if last is None else _digits(last.in_flight),
        "points": {
            "seconds": [_digits(point.end_s) for point in points],
            "throughput": [_digits(point.throughput_rps) for point in points],
            "p50": [_digits(point.p50_ms) for point in points],
            "p99": [_digits(point.p99_ms) for point in points],
            "inFlight": [_digits(point.in_flight) for point in points],
        },
        "cores": [
            {"cores": cores, "roles": roles, "share": _digits(share)} for cores, roles, share in core_groups(run)
        ],
        "queues": [
            {"name": key, "fill": _digits(fill), "length": run.queue_length.get(key, 0)} for key, fill in fills.items()
        ],
        "checks": [{"reason": check.reason, "fails": check.fails} for check in run.checks],
    }


def _left(left_s: float, passed_ns: int) -> int:
    return max(0, round(left_s - passed_ns / NS_PER_S))


def _thinned(points: Sequence[Point]) -> Sequence[Point]:
    every = -(-len(points) // MOST_POINTS) or 1
    return points[(len(points) - 1) % every :: every]


def _digits(value: float | None) -> float | None:
    return None if value is None or not math.isfinite(value) else float(f"{value:.{DIGITS}g}")
