"""The client's side of an HTTP/2 connection for unary gRPC calls; pure: bytes in, bytes out.

Sources: RFC 9113 for frames, settings and flow control; RFC 7541 for headers, which the library hpack reads and writes;
https://github.com/grpc/grpc/blob/master/doc/PROTOCOL-HTTP2.md for what a call is: HEADERS and DATA there, and
HEADERS, DATA and HEADERS with the status back.

All calls of a connection have the same headers, and so, mostly, have all answers. Once both sides have them in their
tables, a block of headers is a few bytes, each the number of an entry. It changes neither table, so loadgen writes and
reads such a block once.
"""

from __future__ import annotations

import struct
from collections import deque
from collections.abc import Sequence
from typing import Any, NamedTuple
from urllib.parse import unquote

from model_containers.data_types import Buffer

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"

# Kinds of frames. Plain numbers, as the flags are: each is compared for each answer.
DATA, HEADERS, PRIORITY, RST_STREAM, SETTINGS, PUSH_PROMISE, PING, GOAWAY, WINDOW_UPDATE, CONTINUATION = range(10)
END_STREAM, ACK, END_HEADERS, PADDED, PRIORITISED = 0x1, 0x1, 0x4, 0x8, 0x20

HEADER_TABLE_SIZE, ENABLE_PUSH, MAX_CONCURRENT_STREAMS, INITIAL_WINDOW_SIZE, MAX_FRAME_SIZE = range(1, 6)

PROTOCOL_ERROR, FLOW_CONTROL_ERROR, REFUSED_STREAM, CANCEL = 0x1, 0x3, 0x7, 0x8
ERRORS = (
    *("NO_ERROR", "PROTOCOL_ERROR", "INTERNAL_ERROR", "FLOW_CONTROL_ERROR", "SETTINGS_TIMEOUT", "STREAM_CLOSED"),
    *("FRAME_SIZE_ERROR", "REFUSED_STREAM", "CANCEL", "COMPRESSION_ERROR", "CONNECT_ERROR", "ENHANCE_YOUR_CALM"),
    *("INADEQUATE_SECURITY", "HTTP_1_1_REQUIRED"),
)

STATUSES = (
    *("OK", "CANCELLED", "UNKNOWN", "INVALID_ARGUMENT", "DEADLINE_EXCEEDED", "NOT_FOUND", "ALREADY_EXISTS"),
    *("PERMISSION_DENIED", "RESOURCE_EXHAUSTED", "FAILED_PRECONDITION", "ABORTED", "OUT_OF_RANGE", "UNIMPLEMENTED"),
    *("INTERNAL", "UNAVAILABLE", "DATA_LOSS", "UNAUTHENTICATED"),
)

_STATUS_NAMES = {str(number): name for number, name in enumerate(STATUSES)}

_FRAME_HEAD = struct.Struct(">HBBBI")
"""Length in two parts, kind, flags, stream."""
_HEAD_BYTES = 9
_SETTING = struct.Struct(">HI")
_NUMBER = struct.Struct(">I")
_SIZES = {PRIORITY: 5, RST_STREAM: 4, PING: 8, WINDOW_UPDATE: 4}
"""Bytes of a frame, by its kind, where all of a kind have the same number."""

_OUR_FRAME_BYTES = 16_384
"""The largest frame that a server may send us: the least that there is, so that little is kept of one cut in two."""
_LARGEST_FRAME_BYTES = 2**24 - 1
"""The most that a server may let us send in a frame."""
_MOST_HEADER_BYTES = 1 << 18
_MOST_HEADER_FRAMES = _MOST_HEADER_BYTES // _OUR_FRAME_BYTES
"""A count bounds the bytes too, and empty frames."""
_MOST_KNOWN = 64
"""Blocks of headers that are remembered; a server that does not vary its answers needs three."""
_MOST_WORDS = 200
_DEFAULT_WINDOW, _LARGEST_WINDOW = 65_535, 2**31 - 1
_WINDOW_LEFT = 1 << 30
"""When the server may send no more than that, it is told that it may send more: answers never wait."""
_LAST_STREAM = 2**31 - 1


