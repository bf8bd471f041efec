"""Peers that speak the protocols over real sockets, without any of the code under test but its codecs."""

import asyncio
import contextlib
import threading
from collections.abc import Callable, Coroutine, Iterable, Iterator
from pathlib import Path
from typing import Any, NamedTuple, Protocol, TypeVar

import numpy as np
import uvloop
import zmq
from numpy.typing import ArrayLike

from frontend_launch import wire
from frontend_launch.counters import Counters
from frontend_launch.frontends.http import listening, metrics_app
from frontend_launch.frontends.query import QueryFrontend
from frontend_launch.frontends.store import MemoryStore
from frontend_launch.ports import Ports
from frontend_launch.records import Application, ModelVersion
from model_containers.credentials import Credentials, secure_client
from model_containers.data_types import DataType
from model_containers.wire import (
    BatchRequest,
    BatchResponse,
    FromFrontend,
    Heartbeat,
    HeartbeatKind,
    HeartbeatReply,
    Metadata,
    ReplyTimes,
    decode_from_frontend,
    encode_batch_response,
    encode_heartbeat,
    encode_metadata,
)

T = TypeVar("T")
TIMEOUT_MS = 10_000
ANY = Ports(0, 0, 0, 0, 0)


class FrontendThread:
    """A query frontend on a loop of its own thread, with its store."""

    def __init__(
        self,
        max_queued_bytes: int = 1 << 30,
        ipc_directory: Path | None = None,
        ports: Ports = ANY,
        credentials: Credentials | None = None,
        max_message_bytes: int = wire.MAX_MESSAGE_BYTES,
    ) -> None:
        self.loop = uvloop.new_event_loop()
        self.thread = threading.Thread(target=self.loop.run_forever, daemon=True)
        self.thread.start()
        self.store = MemoryStore()
        self.frontend = self.call(self._start(max_queued_bytes, ipc_directory, ports, credentials, max_message_bytes))
        self.ports = self.frontend.ports

    async def _start(
        self,
        max_queued_bytes: int,
        ipc_directory: Path | None,
        ports: Ports,
        credentials: Credentials | None,
        max_message_bytes: int,
    ) -> QueryFrontend:
        frontend = QueryFrontend(
            self.store,
            "127.0.0.1",
            ports,
            max_queued_bytes,
            ipc_directory,
            credentials=credentials,
            max_message_bytes=max_message_bytes,
        )
        return await frontend.__aenter__()

    def call(self, coroutine: Coroutine[Any, Any, T]) -> T:
        return asyncio.run_coroutine_threadsafe(coroutine, self.loop).result(10)

    @contextlib.contextmanager
    def metrics(self) -> Iterator[int]:
        """Its metrics over HTTP while the context lasts; gives the port."""
        malformed = self.frontend.on_malformed_http
        server = listening(metrics_app(self.frontend), "127.0.0.1", 0, "--metrics-port", malformed)
        port = self.call(server.__aenter__())
        try:
            yield port
        finally:
            self.call(server.__aexit__(None, None, None))

    def counters(self) -> Counters:
        async def read() -> Counters:
            return self.frontend.counters()

        return self.call(read())

    def report(self) -> dict[str, list[dict[str, dict[str, str]]]]:
        async def read() -> dict[str, list[dict[str, dict[str, str]]]]:
            return self.frontend.report()

        return self.call(read())

    def register(
        self,
        name: str = "app",
        input_type: DataType = DataType.FLOATS,
        batch_size: int = 2,
        default_output: str = "TIMEOUT",
        objective_s: float = 60.0,
    ) -> None:
        """An application linked to a model of the same name."""

        async def write() -> None:
            await self.store.add_application(Application(name, input_type, default_output, round(objective_s * 1e6)))
            await self.store.add_model(ModelVersion(name, "1", input_type, (), "x", "x", batch_size))
            await self.store.set_current_version(name, "1")
            await self.store.link_model(name, name)

        self.call(write())
        self.until(lambda: self.frontend._directory.max_batch((name, "1")) == batch_size)
        self.until(lambda: self.frontend._directory.applications[name].models == (name,))

    def until(self, condition: Callable[[], object]) -> None:
        """Let the frontend's loop turn until something holds."""

        async def turn() -> None:
            async with asyncio.timeout(10):
                while not condition():  # noqa: ASYNC110 - another loop's state, which has no event
                    await asyncio.sleep(0)

        self.call(turn())

    def close(self) -> None:
        self.call(self.frontend.__aexit__(None, None, None))
        self.loop.call_soon_threadsafe(self.loop.stop)
        self.thread.join(10)
        self.loop.close()


def started(stack: contextlib.ExitStack, **options: Any) -> Any:
    """A query frontend, until the stack is left; of any type, since tests take the place of its methods."""
    frontend = FrontendThread(**options)
    stack.callback(frontend.close)
    return frontend


