"""Frames of HTTP/2 one by one: those that end a connection or a call, those that a server may send, and any."""

import contextlib
import struct
import sys

import pytest
from http2_client import HEADERS, called, connected, written
from hypothesis import given, settings
from hypothesis import strategies as st

from loadgen.targets import http2
from loadgen.targets.http2 import (
    ACK,
    CONTINUATION,
    DATA,
    END_HEADERS,
    END_STREAM,
    GOAWAY,
    PADDED,
    PING,
    PRIORITISED,
    PRIORITY,
    RST_STREAM,
    WINDOW_UPDATE,
    Answer,
    Http2Connection,
)
from loadgen.targets.oip.messages import prefixed

LARGEST = 2**31 - 1


@pytest.mark.parametrize(
    ("said", "reason"),
    [
        (b"HTTP/1.1 400 Bad Request\r\n\r\n", "what answers there does not speak HTTP/2"),
        (
            b"\0\0\0\4\0\0\0\0\0" + b"\0\x40\1\0\0\0\0\0\1",
            "the server sent a frame of 16385 bytes, which may have 16384",
        ),
        (b"\0\0\0\4\0\0\0\0\0" + b"\0\0\1\7\0\0\0\0\0x", "the server sent a frame of kind 7 with 1 bytes: too few"),
        (b"\0\0\0\4\0\0\0\0\0" + b"\0\0\1\1\4\0\0\0\1\xff", "the server sent headers that cannot be read: "),
        (b"\0\0\0\4\0\0\0\0\0" + b"\0\0\0\1\0\0\0\0\1" * 2, "the server did not continue its headers"),
        (b"\0\0\0\4\0\0\0\0\0" + b"\0\0\0\x09\0\0\0\0\1", "the server continued headers that did not begin"),
        (b"\0\0\0\4\0\0\0\0\0" + b"\0\0\4\5\4\0\0\0\1\0\0\0\2", "the server pushes, which it was asked not to do"),
        (b"\0\0\0\4\0\0\0\0\0" + b"\0\0\0\1\0\0\0\0\1" + b"\0\x40\0\x09\0\0\0\0\1" + bytes(16384), ""),
    ],
)
def test_what_breaks_the_rules_ends_the_connection(said, reason):
    """In one line."""
    connection = Http2Connection(HEADERS)
    assert connection.received(said) == []
    assert connection.broken.startswith(reason)
    assert bool(connection.broken) == bool(reason)


def framed(kind, flags=0, stream=0, payload=b""):
    """A frame of any kind."""
    return struct.pack(">HBBBI", len(payload) >> 8, len(payload) & 0xFF, kind, flags, stream) + payload


def number(value):
    return struct.pack(">I", value)


def setting(name, value):
    return framed(http2.SETTINGS, 0, 0, struct.pack(">HI", name, value))


def under_way(*sizes):
    """A connection of which the server has said nothing but that it is there, with calls of these sizes."""
    connection = Http2Connection(HEADERS)
    connection.received(framed(http2.SETTINGS))
    for key, size in enumerate(sizes):
        connection.call(key, prefixed(bytes(size)), 0)
    return connection


