"""Peers that speak the protocols over real sockets, without any of the code under test but its codecs."""

import asyncio
import contextlib
import threading
from typing import NamedTuple

import numpy as np
import uvloop
import zmq

from frontend_launch import wire
from frontend_launch.frontends.http import listening, metrics_app
from frontend_launch.frontends.query import QueryFrontend
from frontend_launch.frontends.state import MemoryStore
from frontend_launch.ports import Ports
from frontend_launch.records import Application, ModelVersion
from model_containers.wire import (
    BatchResponse,
    DataType,
    Heartbeat,
    HeartbeatReply,
    Metadata,
    decode_from_frontend,
    encode_batch_response,
    encode_heartbeat,
    encode_metadata,
)

TIMEOUT_MS = 10_000
ANY = Ports(0, 0, 0, 0, 0)


class FrontendThread:
    """A query frontend on a loop of its own thread, with its store."""

    def __init__(self, max_queued_bytes=1 << 30, ipc_directory=None):
        self.loop = uvloop.new_event_loop()
        self.thread = threading.Thread(target=self.loop.run_forever, daemon=True)
        self.thread.start()
        self.store = MemoryStore()
        self.frontend = self.call(self._start(max_queued_bytes, ipc_directory))
        self.ports = self.frontend.ports

    async def _start(self, max_queued_bytes, ipc_directory):
        return await QueryFrontend(self.store, "127.0.0.1", ANY, max_queued_bytes, ipc_directory).__aenter__()

    def call(self, coroutine):
        return asyncio.run_coroutine_threadsafe(coroutine, self.loop).result(10)

    @contextlib.contextmanager
    def metrics(self):
        """Its metrics over HTTP while the context lasts; gives the port."""
        server = listening(metrics_app(self.frontend), "127.0.0.1", 0, "--metrics-port")
        port = self.call(server.__aenter__())
        try:
            yield port
        finally:
            self.call(server.__aexit__(None, None, None))

    def counters(self):
        async def read():
            return self.frontend.counters()

        return self.call(read())

    def report(self):
        async def read():
            return self.frontend.report()

        return self.call(read())

    def register(self, name="app", input_type=DataType.FLOATS, batch_size=2, default_output="TIMEOUT"):
        """An application linked to a model of the same name."""

        async def write():
            await self.store.add_application(Application(name, input_type, default_output, 500_000))
            await self.store.add_model(ModelVersion(name, "1", input_type, (), "x", "x", batch_size))
            await self.store.set_current_version(name, "1")
            await self.store.link_model(name, name)

        self.call(write())
        self.until(lambda: self.frontend._directory.max_batch((name, "1")) == batch_size)
        self.until(lambda: self.frontend._directory.applications[name].models == (name,))

    def until(self, condition):
        """Let the frontend's loop turn until something holds."""

        async def turn():
            async with asyncio.timeout(10):
                while not condition():  # noqa: ASYNC110 - another loop's state, which tells nobody
                    await asyncio.sleep(0)

        self.call(turn())

    def close(self):
        self.call(self.frontend.__aexit__(None, None, None))
        self.loop.call_soon_threadsafe(self.loop.stop)
        self.thread.join(10)
        self.loop.close()


@contextlib.contextmanager
def dealer(port, **options):
    """A DEALER of a context of its own, as separate processes have them."""
    context = zmq.Context()
    socket = context.socket(zmq.DEALER)
    socket.setsockopt(zmq.RCVTIMEO, TIMEOUT_MS)
    for name, value in options.items():
        socket.setsockopt(getattr(zmq, name), value)
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


class Client:
    """A client of the 2017 protocol."""

    def __init__(self, frontend, stack):
        self.receiving = stack.enter_context(dealer(frontend.ports.response))
        self.sending = stack.enter_context(dealer(frontend.ports.request))
        self.receiving.send_multipart(wire.HANDSHAKE)
        self.client_id = wire.decode_handshake_reply(self.receiving.recv_multipart())

    def send(self, request_id, values=(1.0,), application="app"):
        payload = np.array(values, "<f4").tobytes()
        request = wire.encode_request_burst(self.client_id, [request_id], application, DataType.FLOATS, [payload])
        self.sending.send_multipart(request)

    def receive(self):
        frames = self.receiving.recv_multipart()
        assert len(frames) == wire.RESPONSE_FRAMES
        burst = wire.decode_response_burst(frames)
        request_id, output_type = (int.from_bytes(i32, "little") for i32 in (burst.request_ids, *burst.output_types))
        return Response(request_id, DataType(output_type), *burst.outputs)


class Replica:
    """A container of the 2017 protocol; answers only when told to."""

    def __init__(self, frontend, stack, name="app", input_type=DataType.FLOATS):
        self.socket = stack.enter_context(dealer(frontend.ports.replica))
        self.socket.send_multipart(encode_heartbeat())
        assert self.receive() == HeartbeatReply(1)
        known = set(frontend.frontend.counters().replicas)
        self.socket.send_multipart(encode_metadata(Metadata(name, "1", input_type)))
        frontend.until(lambda: set(frontend.frontend.counters().replicas) - known)

    def receive(self):
        return decode_from_frontend(self.socket.recv_multipart())

    def receive_batch(self):
        """The next batch; keep-alives in between are what a busy replica skips."""
        while isinstance(message := self.receive(), HeartbeatReply):
            pass
        return message

    def answer(self, batch, times=None):
        """Twice its first element, for each input."""
        outputs = tuple((2 * np.frombuffer(part, "<f4")[:1]).tobytes() for part in batch.inputs)
        self.socket.send_multipart(
            encode_batch_response(BatchResponse(batch.message_id, DataType.FLOATS, outputs, times))
        )


__all__ = ["ANY", "Client", "FrontendThread", "Heartbeat", "Replica", "dealer"]
