"""Sends one HTTP request on a connection of its own, for clients that ask seldom.

A process that only reads metrics or registers a model needs no more than this; aiohttp takes 11 MB of its memory.
"""

from __future__ import annotations

import asyncio
import base64
import re
from collections.abc import Mapping
from typing import NamedTuple
from urllib.parse import SplitResult, quote, unquote, urljoin, urlsplit

MAX_REDIRECTIONS = 10

_MAX_HEAD_BYTES = 64 << 10
_PART_BYTES = 64 << 10
_STATUS = re.compile(rb"HTTP/1\.[01] ([1-5]\d\d)(?: .*)?")
_CHUNK = re.compile(rb"[0-9A-Fa-f]{1,16}(?=[ \t;\r])")
_TOO_LONG = "the answer has more bytes than expected"
MOST_INTERIM = 8
"""Answers with a status below 200 that may come before the answer."""

_REDIRECTIONS = (301, 302, 303, 307, 308)


class Answer(NamedTuple):
    """A response.

    Attributes:
        status: such as 200.
        body: all of it.
        location: where a redirection leads to; empty without one.
    """

    status: int
    body: bytes
    location: str


class ClosedError(ConnectionError):
    """The connection was closed without an answer."""


class TooLongError(ValueError):
    """The answer has more bytes than expected."""


async def get(url: str, headers: Mapping[str, str], most_bytes: int) -> Answer:
    """The answer of a server that may redirect; see `ask`.

    Args:
        url: ``http://…`` or ``https://…``.
        headers: of each request.
        most_bytes: of an answer.
    """
    for _ in range(MAX_REDIRECTIONS):
        answer = await ask(url, headers, most_bytes=most_bytes)
        if answer.status not in _REDIRECTIONS or not answer.location:
            return answer
        url = urljoin(url, answer.location)
    raise ValueError(f"more than {MAX_REDIRECTIONS} redirections")


async def ask(url: str, headers: Mapping[str, str], body: bytes | None = None, *, most_bytes: int) -> Answer:
    """Send a request, and read its answer; the caller limits the time.

    Args:
        url: ``http://…`` or ``https://…``.
        headers: of the request.
        body: of a POST; None for a GET.
        most_bytes: of the answer.

    Raises:
        ClosedError: the connection was closed without an answer.
        TooLongError: the answer is longer than `most_bytes`.
        OSError: the server cannot be reached.
        ValueError: the answer is not HTTP, or the URL is not one.
    """
    address = urlsplit(url)
    if address.scheme not in ("http", "https") or not address.hostname:
        raise ValueError("the URL has no http:// or https:// and a host")
    tls = address.scheme == "https"
    request = _request(address, headers, body)
    reader, writer = await asyncio.open_connection(
        unquote(address.hostname), address.port or (443 if tls else 80), ssl=tls or None, limit=_MAX_HEAD_BYTES
    )
    try:
        writer.write(request)
        return await _answer(reader, most_bytes)
    finally:
        writer.transport.abort()


def _request(address: SplitResult, headers: Mapping[str, str], body: bytes | None) -> bytes:
    """A request, whole.

    Args:
        address: whom to ask.
        headers: beside those that each request has.
        body: of a POST; None for a GET.
    """
    path = quote(address.path or "/", safe="/%:@!$&'()*+,;=~")
    query = f"?{quote(address.query, safe='/%:@!$&()*+,;=~?')}" if address.query else ""
    lines = {"Host": address.netloc.rpartition("@")[2], "Accept": "*/*", "Connection": "close", **headers}
    if address.username is not None:
        user = f"{unquote(address.username)}:{unquote(address.password or '')}"
        lines["Authorization"] = f"Basic {base64.b64encode(user.encode()).decode()}"
    if body is not None:
        lines |= {"Content-Type": "application/json", "Content-Length": str(len(body))}
    head = [f"{'GET' if body is None else 'POST'} {path}{query} HTTP/1.1"]
    head += [f"{name}: {value}" for name, value in lines.items()]
    if not all(line.isprintable() for line in head):
        raise ValueError("a header has a character that cannot be sent")
    return "\r\n".join([*head, "", ""]).encode() + (body or b"")


async def _answer(reader: asyncio.StreamReader, most_bytes: int) -> Answer:
    """Read an answer.

    Args:
        reader: of the connection.
        most_bytes: of the body.
    """
    try:
        status, headers = await _head(reader)
        return Answer(status, await _body(reader, status, headers, most_bytes), headers.get("location", ""))
    except asyncio.IncompleteReadError:
        raise ConnectionError("the connection was closed within the answer") from None
    except asyncio.LimitOverrunError:
        raise ValueError("the answer is not HTTP") from None


async def _head(reader: asyncio.StreamReader) -> tuple[int, dict[str, str]]:
    """The status and the headers of the answer, with names in lower case; interim answers before it are left out."""
    for _ in range(MOST_INTERIM):
        status, headers = await _any_head(reader)
        if status >= 200:
            return status, headers
    raise ValueError("the answer is not HTTP")


async def _any_head(reader: asyncio.StreamReader) -> tuple[int, dict[str, str]]:
    try:
        line, *lines = (await reader.readuntil(b"\r\n\r\n")).split(b"\r\n")
    except asyncio.IncompleteReadError as error:
        if not error.partial:
            raise ClosedError("the connection was closed without an answer") from None
        raise ValueError("the answer is not HTTP") from None
    if (status := _STATUS.fullmatch(line)) is None:
        raise ValueError("the answer is not HTTP")
    pairs = (each.decode("latin-1").partition(":") for each in lines)
    return int(status[1]), {name.strip().lower(): value.strip() for name, _, value in pairs}


async def _body(reader: asyncio.StreamReader, status: int, headers: Mapping[str, str], most_bytes: int) -> bytes:
    """The body that follows a head.

    Args:
        reader: of the connection.
        status: of the answer.
        headers: likewise.
        most_bytes: of the body.
    """
    body = bytearray()
    if headers.get("transfer-encoding", "identity").lower() != "identity":
        while size := _chunk_bytes(await reader.readuntil(b"\r\n")):
            if size > most_bytes - len(body):
                raise TooLongError(_TOO_LONG)
            body += await reader.readexactly(size)
            await reader.readexactly(2)
    elif status in (204, 304):
        pass
    elif (length := headers.get("content-length")) is not None:
        if not length.isdecimal():
            raise ValueError("the answer is not HTTP")
        if int(length) > most_bytes:
            raise TooLongError(_TOO_LONG)
        body += await reader.readexactly(int(length))
    else:
        while part := await reader.read(_PART_BYTES):
            body += part
            if len(body) > most_bytes:
                raise TooLongError(_TOO_LONG)
    return bytes(body)


def _chunk_bytes(line: bytes) -> int:
    """The size of the chunk that follows a line."""
    if (size := _CHUNK.match(line)) is None:
        raise ValueError("the answer is not HTTP")
    return int(size[0], 16)
