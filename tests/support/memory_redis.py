"""A server that speaks as much of Redis's protocol, version 3, as the configuration store needs, in this process."""

from __future__ import annotations

import asyncio
import fnmatch
from collections import defaultdict
from itertools import chain
from typing import Any

Reply = Any
"""None, an int, bytes, an exception, or a list, a set, a dict or a message, which is a tuple, of these."""


class MemoryRedis:
    """Use as an async context manager; `stop` and `start` are what a Redis does that keeps nothing.

    Args:
        password: that clients have to name; None for none.
    """

    def __init__(self, password: str | None = None) -> None:
        self.port = 0
        self.databases: defaultdict[int, dict[str, Any]] = defaultdict(dict)
        self._password = password
        self._server: asyncio.Server | None = None
        self._writers: dict[asyncio.StreamWriter, list[str]] = {}
        """The connections, each with the patterns that it subscribed to."""

    async def __aenter__(self) -> MemoryRedis:
        await self.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.stop()

    async def start(self) -> None:
        """Listen, on the same port as before."""
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", self.port)
        self.port = self._server.sockets[0].getsockname()[1]

    async def stop(self) -> None:
        """Break all connections, and forget all."""
        assert self._server is not None
        self._server.close()
        for writer in tuple(self._writers):
            writer.transport.abort()
        while self._writers:  # noqa: ASYNC110 - each takes itself out
            await asyncio.sleep(0)
        self.databases.clear()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        database, known = 0, self._password is None
        self._writers[writer] = []
        try:
            while True:
                words = await _command(reader)
                name = words[0].upper()
                if name == "SELECT":
                    database = int(words[1])
                if "AUTH" in words:  # of HELLO
                    known = words[-1] == self._password
                reply: Reply
                if name == "HELLO" and known:
                    reply = {b"server": b"redis", b"proto": 3}
                elif "AUTH" in words:
                    reply = ValueError("WRONGPASS invalid username-password pair")
                elif not known:
                    reply = ValueError("NOAUTH Authentication required.")
                elif name == "PSUBSCRIBE":
                    self._writers[writer] += words[1:]
                    for number, pattern in enumerate(words[1:], 1):
                        writer.write(_encoded((b"psubscribe", pattern.encode(), number)))
                    continue
                else:
                    reply = self._answer(name, words[1:], self.databases[database], database)
                writer.write(_encoded(reply))
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            del self._writers[writer]
            writer.close()

    def _answer(self, name: str, words: list[str], keys: dict[str, Any], database: int) -> Reply:
        key = words[0] if words else ""
        match name:
            case "SELECT" | "CONFIG" | "CLIENT":
                return b"OK"
            case "PING":
                return b"PONG"
            case "EXISTS":
                return int(key in keys)
            case "SET":
                keys[key] = words[1]
                self._tell(database, key, "set")
                return b"OK"
            case "GET":
                return keys[key].encode() if key in keys else None
            case "SADD":
                keys.setdefault(key, set()).update(words[1:])
                self._tell(database, key, "sadd")
                return len(words) - 1
            case "SMEMBERS":
                return {member.encode() for member in keys.get(key, ())}
            case "HSET":
                keys.setdefault(key, {}).update(zip(words[1::2], words[2::2], strict=True))
                self._tell(database, key, "hset")
                return len(words) // 2
            case "HGETALL":
                return {name.encode(): value.encode() for name, value in keys.get(key, {}).items()}
            case "SCAN":
                return [b"0", [known.encode() for known in keys]]
            case _:
                return ValueError(f"ERR unknown command {name}")

    def _tell(self, database: int, key: str, event: str) -> None:
        channel = f"__keyspace@{database}__:{key}"
        for writer, patterns in self._writers.items():
            for pattern in patterns:
                if fnmatch.fnmatchcase(channel, pattern):
                    writer.write(_encoded((b"pmessage", pattern.encode(), channel.encode(), event.encode())))


async def _command(reader: asyncio.StreamReader) -> list[str]:
    """An array of bulk strings."""
    count = int((await reader.readuntil(b"\r\n"))[1:])
    words = []
    for _ in range(count):
        length = int((await reader.readuntil(b"\r\n"))[1:])
        words.append((await reader.readexactly(length + 2))[:-2].decode())
    return words


def _encoded(reply: Reply) -> bytes:
    match reply:
        case None:
            return b"_\r\n"
        case bytes():
            return b"$%d\r\n%s\r\n" % (len(reply), reply)
        case int():
            return b":%d\r\n" % reply
        case Exception():
            return b"-%s\r\n" % str(reply).encode()
        case dict():
            return b"%%%d\r\n%s" % (len(reply), b"".join(map(_encoded, chain.from_iterable(reply.items()))))
        case _:
            kind = b"~" if isinstance(reply, set) else b">" if isinstance(reply, tuple) else b"*"
            return b"%s%d\r\n%s" % (kind, len(reply), b"".join(map(_encoded, reply)))


async def until(condition: Any) -> None:
    """Poll what happens in another task; the deadline makes a failure, never a pass."""
    async with asyncio.timeout(30):
        while not condition():  # noqa: ASYNC110 - there is no event to wait for
            await asyncio.sleep(0.01)
