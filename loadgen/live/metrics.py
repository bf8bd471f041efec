"""The state of a measurement as Prometheus metrics.

Counters go on over all runs of a measurement, of their measured parts. Gauges are those of the last interval, or of the
last reading of the machine, and 0 between runs.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager

from prometheus_client import CollectorRegistry
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.registry import Collector

from loadgen.live.state import Run, State
from model_containers.units import NS_PER_S

BOUNDS_S = (*(value * 10.0**power for power in range(-4, 2) for value in (1.0, 2.5, 5.0)), 100.0, 250.0)
"""Upper bounds of the buckets of latencies: three for each power of ten, from 100 µs to 250 s."""


class Metrics(Collector):
    """Collects the metrics of a state.

    Args:
        state: of the measurement.
        lock: is held while the state is read.
    """

    def __init__(self, state: State, lock: AbstractContextManager[object]) -> None:
        self._state, self._lock = state, lock

    def registry(self) -> CollectorRegistry:
        """A registry of these metrics alone."""
        registry = CollectorRegistry()
        registry.register(self)
        return registry

    def collect(self) -> Iterator[Metric]:
        """All metrics, each with the tags as labels."""
        with self._lock:
            found = list(families(self._state))
        return iter(found)

    def describe(self) -> Sequence[Metric]:
        """Nothing: the state at registration says little."""
        return []


def families(state: State) -> Iterator[Metric]:
    """The metrics of a state."""
    tags, counts = state.begin.tags, state.counts
    run = None if state.run is None or state.run.over else state.run
    last = None if run is None else run.last
    yield _info(state)
    yield _counter(tags, "runs", "Runs whose load has begun.", state.runs)
    yield _counter(tags, "requests_sent", "Requests sent.", counts.sent)
    yield _counter(tags, "requests_completed", "Requests with a good answer.", counts.completed)
    yield _counter(tags, "requests_failed", "Requests that ended without a good answer.", counts.lost)
    in_flight = 0.0 if last is None else last.in_flight
    yield _gauge(tags, "requests_in_flight", "Mean requests in flight in the last interval.", in_flight)
    rate_rps = 0.0 if last is None else last.throughput_rps
    yield _gauge(tags, "throughput_requests_per_second", "Good answers a second in the last interval.", rate_rps)
    yield _latency(state)
    yield from _machine(tags, run)
    checks = [] if run is None else run.checks
    fails = sum(check.fails for check in checks)
    yield _gauge(tags, "checks_failing", "Conditions and checks that do not hold as things stand.", fails)
    yield _gauge(tags, "checks_near_limit", "Conditions and checks close to their limit.", len(checks) - fails)
    yield _counter(tags, "live_dropped_messages", "Records that the live process was too slow for.", state.dropped)


def _info(state: State) -> Metric:
    planned = None if state.run is None else state.run.planned
    model, load = ("", "") if planned is None else (planned.title, planned.load)
    labels = {**state.begin.tags, "command": state.begin.command, "model": model, "load": load}
    family = GaugeMetricFamily("loadgen_info", "What is measured.", labels=list(labels))
    family.add_metric(list(labels.values()), 1)
    return family


def _counter(tags: Mapping[str, str], name: str, text: str, value: float) -> Metric:
    family = CounterMetricFamily(f"loadgen_{name}", text, labels=list(tags))
    family.add_metric(list(tags.values()), value)
    return family


def _gauge(tags: Mapping[str, str], name: str, text: str, value: float) -> Metric:
    family = GaugeMetricFamily(f"loadgen_{name}", text, labels=list(tags))
    family.add_metric(list(tags.values()), value)
    return family


def _latency(state: State) -> Metric:
    tags, latency = state.begin.tags, state.counts.latency
    text = "Latency of good answers; from the planned time where a schedule says when to send."
    family = HistogramMetricFamily("loadgen_request_latency_seconds", text, labels=list(tags))
    counts = [latency.count_at_most(round(bound_s * NS_PER_S)) for bound_s in BOUNDS_S]
    buckets = [(repr(bound_s), count) for bound_s, count in zip(BOUNDS_S, counts, strict=True)]
    family.add_metric(list(tags.values()), [*buckets, ("+Inf", latency.total)], latency.sum_ns / NS_PER_S)
    return family


def _machine(tags: Mapping[str, str], run: Run | None) -> Iterator[Metric]:
    """What cores, processes and queues did at the last reading; nothing where the machine is not watched."""
    if run is None or run.sample is None:
        return
    busy = {str(core): share for core, share in run.sample.busy.items()}
    fills = {key: fill for key, fill in run.sample.batch_fill.items() if fill is not None}
    queues = {key: float(length) for key, length in run.queue_length.items()}
    for name, text, label, values in (
        ("core_busy_ratio", "Share of the last second in which a core was busy.", "core", busy),
        ("process_cpu_cores", "Cores that a role of the plan used in the last second.", "role", run.sample.cpu),
        ("batch_fill_ratio", "Mean batch in the last second over the largest there may be.", "queue", fills),
        ("queue_length", "Queries that wait in the frontends.", "queue", queues),
    ):
        if values:
            family = GaugeMetricFamily(f"loadgen_{name}", text, labels=[*tags, label])
            for key, value in values.items():
                family.add_metric([*tags.values(), key], value)
            yield family
