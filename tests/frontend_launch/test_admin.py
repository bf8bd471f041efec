"""The REST client: against our management frontend, against the original's habits, and against trouble."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import replace

import pytest
from aiohttp import web

from frontend_launch import rest
from frontend_launch.admin import AdminClient
from frontend_launch.errors import AdminError
from frontend_launch.frontends.management import make_app
from frontend_launch.frontends.store import MemoryStore
from frontend_launch.records import ReplicaRecord
from model_containers.data_types import DataType


@contextlib.asynccontextmanager
async def management(store: MemoryStore) -> AsyncIterator[AdminClient]:
    """Our management frontend over a store, and a client of it."""
    runner = web.AppRunner(make_app(store), shutdown_timeout=1)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        async with AdminClient(f"http://127.0.0.1:{runner.addresses[0][1]}/") as client:
            yield client
    finally:
        await runner.cleanup()


@contextlib.asynccontextmanager
async def answering(*chunks: bytes, timeout_s: float = 10) -> AsyncIterator[AdminClient]:
    """A server that sends the same bytes to every request, and a client of it; its patience is the client's."""
    hung_up = asyncio.Event()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"}")
        for chunk in chunks:
            writer.write(chunk)
            await writer.drain()
        if not chunks:
            await hung_up.wait()
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with server:
        port = server.sockets[0].getsockname()[1]
        async with AdminClient(f"http://127.0.0.1:{port}", timeout_s) as client:
            try:
                yield client
            finally:
                hung_up.set()


def reply(body: bytes, status: str = "200 OK") -> bytes:
    """An HTTP response as the original sends it, without a content type."""
    return b"HTTP/1.1 %s\r\nContent-Length: %d\r\n\r\n%s" % (status.encode(), len(body), body)


async def refused(work: Awaitable[object]) -> str:
    """The one line with which something fails."""
    with pytest.raises(AdminError) as caught:
        await work
    text = str(caught.value)
    assert text.isprintable()
    return text


def test_registration() -> None:
    """What is registered can be asked for, with types instead of texts."""

    async def scenario() -> None:
        store = MemoryStore()
        async with management(store) as admin:
            await admin.register_application("app", DataType.INTS, "TIMEOUT", 500_000)
            await admin.register_model("vgg", "1", DataType.INTS, batch_size=8)
            await admin.register_model("vgg", "2", DataType.INTS, batch_size=8, labels=("a",))
            await admin.link_model("app", "vgg")
            await store.set_current_version("vgg", "1")
            application = rest.ApplicationReply(DataType.INTS, "TIMEOUT", 500_000, "app", ("vgg",))
            assert await admin.applications() == (application,)
            assert await admin.application("app") == application
            assert await admin.linked_models("app") == ("vgg",)
            assert await admin.model("vgg", "1") == rest.ModelReply(
                "vgg", "1", DataType.INTS, ("",), "NO_CONTAINER", "DEPRECATED", is_current_version=True
            )
            model = await store.model("vgg", "2")
            assert model is not None
            assert model.batch_size == 8
            await admin.set_batch_size("vgg", "2", 32)
            assert await store.model("vgg", "2") == replace(model, batch_size=32)
            assert await store.current_version("vgg") == "1"

    asyncio.run(scenario())


def test_replicas() -> None:
    """Replicas are those of one model version."""

    async def scenario() -> None:
        store = MemoryStore()
        async with management(store) as admin:
            assert await admin.replicas("vgg", "1") == []
            for name, version, replica_id in [("vgg", "1", 0), ("vgg", "1", 1), ("vgg", "2", 0), ("lgbm", "1", 0)]:
                await store.add_replica(ReplicaRecord(name, version, replica_id, 0, DataType.FLOATS))
            assert [r.model_replica_id for r in await admin.replicas("vgg", "1")] == [0, 1]

    asyncio.run(scenario())


