"""Condenses a record into counts, throughput and percentiles."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from frontend_launch.histogram import LatencyHistogram
from loadgen.load.record import Record
from loadgen.load.target import Outcome

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
    latency_ms = latencies_ms(record.latency, lost)
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
        service_ms=latencies_ms(offered.service),
        lag_ms=latencies_ms(offered.lag),
    )


def latencies_ms(histogram: LatencyHistogram, lost: int = 0) -> dict[str, float | None]:
    """Milliseconds by name; `lost` values are slower than all of the histogram's."""

    def milliseconds(value_ns: float | None) -> float | None:
        return None if value_ns is None else value_ns / _NS_PER_MS

    return {
        "mean": None if lost else milliseconds(histogram.mean_ns),
        "min": milliseconds(histogram.min_ns if histogram.total else None),
        **{f"p{percentile:g}": milliseconds(histogram.percentile_ns(percentile, lost)) for percentile in PERCENTILES},
        "max": milliseconds(histogram.max_ns if histogram.total and not lost else None),
    }
