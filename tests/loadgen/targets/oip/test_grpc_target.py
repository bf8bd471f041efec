"""Calls over connections that come and go: which are answered, and what becomes of the others."""

import asyncio

import h2.events
import h2.settings
import numpy as np
import pytest
import uvloop
from h2_server import Peer, serving

from loadgen.errors import TargetError
from loadgen.load.inputs import InputSource, Pool
from loadgen.load.job import Job
from loadgen.load.runner import Hooks, run
from loadgen.load.target import Outcome
from loadgen.targets.access import Access
from loadgen.targets.address import parse_address
from loadgen.targets.oip import inference_pb2 as pb
from loadgen.targets.oip.grpc_target import METHOD, OipGrpcSpec
from loadgen.targets.oip.messages import prefixed
from model_containers.data_types import DataType

ANSWER = prefixed(pb.ModelInferResponse(model_name="m").SerializeToString())
Codes = h2.settings.SettingCodes
GOAWAY = bytes((0, 0, 8, 7, 0, 0, 0, 0, 0))
"""The head of such a frame; behind it come the last stream and a code."""


class Inputs(InputSource):
    """Requests of some bytes."""

    def __init__(self, size=10):
        self.requests = [prefixed(bytes([number]) * size) for number in range(3)]

    text = "requests of some bytes"

    @property
    def payload_bytes(self):
        return len(self.requests[0])

    def make(self):
        return Pool([np.frombuffer(request, np.uint8) for request in self.requests], DataType.BYTES)


async def loaded(address, *, requests=20, window=8, connections=1, timeout_s=None, access=None, size=10):
    spec = OipGrpcSpec(parse_address(f"oip+grpc://{address}/m"), access or Access(), (), connections, timeout_s)
    job = Job(spec, Inputs(size), window, None, requests, 0.0, timeout_s, 5.0, None, 1.0, 2.0)
    return await run(job, hooks=Hooks(on_interval=lambda _: None))


async def against(answer, settings=None, **options):
    """A run against a server; the record and the server's peers."""
    async with asyncio.timeout(20), serving(answer, settings) as (address, peers):
        return await loaded(address, **options), peers


def good(peer, stream):
    peer.answer(stream, ANSWER)


def test_requests_are_what_was_prepared():
    """With the headers that were asked for; the host is one of HTTP/2's own."""
    access = Access((("host", "model.example.com"), ("authorization", "Bearer x"), ("user-agent", "mine")))
    record, (peer,) = uvloop.run(against(good, access=access))
    assert record.outcomes[Outcome.COMPLETED] == record.sent == 20
    assert sorted(body for _, body in peer.asked.values()) == sorted(Inputs().requests[i % 3] for i in range(20))
    for headers, _ in peer.asked.values():
        fields = dict(headers)
        assert (fields[":path"], fields[":authority"]) == (METHOD, "model.example.com")
        assert fields["authorization"] == "Bearer x"
        assert [value for name, value in headers if name == "user-agent"] == ["mine"]
        assert "host" not in fields


def test_several_connections_take_turns():
    """Each has its share."""
    record, peers = uvloop.run(against(good, connections=4))
    assert record.outcomes[Outcome.COMPLETED] == 20
    assert [len(peer.asked) for peer in peers] == [5, 5, 5, 5]


def test_of_connections_that_were_not_needed_nothing_is_said(caplog):
    """That they are closed at the end is no trouble."""
    record, _ = uvloop.run(against(good, connections=4, requests=1))
    assert record.outcomes[Outcome.COMPLETED] == record.sent == 1
    assert caplog.messages == []


@pytest.mark.parametrize(
    ("settings", "size"), [({Codes.MAX_CONCURRENT_STREAMS: 2}, 30_000), ({Codes.INITIAL_WINDOW_SIZE: 7}, 3_000)]
)
def test_a_server_that_takes_little_at_a_time(settings, size):
    """The others wait until there is room."""
    record, _ = uvloop.run(against(good, settings, size=size))
    assert record.outcomes[Outcome.COMPLETED] == record.sent == 20


@pytest.fixture
def no_pause_ends(monkeypatch):
    """A pause before an attempt to connect would never end."""
    monkeypatch.setattr("loadgen.targets.dialer.FIRST_PAUSE_S", 3600.0)


