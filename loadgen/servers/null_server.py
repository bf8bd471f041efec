"""A server that does nothing: answers each request at once with the same bytes, in a process of its own.

    python -m loadgen.servers.null_server PROTOCOL ANSWER_FILE [OUTPUT_TYPE]

It prints its addresses as a line of JSON. A measurement against it shows the client and the sockets between two
processes. It trusts its client, and reads only what an answer needs of a request.
"""

from __future__ import annotations

import asyncio
import json
import re
import struct
import sys
from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import repeat
from pathlib import Path
from typing import Any, Literal, cast

import uvloop
import zmq

from frontend_launch import wire
from model_containers import lifeline
from model_containers.credentials import Credentials, of_environment, secure_server
from model_containers.data_types import Buffer, DataType

NullProtocol = Literal["clipper-ipc", "clipper-tcp", "http1", "http2"]

_COPY_BELOW_BYTES = 2048
_BURST = 32
"""Requests that are read before their answers are sent."""

_NOW, _NOW_AND_MORE = int(zmq.NOBLOCK), int(zmq.NOBLOCK | zmq.SNDMORE)
_ANSWER_FRAMES = 1 + wire.RESPONSE_FRAMES
"""With the routing identity."""

_run: Callable[[Iterable[object]], None] = deque[object](maxlen=0).extend
"""Run an iterator to its end, for its side effects."""


@dataclass(frozen=True, slots=True)
class NullAnswer:
    """The configuration of a null server.

    Attributes:
        protocol: what it speaks.
        answer: to each request.
        output_type: the answers' type on the wire of a query frontend.
        credentials: for clients, where the server requires some: encryption is part of the client's work.
    """

    protocol: NullProtocol
    answer: bytes
    output_type: int = 0
    credentials: Credentials | None = None


def main() -> None:
    """Serve until this process is ended."""
    lifeline.hold()
    protocol, path, *output_type = sys.argv[1:]
    answer = Path(path).read_bytes()
    match cast(NullProtocol, protocol):
        case "clipper-ipc":
            local = wire.ipc_addresses(Path(path).parent)
            _serve_clipper(local.response, local.request, DataType(int(output_type[0])), answer)
        case "clipper-tcp":
            anywhere = "tcp://127.0.0.1:*"
            _serve_clipper(anywhere, anywhere, DataType(int(output_type[0])), answer)
        case "http1":
            uvloop.run(_listen(lambda: _Http1(answer)))
        case "http2":
            uvloop.run(_listen(lambda: _Http2(answer)))


def _announce(addresses: Mapping[str, str | int]) -> None:
    sys.stdout.write(json.dumps(addresses) + "\n")
    sys.stdout.flush()


# The 2017 client protocol ----------------------------------------------------------------------------------


def _serve_clipper(response_address: str, request_address: str, output_type: DataType, output: bytes) -> None:
    context = zmq.Context()
    # Requests name their client, so a DEALER reads them with a frame less than a ROUTER would.
    responses, requests = context.socket(zmq.ROUTER), context.socket(zmq.DEALER)
    for socket in (responses, requests):
        socket.setsockopt(zmq.SNDHWM, 0)
        socket.setsockopt(zmq.RCVHWM, 0)
        secure_server(socket, of_environment())
    responses.bind(response_address)
    requests.bind(request_address)
    _announce({"response": responses.get_string(zmq.LAST_ENDPOINT), "request": requests.get_string(zmq.LAST_ENDPOINT)})
    poller = zmq.Poller()
    poller.register(responses, zmq.POLLIN)
    poller.register(requests, zmq.POLLIN)
    echo = _Echo(requests, responses, output_type, output)
    while True:
        ready = dict(poller.poll())
        if responses in ready:
            echo.shake_hands()
        while requests in ready and echo.answer_some():
            pass


class _Echo:
    """Answers bursts of requests; reads sockets as `loadgen.targets.clipper` does."""

    def __init__(
        self, requests: zmq.Socket[bytes], responses: zmq.Socket[bytes], output_type: DataType, output: bytes
    ) -> None:
        self._responses = responses
        # The compiled methods without what `zmq.Socket` puts around them in Python.
        self._receive: Callable[..., Any] = super(zmq.Socket, requests).recv
        self._send: Callable[..., Any] = super(zmq.Socket, responses).send
        self._answers = wire.encode_response_burst([b""] * _BURST, [0] * _BURST, output_type, [output] * _BURST)
        self._flags = [*[_NOW_AND_MORE] * (_ANSWER_FRAMES - 1), _NOW] * _BURST
        self._clients: dict[Buffer, bytes] = {}
        """Routing identities by client id."""
        self._large = False

    def shake_hands(self) -> None:
        """Give a client its id."""
        identity, *_ = self._responses.recv_multipart()
        reply = wire.encode_handshake_reply(len(self._clients))
        self._clients[reply[-1]] = identity
        self._responses.send_multipart([identity, *reply])

    def answer_some(self) -> bool:
        """Answer the requests that are there, a burst of them at most; returns whether there may be more."""
        frames: list[Any] = []
        copied = (*[True] * (wire.REQUEST_FRAMES - 1), not self._large)
        try:
            frames.extend(map(self._receive, repeat(_NOW), copied * _BURST))
            more = True
        except zmq.Again:
            more = False
        if not frames:
            return False
        self._large = len(frames[-1]) >= _COPY_BELOW_BYTES
        ids = frames[wire.REQUEST_ID :: wire.REQUEST_FRAMES]
        answers = self._answers[: _ANSWER_FRAMES * len(ids)]
        answers[::_ANSWER_FRAMES] = map(self._clients.__getitem__, frames[1 :: wire.REQUEST_FRAMES])
        answers[1 + wire.RESPONSE_ID :: _ANSWER_FRAMES] = ids
        _run(map(self._send, answers, self._flags))
        return more