@pytest.mark.parametrize(
    ("said", "reason"),
    [
        (setting(http2.ENABLE_PUSH, 1), "the server set ENABLE_PUSH to 1, outside 0 to 0"),
        (setting(http2.MAX_FRAME_SIZE, 0), "the server set MAX_FRAME_SIZE to 0, outside 16384 to 16777215"),
        (setting(http2.MAX_FRAME_SIZE, 16_383), "the server set MAX_FRAME_SIZE to 16383, outside 16384 to 16777215"),
        (setting(http2.MAX_FRAME_SIZE, 1 << 24), "the server set MAX_FRAME_SIZE to 16777216, outside"),
        (setting(http2.INITIAL_WINDOW_SIZE, 1 << 31), "the server set INITIAL_WINDOW_SIZE to 2147483648, outside"),
        (framed(http2.SETTINGS, 0, 0, bytes(7)), "the server sent a frame of kind 4 with 7 bytes: too few"),
        (framed(http2.SETTINGS, ACK, 0, bytes(6)), "the server confirmed settings and sent others in one frame"),
        (framed(http2.SETTINGS, 0, 1), "the server sent a frame of kind 4 on stream 1, which must be on 0"),
        (framed(http2.SETTINGS, ACK, 1), "the server sent a frame of kind 4 on stream 1, which must be on 0"),
        (framed(PING, 0, 1, bytes(8)), "the server sent a frame of kind 6 on stream 1, which must be on 0"),
        (framed(PING, 0, 0, bytes(7)), "the server sent a frame of kind 6 with 7 bytes, which must have 8"),
        (framed(PING, ACK, 0, bytes(9)), "the server sent a frame of kind 6 with 9 bytes, which must have 8"),
        (framed(GOAWAY, 0, 1, bytes(8)), "the server sent a frame of kind 7 on stream 1, which must be on 0"),
        (framed(GOAWAY, 0, 0, bytes(7)), "the server sent a frame of kind 7 with 7 bytes: too few"),
        (framed(RST_STREAM, 0, 0, bytes(4)), "the server sent a frame of kind 3 on stream 0, which no call began"),
        (framed(RST_STREAM, 0, 1, bytes(5)), "the server sent a frame of kind 3 with 5 bytes, which must have 4"),
        (framed(RST_STREAM, 0, 3, bytes(4)), "the server sent a frame of kind 3 on stream 3, which no call began"),
        (framed(PRIORITY, 0, 0, bytes(5)), "the server sent a frame of kind 2 on stream 0, which no call began"),
        (framed(PRIORITY, 0, 1, bytes(4)), "the server sent a frame of kind 2 with 4 bytes, which must have 5"),
        (framed(WINDOW_UPDATE, 0, 1, bytes(3)), "the server sent a frame of kind 8 with 3 bytes, which must have 4"),
        (framed(WINDOW_UPDATE, 0, 2, number(1)), "the server sent a frame of kind 8 on stream 2, which no call began"),
        (framed(WINDOW_UPDATE, 0, 0, number(0)), "the server opened the connection's window of 65527 bytes by 0"),
        (
            framed(WINDOW_UPDATE, 0, 0, number(LARGEST - 65_526)),
            "the server opened the connection's window of 65527 bytes by 2147418121",
        ),
        (
            framed(WINDOW_UPDATE, 0, 1, number(1000)) + setting(http2.INITIAL_WINDOW_SIZE, LARGEST),
            "the server opened a call's window of 66527 bytes by 2147418112",
        ),
        (framed(DATA, END_STREAM, 0), "the server sent a frame of kind 0 on stream 0, which no call began"),
        (framed(DATA, END_STREAM, 3), "the server sent a frame of kind 0 on stream 3, which no call began"),
        (framed(http2.HEADERS, END_HEADERS, 0), "the server sent a frame of kind 1 on stream 0, which no call began"),
        (framed(http2.HEADERS, END_HEADERS, 2), "the server sent a frame of kind 1 on stream 2, which no call began"),
        (framed(CONTINUATION, END_HEADERS, 0), "the server continued headers that did not begin"),
        (framed(DATA, PADDED, 1), "the server sent a frame of kind 0 with 0 bytes: too few"),
        (framed(DATA, PADDED, 1, b"\4abc"), "the server padded a frame of 4 bytes with 4"),
        (framed(http2.HEADERS, PADDED | END_HEADERS, 1, b"\1"), "the server padded a frame of 1 bytes with 1"),
        (
            framed(http2.HEADERS, PADDED | PRIORITISED | END_HEADERS, 1, b"\1" + bytes(5)),
            "the server cut the priority of headers short",
        ),
        (framed(http2.HEADERS, 0, 1) + framed(12, 0, 1), "the server did not continue its headers"),
        (
            framed(http2.HEADERS, 0, 1) + framed(CONTINUATION, 0, 1) * 16,
            "the server sent headers in more than 16 frames",
        ),
        (
            framed(GOAWAY, 0, 0, bytes(4) + number(2) + b"two\nlines"),
            "the server ended the connection: INTERNAL_ERROR two lines",
        ),
    ],
)
def test_what_a_server_must_not_send_ends_the_connection(said, reason):
    """In one line that says what it was (RFC 9113, 4 to 6)."""
    connection = under_way(3)
    assert connection.received(said) == []
    assert connection.broken.startswith(reason)
    assert len(connection.broken.splitlines()) == 1


def test_the_first_frame_has_the_servers_settings():
    """To confirm those of the client is not enough."""
    connection = Http2Connection(HEADERS)
    connection.received(framed(http2.SETTINGS, ACK))
    assert (connection.ready, connection.broken) == (False, "what answers there does not speak HTTP/2")


