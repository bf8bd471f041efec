"""The query frontend: requests in, batches out to replicas, answers back, on one event loop.

Sockets in the order of a request's life: requests (ROUTER, 4456) → a model's queue → replicas (ROUTER,
7000) → responses (ROUTER, 4455). Everything between two sockets is a plain call; nothing here awaits while
a request is under way. What waits and who serves is decided by `batching` and `replicas`.
"""

from __future__ import annotations

import asyncio
import errno
import logging
import time
from collections import Counter as Tally
from collections.abc import Coroutine, Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Self

import zmq

from frontend_launch import wire
from frontend_launch.counters import Counters, ReplicaCounters
from frontend_launch.errors import LaunchError, StoreError
from frontend_launch.frontends.batching import Query
from frontend_launch.frontends.clients import Clients
from frontend_launch.frontends.directory import Directory
from frontend_launch.frontends.instruments import InternalMetrics, model_prefix
from frontend_launch.frontends.lanes import Lane
from frontend_launch.frontends.memory import MemoryReturn
from frontend_launch.frontends.metrics import Registry
from frontend_launch.frontends.prometheus import exposition
from frontend_launch.frontends.reader import Frames, RequestReceiver, Sender, SocketReader
from frontend_launch.frontends.replicas import Batch, ModelKey, Replica, ReplicaTable, Shard
from frontend_launch.frontends.state import Store
from frontend_launch.ports import Ports
from frontend_launch.records import ReplicaRecord
from frontend_launch.stages import Stages
from model_containers.data_types import Buffer, DataType
from model_containers.errors import WireError
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

MAX_GONE_REPLICAS = 256
"""Replicas whose sums are kept after they are gone; beyond it the oldest are forgotten."""

MAX_LANES = 256
"""Model versions whose sums are kept; beyond it the oldest without replicas are forgotten."""

MAX_WAITING_MESSAGES = 256
"""Requests that ZeroMQ reads ahead of the frontend, per client."""

HEARTBEAT_EVERY_MS = 5_000
HEARTBEAT_TIMEOUT_MS = 60_000
"""ZMTP's own heartbeats to replicas, whose I/O thread answers them even while the model computes: the connection of
one that hangs or whose machine is gone breaks. Long, because a starved machine is slow and not dead."""

PROBE_DELAYS_S = (0.0, 0.05, 0.5)
"""When to look for replicas that are gone after a connection broke: the event may come before its effect."""


STORE_RETRY_S = 1.0
"""Between two attempts to write to a store that does not answer."""