@contextlib.contextmanager
def dealer(port: int, credentials: Credentials | None = None, **options: int | bytes) -> Iterator[zmq.Socket[bytes]]:
    """A DEALER of a context of its own, as separate processes have them."""
    context = zmq.Context()
    socket = context.socket(zmq.DEALER)
    socket.setsockopt(zmq.RCVTIMEO, TIMEOUT_MS)
    for name, value in options.items():
        socket.setsockopt(getattr(zmq, name), value)
    secure_client(socket, credentials)
    socket.connect(f"tcp://127.0.0.1:{port}")
    try:
        yield socket
    finally:
        context.destroy(linger=0)


class Response(NamedTuple):
    """One answer."""

    request_id: int
    output_type: DataType
    output: bytes


def value(response: Response) -> float:
    """The first number of an answer."""
    return float(np.frombuffer(response.output, "<f4")[0])


class Listening(Protocol):
    """What a client has to know of a frontend."""

    ports: Ports


class Client:
    """A client of the 2017 protocol, or with another handshake one of this project."""

    def __init__(
        self,
        frontend: Listening,
        stack: contextlib.ExitStack,
        handshake: tuple[bytes, bytes] = wire.HANDSHAKE,
        credentials: Credentials | None = None,
        **options: int | bytes,
    ) -> None:
        self.receiving = stack.enter_context(dealer(frontend.ports.response, credentials, **options))
        self.sending = stack.enter_context(dealer(frontend.ports.request, credentials))
        self.receiving.send_multipart(handshake)
        self.client_id = wire.decode_handshake_reply(self.receiving.recv_multipart())

    def send(self, request_id: int, values: ArrayLike = (1.0,), application: str = "app") -> None:
        self._send(request_id, application, DataType.FLOATS, np.array(values, "<f4").tobytes())

    def send_text(self, request_id: int, text: bytes) -> None:
        self._send(request_id, "app", DataType.STRINGS, text)

    def _send(self, request_id: int, application: str, input_type: DataType, payload: bytes) -> None:
        request = wire.encode_request_burst(self.client_id, [request_id], application, input_type, [payload])
        self.sending.send_multipart(request)

    def receive(self) -> Response:
        frames = self.receiving.recv_multipart()
        assert len(frames) == wire.RESPONSE_FRAMES
        burst = wire.decode_response_burst(frames)
        request_id, output_type = (int.from_bytes(i32, "little") for i32 in (burst.request_ids, *burst.output_types))
        (output,) = burst.outputs
        return Response(request_id, DataType(output_type), bytes(output))


class Replica:
    """A container of the 2017 protocol; answers only when told to."""

    def __init__(
        self,
        frontend: FrontendThread,
        stack: contextlib.ExitStack,
        name: str = "app",
        input_type: DataType = DataType.FLOATS,
        credentials: Credentials | None = None,
    ) -> None:
        self.socket = stack.enter_context(dealer(frontend.ports.replica, credentials))
        self.socket.send_multipart(encode_heartbeat())
        assert self.receive() == HeartbeatReply(HeartbeatKind.REQUEST_METADATA)
        known = set(frontend.frontend.counters().replicas)
        self.socket.send_multipart(encode_metadata(Metadata(name, "1", input_type)))
        frontend.until(lambda: set(frontend.frontend.counters().replicas) - known)

    def receive(self) -> FromFrontend:
        return decode_from_frontend(self.socket.recv_multipart())

    def receive_batch(self) -> BatchRequest:
        """The next batch; keep-alives in between are what a busy replica skips."""
        while isinstance(message := self.receive(), HeartbeatReply):
            pass
        return message

    def answer(self, batch: BatchRequest, times: ReplyTimes | None = None) -> None:
        """Twice its first element, for each input."""
        outputs = [(2 * np.frombuffer(part, "<f4")[:1]).tobytes() for part in batch.inputs]
        self.answer_with(batch, DataType.FLOATS, outputs, times)

    def answer_with(
        self, batch: BatchRequest, output_type: DataType, outputs: Iterable[bytes], times: ReplyTimes | None = None
    ) -> None:
        response = BatchResponse(batch.message_id, output_type, tuple(outputs), times)
        self.socket.send_multipart(encode_batch_response(response))


class Beside:
    """A client and a replica, each of which gets what is its own, whatever others do."""

    def __init__(self, frontend: FrontendThread, stack: contextlib.ExitStack) -> None:
        frontend.register("beside")
        self.client, self.replica = Client(frontend, stack), Replica(frontend, stack, "beside")
        self.sent = 0

    @contextlib.contextmanager
    def waiting(self) -> Iterator[None]:
        """One query, which waits for its answer while the context lasts, and then gets it."""
        self.client.send(self.sent, [float(self.sent)], "beside")
        batch = self.replica.receive_batch()
        yield
        self.replica.answer(batch)
        assert self.client.receive().request_id == self.sent
        self.sent += 1

    def ask(self) -> None:
        """One query, which is answered."""
        with self.waiting():
            pass


__all__ = [
    "ANY",
    "Beside",
    "Client",
    "FrontendThread",
    "Heartbeat",
    "Replica",
    "Response",
    "dealer",
    "started",
    "value",
]
