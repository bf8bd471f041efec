"""What a request costs the client where replies come one by one: CPU time, and system calls.

    .venv/bin/python benchmarks/one_by_one.py [--rounds 5] [--loops window-1 open-1000] [--servers null zmq http grpc]

``window-1`` keeps one request in flight, ``open-1000`` sends 1000 requests/s with Poisson arrivals, both with inputs of
8 KB. ``null`` answers within the process, in the call that hands it a request; the others are
`loadgen.servers.null_server`, a process of its own. System calls are those that a long run makes more than a short
one, per request that it sends more: so a run's start and end do not count. `perf stat` counts them where it may (root,
or kernel.perf_event_paranoid of -1), otherwise `strace -f -c`. strace stops a process at each call, so a loop that
keeps a rate falls behind and makes fewer, larger turns.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import re
import shutil
import statistics
import subprocess
import sys
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import uvloop
from open_loops import NullSpec

import loadgen
from loadgen.load.arrivals import Renewal
from loadgen.load.inputs import InputSource, Pool, SeededInputs, request_pool
from loadgen.load.job import Job
from loadgen.load.runner import run
from loadgen.load.target import TargetSpec
from loadgen.servers.null_process import null_answer, null_server
from loadgen.targets.clipper import ClipperSpec
from model_containers.data_types import DataType
from model_containers.model import TensorSpec

INPUT_BYTES = 8192
SEED = 1
LOOPS = ("window-1", "open-1000")
SERVERS = ("null", "zmq", "http", "grpc")
CALLS = ("poll", "getpid", "epoll_wait", "epoll_pwait", "timerfd_settime", "read", "write", "recvfrom", "sendto")
"""System calls with a column of their own."""

SECONDS = {False: 1.0, True: 3.0}
"""Of the short run and the long one at 1000 requests/s."""

PACKAGES = ("loadgen", "frontend_launch", "model_containers")

TOTAL = "total"
_STRACE = re.compile(r"^ *[\d.]+ +[\d.]+ +\d+ +(\d+) +(?:\d+ +)?(\w+)$", re.MULTILINE)
_PERF = re.compile(r"^(\d+),,\w+:sys_enter(?:_(\w+))?,", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class WholeRequests(InputSource):
    """The same request again and again, its head included."""

    request: bytes

    @property
    def text(self) -> str:
        return "one request"

    @property
    def payload_bytes(self) -> int:
        return len(self.request)

    def make(self) -> Pool:
        return request_pool([self.request], self.text)


@dataclass(frozen=True, slots=True)
class Spent:
    """What a client spent: CPU time of the measured part, and the system calls of the whole process by name."""

    requests: int
    cpu_us: float
    calls: dict[str, int]


def job_of(loop: str, server: str, *, long: bool) -> Job:
    """A client's job at a server that is still to be found.

    Args:
        loop: of `LOOPS`.
        server: of `SERVERS`.
        long: three times as many requests.
    """
    seconds = SECONDS[long]
    job = Job(
        target=NullSpec(),
        inputs=SeededInputs(TensorSpec((INPUT_BYTES // 4,), "float32"), None, 4, 0),
        window=1,
        duration_s=None,
        requests=round(1000 * seconds),
        warmup_s=0.0,
        timeout_s=10.0,
        stall_s=60.0,
        first_answer_s=None,
        log_every_s=3600.0,
        drain_s=10.0,
    )
    if loop.startswith("open"):
        arrivals = Renewal(float(loop.partition("-")[2]), seconds, cv=1.0, seed=SEED)
        job = replace(job, window=100_000, duration_s=seconds, requests=None, arrivals=arrivals)
    match server:
        case "zmq":
            target: TargetSpec = ClipperSpec("tcp://", "tcp://", "echo", DataType.FLOATS, INPUT_BYTES, b"", False)
            return replace(job, target=target)
        case "http":
            target, request = over_http()
            return replace(job, target=target, inputs=WholeRequests(request))
        case "grpc":
            target, request = over_grpc()
            return replace(job, target=target, inputs=WholeRequests(request))
    return job


def over_http() -> tuple[TargetSpec, bytes]:
    """A server that is still to be found, and a request; imported here, since an older revision may lack it."""
    from loadgen.targets.access import Access
    from loadgen.targets.address import parse_address
    from loadgen.targets.http1 import HttpSpec
    from loadgen.targets.http_answers import AnyAnswers
    from loadgen.targets.http_request import post

    address = parse_address("http://127.0.0.1:1/null")
    request = post(address, "/null", Access(), "application/octet-stream", {}, bytes(INPUT_BYTES))
    return HttpSpec(address, Access(), AnyAnswers(), connections=64), request


def over_grpc() -> tuple[TargetSpec, bytes]:
    """Likewise."""
    from loadgen.targets.access import Access
    from loadgen.targets.address import parse_address
    from loadgen.targets.oip.grpc_target import OipGrpcSpec
    from loadgen.targets.oip.messages import prefixed

    address = parse_address("oip+grpc://127.0.0.1:1/null")
    return OipGrpcSpec(address, Access(), outputs=(), trusted=True), prefixed(bytes(INPUT_BYTES))


@asynccontextmanager
async def serving(job: Job) -> AsyncIterator[dict[str, str | int]]:
    """A null server for a job, on any core; gives its addresses, none for a server within the process."""
    answer = None if isinstance(job.target, NullSpec) else null_answer(job.target, job.inputs)
    if answer is None:
        yield {}
        return
    async with null_server(answer, ()) as server:
        yield dict(server.addresses)


def at(target: Any, addresses: dict[str, str | int]) -> TargetSpec:
    """The target at a null server."""
    found: TargetSpec = target
    if isinstance(target, ClipperSpec):
        request, response = str(addresses["request"]), str(addresses["response"])
        found = replace(target, request_address=request, response_address=response)
    elif addresses:
        found = replace(target, address=replace(target.address, port=int(addresses["port"])))
    return found


def client(loop: str, server: str, long: str, addresses: str) -> None:
    """A client process: run the job, and print what it spent."""
    job = job_of(loop, server, long=long == "long")
    record = uvloop.run(run(replace(job, target=at(job.target, json.loads(addresses)))))
    assert record.latency.total == record.sent == record.measured_sent
    of_one_tree()
    print(json.dumps([record.sent, record.clients[0].cpu_ns / 1000]), flush=True)


def of_one_tree() -> None:
    """Refuse modules of another tree than the package's: an editable installation provides what a tree lacks.

    Raises:
        ImportError: there is one.
    """
    tree = Path(loadgen.__file__).parents[1]
    for name, module in sys.modules.items():
        file = getattr(module, "__file__", None)
        if file and name.partition(".")[0] in PACKAGES and not Path(file).is_relative_to(tree):
            raise ImportError(f"{name} is not in {tree}")


def counting(program: str, counts: str) -> list[str]:
    """A command, to put before another one, that counts its system calls.

    Args:
        program: ``perf``, ``strace`` or nothing.
        counts: path of the file for the counts.
    """
    match program:
        case "perf":
            events = ["raw_syscalls:sys_enter", *(f"syscalls:sys_enter_{name}" for name in CALLS)]
            return ["perf", "stat", "-x,", "-o", counts, "-e", ",".join(events)]
        case "strace":
            return [
                "strace",
                "-f",
                "-qq",
                "-c",
                "-U",
                "time-percent,total-time,avg-time,calls,errors,name",
                "-o",
                counts,
            ]
    return []


def counted(program: str, text: str) -> dict[str, int]:
    """System calls by name, and `TOTAL`.

    Args:
        program: that counted them.
        text: what it wrote.
    """
    rows = (_PERF if program == "perf" else _STRACE).findall(text)
    return {name or TOTAL: int(count) for count, name in rows}


def counter() -> str:
    """The program that counts system calls here; empty where none does."""
    for program in ("perf", "strace"):
        if shutil.which(program) is not None:
            with tempfile.NamedTemporaryFile("r") as counts:
                subprocess.run([*counting(program, counts.name), "true"], capture_output=True, check=False)
                if counted(program, counts.read()).get(TOTAL):
                    return program
    return ""


def spent(
    loop: str,
    server: str,
    addresses: dict[str, str | int],
    *,
    long: bool,
    program: str = "",
    environment: dict[str, str] | None = None,
) -> Spent:
    """Run a client process.

    Args:
        loop: of `LOOPS`.
        server: of `SERVERS`.
        addresses: where it is.
        long: three times as many requests.
        program: that counts system calls; empty to count none.
        environment: of the client; None for this process's.
    """
    client = [sys.executable, __file__, "--client", loop, server, "long" if long else "short", json.dumps(addresses)]
    with tempfile.NamedTemporaryFile("r") as counts:
        command = [*counting(program, counts.name), *client]
        done = subprocess.run(command, check=True, capture_output=True, text=True, timeout=300, env=environment)
        requests, cpu_us = json.loads(done.stdout.splitlines()[-1])
        return Spent(requests, cpu_us, counted(program, counts.read()))


def calls_a_request(
    loop: str, server: str, addresses: dict[str, str | int], program: str, environment: dict[str, str] | None = None
) -> dict[str, float]:
    """System calls a request by name, and `TOTAL`.

    Args:
        loop: of `LOOPS`.
        server: of `SERVERS`.
        addresses: where it is.
        program: that counts them.
        environment: of the client; None for this process's.
    """
    short, long = (
        spent(loop, server, addresses, long=long, program=program, environment=environment) for long in (False, True)
    )
    more = long.requests - short.requests
    return {name: (count - short.calls.get(name, 0)) / more for name, count in long.calls.items()}


async def measure(loop: str, server: str, rounds: int, program: str) -> None:
    """Print a row.

    Args:
        loop: of `LOOPS`.
        server: of `SERVERS`.
        rounds: of CPU time.
        program: that counts system calls; empty to count none.
    """
    async with serving(job_of(loop, server, long=False)) as addresses:
        calls = calls_a_request(loop, server, addresses, program) if program else {}
        rests = [spent(loop, server, addresses, long=True) for _ in range(rounds)]
    cells = [f"{max(0.0, calls.get(name, 0.0)):.2f}".rjust(len(name)) for name in (TOTAL, *CALLS)]
    cpu_us = [each.cpu_us / each.requests for each in rests]
    cpu = f"{statistics.median(cpu_us):6.1f} ({min(cpu_us):.1f} ... {max(cpu_us):.1f})" if cpu_us else ""
    print(f"{loop:9}  {server:6}  {'  '.join(cells)}  {cpu}", flush=True)


def main() -> None:
    """Print a table."""
    if sys.argv[1:2] == ["--client"]:
        client(*sys.argv[2:])
        return
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5, help="of CPU time; 0 for system calls alone")
    parser.add_argument("--loops", nargs="+", default=LOOPS, choices=LOOPS)
    parser.add_argument("--servers", nargs="+", default=SERVERS, choices=SERVERS)
    arguments = parser.parse_args()
    program = counter()
    print(f"system calls a request, by {program or 'no program: neither perf nor strace can'}")
    print(f"loop       server  {'  '.join((TOTAL, *CALLS))}  CPU us a request (least ... most)")
    for loop in arguments.loops:
        for server in arguments.servers:
            asyncio.run(measure(loop, server, arguments.rounds, program))


if __name__ == "__main__":
    main()
