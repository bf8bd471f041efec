"""What a batch costs the frontends and a replica: CPU time of the thread of Python and of ZeroMQ's threads.

Both are processes of their own. This one is client and replica of the frontends, then the frontend of a do-nothing
replica. It answers each batch when it has the next one. Frontends that send one batch ahead then serve each batch in a
turn of its own; frontends that send more ahead serve several in one, as at full speed. Wall time does not count, and of
many slices the least one does, since noise only adds.

    .venv/bin/python benchmarks/batch_price.py [--trees . ../other] [--batch-sizes 1 4] [--rounds 5] [--batches 4000]
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import zmq

from frontend_launch import wire
from frontend_launch.admin import AdminClient
from frontend_launch.ports import FRONTEND_PORTS
from model_containers.data_types import DataType
from model_containers.wire import (
    BatchRequest,
    BatchResponse,
    HeartbeatKind,
    Metadata,
    ReplyTimes,
    decode_from_frontend,
    encode_batch_request,
    encode_batch_response,
    encode_heartbeat,
    encode_heartbeat_reply,
    encode_metadata,
)

PAYLOAD = bytes(8)
IN_FLIGHT = 1000
TURNS_BETWEEN_READS = 4
"""Batches that the client of the frontends lets pass before it reads its answers, and asks again."""

SLICE = 500
"""Batches that are timed together; the least time of such a slice counts."""

TIMEOUT_MS = 60_000


class Price(NamedTuple):
    """Microseconds of CPU time a batch."""

    python: float
    others: float


def main() -> None:
    """Run the rounds and print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--trees", type=Path, nargs="+", default=[Path()], help="checkouts that are measured")
    parser.add_argument("--batch-sizes", type=int, nargs="+", default=[1, 4])
    parser.add_argument("--parts", nargs="+", default=list(PARTS), choices=PARTS)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--batches", type=int, default=4000)
    arguments = parser.parse_args()
    print("part       batch size  us a batch: thread of Python  other threads  tree")
    for part in arguments.parts:
        for size in arguments.batch_sizes:
            prices: dict[Path, list[Price]] = {tree: [] for tree in arguments.trees}
            for _ in range(arguments.rounds):
                for tree, into in prices.items():
                    into.extend(PARTS[part](tree, size, arguments.batches))
            for tree, found in prices.items():
                python, others = (min(column) for column in zip(*found, strict=True))
                print(f"{part:9}  {size:10}  {python:28.1f}  {others:13.1f}  {tree}", flush=True)


class Peers:
    """A client and a replica of the frontends, which has batches ahead.

    Args:
        requests: socket of the client.
        responses: the other one.
        batches: socket of the replica.
    """

    def __init__(self, requests: zmq.Socket[bytes], responses: zmq.Socket[bytes], batches: zmq.Socket[bytes]) -> None:
        self._requests, self._responses, self._batches = requests, responses, batches
        self._asked = self._turns = 0
        responses.send_multipart(wire.encode_announcement(b""))
        self._client_id = wire.decode_handshake_reply(responses.recv_multipart())
        batches.send_multipart(encode_heartbeat())
        batches.recv_multipart()
        batches.send_multipart(encode_metadata(Metadata("app", "1", DataType.FLOATS)))
        self._ask(IN_FLIGHT)
        self._waiting = self._receive()
        self.turn()

    def turn(self) -> None:
        """Answer a batch; the first time before there is another: the times in it say that one may be sent ahead."""
        before = self._waiting
        if self._turns:
            self._waiting = self._receive()
        self._answer(before)
        if not self._turns:
            self._waiting = self._receive()
        self._turns += 1
        if self._turns % TURNS_BETWEEN_READS == 0:
            self._ask(drain(self._responses))

    def _ask(self, number: int) -> None:
        for request_id in range(self._asked, self._asked + number):
            frames = wire.encode_request_burst(self._client_id, [request_id], "app", DataType.FLOATS, [PAYLOAD])
            self._requests.send_multipart(frames)
        self._asked += number

    def _receive(self) -> BatchRequest:
        batch = decode_from_frontend(self._batches.recv_multipart())
        assert isinstance(batch, BatchRequest)
        return batch

    def _answer(self, batch: BatchRequest) -> None:
        outputs = (bytes(4),) * batch.count
        answer = BatchResponse(batch.message_id, DataType.FLOATS, outputs, ReplyTimes(1, 2, 3, False))
        self._batches.send_multipart(encode_batch_response(answer))


