"""One replica: what is in flight on it, its health, and its sums. Pure: told the time, never reads it."""

from __future__ import annotations

from collections import OrderedDict, deque
from dataclasses import dataclass, field
from typing import NamedTuple

from frontend_launch.counters import ReplicaCounters
from frontend_launch.frontends.batching import Query
from frontend_launch.frontends.health import Aside, Health
from frontend_launch.stages import Stages
from model_containers.data_types import DataType
from model_containers.wire import ReplyTimes

ModelKey = tuple[str, str]
"""Model name and version."""

MOST_AHEAD = 8
"""Batches sent ahead to a replica, at most."""

AHEAD_NS = 2_000_000
"""Of several batches sent ahead, the model calls take this long together, by the longest recent one."""

AHEAD_BYTES = 65_536
"""Behind a batch that is larger, one is sent ahead and no more."""

PROVEN = 16
"""A replica gets one batch more ahead for each of this many that it has answered since it last failed or hung."""

FORGOTTEN = 64
"""The longest recent model call falls by one part in this many with each batch."""


class Batch(NamedTuple):
    """Queries that travel together.

    Attributes:
        message_id: of the message to the replica.
        queries: at least one; none in a batch that has moved.
        full: there were as many as a batch could have when it was made.
        sent_ns: when it was sent, monotonic clock.
        moved: how many queries went to other replicas, because this one hangs.
    """

    message_id: int
    queries: tuple[Query, ...]
    full: bool = False
    sent_ns: int = 0
    moved: int = 0

    @property
    def size(self) -> int:
        """Its queries, also where they have moved."""
        return len(self.queries) or self.moved


@dataclass(slots=True)
class Replica:
    """One registered replica and its sums, all of them monotone.

    Attributes:
        identity: the routing identity of its connection.
        model: name and version it registered with.
        replica_id: as `Shard` numbers the registrations of its model; never reused.
        input_type: the type it registered with.
        role: its role in the deployment that started it; empty for any other.
        alive: its connection stands.
        outstanding: what is in flight on it: the batch under way, and perhaps those sent ahead.
        ahead: batches that may be sent ahead; none to a replica that reports no times.
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
        health: whether it gets batches.
        filed: where the table has it among those that would take a batch; None where it is not among them.
    """

    identity: bytes
    model: ModelKey
    replica_id: int
    input_type: DataType
    role: str = ""
    alive: bool = True
    outstanding: deque[Batch] = field(default_factory=deque)
    ahead: int = 0
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
    health: Health = field(default_factory=Health)
    filed: OrderedDict[bytes, Replica] | None = field(default=None, repr=False, compare=False)
    _overhead_ns: int = field(default=0, repr=False)
    _usual_ns: int = field(default=0, repr=False)
    _longest_ns: int = field(default=0, repr=False)
    _reported_ns: int = field(default=0, repr=False)
    _proven: int = field(default=0, repr=False)

    @property
    def name(self) -> str:
        """Model, version and id."""
        return f"{self.model[0]}:{self.model[1]}:{self.replica_id}"

    @property
    def label(self) -> str:
        """The name and the role, for a reader."""
        return f"{self.name} ({self.role})" if self.role else self.name

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
            overdue=self.health.overdue,
            aside=self.health.aside is not None,
            hung_times=self.health.hung_times,
            failing_times=self.health.failing_times,
            aside_ns=self.health.aside_until_ns(now_ns),
            late_batches=self.health.late_batches,
            role=self.role,
        )

    @property
    def first(self) -> bool:
        """Whether it has not answered any batch yet."""
        return not self.batches and not self.health.late_batches

    def answered(self, times: ReplyTimes | None, now_ns: int) -> Batch | None:
        """Book the answer to the batch under way; returns that batch, which is late if it has moved.

        Args:
            times: as the replica reports them; None from one that does not.
            now_ns: monotonic clock.
        """
        if not self.outstanding:
            return None
        elapsed_ns = now_ns - self.began_ns
        batch = self._ended(now_ns)
        if batch.moved:
            self.health.late_batches += 1
            return batch
        self.batches += 1
        self.queries += len(batch.queries)
        if times is not None:
            self.timed_batches += 1
            self.failed_batches += bool(times.failed)
            self._proven = 0 if times.failed else self._proven + 1
            self.recv_ns += times.recv_ns
            self.parse_ns += times.parse_ns
            self.handle_ns += times.handle_ns
            if batch.full:
                self.full_batches += 1
                self.full_handle_ns += times.handle_ns
            self._overhead_ns = max(0, elapsed_ns - times.handle_ns)
            self._usual_ns = times.handle_ns
            self._longest_ns = max(times.handle_ns, self._longest_ns - self._longest_ns // FORGOTTEN)
            self.ahead = self._allowed_ahead(batch)
        return batch

    def _allowed_ahead(self, answered: Batch) -> int:
        """One batch, and more where they are small and quick: so a turn of the frontend serves several."""
        queries = answered.queries
        if len(queries) * len(queries[0].payload) > AHEAD_BYTES:
            return 1
        quick = AHEAD_NS // self._longest_ns if self._longest_ns else MOST_AHEAD
        return max(1, min(quick, MOST_AHEAD, 1 + self._proven // PROVEN))

    def _distrust(self) -> None:
        """Few batches share the fate of one that fails or hangs."""
        self._proven, self.ahead = 0, min(self.ahead, 1)

    def failed(self, now_ns: int) -> Batch | None:
        """The answer to the batch under way cannot be read; returns that batch."""
        if not self.outstanding:
            return None
        self.failed_batches += 1
        self._distrust()
        return self._ended(now_ns)

    def hung(self, now_ns: int) -> tuple[Query, ...]:
        """It is set aside because it hangs; returns the queries of its batches, which are no longer its own."""
        self._distrust()
        self.in_flight_ns = self.in_flight_until_ns(now_ns)
        queries = tuple(query for batch in self.outstanding for query in batch.queries)
        self.outstanding = deque(batch._replace(queries=(), moved=batch.size) for batch in self.outstanding)
        self.health.set_aside(Aside.HUNG, now_ns)
        self.health.overdue = True
        return queries

    def _ended(self, now_ns: int) -> Batch:
        """The batch under way is no longer."""
        batch = self.outstanding.popleft()
        if not batch.moved:
            self.in_flight_ns += now_ns - self.began_ns
        self.began_ns = now_ns
        self.health.overdue = False
        return batch

    def in_flight_until_ns(self, now_ns: int) -> int:
        """Time with a batch outstanding until now, the present one included, unless it has moved."""
        if self.outstanding and self.outstanding[0].moved:
            return self.in_flight_ns
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
        if self.outstanding and self.timed_batches and not self.outstanding[0].moved:
            present_ns = min(2 * self._usual_ns, max(0, now_ns - self.began_ns - self._overhead_ns))
        # An estimate may overshoot by a little what the replica then reports: a reading never goes back.
        self._reported_ns = max(self._reported_ns, self.handle_ns + present_ns)
        return self._reported_ns
