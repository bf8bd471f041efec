"""The messages between the leader and a client process, and their transport over a socket.

The leader sends `Begin`, then `Start` when all clients are ready, then any of the others. Pickle is safe here: a
message goes only between a process and a child that it started.
"""

from __future__ import annotations

import asyncio
import logging
import pickle
import struct
from dataclasses import dataclass
from typing import Any, TypeAlias

from loadgen.errors import TargetError
from loadgen.load.job import Job
from loadgen.load.record import Interval, Record

_LENGTH = struct.Struct("<Q")


@dataclass(frozen=True, slots=True)
class Begin:
    """Reach the server, and say so."""

    job: Job


@dataclass(frozen=True, slots=True)
class Start:
    """Send from this moment of the monotonic clock on."""

    begins_ns: int


@dataclass(frozen=True, slots=True)
class StopSending:
    """Send no more, and wait for outstanding requests."""


@dataclass(frozen=True, slots=True)
class Stop:
    """End the run at once."""


@dataclass(frozen=True, slots=True)
class Continue:
    """All clients have measured: go on after the measured part."""


@dataclass(frozen=True, slots=True)
class Ready:
    """The server has been reached."""


@dataclass(frozen=True, slots=True)
class IntervalDone:
    """A logging interval is over."""

    interval: Interval


@dataclass(frozen=True, slots=True)
class Measured:
    """The measured part is over; the client waits for `Continue`."""


@dataclass(frozen=True, slots=True)
class Finished:
    """The run is over; the client's last message."""

    record: Record


@dataclass(frozen=True, slots=True)
class Failed:
    """The run cannot begin; the client's last message."""

    error: TargetError


@dataclass(frozen=True, slots=True)
class Logged:
    """A warning for the leader's log."""

    record: logging.LogRecord


ToRunning: TypeAlias = Start | StopSending | Stop | Continue
FromRunning: TypeAlias = Ready | IntervalDone | Measured | Finished
FromClient: TypeAlias = FromRunning | Failed | Logged


def write(writer: asyncio.StreamWriter, message: Begin | ToRunning | FromClient) -> None:
    """Send a message.

    Args:
        writer: to the other side.
        message: what to send.
    """
    data = encode(message)
    writer.write(_LENGTH.pack(len(data)) + data)


def encode(message: Begin | ToRunning | FromClient) -> bytes:
    """The bytes of a message."""
    return pickle.dumps(message, protocol=pickle.HIGHEST_PROTOCOL)


async def read(reader: asyncio.StreamReader) -> Any:
    """The next message; which it can be follows from who sends.

    Raises:
        EOFError: the connection has ended.
    """
    return decode(await read_frame(reader))


async def read_frame(reader: asyncio.StreamReader) -> bytes:
    """The bytes of the next message, to be handed on.

    Raises:
        EOFError: no message is left.
    """
    try:
        (length,) = _LENGTH.unpack(await reader.readexactly(_LENGTH.size))
        return await reader.readexactly(length)
    except (asyncio.IncompleteReadError, ConnectionError):
        raise EOFError from None


def decode(frame: bytes) -> Any:
    """The message of its bytes, which come from a client process of this run."""
    return pickle.loads(frame)  # noqa: S301 - of a process that we started
