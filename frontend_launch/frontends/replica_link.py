"""The replica side of a query frontend: sends batches, takes answers, retries the batches of a lost replica."""

from __future__ import annotations

import asyncio
import errno
import logging
import time
from collections.abc import Callable, Iterable, Iterator

import zmq

from frontend_launch.counters import ModelCounters, ReplicaCounters
from frontend_launch.frontends.batching import Query
from frontend_launch.frontends.directory import Directory
from frontend_launch.frontends.health import Aside
from frontend_launch.frontends.metric_definitions import InternalMetrics
from frontend_launch.frontends.metrics import Registry
from frontend_launch.frontends.pipeline import ModelPipeline
from frontend_launch.frontends.reader import Frames, Sender, SocketReader
from frontend_launch.frontends.replica import Batch, ModelKey, Replica
from frontend_launch.frontends.replicas import ReplicaTable, Shard
from frontend_launch.frontends.seldom import Seldom
from frontend_launch.frontends.settling import settle
from frontend_launch.records import ReplicaRecord
from frontend_launch.stages import Stages
from model_containers.data_types import Buffer
from model_containers.errors import WireError
from model_containers.units import NS_PER_S
from model_containers.wire import (
    BatchRequest,
    BatchResponse,
    Heartbeat,
    HeartbeatKind,
    Metadata,
    decode_from_replica,
    encode_batch_request,
    encode_heartbeat_reply,
)

log = logging.getLogger(__name__)

MAX_NAME_CHARACTERS = 1000
"""Of a model, its version, and a replica's role."""

MAX_GONE_REPLICAS = 256
"""Replicas whose sums are kept after they are gone; beyond it the oldest are forgotten."""

MAX_PIPELINES = 256
"""Model versions whose sums are kept; beyond it the oldest without replicas are forgotten."""

HEARTBEAT_EVERY_MS = 5_000
HEARTBEAT_TIMEOUT_MS = 60_000
"""ZMTP's own heartbeats to replicas, whose I/O thread answers them even while the model computes: the connection of
one that hangs or whose machine is gone breaks. Long, because a starved machine is slow and not dead."""

LINES_A_MINUTE = 100
"""Of the log, about replicas that come and go."""

MAX_UNREAD = 131_072
"""Messages that may wait for a replica that does not read; a batch beyond them says that it is gone."""

PROBE_DELAYS_S = (0.0, 0.05, 0.5)
"""When to look for replicas that are gone after a connection broke: the event may come before its effect."""


SWEEP_S = 0.5
"""Between two looks for batches past their deadlines."""

EXPIRED_AT_ONCE = 200
"""Queries that get the default output before other work has its turn, of all models together."""

MAX_MOVES = 2
"""Times that a query moves because its replica hangs; one that holds up a third gets the default output."""


