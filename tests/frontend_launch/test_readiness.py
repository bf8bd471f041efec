"""When a container counts as ready."""

import asyncio
import gc
import socket
import struct

import pytest

from frontend_launch.launch.readiness import answers


async def asked(reply):
    """Ask a service that hangs up after its reply, with a reset where that is None."""

    async def serve(reader, writer):
        await reader.read(1)
        if reply is None:
            now = struct.pack("ii", 1, 0)
            writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, now)
            writer.transport.abort()
        else:
            writer.write(reply)
            writer.close()

    async with await asyncio.start_server(serve, "127.0.0.1", 0) as server:
        return await answers(server.sockets[0].getsockname()[1], b"PING\r\n", b"+PONG")


@pytest.mark.parametrize(
    ("reply", "ready"), [(b"+PONG\r\n", True), (b"-LOADING\r\n", False), (b"", False), (None, False)]
)
def test_only_its_answer_makes_it_ready(reply, ready):
    """Not another one, not the end of the connection."""
    assert asyncio.run(asked(reply)) is ready


def test_a_port_that_nobody_listens_on():
    """Is not ready."""
    with socket.create_server(("127.0.0.1", 0)) as closed:
        port = closed.getsockname()[1]
    assert not asyncio.run(answers(port, b"PING\r\n", b"+PONG"))


def test_a_reset_is_reported_once():
    """No future keeps an exception for the garbage collector, which would log it at any time, even after the end."""

    async def untold():
        gc.disable()
        try:
            assert not await asked(None)
            futures = [each for each in gc.get_objects() if isinstance(each, asyncio.Future) and each.done()]
            return [each for each in futures if each._log_traceback]
        finally:
            gc.enable()

    assert asyncio.run(untold()) == []
