"""Calls over an HTTP/2 connection, with a server as another library has it; no sockets."""

import struct

import h2.events
import h2.settings
import pytest
from h2_server import HEAD, OK, Peer
from http2_client import HEADERS, called, connected, written
from hypothesis import given, settings
from hypothesis import strategies as st

from loadgen.targets import http2
from loadgen.targets.http2 import Answer, Http2Connection
from loadgen.targets.oip.messages import prefixed

Codes = h2.settings.SettingCodes


def exchanged(connection, peer, cuts=None):
    """Answer every call with its own bytes until both sides are silent; returns the answers."""
    answers = []
    while data := written(connection):
        for stream in peer.receive(data):
            peer.answer(stream, peer.asked[stream][1])
        said = peer.said()
        sizes = cuts or [len(said) or 1]
        turn = 0
        while said:
            size = sizes[turn % len(sizes)]
            answers += connection.received(said[:size])
            said, turn = said[size:], turn + 1
    return answers


@settings(deadline=None)
@given(
    sizes=st.lists(st.sampled_from([0, 1, 100, 16_378, 16_379, 16_380, 70_000, 200_000]), min_size=1, max_size=8),
    cuts=st.lists(st.integers(1, 40_000), min_size=1, max_size=6),
    window=st.sampled_from([1, 1000, 65_535, 1 << 20]),
    frame=st.sampled_from([16_384, 1 << 20]),
    table=st.sampled_from([0, 60, 4096, 1 << 20]),
)
def test_every_call_is_answered_with_its_own_bytes(sizes, cuts, window, frame, table):
    """Whatever the windows, frames and tables of the server, and however what it says is cut into pieces."""
    if window == 1:
        sizes = [min(size, 100) for size in sizes]  # a round trip for each byte
    options = {Codes.INITIAL_WINDOW_SIZE: window, Codes.MAX_FRAME_SIZE: frame, Codes.HEADER_TABLE_SIZE: table}
    connection, peer = connected(settings=options)
    for key, size in enumerate(sizes):
        connection.call(key, prefixed(bytes([key]) * size), 0)
    answers = exchanged(connection, peer, cuts)
    assert sorted(answers) == [Answer(key, bytes([key]) * size) for key, size in enumerate(sizes)]
    assert all(headers == HEADERS for headers, _ in peer.asked.values())
    assert connection.keys == []
    assert not connection.broken


def test_headers_that_both_know_are_a_few_bytes():
    """From the second call on."""
    connection, peer = connected()
    connection.call(0, prefixed(b"x"), 0)
    first = written(connection)
    connection.call(1, prefixed(b"x"), 0)
    second = written(connection)
    assert len(second) == 9 + len(HEADERS) + 9 + 6 < len(first)
    assert [peer.asked[stream] for stream in peer.receive(first + second)] == [(HEADERS, prefixed(b"x"))] * 2


def test_headers_longer_than_a_frame():
    """Both ways, in parts."""
    long = ("x-long", "z" * 40_000)
    connection, peer = Http2Connection([*HEADERS, long]), Peer()
    connection.received(peer.said())
    stream = called(connection, peer)
    assert peer.asked[stream][0] == [*HEADERS, long]
    peer.answer(stream, prefixed(b"yes"), [*OK, long])
    assert connection.received(peer.said()) == [Answer(7, b"yes")]


@pytest.mark.parametrize(
    ("trailers", "reason"),
    [
        ([("grpc-status", "3"), ("grpc-message", "not%20that\n one")], "INVALID_ARGUMENT: not that one"),
        ([("grpc-status", "14")], "UNAVAILABLE: "),
        ([("grpc-status", "99"), ("grpc-message", "new")], "status 99: new"),
        ([("grpc-status", "x")], "status x: "),
        ([("other", "0")], "the answer has no status"),
    ],
)
def test_a_call_that_fails_says_why(trailers, reason):
    """With its answer, and without one."""
    connection, peer = connected()
    for message in (prefixed(b"answer"), b""):
        peer.answer(called(connection, peer), message, trailers)
        assert connection.received(peer.said()) == [Answer(7, None, reason)]
    stream = called(connection, peer)
    peer.h2.send_headers(stream, HEAD + trailers, end_stream=True)
    assert connection.received(peer.said()) == [Answer(7, None, reason)]