def frontends(tree: Path, size: int, batches: int) -> list[Price]:
    """One round of the frontends of a checkout."""
    ports = [f"--{name}-port=0" for name in FRONTEND_PORTS]
    with running(tree, "frontend_launch", "serve", *ports) as process, zmq.Context() as context:
        assert process.stdout is not None
        bound = json.loads(process.stdout.readline())
        asyncio.run(configure(bound["admin"], size))
        with (
            dealer(context, bound["request"]) as requests,
            dealer(context, bound["response"]) as responses,
            dealer(context, bound["replica"]) as replica,
        ):
            return priced(process.pid, Peers(requests, responses, replica).turn, batches)


def drain(socket: zmq.Socket[bytes]) -> int:
    """Read all messages that are there; returns how many."""
    count = 0
    with contextlib.suppress(zmq.Again):
        while True:
            socket.recv_multipart(zmq.NOBLOCK)
            count += 1
    return count


async def configure(port: int, size: int) -> None:
    """An application linked to a model of the same name."""
    async with AdminClient(f"http://127.0.0.1:{port}") as admin:
        await admin.register_application("app", DataType.FLOATS, "none", 60_000_000)
        await admin.register_model("app", "1", DataType.FLOATS, batch_size=size)
        await admin.link_model("app", "app")


def replica(tree: Path, size: int, batches: int) -> list[Price]:
    """One round of a do-nothing replica of a checkout."""
    with tempfile.TemporaryDirectory() as directory, zmq.Context() as context, context.socket(zmq.ROUTER) as socket:
        socket.setsockopt(zmq.LINGER, 0)
        socket.setsockopt(zmq.RCVTIMEO, TIMEOUT_MS)
        port = socket.bind_to_random_port("tcp://127.0.0.1")
        flags = ["--port", str(port), "--log-file", f"{directory}/log", "--input-shape", "2"]
        with running(tree, "model_containers", "serve", "noop", *flags) as process:
            identity, *_ = socket.recv_multipart()
            socket.send_multipart([identity, *encode_heartbeat_reply(HeartbeatKind.REQUEST_METADATA)])
            socket.recv_multipart()
            frames = [identity, *encode_batch_request(BatchRequest.of(1, DataType.FLOATS, [PAYLOAD] * size))]
            socket.send_multipart(frames)

            def turn() -> None:
                socket.send_multipart(frames)
                socket.recv_multipart()

            return priced(process.pid, turn, batches)


def priced(pid: int, turn: Callable[[], None], batches: int) -> list[Price]:
    """CPU time of a process a batch, each of which is a turn of this one; of each slice of the batches."""
    for _ in range(SLICE):
        turn()
    prices = []
    before = cpu_us(pid)
    for _ in range(batches // SLICE):
        for _ in range(SLICE):
            turn()
        after = cpu_us(pid)
        prices.append(Price(*((late - early) / SLICE for early, late in zip(before, after, strict=True))))
        before = after
    return prices


def cpu_us(pid: int) -> tuple[float, float]:
    """Of its first thread, and of all others."""
    us = {
        int(task.name): int((task / "schedstat").read_text().split()[0]) / 1000
        for task in Path(f"/proc/{pid}/task").iterdir()
    }
    first = us.pop(pid)
    return first, sum(us.values())


@contextlib.contextmanager
def running(tree: Path, *command: str) -> Iterator[subprocess.Popen[str]]:
    """A module of a checkout as a process, which ends with the context."""
    environment = {
        **os.environ,
        "PYTHONPATH": str(tree.resolve()),
        "LOADGEN_REPLY_TIMES": "1",
        "LOADGEN_REPLY_FAILURES": "1",
    }
    words = [sys.executable, "-m", *command]
    silent, pipe = subprocess.DEVNULL, subprocess.PIPE
    with subprocess.Popen(words, cwd=tree.resolve(), env=environment, text=True, stdout=pipe, stderr=silent) as process:
        try:
            yield process
        finally:
            process.terminate()


@contextlib.contextmanager
def dealer(context: zmq.Context[zmq.Socket[bytes]], port: int) -> Iterator[zmq.Socket[bytes]]:
    """A DEALER that is connected."""
    with context.socket(zmq.DEALER) as socket:
        socket.setsockopt(zmq.LINGER, 0)
        socket.setsockopt(zmq.RCVTIMEO, TIMEOUT_MS)
        socket.connect(f"tcp://127.0.0.1:{port}")
        yield socket


PARTS: dict[str, Callable[[Path, int, int], list[Price]]] = {"frontends": frontends, "replica": replica}

if __name__ == "__main__":
    main()
