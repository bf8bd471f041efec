"""Who serves: the replicas that registered, which of them are idle, and what is in flight on each.

Pure: told the time, never reads it. At most one batch is outstanding per replica. A replica leaves the
table only when its connection is gone; silence says nothing, since a replica is silent while it computes.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import NamedTuple

from frontend_launch.frontends.batching import Query
from model_containers.wire import DataType, ReplyTimes

ModelKey = tuple[str, str]
"""Model name and version."""


class Batch(NamedTuple):
    """Queries that travel together."""

    message_id: int
    queries: tuple[Query, ...]


@dataclass(slots=True)
class Replica:
    """One registered replica and its sums, all of them monotone.

    Attributes:
        identity: the routing identity of its connection.
        model: name and version it registered with.
        replica_id: number of earlier registrations of the same model, never reused.
        input_type: the type it registered with.
        alive: its connection stands.
        batch: what is in flight on it, if anything.
        sent_ns: when that was sent.
        batches: answered batches.
        queries: answered queries.
        in_flight_ns: time with a batch outstanding, as the frontend saw it, finished batches only.
        recv_ns: time in receiving, as the replica says.
        parse_ns: time in parsing, as the replica says.
        handle_ns: time in the model call, as the replica says.
        timed_batches: answered batches that came with times; a foreign replica sends none.
    """

    identity: bytes
    model: ModelKey
    replica_id: int
    input_type: DataType
    alive: bool = True
    batch: Batch | None = None
    sent_ns: int = 0
    batches: int = 0
    queries: int = 0
    in_flight_ns: int = 0
    recv_ns: int = 0
    parse_ns: int = 0
    handle_ns: int = 0
    timed_batches: int = 0
    _overhead_ns: int = field(default=0, repr=False)
    _usual_ns: int = field(default=0, repr=False)
    _reported_ns: int = field(default=0, repr=False)

    def answered(self, times: ReplyTimes | None, now_ns: int) -> Batch | None:
        """Book the answer to the batch in flight and become idle; returns that batch."""
        batch, self.batch = self.batch, None
        if batch is None:
            return None
        elapsed_ns = now_ns - self.sent_ns
        self.batches += 1
        self.queries += len(batch.queries)
        self.in_flight_ns += elapsed_ns
        if times is not None:
            self.timed_batches += 1
            self.recv_ns += times.recv_ns
            self.parse_ns += times.parse_ns
            self.handle_ns += times.handle_ns
            self._overhead_ns = max(0, elapsed_ns - times.handle_ns)
            self._usual_ns = times.handle_ns
        return batch

    def in_flight_until_ns(self, now_ns: int) -> int:
        """Time with a batch outstanding until now, the present one included."""
        return self.in_flight_ns + (now_ns - self.sent_ns if self.batch is not None else 0)

    def compute_until_ns(self, now_ns: int) -> int:
        """Time in compute until now, so that two readings subtract to the time between them.

        The replica reports a batch when it is done. What the present batch has had so far is estimated: the
        time since it was sent, less what the last batch spent outside the model call, but at most twice what
        that spent inside: a replica that hangs is not busy. Without this, a reading errs by up to a batch, which
        for a slow model is a large part of a short run.
        """
        present_ns = 0
        if self.batch is not None and self.timed_batches:
            present_ns = min(2 * self._usual_ns, max(0, now_ns - self.sent_ns - self._overhead_ns))
        # An estimate may overshoot by a little what the replica then reports: a reading never goes back.
        self._reported_ns = max(self._reported_ns, self.handle_ns + present_ns)
        return self._reported_ns


class ReplicaTable:
    """All replicas of a frontend, by the identity of their connection."""

    def __init__(self) -> None:
        self._by_identity: dict[bytes, Replica] = {}
        self._idle: dict[ModelKey, OrderedDict[bytes, Replica]] = {}
        self._registrations: dict[ModelKey, int] = {}

    def __iter__(self) -> Iterator[Replica]:
        return iter(tuple(self._by_identity.values()))

    def get(self, identity: bytes) -> Replica | None:
        """The replica behind a connection, if it has registered."""
        return self._by_identity.get(identity)

    def register(self, identity: bytes, model: ModelKey, input_type: DataType) -> Replica:
        """Add a replica, idle; its id is the number of earlier registrations of its model."""
        replica_id = self._registrations.get(model, 0)
        self._registrations[model] = replica_id + 1
        replica = Replica(identity, model, replica_id, input_type)
        self._by_identity[identity] = replica
        self._idle.setdefault(model, OrderedDict())[identity] = replica
        return replica

    def registrations(self, model: ModelKey) -> int:
        """How many replicas of a model ever registered."""
        return self._registrations.get(model, 0)

    def idle(self, model: ModelKey) -> Replica | None:
        """The replica of a model that has been idle for longest, if one is."""
        waiting = self._idle.get(model)
        return next(iter(waiting.values())) if waiting else None

    def sent(self, replica: Replica, batch: Batch, now_ns: int) -> None:
        """A batch was sent to an idle replica."""
        del self._idle[replica.model][replica.identity]
        replica.batch, replica.sent_ns = batch, now_ns

    def answered(self, replica: Replica, times: ReplyTimes | None, now_ns: int) -> Batch | None:
        """The batch in flight was answered; the replica is idle again."""
        batch = replica.answered(times, now_ns)
        if batch is not None:
            self._idle[replica.model][replica.identity] = replica
        return batch

    def lost(self, replica: Replica, now_ns: int) -> Batch | None:
        """A replica's connection is gone; returns the batch that went with it."""
        del self._by_identity[replica.identity]
        self._idle[replica.model].pop(replica.identity, None)
        replica.alive = False
        replica.in_flight_ns = replica.in_flight_until_ns(now_ns)
        batch, replica.batch = replica.batch, None
        return batch
