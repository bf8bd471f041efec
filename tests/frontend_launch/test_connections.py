"""What peers of an HTTP server may take, with one beside that behaves well."""

import asyncio
import contextlib
import http.client
import logging
import socket
from types import SimpleNamespace

import pytest
from aiohttp import web

from frontend_launch.frontends import connections
from frontend_launch.frontends.http import listening
from frontend_launch.frontends.seldom import EVERY_S, Seldom

TIMEOUT_S = 10


@pytest.fixture
def port(frontend):
    with frontend.metrics() as port:
        yield port


def get(port, path="/metrics/loadgen"):
    """As a peer that behaves well."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=TIMEOUT_S)
    try:
        return answer(connection, path)
    finally:
        connection.close()


def answer(connection, path="/metrics/loadgen"):
    connection.request("GET", path)
    response = connection.getresponse()
    response.read()
    return response.status


def opened(stack, port, text=b"", **options):
    """A connection on which so much was sent."""
    peer = socket.socket()
    stack.callback(peer.close)
    for name, value in options.items():
        peer.setsockopt(socket.SOL_SOCKET, getattr(socket, name), value)
    peer.settimeout(TIMEOUT_S)
    peer.connect(("127.0.0.1", port))
    peer.sendall(text)
    return peer


def ended(peer):
    """Read until the server has closed the connection; gives what came."""
    got = b""
    with contextlib.suppress(ConnectionError):
        while part := peer.recv(1 << 20):
            got += part
    return got


WHOLE = b"GET /metrics/loadgen HTTP/1.1\r\nHost: localhost\r\n\r\n"


@pytest.mark.parametrize("text", [b"", b"GET /met", b"GET /metrics HTTP/1.1\r\nHost: localhost\r\n", WHOLE + b"GET /"])
def test_half_a_request_ends_with_its_time(port, monkeypatch, text):
    """The first of a connection, or the next; a whole one beside is answered."""
    monkeypatch.setattr(connections, "HEAD_TIMEOUT_S", 0.05)
    with contextlib.ExitStack() as stack:
        peer = opened(stack, port, text)
        assert ended(peer).startswith(b"HTTP/1.1 200 OK" if text.endswith(b"GET /") else b"")
    assert get(port) == 200


def test_an_answer_that_nobody_reads_ends_with_its_time(frontend, port, monkeypatch):
    """It does not wait in memory for ever."""
    monkeypatch.setattr(connections, "UNREAD_TIMEOUT_S", 0.05)
    large = SimpleNamespace(to_json=lambda: "x" * (64 << 20))
    ends = []
    lost = connections._Connection.connection_lost

    def note(connection, error):
        ends.append(error)
        lost(connection, error)

    monkeypatch.setattr(connections._Connection, "connection_lost", note)
    with contextlib.ExitStack() as stack, monkeypatch.context() as patched:
        patched.setattr(frontend.frontend, "counters", lambda: large)
        opened(stack, port, WHOLE, SO_RCVBUF=4096)
        frontend.until(lambda: ends)
    assert get(port) == 200


def test_beyond_the_limit_the_connection_that_waits_for_longest_goes(frontend, port, monkeypatch, caplog):
    """Each request is served, on an old connection and on new ones; the log has one line."""
    monkeypatch.setattr(connections, "MAX_CONNECTIONS", 8)
    with contextlib.ExitStack() as stack:
        old = http.client.HTTPConnection("127.0.0.1", port, timeout=TIMEOUT_S)
        stack.callback(old.close)
        for _ in range(20):
            idle = [opened(stack, port, b"GET /met") for _ in range(4)]
            assert answer(old) == 200
            assert get(port) == 200
            del idle
    (line,) = (record.getMessage() for record in caplog.records if record.name == connections.__name__)
    assert line == "more than 8 HTTP connections: the one that has waited for longest is closed"


def test_a_request_under_way_goes_only_after_all_that_wait(frontend, monkeypatch):
    """A head that never comes is cheaper to lose than an answer."""
    monkeypatch.setattr(connections, "MAX_CONNECTIONS", 3)
    with contextlib.ExitStack() as stack:
        entered, gate = [], frontend.call(_event())

        async def slow(_):
            entered.append(1)
            await gate.wait()
            return web.Response(text="done")

        application = web.Application()
        application.router.add_get("/", slow)
        server = listening(application, "127.0.0.1", 0, "--port")
        port = frontend.call(server.__aenter__())
        stack.callback(lambda: frontend.call(server.__aexit__(None, None, None)))
        busy = opened(stack, port, b"GET / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
        frontend.until(lambda: entered)
        idle = [opened(stack, port, b"GET") for _ in range(6)]
        assert [ended(peer) for peer in idle[:4]] == [b""] * 4
        frontend.loop.call_soon_threadsafe(gate.set)
        assert ended(busy).endswith(b"done")


async def _event():
    return asyncio.Event()


MALFORMED = [
    b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
    b"NONSENSE\r\n\r\n",
    b"GET / HTTP/9.9\r\n\r\n",
    b"GET / HTTP/1.1\r\nno colon\r\n\r\n",
    b"GET / HTTP/1.1\r\nHost: x\r\nContent-Length: -1\r\n\r\n",
    b"GET / HTTP/1.1\r\nA: " + b"x" * 20_000 + b"\r\n\r\n",
    b"\0" * 100 + b"\r\n\r\n",
]


def test_what_is_no_http_is_counted_and_has_one_line(frontend, port, caplog):
    """Without a traceback, however often it comes."""
    caplog.set_level(logging.DEBUG, "frontend_launch")
    with contextlib.ExitStack() as stack:
        for _ in range(20):
            for text in MALFORMED:
                assert ended(opened(stack, port, text)).startswith(b"HTTP/1.")
        assert get(port) == 200
    assert frontend.counters().dropped == {"http": 20 * len(MALFORMED)}
    (record,) = caplog.records
    assert record.getMessage().startswith("dropped an invalid HTTP request: ")
    assert not record.exc_info
    assert len(record.getMessage()) < 300


def test_an_error_of_our_own_keeps_its_traceback(frontend, port, monkeypatch, caplog):
    """Once a minute."""

    def fail():
        raise ZeroDivisionError

    monkeypatch.setattr(frontend.frontend, "counters", fail)
    assert [get(port) for _ in range(3)] == [500] * 3
    (record,) = (record for record in caplog.records if record.name == connections.__name__)
    assert record.exc_info[0] is ZeroDivisionError
    monkeypatch.undo()
    assert "http" not in frontend.counters().dropped


def test_a_line_comes_once_a_minute_with_what_there_was_in_between(caplog):
    """The first at once."""
    now = [0.0]
    warn = Seldom(logging.getLogger("seldom"), clock=lambda: now[0])
    for now[0] in (0.0, 1.0, EVERY_S - 1, EVERY_S, 2 * EVERY_S):
        warn("odd %s", "thing")
    more = " (and 2 more since the last such line)"
    assert [record.getMessage() for record in caplog.records] == ["odd thing", "odd thing" + more, "odd thing"]


def test_lines_beyond_a_number_are_counted(caplog):
    """Until the minute is over."""
    now = [0.0]
    warn = Seldom(logging.getLogger("seldom"), 2, lambda: now[0])
    for now[0] in (0.0, 1.0, 2.0, 3.0, EVERY_S, EVERY_S):
        warn("%.0f", now[0])
    more = " (and 2 more since the last such line)"
    assert [record.getMessage() for record in caplog.records] == ["0", "1", "60" + more, "60"]


def test_requests_that_arrive_together_begin_one_per_turn():
    """A burst of them does not hold the loop up: what is ready runs between two of them."""
    begun = []

    async def begin(_: web.Request) -> web.Response:
        begun.append("request")
        asyncio.get_running_loop().call_soon(begun.append, "turn")
        return web.Response()

    async def burst() -> None:
        application = web.Application()
        application.add_routes([web.get("/", begin)])
        async with contextlib.AsyncExitStack() as stack:
            port = await stack.enter_async_context(listening(application, "127.0.0.1", 0, "--port"))
            peers = [await asyncio.open_connection("127.0.0.1", port) for _ in range(10)]
            for _, writer in peers:
                stack.callback(writer.close)
                writer.write(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")
            for reader, _ in peers:
                await asyncio.wait_for(reader.readline(), TIMEOUT_S)

    asyncio.run(burst())
    assert begun == ["request", "turn"] * 10
