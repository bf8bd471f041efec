"""Three clients in Python on one protocol; prints what one of them measured, as `c_peer/client.c` does.

    python benchmarks/clients.py loadgen REQUEST_PORT RESPONSE_PORT PAYLOAD_BYTES WINDOW WARMUP_S SECONDS

``loadgen`` is this project's, with everything that a run records. ``pyzmq`` sends and receives the same frames and
does nothing else: what the library costs, and so the floor of every client in Python. ``await`` is what people write:
a task per request, and each message awaited.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np
import uvloop
import zmq
import zmq.asyncio

from frontend_launch import wire
from loadgen.load.inputs import SeededInputs
from loadgen.load.job import Job
from loadgen.load.runner import run
from loadgen.targets.clipper import ClipperSpec
from model_containers.data_types import Buffer, DataType
from model_containers.model import TensorSpec
from model_containers.units import NS_PER_S

APPLICATION = "echo"
S = TypeVar("S", zmq.Socket[bytes], zmq.asyncio.Socket)
BURST = 64
DISTINCT_INPUTS = 4


@dataclass(frozen=True, slots=True)
class Task:
    """What a client is to do against an echoing server."""

    request_port: int
    response_port: int
    payload_bytes: int
    window: int
    warmup_s: float
    seconds: float


@dataclass(frozen=True, slots=True)
class Measured:
    """What it came to; CPU time is the whole process's, user and system."""

    requests: int
    wall_s: float
    cpu_s: float


def loadgen(task: Task) -> Measured:
    """The project's client: public names only, recording included."""
    request, response = (f"tcp://127.0.0.1:{port}" for port in (task.request_port, task.response_port))
    job = Job(
        target=ClipperSpec(
            request, response, APPLICATION, DataType.FLOATS, task.payload_bytes, b"", keep_outputs=False
        ),
        inputs=SeededInputs(TensorSpec((task.payload_bytes // 4,), "float32"), None, DISTINCT_INPUTS, 0),
        window=task.window,
        duration_s=task.seconds,
        requests=None,
        warmup_s=task.warmup_s,
        timeout_s=None,
        stall_s=60.0,
        first_answer_s=None,
        log_every_s=3.0,
        drain_s=0.0,
    )
    record = uvloop.run(run(job))
    return Measured(record.latency.total, record.measured_ns / NS_PER_S, record.clients[0].cpu_ns / NS_PER_S)


class Stopwatch:
    """Says when a run is over, and what its measured part came to."""

    def __init__(self, task: Task) -> None:
        self._begins = time.monotonic() + task.warmup_s
        self._ends = self._begins + task.seconds
        self._cpu: float | None = None
        self._done_before = 0

    def over(self, done: int) -> bool:
        """Whether the run is over, given the number of replies."""
        now = time.monotonic()
        if self._cpu is None and now >= self._begins:
            self._begins, self._cpu, self._done_before = now, time.process_time(), done
        return now >= self._ends

    def measured(self, done: int) -> Measured:
        """What the measured part came to."""
        assert self._cpu is not None
        return Measured(done - self._done_before, time.monotonic() - self._begins, time.process_time() - self._cpu)


def _dealers(task: Task, context: zmq.Context[S]) -> list[S]:
    sockets = []
    for port in (task.request_port, task.response_port):
        socket = context.socket(zmq.DEALER)
        for mark in (zmq.SNDHWM, zmq.RCVHWM, zmq.LINGER):
            socket.setsockopt(mark, 0)
        socket.connect(f"tcp://127.0.0.1:{port}")
        sockets.append(socket)
    return sockets


def _payloads(task: Task) -> list[bytes]:
    return [np.random.default_rng(seed).bytes(task.payload_bytes) for seed in range(DISTINCT_INPUTS)]


def pyzmq(task: Task) -> Measured:
    """The library alone: one request's frames over and over, replies thrown away."""
    sending, receiving = _dealers(task, zmq.Context())
    receiving.send_multipart(wire.HANDSHAKE)
    client_id = wire.decode_handshake_reply(receiving.recv_multipart())
    payloads = _payloads(task)
    *head, _ = wire.encode_request_burst(client_id, [0], APPLICATION, DataType.FLOATS, payloads[:1])
    small = task.payload_bytes < 2048
    last: list[Any] = payloads if small else [zmq.Frame(payload, copy=False) for payload in payloads]
    send, receive, more = sending.send, receiving.recv, zmq.SNDMORE
    sent = done = 0
    stopwatch = Stopwatch(task)
    while not stopwatch.over(done):
        room = min(task.window - (sent - done), BURST)
        for index in range(room):
            for frame in head:
                send(frame, more)
            send(last[index % DISTINCT_INPUTS], copy=small)
        sent += max(0, room)
        before = done
        try:
            for _ in range(512):
                receive(zmq.NOBLOCK)
                receive()
                receive()
                receive(copy=small)
                done += 1
        except zmq.Again:
            if done == before and room <= 0:
                receiving.poll(100)
    return stopwatch.measured(done)


def awaiting(task: Task) -> Measured:
    """What people write: a task per request, a semaphore around it, each message awaited."""
    return uvloop.run(_awaiting(task))


async def _awaiting(task: Task) -> Measured:
    sending, receiving = _dealers(task, zmq.asyncio.Context())
    await receiving.send_multipart(wire.HANDSHAKE)
    client_id = wire.decode_handshake_reply(await receiving.recv_multipart())
    payloads = _payloads(task)
    window = asyncio.Semaphore(task.window)
    pending: dict[int, asyncio.Future[Buffer]] = {}
    latencies: list[float] = []

    async def ask(request_id: int) -> None:
        reply = pending[request_id] = asyncio.get_running_loop().create_future()
        began = time.monotonic()
        payload = payloads[request_id % DISTINCT_INPUTS]
        frames = wire.encode_request_burst(client_id, [request_id], APPLICATION, DataType.FLOATS, [payload])
        await sending.send_multipart(frames)
        await reply
        latencies.append(time.monotonic() - began)
        window.release()

    async def receive() -> None:
        while True:
            response = wire.decode_response_burst(await receiving.recv_multipart())
            pending.pop(int.from_bytes(response.request_ids, "little")).set_result(*response.outputs)

    receiver = asyncio.create_task(receive())
    tasks: set[asyncio.Task[None]] = set()
    stopwatch, request_id = Stopwatch(task), 0
    while not stopwatch.over(len(latencies)):
        await window.acquire()
        asking = asyncio.create_task(ask(request_id))
        tasks.add(asking)
        asking.add_done_callback(tasks.discard)
        request_id += 1
    measured = stopwatch.measured(len(latencies))
    for left in (receiver, *tasks):
        left.cancel()
    await asyncio.gather(receiver, *tasks, return_exceptions=True)
    return measured


CLIENTS = {"loadgen": loadgen, "pyzmq": pyzmq, "await": awaiting}


def main() -> None:
    """Run the client that is named, and print what it measured."""
    name, *ports_and_sizes, warmup_s, seconds = sys.argv[1:]
    request_port, response_port, payload_bytes, window = map(int, ports_and_sizes)
    task = Task(request_port, response_port, payload_bytes, window, float(warmup_s), float(seconds))
    measured = CLIENTS[name](task)
    print(json.dumps({"requests": measured.requests, "wall_s": measured.wall_s, "cpu_s": measured.cpu_s}), flush=True)


if __name__ == "__main__":
    main()
