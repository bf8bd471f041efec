"""A client process, which does one job of its leader: ``python -m loadgen.load.client_process SOCKET``."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import logging.handlers
import sys
import time
from pathlib import Path

import uvloop

from loadgen.errors import TargetError
from loadgen.load import runner
from loadgen.load.client_messages import ENOUGH, GO_ON, MEASURED, READY, STOP, read, write
from loadgen.load.runner import Hooks, Job, Phase
from model_containers import lifeline


def main() -> None:
    """``python -m loadgen.load.client_process SOCKET``: do one job that the first to connect brings."""
    lifeline.hold()
    uvloop.run(_serve(Path(sys.argv[1])))


class _LeadersLog(logging.handlers.QueueHandler):
    """Has warnings logged by the one that leads."""

    def __init__(self, writer: asyncio.StreamWriter) -> None:
        super().__init__(None)  # type: ignore[arg-type]  # there is no queue, see `enqueue`
        self._writer = writer
        self.setLevel(logging.WARNING)

    def enqueue(self, record: logging.LogRecord) -> None:
        if not self._writer.is_closing():
            write(self._writer, record)


async def _serve(path: Path) -> None:
    leader: asyncio.Future[tuple[asyncio.StreamReader, asyncio.StreamWriter]] = (
        asyncio.get_running_loop().create_future()
    )

    async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        leader.set_result((reader, writer))

    temporary = path.with_suffix(".new")
    server = await asyncio.start_unix_server(connected, temporary)
    temporary.rename(path)  # whoever sees it can connect
    reader, writer = await leader
    server.close()
    logging.getLogger().addHandler(_LeadersLog(writer))
    job: Job = await read(reader)
    stop, go_on, enough = asyncio.Event(), asyncio.Event(), asyncio.Event()
    begins: asyncio.Future[int] = asyncio.get_running_loop().create_future()

    async def listen() -> None:
        while True:
            try:
                message = await read(reader)
            except EOFError:
                message = STOP
            if message == GO_ON:
                go_on.set()
            elif message == ENOUGH:
                enough.set()
            elif message == STOP:
                stop.set()
                if not begins.done():
                    begins.set_result(time.monotonic_ns())
                if reader.at_eof():
                    go_on.set()
                    return
            else:
                begins.set_result(message)

    async def begin() -> int:
        write(writer, READY)
        return await begins

    async def on_phase(phase: Phase) -> None:
        if phase is Phase.MEASURED_ENDS:
            write(writer, MEASURED)
            await go_on.wait()

    hooks = Hooks(on_phase, lambda interval: write(writer, interval), begin, enough)
    listening = asyncio.create_task(listen(), name="the leader's words")
    try:
        write(writer, await runner.run(job, stop, hooks))
    except TargetError as error:
        write(writer, error)
    finally:
        listening.cancel()
        with contextlib.suppress(ConnectionError):
            await writer.drain()
        writer.close()
        with contextlib.suppress(ConnectionError):
            await writer.wait_closed()


if __name__ == "__main__":
    main()
