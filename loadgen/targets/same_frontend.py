"""Whether two addresses lead to one query frontend, by the client ids that it hands out."""

from __future__ import annotations

import asyncio

import zmq
import zmq.asyncio

from frontend_launch import wire
from frontend_launch.frontends.clients import IDS
from model_containers.errors import WireError

TIMEOUT_S = 2.0
"""Patience for one handshake, with a frontend on this machine."""


async def same_frontend(one: str, other: str) -> bool:
    """Whether two response addresses are those of one query frontend.

    A frontend's ids follow each other at one distance, which is odd: of this project a random one, of 2017 it is 1. So
    the id that the other address hands out between two of the first one's lies midway between them. An id of another
    frontend does not; other clients that shake hands just then could make it, which is unlikely. They may also hide
    that two addresses are of one frontend.

    Args:
        one: such as ``tcp://127.0.0.1:4455``.
        other: such as ``ipc:///run/frontend/response``.
    """
    context = zmq.asyncio.Context()
    try:
        before, between, after = [await _client_id(context, address) for address in (one, other, one)]
    except (WireError, TimeoutError, zmq.ZMQError):
        return False
    finally:
        context.destroy(linger=0)
    return (between - before) % IDS == (after - between) % IDS


async def _client_id(context: zmq.asyncio.Context, address: str) -> int:
    with context.socket(zmq.DEALER) as socket:
        socket.connect(address)
        async with asyncio.timeout(TIMEOUT_S):
            await socket.send_multipart(wire.HANDSHAKE)
            return wire.decode_handshake_reply(await socket.recv_multipart())
