"""One HTTP request on a connection of its own: what is sent, and every way in which an answer may end."""

import asyncio
import contextlib

import pytest
import uvloop

from frontend_launch import http_client
from frontend_launch.http_client import Answer, ClosedError, TooLongError, ask, get

DEADLINE_S = 20
CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"


@contextlib.asynccontextmanager
async def answering(*answers):
    """A server that gives these answers in turn and hangs up after each; gives its address, and what it was sent."""
    waiting, asked = list(answers), []

    async def serve(reader, writer):
        asked.append(await reader.readuntil(b"\r\n\r\n"))
        writer.write(waiting.pop(0))
        with contextlib.suppress(ConnectionError):
            await writer.drain()
        writer.close()

    async with asyncio.timeout(DEADLINE_S), await asyncio.start_server(serve, "127.0.0.1", 0) as server:
        yield f"127.0.0.1:{server.sockets[0].getsockname()[1]}", asked


def got(answer, most_bytes=1000):
    """What comes of an answer."""

    async def scenario():
        async with answering(answer) as (at, _):
            return await ask(f"http://{at}/", {}, most_bytes=most_bytes)

    return uvloop.run(scenario())


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        (b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}\n", (200, b"{}", "")),
        (b"HTTP/1.0 200 OK\r\n\r\nuntil the end", (200, b"until the end", "")),
        (b"HTTP/1.1 404\r\ncontent-length:0\r\n\r\n", (404, b"", "")),
        (b"HTTP/1.1 204 None\r\nLocation: /x\r\n\r\n", (204, b"", "/x")),
        (CHUNKED + b"3\r\nabc\r\na;x=1\r\n0123456789\r\n0\r\n\r\n", (200, b"abc0123456789", "")),
        (b"HTTP/1.1 103 Early Hints\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}", (200, b"{}", "")),
    ],
    ids=["length", "to the end", "empty", "no body", "chunks", "interim"],
)
def test_an_answer(answer, expected):
    """Ends as its head says."""
    assert got(answer) == Answer(*expected)


@pytest.mark.parametrize(
    ("answer", "error", "text"),
    [
        (b"", ClosedError, "without an answer"),
        (b"HTTP/1.1 200 OK\r\n", ValueError, "not HTTP"),
        (b"HTTP/1.1 100 Continue\r\n\r\n" * 20, ValueError, "not HTTP"),
        (b"220 smtp.example\r\n\r\n", ValueError, "not HTTP"),
        (b"x" * (1 << 18), ValueError, "not HTTP"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n", ValueError, "not HTTP"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n{}", ConnectionError, "within the answer"),
        (CHUNKED + b"9\r\n{}", ConnectionError, "within the answer"),
        (CHUNKED + b"-9\r\n{}", ValueError, "not HTTP"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 1001\r\n\r\n", TooLongError, "more bytes"),
        (CHUNKED + b"3E9\r\n", TooLongError, "more bytes"),
        (b"HTTP/1.1 200 OK\r\n\r\n" + b"x" * 1001, TooLongError, "more bytes"),
    ],
    ids=lambda value: str(value)[:24],
)
def test_another_server_s_answer(answer, error, text):
    """Is an error, whatever it is and however long."""
    with pytest.raises(error, match=text):
        got(answer)


def test_a_request():
    """Asks for the path and the query, with the user that the URL names, and asks to close."""

    async def scenario():
        async with answering(b"HTTP/1.1 200 OK\r\n\r\n", b"HTTP/1.1 200 OK\r\n\r\n") as (at, asked):
            await ask(f"http://me:pa%40ss@{at}/a b?q=%20\u00e9", {"X-Token": "t"}, most_bytes=0)
            await ask(f"http://{at}", {}, b"{}", most_bytes=0)
            return at, asked

    at, (first, second) = uvloop.run(scenario())
    assert first.decode().split("\r\n") == [
        "GET /a%20b?q=%20%C3%A9 HTTP/1.1",
        f"Host: {at}",
        "Accept: */*",
        "Connection: close",
        "X-Token: t",
        "Authorization: Basic bWU6cGFAc3M=",
        "",
        "",
    ]
    assert second.startswith(b"POST / HTTP/1.1\r\n")
    assert b"\r\nContent-Length: 2\r\n" in second


def test_no_header_can_be_added_by_a_value():
    """Such as one with a line break."""
    with pytest.raises(ValueError, match="cannot be sent"):
        uvloop.run(ask("http://127.0.0.1:1/", {"X": "a\r\nY: b"}, most_bytes=0))


@pytest.mark.parametrize("url", ["ftp://127.0.0.1/", "127.0.0.1:1338", "http:///x", "http://127.0.0.1:x/"])
def test_a_url_that_is_none(url):
    """Is an error, like bytes that are no answer."""
    with pytest.raises(ValueError, match=r"URL|Port"):
        uvloop.run(ask(url, {}, most_bytes=0))


def test_redirections_are_followed_so_far(monkeypatch):
    """By `get` alone, also to a relative place."""
    away = b"HTTP/1.1 302 Away\r\nLocation: /there\r\nContent-Length: 0\r\n\r\n"

    async def scenario():
        async with answering(away, b"HTTP/1.1 200 OK\r\n\r\nhere") as (at, asked):
            assert (await get(f"http://{at}/x", {}, 9)).body == b"here"
            assert [each.split()[1] for each in asked] == [b"/x", b"/there"]
        monkeypatch.setattr(http_client, "MAX_REDIRECTIONS", 2)
        async with answering(away, away) as (at, _):
            with pytest.raises(ValueError, match="more than 2 redirections"):
                await get(f"http://{at}/x", {}, 9)

    uvloop.run(scenario())
