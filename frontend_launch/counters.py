"""The monotone counters of a query frontend, as ``GET /metrics/loadgen`` answers them; two readings subtract.

Pure values and their JSON form, shared by the frontend that writes them and the client that reads them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from typing import Any

import msgspec

from frontend_launch.errors import AdminError


@dataclass(frozen=True, slots=True)
class ModelCounters:
    """One model's queue.

    Attributes:
        max_batch: the largest batch a replica may be given; a setting, not a sum.
        queue_length: queries waiting at this moment; a reading, not a sum.
        batches: batches sent.
        full_batches: those of the maximum size.
        batch_size_sum: queries in all batches sent.
        queue_empty_ns: time the queue was empty.
        failed_batches: batches on which a replica's model failed, or whose answer could not be read.
    """

    max_batch: int = 1
    queue_length: int = 0
    batches: int = 0
    full_batches: int = 0
    batch_size_sum: int = 0
    queue_empty_ns: int = 0
    failed_batches: int = 0


@dataclass(frozen=True, slots=True)
class ReplicaCounters:
    """One replica.

    Attributes:
        alive: its connection stands.
        batches: batches answered.
        queries: queries answered.
        in_flight_ns: time with a batch outstanding, seen from the frontend.
        recv_ns: of that, receiving, as the replica says.
        parse_ns: of that, parsing, as the replica says.
        compute_ns: of that, the model call, as the replica says.
        timed_batches: batches whose answer said so; a foreign replica says nothing.
        failed_batches: batches on which its model failed, as it says, so that it computed their inputs one by one; and
            those whose answer could not be read, which `batches` leaves out.
        oldest_batch_ns: age of the batch under way at this moment, 0 without one; a reading, not a sum.
        full_batches: those of the timed batches that were of the maximum size.
        full_compute_ns: the model calls of these. Per batch it compares replicas at equal fill; without full batches
            there is no such figure, only the mean over batches of any size.
        overdue: its batch under way is past its deadline at this moment.
        aside: it gets no batches at this moment, because it hangs or fails and others work.
        hung_times: times that it was set aside because it hung.
        failing_times: times that it was set aside because its batches failed.
        aside_ns: time that it was set aside.
        late_batches: batches that it answered after they had gone to others, which `batches` leaves out.
        role: its role in the deployment that started it, as it says; empty for any other.
    """

    alive: bool = True
    batches: int = 0
    queries: int = 0
    in_flight_ns: int = 0
    recv_ns: int = 0
    parse_ns: int = 0
    compute_ns: int = 0
    timed_batches: int = 0
    failed_batches: int = 0
    oldest_batch_ns: int = 0
    full_batches: int = 0
    full_compute_ns: int = 0
    overdue: bool = False
    aside: bool = False
    hung_times: int = 0
    failing_times: int = 0
    aside_ns: int = 0
    late_batches: int = 0
    role: str = ""


@dataclass(frozen=True, slots=True)
class Counters:
    """One reading.

    Attributes:
        now_ns: the frontend's monotonic clock at the reading.
        process_cpu_ns: CPU time of the whole process, ZeroMQ's I/O threads included.
        requests: valid requests read.
        replies: answers sent, defaults included.
        defaults: default outputs sent.
        orphaned: queries dropped because their client is gone, or does not read.
        requeued: queries given another replica after theirs died, failed on them, or hung.
        paused_ns: time that reading requests was suspended at the bound of queued bytes.
        dropped: messages that were not valid, by kind.
        models: by ``name:version``.
        replicas: by ``name:version:replica id``.
        default_reasons: default outputs sent, by why there was no prediction: `invalid_request`; `no_replica`;
            `overloaded`, the queue of the model was full, with other models beside; `replicas_lost`, the second that
            had it; `replicas_hung`, the third; or the kind of fault of the second answer.
        refused: requests that were not valid and were answered with the reason.
        started_ns: when the frontend started, by its monotonic clock: another one is another process.
    """

    now_ns: int
    process_cpu_ns: int = 0
    requests: int = 0
    replies: int = 0
    defaults: int = 0
    orphaned: int = 0
    requeued: int = 0
    paused_ns: int = 0
    dropped: Mapping[str, int] = field(default_factory=dict)
    models: Mapping[str, ModelCounters] = field(default_factory=dict)
    replicas: Mapping[str, ReplicaCounters] = field(default_factory=dict)
    default_reasons: Mapping[str, int] = field(default_factory=dict)
    refused: int = 0
    started_ns: int = 0

    @property
    def unanswered(self) -> int:
        """Queries that wait or are with a replica at this moment; nothing that subtracting readings could tell."""
        return self.requests - self.replies - self.orphaned

    def continues(self, earlier: Counters) -> bool:
        """Whether an earlier reading is one of the same process, so that the two subtract."""
        return self.started_ns == earlier.started_ns and self.requests >= earlier.requests

    def to_json(self) -> bytes:
        """One line of JSON."""
        return msgspec.json.encode(self)

    @classmethod
    def from_json(cls, text: str | bytes) -> Counters:
        """Read what `to_json` wrote; members that this version does not know are ignored.

        Raises:
            AdminError: the text is not such a reading.
        """
        try:
            return msgspec.json.decode(text, type=cls)
        except ValueError as error:
            raise AdminError(f"the frontend's counters cannot be read: {error}") from None

    def since(self, earlier: Counters) -> Counters:
        """What happened between an earlier reading and this one.

        Sums subtract, so that `now_ns` becomes the time between; settings and momentary readings are this one's.
        """
        difference: Counters = _subtract(self, earlier)
        return difference

    @classmethod
    def merged(cls, readings: Sequence[Counters]) -> Counters:
        """One reading of several frontends: sums, so that shares of `now_ns` are means over them.

        Of settings, ages, and whether a replica is alive it is the largest.
        """
        whole: Counters = readings[0]
        for reading in readings[1:]:
            whole = _sum(whole, reading)
        return whole


_LARGEST = frozenset({"max_batch", "alive", "oldest_batch_ns", "overdue", "aside", "role", "started_ns"})
"""Of several frontends the largest counts, not the sum."""

_READINGS = _LARGEST | {"queue_length"}
"""What two readings do not subtract."""


def _subtract(later: Any, earlier: Any) -> Any:
    """Field by field: sums subtract, mappings key by key, settings and readings stay the later one's."""
    names = [item.name for item in fields(later)]
    return type(later)(**{name: _difference(name, getattr(later, name), getattr(earlier, name)) for name in names})


def _difference(name: str, later: Any, earlier: Any) -> Any:
    if name in _READINGS:
        return later
    if isinstance(later, Mapping):
        return {key: _difference(key, value, earlier[key]) if key in earlier else value for key, value in later.items()}
    return later - earlier if isinstance(later, int) else _subtract(later, earlier)


def _sum(one: Any, other: Any) -> Any:
    """Field by field: numbers add up, mappings key by key; of some the larger one counts."""
    names = [item.name for item in fields(one)]
    return type(one)(**{name: _total(name, getattr(one, name), getattr(other, name)) for name in names})


def _total(name: str, one: Any, other: Any) -> Any:
    if name in _LARGEST:
        return max(one, other)
    if isinstance(one, Mapping):
        return {
            **other,
            **{key: _total(key, value, other[key]) if key in other else value for key, value in one.items()},
        }
    return one + other if isinstance(one, int) else _sum(one, other)
