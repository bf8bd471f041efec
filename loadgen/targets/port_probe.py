"""Finds out what a port speaks that does not speak what its address says, so that the error can name it."""

from __future__ import annotations

import asyncio
import contextlib
import ssl
from dataclasses import dataclass

from loadgen.errors import MisfitError, TargetError, UnreachableError
from loadgen.targets.address import Address
from loadgen.targets.addresses import open_stream

PATIENCE_S = 2.0
"""Patience for each look."""

HTTP1, HTTP2 = "HTTP/1.1", "HTTP/2, as gRPC does"

_HEAD = "HEAD / HTTP/1.1\r\nhost: {host}\r\nconnection: close\r\n\r\n"
_PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0"
"""With empty settings (RFC 9113, 3.4)."""

_SETTINGS, _ALERT = 0x4, b"\x15\x03"


@dataclass(frozen=True, slots=True)
class Found:
    """What a port speaks.

    Attributes:
        tls: encrypted.
        spoken: `HTTP1` and `HTTP2`, as far as it is known.
    """

    tls: bool
    spoken: frozenset[str]


def foreign(data: bytes) -> str | None:
    """What the first bytes of a connection are that should have been an answer of HTTP/1.1; None if that is not known.

    Args:
        data: as they came.
    """
    if data[3:4] == bytes([_SETTINGS]) and data[5:9] == bytes(4):
        return f"the server speaks {HTTP2}, and not {HTTP1}; use its port for HTTP"
    if data[:2] == _ALERT:
        return "the server speaks TLS; use the scheme with TLS, such as https://"
    return None


async def explained(error: TargetError, address: Address) -> TargetError:
    """An error of reaching a server, with what the port speaks in place of what it does not, where that is known.

    Args:
        error: as the attempt had it.
        address: of the server.
    """
    if not isinstance(error, UnreachableError):
        return error
    found = await look(address)
    wanted = HTTP2 if address.protocol.multiplexed else HTTP1
    if found is None or (found.tls == address.tls and (wanted in found.spoken or not found.spoken)):
        return error
    other = bool(found.spoken) and wanted not in found.spoken
    said = [] if found.tls == address.tls else ["TLS" if found.tls else "no TLS"]
    said += [f"{next(iter(found.spoken))}, and not {wanted.partition(',')[0]}"] if other else []
    return MisfitError(
        f"{address.text}: the server speaks {' and '.join(said)}; {_remedy(address, found, other=other)}"
    )


def _remedy(address: Address, found: Found, *, other: bool) -> str:
    """Which address would do.

    Args:
        address: that does not.
        found: what the port speaks.
        other: it speaks another version of HTTP.
    """
    rest = address.text.partition("://")[2]
    name = address.protocol.name
    if other and name in ("any", "json"):
        return "use its port for HTTP"
    if other:
        name = "grpc" if HTTP2 in found.spoken else "http"
    plain = {"grpc": "oip+grpc", "http": "oip+http", "any": "http", "json": "http+json"}[name]
    secure = {"json": "https+json"}.get(name, f"{plain}s")
    return f"use {secure if found.tls else plain}://{rest}"


async def look(address: Address) -> Found | None:
    """What a port speaks; None if that cannot be found out.

    Args:
        address: of the server.
    """
    if await _speaks_tls(address):
        return Found(True, frozenset())
    host = address.authority
    spoken = set()
    for said in (_HEAD.format(host=host).encode(), _PREFACE):
        answer = await _answer(address, said)
        if answer.startswith(b"HTTP/1"):
            spoken.add(HTTP1)
        elif answer[3:4] == bytes([_SETTINGS]) and answer[5:9] == bytes(4):
            spoken.add(HTTP2)
    return Found(False, frozenset(spoken)) if spoken else None


async def _speaks_tls(address: Address) -> bool:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE  # nothing is sent but that it is spoken
    with contextlib.suppress(OSError):
        async with asyncio.timeout(PATIENCE_S):
            _, writer = await open_stream(address, context)
        writer.transport.abort()
        return True
    return False


async def _answer(address: Address, said: bytes) -> bytes:
    """The first bytes that a server answers; none if it does not."""
    with contextlib.suppress(OSError, asyncio.IncompleteReadError):
        async with asyncio.timeout(PATIENCE_S):
            reader, writer = await open_stream(address)
            try:
                writer.write(said)
                return await reader.readexactly(9)
            finally:
                writer.transport.abort()
    return b""
