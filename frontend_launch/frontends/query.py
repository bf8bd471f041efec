"""The query frontend: takes requests, queues them by model, and answers clients, on one event loop.

Sockets in the order of a request's life: requests (ROUTER, 4456) → a model's queue → replicas (ROUTER,
7000) → responses (ROUTER, 4455). Everything between two sockets is a plain call; nothing here awaits while
a request is under way. `replica_link` has the side of the replicas; `batching` and `replicas` decide what waits and
which replica serves.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import Counter as Tally
from collections import defaultdict
from collections.abc import Hashable, Iterable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Self

import zmq

from frontend_launch import wire
from frontend_launch.contexts import end_context
from frontend_launch.counters import Counters
from frontend_launch.errors import LaunchError, StoreError
from frontend_launch.frontends.admission import Admission
from frontend_launch.frontends.batching import QUERY_BYTES, Query, room
from frontend_launch.frontends.clients import BatchTimes, ClientTable
from frontend_launch.frontends.directory import Directory
from frontend_launch.frontends.memory import MemoryReturn
from frontend_launch.frontends.metric_definitions import InternalMetrics
from frontend_launch.frontends.metrics import Registry
from frontend_launch.frontends.outbox import Outbox
from frontend_launch.frontends.pipeline import ModelPipeline
from frontend_launch.frontends.prometheus import exposition
from frontend_launch.frontends.reader import Frames, RequestReceiver, SocketReader
from frontend_launch.frontends.replica import Batch, ModelKey
from frontend_launch.frontends.replica_link import MAX_NAME_CHARACTERS, ReplicaLink
from frontend_launch.frontends.replicas import Shard
from frontend_launch.frontends.seldom import Seldom
from frontend_launch.frontends.store import Store
from frontend_launch.ports import Ports, unusable
from frontend_launch.quantities import plural
from frontend_launch.records import ReplicaRecord
from frontend_launch.stages import Stages
from model_containers.credentials import Credentials, secure_server
from model_containers.data_types import DataType
from model_containers.errors import WireError
from model_containers.wire import BatchResponse

log = logging.getLogger(__name__)

MAX_WAITING_MESSAGES = 256
"""Requests that ZeroMQ reads ahead of the frontend, per client."""

UNSERVED_SHARE = 8
"""Queries of a model whose last replica has left may take one part in this many of the queued bytes."""

HANDSHAKES_AT_ONCE = 16
"""Read before requests and answers have their turn: they cost as much as these, and come seldom."""

MAX_HANDSHAKE_BYTES = 65_536
"""Of a part of what clients send for an id."""

HANDSHAKE_TIMEOUT_MS = 10_000
"""How long ZeroMQ waits for the greeting of a peer that has connected."""

MAX_UNWRITTEN = 1024
"""Replicas that wait for a store that does not answer."""

LOOKED_AT_ONCE = 2000
"""Queries that are searched for those of clients that are gone, before other work has its turn."""

STORE_RETRY_S = 1.0
"""Between two attempts to write to a store that does not answer."""


class QueryFrontend:
    """Serves until closed; use as an async context manager.

    Args:
        store: the configuration; watched for changes.
        host: address to bind.
        ports: ports to bind; `self.ports` says which were taken.
        max_queued_bytes: that may wait, see `BatchQueue.held_bytes`. At the bound the requests of one model are no
            longer read, so that clients slow down and nothing is lost; of several models see `batching.room`. A model
            without replicas may have `UNSERVED_SHARE` of it.
        ipc_directory: have sockets for clients and replicas there too, see `frontend_launch.wire.ipc_addresses`.
        shard: which of several query frontends this is.
        credentials: clients and replicas that have them are served and no others, encrypted; None to serve all.
        max_message_bytes: of each part of a message.

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
        credentials: Credentials | None = None,
        max_message_bytes: int = wire.MAX_MESSAGE_BYTES,
    ) -> None:
        self._store, self._max_queued_bytes, self._room_bytes = store, max_queued_bytes, 0
        self._registry = Registry()
        self._internal = InternalMetrics(self._registry, time.monotonic_ns())
        self._directory = Directory(store, self._registry)
        self._started_ns = time.monotonic_ns()
        self._requests = self._defaults = self._refused = self._dropped_queries = 0
        self._paused_ns, self._paused_since_ns = 0, 0
        self._dropped: Tally[str] = Tally()
        self._default_reasons: Tally[str] = Tally()
        self._full: frozenset[Hashable] = frozenset()
        self._declined: defaultdict[str, list[Query]] = defaultdict(list)
        """Queries that are not queued, by reason; they are answered after the burst."""
        self._gone: set[int] = set()
        self._looked_for: set[int] = set()
        self._found = 0
        self._search: asyncio.Handle | None = None
        self._warn_of_gone, self._warn_of_unwritten = Seldom(log), Seldom(log)
        self._tasks: set[asyncio.Task[None]] = set()
        self._context = zmq.Context()
        self._credentials = credentials
        self._admission = None if credentials is None else Admission(self._context, credentials)
        try:
            self._bind(host, ports, shard, max_message_bytes)
            if ipc_directory is not None:
                self._bind_ipc(ipc_directory)
        except BaseException:
            end_context(self._context)
            raise

    def _bind(self, host: str, ports: Ports, shard: Shard, max_message_bytes: int) -> None:
        self._request_socket = self._context.socket(zmq.ROUTER)
        self._request_socket.setsockopt(zmq.RCVHWM, MAX_WAITING_MESSAGES)
        self._response_socket = self._context.socket(zmq.ROUTER)
        self._clients = ClientTable(self._response_socket, self._on_client_gone)
        self._outbox = Outbox(self._clients, self._after_sending)
        self._replica_socket = self._context.socket(zmq.ROUTER)
        self._link = ReplicaLink(
            self._replica_socket,
            shard,
            self._directory,
            self._registry,
            self._internal,
            self._max_queued_bytes // UNSERVED_SHARE,
            answer=self._answer,
            answer_default=self._answer_default,
            registered=self._on_registered,
            drop=self._drop,
            settled=self._after_answers,
        )
        self._served = self._link.served
        for socket in (self._response_socket, self._replica_socket):
            socket.setsockopt(zmq.ROUTER_MANDATORY, 1)  # without it ZeroMQ drops silently what it cannot send
        for socket in (self._request_socket, self._response_socket, self._replica_socket):
            secure_server(socket, self._credentials)
            socket.setsockopt(zmq.HANDSHAKE_IVL, HANDSHAKE_TIMEOUT_MS)
            socket.setsockopt(zmq.MAXMSGSIZE, max_message_bytes)
        self._response_socket.setsockopt(zmq.MAXMSGSIZE, min(MAX_HANDSHAKE_BYTES, max_message_bytes))
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
                raise LaunchError(f"{address}: cannot be used ({error}); choose another --ipc-directory") from None

    async def __aenter__(self) -> Self:
        await self._directory.start()
        if self._admission is not None:
            self._admission.open()
        self._handshakes = SocketReader(self._response_socket, self._on_handshake, burst=HANDSHAKES_AT_ONCE)
        self._incoming = SocketReader(
            self._request_socket, self._on_request, self._after_requests, RequestReceiver(self._request_socket)
        )
        self._memory = MemoryReturn(self._queued_bytes)
        self._link.open()
        return self

    async def __aexit__(self, *_: object) -> None:
        for reader in (self._handshakes, self._incoming, self._link):
            reader.close()
        self._outbox.close()
        if self._admission is not None:
            self._admission.close()
        self._memory.close()
        if self._search is not None:
            self._search.cancel()
        await self._directory.stop()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        end_context(self._context)

    # Readings ------------------------------------------------------------------------------------------

    def report(self) -> dict[str, list[dict[str, dict[str, str]]]]:
        """The metrics in the shape of the original."""
        return self._registry.report(time.monotonic_ns())

    def report_text(self) -> Iterator[bytes]:
        """The same as text, in parts."""
        return self._registry.text(time.monotonic_ns())

    def prometheus(self) -> Iterator[bytes]:
        """All of them in the text format of Prometheus, in parts."""
        return exposition(self._registry, self.counters(), self.stages(), time.monotonic_ns())

    def counters(self) -> Counters:
        """The monotone counters of this frontend."""
        now_ns = time.monotonic_ns()
        paused_ns = self._paused_ns + (now_ns - self._paused_since_ns if self._incoming.paused else 0)
        return Counters(
            now_ns=now_ns,
            process_cpu_ns=time.process_time_ns(),
            requests=self._requests,
            replies=self._outbox.replies,
            defaults=self._defaults,
            orphaned=self._outbox.orphaned + self._dropped_queries,
            requeued=self._link.requeued,
            paused_ns=paused_ns,
            dropped=dict(self._dropped),
            default_reasons=dict(self._default_reasons),
            refused=self._refused,
            started_ns=self._started_ns,
            models=self._link.model_counters(now_ns),
            replicas=self._link.replica_counters(now_ns),
        )

    def stages(self) -> Iterator[tuple[str, Stages]]:
        """Where the time went, by model and by replica, one after the other."""
        return self._link.stages()

    # Clients -------------------------------------------------------------------------------------------

    def _on_handshake(self, frames: Frames) -> None:
        try:
            self._clients.register(frames)
        except WireError as error:
            self._drop(error)

    def _on_request(self, frames: Frames) -> None:
        now_ns = time.monotonic_ns()
        try:
            request = wire.decode_request(frames[1:])
            self._accept(request, now_ns)
        except WireError as error:
            self._drop(error)
            self._refuse(frames[1:], error, now_ns)

    def _accept(self, request: wire.PredictRequest, now_ns: int) -> None:
        application = self._directory.applications.get(request.application)
        if application is None:
            name = request.application[:MAX_NAME_CHARACTERS]
            raise WireError("unknown_application", f"a request for the unknown application {name!r}")
        if not self._clients.touch(request.client_id):
            raise WireError("unknown_client", f"a request of client {request.client_id}, which has no handshake")
        query = Query(request.client_id, request.request_id, application.name, request.payload, now_ns)
        model = self._directory.model_of(application)
        pipeline = self._served.get(model) if model is not None else None
        if pipeline is None:
            pipeline = self._unserved(model, query, now_ns)
            if pipeline is None:
                return
        if request.input_type is not pipeline.input_type:
            self._internal.scheduled(1)  # the original finds out after that
            given, taken = request.input_type.canonical, pipeline.input_type.canonical
            raise WireError("input_type", f"a request with {given} for {pipeline.key[0]}, which takes {taken}")
        self._requests += 1
        if self._full and pipeline.key in self._full:
            self._internal.scheduled(1)
            self._declined["overloaded"].append(query)
            return
        pipeline.push(query, now_ns)
        self._room_bytes -= QUERY_BYTES + len(request.payload)
        if self._room_bytes <= 0:
            self._look_for_room(now_ns)

    def _unserved(self, model: ModelKey | None, query: Query, now_ns: int) -> ModelPipeline | None:
        """Where a query for a model without replicas waits for one; None where it is answered after the burst."""
        pipeline = self._link.pipelines.get(model) if model is not None else None
        if pipeline is not None and pipeline.queue.held_bytes < self._max_queued_bytes // UNSERVED_SHARE:
            return pipeline
        self._requests += 1
        if model is not None:  # the original counts before it looks for the model's queue
            self._internal.scheduled(1)
        self._declined["no_replica"].append(query)
        return None

    def _look_for_room(self, now_ns: int) -> None:
        """Find how many bytes may come before the next look, and stop reading at the bound; replicas free more."""
        served = self._link.served
        held = {
            key: pipeline.queue.held_bytes
            for key, pipeline in self._link.pipelines.items()
            if pipeline.queue or key in served
        }
        self._full, self._room_bytes = room(held, self._max_queued_bytes)
        if self._room_bytes <= 0 and not self._incoming.paused:
            self._paused_since_ns = now_ns
            self._incoming.pause()

    def _refuse(self, frames: Frames, error: WireError, now_ns: int) -> None:
        """Answer a request that is not valid, where it says whose it is.

        A client of this project gets the reason. The protocol of 2017 has no errors: other clients get the default
        output, and nothing where there is no such application.
        """
        sender = wire.decode_sender(frames)
        if sender is None or not self._clients.touch(sender[0]):
            return
        query = Query(*sender, b"", now_ns)
        if self._clients.announced(query.client_id):
            self._requests += 1
            self._refused += 1
            self._outbox.send((query,), wire.REFUSED, (str(error).encode(),))
        elif query.application in self._directory.applications:
            self._requests += 1
            self._answer_default((query,), "invalid_request", now_ns)

    def _after_requests(self) -> None:
        if self._declined:
            self._decline()
        for pipeline in self._served.values():
            pipeline.count()
            self._link.dispatch(pipeline)
        self._link.check_again()
        self._after_sending()

    def _after_sending(self) -> None:
        """Read what sending answers may have hidden, if any were sent since the last time."""
        if self._outbox.unlooked:
            self._outbox.unlooked = False
            self._handshakes.check_again()

    def _decline(self) -> None:
        now_ns = time.monotonic_ns()
        for reason, queries in self._declined.items():
            self._answer_default(queries, reason, now_ns)
        self._declined.clear()

    def _on_client_gone(self, client_id: int) -> None:
        """Forget its queued queries: in a moment, with those of others that are found to be gone until then."""
        self._gone.add(client_id)
        if self._search is None:
            self._search = asyncio.get_running_loop().call_soon(self._begin_search)

    def _begin_search(self) -> None:
        self._looked_for, self._gone, self._found = self._gone, set(), 0
        for pipeline in self._link.pipelines.values():
            pipeline.queue.begin_search()
        self._search_some()

    def _search_some(self) -> None:
        """Look for queries of clients that are gone, a few at a time: there may be millions."""
        now_ns, left, looked_for = time.monotonic_ns(), LOOKED_AT_ONCE, self._looked_for
        for pipeline in self._link.pipelines.values():
            looked_at, found = pipeline.queue.drop_some(lambda query: query.client_id in looked_for, left, now_ns)
            left -= looked_at
            self._found += found
            self._dropped_queries += found
        self._search = None
        if left < LOOKED_AT_ONCE:
            self._search = asyncio.get_running_loop().call_soon(self._search_some)
        else:
            text = "%s gone or not reading: dropped %d queued queries"
            self._warn_of_gone(text, plural(len(looked_for), "client"), self._found)
            if self._gone:
                self._search = asyncio.get_running_loop().call_soon(self._begin_search)
        self._resume_if_room(now_ns)
        self._memory.update()

    def _resume_if_room(self, now_ns: int) -> None:
        if self._full:
            self._look_for_room(now_ns)
        if self._incoming.paused and self._held_bytes() < self._max_queued_bytes:
            self._paused_ns += now_ns - self._paused_since_ns
            self._incoming.resume()

    def _held_bytes(self) -> int:
        return sum(pipeline.queue.held_bytes for pipeline in self._link.pipelines.values())

    def _queued_bytes(self) -> int:
        queued_bytes = 0
        for pipeline in self._link.pipelines.values():  # after each answer: a generator would cost twice as much
            queued_bytes += pipeline.queue.queued_bytes
        return queued_bytes

    # Answers -------------------------------------------------------------------------------------------

    def _answer(self, batch: Batch, response: BatchResponse, under_way_ns: int, now_ns: int) -> None:
        model_ns = None if response.times is None else response.times.handle_ns
        spent = BatchTimes(under_way_ns, model_ns)
        queries, outputs = batch.queries, response.outputs
        if response.failures:
            text = response.output_type is DataType.STRINGS
            failed = {
                place
                for place in response.failures
                if text or not self._clients.reads_failures(queries[place].client_id)
            }
            self._answer_default((queries[place] for place in sorted(failed)), "model_failed", now_ns)
            kept = [place for place in range(len(queries)) if place not in failed]
            queries, outputs = tuple(queries[place] for place in kept), tuple(outputs[place] for place in kept)
        if queries:
            self._outbox.send_batch(queries, response.output_type, outputs, spent, now_ns)
        for name in {query.application for query in queries}:
            times = [query.arrived_ns for query in queries if query.application == name]
            self._directory.applications[name].metrics.answered(times, default=False, now_ns=now_ns)

    def _answer_default(self, queries: Iterable[Query], reason: str, now_ns: int) -> None:
        """Answer with what the application registered for when there is no prediction."""
        by_application: dict[str, list[Query]] = {}
        for query in queries:
            by_application.setdefault(query.application, []).append(query)
        for name, asked in by_application.items():
            application = self._directory.applications[name]
            self._defaults += len(asked)
            self._default_reasons[reason] += len(asked)
            self._outbox.send(asked, DataType.STRINGS, [application.default_output] * len(asked))
            application.metrics.answered([query.arrived_ns for query in asked], default=True, now_ns=now_ns)

    # Replicas ------------------------------------------------------------------------------------------

    def _on_registered(self, record: ReplicaRecord) -> None:
        if len(self._tasks) >= MAX_UNWRITTEN:
            self._warn_of_unwritten("%d replicas wait to be written down: a further one is not", MAX_UNWRITTEN)
            return
        task = asyncio.get_running_loop().create_task(self._keep(record))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _keep(self, record: ReplicaRecord) -> None:
        """Write down a replica; it serves before that, and also while the store does not answer."""
        while True:
            try:
                await self._store.add_replica(record)
            except StoreError as error:
                self._warn_of_unwritten("%s", error)
                await asyncio.sleep(STORE_RETRY_S)
            else:
                return

    def _after_answers(self) -> None:
        now_ns = time.monotonic_ns()
        self._outbox.flush_if_due(now_ns)
        self._resume_if_room(now_ns)
        self._memory.update()
        self._after_sending()

    # Odds and ends -------------------------------------------------------------------------------------

    def on_malformed_http(self) -> None:
        """Count an invalid HTTP request to the metrics, which the server reports."""
        self._dropped["http"] += 1

    def _drop(self, error: WireError) -> None:
        """Count a message that is not valid; say so once per kind."""
        self._dropped[error.kind] += 1
        if self._dropped[error.kind] == 1:
            log.warning("dropped %s (further ones of this kind are counted only)", error)


def _bind(socket: zmq.Socket[bytes], host: str, port: int, option: str) -> int:
    try:
        socket.bind(f"tcp://{host}:{port or '*'}")
    except zmq.ZMQError as error:
        raise LaunchError(unusable(host, port, option, OSError(error.errno, str(error)))) from None
    endpoint = socket.getsockopt(zmq.LAST_ENDPOINT)
    assert isinstance(endpoint, bytes)
    return int(endpoint.rpartition(b":")[2])
