"""Condenses a record into counts, throughput and percentiles."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Annotated

from msgspec import Meta

from frontend_launch.histogram import LatencyHistogram, rank
from loadgen.constraints import Count
from loadgen.load.record import Record
from loadgen.load.target import Outcome
from model_containers.units import NS_PER_S

PERCENTILES = (50.0, 90.0, 95.0, 99.0, 99.9)
_NS_PER_MS = 1e6

LAG_SHARE = 0.1
"""From this share of the client's own lag on, a latency is marked."""

METRICS = ("mean", "min", *(f"p{percentile:g}" for percentile in PERCENTILES), "max")

LatenciesMs = Annotated[Mapping[str, float | None], Meta(extra_json_schema={"propertyNames": {"enum": list(METRICS)}})]
"""Milliseconds by the names of `METRICS`."""

IntervalsMs = Annotated[
    Mapping[str, tuple[float, float]], Meta(extra_json_schema={"propertyNames": {"enum": list(METRICS)}})
]
"""Lower and upper end in milliseconds, by the names of `METRICS`."""


def slow_name(bound_ns: int) -> str:
    """The name of the share of requests without a good answer in less than a time, such as ``latency>=100ms``."""
    return f"latency>={bound_ns / _NS_PER_MS:.6f}".rstrip("0").rstrip(".") + "ms"


@dataclass(frozen=True, slots=True)
class Share:
    """Some of the requests of the measured part.

    Attributes:
        count: how many.
        requests: of how many.
        interval: 95% interval of the share; None where not known.
    """

    count: Count
    requests: Count
    interval: tuple[float, float] | None = None

    @property
    def value(self) -> float:
        """The share."""
        return self.count / self.requests


BoundsMs = Annotated[
    Mapping[str, tuple[float, float | None]], Meta(extra_json_schema={"propertyNames": {"enum": list(METRICS)}})
]
"""Lower and upper bound in milliseconds, None for none, by the names of `METRICS`."""

FEW = 5
"""Where fewer requests are slower than a percentile, only a lower bound of it is known."""


def is_few(percentile: float, requests: int) -> bool:
    """Whether this number of requests is too small for a percentile, whatever their latencies.

    Args:
        percentile: 0 to 100.
        requests: answered and lost ones.
    """
    return requests - rank(percentile, requests) < FEW if requests else True


@dataclass(frozen=True, slots=True)
class MeasuredPart:
    """The measured part.

    Attributes:
        duration_s: its length.
        sent: requests sent in it.
        completed: answers that arrived in it.
        steady_window_s: its beginning and end, seconds after the warm-up, where it was limited to the time in which the
            run was steady; None where it was not. The server's own numbers, in `frontend_counters`, `stages`,
            `server_statistics` and `server_metrics`, and `request_stages` are of all the time since the warm-up.
    """

    duration_s: float
    sent: Count
    completed: Count
    steady_window_s: tuple[float, float] | None = None