@pytest.mark.parametrize(
    "body",
    [b"", b"\0\0\0\0", prefixed(b"one") + prefixed(b"two"), b"\1" + prefixed(b"packed")[1:], prefixed(b"cut")[:-1]],
    ids=["nothing", "no length", "two", "compressed", "cut short"],
)
def test_an_answer_is_one_plain_message(body):
    """Anything else has failed."""
    connection, peer = connected()
    peer.answer(called(connection, peer), body)
    assert connection.received(peer.said()) == [Answer(7, None, "the answer is not one plain message")]


def test_an_answer_of_something_else_than_grpc():
    """A proxy's page, say."""
    connection, peer = connected()
    stream = called(connection, peer)
    peer.h2.send_headers(stream, [(":status", "503"), ("content-type", "text/html")])
    peer.h2.send_data(stream, b"<html>", end_stream=True)
    assert connection.received(peer.said()) == [Answer(7, None, "HTTP status 503")]


def test_what_comes_before_an_answer_and_around_it():
    """Headers for the time being, padding, questions whether the client is there."""
    connection, peer = connected()
    stream = called(connection, peer)
    peer.h2.send_headers(stream, [(":status", "103")])
    peer.h2.send_headers(stream, HEAD)
    peer.h2.ping(b"12345678")
    peer.h2.send_data(stream, prefixed(b"yes"), pad_length=20)
    peer.h2.send_headers(stream, OK, end_stream=True)
    assert connection.received(peer.said()) == [Answer(7, b"yes")]
    peer.receive(written(connection))
    assert [event.ping_data for event in peer.events if isinstance(event, h2.events.PingAckReceived)] == [b"12345678"]


def test_a_call_that_the_server_gives_up():
    """It has failed, others go on."""
    connection, peer = connected()
    first, second = called(connection, peer, key=1), called(connection, peer, key=2)
    peer.h2.reset_stream(first, 8)
    peer.answer(second, prefixed(b"yes"))
    assert connection.received(peer.said()) == [
        Answer(1, None, "the server gave the call up: CANCEL"),
        Answer(2, b"yes"),
    ]


def test_a_call_that_the_server_refuses_to_look_at():
    """It can be made again, once: refused again it has failed, and so has one whose answer had begun."""
    connection, peer = connected()
    refused, begun = called(connection, peer, key=1), called(connection, peer, key=2)
    peer.h2.reset_stream(refused, 7)
    peer.h2.send_headers(begun, HEAD)
    peer.h2.reset_stream(begun, 7)
    assert connection.received(peer.said()) == [Answer(2, None, "the server gave the call up: REFUSED_STREAM")]
    assert connection.unseen == [(1, 0)]
    connection.unseen = []
    connection.call_again(1, prefixed(b"question"), 0)
    (again,) = peer.receive(written(connection))
    peer.h2.reset_stream(again, 7)
    assert connection.received(peer.said()) == [Answer(1, None, "the server gave the call up: REFUSED_STREAM")]
    assert connection.unseen == []


def test_of_calls_that_were_made_again_those_under_way_are_remembered():
    """However many there were."""
    connection, peer = connected()
    for key in range(50):
        connection.call_again(key, prefixed(b"question"), 0)
        (stream,) = peer.receive(written(connection))
        peer.answer(stream, prefixed(b"yes"))
        assert connection.received(peer.said()) == [Answer(key, b"yes")]
    assert len(connection._made_again) == 1


def test_a_call_that_nobody_waits_for_is_given_up():
    """The server is told, and what it still says of it is no answer."""
    connection, peer = connected()
    connection.call(1, prefixed(b"old"), 100)
    connection.call(2, prefixed(b"young"), 101)
    old, young = peer.receive(written(connection))
    peer.answer(old, prefixed(b"late"))
    peer.answer(young, prefixed(b"in time"))
    connection.expire(100)
    assert connection.received(peer.said()) == [Answer(2, b"in time")]
    assert written(connection) == struct.pack(">HBBBII", 0, 4, http2.RST_STREAM, 0, old, http2.CANCEL)