@pytest.mark.usefixtures("no_pause_ends")
def test_a_server_that_leaves_now_and_then():
    """As proxies do after a number of calls: calls that it has not read are made again elsewhere; none fails."""

    def answer(peer, stream):
        peer.answer(stream, ANSWER)
        if stream == 5:
            peer.leave(stream)

    record, peers = uvloop.run(against(answer))
    assert record.outcomes[Outcome.COMPLETED] == record.sent == 20
    assert record.failures == {}
    assert len(peers) >= 6
    # Those that a server was not told of before it left were not resent.
    assert record.resent >= 1


@pytest.mark.parametrize("times", [1, 2])
def test_a_server_that_refuses_calls(times):
    """Each is made again at once, on whatever connection, and fails where it is refused again."""
    refused = 0

    def answer(peer, stream):
        nonlocal refused
        if refused < times:
            refused += 1
            peer.h2.reset_stream(stream, 7)
        else:
            peer.answer(stream, ANSWER)

    record, _ = uvloop.run(against(answer, window=1))
    assert record.resent == 1
    assert record.failures == ({} if times == 1 else {"the server gave the call up: REFUSED_STREAM": 1})
    assert record.outcomes[Outcome.COMPLETED] == 21 - times


def test_a_server_that_ends_the_connection_for_a_reason():
    """What was under way failed for that reason; the others get a new connection."""

    def answer(peer, stream):
        if stream == 1:
            peer.answer(stream, ANSWER)
        else:
            peer.leave(stream, 11, b"calm down")

    record, _ = uvloop.run(against(answer, window=2))
    ((reason, count),) = record.failures.items()
    assert reason == "the server ended the connection: ENHANCE_YOUR_CALM calm down"
    assert count == record.outcomes[Outcome.FAILED] > 0
    assert record.outcomes[Outcome.COMPLETED] + count == record.sent == 20


async def against_one_that_begins(begin, **options):
    """A run against a server of good answers that first does something else with a connection; as `against`."""
    peers = []

    async def serve(reader, writer):
        peer = Peer()
        peers.append(peer)
        try:
            await begin(len(peers), peer, reader, writer)
            writer.write(peer.said())
            while data := await reader.read(1 << 16):
                if not peer.leaving:
                    for stream in peer.receive(data):
                        good(peer, stream)
                    writer.write(peer.said())
        except ConnectionError:
            pass
        finally:
            writer.close()

    async with asyncio.timeout(20), await asyncio.start_server(serve, "127.0.0.1", 0) as server:
        return await loaded(f"127.0.0.1:{server.sockets[0].getsockname()[1]}", **options), peers


async def first_calls(peer, reader, writer):
    """The streams of the first calls that are heard; ConnectionError when there are none."""
    writer.write(peer.said())
    while data := await reader.read(1 << 16):
        if streams := peer.receive(data):
            return streams
        writer.write(peer.said())
    raise ConnectionError


@pytest.mark.usefixtures("no_pause_ends")
def test_a_server_that_leaves_before_it_answers():
    """The connection may still be of use, and so it is replaced at once."""

    async def main():
        replaced = asyncio.Event()

        async def begin(number, peer, reader, writer):
            if number > 1:
                replaced.set()
                return
            streams = await first_calls(peer, reader, writer)
            good(peer, streams[0])
            peer.leaving = True
            writer.write(GOAWAY + bytes((0, 0, 0, streams[0])) + bytes(4))  # not with h2, which says nothing after it
            await replaced.wait()

        return await against_one_that_begins(begin)

    record, peers = uvloop.run(main())
    assert record.outcomes[Outcome.COMPLETED] == record.sent == 20
    assert record.failures == {}
    assert len(peers) == 2


def leaving(times, code, waits):
    """Leave the first connections before any call, when the client has heard that it may begin them or before."""

    async def begin(number, peer, reader, writer):
        if number > times:
            return
        if waits:
            writer.write(peer.said())
            await reader.read(1 << 16)
        peer.leave(0, code)

    return begin


