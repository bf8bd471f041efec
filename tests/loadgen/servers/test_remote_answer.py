"""The first answer of a server that cannot be asked whether it is ready."""

import asyncio
from types import SimpleNamespace
from typing import Any, cast

import pytest

from loadgen.errors import TargetError
from loadgen.servers.remote_answer import wait_for_answer
from loadgen.targets import dialer, readiness
from loadgen.targets.address import parse_address
from loadgen.targets.http_endpoint import HttpEndpoint
from loadgen.targets.remote import RequestOptions, TargetOptions


@pytest.fixture(autouse=True)
def _quickly(monkeypatch):
    monkeypatch.setattr(readiness, "PAUSE_S", 0.001)
    monkeypatch.setattr(dialer, "FIRST_PAUSE_S", 0.001)


async def waited(*statuses, within_s: float | None = 15.0, **options: Any):
    """How many requests a server gets that answers with these, the last one again and again; None closes."""
    left, asked, handlers = list(statuses), 0, set[asyncio.Task[None]]()

    async def serve(reader, writer):
        nonlocal asked
        handlers.add(cast(asyncio.Task[None], asyncio.current_task()))
        try:
            while await reader.readuntil(b"\r\n\r\n$"):
                asked += 1
                status = left.pop(0) if len(left) > 1 else left[0]
                if status is None:
                    break
                head = b"HTTP/1.1 %d X\r\nContent-Type: text/event-stream\r\nContent-Length: 0\r\n\r\n"
                writer.write(head % status)
        except (asyncio.IncompleteReadError, OSError):
            pass
        writer.close()

    async with asyncio.timeout(30), await asyncio.start_server(serve, "127.0.0.1", 0) as server:
        address = parse_address(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/x")
        remote = await HttpEndpoint.at(
            TargetOptions(address, body="$", method="POST", wait_ready_s=within_s, **options)
        )
        inputs = remote.inputs(RequestOptions(1, None, None, 0))
        plan = SimpleNamespace(inputs=inputs, config=SimpleNamespace(serve=SimpleNamespace(batch_size=1)))
        try:
            await wait_for_answer(cast(Any, plan), remote)
        finally:
            await asyncio.gather(*handlers)
    return asked


@pytest.mark.parametrize(
    ("statuses", "requests"),
    [((200,), 1), ((503, 404, 502, 200), 4), ((None, 204), 2), ((429, 422), 2), ((301,), 1)],
)
def test_until_an_answer_that_waiting_does_not_change(statuses, requests):
    """A request that is wrong is so later too: the run will say it."""
    assert asyncio.run(waited(*statuses)) == requests


@pytest.mark.parametrize("options", [{}, {"answer": "y"}])
def test_an_answer_that_does_not_count_is_one(options):
    """A stream, or no JSON: the run tells of it at once."""
    assert asyncio.run(waited(503, 200, 500, **options)) == 2


def test_nothing_is_sent_unasked():
    """It would cost the server work."""
    assert asyncio.run(waited(200, within_s=None)) == 0


def test_a_server_that_never_is_ready():
    """Is refused, as it answered."""
    with pytest.raises(TargetError, match=r"/x: 503: Service Unavailable; it was not ready within wait_ready_s 0.1 s"):
        asyncio.run(waited(503, within_s=0.1))