@pytest.mark.parametrize(
    "said",
    [
        setting(http2.MAX_FRAME_SIZE, 1 << 14) + setting(http2.MAX_FRAME_SIZE, (1 << 24) - 1),
        setting(http2.INITIAL_WINDOW_SIZE, 0) + setting(http2.INITIAL_WINDOW_SIZE, LARGEST),
        setting(http2.ENABLE_PUSH, 0) + setting(http2.HEADER_TABLE_SIZE, 2**32 - 1) + setting(99, 2**32 - 1),
        framed(http2.SETTINGS, ACK),
        framed(WINDOW_UPDATE, 0, 0, number(LARGEST - 65_527)),
        framed(WINDOW_UPDATE, 0, 3, number(LARGEST - 65_527)),
        framed(WINDOW_UPDATE, 0, 0, number(1 << 31 | 1)),
        framed(PRIORITY, 0, 8, bytes(5)),
        framed(10, 0xFF, 0, b"x") + framed(12, 0xFF, 1, b"x") + framed(255, 0xFF, 77, b"x"),
        framed(DATA, PADDED, 3, b"\2ab"),
        framed(http2.HEADERS, 0, 3, b"\x88") + framed(CONTINUATION, 0, 3) * 14 + framed(CONTINUATION, END_HEADERS, 3),
        framed(http2.HEADERS, END_HEADERS, 1, b"\x88") + framed(DATA, END_STREAM, 1, b"late"),
        framed(RST_STREAM, 0, 1, bytes(4)) + framed(WINDOW_UPDATE, 0, 1, number(LARGEST)),
    ],
)
def test_what_a_server_may_send(said):
    """Up to the last value that is allowed, and about calls that have ended (here that on stream 1)."""
    connection = under_way(3)
    connection.expire(0)
    connection.call(1, prefixed(bytes(3)), 1)
    assert connection.received(said) == []
    assert (connection.broken, connection.keys) == ("", [1])


@pytest.mark.parametrize(
    ("more", "code", "reason"),
    [
        (0, 1, "the server opened the call's window by nothing: PROTOCOL_ERROR"),
        (LARGEST, 3, "the server opened the call's window too far: FLOW_CONTROL_ERROR"),
    ],
)
def test_a_call_whose_window_the_server_gets_wrong(more, code, reason):
    """It has failed, of which the server is told; others go on."""
    connection = under_way(100_000, 3)
    written(connection)
    assert connection.received(framed(WINDOW_UPDATE, 0, 1, number(1))) == []
    assert connection.received(framed(WINDOW_UPDATE, 0, 1, number(more))) == [Answer(0, None, reason)]
    assert written(connection) == framed(RST_STREAM, 0, 1, number(code))
    assert (connection.broken, connection.keys) == ("", [1])
    connection.received(framed(WINDOW_UPDATE, 0, 0, number(1000)))
    assert written(connection) == framed(DATA, END_STREAM, 3, prefixed(bytes(3)))


def test_windows_as_large_as_can_be_are_filled_up_again():
    """By what was sent, though the server knows that nothing more comes."""
    connection = Http2Connection(HEADERS)
    connection.received(setting(http2.INITIAL_WINDOW_SIZE, LARGEST) + framed(WINDOW_UPDATE, 0, 0, number(LARGEST >> 1)))
    for key in range(3):
        connection.call(key, prefixed(bytes(100)), 0)
        connection.received(framed(WINDOW_UPDATE, 0, 2 * key + 1, number(105)))
        connection.received(framed(WINDOW_UPDATE, 0, 0, number(105)))
    assert (connection.broken, connection.keys) == ("", [0, 1, 2])


def test_an_answer_begins_with_a_status_of_http():
    """A temporary answer does not count."""
    connection, peer = connected()
    stream = called(connection, peer)
    peer.h2.send_headers(stream, [(":status", "103")])
    trailers = b"\0\x0bgrpc-status\x010"
    said = framed(DATA, 0, stream, prefixed(b"x")) + framed(http2.HEADERS, END_HEADERS | END_STREAM, stream, trailers)
    assert connection.received(peer.said() + said) == [Answer(7, None, "the answer has no HTTP status")]


