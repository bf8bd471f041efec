"""Answers over HTTP/1.1, as servers may write them: what counts, and what becomes of the connection."""

import asyncio
import gzip
import json
import re
import time
import zlib

import pytest
import uvloop

from loadgen.load.inputs import InputSource, Pool
from loadgen.load.job import Job
from loadgen.load.runner import Hooks, run
from loadgen.load.target import Outcome
from loadgen.targets import content_encoding, http1
from loadgen.targets import dialer as dialing
from loadgen.targets.access import Access
from loadgen.targets.address import parse_address
from loadgen.targets.http1 import HttpSpec
from loadgen.targets.http_answers import AnyAnswers, JsonAnswers
from loadgen.targets.http_request import post
from model_containers.data_types import DataType

BODY = json.dumps({"text": "x" * 20}).encode()
SIZED = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(BODY) + BODY
TRAILED = b"".join(b"1\r\n%c\r\n" % byte for byte in BODY) + b"0\r\nX: 1\r\n\r\n"
CHUNKS = b"".join(b"1\r\n%c\r\n" % byte for byte in BODY) + b"0\r\n\r\n"


class Inputs(InputSource):
    """One request."""

    def __init__(self, address, body=b"{}"):
        self.request = post(address, "/", Access(), "application/json", {}, body)

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
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTrailer: X\r\n\r\n" + TRAILED, False),
        (b"HTTP/1.1 103 Early Hints\r\nLink: <x>\r\nContent-Length: 9\r\n\r\n" + SIZED, False),
        (b"HTTP/1.0 200 OK\r\nConnection: keep-alive\r\nContent-Length: %d\r\n\r\n" % len(BODY) + BODY, False),
        (b"HTTP/1.0 200 OK\r\nContent-Length: %d\r\n\r\n" % len(BODY) + BODY, True),
        (SIZED.replace(b"200 OK", b"201 Created"), False),
        (SIZED + b"\r\n", False),
    ],
    ids=[
        *("kept", "closed", "chunks", "an interim answer", "until it is closed", "trailers", "early hints"),
        *("an old server that keeps it", "an old server that does not", "another status of success", "an empty line"),
    ],
)
def test_good_answers(answer, closes):
    """However they end."""
    record = uvloop.run(loaded(answer, closes))
    assert record.failures == {}
    assert record.outcomes[Outcome.COMPLETED] == record.sent == 20