# HTTP ------------------------------------------------------------------------------------------------------


async def _listen(protocol: Callable[[], asyncio.Protocol]) -> None:
    server = await asyncio.get_running_loop().create_server(protocol, "127.0.0.1", 0)
    _announce({"port": server.sockets[0].getsockname()[1]})
    await server.serve_forever()


class _Connection(asyncio.Protocol):
    """The common part of both versions of HTTP."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)


class _Http1(_Connection):
    """HTTP/1.1 with one request at a time, which says its length."""

    _LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)", re.IGNORECASE)
    _END = b"\r\n\r\n"

    def __init__(self, answer: bytes) -> None:
        self._answer = answer
        self._head = b""
        self._left = 0
        """Bytes of the request that are still to come."""

    def data_received(self, data: bytes) -> None:
        if self._left:
            self._left -= len(data)
        else:
            self._head += data
            end = self._head.find(self._END)
            if end < 0:
                return
            length = self._LENGTH.search(self._head, 0, end)
            self._left = end + len(self._END) + (int(length[1]) if length else 0) - len(self._head)
            self._head = b""
        if not self._left:
            self._transport.write(self._answer)


_FRAME_HEAD = struct.Struct(">HBBBI")
"""Length in two parts, kind, flags, stream."""

_DATA, _HEADERS, _SETTINGS, _WINDOW_UPDATE = 0, 1, 4, 8
_END_STREAM, _ACK, _END_HEADERS = 0x1, 0x1, 0x4
_INITIAL_WINDOW_SIZE = 4
_PREFACE_BYTES = 24
_FRAME_BYTES = 16_384
_WINDOW, _LARGEST_WINDOW = 65_535, 2**31 - 1
_ALLOW_AFTER = 1 << 30
"""Bytes after which the client may send more; it never waits for that."""

# Blocks of headers (RFC 7541). The first ones put their fields into the client's table, as servers do.
_FIRST_HEAD = b"\x88\x5f\x10application/grpc"
_FIRST_TRAILERS = b"\x40\x0bgrpc-status\x010"
_HEAD, _TRAILERS = b"\x88\xbf", b"\xbe"


class _Http2(_Connection):
    """Unary gRPC calls over HTTP/2, which all get the same message; see `loadgen.targets.http2`."""

    def __init__(self, message: bytes) -> None:
        self._first: Sequence[bytes] | None = _answer_pieces(_FIRST_HEAD, message, _FIRST_TRAILERS)
        self._pieces = _answer_pieces(_HEAD, message, _TRAILERS)
        self._rest = b""
        self._skip = _PREFACE_BYTES
        self._unallowed = 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        settings = _frame(_SETTINGS, 0, struct.pack(">HI", _INITIAL_WINDOW_SIZE, _LARGEST_WINDOW))
        self._transport.write(settings + _allow(_LARGEST_WINDOW - _WINDOW))

    def data_received(self, data: bytes) -> None:
        if self._rest:
            data = self._rest + data
        begin, end = self._skip, len(data)
        out: list[bytes] = []
        while begin + _FRAME_HEAD.size <= end:
            high, low, kind, flags, stream = _FRAME_HEAD.unpack_from(data, begin)
            size = high << 8 | low
            stop = begin + _FRAME_HEAD.size + size
            if stop > end:
                break
            begin = stop
            if kind == _DATA:
                self._unallowed += size
                if flags & _END_STREAM:
                    out.append(stream.to_bytes(4, "big").join(self._first or self._pieces))
                    self._first = None
            elif kind == _SETTINGS and not flags & _ACK:
                out.append(_frame(_SETTINGS, _ACK, b""))
        self._rest, self._skip = (data[begin:], 0) if begin <= end else (b"", begin - end)
        if self._unallowed >= _ALLOW_AFTER:
            out.append(_allow(self._unallowed))
            self._unallowed = 0
        if out:
            self._transport.write(b"".join(out))


def _frame(kind: int, flags: int, payload: bytes) -> bytes:
    """A frame of the connection."""
    return _FRAME_HEAD.pack(len(payload) >> 8, len(payload) & 0xFF, kind, flags, 0) + payload


def _allow(more: int) -> bytes:
    return _frame(_WINDOW_UPDATE, 0, more.to_bytes(4, "big"))


def _answer_pieces(head: bytes, message: bytes, trailers: bytes) -> list[bytes]:
    """An answer, cut where the number of its stream belongs."""
    frames = [(_HEADERS, _END_HEADERS, head)]
    frames += [(_DATA, 0, message[at : at + _FRAME_BYTES]) for at in range(0, len(message), _FRAME_BYTES)]
    frames += [(_HEADERS, _END_HEADERS | _END_STREAM, trailers)]
    pieces = [b""]
    for kind, flags, payload in frames:
        pieces[-1] += _frame(kind, flags, payload)[: _FRAME_HEAD.size - 4]
        pieces.append(payload)
    return pieces


if __name__ == "__main__":
    main()
