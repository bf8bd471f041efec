"""The bytes between a frontend and a replica: the 2017 container protocol, version 1, port 7000.

Pure functions between ZeroMQ frames and values. Every message is one multipart message that
begins with an empty delimiter frame and a 4-byte message type; the frames below are counted without the
routing identity, which belongs to the ROUTER socket. All integers are little-endian.

============== ========= ======================================================================
message        direction frames after the delimiter
============== ========= ======================================================================
heartbeat      replica → ``[2 u32]``
heartbeat      ← front   ``[2 i32][kind i32]``: 0 keep-alive, 1 please send metadata
metadata       replica → ``[0 u32][model name][model version][input type as decimal text]``
batch request  ← front   ``[1 i32][id i32][0 u32][header bytes i64][header][content bytes i64][content]``
batch response replica → ``[1 u32][id, echoed][output type u32][content bytes u32][content]``
============== ========= ======================================================================

The two size fields differ in width (8 bytes in the request, 4 in the response); both are as the original.
A replica started by this project appends one frame to its response, see `ReplyTimes`, and one to its metadata: its
role in the deployment.
"""

from __future__ import annotations

import enum
import math
import struct
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate, pairwise, repeat
from typing import NamedTuple

from model_containers.data_types import OUTPUT_TYPES, Buffer, DataType, data_type
from model_containers.errors import WireError

_I32 = struct.Struct("<i")
_U32 = struct.Struct("<I")
_I64 = struct.Struct("<q")
_REPLY_TIMES = struct.Struct("<QQQ")
_REPLY_TIMES_AND_FAILURE = struct.Struct("<QQQQ")


class MessageType(enum.IntEnum):
    """The second frame of every message."""

    NEW_CONTAINER = 0
    CONTENT = 1
    HEARTBEAT = 2


class HeartbeatKind(enum.IntEnum):
    """What a frontend's heartbeat asks for."""

    KEEP_ALIVE = 0
    REQUEST_METADATA = 1


PREDICT = 0
"""The only request type in use; 1, feedback, was never finished in the original."""

_CONTENT, _PREDICT = _U32.pack(MessageType.CONTENT), _U32.pack(PREDICT)


@dataclass(frozen=True, slots=True)
class Heartbeat:
    """A replica says that it is there."""


@dataclass(frozen=True, slots=True)
class HeartbeatReply:
    """The frontend's answer to a heartbeat."""

    kind: HeartbeatKind


@dataclass(frozen=True, slots=True)
class Metadata:
    """A replica introduces itself.

    Attributes:
        model_name: what it serves.
        model_version: likewise.
        input_type: what it takes.
        role: its role in the deployment that started it with ``LOADGEN_ROLE``; empty for any other replica, which sends
            no such frame.
    """

    model_name: str
    model_version: str
    input_type: DataType
    role: str = ""


