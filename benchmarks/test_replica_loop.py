"""What a replica spends outside its model: its loop around a model that computes for a known time.

The replica is a process of its own on the last core; this process is its frontend, on the first. The next batch is
sent ahead, as the query frontend does. The extra info has `outside the model`: the share of the time, by the replica's
clock, in which it was not in the model call. The target is below 0.01 for a call of 50 ms.
"""

from __future__ import annotations

import multiprocessing
import os
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import zmq
from pytest_benchmark.fixture import BenchmarkFixture

from model_containers.data_types import DataType
from model_containers.model import LoadOptions, TensorSpec
from model_containers.server import serve
from model_containers.settings import Settings
from model_containers.wire import (
    BatchRequest,
    BatchResponse,
    HeartbeatKind,
    decode_from_replica,
    encode_batch_request,
    encode_heartbeat_reply,
)

BATCHES = {"32 x 8 B": (32, (2,)), "32 x 8 KB": (32, (2048,)), "8 x 299x299x3": (8, (299, 299, 3))}
ROUNDS = 20


class Busy:
    """Computes for so long, whatever the batch, and reads no more of it than its first numbers."""

    name = "busy"
    output = TensorSpec((1,), "float32")

    def __init__(self, shape: tuple[int, ...], seconds: float) -> None:
        self.input, self.seconds = TensorSpec(shape, "float32"), seconds

    def predict(self, batch: np.ndarray) -> np.ndarray:
        until = time.monotonic() + self.seconds
        while time.monotonic() < until:
            pass
        return batch.reshape(len(batch), -1)[:, :1].copy()


def replicate(shape: tuple[int, ...], seconds: float, port: int, core: int) -> None:
    """The replica's process."""
    os.sched_setaffinity(0, {core})
    settings = Settings(port=port, reply_times=True, log_file=Path(os.devnull), load=LoadOptions(max_batch=1))
    serve(Busy(shape, seconds), settings)


@pytest.fixture
def router() -> Iterator[tuple[zmq.Socket[bytes], int]]:
    """The frontend's socket and its port."""
    with zmq.Context() as context, context.socket(zmq.ROUTER) as socket:
        socket.setsockopt(zmq.LINGER, 0)
        socket.setsockopt(zmq.RCVTIMEO, 30_000)
        yield socket, socket.bind_to_random_port("tcp://127.0.0.1")


@pytest.mark.parametrize("call_s", [0.0, 0.05])
@pytest.mark.parametrize("batch", BATCHES)
def test_replica(benchmark: BenchmarkFixture, router: tuple[zmq.Socket[bytes], int], batch: str, call_s: float) -> None:
    """Some batches, one always waiting in the replica's socket."""
    count, shape = BATCHES[batch]
    socket, port = router
    cores = sorted(os.sched_getaffinity(0))
    process = multiprocessing.get_context("spawn").Process(target=replicate, args=(shape, call_s, port, cores[-1]))
    process.start()
    os.sched_setaffinity(0, cores[:1])
    try:
        identity, *_ = socket.recv_multipart()
        socket.send_multipart([identity, *encode_heartbeat_reply(HeartbeatKind.REQUEST_METADATA)])
        socket.recv_multipart()
        payload = np.random.default_rng(0).random(shape, dtype=np.float32).tobytes()
        frames = [identity, *encode_batch_request(BatchRequest.of(1, DataType.FLOATS, [payload] * count))]
        inside_ns: list[int] = []
        elapsed_ns: list[int] = []

        def rounds() -> None:
            for _ in range(2):
                socket.send_multipart(frames, copy=False)
            began_ns = 0
            for number in range(ROUNDS):
                response = decode_from_replica(socket.recv_multipart()[1:])
                assert isinstance(response, BatchResponse)
                assert response.times is not None
                if number:
                    inside_ns.append(response.times.handle_ns)
                else:
                    began_ns = time.monotonic_ns()
                if number < ROUNDS - 2:
                    socket.send_multipart(frames, copy=False)
            elapsed_ns.append(time.monotonic_ns() - began_ns)

        benchmark.pedantic(rounds, rounds=3)
    finally:
        os.sched_setaffinity(0, cores)
        process.terminate()
        process.join(10)
    batches = 3 * (ROUNDS - 1)
    benchmark.extra_info["outside the model"] = round(1 - sum(inside_ns) / sum(elapsed_ns), 4)
    benchmark.extra_info["us_per_batch_outside"] = round((sum(elapsed_ns) - sum(inside_ns)) / batches / 1000, 1)
