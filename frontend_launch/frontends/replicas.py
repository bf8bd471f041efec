"""The table of replicas: which are registered, which are idle, and what is in flight on each.

Pure: told the time, never reads it. One batch is outstanding per replica; one more may be sent ahead to a replica
that reports its times, which is one of this project's, so that it finds its next batch without waiting for this
process. A replica leaves the table only when its connection is gone; silence says nothing, since a replica is silent
while it computes.
"""

from __future__ import annotations

from collections import Counter, OrderedDict, deque
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import NamedTuple

from frontend_launch.counters import ReplicaCounters
from frontend_launch.frontends.batching import Query
from frontend_launch.stages import Stages
from model_containers.data_types import DataType
from model_containers.wire import ReplyTimes

ModelKey = tuple[str, str]
"""Model name and version."""


class Batch(NamedTuple):
    """Queries that travel together.

    Attributes:
        message_id: of the message to the replica.
        queries: at least one.
        full: there were as many as a batch could have when it was made.
        sent_ns: when it was sent, monotonic clock.
    """

    message_id: int
    queries: tuple[Query, ...]
    full: bool = False
    sent_ns: int = 0


@dataclass(slots=True)
class Replica:
    """One registered replica and its sums, all of them monotone.

    Attributes:
        identity: the routing identity of its connection.
        model: name and version it registered with.
        replica_id: as `Shard` numbers the registrations of its model; never reused.
        input_type: the type it registered with.
        alive: its connection stands.
        outstanding: what is in flight on it: the batch under way, and perhaps the one sent ahead.
        began_ns: when the batch under way became so: it was sent, or the one before it was answered.
        batches: answered batches.
        queries: answered queries.
        in_flight_ns: time with a batch outstanding, as the frontend saw it, finished batches only.
        recv_ns: time in receiving, as the replica says.
        parse_ns: time in parsing, as the replica says.
        handle_ns: time in the model call, as the replica says.
        timed_batches: answered batches that came with times; a foreign replica sends none.
        failed_batches: batches on which its model failed, and those whose answer could not be read.
        full_batches: full ones of these.
        full_handle_ns: of these, time in the model call, as the replica says.
        stages: how long batches took, and how large they were.
    """

    identity: bytes
    model: ModelKey
    replica_id: int
    input_type: DataType
    alive: bool = True
    outstanding: deque[Batch] = field(default_factory=deque)
    began_ns: int = 0
    batches: int = 0
    queries: int = 0
    in_flight_ns: int = 0
    recv_ns: int = 0
    parse_ns: int = 0
    handle_ns: int = 0
    timed_batches: int = 0
    failed_batches: int = 0
    full_batches: int = 0
    full_handle_ns: int = 0
    stages: Stages = field(default_factory=Stages, repr=False)
    _overhead_ns: int = field(default=0, repr=False)
    _usual_ns: int = field(default=0, repr=False)
    _reported_ns: int = field(default=0, repr=False)

    @property
    def name(self) -> str:
        """Model, version and id."""
        return f"{self.model[0]}:{self.model[1]}:{self.replica_id}"

    def counters(self, now_ns: int) -> ReplicaCounters:
        """The sums until now."""
        return ReplicaCounters(
            alive=self.alive,
            batches=self.batches,
            queries=self.queries,
            in_flight_ns=self.in_flight_until_ns(now_ns),
            recv_ns=self.recv_ns,
            parse_ns=self.parse_ns,
            compute_ns=self.compute_until_ns(now_ns),
            timed_batches=self.timed_batches,
            failed_batches=self.failed_batches,
            oldest_batch_ns=self.under_way_ns(now_ns),
            full_batches=self.full_batches,
            full_compute_ns=self.full_handle_ns,
        )

    def answered(self, times: ReplyTimes | None, now_ns: int) -> Batch | None:
        """Book the answer to the batch under way; returns that batch.

        Args:
            times: as the replica reports them; None from one that does not.
            now_ns: monotonic clock.
        """
        if not self.outstanding:
            return None
        elapsed_ns = now_ns - self.began_ns
        batch = self._ended(now_ns)
        self.batches += 1
        self.queries += len(batch.queries)
        if times is not None:
            self.timed_batches += 1
            self.failed_batches += bool(times.failed)
            self.recv_ns += times.recv_ns
            self.parse_ns += times.parse_ns
            self.handle_ns += times.handle_ns
            if batch.full:
                self.full_batches += 1
                self.full_handle_ns += times.handle_ns
            self._overhead_ns = max(0, elapsed_ns - times.handle_ns)
            self._usual_ns = times.handle_ns
        return batch

    def failed(self, now_ns: int) -> Batch | None:
        """The answer to the batch under way cannot be read; returns that batch."""
        if not self.outstanding:
            return None
        self.failed_batches += 1
        return self._ended(now_ns)

    def _ended(self, now_ns: int) -> Batch:
        """The batch under way is no longer."""
        self.in_flight_ns += now_ns - self.began_ns
        self.began_ns = now_ns
        return self.outstanding.popleft()

    def in_flight_until_ns(self, now_ns: int) -> int:
        """Time with a batch outstanding until now, the present one included."""
        return self.in_flight_ns + self.under_way_ns(now_ns)

    def under_way_ns(self, now_ns: int) -> int:
        """How long the present batch has been under way; 0 without one."""
        return now_ns - self.began_ns if self.outstanding else 0

    def compute_until_ns(self, now_ns: int) -> int:
        """Time in compute until now, so that two readings subtract to the time between them.

        The replica reports a batch when it is done. What the present batch has had so far is estimated: the
        time since it began, less what the last batch spent outside the model call, but at most twice what
        that spent inside: a replica that hangs is not busy. Without this, a reading errs by up to a batch, which
        for a slow model is a large part of a short run.
        """
        present_ns = 0
        if self.outstanding and self.timed_batches:
            present_ns = min(2 * self._usual_ns, max(0, now_ns - self.began_ns - self._overhead_ns))
        # An estimate may overshoot by a little what the replica then reports: a reading never goes back.
        self._reported_ns = max(self._reported_ns, self.handle_ns + present_ns)
        return self._reported_ns


