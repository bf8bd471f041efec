"""The client's side of an HTTP/2 connection that carries unary gRPC calls; pure: bytes in, bytes out.

Sources: RFC 9113 for frames, settings and flow control; RFC 7541 for headers, which the library hpack reads and writes;
https://github.com/grpc/grpc/blob/master/doc/PROTOCOL-HTTP2.md for what a call is: HEADERS and DATA there, and
HEADERS, DATA and HEADERS with the status back.

All calls of a connection have the same headers, and so, mostly, have all answers. Once both sides have them in their
tables a block of headers is a few bytes, each the number of an entry, and changes neither table: such blocks are
written and read once.
"""

from __future__ import annotations

import struct
from collections import deque
from collections.abc import Sequence
from typing import Any, NamedTuple
from urllib.parse import unquote

from model_containers.wire import Buffer

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"

# Kinds of frames. Plain numbers, as the flags are: each is compared for each answer.
DATA, HEADERS, PRIORITY, RST_STREAM, SETTINGS, PUSH_PROMISE, PING, GOAWAY, WINDOW_UPDATE, CONTINUATION = range(10)
END_STREAM, ACK, END_HEADERS, PADDED, PRIORITISED = 0x1, 0x1, 0x4, 0x8, 0x20

HEADER_TABLE_SIZE, ENABLE_PUSH, MAX_CONCURRENT_STREAMS, INITIAL_WINDOW_SIZE, MAX_FRAME_SIZE = range(1, 6)

CANCEL = 0x8
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

_FRAME_HEAD = struct.Struct(">HBBBI")
"""Length in two parts, kind, flags, stream."""
_HEAD_BYTES = 9
_SETTING = struct.Struct(">HI")
_NUMBER = struct.Struct(">I")

_OUR_FRAME_BYTES = 16_384
"""The largest frame that a server may send us: the least that there is, so that little is kept of one cut in two."""
_MOST_HEADER_BYTES = 1 << 18
_DEFAULT_WINDOW, _LARGEST_WINDOW = 65_535, 2**31 - 1
_WINDOW_LEFT = 1 << 30
"""When the server may send no more than that, it is told that it may send more: answers never wait."""
_LAST_STREAM = 2**31 - 1


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
        self.refusal = ""


