"""Reading a socket in bursts."""

import asyncio
import contextlib

import pytest
import uvloop
import zmq
from hypothesis import given
from hypothesis import strategies as st

from frontend_launch.frontends.reader import BURST, MAX_PARTS, PartsLeft, Receiver, RequestReceiver, SocketReader
from model_containers.data_types import Buffer


@contextlib.contextmanager
def pair():
    """Two connected sockets."""
    context = zmq.Context()
    reading, writing = context.socket(zmq.DEALER), context.socket(zmq.DEALER)
    reading.bind("inproc://pair")
    writing.connect("inproc://pair")
    try:
        yield reading, writing
    finally:
        context.destroy(linger=0)


async def until(condition):
    async with asyncio.timeout(10):
        while not condition():  # noqa: ASYNC110 - no event tells
            await asyncio.sleep(0)


async def turns_of_the_loop():
    """Let the loop look at its descriptors some times; inproc sockets have signalled by the time a send returns."""
    for _ in range(20):
        await asyncio.sleep(0)


def test_all_messages_are_read_in_order_whatever_a_handler_does():
    """A message whose handling fails does not hold up those behind it, nor those of later bursts."""
    seen, failed = [], []

    def handle(frames):
        seen.append(int(frames[0]))
        if seen[-1] % 7 == 3:
            raise ValueError("no")

    async def scenario():
        asyncio.get_running_loop().set_exception_handler(lambda _, context: failed.append(context["exception"]))
        with pair() as (reading, writing):
            reader = SocketReader(reading, handle)
            for number in range(3 * BURST):
                writing.send(b"%d" % number)
            await until(lambda: len(seen) == 3 * BURST)
            reader.close()

    uvloop.run(scenario())
    assert seen == list(range(3 * BURST))
    assert len(failed) == len([number for number in seen if number % 7 == 3])


def test_a_pause_costs_nothing_while_messages_keep_coming(monkeypatch):
    """The descriptor, which is never quieted, is not looked at."""
    turns, burst = [], SocketReader._burst

    def counted(reader):
        turns.append(1)
        burst(reader)

    monkeypatch.setattr(SocketReader, "_burst", counted)

    async def scenario():
        seen: list[list[Buffer]] = []
        with pair() as (reading, writing):
            reader = SocketReader(reading, seen.append)
            reader.pause()
            for _ in range(5):
                writing.send(b"x")
                await turns_of_the_loop()
            paused = len(turns)
            reader.resume()
            await until(lambda: len(seen) == 5)
            writing.send(b"x")
            await until(lambda: len(seen) == 6)
            reader.close()
        return paused

    assert uvloop.run(scenario()) <= 2


def test_what_a_send_has_hidden_is_seen_by_looking_again():
    """Any call on a socket may swallow the edge of its descriptor: nothing but the look tells of the message."""

    async def scenario():
        seen: list[list[Buffer]] = []
        with pair() as (reading, writing):
            reader = SocketReader(reading, seen.append)
            await turns_of_the_loop()
            writing.send(b"x")
            reading.getsockopt(zmq.EVENTS)  # as every send does: the edge is gone
            await turns_of_the_loop()
            hidden = len(seen)
            reader.check_again()
            await until(lambda: seen)
            reader.close()
        return hidden

    assert uvloop.run(scenario()) == 0


@pytest.mark.parametrize("how", ["pause", "close"])
def test_what_is_not_read_stays_where_it_is(how):
    """While reading is suspended, and for good once it is closed; that is not a pause."""
    seen = []

    async def scenario():
        with pair() as (reading, writing):
            reader = SocketReader(reading, lambda frames: seen.append(frames))
            await asyncio.sleep(0)
            getattr(reader, how)()
            assert reader.paused == (how == "pause")
            writing.send(b"1")
            for _ in range(10):
                await asyncio.sleep(0)
            assert seen == []
            reader.resume()
            for _ in range(10):
                await asyncio.sleep(0)
            if how == "pause":
                await until(lambda: seen)
                reader.close()
            assert len(seen) == (how == "pause")

    uvloop.run(scenario())


def request(number, payload):
    """A request behind its routing identity."""
    numbers = number.to_bytes(4, "little")
    return [b"\0iden", b"", b"\0\0\0\0", numbers, b"app", b"\2\0\0\0", b"\1\0\0\0", payload]


ODD = st.lists(st.sampled_from([b"", b"\0iden", b"1234", b"x" * 5000]), min_size=1, max_size=14).filter(
    lambda frames: len(frames) != 8
)


@given(st.lists(st.one_of(ODD, st.sampled_from([b"12345678", b"y" * 5000]))))
def test_no_request_is_lost_among_messages_that_are_none(messages):
    """Each comes out whole, in its order; nothing else looks like one."""
    sent = [request(n, part) if isinstance(part, bytes) else part for n, part in enumerate(messages)]
    received = []
    with pair() as (reading, writing):
        for frames in sent:
            writing.send_multipart(frames)
        receive = RequestReceiver(reading)
        with contextlib.suppress(zmq.Again):
            while True:
                received.append([bytes(frame) for frame in receive()])
    assert [frame for frames in received for frame in frames] == [frame for frames in sent for frame in frames]
    requests = [frames for frames in sent if len(frames) == 8]
    assert [frames for frames in received if len(frames) == 8 and frames in requests] == requests


@pytest.mark.parametrize("kind", [Receiver, RequestReceiver])
@pytest.mark.parametrize("parts", [MAX_PARTS - 1, MAX_PARTS, MAX_PARTS + 1, 2 * MAX_PARTS, 1000, 100 * MAX_PARTS])
def test_of_a_message_with_many_parts_the_first_are_handed_out(kind, parts):
    """The others are thrown away a few at a time, and the message behind them comes out whole."""
    with pair() as (reading, writing):
        receive, turns = kind(reading), 0
        received: list[list[bytes]] = []
        writing.send_multipart([b"x"] * parts)
        writing.send_multipart(request(1, b"1234"))
        while not received or received[-1] != request(1, b"1234"):
            try:
                received.append([bytes(frame) for frame in receive()])
            except PartsLeft:
                turns += 1
    (first, _) = received
    assert first == [b"x"] * len(first)
    assert min(parts, MAX_PARTS) <= len(first) <= min(parts, MAX_PARTS + 8)
    assert turns >= parts // MAX_PARTS - 3


def test_the_reader_gives_others_their_turn_while_it_throws_parts_away():
    """And goes on with the messages behind them."""

    async def scenario():
        seen: list[list[Buffer]] = []
        turns = 0
        with pair() as (reading, writing):
            writing.send_multipart([b"x"] * 4 * BURST * MAX_PARTS)
            writing.send_multipart([b"next"])
            reader = SocketReader(reading, seen.append)
            while len(seen) < 2:
                await asyncio.sleep(0)
                turns += 1
            reader.close()
        return seen, turns

    seen, turns = uvloop.run(scenario())
    assert (len(seen[0]), seen[1]) == (MAX_PARTS, [b"next"])
    assert turns >= 3
