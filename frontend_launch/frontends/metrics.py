"""The metrics registry in the original's shape: counters, ratio counters, meters, histograms.

``GET /metrics`` answers ``{category: [{name: {field: text}}]}``; every value is a string, categories
without members are absent. Pure: told the time, never reads it; the sampling of reservoirs is seeded.
"""

from __future__ import annotations

import json
import math
import random
from collections.abc import Callable, Iterable, Iterator, Mapping
from itertools import islice
from typing import Protocol, TypeVar

import numpy as np

from frontend_launch.frontends.metric_numbers import double_text, long_double_text, mean, percentile, standard_deviation
from model_containers.units import NS_PER_S

M = TypeVar("M", bound="Metric")
TICK_NS = 5 * NS_PER_S
"""A meter's moving averages advance in ticks of 5 s."""

_WAITING = 256
"""Values of a histogram that wait to be sampled, at most."""


class Metric(Protocol):
    """What the registry needs of a metric."""

    def fields(self, now_ns: int) -> dict[str, str]:
        """The fields of the report, in order."""
        ...


class Counter:
    """A sum."""

    def __init__(self) -> None:
        self.count = 0

    def add(self, amount: int) -> None:
        """Add to the sum."""
        self.count += amount

    def fields(self, now_ns: int) -> dict[str, str]:
        """The fields of the report."""
        return {"count": str(self.count)}


class RatioCounter:
    """A numerator over a denominator; ``nan`` before the first."""

    def __init__(self) -> None:
        self._numerator = self._denominator = 0

    def add(self, numerator: int, denominator: int) -> None:
        """Add to both.

        Args:
            numerator: at least 0.
            denominator: at least 0.
        """
        self._numerator += numerator
        self._denominator += denominator

    def fields(self, now_ns: int) -> dict[str, str]:
        """The fields of the report."""
        return {"ratio": double_text(self._numerator / self._denominator if self._denominator else math.nan)}


class Meter:
    """Events per second: over its whole life, and as moving averages over 1, 5 and 15 minutes.

    A moving average is -1 until the first tick, then the rate of that tick. Each further tick does
    ``rate += alpha * (instant - rate)``, where ``alpha = 1 - exp(-(5 s / 60 s) / minutes)``. Marking or reading the
    meter makes up for missed ticks: the first one takes all events since the last, the others none.

    Attributes:
        count: all events.
    """

    _MINUTES = (1, 5, 15)
    _ALPHAS = tuple(1 - math.exp(-(5 / 60) / minutes) for minutes in _MINUTES)

    def __init__(self, now_ns: int) -> None:
        self._created_ns = self._ticked_ns = now_ns
        self.count = self._uncounted = 0
        self._rates = [-1.0, -1.0, -1.0]

    def mark(self, events: int, now_ns: int) -> None:
        """Count events that happened now.

        Args:
            events: how many, at least 0.
            now_ns: monotonic clock, never earlier than before.
        """
        if now_ns - self._ticked_ns >= TICK_NS:
            self._tick(now_ns)
        self.count += events
        self._uncounted += events

    def fields(self, now_ns: int) -> dict[str, str]:
        """The fields of the report."""
        self._tick(now_ns)
        elapsed_s = (now_ns - self._created_ns) / NS_PER_S
        rates = {
            f"rate_{minutes}min": double_text(rate) for minutes, rate in zip(self._MINUTES, self._rates, strict=True)
        }
        rate = self.count / elapsed_s if elapsed_s else 0.0
        return {"unit": "events per second", "rate": double_text(rate), **rates}

    def _tick(self, now_ns: int) -> None:
        ticks = max(0, now_ns - self._ticked_ns) // TICK_NS  # a reader may tell the time when it began to read
        for _ in range(min(ticks, 10_000)):  # by then every average has decayed to nothing
            instant = self._uncounted / 5
            self._uncounted = 0
            self._rates[:] = [  # in place: new lists of very many meters would be young garbage's to look at
                instant if rate < 0 else rate + alpha * (instant - rate)
                for rate, alpha in zip(self._rates, self._ALPHAS, strict=True)
            ]
            if not any(self._rates):
                break  # nothing more changes
        self._ticked_ns += ticks * TICK_NS


