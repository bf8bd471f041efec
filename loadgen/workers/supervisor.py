"""Supervises the client processes of a worker: starts them on planned cores, passes orders on and collects news.

It runs inside a process of the cluster, and sends no request: its clients are the processes that send on one machine.
A leader asks for news all the time; one that does not is gone, see `frontend_launch.supervision`.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import assert_never

from typing_extensions import override

from frontend_launch import scratch
from frontend_launch.affinity import pinned
from frontend_launch.children import Process
from frontend_launch.errors import LaunchError
from frontend_launch.launch.cores import share_out
from frontend_launch.launch.placement import Assignment
from frontend_launch.launch.placement_request import PlacementRequest
from frontend_launch.launch.planner import plan
from frontend_launch.launch.topology import Topology, discover
from frontend_launch.stopped import StoppedProcesses
from frontend_launch.supervision import ANSWER_BYTES, Supervision, module_path, own_version
from frontend_launch.tasks import gather_all
from loadgen.errors import ConfigError, TargetError
from loadgen.load.client_messages import Begin, Continue, Failed, Start, Stop, StopSending, encode, read_frame, write
from loadgen.load.clients import lost, reach_client, start_client
from loadgen.workers import job_text
from loadgen.workers.messages import (
    PIECE_BYTES,
    START_TIMEOUT_S,
    Identity,
    News,
    Order,
    Started,
    Worker,
    pieces,
)


def identity() -> Identity:
    """Of this process."""
    network = ""
    with contextlib.suppress(OSError):
        network = f"{Path('/proc/sys/kernel/random/boot_id').read_text().strip()} {os.readlink('/proc/self/ns/net')}"
    return Identity(os.uname().nodename, own_version(), network)


class Supervisor(Supervision, Worker):
    """A worker, on the machine where it runs.

    Args:
        abandoned: called when the leader is gone and the clients have ended.
    """

    def __init__(self, abandoned: Callable[[], object] = lambda: os._exit(1)) -> None:
        super().__init__(abandoned)
        self._processes: dict[int, Process] = {}
        self._writers: dict[int, asyncio.StreamWriter] = {}
        self._news: asyncio.Queue[News] = asyncio.Queue()

    @override
    async def identity(self) -> Identity:
        return identity()

    @override
    async def clock(self) -> int:
        return time.monotonic_ns()

    @override
    async def start(self, name: str, clients: tuple[int, ...], cpus: int, taken: tuple[int, ...] = ()) -> Started:
        own, *rows = cores_of(discover(), name, clients, cpus, taken)
        directory = self._stack.enter_context(scratch.directory())
        with contextlib.suppress(LaunchError):
            self._stack.enter_context(pinned(own.cores))
        for number, row in zip(clients, rows, strict=True):
            process = await start_client(row, directory, module_path())
            self._processes[number] = process
            self._stack.push_async_callback(process.stop)
        streams = await gather_all(*(reach_client(directory, process) for process in self._processes.values()))
        self._begin(START_TIMEOUT_S)  # those of other nodes may take longer, and news are asked for once all are there
        self._run(StoppedProcesses(self._pids, self._on_stopped).watch())
        for number, (reader, writer) in zip(clients, streams, strict=True):
            self._writers[number] = writer
            self._stack.callback(writer.close)
            self._run(self._collect(number, reader))
        pids = [process.pid for process in self._processes.values()]
        return Started((*rows, own), (*pids, os.getpid()), began(os.getpid()))

    @override
    async def tell(self, orders: list[Order]) -> None:
        for order in orders:
            self._pass_on(order)

    @override
    async def news(self, wait_s: float) -> list[News]:
        self._renew()
        found: list[News] = []
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(wait_s):
                found.append(await self._news.get())
        while not self._news.empty() and sum(len(one.frame) for one in found) <= ANSWER_BYTES - PIECE_BYTES:
            found.append(self._news.get_nowait())
        return found

    @override
    async def close(self) -> None:
        for process in self._processes.values():  # all at once, before each is waited for
            process.terminate()
        await super().close()

    @override
    async def kill(self, pid: int, began_at: int) -> None:
        end_process(pid, began_at)

    def _pids(self) -> dict[str, int]:
        return {str(number): process.pid for number, process in self._processes.items()}

    def _on_stopped(self, number: str) -> None:
        self._news.put_nowait(News(int(number), "stopped"))

    def _pass_on(self, order: Order) -> None:
        writer = self._writers[order.client]
        match order.what:
            case "resume":
                self._processes[order.client].resume()
            case "abort":
                writer.transport.abort()
            case _ if writer.is_closing():
                pass
            case "begin":
                try:
                    write(writer, Begin(job_text.decode(order.text, _file)))
                except (ConfigError, LaunchError) as error:
                    self._put_frame(order.client, encode(Failed(TargetError(str(error)))))
            case "start":
                write(writer, Start(order.at_ns))
                late_ns = max(0, time.monotonic_ns() - order.at_ns)
                self._news.put_nowait(News(order.client, "late", late_ns=late_ns))
            case "continue":
                write(writer, Continue())
            case "stop-sending":
                write(writer, StopSending())
            case "stop":
                write(writer, Stop())
            case _:
                assert_never(order.what)

    def _put_frame(self, client: int, frame: bytes) -> None:
        for piece in pieces(client, frame):
            self._news.put_nowait(piece)

    async def _collect(self, number: int, reader: asyncio.StreamReader) -> None:
        """Hand on the messages of a client until it sends no more."""
        with contextlib.suppress(EOFError):
            while True:
                self._put_frame(number, await read_frame(reader))
        error = await lost(self._processes[number])
        self._news.put_nowait(News(number, "lost", text=str(error), log_tail=error.log_tail))


def _file(path: str) -> Path:
    """A file that a job names.

    Raises:
        LaunchError: this machine does not have it.
    """
    found = Path(path)
    if not found.exists():
        raise LaunchError(f"{found.absolute()}: not on this node; copy it there")
    return found


def began(pid: int) -> int:
    """When a process began, by which it differs from a later one of this number; 0 where it is gone."""
    try:
        return int(Path(f"/proc/{pid}/stat").read_bytes().rpartition(b")")[2].split()[19])
    except (OSError, IndexError):
        return 0


def end_process(pid: int, began_at: int) -> None:
    """End a worker that does not answer, and with it its clients, which die with their parent.

    Args:
        pid: of the worker.
        began_at: as `began` said.
    """
    if began_at and began(pid) == began_at:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)


def cores_of(
    topology: Topology, name: str, clients: tuple[int, ...], cpus: int, taken: tuple[int, ...] = ()
) -> list[Assignment]:
    """Where a worker and its clients run on a machine.

    The cluster's own processes and the worker keep the first core; clients take the next ones, as far as the cluster
    reserved them, and those of replicas and frontends only where there are no others. On a machine with one core all
    share it.

    Args:
        topology: the machine.
        name: of the worker.
        clients: numbers of its clients.
        cpus: cores that the cluster reserved.
        taken: cores that replicas and frontends have.

    Returns:
        The worker's assignment, then one for each client.
    """
    first = topology.physical(topology.cores[0])
    rest = [core for core in topology.cores if core not in first]
    untaken = [core for core in rest if core not in taken]
    others = tuple(untaken or rest)[: max(1, cpus - 1)] or first
    request = PlacementRequest(replicas=0, infrastructure=(), client_cpus=others, clients=len(clients))
    (planned,) = plan(topology, request).assignments
    own = Assignment(topology.node, name, first, None, shared=others == first, numa_nodes=topology.memory_of(first))
    shares = share_out(planned.cores, len(clients), planned.siblings)
    shared = others == first or len(planned.cores) < len(clients)
    rows = [
        replace(planned, role=f"client-{number}", cores=cores, shared=shared, numa_nodes=topology.memory_of(cores))
        for number, cores in zip(clients, shares, strict=True)
    ]
    return [own, *rows]
