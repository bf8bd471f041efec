"""A million messages with something wrong on each socket of a frontend, with a client beside that loses nothing.

``LOADGEN_FUZZ`` says how many, and a tenth of them go to the HTTP servers.
"""

import asyncio
import contextlib
import json
import multiprocessing
import os
import re
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable
from pathlib import Path

import evidence
import fuzzing
import numpy as np
import pytest
import zmq

from frontend_launch import wire
from frontend_launch.admin import AdminClient
from frontend_launch.counters import Counters
from model_containers.data_types import DataType

MESSAGES = int(os.environ.get("LOADGEN_FUZZ", "1000000"))
SEED = int(os.environ.get("LOADGEN_FUZZ_SEED", "1"))
WINDOW = 8
QUIET_S = 3.0
LOG_BYTES, MORE_BYTES, MORE_DESCRIPTORS = 100_000, 200 << 20, 20
PATIENCE_MS = 30_000


class Served:
    """Frontends and a replica as processes of their own."""

    def __init__(self, stack: contextlib.ExitStack, directory: Path) -> None:
        self._log = directory / "frontends.log"
        names = ("request", "response", "replica", "metrics", "admin")
        flags = [word for name in names for word in (f"--{name}-port", "0")]
        self.process = self._start(stack, ["-m", "frontend_launch", "serve", *flags], subprocess.PIPE, self._log)
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
            for name in ("noop", fuzzing.APPLICATION):
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


class Beside:
    """A client that behaves well: so many requests are in flight, and each is answered once, by the model."""

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


@pytest.mark.timeout(3600)
def test_fuzz(tmp_path):
    """No crash, no traceback, nothing that grows; the counts of all are in the table."""
    rows = []
    with contextlib.ExitStack() as stack:
        served = Served(stack, tmp_path)
        beside = Beside(stack, served.ports)
        began_s = time.monotonic()
        quiet = beside.run(lambda: time.monotonic() < began_s + QUIET_S)
        for place, name in enumerate((*fuzzing.SOCKETS, "http")):
            count = MESSAGES if name in fuzzing.SOCKETS else MESSAGES // 10
            before, bytes_before, descriptors = served.counters(), served.resident_bytes(), served.descriptors()
            storm = multiprocessing.get_context("spawn").Process(
                target=fuzzing.storm, args=(name, served.ports, 10 * SEED + place, count)
            )
            storm.start()
            stack.callback(storm.kill)
            latencies = beside.run(storm.is_alive)
            assert storm.exitcode == 0
            after = served.counters().since(before)
            more_bytes = served.resident_bytes() - bytes_before
            assert served.process.poll() is None
            log = served.log()
            assert "Traceback" not in log
            assert len(log) < LOG_BYTES
            assert more_bytes < MORE_BYTES
            assert served.descriptors() < descriptors + MORE_DESCRIPTORS
            p99, quiet_p99 = np.percentile(latencies, 99), np.percentile(quiet, 99)
            rows.append(
                f"| {name} | {count:,} | {sum(after.dropped.values()):,} | {len(latencies):,} | {quiet_p99:.2f} | "
                f"{p99:.2f} | {more_bytes / 2**20:.0f} |"
            )
        counters = served.counters()
        assert counters.unanswered == 0
    head = (
        f"A frontend with one replica; a client with {WINDOW} requests in flight asks all the time, and each of its\n"
        "requests is answered once, by the model. The p99 alone is that of the client before the storm.\n\n"
        "| socket | messages | refused | answers beside | p99 alone, ms | p99 beside, ms | memory, MiB more |\n"
        "|---|---|---|---|---|---|---|\n"
    )
    text = head + "\n".join(rows)
    if MESSAGES >= 1_000_000:
        evidence.keep("fuzz", "What messages with something wrong do to a frontend", text)
    else:
        print(f"\n{text}")  # noqa: T201 - whoever runs less asked for it
