"""The messages between the leader and a client process, and their transport over a socket."""

from __future__ import annotations

import asyncio
import pickle
import struct
from typing import Any

_LENGTH = struct.Struct("<Q")

READY, MEASURED, GO_ON, ENOUGH, STOP = "ready", "measured", "go on", "enough", "stop"


def write(writer: asyncio.StreamWriter, message: Any) -> None:
    """Send a message; it goes between processes of one user only.

    Args:
        writer: to the other side.
        message: any value that can be pickled.
    """
    data = pickle.dumps(message, protocol=pickle.HIGHEST_PROTOCOL)
    writer.write(_LENGTH.pack(len(data)) + data)


async def read(reader: asyncio.StreamReader) -> Any:
    """The next message.

    Raises:
        EOFError: there is none any more.
    """
    try:
        (length,) = _LENGTH.unpack(await reader.readexactly(_LENGTH.size))
        return pickle.loads(await reader.readexactly(length))  # noqa: S301 - of a process that we started
    except (asyncio.IncompleteReadError, ConnectionError):
        raise EOFError from None
