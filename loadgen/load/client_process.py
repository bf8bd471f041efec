"""A client process, which does one job of its leader: ``python -m loadgen.load.client_process SOCKET``."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import logging.handlers
import sys
import time
from pathlib import Path
from typing import assert_never

import uvloop

from loadgen.errors import ConfigError, TargetError
from loadgen.load import runner
from loadgen.load.client_messages import (
    Begin,
    Continue,
    Failed,
    Finished,
    FromClient,
    IntervalDone,
    Logged,
    Measured,
    Ready,
    Start,
    Stop,
    StopSending,
    ToRunning,
    read,
    write,
)
from loadgen.load.runner import Hooks, Phase
from model_containers import lifeline, printable


def main() -> None:
    """``python -m loadgen.load.client_process SOCKET``: do one job that the first to connect brings."""
    lifeline.hold()
    printable.protect()
    uvloop.run(_serve(Path(sys.argv[1])))


class _LogToLeader(logging.handlers.QueueHandler):
    """Has warnings logged by the leader."""

    def __init__(self, leader: _Leader) -> None:
        super().__init__(None)  # type: ignore[arg-type]  # there is no queue, see `enqueue`
        self._leader = leader
        self.setLevel(logging.WARNING)

    def enqueue(self, record: logging.LogRecord) -> None:
        if not self._leader.is_closing:
            self._leader.send(Logged(record))


class _Leader:
    """The leader as a client process sees it; its messages become events.

    Attributes:
        stop: the run is to end at once.
        stop_sending: the run is to end, with answers to its requests.
    """

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader, self._writer = reader, writer
        self.stop, self.stop_sending, self._continue = asyncio.Event(), asyncio.Event(), asyncio.Event()
        self._begins: asyncio.Future[int] = asyncio.get_running_loop().create_future()

    @property
    def is_closing(self) -> bool:
        """The connection takes no more messages."""
        return self._writer.is_closing()

    def send(self, message: FromClient) -> None:
        """Send a message."""
        write(self._writer, message)

    async def listen(self) -> None:
        """Receive messages until the leader is gone, which ends the run."""
        while True:
            try:
                message: ToRunning = await read(self._reader)
            except EOFError:
                self._stop()
                self._continue.set()
                return
            match message:
                case Start(begins_ns):
                    self._begins.set_result(begins_ns)
                case Continue():
                    self._continue.set()
                case StopSending():
                    self.stop_sending.set()
                case Stop():
                    self._stop()
                case _:
                    assert_never(message)

    def _stop(self) -> None:
        self.stop.set()
        if not self._begins.done():
            self._begins.set_result(time.monotonic_ns())

    async def begin(self) -> int:
        """The server has been reached; returns when to start."""
        self.send(Ready())
        return await self._begins

    async def on_phase(self, phase: Phase) -> None:
        """After its measured part a client waits for the others."""
        if phase is Phase.MEASURED_ENDS:
            self.send(Measured())
            await self._continue.wait()

    async def close(self) -> None:
        """Close the connection when the last message has been sent."""
        with contextlib.suppress(ConnectionError):
            await self._writer.drain()
        self._writer.close()
        with contextlib.suppress(ConnectionError):
            await self._writer.wait_closed()


async def _serve(path: Path) -> None:
    reader, writer = await _accepted(path)
    leader = _Leader(reader, writer)
    logging.getLogger().addHandler(_LogToLeader(leader))
    begin: Begin = await read(reader)
    hooks = Hooks(
        leader.on_phase, lambda interval: leader.send(IntervalDone(interval)), leader.begin, leader.stop_sending
    )
    listening = asyncio.create_task(leader.listen(), name="messages of the leader")
    try:
        leader.send(Finished(await runner.run(begin.job, leader.stop, hooks)))
    except TargetError as error:
        leader.send(Failed(error))
    except ConfigError as error:  # a package that its leader's machine has, and this one lacks
        leader.send(Failed(TargetError(str(error))))
    finally:
        listening.cancel()
        await leader.close()


async def _accepted(path: Path) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """The first connection to a socket of this name."""
    first: asyncio.Future[tuple[asyncio.StreamReader, asyncio.StreamWriter]] = (
        asyncio.get_running_loop().create_future()
    )

    async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        first.set_result((reader, writer))

    temporary = path.with_suffix(".new")
    server = await asyncio.start_unix_server(connected, temporary)
    temporary.rename(path)  # a leader that sees it can connect
    streams = await first
    server.close()
    return streams


if __name__ == "__main__":
    main()
