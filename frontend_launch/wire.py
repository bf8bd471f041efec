"""Bytes between a client and the query frontend: handshake, request, response.

Pure functions between ZeroMQ frames and values. A client holds two DEALER sockets: one on the response
port (4455), where it asks for its client id and then receives responses, one on the request port (4456),
where it sends. Frames are counted without the routing identity, which belongs to the ROUTER sockets.
All integers are little-endian.

========== ==== ==================================================================================
message    port frames
========== ==== ==================================================================================
handshake  4455 → ``[empty][empty]``
            ..  ← ``[empty][client id i32]``
request    4456 → ``[empty][client id][request id][application][data type][element count][payload]``
response   4455 ← ``[empty][request id][output type][output]``
========== ==== ==================================================================================

The element count is of typed elements, not of bytes; a string counts its bytes. A response does not say
whether it is the application's default output: that is a string equal to what the application registered.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from model_containers.errors import WireError
from model_containers.wire import Buffer, DataType, data_type, unpack_i32

_I32 = struct.Struct("<i")


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


class PredictResponse(NamedTuple):
    """One answer on the wire.

    Attributes:
        request_id: which request it answers.
        output_type: element type of the output.
        output: raw little-endian elements, or the bytes of a string.
    """

    request_id: int
    output_type: DataType
    output: Buffer


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


def check_handshake(frames: Sequence[Buffer]) -> None:
    """Accept a handshake, whatever its second frame holds.

    Raises:
        WireError: not two frames, the first of them empty.
    """
    if len(frames) != 2 or len(frames[0]):
        raise WireError("handshake", f"a handshake of {len(frames)} frames")


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


def request_frames(client_id: int, application: str, input_type: DataType, payload_bytes: int) -> RequestFrames:
    """The frames that all requests of one client with payloads of one size share; see `RequestFrames`.

    Args:
        client_id: as the frontend gave it in the handshake.
        application: its name.
        input_type: of the payload's elements.
        payload_bytes: of each request.
    """
    return RequestFrames(
        _I32.pack(client_id),
        application.encode(),
        _I32.pack(input_type),
        _I32.pack(payload_bytes // input_type.element_bytes),
    )


class RequestFrames(NamedTuple):
    """The unchanging frames of a stream of requests: a request is ``[b"", client_id, ID, *rest, PAYLOAD]``."""

    client_id: bytes
    application: bytes
    input_type: bytes
    element_count: bytes


def encode_request(request: PredictRequest) -> list[Buffer]:
    """Frames of one request."""
    shared = request_frames(request.client_id, request.application, request.input_type, len(request.payload))
    head = [b"", shared.client_id, _I32.pack(request.request_id)]
    return [*head, shared.application, shared.input_type, shared.element_count, request.payload]


def decode_request(frames: Sequence[Buffer]) -> PredictRequest:
    """Read a request.

    Raises:
        WireError: anything that the protocol does not admit, and what the original would have crashed on:
            unknown types, a payload of another size than announced or of none, a NUL inside a string.
    """
    if len(frames) != 7:
        raise WireError("frame_count", f"a request of {len(frames)} frames where 7 belong")
    delimiter, client_id, request_id, application, code, count, payload = frames
    if len(delimiter):
        raise WireError("delimiter", "a request without its empty delimiter")
    client, number, kind, elements = _numbers(client_id, request_id, code, count)
    input_type = data_type(kind)
    size = elements * input_type.element_bytes
    if size != len(payload) or size <= 0:
        raise WireError("payload_size", f"a payload of {len(payload)} bytes where {size} are announced")
    if input_type is DataType.STRINGS and b"\0" in bytes(payload):
        raise WireError("embedded_nul", "a string that holds a NUL would split in a batch")
    try:
        name = str(application, "utf-8")
    except UnicodeDecodeError:
        raise WireError("text", "an application name that is not UTF-8") from None
    return PredictRequest(client, number, name, input_type, payload)


_NUMBERS = struct.Struct("<4i")
_NUMBER_NAMES = ("client id", "request id", "data type", "element count")


def _numbers(*frames: Buffer) -> tuple[int, ...]:
    """The four integers of a request, all at once where each frame has its size."""
    first, second, third, fourth = map(len, frames)
    if first == second == third == fourth == 4:
        return _NUMBERS.unpack(b"".join(frames))
    return tuple(unpack_i32(frame, name) for frame, name in zip(frames, _NUMBER_NAMES, strict=True))


RESPONSE_FRAMES = 4


def encode_response_burst(
    identities: Sequence[bytes], request_ids: Sequence[int], output_type: DataType, outputs: Sequence[Buffer]
) -> list[Buffer]:
    """Frames of many responses of one type back to back, each behind the routing identity of whom it is for.

    Args:
        identities: routing identity for each response.
        request_ids: the clients' own numbers, in the same order.
        output_type: of all outputs.
        outputs: one for each response, raw; not copied.
    """
    frames: list[Buffer] = [b""] * ((1 + RESPONSE_FRAMES) * len(outputs))
    frames[0::5] = identities
    frames[2::5] = map(_I32.pack, request_ids)
    frames[3::5] = [_I32.pack(output_type)] * len(outputs)
    frames[4::5] = outputs
    return frames


def decode_response(frames: Sequence[Buffer]) -> PredictResponse:
    """Read a response.

    Raises:
        WireError: anything that the protocol does not admit.
    """
    if len(frames) != 4 or len(frames[0]):
        raise WireError("frame_count", f"a response of {len(frames)} frames where 4 belong")
    output_type = data_type(unpack_i32(frames[2], "output type"))
    if len(frames[3]) % output_type.element_bytes:
        raise WireError("payload_size", f"{len(frames[3])} bytes of output type {output_type.canonical}")
    return PredictResponse(unpack_i32(frames[1], "request id"), output_type, frames[3])


class ResponseBurst(NamedTuple):
    """The columns of responses that arrived back to back; all of one length.

    Attributes:
        request_ids: i32 each, little-endian, joined; -1 for what is no response.
        output_types: i32 each, still as bytes; empty for what is no response.
        outputs: as in `PredictResponse`.
    """

    request_ids: bytes
    output_types: list[Buffer]
    outputs: list[Buffer]


def decode_response_burst(frames: Sequence[Buffer]) -> ResponseBurst:
    """Read the frames of whole messages that arrived back to back, for readers that cannot afford a call a message.

    Where all of them have the size that belongs to their place, which they mostly have, they are read in columns.
    Otherwise a response begins wherever an empty frame, two of 4 bytes and one more follow each other, and each stretch
    between two responses counts as one message that is none.
    """
    request_ids, output_types = frames[1::4], frames[2::4]
    aligned = len(frames) % 4 == 0 and not any(map(len, frames[::4]))
    if not aligned or {*map(len, request_ids), *map(len, output_types)} != {4}:
        frames = _without_strays(frames)
        request_ids, output_types = frames[1::4], frames[2::4]
    return ResponseBurst(b"".join(request_ids), list(output_types), list(frames[3::4]))


_STRAY: list[Buffer] = [b"", b"\xff\xff\xff\xff", b"", b""]
"""Stands for frames that belong to no response."""


def _without_strays(frames: Sequence[Buffer]) -> list[Buffer]:
    kept: list[Buffer] = []
    at, astray = 0, False
    while at < len(frames):
        if [len(frame) for frame in frames[at : at + 3]] == [0, 4, 4] and at + 3 < len(frames):
            kept += frames[at : at + 4]
            at, astray = at + 4, False
        else:
            if not astray:
                kept += _STRAY
            at, astray = at + 1, True
    return kept