def test_an_answer_before_all_was_asked():
    """The rest is not sent any more."""
    connection, peer = connected()
    connection.call(1, prefixed(bytes(100_000)), 0)
    peer.h2.receive_data(written(connection))  # takes no notice of it, so that windows stay closed
    peer.h2.send_headers(1, [*HEAD, ("grpc-status", "8"), ("grpc-message", "too large")], end_stream=True)
    assert connection.received(peer.said()) == [Answer(1, None, "RESOURCE_EXHAUSTED: too large")]
    (reset,) = (e for e in peer.h2.receive_data(written(connection)) if isinstance(e, h2.events.StreamReset))
    assert reset.error_code == http2.CANCEL
    peer.h2.increment_flow_control_window(1 << 20)
    connection.received(peer.said())
    assert written(connection) == b""


def test_a_window_that_shrinks_below_nothing():
    """What has been sent counts against it."""
    connection, peer = connected()
    connection.call(1, prefixed(bytes(100_000)), 0)
    peer.h2.receive_data(written(connection))
    peer.h2.update_settings({Codes.INITIAL_WINDOW_SIZE: 10})
    peer.h2.increment_flow_control_window(1 << 20)
    connection.received(peer.said())
    assert not any(isinstance(e, h2.events.DataReceived) for e in peer.h2.receive_data(written(connection)))
    peer.h2.increment_flow_control_window(1 << 20, 1)
    connection.received(peer.said())
    assert any(isinstance(e, h2.events.StreamEnded) for e in peer.h2.receive_data(written(connection)))


def test_no_more_calls_than_the_server_takes():
    """There is room again when one has ended."""
    connection, peer = connected(settings={Codes.MAX_CONCURRENT_STREAMS: 2})
    streams = [called(connection, peer, key=key) for key in range(2)]
    assert not connection.room
    assert connection.usable
    peer.answer(streams[0], prefixed(b"yes"))
    connection.received(peer.said())
    assert connection.room


def test_a_server_that_leaves():
    """Calls that it saw end, those that it did not can be made again, and there are no new ones."""
    connection, peer = connected()
    stream = called(connection, peer, key=1)
    connection.call(2, prefixed(b"unseen"), 5)
    peer.leave(stream)
    assert connection.received(peer.said()) == []
    assert (connection.unseen, connection.keys, connection.usable, connection.broken) == ([(2, 5)], [1], False, "")


def test_a_server_that_ends_the_connection_says_why():
    """In one line, after the answers that came before."""
    connection, peer = connected()
    peer.answer(called(connection, peer), prefixed(b"yes"))
    peer.leave(None, 11, b"too_many_pings")
    assert connection.received(peer.said()) == [Answer(7, b"yes")]
    assert connection.broken == "the server ended the connection: ENHANCE_YOUR_CALM too_many_pings"


def test_long_answers_never_wait_for_the_window(monkeypatch):
    """The server may always send on."""
    monkeypatch.setattr(http2, "_WINDOW_LEFT", 2**31 - 1 - 50_000)
    connection, peer = connected()
    for _ in range(3):
        peer.answer(called(connection, peer), prefixed(bytes(60_000)))
        assert connection.received(peer.said()) == [Answer(7, bytes(60_000))]
        peer.receive(written(connection))
        assert peer.h2.outbound_flow_control_window > 2**31 - 1 - 60_000


def test_what_a_server_says_of_a_call_is_one_short_line():
    """However it says it."""
    connection, peer = connected()
    long = "9" * 5000
    peer.answer(called(connection, peer), prefixed(b"x"), [("grpc-status", long), ("grpc-message", long)])
    (answer,) = connection.received(peer.said())
    assert answer.reason == f"status {'9' * 200}: {'9' * 200}"
    stream = called(connection, peer)
    peer.h2.send_headers(stream, [(":status", long)], end_stream=True)
    (answer,) = connection.received(peer.said())
    assert answer.reason == f"HTTP status {'9' * 200}"
