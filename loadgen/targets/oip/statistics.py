"""Reads a server's statistics: two readings give the counts of the measured part; pure.

Source: Triton's extension "statistics". Times of single requests are sums over requests. Times of batches are sums over
executions, and so the busy time of an instance.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from loadgen.errors import TargetError

STAGES = ("queue", "compute_input", "compute_infer", "compute_output")


@dataclass(frozen=True, slots=True)
class Sum:
    """A count of events, and their total time."""

    count: int = 0
    ns: int = 0

    def since(self, before: Sum) -> Sum:
        """What was added."""
        return Sum(self.count - before.count, self.ns - before.ns)

    @property
    def mean_ms(self) -> float | None:
        """Of one; None without any."""
        return self.ns / self.count / 1e6 if self.count else None


@dataclass(frozen=True, slots=True)
class Statistics:
    """What a server has counted for a model.

    Attributes:
        rows: inferences, one for each row of a batch.
        executions: batches that were computed.
        succeeded: requests that were answered, and their whole time in the server.
        failed: requests that were not.
        stages: of requests, by the names of `STAGES`.
        batches: executions by the size of their batch, and the time in which they were computed.
    """

    rows: int = 0
    executions: int = 0
    succeeded: Sum = Sum()
    failed: Sum = Sum()
    stages: Mapping[str, Sum] = field(default_factory=dict)
    batches: Mapping[int, Sum] = field(default_factory=dict)

    def since(self, before: Statistics) -> Statistics:
        """What was added."""
        return Statistics(
            self.rows - before.rows,
            self.executions - before.executions,
            self.succeeded.since(before.succeeded),
            self.failed.since(before.failed),
            {name: value.since(before.stages.get(name, Sum())) for name, value in self.stages.items()},
            {
                size: added
                for size, value in self.batches.items()
                if (added := value.since(before.batches.get(size, Sum()))).count
            },
        )

    def follows(self, before: Statistics) -> bool:
        """Whether this can be a later reading of the same counters, which never fall."""
        added = self.since(before)
        sums = [added.succeeded, added.failed, *added.stages.values(), *added.batches.values()]
        numbers = [added.rows, added.executions, *(number for one in sums for number in (one.count, one.ns))]
        return min(numbers) >= 0 and before.batches.keys() <= self.batches.keys()

    @property
    def mean_batch(self) -> float | None:
        """Mean rows of a batch; None without batches."""
        return self.rows / self.executions if self.executions else None

    @property
    def busy_ns(self) -> int:
        """The busy time of all instances together."""
        return sum(value.ns for value in self.batches.values())


def read(document: Mapping[str, Any], model: str) -> Statistics:
    """Read the JSON of ``/v2/models/MODEL/stats``; of several versions the sum.

    Args:
        document: as parsed.
        model: name of the model whose counts are wanted.

    Raises:
        TargetError: it is not statistics of the protocol.
    """
    try:
        each = [_read(row) for row in document["model_stats"] if row["name"] == model]
    except (KeyError, TypeError, ValueError, AttributeError, OverflowError):
        raise TargetError("the server's statistics cannot be understood") from None
    total = Statistics()
    for one in each:
        total = _added(total, one)
    return total


def _read(row: Mapping[str, Any]) -> Statistics:
    stats = row["inference_stats"]
    return Statistics(
        _count(row["inference_count"]),
        _count(row["execution_count"]),
        _sum(stats.get("success")),
        _sum(stats.get("fail")),
        {name: _sum(stats.get(name)) for name in STAGES},
        {_count(batch["batch_size"]): _batch(batch) for batch in row.get("batch_stats") or ()},
    )


def _batch(batch: Mapping[str, Any]) -> Sum:
    parts = [_sum(batch.get(name)) for name in STAGES[1:]]
    return Sum(max(part.count for part in parts), sum(part.ns for part in parts))


def _sum(value: Mapping[str, Any] | None) -> Sum:
    value = value or {}
    return Sum(_count(value.get("count", 0)), _count(value.get("ns", 0)))


def _count(value: Any) -> int:
    """A count, which may be written as a text.

    Raises:
        ValueError: it is not a count.
        OverflowError: it is too large for a float.
    """
    if not 0 <= float(value) < 2**64:  # nor is NaN
        raise ValueError(value)
    return int(value)


def _added(one: Statistics, other: Statistics) -> Statistics:
    def add(first: Sum, second: Sum) -> Sum:
        return Sum(first.count + second.count, first.ns + second.ns)

    def merge(first: Mapping[Any, Sum], second: Mapping[Any, Sum]) -> dict[Any, Sum]:
        keys: Iterator[Any] = iter({**first, **second})
        return {key: add(first.get(key, Sum()), second.get(key, Sum())) for key in keys}

    return Statistics(
        one.rows + other.rows,
        one.executions + other.executions,
        add(one.succeeded, other.succeeded),
        add(one.failed, other.failed),
        merge(one.stages, other.stages),
        merge(one.batches, other.batches),
    )
