"""Reading the metrics of frontends that are not ours."""

import asyncio
import contextlib

import pytest
import uvloop

from frontend_launch import admin
from frontend_launch.errors import AdminError
from frontend_launch.metrics_client import MetricsClient


@contextlib.asynccontextmanager
async def closing(known):
    """A server that answers the known paths with an empty object, and closes the connection on all others."""

    async def answer(reader, writer):
        with contextlib.suppress(asyncio.IncompleteReadError):
            request = await reader.readuntil(b"\r\n\r\n")
            if request.split()[1] in known:
                writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\n{}")
                await writer.drain()
        writer.close()

    async with await asyncio.start_server(answer, "127.0.0.1", 0) as server:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"


@pytest.mark.parametrize(
    ("known", "text"),
    [
        ([b"/metrics"], "/metrics/loadgen: does not exist, as on a frontend of 2017"),
        ([], "/metrics: cannot be read: the connection was closed without an answer; check --metrics-port"),
    ],
)
def test_a_frontend_without_our_counters_is_named_as_one(known, text):
    """Where it has the original's metrics; otherwise the port may be another server's."""

    async def read():
        async with closing(known) as url, MetricsClient(url) as client:
            await client.counters()

    with pytest.raises(AdminError, match=text):
        uvloop.run(read())


def test_a_redirection_is_not_followed():
    """No frontend sends one; what it leads to may be reached by this machine only."""
    asked = []

    async def answer(reader, writer):
        asked.append((await reader.readuntil(b"\r\n\r\n")).split()[1])
        writer.write(b"HTTP/1.1 307 Away\r\nLocation: /elsewhere\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
        await writer.drain()
        writer.close()

    async def read():
        async with await asyncio.start_server(answer, "127.0.0.1", 0) as server:
            url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
            async with MetricsClient(url) as client, admin.AdminClient(url) as administrator:
                with pytest.raises(AdminError, match="status 307"):
                    await client.metrics()
                with pytest.raises(AdminError, match="status 307"):
                    await administrator.applications()

    uvloop.run(read())
    assert asked == [b"/metrics", b"/admin/get_all_applications"]


@pytest.mark.parametrize(
    ("body", "text"),
    [
        (b"[" * 100_000, "/metrics: does not answer with JSON"),
        (b" " * 1001, "/metrics: answers with more than 0 MiB; check the port"),
    ],
    ids=["deep", "long"],
)
def test_another_server_s_answer(monkeypatch, body, text):
    """Is one line: what it sends may be nested without measure, or have no end."""
    if b"[" not in body:
        monkeypatch.setattr(admin, "MAX_ANSWER_BYTES", 1000)

    async def answer(reader, writer):
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n" + body)
        await writer.drain()
        writer.close()

    async def read():
        server = await asyncio.start_server(answer, "127.0.0.1", 0)
        async with server, MetricsClient(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}") as client:
            await client.metrics()

    with pytest.raises(AdminError, match=text):
        uvloop.run(read())