class ReplicaLink:
    """The replicas behind one socket, from `open` to `close`.

    Args:
        socket: a ROUTER that refuses to send to peers that are not there; not bound yet.
        shard: which of several query frontends this is.
        directory: says how large a batch may be.
        registry: where models get their metrics.
        internal: the metrics of the whole frontend.
        unserved_bytes: may wait for a model without replicas, see `BatchQueue.held_bytes`.
        answer: called with a batch, a replica's answer to it, since when it was the replica's batch under way, and the
            time.
        answer_default: called with queries that get no prediction, a short reason, and the time.
        registered: called with each new replica.
        drop: called with what is wrong with a message of a replica.
        settled: called after messages of replicas, and after a search for replicas that are gone.

    Attributes:
        pipelines: by model version, of those that have, or had, a replica.
        served: those of them that have one.
        requeued: queries that were queued a second time.
    """

    def __init__(
        self,
        socket: zmq.Socket[bytes],
        shard: Shard,
        directory: Directory,
        registry: Registry,
        internal: InternalMetrics,
        unserved_bytes: int,
        *,
        answer: Callable[[Batch, BatchResponse, int, int], None],
        answer_default: Callable[[Iterable[Query], str, int], None],
        registered: Callable[[ReplicaRecord], None],
        drop: Callable[[WireError], None],
        settled: Callable[[], None],
    ) -> None:
        self._socket, self._send_batch = socket, Sender(socket)
        socket.setsockopt(zmq.HEARTBEAT_IVL, HEARTBEAT_EVERY_MS)
        socket.setsockopt(zmq.HEARTBEAT_TIMEOUT, HEARTBEAT_TIMEOUT_MS)
        socket.setsockopt(zmq.SNDHWM, MAX_UNREAD)
        self._directory, self._registry, self._internal = directory, registry, internal
        self._answer, self._answer_default, self._registered = answer, answer_default, registered
        self._drop, self._settled, self._unserved_bytes = drop, settled, unserved_bytes
        self.pipelines: dict[ModelKey, ModelPipeline] = {}
        self.served: dict[ModelKey, ModelPipeline] = {}
        self.requeued = 0
        self._replicas = ReplicaTable(shard)
        self._gone_replicas: dict[str, ReplicaCounters] = {}
        self._next_message = self._next_connection = 0
        self._say = Seldom(log, LINES_A_MINUTE)
        self._behind: list[ModelPipeline] = []
        """Whose replicas answered in this burst and are still busy: they get their batches together."""
        self._sent = False
        self._probes: list[asyncio.TimerHandle] = []
        self._expiry: asyncio.Handle | None = None
        self._swept_ns = self._resumed_ns = 0

    def open(self) -> None:
        """Read from the running loop."""
        self._answers = SocketReader(self._socket, self._on_replica, self._after_burst)
        self._breaks = SocketReader(self._socket.get_monitor_socket(zmq.EVENT_DISCONNECTED), self._on_break)
        self._sweep()

    def close(self) -> None:
        """Read no more; the socket stays open."""
        self._answers.close()
        self._breaks.close()
        self._sweeps.cancel()
        if self._expiry is not None:
            self._expiry.cancel()
        self._cancel_probes()
        self._socket.disable_monitor()

    def check_again(self) -> None:
        """Read what sending may have hidden, if anything was sent since the last time."""
        if self._sent:
            self._sent = False
            self._answers.check_again()

    # Readings ------------------------------------------------------------------------------------------

    def model_counters(self, now_ns: int) -> dict[str, ModelCounters]:
        """The sums by model version until now."""
        return {
            ":".join(key): pipeline.counters(self._directory.max_batch(key), now_ns)
            for key, pipeline in self.pipelines.items()
        }

    def replica_counters(self, now_ns: int) -> dict[str, ReplicaCounters]:
        """The sums by replica until now, first of those that are gone."""
        return {**self._gone_replicas, **{replica.name: replica.counters(now_ns) for replica in self._replicas}}

    def stages(self) -> Iterator[tuple[str, Stages]]:
        """Where the time went, by model and by replica, one after the other: each of a model is a sum."""
        models, replicas = list(self.pipelines.items()), list(self._replicas)
        of_model: dict[ModelKey, list[Replica]] = {}
        for replica in replicas:
            of_model.setdefault(replica.model, []).append(replica)
        for key, pipeline in models:
            yield ":".join(key), pipeline.stages(of_model.get(key, ()))
        for replica in replicas:
            yield replica.name, replica.stages

    # What replicas say ---------------------------------------------------------------------------------

    def _on_replica(self, frames: Frames) -> None:
        now_ns = time.monotonic_ns()
        identity, *message = frames
        identity = bytes(identity)
        replica = self._replicas.get(identity)
        try:
            match decode_from_replica(message):
                case Heartbeat():
                    if replica is not None and replica.health.aside is Aside.HUNG:
                        self._on_idle(replica, now_ns)
                    kind = HeartbeatKind.KEEP_ALIVE if replica else HeartbeatKind.REQUEST_METADATA
                    self._send_to_replica(identity, encode_heartbeat_reply(kind))
                case Metadata() as metadata if replica is None:
                    self._register(identity, metadata, now_ns)
                case BatchResponse() as response if replica is not None:
                    self._on_answer(replica, response, now_ns)
                case _:
                    pass  # metadata of a registered replica, content of an unregistered one: ignored, as the original
        except WireError as error:
            if replica is None:
                self._drop(error)
            else:
                self._on_answer(replica, error, now_ns)

    def _after_burst(self) -> None:
        self._sent = False  # the reader has looked since
        if self._behind:
            behind, self._behind = self._behind, []
            for pipeline in behind:
                self.dispatch(pipeline)
            self.check_again()
        self._settled()

    def _on_idle(self, replica: Replica, now_ns: int) -> None:
        """A replica that hung sends a heartbeat, which it does only while it has nothing to do."""
        self._replicas.forgot(replica, now_ns)
        self._tell()
        self.dispatch(self.pipelines[replica.model])

    def _register(self, identity: bytes, metadata: Metadata, now_ns: int) -> None:
        key = (metadata.model_name, metadata.model_version)
        if (length := max(map(len, (*key, metadata.role)))) > MAX_NAME_CHARACTERS:
            raise WireError("text", f"a name of {length} characters where {MAX_NAME_CHARACTERS} are the most")
        pipeline = self.pipelines.get(key)
        if pipeline is None:
            self._evict_pipeline()
            pipeline = self.pipelines[key] = ModelPipeline(
                key, metadata.input_type, self._registry, self._internal, now_ns
            )
        elif pipeline.input_type is not metadata.input_type:
            given, taken = metadata.input_type.canonical, pipeline.input_type.canonical
            raise WireError("input_type", f"a replica of {key[0]}:{key[1]} takes {given}, the others {taken}")
        self.served[key] = pipeline
        replica = self._replicas.register(identity, key, metadata.input_type, metadata.role)
        record = ReplicaRecord(*key, replica.replica_id, self._next_connection, metadata.input_type)
        self._next_connection += 1
        self._registered(record)
        self._say("replica %s registered", replica.label, level=logging.INFO)
        self.dispatch(pipeline)

    def _evict_pipeline(self) -> None:
        """Where there are very many, forget the oldest model version that has neither replicas nor queries."""
        if len(self.pipelines) < MAX_PIPELINES:
            return
        idle = (
            key for key, pipeline in self.pipelines.items() if not self._replicas.serving(key) and not pipeline.queue
        )
        if (key := next(idle, None)) is not None:
            self.pipelines.pop(key).forget()
            self._replicas.forget(key)

    def _on_answer(self, replica: Replica, answer: BatchResponse | WireError, now_ns: int) -> None:
        settled = settle(self._replicas, replica, answer, now_ns)
        pipeline, response = self.pipelines[replica.model], settled.response
        try:
            if settled.again:
                pipeline.failed()
                reason = "model_failed" if settled.error is None else settled.error.kind
                self._retry(replica, settled.again, reason, now_ns)
            if not replica.outstanding:
                self.dispatch(pipeline)  # the replica waits, the clients have waited already
            elif pipeline not in self._behind:
                self._behind.append(pipeline)
            if settled.batch is not None and response is not None and not settled.again:
                pipeline.answered(replica, settled.batch, response, settled.latency_ns, now_ns)
        finally:
            if settled.batch is not None and response is not None:
                # A batch sent ahead may be begun before the answer to the one before it is read here.
                handle_ns = 0 if response.times is None else response.times.handle_ns
                self._answer(settled.batch, response, now_ns - max(settled.latency_ns, handle_ns), now_ns)
        if settled.error is not None:
            self._drop(settled.error)
        self._tell()

    def _tell(self) -> None:
        """Say which replicas were set aside because they fail, and which get batches again."""
        for replica in self._replicas.turned():
            health = replica.health
            if health.aside is Aside.FAILING:
                log.warning(
                    "replica %s failed %d batches in a row: it gets none for %d s, while others serve",
                    replica.label,
                    max(health.failures, health.doubts),
                    health.pause_ns // NS_PER_S,
                )
            elif health.aside is None and replica.alive:
                log.info("replica %s gets batches again", replica.label)

    # Batches -------------------------------------------------------------------------------------------

    def dispatch(self, pipeline: ModelPipeline) -> None:
        """Give every replica that wants one a batch, as long as queries wait."""
        queue, maximum = pipeline.queue, self._directory.max_batch(pipeline.key)
        without: set[bytes] = set()
        while waiting := len(queue):
            replica = self._replicas.next(pipeline.key, waiting, maximum, without, queue.again)
            if replica is None:
                break
            now_ns = time.monotonic_ns()
            others = queue.failed and self._replicas.working(pipeline.key) > 1
            queries = queue.take(maximum, now_ns, replica.replica_id if others else None)
            if not queries:  # all that waits is what this one failed on
                without.add(replica.identity)
                continue
            batch = Batch(self._next_message, queries, len(queries) == maximum, now_ns)
            self._next_message = (self._next_message + 1) & 0x7FFFFFFF
            sent = False
            try:
                payloads = [query.payload for query in queries]
                request = BatchRequest.of(batch.message_id, pipeline.input_type, payloads)
                sent = self._send_to_replica(replica.identity, encode_batch_request(request))
            finally:
                if not sent:
                    queue.push_front(queries, now_ns)  # no replica had it: it may still be lost once
            if not sent:
                continue
            self._replicas.sent(replica, batch, now_ns)
            pipeline.sent(batch.queries, maximum, now_ns)

    def _send_to_replica(self, identity: bytes, frames: list[Buffer], probe: bool = False) -> bool:
        """Send; False when the replica is gone or does not read, and then it is taken out.

        Args:
            identity: of its connection.
            frames: of the message.
            probe: one that it need not read: it may be busy.
        """
        self._sent = True
        try:
            self._send_batch([identity, *frames])
        except zmq.ZMQError as error:
            if error.errno not in (errno.EHOSTUNREACH, errno.EAGAIN):
                raise
            replica = self._replicas.get(identity)
            if replica is not None and not (probe and error.errno == errno.EAGAIN):
                self._lose(replica)
            return False
        return True

    def _on_break(self, _: Frames) -> None:
        """A replica's connection broke; the event does not say whose, so the last one's probes serve all before it."""
        self._cancel_probes()
        loop = asyncio.get_running_loop()
        self._probes = [loop.call_later(delay_s, self._probe) for delay_s in PROBE_DELAYS_S]

    def _cancel_probes(self) -> None:
        for probe in self._probes:
            probe.cancel()

    def _probe(self) -> None:
        """Find replicas whose connection is gone: sending to one fails, and a keep-alive is harmless to the others."""
        for replica in self._replicas:
            if replica.alive:
                self._send_to_replica(replica.identity, encode_heartbeat_reply(HeartbeatKind.KEEP_ALIVE), probe=True)
        self.check_again()
        self._settled()

    def _lose(self, replica: Replica) -> None:
        now_ns = time.monotonic_ns()
        batches = self._replicas.lost(replica, now_ns)
        self.pipelines[replica.model].lost(replica)
        self._gone_replicas[replica.name] = replica.counters(now_ns)
        if len(self._gone_replicas) > MAX_GONE_REPLICAS:
            del self._gone_replicas[next(iter(self._gone_replicas))]
        self._say(
            "replica %s is gone, with %d queries in flight",
            replica.label,
            sum(len(batch.queries) for batch in batches),
        )
        queries = [query for batch in batches for query in batch.queries]
        self._retry(replica, queries, "replicas_lost", now_ns)
        if not self._replicas.serving(replica.model):
            self.served.pop(replica.model, None)
            self._schedule_expiry()
        self._tell()

    def _retry(self, replica: Replica, queries: Iterable[Query], reason: str, now_ns: int) -> None:
        """Queue queries again, at the head and once, if possible for another replica.

        Args:
            replica: that was lost with them, or failed on them.
            queries: a second loss or failure gets the default output.
            reason: of the default output.
            now_ns: monotonic clock.
        """
        pipeline, lost = self.pipelines[replica.model], tuple(queries)
        first = [query for query in lost if not query.requeued]
        self.requeued += len(first)
        failed_on = replica.replica_id if replica.alive else None
        pipeline.queue.push_front((query._replace(requeued=True, failed_on=failed_on) for query in first), now_ns)
        self._answer_default((query for query in lost if query.requeued), reason, now_ns)
        self.dispatch(pipeline)

    # Models without replicas ---------------------------------------------------------------------------

    def _schedule_expiry(self) -> None:
        if self._expiry is None:
            self._expiry = asyncio.get_running_loop().call_soon(self._expire)

    def _expire(self) -> None:
        """Answer what has waited for too long, or is too much, where the last replica has left: a few at a time."""
        self._expiry, left = None, EXPIRED_AT_ONCE
        now_ns = time.monotonic_ns()
        for key, pipeline in self.pipelines.items():
            if key in self.served:
                continue
            pipeline.count()
            expired = pipeline.queue.take_stale(
                left, lambda query: self._expired(query, now_ns), self._unserved_bytes, now_ns
            )
            self._answer_default(expired, "no_replica", now_ns)
            left -= len(expired)
            if not left:
                break
        if left < EXPIRED_AT_ONCE:
            self._schedule_expiry()
            self.check_again()
            self._settled()

    def _expired(self, query: Query, now_ns: int) -> bool:
        return now_ns - query.arrived_ns > self._directory.applications[query.application].objective_ns

    # Hung replicas -------------------------------------------------------------------------------------

    def _sweep(self) -> None:
        """Look for batches past their deadlines, replicas whose pause is over, and models that have no replica left."""
        now_ns = time.monotonic_ns()
        if now_ns - self._swept_ns > 2 * SWEEP_S * NS_PER_S:
            self._resumed_ns = now_ns  # this process did not run: answers may wait to be read
        self._swept_ns = now_ns
        self._sweeps = asyncio.get_running_loop().call_later(SWEEP_S, self._sweep)
        for replica in self._replicas.recovered(now_ns):
            self.dispatch(self.pipelines[replica.model])
        overdue = self._replicas.overdue(now_ns, self._resumed_ns)
        for replica in overdue:
            self._on_overdue(replica, now_ns)
        self._schedule_expiry()
        self._tell()
        self.check_again()
        self._settled()

    def _on_overdue(self, replica: Replica, now_ns: int) -> None:
        silent_s = replica.under_way_ns(now_ns) / NS_PER_S
        if not self._replicas.replaceable(replica):
            if not replica.health.overdue:
                replica.health.overdue = True
                text = "replica %s has not answered for %.1f s, and no other can: waiting"
                log.warning(text, replica.label, silent_s)
            return
        queries = self._replicas.hung(replica, now_ns)
        log.warning(
            "replica %s has not answered for %.1f s: its %d queries go to others, it gets none until it answers",
            replica.label,
            silent_s,
            len(queries),
        )
        pipeline = self.pipelines[replica.model]
        again = [query._replace(moves=query.moves + 1) for query in queries if query.moves < MAX_MOVES]
        self.requeued += len(again)
        pipeline.queue.push_front(again, now_ns)
        self._answer_default((query for query in queries if query.moves >= MAX_MOVES), "replicas_hung", now_ns)
        self.dispatch(pipeline)