_UNANSWERED = "the answer has no HTTP status"
"""Why a call has failed, until a status came."""


class _BrokenError(Exception):
    """The connection cannot go on."""


class Answer(NamedTuple):
    """How a call ended.

    Attributes:
        key: the caller's name of it.
        message: what was answered; None for a call that failed.
        reason: why it failed; empty for one that did not.
    """

    key: int
    message: bytes | None
    reason: str = ""


class _Fields(NamedTuple):
    """What matters of a block of headers; empty where it has none."""

    http_status: str
    grpc_status: str
    grpc_message: str


class _Call:
    """A call under way."""

    __slots__ = ("began_ns", "key", "parts", "queued", "refusal", "unsent", "window")

    def __init__(self, key: int, window: int, unsent: Buffer, began_ns: int) -> None:
        self.key, self.window, self.unsent, self.began_ns = key, window, unsent, began_ns
        self.queued = False
        self.parts: list[bytes] = []
        self.refusal = _UNANSWERED


class Http2Connection:
    """One connection; calls go in, what is to be written collects in `outgoing`, answers come out of `received`.

    Args:
        headers: of every call.

    Attributes:
        outgoing: what is to be written next, in order; the writer empties it.
        ready: the server has said how it wants to be spoken to: calls may begin.
        unseen: calls that the server says it has not looked at, keys and when they began; the
            caller that makes them again empties it.
        broken: why nothing more can be done with the connection; empty while it works.
    """

    def __init__(self, headers: Sequence[tuple[str, str]]) -> None:
        import hpack  # noqa: PLC0415 - behind an extra

        self._headers, self._error = list(headers), hpack.HPACKError
        self._encoder, self._decoder = hpack.Encoder(), hpack.Decoder(_MOST_HEADER_BYTES)
        self._usual_head: struct.Struct | None = None
        self._usual_block = b""
        self._known: dict[bytes, _Fields] = {}
        self._calls: dict[int, _Call] = {}
        self._next_stream = 1
        self._rest = b""
        self._block: tuple[int, int, list[bytes]] | None = None
        self._window = self._initial_window = _DEFAULT_WINDOW
        self._their_window = _LARGEST_WINDOW
        self._frame_bytes = _OUR_FRAME_BYTES
        self._most_calls = _LAST_STREAM
        self._sending: deque[tuple[int, _Call]] = deque()
        self._made_again: set[int] = set()
        self._leaving = False
        self._answers: list[Answer] = []
        self.ready = False
        self.unseen: list[tuple[int, int]] = []
        self.broken = ""
        settings = ((ENABLE_PUSH, 0), (INITIAL_WINDOW_SIZE, _LARGEST_WINDOW))
        self.outgoing: list[Buffer] = [
            PREFACE,
            _frame(SETTINGS, 0, 0, b"".join(_SETTING.pack(*one) for one in settings)),
        ]
        self._allow(_LARGEST_WINDOW - _DEFAULT_WINDOW)

    @property
    def usable(self) -> bool:
        """It takes calls, now or when others have ended."""
        return self.ready and not self._leaving and not self.broken and self._next_stream <= _LAST_STREAM

    @property
    def began(self) -> int:
        """How many calls there were."""
        return self._next_stream // 2

    @property
    def room(self) -> bool:
        """It takes a call now."""
        return len(self._calls) < self._most_calls and self.usable

    @property
    def keys(self) -> list[int]:
        """The calls under way, the oldest first."""
        return [call.key for call in self._calls.values()]

    # Calls ---------------------------------------------------------------------------------------------

    def call(self, key: int, message: Buffer, since_ns: int) -> None:
        """Begin a call; there has to be `room`.

        Args:
            key: what `Answer` is to call it.
            message: behind its prefix of five bytes, as a call carries it.
            since_ns: when it began, for `expire`.
        """
        stream, size = self._next_stream, len(message)
        self._next_stream = stream + 2
        head, window = self._usual_head, self._initial_window
        if head is not None and size <= self._frame_bytes and size <= window and size <= self._window:
            self._calls[stream] = _Call(key, window - size, b"", since_ns)
            # The frame of headers and the head of the only frame of data in one go.
            block = self._usual_block
            frames = head.pack(
                *(0, len(block), HEADERS, END_HEADERS, stream, block),
                *(size >> 8, size & 0xFF, DATA, END_STREAM, stream),
            )
            self.outgoing += (frames, message)
            self._window -= size
            return
        call = self._calls[stream] = _Call(key, window, memoryview(message), since_ns)
        self.outgoing += _header_frames(stream, self._encoded(), self._frame_bytes)
        self._queue(stream, call)
        self._send()

    def call_again(self, key: int, message: Buffer, since_ns: int) -> None:
        """Begin a call that was unseen before; where the server refuses it by itself once more, it has failed.

        Args:
            key: as in `call`.
            message: likewise.
            since_ns: likewise.
        """
        self._made_again &= self._calls.keys()  # those that have ended
        self._made_again.add(self._next_stream)
        self.call(key, message, since_ns)

    def _encoded(self) -> bytes:
        """The block of headers for the next call."""
        block: bytes = self._usual_block or self._encoder.encode(self._headers)
        if not self._usual_block and _only_numbers(block):
            self._usual_block = block
            self._usual_head = struct.Struct(f">HBBBI{len(block)}sHBBBI")
        return block

    def expire(self, until_ns: int) -> None:
        """Give up on calls that began at or before a time: no request waits for their answers."""
        while self._calls:
            stream, call = next(iter(self._calls.items()))
            if call.began_ns > until_ns:
                break
            del self._calls[stream]
            self._reset(stream, call, CANCEL)

    def _reset(self, stream: int, call: _Call, code: int) -> None:
        call.unsent = b""
        self.outgoing.append(_frame(RST_STREAM, 0, stream, _NUMBER.pack(code)))

    def _fail(self, stream: int, call: _Call, code: int, what: str) -> None:
        """End a call whose rules the server broke; the connection goes on."""
        del self._calls[stream]
        self._reset(stream, call, code)
        self._answers.append(Answer(call.key, None, f"{what}: {ERRORS[code]}"))

    # What is sent as windows allow ---------------------------------------------------------------------

    def _queue(self, stream: int, call: _Call) -> None:
        """Let a call send on: something is left, and its own window is open."""
        if len(call.unsent) and call.window > 0 and not call.queued:
            call.queued = True
            self._sending.append((stream, call))

    def _send(self) -> None:
        """Send what the windows allow, the oldest call first."""
        sending = self._sending
        while sending and self._window > 0:
            stream, call = sending[0]
            size = min(len(call.unsent), call.window, self._window, self._frame_bytes)
            if size > 0:
                flags = END_STREAM if size == len(call.unsent) else 0
                self.outgoing += (_FRAME_HEAD.pack(size >> 8, size & 0xFF, DATA, flags, stream), call.unsent[:size])
                call.unsent = call.unsent[size:]
                call.window -= size
                self._window -= size
            if not len(call.unsent) or call.window <= 0:
                call.queued = False
                sending.popleft()

    # What the server sends -----------------------------------------------------------------------------

    def received(self, data: bytes) -> list[Answer]:
        """Take in what was read; returns the calls that ended with it. Afterwards the connection may be `broken`."""
        answers = self._answers = []
        try:
            self._rest = self._take_in(self._rest + data if self._rest else data)
        except _BrokenError as error:
            self.broken = str(error)
        return answers

    def _take_in(self, data: bytes) -> bytes:
        """Take in whole frames; returns what is left."""
        begin, end = 0, len(data)
        while begin + _HEAD_BYTES <= end:
            high, low, kind, flags, stream = _FRAME_HEAD.unpack_from(data, begin)
            size = high << 8 | low
            if not self.ready and (kind != SETTINGS or flags & ACK):
                raise _BrokenError("what answers there does not speak HTTP/2")
            if size > _OUR_FRAME_BYTES:
                raise _BrokenError(f"the server sent a frame of {size} bytes, which may have {_OUR_FRAME_BYTES}")
            stop = begin + _HEAD_BYTES + size
            if stop > end:
                break
            payload = data[begin + _HEAD_BYTES : stop]
            begin = stop
            try:
                self._frame(kind, flags, stream & _LAST_STREAM, payload)
            except (struct.error, IndexError):
                raise _BrokenError(f"the server sent a frame of kind {kind} with {size} bytes: too few") from None
        return data[begin:]

    def _frame(self, kind: int, flags: int, stream: int, payload: bytes) -> None:
        if self._block is not None and kind != CONTINUATION:
            raise _BrokenError("the server did not continue its headers")
        if kind == DATA:
            self._data(flags, stream, payload)
        elif kind == HEADERS:
            if flags & (PADDED | PRIORITISED):
                payload = _unpadded(flags, payload)
            self._header_block(flags, stream, payload, flags & END_STREAM)
        elif kind == CONTINUATION:
            self._continued(flags, stream, payload)
        elif kind < CONTINUATION:  # unknown kinds are to be ignored
            self._control(kind, flags, stream, payload)

    def _control(self, kind: int, flags: int, stream: int, payload: bytes) -> None:
        """Take in a frame of those that are no part of an answer."""
        size = len(payload)
        if size != _SIZES.get(kind, size):
            right = _SIZES[kind]
            raise _BrokenError(f"the server sent a frame of kind {kind} with {size} bytes, which must have {right}")
        if stream and kind in (SETTINGS, PING, GOAWAY):
            raise _BrokenError(f"the server sent a frame of kind {kind} on stream {stream}, which must be on 0")
        if kind == WINDOW_UPDATE:
            self._more_window(stream, _NUMBER.unpack(payload)[0] & _LARGEST_WINDOW)
        elif kind == RST_STREAM:
            if (call := self._calls.pop(stream, None)) is None:
                self._check_began(kind, stream)
            else:
                call.unsent = b""
                (code,) = _NUMBER.unpack(payload)
                if code == REFUSED_STREAM and call.refusal is _UNANSWERED and stream not in self._made_again:
                    self.unseen.append((call.key, call.began_ns))
                else:
                    self._answers.append(Answer(call.key, None, f"the server gave the call up: {_error(payload)}"))
        elif kind == SETTINGS:
            self._settings(flags, payload)
        elif kind == PING:
            if not flags & ACK:
                self.outgoing.append(_frame(PING, ACK, 0, payload))
        elif kind == GOAWAY:
            self._going_away(payload)
        elif kind == PUSH_PROMISE:
            raise _BrokenError("the server pushes, which it was asked not to do")
        elif not stream:  # on any other, PRIORITY says nothing to a client
            self._check_began(kind, stream)

    def _check_began(self, kind: int, stream: int) -> None:
        """A stream without a call under way had one."""
        if not stream & 1 or stream >= self._next_stream:
            raise _BrokenError(f"the server sent a frame of kind {kind} on stream {stream}, which no call began")

    def _settings(self, flags: int, payload: bytes) -> None:
        if flags & ACK:
            if payload:
                raise _BrokenError("the server confirmed settings and sent others in one frame")
            return
        for name, value in _SETTING.iter_unpack(payload):
            if name == HEADER_TABLE_SIZE:
                self._encoder.header_table_size = min(value, 4096)
                self._usual_head, self._usual_block = None, b""
            elif name == ENABLE_PUSH:
                _check_setting("ENABLE_PUSH", value, 0, 0)
            elif name == MAX_CONCURRENT_STREAMS:
                self._most_calls = value
            elif name == MAX_FRAME_SIZE:
                _check_setting("MAX_FRAME_SIZE", value, _OUR_FRAME_BYTES, _LARGEST_FRAME_BYTES)
                self._frame_bytes = value
            elif name == INITIAL_WINDOW_SIZE:
                _check_setting("INITIAL_WINDOW_SIZE", value, 0, _LARGEST_WINDOW)
                more, self._initial_window = value - self._initial_window, value
                for stream, call in self._calls.items():
                    if call.window + more > _LARGEST_WINDOW:
                        raise _BrokenError(f"the server opened a call's window of {call.window} bytes by {more}")
                    call.window += more
                    self._queue(stream, call)
        self.outgoing.append(_frame(SETTINGS, ACK, 0, b""))
        self.ready = True
        self._send()

    def _more_window(self, stream: int, more: int) -> None:
        if not stream:
            if not 0 < more <= _LARGEST_WINDOW - self._window:
                raise _BrokenError(f"the server opened the connection's window of {self._window} bytes by {more}")
            self._window += more
        elif (call := self._calls.get(stream)) is None:
            self._check_began(WINDOW_UPDATE, stream)
        elif not more:
            self._fail(stream, call, PROTOCOL_ERROR, "the server opened the call's window by nothing")
        elif more > _LARGEST_WINDOW - call.window:
            self._fail(stream, call, FLOW_CONTROL_ERROR, "the server opened the call's window too far")
        else:
            call.window += more
            self._queue(stream, call)
        self._send()

    def _going_away(self, payload: bytes) -> None:
        """The server takes no more calls, and will not look at those after the last one that it names."""
        self._leaving = True
        last = _NUMBER.unpack_from(payload)[0] & _LAST_STREAM
        for stream in [stream for stream in self._calls if stream > last]:
            call = self._calls.pop(stream)
            call.unsent = b""
            self.unseen.append((call.key, call.began_ns))
        (code,) = _NUMBER.unpack_from(payload, 4)
        if code:
            words = _line(payload[8:].decode("utf-8", "replace"))
            raise _BrokenError(f"the server ended the connection: {_error(payload[4:])} {words}".rstrip())

    def _data(self, flags: int, stream: int, payload: bytes) -> None:
        self._their_window -= len(payload)
        if self._their_window < _WINDOW_LEFT:
            self._allow(_LARGEST_WINDOW - self._their_window)
            self._their_window = _LARGEST_WINDOW
        if flags & PADDED:
            payload = _unpadded(PADDED, payload)
        call = self._calls.get(stream)
        if call is None:
            self._check_began(DATA, stream)
            return
        if payload:
            call.parts.append(payload)
        if flags & END_STREAM:
            self._ended(stream, call, "the answer has no status")

    def _allow(self, more: int) -> None:
        self.outgoing.append(_frame(WINDOW_UPDATE, 0, 0, _NUMBER.pack(more)))

    def _continued(self, flags: int, stream: int, payload: bytes) -> None:
        if self._block is None or self._block[0] != stream:
            raise _BrokenError("the server continued headers that did not begin")
        _, ends, parts = self._block
        parts.append(payload)
        if len(parts) > _MOST_HEADER_FRAMES:
            raise _BrokenError(f"the server sent headers in more than {_MOST_HEADER_FRAMES} frames")
        if flags & END_HEADERS:
            self._block = None
            self._header_block(flags, stream, b"".join(parts), ends)

    def _header_block(self, flags: int, stream: int, block: bytes, ends: int) -> None:
        if not flags & END_HEADERS:
            self._block = (stream, ends, [block])
            return
        fields = self._known.get(block) or self._decoded(block)
        call = self._calls.get(stream)
        if call is None:
            self._check_began(HEADERS, stream)
            return
        if status := fields.http_status:
            if status == "200":
                call.refusal = ""
            elif not status.startswith("1"):
                call.refusal = f"HTTP status {_line(status)}"
        if ends:
            self._ended(stream, call, _refusal(fields))

    def _decoded(self, block: bytes) -> _Fields:
        """Read headers; every block has to be, since it may change the table that later ones refer to."""
        try:
            found: dict[Any, Any] = dict(self._decoder.decode(block, raw=True))
        except self._error as error:
            raise _BrokenError(f"the server sent headers that cannot be read: {error}") from None
        names = (b":status", b"grpc-status", b"grpc-message")
        fields = _Fields(*(found.get(name, b"").decode("utf-8", "replace") for name in names))
        if not _only_numbers(block):
            self._known.clear()  # the same numbers may mean something else now
        elif len(self._known) < _MOST_KNOWN:
            self._known[block] = fields
        return fields

    def _ended(self, stream: int, call: _Call, refusal: str) -> None:
        del self._calls[stream]
        refusal = call.refusal or refusal
        parts = call.parts
        message = parts[0] if len(parts) == 1 else b"".join(parts)
        if not refusal and (len(message) < 5 or message[0] or len(message) != 5 + _NUMBER.unpack_from(message, 1)[0]):
            refusal = "the answer is not one plain message"
        if len(call.unsent):  # answered before it was all asked
            self._reset(stream, call, CANCEL)
        self._answers.append(Answer(call.key, None, refusal) if refusal else Answer(call.key, message[5:]))


