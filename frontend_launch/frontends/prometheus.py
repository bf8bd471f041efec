"""The metrics in the text format of Prometheus, version 0.0.4: ``GET /metrics/prometheus``.

The original's metrics keep their names, whose parts become labels: ``model:noop:1:prediction_latency`` is
``loadgen_prediction_latency`` with ``scope="model"`` and ``of="noop:1"``. Where there are exact histograms, they are
histograms here too; the original's samples are summaries.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, fields
from itertools import islice
from typing import Any

import numpy as np
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.metrics_core import Metric

from frontend_launch.counters import Counters
from frontend_launch.frontends.metrics import Counter, Histogram, Meter, RatioCounter, Registry
from frontend_launch.histogram import LatencyHistogram
from frontend_launch.stages import Stages
from model_containers.units import NS_PER_S

PREFIX = "loadgen_"

BOUNDS_S = tuple(m * 10.0**e for e in range(-5, 2) for m in (1, 2.5, 5))
"""Upper bounds of the buckets of times, 10 µs to 50 s; the exact histograms are in ``/metrics/loadgen/stages``."""

_MOMENTARY = frozenset({"max_batch", "queue_length", "alive", "overdue", "aside"})


SAMPLES_AT_ONCE, METRICS_AT_ONCE = 50, 12
"""Of a part of the text."""


def exposition(
    registry: Registry, counters: Counters, stages: Iterable[tuple[str, Stages]], now_ns: int
) -> Iterator[bytes]:
    """All metrics, as Prometheus reads them, in parts: some work for each, and empty ones too.

    Args:
        registry: metrics in the original's shape.
        counters: the frontend's own.
        stages: by model, or by model and replica.
        now_ns: monotonic clock.
    """
    yield from _originals(registry, now_ns)
    families = _Families()
    yield from _add_counters(families, counters)
    for key, row in stages:
        scope = {"scope": "replica" if key.count(":") > 1 else "model", "of": key}
        for name in ("queue_wait", "rpc", "compute"):
            histogram = getattr(row, name)
            if histogram.total:
                _add_histogram(families, f"{name}_seconds", scope, *_cumulative(histogram))
        if row.batch_sizes:
            sizes = sorted(row.batch_sizes)
            below = np.cumsum([row.batch_sizes[size] for size in sizes])
            queries = sum(size * count for size, count in row.batch_sizes.items())
            _add_histogram(families, "batch_queries", scope, zip(sizes, below, strict=True), int(below[-1]), queries)
        yield b""
    for family in families:
        for start in range(0, len(family.samples), SAMPLES_AT_ONCE):
            part = Metric(family.name, family.documentation, family.type)
            part.samples = family.samples[start : start + SAMPLES_AT_ONCE]
            yield _text(part, start == 0)


def _originals(registry: Registry, now_ns: int) -> Iterator[bytes]:
    """The text of the original's metrics, of which few samples are in memory at once."""
    for metrics in registry.alike():
        begun = False
        while some := tuple(islice(metrics, METRICS_AT_ONCE)):
            families = _Families()
            for name, metric in some:
                _add_original(families, name, metric, now_ns)
            (family,) = families
            yield _text(family, not begun)
            begun = True


def _text(family: Metric, begins: bool) -> bytes:
    """The text of samples; the two lines that say what they are come before the first."""
    collectors = CollectorRegistry()
    collectors.register(_Families([family]))
    text = generate_latest(collectors)
    return text if begins else text.split(b"\n", 2)[2]


class _Families:
    """Metrics by name, each with the samples of all its labels: what the library calls a collector."""

    def __init__(self, families: Iterable[Metric] = ()) -> None:
        self._families = {family.name: family for family in families}

    def add(self, name: str, kind: str, suffix: str, labels: Mapping[str, str], value: float) -> None:
        family = self._families.setdefault(name, Metric(PREFIX + name, name.replace("_", " "), kind))
        family.add_sample(PREFIX + name + suffix, dict(labels), value)

    def __iter__(self) -> Iterator[Metric]:
        return iter(self._families.values())

    def collect(self) -> Iterator[Metric]:
        yield from self


def _add_original(families: _Families, name: str, metric: Any, now_ns: int) -> None:
    scope, _, rest = name.partition(":")
    of, _, what = rest.rpartition(":")
    labels = {"scope": scope, "of": of} if of else {"scope": scope}
    fields = metric.fields(now_ns)
    match metric:
        case Counter():
            families.add(what, "counter", "_total", labels, metric.count)
        case RatioCounter():
            families.add(what, "gauge", "", labels, float(fields["ratio"]))
        case Meter():
            families.add(what, "counter", "_total", labels, metric.count)
        case Histogram():
            for quantile, field in (("0.5", "p50"), ("0.95", "p95"), ("0.99", "p99")):
                families.add(
                    f"{what}_{metric.unit}", "summary", "", {**labels, "quantile": quantile}, float(fields[field])
                )
            families.add(f"{what}_{metric.unit}", "summary", "_count", labels, metric.seen)


def _add_counters(families: _Families, counters: Counters) -> Iterator[bytes]:
    values = {item.name: getattr(counters, item.name) for item in fields(counters)}
    row = {name: value for name, value in values.items() if isinstance(value, int) and name != "now_ns"}
    _add_row(families, "frontend", {}, row)
    for kind, count in counters.dropped.items():
        families.add("frontend_dropped", "counter", "_total", {"kind": kind}, count)
    for key, model in counters.models.items():
        _add_row(families, "model", {"of": key}, asdict(model))
        yield b""
    for key, replica in counters.replicas.items():
        row = {name: value for name, value in asdict(replica).items() if isinstance(value, int)}
        _add_row(families, "replica", {"of": key}, row)
        yield b""


def _add_row(families: _Families, scope: str, labels: Mapping[str, str], row: Mapping[str, int]) -> None:
    for name, value in row.items():
        if name in _MOMENTARY:
            families.add(f"{scope}_{name}", "gauge", "", labels, value)
        elif name.endswith("_ns"):
            families.add(f"{scope}_{name.removesuffix('_ns')}_seconds", "counter", "_total", labels, value / NS_PER_S)
        else:
            families.add(f"{scope}_{name}", "counter", "_total", labels, value)


def _cumulative(histogram: LatencyHistogram) -> tuple[Iterator[tuple[float, int]], int, float]:
    """How many values are at most each bound, to the 3 digits of a histogram; how many in all, and their sum."""
    below = ((bound_s, histogram.count_at_most(round(bound_s * NS_PER_S))) for bound_s in BOUNDS_S)
    return below, histogram.total, histogram.sum_ns / NS_PER_S


def _add_histogram(
    families: _Families,
    name: str,
    labels: Mapping[str, str],
    buckets: Iterable[tuple[float, int]],
    count: int,
    total: float,
) -> None:
    for bound, below in buckets:
        families.add(name, "histogram", "_bucket", {**labels, "le": f"{bound:g}"}, int(below))
    families.add(name, "histogram", "_bucket", {**labels, "le": "+Inf"}, count)
    families.add(name, "histogram", "_count", labels, count)
    families.add(name, "histogram", "_sum", labels, total)