@pytest.mark.parametrize(
    ("answer", "closes", "reason"),
    [
        (b"\0garbage\r\n\r\n", False, "the answer is not HTTP"),
        (b"", True, "the connection was lost before the answer"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 99\r\n\r\nabc", True, "the connection was lost before the answer"),
        (b'HTTP/1.1 503 No\r\nContent-Length: 15\r\n\r\n{"error": "no"}', False, "503: no"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}", False, "the answer has no text"),
        (b"HTTP/1.1 204 No Content\r\n\r\n", False, "204: No Content"),
        (b"HTTP/1.1 204 No Content\r\nContent-Length: 0\r\n\r\n", False, "204: No Content"),
        (b"HTTP/1.1 304 Not Modified\r\nContent-Length: 99\r\n\r\n", False, "304: Not Modified"),
        (b"HTTP/1.1 202 Accepted\r\nContent-Length: 2\r\n\r\n{}", False, "202: {}"),
        (b"HTTP/1.0 503 Busy\r\n\r\n", True, "503: Service Unavailable"),
        (b"HTTP/1.0 503 Busy\r\nServer: x", True, "the connection was lost before the answer"),
        (
            b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n{}",
            False,
            "the answer is not HTTP",
        ),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n{}", False, "the answer is not HTTP"),
        (b"HTTP/1.1 101 Switching\r\nConnection: upgrade\r\nUpgrade: x\r\n\r\n", True, "the answer is not HTTP"),
    ],
    ids=[
        *("garbage", "nothing", "cut short", "error", "incomplete", "no content", "no content, of no length"),
        *("not modified", "accepted", "no body until it is closed", "half a head until it is closed"),
        *("two ways to end", "two lengths", "another protocol"),
    ],
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
    """Two in one go: the second is not taken for that to the next request, whose connection is another; it counts."""
    record = uvloop.run(loaded(SIZED + SIZED, False))
    assert record.outcomes[Outcome.COMPLETED] == record.sent == 20
    assert record.late == 0
    assert 0 < record.unexpected <= 20


TEXT = JsonAnswers(("text",))


async def behind(
    connection,
    *,
    connections=2,
    window=4,
    requests=20,
    timeout_s=None,
    body=b"{}",
    judge=TEXT,
    head=False,
    trusted=False,
):
    """A run against a server that does with the nth connection what is asked, and how many there were."""
    made = 0

    async def serve(reader, writer):
        nonlocal made
        made += 1
        try:
            await connection(made, reader, writer)
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()

    async with asyncio.timeout(20), await asyncio.start_server(serve, "127.0.0.1", 0) as server:
        address = parse_address(f"http+json://127.0.0.1:{server.sockets[0].getsockname()[1]}/")
        spec = HttpSpec(address, Access(), judge, connections, timeout_s, head, trusted)
        job = Job(spec, Inputs(address, body), window, None, requests, 0.0, timeout_s, 5.0, None, 1.0, 2.0)
        return await run(job, hooks=Hooks(on_interval=lambda _: None)), made


async def heard(reader):
    """A whole request."""
    await reader.readuntil(b"\r\n\r\n{}")


def typed(content_type):
    """A server whose answers say that."""

    async def connection(_, reader, writer):
        while True:
            await heard(reader)
            writer.write(SIZED.replace(b"Content-Length", b"Content-Type: %s\r\nContent-Length" % content_type))

    return connection


@pytest.mark.parametrize("judge", [TEXT, AnyAnswers()])
@pytest.mark.parametrize("content_type", [b"text/event-stream; charset=utf-8", b"application/x-NDJSON"])
def test_an_answer_in_parts_is_a_failure(judge, content_type):
    """Its time is not that of a whole one; who counts it says so."""
    record, _ = uvloop.run(behind(typed(content_type), judge=judge))
    kind = content_type.decode().lower().partition(";")[0]
    reason = f'the answer is a stream ({kind}), and answers have to be whole; set "stream" to false'
    assert record.failures == {reason: 20}
    record, _ = uvloop.run(behind(typed(content_type), judge=AnyAnswers(), trusted=True))
    assert record.outcomes[Outcome.COMPLETED] == 20


@pytest.mark.parametrize("content_type", [b"text/plain", b"application/jsonlines"])
def test_another_type_is_no_stream(content_type):
    """Whatever it is: JSON Lines may be a whole batch."""
    record, _ = uvloop.run(behind(typed(content_type)))
    assert record.outcomes[Outcome.COMPLETED] == 20


def test_an_answer_to_head_is_whole():
    """It has the type of what is not sent."""

    async def connection(_, reader, writer):
        while True:
            await heard(reader)
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\n")

    record, _ = uvloop.run(behind(connection, judge=AnyAnswers(), head=True))
    assert record.outcomes[Outcome.COMPLETED] == 20


@pytest.mark.parametrize("answers", [1, 3])
@pytest.mark.parametrize(("connections", "window"), [(1, 1), (2, 4), (16, 16)])
def test_what_a_server_closes_as_idle_is_sent_once_more(answers, connections, window):
    """It reads the head of the next request and closes: that request is the first on a connection of its own."""

    async def connection(_, reader, writer):
        for _ in range(answers):
            await heard(reader)
            writer.write(SIZED)
        await reader.readuntil(b"\r\n")

    record, made = uvloop.run(behind(connection, connections=connections, window=window, requests=40))
    assert record.failures == {}
    assert record.outcomes[Outcome.COMPLETED] == record.sent == 40
    # Each connection but the first ones, and those that were still open at the end, was made for such a request.
    assert made - 2 * connections <= record.resent <= made


def test_what_is_sent_once_more_counts_from_when_it_was_due():
    """The time on the connection that was closed is in its latency."""
    waited_s = 0.05

    async def connection(made, reader, writer):
        await heard(reader)
        writer.write(SIZED)
        await heard(reader)
        if made == 1:
            await asyncio.sleep(waited_s)
            return
        writer.write(SIZED)
        await reader.read()

    record, made = uvloop.run(behind(connection, connections=1, window=1, requests=3))
    assert (record.resent, made, record.outcomes[Outcome.COMPLETED]) == (1, 2, 3)
    assert record.latency.max_ns >= 0.9 * waited_s * 1e9  # a timer of the loop may be a little early


async def garbage(reader, writer):
    """A byte of an answer came: it may have been worked on."""
    writer.write(b"H")
    await writer.drain()


async def interim(reader, writer):
    """The same, though the answer itself is still to come."""
    writer.write(b"HTTP/1.1 103 Early Hints\r\n\r\n")
    await writer.drain()


@pytest.mark.parametrize("begins", [garbage, interim])
def test_what_has_begun_to_be_answered_is_not_sent_once_more(begins):
    """Nor is the first request of a connection, which says nothing of others."""

    async def connection(made, reader, writer):
        await heard(reader)
        writer.write(SIZED)
        await heard(reader)
        await begins(reader, writer)

    record, _ = uvloop.run(behind(connection, connections=1, window=1, requests=4))
    assert record.failures == {"the connection was lost before the answer": 2}
    assert (record.resent, record.outcomes[Outcome.COMPLETED]) == (0, 2)


def test_a_request_is_sent_once_more_at_most(monkeypatch):
    """Where it is the first of a connection, and that is closed too, it has failed."""
    for pause in ("FIRST_PAUSE_S", "LONGEST_PAUSE_S"):
        monkeypatch.setattr(dialing, pause, 0.001)

    async def connection(made, reader, writer):
        await heard(reader)
        if made % 2:
            writer.write(SIZED)
            await heard(reader)

    record, made = uvloop.run(behind(connection, connections=1, window=1, requests=8))
    assert (record.resent, made) == (4, 8)
    assert record.failures == {"the connection was lost before the answer": 4}
    assert record.outcomes[Outcome.COMPLETED] == 4


def test_what_timed_out_is_not_sent_once_more():
    """A connection that the client closes itself says nothing of the server."""

    async def connection(_, reader, writer):
        await heard(reader)
        writer.write(SIZED)
        await reader.read()

    record, _ = uvloop.run(behind(connection, connections=1, window=1, requests=2, timeout_s=0.05))
    assert record.resent == 0
    assert record.outcomes[Outcome.TIMED_OUT] == 1


@pytest.mark.parametrize("reads", [False, True], ids=["closes", "reads on"])
def test_an_answer_before_the_request_was_sent_is_its_answer(reads):
    """As of a body that is too large, whatever becomes of the connection then."""
    body = b"x" * (1 << 22)

    async def connection(_, reader, writer):
        while True:
            await reader.readuntil(b"\r\n\r\n")
            writer.write(b"HTTP/1.1 413 Too Large\r\nContent-Length: 0\r\n\r\n")
            if not reads:
                return
            await reader.readexactly(len(body))

    record, _ = uvloop.run(behind(connection, connections=1, window=1, requests=3, body=body))
    ((reason, count),) = record.failures.items()
    assert reason.startswith("413: ")
    assert count == record.sent == 3


JUNK = pytest.mark.parametrize(
    "junk",
    [b"HTTP/1.1 200 OK\r\nContent-Le", SIZED + b"HTTP/1.1 2", SIZED, b"junk"],
    ids=["the beginning of another", "one and a half more", "another", "no HTTP"],
)


@JUNK
def test_what_follows_an_answer_is_no_answer_to_the_next_request(junk):
    """Its rest would be read as that: the next request goes over another connection."""

    async def connection(made, reader, writer):
        await heard(reader)
        writer.write(SIZED + (junk if made == 1 else b""))
        await heard(reader)
        writer.write(SIZED)
        await reader.read()

    record, made = uvloop.run(behind(connection, connections=1, window=1, requests=3))
    assert record.outcomes[Outcome.COMPLETED] == record.sent == 3
    assert (record.resent, made) == (0, 2)


@JUNK
def test_a_connection_that_says_something_unasked_is_not_used_again(monkeypatch, junk):
    """Where it comes some time after the answer."""

    async def main():
        idle = asyncio.Event()

        async def serve(reader, writer):
            await heard(reader)
            writer.write(SIZED)
            await idle.wait()
            writer.write(junk)
            await reader.read()
            writer.close()

        async with asyncio.timeout(20), await asyncio.start_server(serve, "127.0.0.1", 0) as server:
            address = parse_address(f"http+json://127.0.0.1:{server.sockets[0].getsockname()[1]}/")
            target = HttpSpec(address, Access(), JsonAnswers(("text",)), 1).make()
            await target.open(Inputs(address).make())
            target.send(0, 1, time.monotonic_ns())
            answered, gone = asyncio.Event(), asyncio.Event()
            target.notify(answered.set)
            await answered.wait()
            (connection,) = target._open
            lost = target.lost

            def told(*what):
                lost(*what)
                gone.set()

            monkeypatch.setattr(target, "lost", told)
            idle.set()
            await gone.wait()
            assert connection not in target._idle
            await target.close()

    uvloop.run(main())


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


def encoded(name, body, status=b"200 OK"):
    head = b"HTTP/1.1 %s\r\nContent-Encoding: %s\r\nContent-Length: %d\r\n\r\n"
    return head % (status, name, len(body)) + body


RAW = zlib.compressobj(wbits=-15)
BOMB = gzip.compress(b"x" * 100_000, mtime=0)


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        (encoded(b"gzip", gzip.compress(BODY, mtime=0)), None),
        (encoded(b"X-GZIP", gzip.compress(BODY[:9], mtime=0) + gzip.compress(BODY[9:], mtime=0)), None),
        (encoded(b"deflate", zlib.compress(BODY)), None),
        (encoded(b"deflate", RAW.compress(BODY) + RAW.flush()), None),
        (encoded(b"identity", BODY), None),
        (encoded(b"br", BODY), "the answer has the Content-Encoding br, which is not decoded; ask for gzip or none"),
        (encoded(b"gzip, gzip", BODY), "the answer has the Content-Encoding gzip, gzip, which is not decoded"),
        (encoded(b"gzip", BODY), "the answer is not gzip, which its Content-Encoding says"),
        (
            encoded(b"gzip", gzip.compress(BODY, mtime=0)[:-1]),
            "the answer is not gzip, which its Content-Encoding says",
        ),
        (encoded(b"deflate", b"\x78\x9c"), "the answer is not deflate, which its Content-Encoding says"),
        (encoded(b"gzip", gzip.compress(b"{}", mtime=0)), "the answer has no text"),
        (encoded(b"gzip", BOMB), "the answer has more than 0 MiB when it is decoded"),
        (encoded(b"gzip", gzip.compress(b'{"error": "no"}', mtime=0), b"503 No"), "503: no"),
        (encoded(b"br", b"x", b"503 No"), "503: Service Unavailable"),
        (encoded(b"br", b"x", b"201 Created"), "the answer has the Content-Encoding br"),
    ],
)
def test_encoded_answers(monkeypatch, answer, reason):
    """Are read as what they say, or refused in words; no server makes a client decode without end."""
    monkeypatch.setattr(content_encoding, "MAX_BYTES", 50_000)
    monkeypatch.setattr(content_encoding._inflated, "__defaults__", (50_000,))
    record = uvloop.run(loaded(answer, False))
    if reason is None:
        assert (record.failures, record.outcomes[Outcome.COMPLETED]) == ({}, 20)
    else:
        ((said, count),) = record.failures.items()
        assert (said[: len(reason)], count) == (reason, 20)


