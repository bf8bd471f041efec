"""The table of replicas: which are registered, which are idle, and what is in flight on each.

Pure: told the time, never reads it. One batch is outstanding per replica. A replica that reports its times is one of
this project's: one more batch may be sent ahead to it, so that it finds its next batch without waiting for this
process. Several may be sent ahead where they are small and quick, so that one turn of this process serves several. A
replica leaves the table only when its connection is gone; one that hangs or fails is set aside, while
others serve, and is taken back.
"""

from __future__ import annotations

from collections import Counter, OrderedDict
from collections.abc import Collection, Iterator
from typing import NamedTuple

from frontend_launch.frontends.batching import Query
from frontend_launch.frontends.health import Aside, OutputTypes, Patience
from frontend_launch.frontends.replica import MOST_AHEAD, Batch, ModelKey, Replica
from model_containers.data_types import DataType
from model_containers.wire import ReplyTimes


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
        self._free: dict[ModelKey, list[OrderedDict[bytes, Replica]]] = {}
        """Those that would take a batch, by their outstanding batches; the one that waited longest is first of each."""
        self._serving: Counter[ModelKey] = Counter()
        self._aside: dict[ModelKey, set[bytes]] = {}
        self._patience: dict[ModelKey, Patience] = {}
        self._output_types: dict[ModelKey, OutputTypes] = {}
        self._registrations: dict[ModelKey, int] = {}
        self._turned: list[Replica] = []

    def __iter__(self) -> Iterator[Replica]:
        return iter(tuple(self._by_identity.values()))

    def get(self, identity: bytes) -> Replica | None:
        """The replica behind a connection, if it has registered."""
        return self._by_identity.get(identity)

    def register(self, identity: bytes, model: ModelKey, input_type: DataType, role: str = "") -> Replica:
        """Add a replica, idle; its id counts the earlier registrations of its model, see `Shard`.

        Args:
            identity: routing identity of the connection; not in the table yet.
            model: name and version.
            input_type: that the replica says it takes.
            role: that the replica says it has in its deployment.
        """
        replica_id = self._registrations.get(model, self._shard.number)
        self._registrations[model] = replica_id + self._shard.of
        replica = Replica(identity, model, replica_id, input_type, role)
        self._by_identity[identity] = replica
        self._free.setdefault(model, [OrderedDict() for _ in range(1 + MOST_AHEAD)])
        self._aside.setdefault(model, set())
        self._patience.setdefault(model, Patience())
        self._output_types.setdefault(model, OutputTypes())
        self._serving[model] += 1
        self._file(replica)
        return replica

    def forget(self, model: ModelKey) -> None:
        """Forget a model that has no replicas; the ids of those that come begin anew."""
        for known in (self._free, self._serving, self._aside, self._patience, self._output_types):
            known.pop(model, None)
        self._registrations.pop(model, None)

    def serving(self, model: ModelKey) -> int:
        """How many replicas a model has."""
        return self._serving[model]

    def working(self, model: ModelKey) -> int:
        """How many replicas of a model get batches."""
        return self._serving[model] - len(self._aside.get(model, ()))

    def turned(self) -> list[Replica]:
        """The replicas that were set aside or taken back since the last call."""
        turned, self._turned = self._turned, []
        return turned

    def next(
        self, model: ModelKey, queued: int, maximum: int, without: Collection[bytes] = (), again: bool = False
    ) -> Replica | None:
        """The replica that the next batch of a model should go to now, if any should.

        An idle one; else, when the queue holds a full batch for each replica, the one with the fewest batches; of
        several such the one that has waited longest. With less queued a batch waits for the first replica to be idle.

        Args:
            model: name and version.
            queued: queries of the model that wait.
            maximum: largest batch, in queries.
            without: identities of replicas that must not get it.
            again: the first of them were with a replica before: of a batch that ends replicas few go with it.
        """
        free = self._free.get(model)
        if not free:
            return None
        most = 0
        if queued >= maximum * self.working(model):
            most = 1 if again else MOST_AHEAD
        for replicas in free[: most + 1]:
            if replicas and (replica := _first(replicas, without)) is not None:
                return replica
        return None

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
            replica: which; one that hung is back.
            times: as the replica reports them; None from one that does not.
            now_ns: monotonic clock.

        Returns:
            That batch, of which others have the queries where it has moved.
        """
        first, elapsed_ns, health = replica.first, now_ns - replica.began_ns, replica.health
        batch = replica.answered(times, now_ns)
        if batch is not None:
            self._patience[replica.model].answered(batch.size, elapsed_ns, first)
            health.failures = health.doubts = health.pause_ns = 0
            if health.aside is not None:
                self._take_back(replica, now_ns)
        self._file(replica)
        return batch

    def failed(self, replica: Replica, now_ns: int, blame: bool = True) -> Batch | None:
        """The answer to the batch under way is invalid; the replica goes on as after any answer.

        Args:
            replica: which.
            now_ns: monotonic clock.
            blame: it is the replica's fault; in doubt where the inputs may be the reason.
        """
        batch = replica.failed(now_ns)
        if replica.health.aside is Aside.HUNG:
            self._take_back(replica, now_ns)
        self._file(replica)
        if batch is not None:
            replica.health.failures += blame
            replica.health.doubts += not blame
            self._pause(replica, now_ns)
        return batch

    def confirmed(self, model: ModelKey, replica_ids: Collection[int], now_ns: int) -> None:
        """Replicas failed on queries that another one answered: the inputs were not the reason.

        Args:
            model: name and version.
            replica_ids: each counts as one failed batch.
            now_ns: monotonic clock.
        """
        for replica in tuple(self._by_identity.values()):
            if replica.model == model and replica.replica_id in replica_ids:
                replica.health.failures += 1
                self._pause(replica, now_ns)

    def vindicated(self, model: ModelKey, replica_ids: Collection[int], now_ns: int) -> None:
        """Replicas failed on queries that another one failed on too: the inputs may have been the reason.

        Args:
            model: name and version.
            replica_ids: those that are not in doubt any more.
            now_ns: monotonic clock.
        """
        for replica in tuple(self._by_identity.values()):
            if replica.model == model and replica.replica_id in replica_ids:
                health = replica.health
                health.doubts = 0
                if health.aside is Aside.FAILING and not health.fails:
                    health.pause_ns = 0
                    self._take_back(replica, now_ns)

    def differs(self, replica: Replica, output_type: DataType) -> bool:
        """Whether an answer is of another type than those of most replicas of the model.

        Args:
            replica: who answers.
            output_type: of its answer.
        """
        return self._output_types[replica.model].differs(replica.replica_id, output_type)

    def _pause(self, replica: Replica, now_ns: int) -> None:
        """Set aside a replica that failed several times in a row, if others work."""
        health = replica.health
        if health.fails and health.aside is None and self.working(replica.model) > 1:
            health.set_aside(Aside.FAILING, now_ns)
            self._set_aside(replica)

    def recovered(self, now_ns: int) -> list[Replica]:
        """Take back the replicas whose pause is over; returns them."""
        back = [
            replica
            for replica in self._by_identity.values()
            if replica.health.aside is Aside.FAILING and not replica.health.paused(now_ns)
        ]
        for replica in back:
            self._take_back(replica, now_ns)
        return back

    def overdue(self, now_ns: int, since_ns: int) -> list[Replica]:
        """The replicas whose batch under way is past its deadline, so that a batch of theirs waits that has not moved.

        Args:
            now_ns: monotonic clock.
            since_ns: what was under way before does so since then: this process did not run.
        """
        return [
            replica
            for replica in self._by_identity.values()
            if any(not batch.moved for batch in replica.outstanding)
            and now_ns - max(replica.began_ns, since_ns)
            > self._patience[replica.model].deadline_ns(replica.outstanding[0].size, replica.first)
        ]

    def replaceable(self, replica: Replica) -> bool:
        """Whether another replica of its model does not hang."""
        return any(
            other.model == replica.model and other is not replica and other.health.aside is not Aside.HUNG
            for other in self._by_identity.values()
        )

    def hung(self, replica: Replica, now_ns: int) -> tuple[Query, ...]:
        """Set aside a replica that hangs; returns the queries of its batches, which are for others now.

        Args:
            replica: one that is replaceable.
            now_ns: monotonic clock.
        """
        queries = replica.hung(now_ns)
        self._set_aside(replica)
        self._keep_working(replica.model, now_ns)
        return queries

    def forgot(self, replica: Replica, now_ns: int) -> None:
        """Take back a replica that hung and now says that it has nothing to do.

        Args:
            replica: which.
            now_ns: monotonic clock.
        """
        replica.outstanding.clear()
        replica.health.overdue = False
        self._take_back(replica, now_ns)

    def _set_aside(self, replica: Replica) -> None:
        if replica.identity not in self._aside[replica.model]:
            self._aside[replica.model].add(replica.identity)
            self._turned.append(replica)
        self._file(replica)

    def _take_back(self, replica: Replica, now_ns: int) -> None:
        replica.health.take_back(now_ns)
        self._aside[replica.model].discard(replica.identity)
        self._turned.append(replica)
        self._file(replica)

    def _keep_working(self, model: ModelKey, now_ns: int) -> None:
        """Where no replica of a model works any more, those that fail are better than none."""
        if self.working(model):
            return
        for replica in self._by_identity.values():
            if replica.model == model and replica.health.aside is Aside.FAILING:
                self._take_back(replica, now_ns)

    def lost(self, replica: Replica, now_ns: int) -> tuple[Batch, ...]:
        """A replica's connection is gone; returns the batches that went with it, in the order they were sent.

        Args:
            replica: one that is in the table.
            now_ns: monotonic clock.
        """
        del self._by_identity[replica.identity]
        self._serving[replica.model] -= 1
        self._output_types[replica.model].lost(replica.replica_id)
        replica.alive = False
        replica.in_flight_ns = replica.in_flight_until_ns(now_ns)
        batches = tuple(replica.outstanding)
        replica.outstanding.clear()
        if replica.health.aside is not None:
            self._take_back(replica, now_ns)
        self._file(replica)
        self._keep_working(replica.model, now_ns)
        return batches

    def _file(self, replica: Replica) -> None:
        """Keep a replica where its state belongs."""
        # Taken out and put back behind the others: so the first of each number is the one that has waited longest.
        if replica.filed is not None:
            del replica.filed[replica.identity]
            replica.filed = None
        number = len(replica.outstanding)
        if number <= replica.ahead and replica.alive and replica.health.aside is None:
            replica.filed = self._free[replica.model][number]
            replica.filed[replica.identity] = replica


def _first(replicas: OrderedDict[bytes, Replica], without: Collection[bytes]) -> Replica | None:
    """The first that is wanted."""
    if not without:
        return next(iter(replicas.values()))
    return next((replica for replica in replicas.values() if replica.identity not in without), None)