class Shard(NamedTuple):
    """Which of several query frontends of one deployment this is: the ids of their replicas are `number` modulo `of`.

    So no two replicas of the deployment have the same id, though no frontend knows of the others.
    """

    number: int = 0
    of: int = 1


class ReplicaTable:
    """All replicas of a frontend, by the identity of their connection."""

    def __init__(self, shard: Shard = Shard()) -> None:  # noqa: B008 - it is immutable
        self._shard = shard
        self._by_identity: dict[bytes, Replica] = {}
        self._idle: dict[ModelKey, OrderedDict[bytes, Replica]] = {}
        self._busy: dict[ModelKey, OrderedDict[bytes, Replica]] = {}
        """Those with one batch that would take another ahead, the one that has been busy for longest first."""
        self._serving: Counter[ModelKey] = Counter()
        self._registrations: dict[ModelKey, int] = {}

    def __iter__(self) -> Iterator[Replica]:
        return iter(tuple(self._by_identity.values()))

    def get(self, identity: bytes) -> Replica | None:
        """The replica behind a connection, if it has registered."""
        return self._by_identity.get(identity)

    def register(self, identity: bytes, model: ModelKey, input_type: DataType) -> Replica:
        """Add a replica, idle; its id counts the earlier registrations of its model, see `Shard`.

        Args:
            identity: routing identity of the connection; not in the table yet.
            model: name and version.
            input_type: that the replica says it takes.
        """
        replica_id = self._registrations.get(model, self._shard.number)
        self._registrations[model] = replica_id + self._shard.of
        replica = Replica(identity, model, replica_id, input_type)
        self._by_identity[identity] = replica
        self._idle.setdefault(model, OrderedDict())[identity] = replica
        self._busy.setdefault(model, OrderedDict())
        self._serving[model] += 1
        return replica

    def serving(self, model: ModelKey) -> int:
        """How many replicas a model has."""
        return self._serving[model]

    def idle(self, model: ModelKey) -> Replica | None:
        """The replica of a model that has been idle for longest, if one is."""
        waiting = self._idle.get(model)
        return next(iter(waiting.values())) if waiting else None

    def next(self, model: ModelKey, queued: int, maximum: int) -> Replica | None:
        """The replica that the next batch of a model should go to now, if any should.

        An idle one; else, when so much is queued that each replica is going to get a full batch in any case, one that
        has only one batch, the one that has been busy for longest. With less queued a batch waits for whichever
        replica is the first to be idle.

        Args:
            model: name and version.
            queued: queries of the model that wait.
            maximum: largest batch, in queries.
        """
        replica = self.idle(model)
        if replica is None and queued >= maximum * self._serving[model]:
            busy = self._busy.get(model)
            replica = next(iter(busy.values())) if busy else None
        return replica

    def sent(self, replica: Replica, batch: Batch, now_ns: int) -> None:
        """A batch was sent to a replica that `next` named.

        Args:
            replica: which.
            batch: at least one query.
            now_ns: monotonic clock.
        """
        if not replica.outstanding:
            replica.began_ns = now_ns
        replica.outstanding.append(batch)
        self._file(replica)

    def answered(self, replica: Replica, times: ReplyTimes | None, now_ns: int) -> Batch | None:
        """The batch under way was answered; the replica is idle again, or at the one that was sent ahead.

        Args:
            replica: which.
            times: as the replica reports them; None from one that does not.
            now_ns: monotonic clock.
        """
        batch = replica.answered(times, now_ns)
        self._file(replica)
        return batch

    def failed(self, replica: Replica, now_ns: int) -> Batch | None:
        """The answer to the batch under way cannot be read; the replica goes on as after any answer.

        Args:
            replica: which.
            now_ns: monotonic clock.
        """
        batch = replica.failed(now_ns)
        self._file(replica)
        return batch

    def lost(self, replica: Replica, now_ns: int) -> tuple[Batch, ...]:
        """A replica's connection is gone; returns the batches that went with it, in the order they were sent.

        Args:
            replica: one that is in the table.
            now_ns: monotonic clock.
        """
        del self._by_identity[replica.identity]
        self._serving[replica.model] -= 1
        replica.alive = False
        replica.in_flight_ns = replica.in_flight_until_ns(now_ns)
        batches = tuple(replica.outstanding)
        replica.outstanding.clear()
        self._file(replica)
        return batches

    def _file(self, replica: Replica) -> None:
        """Keep a replica where its state belongs."""
        idle, busy = self._idle[replica.model], self._busy[replica.model]
        # Taken out and put back behind the others: so the first of each is the one that was idle or busy for longest.
        # Replicas that report their times are this project's: only they are known to take a batch ahead.
        idle.pop(replica.identity, None)
        busy.pop(replica.identity, None)
        if not replica.alive:
            return
        if not replica.outstanding:
            idle[replica.identity] = replica
        elif len(replica.outstanding) == 1 and replica.timed_batches:
            busy[replica.identity] = replica