def test_what_is_decoded_is_not_the_servers_time(monkeypatch):
    """A request ends when its answer is here, however long it takes to read."""
    times = []

    def slow(body, encoding):
        times.append(time.monotonic_ns())
        return BODY

    monkeypatch.setattr(http1, "decoded", slow)
    target = http1.HttpTarget(HttpSpec(parse_address("http+json://host/"), Access(), JsonAnswers(("text",)), 1))
    target.answered(7, (200, b"x", None, {b"content-encoding": b"gzip"}))
    replies = target.drain()
    assert replies.outcomes.tolist() == [Outcome.COMPLETED]
    assert replies.done_ns[0] <= times[0]


@pytest.mark.parametrize(
    ("head", "reason"),
    [
        (
            b"307 Moved\r\nLocation: http://other:1/b/",
            "307: it redirects to http://other:1/b/; use that for the target",
        ),
        (
            b"308 Moved\r\nlocation: /b?token=s3cret-value&n=1",
            "308: it redirects to http://127.0.0.1:PORT/b?token=…&n=1",
        ),
        (b"301 Moved\r\nLocation: ../b", "301: it redirects to http://127.0.0.1:PORT/b; use that for the target"),
        (b"302 Found\r\nLocation: http://u:s3cret-value@h/", "302: it redirects to http://…@h/; use that"),
        (b"302 Found\r\nLocation: http://[", "302: it redirects to http://[; use that"),
        (b"302 Found", "302: Found"),
        (b"304 Not Modified\r\nLocation: /b", "304: it redirects to"),
        (b"429 No\r\nRetry-After: 120", "429: Too Many Requests (Retry-After: 120)"),
        (b"503 No\r\nRetry-After: Sun, 29 Nov 2026 10:00:00 GMT", "503: Service Unavailable (Retry-After: Sun, 29 Nov"),
        (b"201 Made", "201: Created; the answer is not JSON"),
        (b"103 Early\r\nLocation: /c\r\n\r\nHTTP/1.1 302 Found", "302: Found"),
    ],
)
def test_failures_whose_heads_say_more(head, reason):
    """Where to, and when again; a browser would go there, which would be measured as one request."""
    answer = b"HTTP/1.1 " + head + b"\r\nContent-Length: 0\r\n\r\n"
    record = uvloop.run(loaded(answer.replace(b"/c\r\nContent-Length: 0", b"/c"), False))
    ((said, count),) = record.failures.items()
    assert re.sub(r"127\.0\.0\.1:[0-9]+", "127.0.0.1:PORT", said).startswith(reason)
    assert count == 20


