"""Frontends and a replica as processes, and a client beside others that behaves well."""

import asyncio
import contextlib
import json
import os
import re
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable
from pathlib import Path

import numpy as np
import turns
import zmq

from frontend_launch import wire
from frontend_launch.admin import AdminClient
from frontend_launch.counters import Counters
from frontend_launch.ports import FRONTEND_PORTS
from model_containers.data_types import DataType

TURNS = Path(turns.__file__)
WINDOW = 8
QUIET_S = 3.0
PATIENCE_MS = 60_000


class Served:
    """Frontends and a replica as processes of their own.

    Args:
        stack: ends them.
        directory: of their logs.
        turns: gets how long the turns of the frontends' loop were, see `turns`; None for frontends as they are.
    """

    def __init__(self, stack: contextlib.ExitStack, directory: Path, turns: Path | None = None) -> None:
        directory.mkdir(exist_ok=True)
        self._log, self._turns = directory / "frontends.log", turns
        program = ["-m", "frontend_launch"] if turns is None else [str(TURNS), str(turns)]
        flags = [word for name in FRONTEND_PORTS for word in (f"--{name}-port", "0")]
        self.process = self._start(stack, [*program, "serve", *flags], subprocess.PIPE, self._log)
        assert self.process.stdout is not None
        self.ports: dict[str, int] = json.loads(self.process.stdout.readline())
        asyncio.run(self._register())
        command = ["-m", "model_containers", "serve", "noop", "--port", str(self.ports["replica"])]
        self._start(stack, command, subprocess.DEVNULL, directory / "replica.log")
        give_up_s = time.monotonic() + PATIENCE_MS / 1000
        while "noop:1:0" not in self.counters().replicas:
            assert time.monotonic() < give_up_s

    @staticmethod
    def _start(stack: contextlib.ExitStack, words: list[str], stdout: int, log: Path) -> "subprocess.Popen[bytes]":
        with log.open("wb") as errors:
            process = subprocess.Popen([sys.executable, *words], stdout=stdout, stderr=errors)
        stack.enter_context(process)
        stack.callback(process.kill)
        return process

    async def _register(self) -> None:
        async with AdminClient(f"http://127.0.0.1:{self.ports['admin']}") as admin:
            for name in ("noop", "odd"):
                await admin.register_application(name, DataType.FLOATS, "none", 1000)
                await admin.register_model(name, "1", DataType.FLOATS, batch_size=8)
                await admin.link_model(name, name)

    def counters(self) -> Counters:
        url = f"http://127.0.0.1:{self.ports['metrics']}/metrics/loadgen"
        with urllib.request.urlopen(url, timeout=PATIENCE_MS / 1000) as answer:
            return Counters.from_json(answer.read())

    def resident_bytes(self) -> int:
        found = re.search(r"VmRSS:\s+(\d+) kB", Path(f"/proc/{self.process.pid}/status").read_text())
        assert found is not None
        return int(found[1]) * 1024

    def descriptors(self) -> int:
        return len(os.listdir(f"/proc/{self.process.pid}/fd"))

    def log(self) -> str:
        return self._log.read_text()

    def begin_turns(self) -> None:
        """Forget the turns until now."""
        self.process.send_signal(signal.SIGUSR1)

    def end_turns(self) -> dict[str, float]:
        """End the frontends; gives the longest turns in ms of CPU time, by what they did, the longest first."""
        assert self._turns is not None
        self.process.terminate()
        self.process.wait(PATIENCE_MS / 1000)
        longest: dict[str, float] = json.loads(self._turns.read_text())
        return longest


class Beside:
    """A client that behaves well: a number of requests are in flight, and each is answered once, by the model."""

    def __init__(self, stack: contextlib.ExitStack, ports: dict[str, int]) -> None:
        context = zmq.Context()
        stack.callback(context.destroy, linger=0)
        self._receiving, self._sending = context.socket(zmq.DEALER), context.socket(zmq.DEALER)
        for dealer, name in ((self._receiving, "response"), (self._sending, "request")):
            dealer.setsockopt(zmq.RCVTIMEO, PATIENCE_MS)
            dealer.connect(f"tcp://127.0.0.1:{ports[name]}")
        self._receiving.send_multipart(wire.HANDSHAKE)
        self._client_id = wire.decode_handshake_reply(self._receiving.recv_multipart())
        self._waiting: dict[bytes, int] = {}
        self._next = 0

    def _send(self) -> None:
        frames = wire.encode_request_burst(self._client_id, [self._next], "noop", DataType.FLOATS, [bytes(16)])
        self._waiting[frames[2]] = time.monotonic_ns()
        self._sending.send_multipart(frames)
        self._next += 1

    def _receive(self) -> int:
        _, number, kind, _ = self._receiving.recv_multipart()
        assert kind == DataType.FLOATS.to_bytes(4, "little"), "a default output"
        return time.monotonic_ns() - self._waiting.pop(number)

    def alone(self) -> np.ndarray:
        """The latencies in ms of some seconds in which no other client sends."""
        end_s = time.monotonic() + QUIET_S
        return self.run(lambda: time.monotonic() < end_s)

    def run(self, more: Callable[[], bool]) -> np.ndarray:
        """Ask as long as `more` says so; the latencies in ms of all answers."""
        latencies = []
        for _ in range(WINDOW):
            self._send()
        while more():
            latencies.append(self._receive())
            self._send()
        while self._waiting:
            latencies.append(self._receive())
        return np.array(latencies) / 1e6