def test_unknown() -> None:
    """What is unknown is None."""

    async def scenario() -> None:
        async with management(MemoryStore()) as admin:
            assert await admin.application("nobody") is None
            assert await admin.model("vgg", "1") is None

    asyncio.run(scenario())


def test_refusals() -> None:
    """A refusal is one line with the URL and the server's text."""

    async def scenario() -> None:
        async with management(MemoryStore()) as admin:
            text = await refused(admin.link_model("nobody", "vgg"))
            assert text.startswith("http://127.0.0.1:")
            assert text.endswith(
                "/admin/add_model_links: refuses: application 'nobody' is unknown; register it first (status 400)"
            )
            assert "is not UTF-8" in await refused(admin.application("\udcff"))

    asyncio.run(scenario())


@pytest.mark.parametrize(
    "split", [pytest.param(False, id="in one piece"), pytest.param(True, id="newline in a piece of its own")]
)
def test_newline_beyond_the_end(split: bool) -> None:
    """The original's newline after each response disturbs neither that one nor the next."""
    response = reply(b"{}")
    chunks = (response, b"\n") if split else (response + b"\n",)

    async def scenario() -> None:
        async with answering(*chunks) as admin:
            for _ in range(3):
                assert await admin.application("app") is None

    asyncio.run(scenario())


def application(admin: AdminClient) -> Awaitable[object]:
    """Ask for an object."""
    return admin.application("app")


def applications(admin: AdminClient) -> Awaitable[object]:
    """Ask for a list."""
    return admin.applications()


def link(admin: AdminClient) -> Awaitable[object]:
    """Change something."""
    return admin.link_model("app", "vgg")


@pytest.mark.parametrize(
    ("answer", "act", "text"),
    [
        pytest.param(reply(b"<html>"), application, "answers '<html>': the body is not JSON: ", id="not JSON"),
        pytest.param(reply(b'{"name":"app"}'), application, 'key "input_type" is missing; ', id="not all of it"),
        pytest.param(reply(b"{}"), applications, "the body is an object; expected a list of {", id="not a list"),
        pytest.param(reply(b"Hello"), link, "answers 'Hello', not 'Success!'", id="no success"),
        pytest.param(reply(b"a\nb\xff", "400 Bad Request"), link, "refuses: a b\ufffd (status 400)", id="two lines"),
        pytest.param(reply(b"x" * 9999, "500 Oops"), link, "x" * 500 + " (status 500)", id="long text"),
        pytest.param(reply(b"Success!")[:-1], link, "cannot be asked: ", id="cut off"),
        pytest.param(b"\x00\x01\r\n\r\n", link, "cannot be asked: ", id="not HTTP"),
    ],
)
def test_strange_servers(answer: bytes, act: Callable[[AdminClient], Awaitable[object]], text: str) -> None:
    """A server that does not keep to the protocol is told apart in one line."""

    async def scenario() -> None:
        async with answering(answer) as admin:
            assert text in await refused(act(admin))

    asyncio.run(scenario())


def test_silence() -> None:
    """A server that never answers is not waited for without end."""

    async def scenario() -> None:
        async with answering(timeout_s=0.05) as admin:
            assert (await refused(link(admin))).endswith("did not answer within 0.05 s; check --admin-port")

    asyncio.run(scenario())


@pytest.mark.parametrize("host", ["127.0.0.1", "no such host"])
def test_nobody_there(host: str) -> None:
    """A port without a listener, and an address that is not one, are errors that name the URL."""

    async def scenario() -> None:
        with socket.socket() as taken:  # bound, but not listening
            taken.bind(("127.0.0.1", 0))
            url = f"http://{host}:{taken.getsockname()[1]}"
            async with AdminClient(url) as admin:
                text = await refused(link(admin))
        assert text.startswith(f"{url}/admin/add_model_links: cannot be asked: ")
        assert text.endswith("check --admin-port")

    asyncio.run(scenario())