@pytest.mark.parametrize(
    "answer",
    [
        b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n",
        b"HTTP/1.1 204 No Content\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n",
        b"HTTP/1.1 103 Early Hints\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n",
    ],
)
def test_answers_to_head_have_no_body(answer):
    """Whatever length they say; the connection goes on."""

    async def connection(_, reader, writer):
        while True:
            await heard(reader)
            writer.write(answer)

    record, made = uvloop.run(behind(connection, judge=AnyAnswers(), head=True))
    assert (record.failures, record.outcomes[Outcome.COMPLETED], made) == ({}, 20, 2)


@pytest.mark.parametrize(
    "head",
    [b"200 OK\r\nContent-Length: 3\r\n\r\nabc", b"204 No Content\r\n\r\n", b"206 Part\r\nContent-Length: 0\r\n\r\n"],
)
def test_any_answer_of_success_counts(head):
    """Whatever it carries, and in whatever encoding."""

    async def connection(_, reader, writer):
        while True:
            await heard(reader)
            writer.write(b"HTTP/1.1 " + head.replace(b"\r\n", b"\r\nContent-Encoding: br\r\n", 1))

    record, _ = uvloop.run(behind(connection, judge=AnyAnswers()))
    assert (record.failures, record.outcomes[Outcome.COMPLETED]) == ({}, 20)
