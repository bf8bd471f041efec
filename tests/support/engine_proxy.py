"""A socket between a client and the Docker engine, which a test can take away."""

import asyncio
import contextlib
import threading
from collections.abc import Coroutine
from pathlib import Path
from typing import Any, TypeVar

T = TypeVar("T")

ENGINE = "/var/run/docker.sock"


class EngineProxy:
    """Passes bytes on in both directions until it goes away; on a loop of its own thread."""

    def __init__(self, path: Path) -> None:
        self.url = f"unix://{path}"
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()
        self._writers: set[asyncio.StreamWriter] = set()
        self._server = self._call(asyncio.start_unix_server(self._connected, path))

    def _call(self, coroutine: Coroutine[Any, Any, T]) -> T:
        return asyncio.run_coroutine_threadsafe(coroutine, self._loop).result(10)

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        engine_reader, engine_writer = await asyncio.open_unix_connection(ENGINE)
        pair = {writer, engine_writer}
        self._writers |= pair
        await asyncio.gather(self._pump(reader, engine_writer), self._pump(engine_reader, writer))
        self._writers -= pair

    async def _pump(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError):
            while data := await reader.read(1 << 16):
                writer.write(data)
                await writer.drain()
        with contextlib.suppress(OSError):
            writer.close()
            await writer.wait_closed()

    def go_away(self) -> None:
        """Break all connections, and take no new one."""

        async def end() -> None:
            self._server.close()
            for writer in list(self._writers):
                writer.transport.abort()

        self._call(end())

    def close(self) -> None:
        """Go away, and end the thread."""
        self.go_away()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10)
        self._loop.close()