class Histogram:
    """A reservoir of bounded size (Vitter's algorithm R); all statistics come from the reservoir.

    Values are sampled some hundreds at a time, since sampling one costs what ten do.

    Args:
        unit: of the values, part of the metric's text.
        capacity: values that the reservoir keeps.
        seed: of the sampling.

    Attributes:
        unit: of its values.
    """

    def __init__(self, unit: str, capacity: int, seed: int = 0) -> None:
        self.unit, self._capacity = unit, capacity
        self._sampled = 0
        self._values: list[int] = []
        self._waiting: list[int] = []
        self._seed = seed
        self._random: Callable[[], float] | None = None
        """Made when it is needed: most of very many applications never fill their reservoir, and it takes 2.5 KB."""

    @property
    def seen(self) -> int:
        """How many values there were."""
        return self._sampled + len(self._waiting)

    def record(self, values: Iterable[int]) -> None:
        """Add values, each of which is kept with the same chance."""
        self._waiting.extend(values)
        if len(self._waiting) >= _WAITING:
            self._sample()

    def _sample(self) -> None:
        reservoir, capacity, draw, seen = self._values, self._capacity, self._random, self._sampled
        for value in self._waiting:
            seen += 1
            if len(reservoir) < capacity:
                reservoir.append(value)
            else:
                if draw is None:
                    draw = self._random = random.Random(self._seed).random
                slot = int(draw() * seen)
                if slot < capacity:
                    reservoir[slot] = value
        self._sampled = seen
        self._waiting.clear()

    def fields(self, now_ns: int) -> dict[str, str]:
        """The fields of the report; all zero while nothing was recorded."""
        self._sample()
        if not self._values:
            names = ("size", "min", "max", "mean", "std_dev", "p50", "p95", "p99")
            return {"unit": self.unit, **dict.fromkeys(names, "0")}
        ordered = np.sort(np.array(self._values, dtype=np.int64))
        return {
            "unit": self.unit,
            "size": str(len(ordered)),
            "min": str(ordered[0]),
            "max": str(ordered[-1]),
            "mean": long_double_text(mean(ordered)),
            "std_dev": long_double_text(standard_deviation(ordered)),
            **{f"p{q * 100:.0f}": long_double_text(percentile(ordered, q)) for q in (0.5, 0.95, 0.99)},
        }


def _row(name: str, fields: Mapping[str, str]) -> str:
    """What the standard library writes of one metric, indented by four, in a tenth of the time."""
    lines = ",\n".join(f"                {_quoted(field)}: {_quoted(value)}" for field, value in fields.items())
    return f"{{\n            {_quoted(name)}: {{\n{lines}\n            }}\n        }}"


_quoted = json.encoder.encode_basestring_ascii


class _Rows:
    """Names and metrics in the order of their creation; others may be added while they are read.

    They are read where they are: a copy of very many would be looked at by the next collections of young garbage.
    """

    def __init__(self) -> None:
        self._names: list[str] = []
        self._metrics: list[Metric] = []

    def add(self, name: str, metric: Metric) -> None:
        self._names.append(name)
        self._metrics.append(metric)

    def reader(self) -> Iterator[tuple[str, Metric]]:
        """Gives those that are there now."""
        return islice(zip(self._names, self._metrics, strict=False), len(self._names))


class Registry:
    """All metrics of a frontend, reported by category in the order of their creation."""

    _CATEGORIES: tuple[tuple[str, type], ...] = (
        ("counters", Counter),
        ("ratio_counters", RatioCounter),
        ("meters", Meter),
        ("histograms", Histogram),
    )

    def __init__(self) -> None:
        self._metrics: dict[str, Metric] = {}
        self._file(())

    def _file(self, metrics: Iterable[tuple[str, Metric]]) -> None:
        """Make the rows of these anew."""
        self._removed = 0
        self._of_kind = {kind: _Rows() for _, kind in self._CATEGORIES}
        self._alike: dict[tuple[str, type], _Rows] = {}
        for name, metric in metrics:
            self._add_row(name, metric)

    def _add_row(self, name: str, metric: Metric) -> None:
        self._of_kind[type(metric)].add(name, metric)
        self._alike.setdefault((name.rpartition(":")[2], type(metric)), _Rows()).add(name, metric)

    def add(self, name: str, metric: M) -> M:
        """Register a metric under its full name.

        Args:
            name: full, as the original's documents have it.
            metric: returned as it is.
        """
        self._metrics[name] = metric
        self._add_row(name, metric)
        return metric

    def remove(self, names: Iterable[str]) -> None:
        """Forget these metrics."""
        for name in names:
            del self._metrics[name]
            self._removed += 1
        if self._removed > len(self._metrics):
            self._file(self._metrics.items())

    def _present(self, rows: _Rows) -> Iterator[tuple[str, Metric]]:
        reader = rows.reader()
        return ((name, metric) for name, metric in reader if self._metrics.get(name) is metric)

    def alike(self) -> list[Iterator[tuple[str, Metric]]]:
        """Names and metrics of those that are there now, by the last part of their names, and kind."""
        return [self._present(rows) for rows in self._alike.values()]

    def text(self, now_ns: int) -> Iterator[bytes]:
        """The JSON text of the report, indented by four, in parts: what is added meanwhile is not in it."""
        members = [(category, self._present(self._of_kind[kind])) for category, kind in self._CATEGORIES]
        opened = False
        yield b"{"
        for category, metrics in members:
            before = f'{"," if opened else ""}\n    "{category}": [\n        '
            begun = False
            for name, metric in metrics:
                yield (before + _row(name, metric.fields(now_ns))).encode()
                before, begun, opened = ",\n        ", True, True
            if begun:
                yield b"\n    ]"
        yield b"\n}" if opened else b"}"

    def report(self, now_ns: int) -> dict[str, list[dict[str, dict[str, str]]]]:
        """The document that ``GET /metrics`` answers."""
        report = {}
        for category, kind in self._CATEGORIES:
            members = [{n: m.fields(now_ns)} for n, m in self._metrics.items() if isinstance(m, kind)]
            if members:
                report[category] = members
        return report