class QueryFrontend:
    """Serves until closed; use as an async context manager.

    Args:
        store: the configuration; watched for changes.
        host: address to bind.
        ports: ports to bind; `self.ports` says which were taken.
        max_queued_bytes: payload bytes that may wait; at the bound requests are no longer read, so that
            clients slow down and nothing is lost.
        ipc_directory: have sockets for clients and replicas there too, see `frontend_launch.wire.ipc_addresses`.
        shard: which of several query frontends this is.

    Raises:
        LaunchError: a port is in use.
    """

    def __init__(
        self,
        store: Store,
        host: str,
        ports: Ports,
        max_queued_bytes: int,
        ipc_directory: Path | None = None,
        shard: Shard = Shard(),  # noqa: B008 - it is immutable
    ) -> None:
        self._store, self._max_queued_bytes = store, max_queued_bytes
        self._registry = Registry()
        self._internal = InternalMetrics(self._registry, time.monotonic_ns())
        self._directory = Directory(store, self._registry)
        self._lanes: dict[ModelKey, Lane] = {}
        self._replicas = ReplicaTable(shard)
        self._gone_replicas: dict[str, ReplicaCounters] = {}
        self._next_message = self._next_connection = 0
        self._requests = self._replies = self._defaults = self._orphaned = self._requeued = 0
        self._paused_ns, self._paused_since_ns = 0, 0
        self._dropped: Tally[str] = Tally()
        self._tasks: set[asyncio.Task[None]] = set()
        self._probes: list[asyncio.TimerHandle] = []
        self._context = zmq.Context()
        try:
            self._bind(host, ports)
            if ipc_directory is not None:
                self._bind_ipc(ipc_directory)
        except BaseException:
            self._context.destroy(linger=0)
            raise

    def _bind(self, host: str, ports: Ports) -> None:
        self._request_socket = self._context.socket(zmq.ROUTER)
        self._request_socket.setsockopt(zmq.RCVHWM, MAX_WAITING_MESSAGES)
        self._response_socket = self._context.socket(zmq.ROUTER)
        self._clients = Clients(self._response_socket, self._on_client_gone)
        self._replica_socket = self._context.socket(zmq.ROUTER)
        self._send_batch = Sender(self._replica_socket)
        self._replica_socket.setsockopt(zmq.HEARTBEAT_IVL, HEARTBEAT_EVERY_MS)
        self._replica_socket.setsockopt(zmq.HEARTBEAT_TIMEOUT, HEARTBEAT_TIMEOUT_MS)
        for socket in (self._response_socket, self._replica_socket):
            # A mark at which ROUTER drops would lose answers; outstanding requests bound what waits here.
            socket.setsockopt(zmq.SNDHWM, 0)
            socket.setsockopt(zmq.ROUTER_MANDATORY, 1)
        self.ports = replace(
            ports,
            request=_bind(self._request_socket, host, ports.request, "--request-port"),
            response=_bind(self._response_socket, host, ports.response, "--response-port"),
            replica=_bind(self._replica_socket, host, ports.replica, "--replica-port"),
        )

    def _bind_ipc(self, directory: Path) -> None:
        sockets = (self._request_socket, self._response_socket, self._replica_socket)
        for socket, address in zip(sockets, wire.ipc_addresses(directory), strict=True):
            try:
                socket.bind(address)
            except zmq.ZMQError as error:
                raise LaunchError(f"{address} cannot be used ({error}): choose another --ipc-directory") from None

    async def __aenter__(self) -> Self:
        await self._directory.start()
        self._handshakes = SocketReader(self._response_socket, self._on_handshake)
        self._incoming = SocketReader(
            self._request_socket, self._on_request, self._after_requests, RequestReceiver(self._request_socket)
        )
        self._memory = MemoryReturn(self._queued_bytes)
        self._answers = SocketReader(self._replica_socket, self._on_replica, self._after_answers)
        self._breaks = SocketReader(self._replica_socket.get_monitor_socket(zmq.EVENT_DISCONNECTED), self._on_break)
        return self

    async def __aexit__(self, *_: object) -> None:
        for reader in (self._handshakes, self._incoming, self._answers, self._breaks):
            reader.close()
        self._cancel_probes()
        self._memory.close()
        await self._directory.stop()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self._replica_socket.disable_monitor()
        self._context.destroy(linger=0)

    # Readings ------------------------------------------------------------------------------------------

    def report(self) -> dict[str, list[dict[str, dict[str, str]]]]:
        """The metrics in the shape of the original."""
        return self._registry.report(time.monotonic_ns())

    def prometheus(self) -> bytes:
        """All of them in the text format of Prometheus."""
        return exposition(self._registry, self.counters(), self.stages(), time.monotonic_ns())

    def counters(self) -> Counters:
        """Our own monotone counters."""
        now_ns = time.monotonic_ns()
        paused_ns = self._paused_ns + (now_ns - self._paused_since_ns if self._incoming.paused else 0)
        present = {replica.name: replica.counters(now_ns) for replica in self._replicas}
        return Counters(
            now_ns=now_ns,
            process_cpu_ns=time.process_time_ns(),
            requests=self._requests,
            replies=self._replies,
            defaults=self._defaults,
            orphaned=self._orphaned,
            requeued=self._requeued,
            paused_ns=paused_ns,
            dropped=dict(self._dropped),
            models={
                ":".join(key): lane.counters(self._directory.max_batch(key), now_ns)
                for key, lane in self._lanes.items()
            },
            replicas={**self._gone_replicas, **present},
        )

    def stages(self) -> dict[str, Stages]:
        """Where the time went, by model and by replica."""
        replicas = list(self._replicas)
        models = {
            ":".join(key): lane.stages(replica for replica in replicas if replica.model == key)
            for key, lane in self._lanes.items()
        }
        return {**models, **{replica.name: replica.stages for replica in replicas}}

    # Clients -------------------------------------------------------------------------------------------

    def _on_handshake(self, frames: Frames) -> None:
        try:
            self._clients.greet(frames)
        except WireError as error:
            self._drop(error)

    def _on_request(self, frames: Frames) -> None:
        now_ns = time.monotonic_ns()
        try:
            request = wire.decode_request(frames[1:])
            self._accept(request, now_ns)
        except WireError as error:
            self._drop(error)

    def _accept(self, request: wire.PredictRequest, now_ns: int) -> None:
        application = self._directory.applications.get(request.application)
        if application is None:
            raise WireError("unknown_application", f"a request for the unknown application {request.application!r}")
        if not self._clients.heard_of(request.client_id):
            raise WireError("unknown_client", f"a request of client {request.client_id}, which has no handshake")
        query = Query(request.client_id, request.request_id, application.name, request.payload, now_ns)
        model = self._directory.model_of(application)
        lane = self._lanes.get(model) if model is not None else None
        if lane is None:  # no model, or none that ever had a replica
            self._requests += 1
            self._answer_default((query,), now_ns)
            return
        if request.input_type is not lane.input_type:
            given, taken = request.input_type.canonical, lane.input_type.canonical
            raise WireError("input_type", f"a request with {given} for {lane.key[0]}, which takes {taken}")
        self._requests += 1
        lane.push(query, now_ns)
        if self._queued_bytes() >= self._max_queued_bytes:
            self._paused_since_ns = now_ns
            self._incoming.pause()

    def _after_requests(self) -> None:
        for lane in self._lanes.values():
            lane.count()
            self._dispatch(lane)
        self._answers.look_again()
        self._handshakes.look_again()

    def _on_client_gone(self, client_id: int) -> None:
        """Forget its queued queries."""
        now_ns = time.monotonic_ns()
        dropped = sum(
            lane.queue.drop(lambda query: query.client_id == client_id, now_ns) for lane in self._lanes.values()
        )
        self._orphaned += dropped
        log.warning("client %d is gone: dropped its %d queued queries", client_id, dropped)
        self._resume_if_room(now_ns)
        self._memory.look()

    def _resume_if_room(self, now_ns: int) -> None:
        if self._incoming.paused and self._queued_bytes() < self._max_queued_bytes:
            self._paused_ns += now_ns - self._paused_since_ns
            self._incoming.resume()

    def _queued_bytes(self) -> int:
        queued_bytes = 0
        for lane in self._lanes.values():  # for each request: a generator would cost twice as much
            queued_bytes += lane.queue.queued_bytes
        return queued_bytes

    # Answers -------------------------------------------------------------------------------------------

    def _answer(self, batch: Batch, response: BatchResponse, now_ns: int) -> None:
        self._send_outputs(batch.queries, response.output_type, response.outputs)
        for name in {query.application for query in batch.queries}:
            times = [query.arrived_ns for query in batch.queries if query.application == name]
            self._directory.applications[name].metrics.answered(times, default=False, now_ns=now_ns)

    def _answer_default(self, queries: Iterable[Query], now_ns: int) -> None:
        """Answer with what the application registered for when there is no prediction."""
        for query in queries:
            application = self._directory.applications[query.application]
            self._defaults += 1
            self._send_outputs((query,), DataType.STRINGS, (application.default_output,))
            application.metrics.answered([query.arrived_ns], default=True, now_ns=now_ns)

    def _send_outputs(self, queries: Sequence[Query], output_type: DataType, outputs: Sequence[Buffer]) -> None:
        sent = self._clients.answer(queries, output_type, outputs)
        self._replies += sent
        self._orphaned += len(queries) - sent

    # Replicas ------------------------------------------------------------------------------------------

    def _on_replica(self, frames: Frames) -> None:
        now_ns = time.monotonic_ns()
        identity, *message = frames
        identity = bytes(identity)
        replica = self._replicas.get(identity)
        try:
            match decode_from_replica(message):
                case Heartbeat():
                    kind = HeartbeatKind.KEEP_ALIVE if replica else HeartbeatKind.REQUEST_METADATA
                    self._send_to_replica(identity, encode_heartbeat_reply(kind))
                case Metadata() as metadata if replica is None:
                    self._register(identity, metadata, now_ns)
                case BatchResponse() as response if replica is not None:
                    self._on_response(replica, response, now_ns)
                case _:
                    pass  # metadata of a registered replica, content of an unregistered one: ignored, as the original
        except WireError as error:
            self._drop(error)
            if replica is not None:
                # An unreadable answer will not come a second time: its batch goes to the next replica.
                batch = self._replicas.answered(replica, None, now_ns)
                self._retry(replica, () if batch is None else (batch,), now_ns)

    def _register(self, identity: bytes, metadata: Metadata, now_ns: int) -> None:
        key = (metadata.model_name, metadata.model_version)
        lane = self._lanes.get(key)
        if lane is None:
            self._forget_a_lane()
            lane = self._lanes[key] = Lane(key, metadata.input_type, self._registry, self._internal, now_ns)
        elif lane.input_type is not metadata.input_type:
            given, taken = metadata.input_type.canonical, lane.input_type.canonical
            raise WireError("input_type", f"a replica of {key[0]}:{key[1]} takes {given}, the others {taken}")
        replica = self._replicas.register(identity, key, metadata.input_type)
        record = ReplicaRecord(*key, replica.replica_id, self._next_connection, metadata.input_type)
        self._next_connection += 1
        self._spawn(self._keep(record))
        log.info("replica %s registered", replica.name)
        self._dispatch(lane)

    def _forget_a_lane(self) -> None:
        """Where there are very many, forget the oldest model version that has neither replicas nor queries."""
        if len(self._lanes) < MAX_LANES:
            return
        idle = (key for key, lane in self._lanes.items() if not self._replicas.serving(key) and not lane.queue)
        if (key := next(idle, None)) is not None:
            del self._lanes[key]
            self._registry.remove(model_prefix(*key))

    async def _keep(self, record: ReplicaRecord) -> None:
        """Write down a replica; it serves before that, and also while the store does not answer."""
        while True:
            try:
                await self._store.add_replica(record)
            except StoreError as error:
                log.warning("%s", error)
                await asyncio.sleep(STORE_RETRY_S)
            else:
                return

    def _on_response(self, replica: Replica, response: BatchResponse, now_ns: int) -> None:
        if not replica.outstanding or replica.outstanding[0].message_id != response.message_id:
            self._drop(WireError("stray_response", f"an answer to message {response.message_id}, not in flight"))
            return
        expected = len(replica.outstanding[0].queries)
        if len(response.outputs) != expected:
            raise WireError("output_count", f"{len(response.outputs)} outputs for a batch of {expected}")
        latency_ns = now_ns - replica.began_ns
        batch = self._replicas.answered(replica, response.times, now_ns)
        assert batch is not None
        lane = self._lanes[replica.model]
        self._dispatch(lane)  # the replica waits, the clients have waited already
        lane.answered(replica, batch, response, latency_ns, now_ns)
        self._answer(batch, response, now_ns)

    def _after_answers(self) -> None:
        self._resume_if_room(time.monotonic_ns())
        self._memory.look()
        self._handshakes.look_again()

    def _dispatch(self, lane: Lane) -> None:
        """Give every replica that wants one a batch, as long as queries wait."""
        maximum = self._directory.max_batch(lane.key)
        while lane.queue and (replica := self._replicas.next(lane.key, len(lane.queue), maximum)) is not None:
            now_ns = time.monotonic_ns()
            batch = Batch(self._next_message, lane.queue.take(maximum, now_ns))
            payloads = [query.payload for query in batch.queries]
            frames = encode_batch_request(BatchRequest.of(batch.message_id, lane.input_type, payloads))
            self._next_message = (self._next_message + 1) & 0x7FFFFFFF
            if not self._send_to_replica(replica.identity, frames):
                lane.queue.push_front(batch.queries, now_ns)  # no replica had it: it may still be lost once
                continue
            self._replicas.sent(replica, batch, now_ns)
            lane.sent(batch.queries, maximum, now_ns)

    def _send_to_replica(self, identity: bytes, frames: list[Buffer]) -> bool:
        """Send; False when the replica is gone, and then it is taken out."""
        try:
            self._send_batch([identity, *frames])
        except zmq.ZMQError as error:
            if error.errno != errno.EHOSTUNREACH:
                raise
            replica = self._replicas.get(identity)
            if replica is not None:
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
                self._send_to_replica(replica.identity, encode_heartbeat_reply(HeartbeatKind.KEEP_ALIVE))
        self._answers.look_again()
        self._handshakes.look_again()

    def _lose(self, replica: Replica) -> None:
        now_ns = time.monotonic_ns()
        batches = self._replicas.lost(replica, now_ns)
        self._lanes[replica.model].lost(replica)
        self._gone_replicas[replica.name] = replica.counters(now_ns)
        if len(self._gone_replicas) > MAX_GONE_REPLICAS:
            del self._gone_replicas[next(iter(self._gone_replicas))]
        log.warning(
            "replica %s is gone, with %d queries in flight",
            replica.name,
            sum(len(batch.queries) for batch in batches),
        )
        self._retry(replica, batches, now_ns)

    def _retry(self, replica: Replica, batches: Iterable[Batch], now_ns: int) -> None:
        """Queue the queries of lost batches again, at the head and once; a second loss gets the default output."""
        lane = self._lanes[replica.model]
        queries = [query for batch in batches for query in batch.queries]
        first = [query for query in queries if not query.requeued]
        self._requeued += len(first)
        lane.queue.push_front((query._replace(requeued=True) for query in first), now_ns)
        self._answer_default((query for query in queries if query.requeued), now_ns)
        self._dispatch(lane)

    # Odds and ends -------------------------------------------------------------------------------------

    def _drop(self, error: WireError) -> None:
        """Count a message that is not valid; say so once per kind."""
        self._dropped[error.kind] += 1
        if self._dropped[error.kind] == 1:
            log.warning("dropped %s (further ones of this kind are counted only)", error)

    def _spawn(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)


def _bind(socket: zmq.Socket[bytes], host: str, port: int, option: str) -> int:
    try:
        socket.bind(f"tcp://{host}:{port or '*'}")
    except zmq.ZMQError as error:
        raise LaunchError(
            f"port {port} on {host} cannot be used ({error}): free it or choose another with {option}"
        ) from None
    endpoint = socket.getsockopt(zmq.LAST_ENDPOINT)
    assert isinstance(endpoint, bytes)
    return int(endpoint.rpartition(b":")[2])
