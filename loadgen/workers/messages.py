"""What the leader of a run and a worker on another machine say to each other: values, and frames of clients."""

from __future__ import annotations

import zlib
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal, NamedTuple, Protocol, TypeAlias

from frontend_launch.launch.placement import Assignment
from frontend_launch.supervision import ANSWER_BYTES

What: TypeAlias = Literal["begin", "start", "continue", "stop-sending", "stop", "resume", "abort"]

START_TIMEOUT_S = 60.0
"""Patience for a worker's process and those of its clients to start."""

PIECE_BYTES = ANSWER_BYTES // 2
"""Most of a message of a client in one piece."""


class Order(NamedTuple):
    """For one client of a worker.

    Attributes:
        client: its number in the run.
        what: to be done; `begin` has the text of a job, `start` a moment of the worker's clock.
        text: of `begin`.
        at_ns: of `start`.
    """

    client: int
    what: What
    text: str = ""
    at_ns: int = 0


class News(NamedTuple):
    """Of one client of a worker.

    Attributes:
        client: its number in the run.
        what: a `frame` is a piece of a message of the client; `late` says how much later than agreed it got the
            start; `stopped` that a signal holds it; `cut off` that the worker will soon be out of reach; `lost` that it
            sends no more.
        frame: of `frame`.
        more: of `frame`: the next one of this client continues the message.
        late_ns: of `late`.
        text: of `cut off` and `lost`, how.
        log_tail: of `lost`, the end of its log.
    """

    client: int
    what: Literal["frame", "late", "stopped", "cut off", "lost"]
    frame: bytes = b""
    more: bool = False
    late_ns: int = 0
    text: str = ""
    log_tail: str = ""


def pieces(client: int, frame: bytes) -> list[News]:
    """A message of a client, compressed and in pieces: histograms are mostly zeros.

    Args:
        client: its number in the run.
        frame: the message.
    """
    packed = zlib.compress(frame, level=1)
    begins = range(0, len(packed), PIECE_BYTES)
    return [
        News(client, "frame", packed[begin : begin + PIECE_BYTES], more=begin + PIECE_BYTES < len(packed))
        for begin in begins
    ]


def whole(packed: Iterable[bytes]) -> bytes:
    """The message of its pieces, see `pieces`."""
    return zlib.decompress(b"".join(packed))


class Identity(NamedTuple):
    """What a worker runs on.

    Attributes:
        host: the machine's name.
        version: of loadgen.
        network: boot of the kernel, and network namespace: loopback addresses mean the same within one only.
    """

    host: str
    version: str
    network: str


@dataclass(frozen=True, slots=True)
class Started:
    """The processes of a worker.

    Attributes:
        assignments: where they run, the clients in order and then the worker itself.
        pids: of each.
        began_at: when the worker's process began, see `loadgen.workers.supervisor.began`.
    """

    assignments: tuple[Assignment, ...]
    pids: tuple[int, ...]
    began_at: int


class Worker(Protocol):
    """Supervises client processes on a node; each call may fail with `WorkerLostError`."""

    async def identity(self) -> Identity:
        """What it runs on."""
        ...

    async def clock(self) -> int:
        """Its monotonic clock, nanoseconds."""
        ...

    async def start(self, name: str, clients: tuple[int, ...], cpus: int, taken: tuple[int, ...] = ()) -> Started:
        """Plan cores, and start client processes on them.

        Args:
            name: of the worker in the run.
            clients: numbers of its clients.
            cpus: cores that the cluster reserved for it.
            taken: cores that replicas and frontends have.

        Raises:
            LaunchError: a process cannot be started.
        """
        ...

    async def tell(self, orders: list[Order]) -> None:
        """Pass orders on, in order."""
        ...

    async def news(self, wait_s: float) -> list[News]:
        """What there is, in order, as far as one answer has room; none after a time without any.

        Args:
            wait_s: that time.
        """
        ...

    async def close(self) -> None:
        """End all client processes."""
        ...

    async def kill(self, pid: int, began_at: int) -> None:
        """End the process of a worker that does not answer, and its clients with it.

        Args:
            pid: its process.
            began_at: as `Started` has it.
        """
        ...


class WorkerLostError(Exception):
    """A worker cannot be reached any more; its text says why, in one line."""