@dataclass(slots=True)
class BatchRequest:
    """A batch for one replica; `of` makes one from its inputs. Not frozen, since one is made for every batch.

    Attributes:
        message_id: echoed by the response.
        input_type: the type that the replica registered with.
        count: the number of inputs.
        splits: cumulative number of elements before input 2 … count; the last total is left out.
        content: the inputs back to back; each string is followed by a NUL.
    """

    message_id: int
    input_type: DataType
    count: int
    splits: tuple[int, ...]
    content: Buffer

    @classmethod
    def of(cls, message_id: int, input_type: DataType, inputs: Sequence[Buffer]) -> BatchRequest:
        """Join the inputs, raw little-endian elements or strings without their NUL: the one copy of a payload.

        Args:
            message_id: of the batch, int32 on the wire.
            input_type: of all inputs.
            inputs: raw, at least one.
        """
        if input_type is DataType.STRINGS:
            splits = tuple(range(1, len(inputs)))
            content = b"".join(part for text in inputs for part in (text, b"\0"))
        else:
            size = input_type.element_bytes
            splits = tuple(accumulate([len(part) // size for part in inputs[:-1]]))
            content = b"".join(inputs)
        return cls(message_id, input_type, len(inputs), splits, content)

    @property
    def input_bytes(self) -> int | None:
        """The size of each input, where all have the same; no strings."""
        element_bytes = self.input_type.element_bytes
        elements, rest = divmod(len(self.content) // element_bytes, self.count)
        if rest or self.splits != tuple(accumulate(repeat(elements, self.count - 1))):
            return None
        return elements * element_bytes

    @property
    def inputs(self) -> tuple[Buffer, ...]:
        """One buffer per query: views on the content, a string without its NUL."""
        if self.input_type is DataType.STRINGS:
            return tuple(bytes(self.content).split(b"\0")[:-1])
        view, size = memoryview(self.content), self.input_type.element_bytes
        return tuple(view[low:high] for low, high in pairwise([0, *(s * size for s in self.splits), len(view)]))


class ReplyTimes(NamedTuple):
    """Where a replica's time went for one batch, nanoseconds of the replica's own clock.

    Format: one frame of u64, ``[recv][parse][handle]`` or ``[recv][parse][handle][failed]``. It travels only from a
    replica that was started with ``LOADGEN_REPLY_TIMES=1`` to a frontend that started it, so a 2017 peer never sees it;
    the fourth number only from one that was started with ``LOADGEN_REPLY_FAILURES=1`` too, which says that the frontend
    reads it.

    Attributes:
        recv_ns: receiving.
        parse_ns: parsing.
        handle_ns: the model call.
        failed: the model failed on the batch, whose inputs were then computed one by one; None where the replica does
            not say.
    """

    recv_ns: int
    parse_ns: int
    handle_ns: int
    failed: bool | None = None


class BatchResponse(NamedTuple):
    """A replica's answer: output i belongs to input i of the batch."""

    message_id: int
    output_type: DataType
    outputs: tuple[Buffer, ...]
    times: ReplyTimes | None = None

    @property
    def failures(self) -> list[int]:
        """The inputs that the model could not answer, by their places: their outputs are empty.

        An empty text is an answer, unless the replica says that the model failed on the batch.
        """
        if 0 not in map(len, self.outputs) or (
            self.output_type is DataType.STRINGS and not (self.times is not None and self.times.failed)
        ):
            return []
        return [place for place, output in enumerate(self.outputs) if not len(output)]


FromReplica = Heartbeat | Metadata | BatchResponse
FromFrontend = HeartbeatReply | BatchRequest


def encode_heartbeat() -> list[Buffer]:
    """Frames of a replica's heartbeat."""
    return [b"", _U32.pack(MessageType.HEARTBEAT)]


def encode_heartbeat_reply(kind: HeartbeatKind) -> list[Buffer]:
    """Frames of a frontend's heartbeat."""
    return [b"", _I32.pack(MessageType.HEARTBEAT), _I32.pack(kind)]


def encode_metadata(metadata: Metadata) -> list[Buffer]:
    """Frames of a replica's introduction; the input type is decimal text, the version any text."""
    return [
        b"",
        _U32.pack(MessageType.NEW_CONTAINER),
        metadata.model_name.encode(),
        metadata.model_version.encode(),
        str(int(metadata.input_type)).encode(),
        *([metadata.role.encode()] if metadata.role else []),
    ]


def encode_batch_request(request: BatchRequest) -> list[Buffer]:
    """Frames of a batch; the header is ``[type][n][split 1 … split n-1]``, u32 each."""
    header = struct.pack(f"<{request.count + 1}I", request.input_type, request.count, *request.splits)
    return [
        b"",
        _CONTENT,
        _I32.pack(request.message_id),
        _PREDICT,
        _I64.pack(len(header)),
        header,
        _I64.pack(len(request.content)),
        request.content,
    ]


def encode_batch_response(response: BatchResponse) -> list[Buffer]:
    """Frames of a replica's answer.

    The content is ``[n][bytes of output 1] … [bytes of output n]``, u32 each, then the outputs unpadded.
    """
    outputs = response.outputs
    sizes = struct.pack(f"<{len(outputs) + 1}I", len(outputs), *map(len, outputs))
    content = b"".join([sizes, *outputs])
    frames: list[Buffer] = [
        b"",
        _CONTENT,
        _I32.pack(response.message_id),
        _U32.pack(response.output_type),
        _U32.pack(len(content)),
        content,
    ]
    if response.times is not None:
        times = response.times
        numbers = times.recv_ns, times.parse_ns, times.handle_ns
        if times.failed is None:
            frames.append(_REPLY_TIMES.pack(*numbers))
        else:
            frames.append(_REPLY_TIMES_AND_FAILURE.pack(*numbers, times.failed))
    return frames


def decode_from_replica(frames: Sequence[Buffer]) -> FromReplica:
    """Read what a replica sent to its frontend.

    Raises:
        WireError: anything that the protocol does not admit.
    """
    message_type = _message_type(frames)
    if message_type == MessageType.CONTENT:
        return _decode_batch_response(frames)
    if message_type == MessageType.HEARTBEAT:
        _expect_count(frames, 2)
        return Heartbeat()
    if message_type == MessageType.NEW_CONTAINER:
        role = _text(frames[5], "role") if len(frames) == 6 else ""
        if not role:
            _expect_count(frames, 5)
        name, version = _text(frames[2], "model name"), _text(frames[3], "model version")
        return Metadata(name, version, _decimal_type(frames[4]), role)
    raise WireError("message_type", f"unknown message type {message_type} from a replica")


def decode_from_frontend(frames: Sequence[Buffer]) -> FromFrontend:
    """Read what a frontend sent to its replica.

    Raises:
        WireError: anything that the protocol does not admit.
    """
    message_type = _message_type(frames)
    if message_type == MessageType.CONTENT:
        return _decode_batch_request(frames)
    if message_type == MessageType.HEARTBEAT:
        _expect_count(frames, 3)
        kind = unpack_i32(frames[2], "heartbeat kind")
        if kind not in (HeartbeatKind.KEEP_ALIVE, HeartbeatKind.REQUEST_METADATA):
            raise WireError("heartbeat_kind", f"unknown heartbeat kind {kind}")
        return HeartbeatReply(HeartbeatKind(kind))
    raise WireError("message_type", f"unknown message type {message_type} from a frontend")


def _decode_batch_request(frames: Sequence[Buffer]) -> BatchRequest:
    _expect_count(frames, 8)
    message_id = unpack_i32(frames[2], "message id")
    request_type = unpack_i32(frames[3], "request type")
    if request_type != PREDICT:
        raise WireError("request_type", f"unknown request type {request_type}")
    for size, body, name in ((frames[4], frames[5], "header"), (frames[6], frames[7], "content")):
        if len(size) != _I64.size or _I64.unpack(size)[0] != len(body):
            raise WireError("content_size", f"the {name} is not of the announced size")
    words, content = frames[5], frames[7]
    if len(words) < 8 or len(words) % 4:
        raise WireError("header", f"a batch header of {len(words)} bytes")
    code, count, *splits = struct.unpack(f"<{len(words) // 4}I", words)
    kind = data_type(code)
    if count != len(splits) + 1:
        raise WireError("header", f"a header of {len(words)} bytes for {count} inputs")
    if kind is DataType.STRINGS:
        _check_strings(content, count)
    else:
        _check_splits(content, kind, splits)
    return BatchRequest(message_id, kind, count, tuple(splits), content)


def _check_splits(content: Buffer, kind: DataType, splits: list[int]) -> None:
    elements, rest = divmod(len(content), kind.element_bytes)
    bounds = [0, *splits, elements]
    if rest or bounds != sorted(bounds):
        raise WireError("header", "the batch's splits do not fit its content")


def _check_strings(content: Buffer, count: int) -> None:
    text = bytes(content)
    if not text.endswith(b"\0") or text.count(b"\0") != count:
        raise WireError("header", f"{count} strings announced, each ends with a NUL, in {len(text)} bytes")


def _decode_batch_response(frames: Sequence[Buffer]) -> BatchResponse:
    if len(frames) not in (6, 7):
        raise WireError("frame_count", f"a batch response of {len(frames)} frames")
    message_id = unpack_i32(frames[2], "message id")
    output_type = data_type(unpack_i32(frames[3], "output type"))
    if output_type not in OUTPUT_TYPES:
        raise WireError("data_type", f"a replica cannot answer with {output_type.canonical}")
    content = memoryview(frames[5])
    if len(frames[4]) != _U32.size or _U32.unpack(frames[4])[0] != len(content):
        raise WireError("content_size", "the response is not of the announced size")
    times = _reply_times(frames[6]) if len(frames) == 7 else None
    return BatchResponse(message_id, output_type, _split_outputs(content, output_type), times)


def _split_outputs(content: memoryview, output_type: DataType) -> tuple[Buffer, ...]:
    if len(content) < 4:
        raise WireError("content_size", f"a response content of {len(content)} bytes")
    count = _U32.unpack_from(content)[0]
    start = 4 * (count + 1)
    if start > len(content):
        raise WireError("content_size", f"{count} outputs announced in {len(content)} bytes")
    sizes = struct.unpack_from(f"<{count}I", content, 4)
    if start + sum(sizes) != len(content) or math.gcd(*sizes) % output_type.element_bytes:
        raise WireError("content_size", "the outputs' sizes do not add up to the content")
    ends = accumulate(sizes, initial=start)
    return tuple([content[low:high] for low, high in pairwise(ends)])


def _reply_times(frame: Buffer) -> ReplyTimes:
    if len(frame) == _REPLY_TIMES.size:
        return ReplyTimes(*_REPLY_TIMES.unpack(frame))
    if len(frame) != _REPLY_TIMES_AND_FAILURE.size:
        raise WireError("reply_times", f"reply times of {len(frame)} bytes")
    recv_ns, parse_ns, handle_ns, failed = _REPLY_TIMES_AND_FAILURE.unpack(frame)
    return ReplyTimes(recv_ns, parse_ns, handle_ns, failed != 0)


def _message_type(frames: Sequence[Buffer]) -> int:
    if len(frames) < 2 or len(frames[0]):
        raise WireError("delimiter", f"no empty delimiter and message type in {len(frames)} frames")
    return unpack_i32(frames[1], "message type")


def _expect_count(frames: Sequence[Buffer], count: int) -> None:
    if len(frames) != count:
        raise WireError("frame_count", f"{len(frames)} frames where {count} belong")


def unpack_i32(frame: Buffer, name: str) -> int:
    """Read a 4-byte integer.

    Args:
        frame: of 4 bytes, little-endian.
        name: of the field, for the error.

    Raises:
        WireError: the frame has another size.
    """
    if len(frame) != _I32.size:
        raise WireError("frame_size", f"a {name} of {len(frame)} bytes")
    value: int = _I32.unpack(frame)[0]
    return value


def _text(frame: Buffer, name: str) -> str:
    try:
        return str(frame, "utf-8")
    except UnicodeDecodeError:
        raise WireError("text", f"a {name} that is not UTF-8") from None


def _decimal_type(frame: Buffer) -> DataType:
    text = _text(frame, "input type")
    if not (text.isascii() and text.isdigit() and len(text) <= 10):
        raise WireError("data_type", f"an input type {text[:20]!r} that is not a small decimal number")
    return data_type(int(text))