def _frame(kind: int, flags: int, stream: int, payload: bytes) -> bytes:
    size = len(payload)
    return _FRAME_HEAD.pack(size >> 8, size & 0xFF, kind, flags, stream) + payload


def _header_frames(stream: int, block: bytes, most: int) -> list[Buffer]:
    """Headers of a call, of any length."""
    parts = [block[at : at + most] for at in range(0, len(block), most)]
    kinds = [HEADERS] + [CONTINUATION] * (len(parts) - 1)
    flags = [0] * (len(parts) - 1) + [END_HEADERS]
    return [_frame(kind, flag, stream, part) for kind, flag, part in zip(kinds, flags, parts, strict=True)]


def _only_numbers(block: bytes) -> bool:
    """Whether a block refers to entries of the tables only, each with one byte (RFC 7541, 6.1): it changes nothing."""
    return min(block, default=0) >= 0x80 and 0xFF not in block


def _unpadded(flags: int, payload: bytes) -> bytes:
    """What a frame carries, without what its flags say is around it."""
    if flags & PADDED:
        padding = payload[0]
        if padding >= len(payload):
            raise _BrokenError(f"the server padded a frame of {len(payload)} bytes with {padding}")
        payload = payload[1 : len(payload) - padding]
    if flags & PRIORITISED:
        if len(payload) < _SIZES[PRIORITY]:
            raise _BrokenError("the server cut the priority of headers short")
        payload = payload[_SIZES[PRIORITY] :]
    return payload


def _check_setting(name: str, value: int, least: int, most: int) -> None:
    if not least <= value <= most:
        raise _BrokenError(f"the server set {name} to {value}, outside {least} to {most}")


def _line(text: str) -> str:
    """What a server says, in one short line."""
    return " ".join(text.split())[:_MOST_WORDS]


def _error(payload: bytes) -> str:
    (code,) = _NUMBER.unpack_from(payload)
    return ERRORS[code] if code < len(ERRORS) else f"error {code}"


def _refusal(fields: _Fields) -> str:
    """What the status at the end says, in one short line; empty where all is well."""
    status = fields.grpc_status
    if status == "0":
        return ""
    if not status:
        return "the answer has no status"
    name = _STATUS_NAMES.get(status) or f"status {_line(status)}"
    return f"{name}: {_line(unquote(fields.grpc_message))}"
