"""Whether a replica works: how long a batch may take, and for how long one that fails gets no more. Pure.

A batch has a deadline from the times of earlier batches of its model: nothing else tells a replica that hangs from
one that computes. The deadline is generous: a wrong guess costs work, and a late one costs seconds.
"""

from __future__ import annotations

import enum
from collections import Counter
from dataclasses import dataclass

from model_containers.data_types import DataType
from model_containers.units import NS_PER_S

FLOOR_NS = 5 * NS_PER_S
"""No batch has less: a loaded machine, or a pause of the runtime, holds a quick model up for seconds."""

UNKNOWN_NS = 60 * NS_PER_S
"""The deadline while no replica of the model has answered, which may load, compile and warm up."""

TIMES = 10
"""A deadline is this many times the longest recent batch of that size."""

FORGOTTEN = 64
"""The longest recent time falls by one part in this many with each batch of that size."""

FAILURES = 3
"""After this many failed batches in a row a replica pauses."""

FIRST_PAUSE_NS, LONGEST_PAUSE_NS = NS_PER_S, 60 * NS_PER_S
"""The first pause of a replica that fails; each one after that is twice as long, up to the longest."""


class Aside(enum.Enum):
    """Why a replica gets no batches."""

    HUNG = "hung"
    FAILING = "failing"


_FIRST = 0
"""In place of the number of bits of a size."""


class Patience:
    """How long a batch of one model may take, learned from those that were answered.

    Sizes are told apart by powers of two. An answer after the deadline doubles it at most: it tells as well of a
    replica that was stopped as of a model that became slower.
    """

    def __init__(self) -> None:
        self._longest_ns: dict[int, int] = {}
        """By the number of bits of the size; of the first batches of replicas, whatever their size, at `_FIRST`."""

    def answered(self, queries: int, elapsed_ns: int, first: bool) -> None:
        """Learn from a batch.

        Args:
            queries: its size.
            elapsed_ns: how long it was the batch under way.
            first: it was the first that its replica answered, which may have had a warm-up in it.
        """
        bits = _FIRST if first else queries.bit_length()
        longest_ns = self._longest_ns.get(bits, 0)
        if elapsed_ns > longest_ns:
            elapsed_ns = min(elapsed_ns, 2 * self.deadline_ns(queries, first) // TIMES)
        self._longest_ns[bits] = max(elapsed_ns, longest_ns - longest_ns // FORGOTTEN)

    def deadline_ns(self, queries: int, first: bool) -> int:
        """How long a batch may take before its replica counts as hung.

        Args:
            queries: its size.
            first: its replica has not answered any yet.
        """
        first_ns, usual_ns = self._longest_ns.get(_FIRST), self._usual_ns(queries)
        if first_ns is None or (usual_ns is None and not first):
            return max(UNKNOWN_NS, TIMES * (first_ns or usual_ns or 0))
        return max(FLOOR_NS, TIMES * (usual_ns or 0), TIMES * first_ns if first else 0)

    def _usual_ns(self, queries: int) -> int | None:
        """What such a batch takes at most: as long as the next larger one known, or in proportion to the largest."""
        bits = queries.bit_length()
        if (found := self._longest_ns.get(bits)) is not None:
            return found
        sizes = [size for size in self._longest_ns if size != _FIRST]
        if not sizes:
            return None
        nearest = min((size for size in sizes if size > bits), default=max(sizes))
        return self._longest_ns[nearest] << max(0, bits - nearest)


class OutputTypes:
    """What type the replicas of one model answer with; one that differs from most of them is wrong.

    Nothing else says which type is right. Where no type has more than half of the replicas, each may be.
    """

    def __init__(self) -> None:
        self._said: dict[int, DataType] = {}
        self._usual: DataType | None = None

    def differs(self, replica_id: int, output_type: DataType) -> bool:
        """Whether an answer is of another type than those of most replicas, this one included.

        Args:
            replica_id: who answers.
            output_type: of its answer.
        """
        if self._said.get(replica_id) is not output_type:
            self._said[replica_id] = output_type
            self._count()
        return self._usual is not None and output_type is not self._usual

    def lost(self, replica_id: int) -> None:
        """A replica is gone."""
        self._said.pop(replica_id, None)
        self._count()

    def _count(self) -> None:
        for found, replicas in Counter(self._said.values()).most_common(1):
            self._usual = found if 2 * replicas > len(self._said) else None


@dataclass(slots=True)
class Health:
    """The health of one replica.

    Attributes:
        aside: why it gets no batches; None while it does.
        since_ns: when that began.
        until_ns: when one that fails gets the next batch.
        failures: batches in a row that failed.
        doubts: batches in a row that failed, perhaps because of their inputs.
        pause_ns: how long its last pause was.
        overdue: its batch under way is past its deadline.
        hung_times: how often it was set aside because it hung.
        failing_times: how often it was set aside because its batches failed.
        aside_ns: how long it was set aside, finished times only.
        late_batches: batches that it answered after others had.
    """

    aside: Aside | None = None
    since_ns: int = 0
    until_ns: int = 0
    failures: int = 0
    doubts: int = 0
    pause_ns: int = 0
    overdue: bool = False
    hung_times: int = 0
    failing_times: int = 0
    aside_ns: int = 0
    late_batches: int = 0

    @property
    def fails(self) -> bool:
        """Whether enough batches failed in a row that others should serve."""
        return max(self.failures, self.doubts) >= FAILURES

    def set_aside(self, why: Aside, now_ns: int) -> None:
        """It gets no more batches.

        Args:
            why: because it hangs, until it answers; or because it fails, for a pause.
            now_ns: monotonic clock.
        """
        self.take_back(now_ns)
        self.aside, self.since_ns = why, now_ns
        if why is Aside.HUNG:
            self.hung_times += 1
            return
        self.failing_times += 1
        self.pause_ns = min(LONGEST_PAUSE_NS, max(FIRST_PAUSE_NS, 2 * self.pause_ns))
        self.until_ns = now_ns + self.pause_ns

    def take_back(self, now_ns: int) -> None:
        """It gets batches again."""
        self.aside_ns = self.aside_until_ns(now_ns)
        self.aside = None

    def paused(self, now_ns: int) -> bool:
        """Whether it fails, and its pause is not over."""
        return self.aside is Aside.FAILING and now_ns < self.until_ns

    def aside_until_ns(self, now_ns: int) -> int:
        """How long it was set aside until now, the present time included."""
        return self.aside_ns + (now_ns - self.since_ns if self.aside is not None else 0)