@dataclass(frozen=True, slots=True)
class Summary:
    """Counts over the whole run, warm-up included; throughput and latency of the measured part.

    Where a schedule says when to send, `latency_ms` counts from the planned time, over all requests that were planned
    for the measured part. The `lost` requests count as slower than any answer. A percentile that falls among them is
    None, and `latency_above_ms` has its lower bound. `planned` requests are `offered_rps` a second; these two,
    `service_ms` and `lag_ms` are None where a window says when to send.

    Attributes:
        sent: the sum of completed, defaulted, timed_out, failed and abandoned.
        completed: requests answered as they should be.
        defaulted: requests answered with the default output.
        timed_out: requests without an answer in time.
        failed: requests that the server refused, or that were lost with a connection.
        abandoned: requests that were outstanding at the end.
        late: replies to requests whose outcome was final.
        unexpected: replies that no request asked for.
        left_behind: requests that the server still had at the end; None where the run did not wait for them.
        measured: the measured part.
        throughput_rps: answers a second in the measured part.
        latency_ms: mean and percentiles by name; None without answers.
        planned: requests that the schedule planned for the measured part.
        offered_rps: the same a second.
        latency_above_ms: a lower bound of those that fall among lost requests, as far as one is known: the slowest
            answer, or the timeout where requests waited for all of it; of the mean only if all lost ones did.
        service_ms: from when ZeroMQ took a request, its queue included.
        lag_ms: how much later than planned requests were sent.
        upper_bounds: completed requests whose latency is an upper bound, since the client did not run when their
            answers arrived.
        reading_ms: the longest time between two readings of replies that a closed loop asked for; 0 where each was read
            as it came. A latency is too long by at most this, unless the client had to wait for its core.
        failed_batches: batches of the measured part that failed; None where the server does not say.
        lost: requests of the measured part without a good answer, those with a default output included; None in earlier
            files. Without a schedule, those that ended in it, or waited in vain for twice the slowest answer.
        intervals_ms: 95% intervals of the mean and of percentiles of `latency_ms`, where they are known; None in files
            that have no intervals.
        throughput_interval_rps: 95% interval of the throughput; None where not known.
        shares: shares of the requests of the measured part: of each outcome other than completed, and by `slow_name`
            those without a good answer within a bound of a condition. None where no condition needs them.
        bounds_ms: lower and upper bound of each value of `latency_ms` without an interval, where they are known, see
            `docs/reports.md`; None in files that have no bounds.
        resent: requests sent once more on another connection, since the server had closed theirs before any of the
            answer came; their latencies count from the first time. 0 in files from before they were counted.
    """

    sent: Count
    completed: Count
    defaulted: Count
    timed_out: Count
    failed: Count
    abandoned: Count
    late: Count
    unexpected: Count
    left_behind: int | None
    measured: MeasuredPart
    throughput_rps: float
    latency_ms: LatenciesMs
    planned: Count | None = None
    offered_rps: float | None = None
    latency_above_ms: Mapping[str, float] | None = None
    service_ms: LatenciesMs | None = None
    lag_ms: LatenciesMs | None = None
    upper_bounds: Count = 0
    reading_ms: float = 0.0
    failed_batches: Count | None = None
    lost: Count | None = None
    intervals_ms: IntervalsMs | None = None
    throughput_interval_rps: tuple[float, float] | None = None
    shares: Mapping[str, Share] | None = None
    bounds_ms: BoundsMs | None = None
    resent: Count = 0

    @property
    def uncertain(self) -> tuple[str, ...]:
        """The mean and percentiles whose interval is not known; where there are no intervals, those of few requests."""
        known = self.intervals_ms
        if known is None:
            return self.few
        return tuple(
            name
            for name, value in self.latency_ms.items()
            if value is not None and name not in ("min", "max") and name not in known
        )

    @property
    def few(self) -> tuple[str, ...]:
        """The percentiles of which there are too few requests, see `is_few`."""
        requests = self.measured.completed + (self.lost or 0)
        return tuple(
            name
            for percentile in PERCENTILES
            if self.latency_ms.get(name := f"p{percentile:g}") is not None and is_few(percentile, requests)
        )

    def within_ms(self, name: str) -> tuple[float, float]:
        """What is known of a latency: its ends, equal where the value is sure or nothing else is known of it.

        For one that falls among lost requests, the lower end is its lower bound.

        Args:
            name: of `latency_ms` or of `latency_above_ms`.
        """
        value = self.latency_ms.get(name)
        if value is None:
            return (self.latency_above_ms or {}).get(name, 0.0), math.inf
        if (interval := (self.intervals_ms or {}).get(name)) is not None:
            return interval
        if (bounds := (self.bounds_ms or {}).get(name)) is not None:
            return bounds[0], math.inf if bounds[1] is None else bounds[1]
        return (0.0, math.inf) if name in self.few else (value, value)

    def least_ms(self, name: str) -> float | None:
        """A latency; for one that falls among lost requests, its lower bound.

        Args:
            name: of `latency_ms`.
        """
        value = self.latency_ms.get(name)
        return (self.latency_above_ms or {}).get(name) if value is None else value

    @property
    def marked(self) -> tuple[str, ...]:
        """Percentiles of which the client's own lag is a large share: the same percentile of the lag, over it."""
        lag_ms = self.lag_ms or {}
        return tuple(
            name
            for name, value in self.latency_ms.items()
            if name.startswith("p") and value and (lag_ms.get(name) or 0.0) >= LAG_SHARE * value
        )


def summarise(record: Record, timeout_s: float | None = None) -> Summary:
    """Condense a record.

    Args:
        record: of the client.
        timeout_s: patience for one reply, so long timed-out requests waited at least; None where it is not known.
    """
    outcomes, offered = record.outcomes, record.offered
    measured_s = record.measured_ns / NS_PER_S
    arrived = record.latency.total if offered is None else offered.arrived
    skipped_s = record.skipped_ns / NS_PER_S
    steady_window_s = (skipped_s, skipped_s + measured_s) if skipped_s else None
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
        measured=MeasuredPart(measured_s, record.measured_sent, record.latency.total, steady_window_s),
        throughput_rps=arrived / measured_s if measured_s else 0.0,
        latency_ms=latencies_ms(record.latency, record.lost),
        latency_above_ms=_lower_bounds_ms(record, timeout_s),
        upper_bounds=record.upper_bounds,
        reading_ms=record.reading_ns / _NS_PER_MS,
        lost=record.lost,
        resent=record.resent,
    )
    if offered is None:
        return summary
    return replace(
        summary,
        planned=offered.planned,
        offered_rps=offered.planned / measured_s if measured_s else 0.0,
        service_ms=latencies_ms(offered.service),
        lag_ms=latencies_ms(offered.lag),
    )


def _lower_bounds_ms(record: Record, timeout_s: float | None) -> dict[str, float]:
    """Milliseconds by name: lower bounds of the latencies that fall among lost requests.

    Those that timed out waited for the timeout. Failed and abandoned ones count as slower than any answer;
    nothing else is known of them, so they are the first of the lost ones.
    """
    latency, lost = record.latency, record.lost
    timed_out, timeout_ms = (0, 0.0) if timeout_s is None else (min(record.timed_out, lost), timeout_s * 1e3)
    slowest_ms = latency.max_ns / _NS_PER_MS
    number = latency.total + lost
    bounds_ms = {}
    if lost and timed_out == lost:
        bounds_ms["mean"] = (latency.sum_ns / _NS_PER_MS + timed_out * timeout_ms) / number
    for percentile, name in (*((percentile, f"p{percentile:g}") for percentile in PERCENTILES), (100.0, "max")):
        position = rank(percentile, number)
        if number >= position > number - timed_out:
            bounds_ms[name] = max(slowest_ms, timeout_ms)
        elif position > latency.total and latency.total:
            bounds_ms[name] = slowest_ms
    return bounds_ms


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