def test_headers_that_are_remembered_have_a_bound():
    """A server may combine entries of the table as it likes."""
    connection = under_way(3)
    for first in range(0x81, 0x9D):
        for second in range(0x81, 0x9D):
            connection.received(framed(http2.HEADERS, END_HEADERS, 1, bytes((first, second))))
    assert not connection.broken
    assert len(connection._known) == http2._MOST_KNOWN


@contextlib.contextmanager
def steps_at_most(most):
    """The core may run this number of its lines."""
    left = most

    def step(frame, _event, _argument):
        nonlocal left
        if frame.f_code.co_filename != http2.__file__:
            return None
        left -= 1
        assert left > 0, "the core spins"
        return step

    before = sys.gettrace()
    sys.settrace(step)
    try:
        yield
    finally:
        sys.settrace(before)


values = st.sampled_from(
    [0, 1, 2, 100, 16_383, 16_384, 65_535, 100_000, 2**24 - 1, 2**24, LARGEST - 65_535, LARGEST, 2**31, 2**32 - 1]
)
lists_of_settings = st.lists(st.tuples(st.integers(0, 9), values), max_size=3)
kinds = st.integers(0, 12)
flags = st.one_of(st.sampled_from([0, END_STREAM, END_HEADERS, END_HEADERS | END_STREAM]), st.integers(0, 255))
streams = st.one_of(st.sampled_from([0, 1, 3, 5]), st.sampled_from([2, 7, 99, LARGEST, 2**31, 2**32 - 1]))
payloads = st.one_of(
    st.binary(max_size=40),
    values.map(number),
    st.just(bytes(8)),
    st.sampled_from([b"\x88", b"\x82\x84", b"\0\x0bgrpc-status\x010", prefixed(b"yes")]),
)
frames = st.one_of(
    st.builds(framed, kinds, flags, streams, payloads),
    st.builds(setting, st.integers(0, 9), values),
    lists_of_settings.map(lambda rows: b"".join(struct.pack(">HI", *row) for row in rows)).map(
        lambda payload: framed(http2.SETTINGS, 0, 0, payload)
    ),
    st.builds(framed, st.just(WINDOW_UPDATE), st.just(0), st.sampled_from([0, 1, 3, 5]), values.map(number)),
    st.builds(
        framed,
        st.sampled_from([DATA, http2.HEADERS, CONTINUATION, RST_STREAM]),
        flags,
        st.sampled_from([1, 3, 5]),
        payloads,
    ),
)


def data_sizes(data):
    """Of frames that the client wrote: the bytes of those of data."""
    at, sizes = 0, []
    while at < len(data):
        high, low, kind = struct.unpack_from(">HBB", data, at)
        size = high << 8 | low
        at += 9 + size
        if kind == DATA:
            sizes.append(size)
    assert at == len(data)
    return sizes


@settings(deadline=None)
@given(
    said=st.lists(frames, max_size=12),
    greeted=st.booleans(),
    cuts=st.lists(st.integers(1, 60), min_size=1, max_size=6),
    sizes=st.lists(st.sampled_from([3, 1000, 70_000, 200_000]), max_size=3),
)
def test_any_frames_are_taken(said, greeted, cuts, sizes):
    """In any order and any pieces, with any settings: no exception, no endless work, windows and frames in bounds."""
    connection = under_way(*sizes) if greeted else Http2Connection(HEADERS)
    written(connection)
    rest, turn = b"".join(said), 0
    answered: list[Answer] = []
    with steps_at_most(20_000):
        while rest and not connection.broken:
            cut = cuts[turn % len(cuts)]
            answered += connection.received(rest[:cut])
            rest, turn = rest[cut:], turn + 1
            if connection.room:
                connection.call(100 + turn, prefixed(bytes(70_000)), turn)
            windows = [connection._window, *(call.window for call in connection._calls.values())]
            assert max(windows) <= LARGEST
            assert connection._window >= 0
            assert 1 << 14 <= connection._frame_bytes < 1 << 24
            assert max(data_sizes(written(connection)), default=0) <= connection._frame_bytes
        connection.expire(LARGEST)
    assert connection.keys == []
    assert len({answer.key for answer in answered}) == len(answered)
    assert all(len(text.splitlines()) <= 1 for text in (connection.broken, *(answer.reason for answer in answered)))


@settings(deadline=None)
@given(st.binary(max_size=300))
def test_any_bytes_are_taken(noise):
    """They break the connection or mean nothing yet, and never raise."""
    connection, _ = connected()
    connection.call(1, prefixed(b"x"), 0)
    connection.received(noise)
