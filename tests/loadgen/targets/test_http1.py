"""Answers over HTTP/1.1, as servers may write them: what counts, and what becomes of the connection."""

import asyncio
import json
import time

import pytest
import uvloop

from loadgen.load.inputs import InputSource, Pool
from loadgen.load.job import Job
from loadgen.load.runner import Hooks, run
from loadgen.load.target import Outcome
from loadgen.targets import dialer as dialing
from loadgen.targets.access import Access
from loadgen.targets.address import parse_address
from loadgen.targets.http1 import HttpSpec
from loadgen.targets.http_request import post
from loadgen.targets.json_endpoint import JsonAnswers
from model_containers.data_types import DataType

BODY = json.dumps({"text": "x" * 20}).encode()
SIZED = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(BODY) + BODY
CHUNKS = b"".join(b"1\r\n%c\r\n" % byte for byte in BODY) + b"0\r\n\r\n"


class Inputs(InputSource):
    """One request."""

    def __init__(self, address):
        self.request = post(address, "/", Access(), "application/json", {}, b"{}")

    text = "one request"

    @property
    def payload_bytes(self):
        return len(self.request)

    def make(self):
        import numpy as np

        return Pool([np.frombuffer(self.request, np.uint8)], DataType.BYTES)


async def loaded(answer, closes, *, timeout_s=None):
    async def serve(reader, writer):
        try:
            while True:
                await reader.readuntil(b"\r\n\r\n{}")
                writer.write(answer)
                await writer.drain()
                if closes:
                    break
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()

    async with asyncio.timeout(20), await asyncio.start_server(serve, "127.0.0.1", 0) as server:
        address = parse_address(f"http+json://127.0.0.1:{server.sockets[0].getsockname()[1]}/")
        spec = HttpSpec(address, Access(), JsonAnswers(("text",)), 2, timeout_s)
        job = Job(spec, Inputs(address), 4, None, 20, 0.0, timeout_s, 5.0, None, 1.0, 0.0)
        return await run(job, hooks=Hooks(on_interval=lambda _: None))


@pytest.mark.parametrize(
    ("answer", "closes"),
    [
        (SIZED, False),
        (b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: %d\r\n\r\n" % len(BODY) + BODY, True),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + CHUNKS, False),
        (b"HTTP/1.1 100 Continue\r\n\r\n" + SIZED, False),
        (b"HTTP/1.0 200 OK\r\n\r\n" + BODY, True),
    ],
    ids=["kept", "closed", "chunks", "an interim answer", "until it is closed"],
)
def test_good_answers(answer, closes):
    """However they end."""
    record = uvloop.run(loaded(answer, closes))
    assert record.failures == {}
    assert record.outcomes[Outcome.COMPLETED] == record.sent == 20


@pytest.mark.parametrize(
    ("answer", "closes", "reason"),
    [
        (b"\0garbage\r\n\r\n", False, "the answer is no HTTP"),
        (b"", True, "the connection was lost before the answer"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 99\r\n\r\nabc", True, "the connection was lost before the answer"),
        (b'HTTP/1.1 503 No\r\nContent-Length: 15\r\n\r\n{"error": "no"}', False, "503: no"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}", False, "the answer has no text"),
    ],
    ids=["garbage", "nothing", "cut short", "error", "incomplete"],
)
def test_bad_answers(monkeypatch, answer, closes, reason):
    """Each has its reason, and the next request gets a connection all the same, if not at once."""
    for pause in ("FIRST_PAUSE_S", "LONGEST_PAUSE_S"):
        monkeypatch.setattr(dialing, pause, 0.001)
    record = uvloop.run(loaded(answer, closes))
    ((said, count),) = record.failures.items()
    assert said.startswith(reason)
    assert count == record.outcomes[Outcome.FAILED] == record.sent == 20


def test_a_server_that_is_of_no_use_is_not_stormed(monkeypatch):
    """Each connection that it closes without an answer is followed by a pause."""
    pauses, pause_s = [], 0.00123
    for name in ("FIRST_PAUSE_S", "LONGEST_PAUSE_S"):
        monkeypatch.setattr(dialing, name, pause_s)

    async def sleep(delay_s, sleep=asyncio.sleep):
        if delay_s == pause_s:
            pauses.append(delay_s)
        await sleep(delay_s)

    monkeypatch.setattr(asyncio, "sleep", sleep)
    record = uvloop.run(loaded(b"", True))
    assert record.outcomes[Outcome.FAILED] == 20
    assert len(pauses) >= 15  # of twenty connections, of which a few were made before the first was lost


def test_what_is_never_answered_timed_out_and_nothing_else():
    """Its connection makes room for the next."""
    record = uvloop.run(loaded(b"HTTP/1.1 200 OK\r\n", False, timeout_s=0.05))
    assert record.outcomes[Outcome.TIMED_OUT] == record.sent == 20
    assert record.failures == {}


def test_an_answer_that_nobody_asked_for_is_nobodys():
    """Two in one go: the second is not taken for that to the next request, whose connection is another."""
    record = uvloop.run(loaded(SIZED + SIZED, False))
    assert record.outcomes[Outcome.COMPLETED] == record.sent == 20
    assert (record.late, record.unexpected) == (0, 0)


def test_what_nobody_waits_for_any_more_is_not_sent():
    """Requests wait for a connection for no longer than their answers are waited for."""

    async def main():
        async def serve(reader, writer):
            try:
                while True:
                    await reader.readuntil(b"\r\n\r\n{}")
                    writer.write(SIZED)
            except (asyncio.IncompleteReadError, ConnectionError):
                writer.close()

        async with asyncio.timeout(20), await asyncio.start_server(serve, "127.0.0.1", 0) as server:
            address = parse_address(f"http+json://127.0.0.1:{server.sockets[0].getsockname()[1]}/")
            target = HttpSpec(address, Access(), JsonAnswers(("text",)), 1, timeout_s=60.0).make()
            await target.open(Inputs(address).make())
            now_ns, answered = time.monotonic_ns(), []
            target.send(0, 1, now_ns)
            target.send(1, 1, now_ns - 61 * 10**9)
            target.send(2, 1, now_ns)
            while 2 not in answered:
                answered += target.drain().ids.tolist()
                await asyncio.sleep(0)
            await target.close()
            return answered

    assert uvloop.run(main()) == [0, 2]
