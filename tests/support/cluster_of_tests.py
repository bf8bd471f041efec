"""Workers of this machine in place of a cluster's, and a server that answers them."""

import asyncio
import contextlib
import threading
from collections.abc import AsyncIterator, Iterator, Sequence
from typing import Any

from frontend_launch.launch.cluster import Node
from loadgen.load.inputs import SeededInputs
from loadgen.load.job import Job
from loadgen.targets.access import Access
from loadgen.targets.address import parse_address
from loadgen.targets.clipper import ClipperSpec
from loadgen.targets.http1 import HttpSpec
from loadgen.targets.http_answers import AnyAnswers
from loadgen.targets.http_endpoint import HttpEndpoint
from loadgen.targets.remote import RequestOptions, TargetOptions
from loadgen.workers.messages import Worker
from loadgen.workers.spread import Seat, spread
from loadgen.workers.supervisor import Supervisor
from model_containers.credentials import Credentials
from model_containers.data_types import DataType
from model_containers.model import TensorSpec

CLIPPER = ClipperSpec(
    "tcp://10.0.0.1:4456",
    "tcp://10.0.0.1:4455",
    "noop",
    DataType.FLOATS,
    4,
    b"\0default",
    credentials=Credentials("t", "a", "b", "c"),
)
SEEDED = SeededInputs(TensorSpec((3,), "float32"), None, 4, 0, (0.0, float("inf")))


def job(**changes: Any) -> Job:
    """A job with some values changed."""
    usual: dict[str, Any] = {
        "target": CLIPPER,
        "inputs": SEEDED,
        "window": 10,
        "duration_s": 1.0,
        "requests": None,
        "warmup_s": 0.0,
        "timeout_s": None,
        "stall_s": 1.0,
        "first_answer_s": None,
        "log_every_s": 1.0,
        "drain_s": 0.0,
        "tally_ns": (1, 2),
    }
    return Job(**{**usual, **changes})


def abandoned() -> None:
    """A worker of this process ends with its test."""


def seats(clients: int, workers: Sequence[Worker] | int) -> list[tuple[Seat, Worker]]:
    """Clients on workers, each with a node of its own.

    Args:
        clients: in all.
        workers: or how many, which supervise here.
    """
    made = [Supervisor(abandoned) for _ in range(workers)] if isinstance(workers, int) else workers
    nodes = [Node(f"id-{number}", f"node-{number}", f"10.0.0.{number}", 2) for number in range(len(made))]
    return list(zip(spread(nodes, clients), made, strict=True))


class Answering:
    """A server that answers each request with the same, and counts them."""

    def __init__(self) -> None:
        self.requests = 0

    async def answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
            while True:
                await reader.readuntil(b"\r\n\r\n")
                self.requests += 1
                writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n[]")
        writer.close()


class CountingServer:
    """The same in a thread, for runs in processes of their own.

    Attributes:
        url: where it is.
    """

    def __init__(self, url: str, answering: Answering) -> None:
        self.url, self._answering = url, answering

    @property
    def requests(self) -> int:
        return self._answering.requests


@contextlib.contextmanager
def counting_server(host: str, port: int = 0) -> Iterator[CountingServer]:
    """A server that counts, while the context lasts.

    Args:
        host: the address that it listens on.
        port: the same; 0 for a free one.
    """
    loop, server = asyncio.new_event_loop(), Answering()
    listening = loop.run_until_complete(asyncio.start_server(server.answer, host, port))
    thread = threading.Thread(target=loop.run_forever, name="server")
    thread.start()
    try:
        yield CountingServer(f"http://{host}:{listening.sockets[0].getsockname()[1]}/", server)
    finally:
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        listening.close()
        loop.run_until_complete(loop.shutdown_asyncgens())
        for task in asyncio.all_tasks(loop):
            task.cancel()
            loop.run_until_complete(asyncio.gather(task, return_exceptions=True))
        loop.close()


@contextlib.asynccontextmanager
async def answering() -> AsyncIterator[tuple[Answering, Job]]:
    """A server, and a job for it: GET without a body, so that a header ends a request."""
    server = Answering()
    async with await asyncio.start_server(server.answer, "127.0.0.1", 0) as listening:
        address = parse_address(f"http://127.0.0.1:{listening.sockets[0].getsockname()[1]}/")
        endpoint = await HttpEndpoint.at(TargetOptions(address))
        yield (
            server,
            Job(
                target=HttpSpec(address, Access(), AnyAnswers(), 4),
                inputs=endpoint.inputs(RequestOptions(1, None, None, 0)),
                window=6,
                duration_s=None,
                requests=300,
                warmup_s=0.0,
                timeout_s=None,
                stall_s=10.0,
                first_answer_s=None,
                log_every_s=0.1,
                drain_s=0.0,
            ),
        )