class Connection:
    """One connection; calls go in, what is to be written collects in `outgoing`, answers come out of `received`.

    Args:
        headers: of every call.

    Attributes:
        outgoing: what is to be written next, in order; whoever writes it empties it.
        ready: the server has said how it wants to be spoken to: calls may begin.
        unseen: calls that the server is not going to look at, keys and when they began; whoever makes them again
            empties it.
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
        self._block: tuple[int, int, bytes] | None = None
        self._window = self._initial_window = _DEFAULT_WINDOW
        self._their_window = _LARGEST_WINDOW
        self._frame_bytes = _OUR_FRAME_BYTES
        self._most_calls = _LAST_STREAM
        self._sending: deque[tuple[int, _Call]] = deque()
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
        call = self._calls[stream] = _Call(key, self._initial_window, b"", since_ns)
        head = self._usual_head
        if head is not None and size <= self._frame_bytes and size <= call.window and size <= self._window:
            # The frame of headers and the head of the only frame of data in one go.
            block = self._usual_block
            frames = head.pack(
                *(0, len(block), HEADERS, END_HEADERS, stream, block),
                *(size >> 8, size & 0xFF, DATA, END_STREAM, stream),
            )
            self.outgoing += (frames, message)
            self._window -= size
            return
        self.outgoing += _header_frames(stream, self._encoded(), self._frame_bytes)
        call.unsent = memoryview(message)
        self._queue(stream, call)
        self._send()

    def _encoded(self) -> bytes:
        """The block of headers for the next call."""
        block: bytes = self._usual_block or self._encoder.encode(self._headers)
        if not self._usual_block and _only_numbers(block):
            self._usual_block = block
            self._usual_head = struct.Struct(f">HBBBI{len(block)}sHBBBI")
        return block

    def expire(self, until_ns: int) -> None:
        """Give up on calls that began at or before a time: nobody waits for their answers."""
        while self._calls:
            stream, call = next(iter(self._calls.items()))
            if call.began_ns > until_ns:
                break
            del self._calls[stream]
            self._cancel(stream, call)

    def _cancel(self, stream: int, call: _Call) -> None:
        call.unsent = b""
        self.outgoing.append(_frame(RST_STREAM, 0, stream, _NUMBER.pack(CANCEL)))

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
            if not (self.ready or kind == SETTINGS):
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
                payload = _unpadded(flags, payload)[5 if flags & PRIORITISED else 0 :]
            self._header_block(flags, stream, payload, flags & END_STREAM)
        elif kind == CONTINUATION:
            if self._block is None or self._block[0] != stream:
                raise _BrokenError("the server continued headers that did not begin")
            _, ends, block = self._block
            self._header_block(flags, stream, block + payload, ends)
        elif kind == WINDOW_UPDATE:
            self._more_window(stream, _NUMBER.unpack_from(payload)[0] & _LARGEST_WINDOW)
        elif kind == RST_STREAM:
            if (call := self._calls.pop(stream, None)) is not None:
                call.unsent = b""
                self._answers.append(Answer(call.key, None, f"the server gave the call up: {_error(payload)}"))
        elif kind == SETTINGS:
            if not flags & ACK:
                self._settings(payload)
        elif kind == PING:
            if not flags & ACK:
                self.outgoing.append(_frame(PING, ACK, 0, payload))
        elif kind == GOAWAY:
            self._going_away(payload)
        elif kind == PUSH_PROMISE:
            raise _BrokenError("the server pushes, which it was asked not to do")
        # PRIORITY says nothing to a client, and unknown kinds are to be ignored.

    def _settings(self, payload: bytes) -> None:
        for name, value in _SETTING.iter_unpack(payload):
            if name == HEADER_TABLE_SIZE:
                self._encoder.header_table_size = min(value, 4096)
                self._usual_head, self._usual_block = None, b""
            elif name == MAX_CONCURRENT_STREAMS:
                self._most_calls = value
            elif name == MAX_FRAME_SIZE:
                self._frame_bytes = value
            elif name == INITIAL_WINDOW_SIZE:
                more, self._initial_window = value - self._initial_window, value
                for stream, call in self._calls.items():
                    call.window += more
                    self._queue(stream, call)
        self.outgoing.append(_frame(SETTINGS, ACK, 0, b""))
        self.ready = True
        self._send()

    def _more_window(self, stream: int, more: int) -> None:
        if not stream:
            self._window += more
        elif (call := self._calls.get(stream)) is not None:
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
            words = payload[8:].decode("utf-8", "replace")
            raise _BrokenError(f"the server ended the connection: {_error(payload[4:])} {words}".rstrip())

    def _data(self, flags: int, stream: int, payload: bytes) -> None:
        self._their_window -= len(payload)
        if self._their_window < _WINDOW_LEFT:
            self._allow(_LARGEST_WINDOW - self._their_window)
            self._their_window = _LARGEST_WINDOW
        call = self._calls.get(stream)
        if call is None:
            return
        if flags & PADDED:
            payload = _unpadded(flags, payload)
        if payload:
            call.parts.append(payload)
        if flags & END_STREAM:
            self._ended(stream, call, "the answer has no status")

    def _allow(self, more: int) -> None:
        self.outgoing.append(_frame(WINDOW_UPDATE, 0, 0, _NUMBER.pack(more)))

    def _header_block(self, flags: int, stream: int, block: bytes, ends: int) -> None:
        if not flags & END_HEADERS:
            if len(block) > _MOST_HEADER_BYTES:
                raise _BrokenError(f"the server sent headers of more than {_MOST_HEADER_BYTES} bytes")
            self._block = (stream, ends, block)
            return
        self._block = None
        fields = self._known.get(block) or self._decoded(block)
        call = self._calls.get(stream)
        if call is None:
            return
        if fields.http_status not in ("", "200") and not fields.http_status.startswith("1"):
            call.refusal = f"HTTP status {fields.http_status}"
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
        if _only_numbers(block):
            self._known[block] = fields
        else:
            self._known.clear()  # the same numbers may mean something else now
        return fields

    def _ended(self, stream: int, call: _Call, refusal: str) -> None:
        del self._calls[stream]
        refusal = call.refusal or refusal
        parts = call.parts
        message = parts[0] if len(parts) == 1 else b"".join(parts)
        if not refusal and (len(message) < 5 or message[0] or len(message) != 5 + _NUMBER.unpack_from(message, 1)[0]):
            refusal = "the answer is not one plain message"
        if len(call.unsent):  # answered before it was all asked
            self._cancel(stream, call)
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
    return payload[1 : len(payload) - payload[0]] if flags & PADDED else payload


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
    name = STATUSES[int(status)] if status.isdecimal() and int(status) < len(STATUSES) else f"status {status}"
    return f"{name}: {' '.join(unquote(fields.grpc_message).split())[:200]}"
