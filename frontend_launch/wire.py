"""The bytes between a client and the query frontend: handshake, request, response.

Pure functions between ZeroMQ frames and values. A client holds two DEALER sockets. On the response port (4455) it
asks for its client id and receives responses; on the request port (4456) it sends. Frames are counted without the
routing identity, which belongs to the ROUTER sockets.
All integers are little-endian.

========== ==== ==================================================================================
message    port frames
========== ==== ==================================================================================
handshake  4455 → ``[empty][empty]``, or ``[empty][announcement]``
            ..  ← ``[empty][client id i32]``
request    4456 → ``[empty][client id][request id][application][data type][element count][payload]``
response   4455 ← ``[empty][request id][output type][output]``, and perhaps ``[times]``
========== ==== ==================================================================================

The element count is of typed elements, not of bytes; a string counts its bytes. A response does not say
whether it is the application's default output: that is a string equal to what the application registered.

A client announces itself in the second frame of its handshake, which a frontend of 2017 does not look at. It gets some
of its responses with one more frame, see `RequestTimes`, and refusals, see `REFUSED`. All others get the four frames
of 2017.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping, Sequence, Sized
from itertools import compress, count
from pathlib import Path
from types import MappingProxyType
from typing import NamedTuple, TypeVar

from model_containers.data_types import Buffer, DataType, data_type
from model_containers.errors import WireError
from model_containers.wire import unpack_i32

_I32 = struct.Struct("<i")

MAX_MESSAGE_BYTES = 256 << 20
"""What a frontend reads in one part of a message, where it is not told otherwise."""


class PredictRequest(NamedTuple):
    """One query on the wire; a named tuple because one is made for every request a frontend reads.

    Attributes:
        client_id: from the handshake.
        request_id: chosen by the client, echoed in the response.
        application: the application that is asked.
        input_type: element type of the payload.
        payload: raw little-endian elements, or the bytes of a string without a NUL.
    """

    client_id: int
    request_id: int
    application: str
    input_type: DataType
    payload: Buffer


class LocalAddresses(NamedTuple):
    """Where clients and replicas of the same machine connect to."""

    request: str
    response: str
    replica: str


def ipc_addresses(directory: Path) -> LocalAddresses:
    """The sockets of a query frontend in a directory."""
    return LocalAddresses(*(f"ipc://{directory}/{name}" for name in LocalAddresses._fields))


HANDSHAKE: tuple[bytes, bytes] = (b"", b"")
"""What a client sends first on the response port; any message of two frames there counts as a new client."""

_ANNOUNCEMENT = b"loadgen times 1 "
"""Begins the second frame of a client that reads times; the id of its clock follows."""


def encode_announcement(clock: bytes) -> tuple[bytes, bytes]:
    """The handshake of a client that reads `RequestTimes`.

    Args:
        clock: which monotonic clock the client reads; empty where that is unknown.
    """
    return b"", _ANNOUNCEMENT + clock


def decode_handshake(frames: Sequence[Buffer]) -> bytes | None:
    """Accept a handshake, whatever its second frame holds.

    Returns:
        The clock of a client that announced itself, empty where that is unknown; None for any other client.

    Raises:
        WireError: not two frames, the first of them empty.
    """
    if len(frames) != 2 or len(frames[0]):
        raise WireError("handshake", f"a handshake of {len(frames)} frames")
    second = bytes(frames[1])
    return second.removeprefix(_ANNOUNCEMENT) if second.startswith(_ANNOUNCEMENT) else None


def encode_handshake_reply(client_id: int) -> list[Buffer]:
    """Frames that hand out a client id."""
    return [b"", _I32.pack(client_id)]


def decode_handshake_reply(frames: Sequence[Buffer]) -> int:
    """Read the client id.

    Raises:
        WireError: not a handshake's reply.
    """
    if len(frames) != 2 or len(frames[0]):
        raise WireError("handshake", f"a handshake reply of {len(frames)} frames")
    return unpack_i32(frames[1], "client id")


REQUEST_FRAMES = 7
REQUEST_ID = 2
"""Which frame of a request is its id: a sender may prepare requests and put their ids in later."""

REQUEST_NUMBERS = (1, 2, 4, 5)
"""Which frames of a request are integers of four bytes."""

Payload = TypeVar("Payload", bound=Sized)


def encode_request_burst(
    client_id: int, request_ids: Sequence[int], application: str, input_type: DataType, payloads: Sequence[Payload]
) -> list[bytes | Payload]:
    """Frames of many requests of one client to one application, back to back.

    Args:
        client_id: from the handshake.
        request_ids: one for each payload.
        application: the application that is asked.
        input_type: element type of the payloads.
        payloads: see `PredictRequest`; any objects whose length is their number of bytes.
    """
    frames: list[bytes | Payload] = [b""] * (REQUEST_FRAMES * len(payloads))
    frames[1::REQUEST_FRAMES] = [_I32.pack(client_id)] * len(payloads)
    frames[REQUEST_ID::REQUEST_FRAMES] = map(_I32.pack, request_ids)
    frames[3::REQUEST_FRAMES] = [application.encode()] * len(payloads)
    frames[4::REQUEST_FRAMES] = [_I32.pack(input_type)] * len(payloads)
    frames[5::REQUEST_FRAMES] = [_I32.pack(len(payload) // input_type.element_bytes) for payload in payloads]
    frames[6::REQUEST_FRAMES] = payloads
    return frames


def decode_request(frames: Sequence[Buffer]) -> PredictRequest:
    """Read a request.

    Raises:
        WireError: anything that the protocol does not admit, and what the original would have crashed on:
            unknown types, a payload of another size than announced, one of no numbers, a NUL inside a string. A string
            may be empty.
    """
    if len(frames) != REQUEST_FRAMES:
        raise WireError("frame_count", f"a request of {len(frames)} frames where {REQUEST_FRAMES} belong")
    delimiter, client_id, request_id, application, code, count, payload = frames
    if len(delimiter):
        raise WireError("delimiter", "a request without its empty delimiter")
    client, number, kind, elements = _numbers(client_id, request_id, code, count)
    input_type = data_type(kind)
    size = elements * input_type.element_bytes
    if size != len(payload) or size < (input_type is not DataType.STRINGS):
        raise WireError("payload_size", f"a payload of {len(payload)} bytes where {size} are announced")
    if input_type is DataType.STRINGS and b"\0" in bytes(payload):
        raise WireError("embedded_nul", "a string that holds a NUL would split in a batch")
    try:
        name = str(application, "utf-8")
    except UnicodeDecodeError:
        raise WireError("text", "an application name that is not UTF-8") from None
    return PredictRequest(client, number, name, input_type, payload)


def decode_sender(frames: Sequence[Buffer]) -> tuple[int, int, str] | None:
    """Client id, request id and application of an invalid request; None where it does not hold them."""
    if len(frames) != REQUEST_FRAMES or len(frames[1]) != _I32.size or len(frames[2]) != _I32.size:
        return None
    return unpack_i32(frames[1], "client id"), unpack_i32(frames[2], "request id"), str(frames[3], "utf-8", "replace")


_NUMBERS = struct.Struct("<4i")
_NUMBER_NAMES = ("client id", "request id", "data type", "element count")


def _numbers(*frames: Buffer) -> tuple[int, ...]:
    """The four integers of a request, all at once where each frame has its size."""
    first, second, third, fourth = map(len, frames)
    if first == second == third == fourth == 4:
        return _NUMBERS.unpack(b"".join(frames))
    return tuple(unpack_i32(frame, name) for frame, name in zip(frames, _NUMBER_NAMES, strict=True))


_REQUEST_TIMES = struct.Struct("<4q")


class RequestTimes(NamedTuple):
    """Where the time of one request went in the frontend: a frame of four i64, nanoseconds of the frontend's clock.

    Attributes:
        arrived_ns: when the frontend read the request, by the monotonic clock; 0 where the client has another clock.
        queue_ns: from then until its batch was the batch under way of its replica.
        rpc_ns: from then until the frontend handed the response on, less the model call.
        model_ns: the model call, as the replica says; -1 where it says nothing, and then it is part of `rpc_ns`.
    """

    arrived_ns: int
    queue_ns: int
    rpc_ns: int
    model_ns: int

    def encode(self) -> bytes:
        """The frame."""
        return _REQUEST_TIMES.pack(*self)

    @classmethod
    def decode(cls, frame: Buffer) -> RequestTimes:
        """Read a frame that `decode_response_burst` found."""
        return cls(*_REQUEST_TIMES.unpack(frame))


REFUSED = -1
"""The output type of a response that says why its request was refused, as text; the protocol calls it invalid."""

_FEW = 8
"""Fewer responses than this are encoded one by one: for one response, columns take twice the time."""

RESPONSE_FRAMES = 4
RESPONSE_ID = 1
"""Which frame of a response is the id of its request."""


def encode_response_burst(
    identities: Sequence[bytes],
    request_ids: Sequence[int],
    output_type: int,
    outputs: Sequence[Buffer],
    times: Mapping[int, RequestTimes] = MappingProxyType({}),
) -> list[Buffer]:
    """Frames of many responses of one type back to back, each behind the routing identity of whom it is for.

    Args:
        identities: routing identity for each response.
        request_ids: the clients' own numbers, in the same order.
        output_type: of all outputs.
        outputs: one for each response, raw; not copied.
        times: of responses by their places, ascending; each of these has one more frame.
    """
    size, kind = 1 + RESPONSE_FRAMES, _I32.pack(output_type)
    frames: list[Buffer] = []
    if len(outputs) < _FEW:
        for identity, request_id, output in zip(identities, request_ids, outputs, strict=True):
            frames += (identity, b"", _I32.pack(request_id), kind, output)
    else:
        frames += [b""] * (size * len(outputs))
        frames[0::size] = identities
        frames[1 + RESPONSE_ID :: size] = map(_I32.pack, request_ids)
        frames[3::size] = [kind] * len(outputs)
        frames[4::size] = outputs
    for before, (place, each) in enumerate(times.items()):
        frames.insert(size * (place + 1) + before, each.encode())
    return frames


def take_handshake_reply(frames: Sequence[Buffer]) -> tuple[int | None, list[Buffer]]:
    """Find the answer to a second handshake among responses; returns the client id and the other frames.

    Args:
        frames: of whole messages, back to back. No response holds a frame of four bytes between two empty ones.
    """
    sizes = [*map(len, frames), 0]
    for at in range(len(frames) - 1):
        if sizes[at : at + 3] == [0, _I32.size, 0]:
            return unpack_i32(frames[at + 1], "client id"), [*frames[:at], *frames[at + 2 :]]
    return None, list(frames)


class ResponseBurst(NamedTuple):
    """The columns of responses that arrived back to back; all of one length.

    Attributes:
        request_ids: i32 each, little-endian, joined; -1 for an invalid response.
        output_types: i32 each, still as bytes; empty for an invalid response.
        outputs: raw little-endian elements, or the bytes of a string.
        times: of the responses that have them, by their places among all.
    """

    request_ids: bytes
    output_types: list[Buffer]
    outputs: list[Buffer]
    times: dict[int, RequestTimes]


def decode_response(frames: Sequence[Buffer]) -> tuple[int, Buffer, Buffer] | None:
    """The request id, output type and output of one response; None for anything but that, and for one with times."""
    if len(frames) != RESPONSE_FRAMES:
        return None
    empty, request_id, output_type, output = frames
    if len(empty) or len(request_id) != 4 or len(output_type) != 4:
        return None
    return int.from_bytes(request_id, "little", signed=True), output_type, output


def decode_response_burst(frames: Sequence[Buffer]) -> ResponseBurst:
    """Read the frames of whole messages that arrived back to back, for readers that cannot afford a call a message.

    Where all of them have the size that belongs to their place, which they mostly have, they are read in columns.
    Otherwise a response begins wherever an empty frame, two of 4 bytes and one more follow each other. Each stretch
    between two responses counts as one message that is not a response.
    """
    whole: Sequence[Buffer] = frames
    times: dict[int, RequestTimes] = {}
    if len(frames) % RESPONSE_FRAMES or any(map(len, frames[::RESPONSE_FRAMES])):
        whole, times = _without_times(frames)
    request_ids, output_types = whole[RESPONSE_ID::RESPONSE_FRAMES], whole[2::RESPONSE_FRAMES]
    if len(whole) % RESPONSE_FRAMES or {*map(len, request_ids), *map(len, output_types)} != {4}:
        whole, times = _without_invalid(frames)
        request_ids, output_types = whole[RESPONSE_ID::RESPONSE_FRAMES], whole[2::RESPONSE_FRAMES]
    return ResponseBurst(b"".join(request_ids), list(output_types), list(whole[3::RESPONSE_FRAMES]), times)


def _without_times(frames: Sequence[Buffer]) -> tuple[Sequence[Buffer], dict[int, RequestTimes]]:
    """Take out the frames of times, which shift those behind them; empty where other frames do not fit."""
    kept: list[Buffer] = []
    times: dict[int, RequestTimes] = {}
    at = 0
    # Where a message should begin, an empty frame stands, or else the frame of times of the message before.
    while (whole := next(compress(count(), map(len, frames[at::RESPONSE_FRAMES])), None)) is not None:
        end = at + whole * RESPONSE_FRAMES
        if not whole or len(frames[end]) != _REQUEST_TIMES.size:
            return (), {}
        kept += frames[at:end]
        times[len(kept) // RESPONSE_FRAMES - 1] = RequestTimes.decode(frames[end])
        at = end + 1
    return [*kept, *frames[at:]], times


_STRAY: list[Buffer] = [b"", b"\xff\xff\xff\xff", b"", b""]
"""Stands for frames that belong to no response."""


def _without_invalid(frames: Sequence[Buffer]) -> tuple[list[Buffer], dict[int, RequestTimes]]:
    kept: list[Buffer] = []
    times: dict[int, RequestTimes] = {}
    at, astray = 0, False
    while at < len(frames):
        if [len(frame) for frame in frames[at : at + 3]] == [0, 4, 4] and at + 3 < len(frames):
            kept += frames[at : at + 4]
            at, astray = at + 4, False
            if at < len(frames) and len(frames[at]) == _REQUEST_TIMES.size:
                times[len(kept) // RESPONSE_FRAMES - 1] = RequestTimes.decode(frames[at])
                at += 1
        else:
            if not astray:
                kept += _STRAY
            at, astray = at + 1, True
    return kept, times
