"""Servers that are still starting."""

import asyncio

import pytest

from loadgen.cli.console import worded
from loadgen.errors import ClientLimitError, MisfitError, TargetError
from loadgen.targets import readiness
from loadgen.targets.address import parse_address
from loadgen.targets.discover import discover_remote
from loadgen.targets.readiness import until_ready
from loadgen.targets.remote import TargetOptions

ADDRESS = parse_address("http://host/x")


@pytest.fixture(autouse=True)
def _quickly(monkeypatch):
    monkeypatch.setattr(readiness, "PAUSE_S", 0.001)


def looks(*results):
    """What each look finds, the last one again and again."""
    left = list(results)

    async def look():
        found = left.pop(0) if len(left) > 1 else left[0]
        if isinstance(found, Exception):
            raise found
        return found

    return look


def test_it_is_looked_at_until_it_is_there(caplog):
    """What it waits for is said once."""
    caplog.set_level("INFO")
    look = looks(TargetError("no model"), TargetError("no model"), "model")
    assert asyncio.run(until_ready(look, ADDRESS, 30.0)) == "model"
    assert [record.getMessage() for record in caplog.records] == [
        "waiting up to 30 s for the server to be ready: no model",
        "the server is ready",
    ]


def test_what_is_never_there():
    """The last error, and how long it was waited for."""
    with pytest.raises(TargetError, match=r"no model; it was not ready within wait_ready_s 0\.02 s"):
        asyncio.run(until_ready(looks(TargetError("no model")), ADDRESS, 0.02))


def test_a_server_that_does_not_answer():
    """The time is that of all looks."""
    with pytest.raises(TargetError, match="http://host/x: no answer; it was not ready within"):
        asyncio.run(until_ready(lambda: asyncio.sleep(60), ADDRESS, 0.02))


@pytest.mark.parametrize("error", [ClientLimitError, MisfitError])
def test_what_is_no_matter_of_time(error):
    """It ends the waiting."""
    with pytest.raises(error, match=r"^x$"):
        asyncio.run(until_ready(looks(error("x")), ADDRESS, 60.0))


def test_what_is_waited_for_names_options_as_they_are_typed():
    """Also behind the time."""
    with pytest.raises(TargetError) as refused:
        asyncio.run(until_ready(looks(TargetError("without {External.target}")), ADDRESS, 0.01))
    assert worded(refused.value) == "without --target; it was not ready within --wait-ready 0.01 s"


@pytest.mark.parametrize("not_ready", [b"400 Bad Request", b"503 Service Unavailable"])
def test_a_model_that_loads(not_ready):
    """Its server tells of it before it is ready, in each way that servers have."""
    asked = []

    def answer(path):
        asked.append(path)
        if path == "/v2/models/m/ready":
            times = asked.count(path)
            return b"200 OK", b"" if times > 2 else b'{"name": "m", "ready": false}'
        if path == "/v2/models/m" and asked.count(path) == 1:
            return not_ready, b"{}"
        if path in ("/v2", "/v2/models/m"):
            return b"200 OK", b'{"name": "m", "inputs": [], "outputs": []}'
        return b"404 Not Found", b""

    async def serve(reader, writer):
        status, body = answer((await reader.readuntil(b"\r\n\r\n")).split()[1].decode())
        writer.write(b"HTTP/1.1 %s\r\nContent-Length: %d\r\nConnection: close\r\n\r\n" % (status, len(body)) + body)
        writer.close()

    async def check():
        async with asyncio.timeout(20), await asyncio.start_server(serve, "127.0.0.1", 0) as server:
            address = parse_address(f"oip+http://127.0.0.1:{server.sockets[0].getsockname()[1]}/m")
            await discover_remote(TargetOptions(address, wait_ready_s=15.0))

    asyncio.run(check())
    assert asked.count("/v2/models/m/ready") == 3


def test_a_server_without_the_question_is_ready():
    """It has told of the model."""

    async def serve(reader, writer):
        path = (await reader.readuntil(b"\r\n\r\n")).split()[1]
        known = path in (b"/v2", b"/v2/models/m")
        body = b'{"name": "m", "inputs": [], "outputs": []}' if known else b""
        status = b"200 OK" if known else b"404 Not Found"
        writer.write(b"HTTP/1.1 %s\r\nContent-Length: %d\r\nConnection: close\r\n\r\n" % (status, len(body)) + body)
        writer.close()

    async def check():
        async with asyncio.timeout(20), await asyncio.start_server(serve, "127.0.0.1", 0) as server:
            address = parse_address(f"oip+http://127.0.0.1:{server.sockets[0].getsockname()[1]}/m")
            return await discover_remote(TargetOptions(address, wait_ready_s=15.0))

    assert asyncio.run(check()).description.name == "m"