LEAVING = pytest.mark.parametrize(
    ("code", "waits"), [(0, False), (0, True), (11, False)], ids=["at once", "a little later", "for a reason"]
)


@LEAVING
@pytest.mark.usefixtures("no_pause_ends")
def test_a_server_that_takes_no_calls_is_not_stormed(code, waits):
    """There is a pause before the next connection, as there is at a server that is away."""
    record, peers = uvloop.run(
        against_one_that_begins(leaving(10**9, code, waits), requests=4, window=4, timeout_s=0.05)
    )
    assert record.outcomes[Outcome.TIMED_OUT] == record.sent == 4
    assert len(peers) == 1


@pytest.mark.usefixtures("no_pause_ends")
def test_a_server_that_takes_calls_and_hangs_up_is_not_stormed():
    """Nor does it count as of use that it listens."""

    async def begin(_, peer, reader, writer):
        await first_calls(peer, reader, writer)
        raise ConnectionError

    record, peers = uvloop.run(against_one_that_begins(begin, requests=4, window=1, timeout_s=0.05))
    assert record.outcomes[Outcome.FAILED] + record.outcomes[Outcome.TIMED_OUT] == record.sent == 4
    assert len(peers) == 1


@LEAVING
def test_a_server_that_takes_no_calls_for_a_while(code, waits, monkeypatch):
    """One connection at a time is tried; when one answers, there are soon as many as are wanted."""
    monkeypatch.setattr("loadgen.targets.dialer.FIRST_PAUSE_S", 0.001)
    record, peers = uvloop.run(against_one_that_begins(leaving(9, code, waits), connections=4))
    assert record.outcomes[Outcome.COMPLETED] == record.sent == 20
    assert record.failures == {}
    assert 10 <= len(peers) <= 13


def test_answers_that_are_none():
    """Errors, and what is no message of the protocol."""

    def answer(peer, stream):
        if stream % 4 == 1:
            peer.answer(stream, b"", [("grpc-status", "8"), ("grpc-message", "busy")])
        else:
            peer.answer(stream, prefixed(b"\xff"))

    record, _ = uvloop.run(against(answer))
    assert record.failures == {"RESOURCE_EXHAUSTED: busy": 10, "the answer is not a ModelInferResponse": 10}
    assert record.outcomes[Outcome.FAILED] == 20


def test_what_is_never_answered_timed_out_and_is_given_up(monkeypatch):
    """The server hears of it, and has room for others."""
    monkeypatch.setattr("loadgen.targets.oip.grpc_target.BEYOND_TIMEOUT_S", 0.0)
    monkeypatch.setattr("loadgen.targets.oip.grpc_target.EXPIRE_EVERY_S", 0.01)
    settings = {Codes.MAX_CONCURRENT_STREAMS: 2}
    record, (peer,) = uvloop.run(against(lambda *_: None, settings, window=4, timeout_s=0.05))
    assert record.outcomes[Outcome.TIMED_OUT] == record.sent == 20
    assert record.failures == {}
    resets = [event for event in peer.events if isinstance(event, h2.events.StreamReset)]
    assert len(peer.asked) <= 12, "half of them wait for room in vain, and are not asked for when there is some"
    assert len(peer.asked) - 2 <= len(resets) <= len(peer.asked)


@pytest.mark.parametrize(
    ("first", "reason"),
    [
        (b"", "the connection was closed before it could be used"),
        (b"HTTP/1.1 400 Bad Request\r\n\r\n", "what answers there does not speak HTTP/2"),
    ],
)
def test_what_is_no_server_of_the_kind_is_said_before_any_load(first, reason):
    """In one line."""

    async def main():
        async def serve(reader, writer):
            await reader.read(100)
            writer.write(first)
            writer.close()

        async with asyncio.timeout(20), await asyncio.start_server(serve, "127.0.0.1", 0) as server:
            await loaded(f"127.0.0.1:{server.sockets[0].getsockname()[1]}")

    with pytest.raises(TargetError, match=reason):
        uvloop.run(main())


def test_nobody_is_there():
    """It is said so."""
    with pytest.raises(TargetError, match=r"cannot be reached: .*refused"):
        uvloop.run(loaded("127.0.0.1:1"))
