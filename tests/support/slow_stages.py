"""A deployment in threads whose stages can be slowed one by one: what a request's stages then say."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import uvloop
import zmq
from peers import FrontendThread

from frontend_launch.frontends.replica_link import ReplicaLink
from loadgen.load import runner
from loadgen.load.arrivals import Renewal
from loadgen.load.dispatcher import MAX_WAIT_NS
from loadgen.load.inputs import SeededInputs
from loadgen.load.job import Job
from loadgen.load.record import Record
from loadgen.load.sleeper import MOST_EARLY_NS, Sleeper
from loadgen.targets.clipper import ClipperSpec, ClipperTarget
from model_containers.data_types import DataType
from model_containers.model import LoadOptions, TensorSpec
from model_containers.server import serve
from model_containers.settings import Settings

STAGES = (
    "schedule_lag",
    "client_queue",
    "way_there",
    "frontend_queue",
    "rpc",
    "model",
    "way_back",
    "client_reading",
)


@dataclass
class Delays:
    """How long each stage is held, seconds."""

    schedule_lag: float = 0.0
    client_queue: float = 0.0
    way_there: float = 0.0
    frontend_queue: float = 0.0
    rpc: float = 0.0
    model: float = 0.0
    way_back: float = 0.0
    client_reading: float = 0.0


class _Sleepy:
    """A model that takes its time."""

    name = "app"
    input = output = TensorSpec((1,), "float32")

    def __init__(self, delays: Delays) -> None:
        self._delays = delays

    def predict(self, batch: np.ndarray) -> np.ndarray:
        """What it was given."""
        time.sleep(self._delays.model)
        return batch


@contextlib.contextmanager
def _relay(port: int, there: Callable[[], float], back: Callable[[], float]) -> Iterator[int]:
    """Pass messages of one peer on to a port and back, each after a delay; gives the port to connect to."""
    with zmq.Context() as context:
        front, server, told, stop = (context.socket(kind) for kind in (zmq.ROUTER, zmq.DEALER, zmq.PAIR, zmq.PAIR))
        for socket in (front, server, told, stop):
            socket.setsockopt(zmq.LINGER, 0)
        own = front.bind_to_random_port("tcp://127.0.0.1")
        server.connect(f"tcp://127.0.0.1:{port}")
        told.bind("inproc://stop")
        stop.connect("inproc://stop")
        thread = threading.Thread(target=_pass_on, args=(front, server, stop, there, back))
        thread.start()
        try:
            yield own
        finally:
            told.send(b"")
            thread.join()
            for socket in (front, server, told, stop):
                socket.close()


def _pass_on(
    front: zmq.Socket[bytes],
    server: zmq.Socket[bytes],
    stop: zmq.Socket[bytes],
    there: Callable[[], float],
    back: Callable[[], float],
) -> None:
    poller = zmq.Poller()
    for socket in (front, server, stop):
        poller.register(socket, zmq.POLLIN)
    identity = b""
    while stop not in (ready := dict(poller.poll())):
        if front in ready:
            identity, *message = front.recv_multipart()
            time.sleep(there())
            server.send_multipart(message)
        if server in ready:
            message = server.recv_multipart()
            time.sleep(back())
            front.send_multipart([identity, *message])


@contextlib.contextmanager
def _replica(port: int, delays: Delays, log: Path) -> Iterator[None]:
    with zmq.Context() as context, context.socket(zmq.PAIR) as told, context.socket(zmq.PAIR) as stop:
        told.bind("inproc://stop")
        stop.connect("inproc://stop")
        settings = Settings(port=port, reply_times=True, log_file=log, load=LoadOptions())
        thread = threading.Thread(target=serve, args=(_Sleepy(delays), settings, stop))
        thread.start()
        try:
            yield
        finally:
            told.send(b"")
            thread.join()


@contextlib.contextmanager
def _held(delays: Delays) -> Iterator[None]:
    """Client and frontend with places at which they can be held."""
    hold = time.sleep  # on purpose, also within the loop
    dispatch, send, drain = ReplicaLink.dispatch, ClipperTarget.send, ClipperTarget.drain

    class HeldSleeper(Sleeper):
        async def sleep_until(self, deadline_ns: int) -> None:
            nothing_due = deadline_ns - time.monotonic_ns() > 0.9 * MAX_WAIT_NS
            await super().sleep_until(deadline_ns)
            if not nothing_due and time.monotonic_ns() >= deadline_ns - MOST_EARLY_NS:  # not by a reply
                hold(delays.schedule_lag)

    def held_dispatch(self: ReplicaLink, pipeline: Any) -> None:
        if pipeline.queue:
            time.sleep(delays.frontend_queue)
        dispatch(self, pipeline)

    def held_send(self: ClipperTarget, first_id: int, count: int, now_ns: int) -> None:
        time.sleep(delays.client_queue)
        send(self, first_id, count, now_ns)

    def held_drain(self: ClipperTarget) -> Any:
        if self._readable():
            time.sleep(delays.client_reading)
        return drain(self)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(runner, "Sleeper", HeldSleeper)
        patch.setattr(ReplicaLink, "dispatch", held_dispatch)
        patch.setattr(ClipperTarget, "send", held_send)
        patch.setattr(ClipperTarget, "drain", held_drain)
        yield


class SlowStages:
    """A client, a frontend and a replica, with relays between them.

    Attributes:
        delays: set one to slow its stage from the next run on.
    """

    def __init__(self, delays: Delays, request_port: int, response_port: int) -> None:
        self.delays, self._ports = delays, (request_port, response_port)

    def run(self, requests: int, rate_rps: float | None) -> Record:
        """Send a number of requests, at a constant rate or one after the other.

        Args:
            requests: how many.
            rate_rps: None for one after the other.
        """
        request, response = (f"tcp://127.0.0.1:{port}" for port in self._ports)
        job = Job(
            target=ClipperSpec(request, response, "app", DataType.FLOATS, 4, b"TIMEOUT"),
            inputs=SeededInputs(TensorSpec((1,), "float32"), None, 4, 0),
            window=1 if rate_rps is None else requests,
            duration_s=None,
            requests=requests if rate_rps is None else None,
            warmup_s=0.0,
            timeout_s=None,
            stall_s=30.0,
            first_answer_s=None,
            log_every_s=60.0,
            drain_s=30.0,
            arrivals=None if rate_rps is None else Renewal(rate_rps, requests / rate_rps, 0.0, 0),
        )
        return uvloop.run(runner.run(job))


@contextlib.contextmanager
def slow_stages(directory: Path) -> Iterator[SlowStages]:
    """It is up while the context lasts."""
    delays, frontend = Delays(), FrontendThread()
    with contextlib.ExitStack() as stack:
        stack.callback(frontend.close)
        frontend.register(batch_size=1)
        ports = frontend.ports
        nothing: Callable[[], float] = float
        replica = stack.enter_context(_relay(ports.replica, nothing, lambda: delays.rpc))
        request = stack.enter_context(_relay(ports.request, lambda: delays.way_there, nothing))
        response = stack.enter_context(_relay(ports.response, nothing, lambda: delays.way_back))
        stack.enter_context(_replica(replica, delays, directory / "replica.log"))
        stack.enter_context(_held(delays))
        frontend.until(lambda: frontend.frontend.counters().replicas)
        yield SlowStages(delays, request, response)
