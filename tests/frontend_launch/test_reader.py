"""Reading a socket in bursts."""

import asyncio
import contextlib

import pytest
import uvloop
import zmq

from frontend_launch.frontends.reader import BURST, SocketReader


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
        while not condition():  # noqa: ASYNC110 - nobody tells
            await asyncio.sleep(0)


def test_all_messages_are_read_in_order_whatever_a_handler_does():
    """A message whose handling fails does not hold up those behind it, nor those of later bursts."""
    seen, failed = [], []

    def handle(frames):
        seen.append(int(frames[0]))
        if seen[-1] % 7 == 3:
            raise ValueError("no")

    async def story():
        asyncio.get_running_loop().set_exception_handler(lambda _, context: failed.append(context["exception"]))
        with pair() as (reading, writing):
            reader = SocketReader(reading, handle)
            for number in range(3 * BURST):
                writing.send(b"%d" % number)
            await until(lambda: len(seen) == 3 * BURST)
            reader.close()

    uvloop.run(story())
    assert seen == list(range(3 * BURST))
    assert len(failed) == len([number for number in seen if number % 7 == 3])


@pytest.mark.parametrize("how", ["pause", "close"])
def test_what_is_not_read_stays_where_it_is(how):
    """While reading is suspended, and for good once it is closed; that is not a pause."""
    seen = []

    async def story():
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

    uvloop.run(story())
