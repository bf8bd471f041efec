"""One connection of the HTTP/1.1 target: a request at a time, and what the parser tells of its answer."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Mapping
from typing import TYPE_CHECKING, cast

from typing_extensions import override

from loadgen.targets.http_answers import stream_type
from loadgen.targets.http_failures import LOCATION, RETRY_AFTER
from loadgen.targets.oip.tensors import HEADER_LENGTH
from loadgen.targets.port_probe import foreign

if TYPE_CHECKING:
    from loadgen.targets.http1 import HttpTarget

ENCODING = b"content-encoding"
STREAM = b"content-type"
"""Noted of an answer in parts."""

_ENDS, _JSON_BYTES, _NOTED, _TYPE = range(4)
_MEANT = {
    b"content-length": _ENDS,
    b"transfer-encoding": _ENDS,
    HEADER_LENGTH.encode(): _JSON_BYTES,
    STREAM: _TYPE,
    **dict.fromkeys((ENCODING, LOCATION, RETRY_AFTER), _NOTED),
}
"""What headers tell; most answers have one of these."""

_NOTHING: Mapping[bytes, bytes] = {}


Answer = tuple[int, bytes, int | None, Mapping[bytes, bytes]]
"""Status, body, how many of its first bytes are JSON (None for all), and headers that say more, in lower case."""


class Http1Connection(asyncio.Protocol):
    """One connection, with one request at a time; also what the parser tells.

    Attributes:
        answered: there was an answer on it.
        since_ns: when its request was sent, monotonic clock.
    """

    def __init__(self, owner: HttpTarget) -> None:
        self._owner, self.answered = owner, False
        self._request_id: int | None = None
        self.since_ns = 0
        self._parts: list[bytes] = []
        self._json_bytes: int | None = None
        self._noted = _NOTHING
        self._answers: list[Answer] = []
        self._until_closed: bool | None = None
        """Whether the answer under way ends with the connection; None before its first byte."""
        self._goes_on = False
        self._reason: str | None = "the connection was lost before the answer"

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """It is open."""
        self._transport = cast(asyncio.Transport, transport)
        self._parser = self._owner.parser(self)
        self._owner.opened(self)

    @property
    def answering(self) -> bool:
        """A part of an answer is here."""
        return self._until_closed is not None

    def begin(self, request_id: int, message: memoryview) -> None:
        """Send a request."""
        self._request_id, self.since_ns = request_id, time.monotonic_ns()
        self._transport.write(message)

    def expired(self, until_ns: int) -> bool:
        """Whether its request was sent at this time or before."""
        return self._request_id is not None and self.since_ns <= until_ns

    def data_received(self, data: bytes) -> None:
        """Bytes of answers."""
        try:
            self._parser.feed_data(data)
        except self._owner.errors as error:
            self._reason = foreign(data) or f"the answer is not HTTP: {error}"
            self._transport.abort()
        if self._answers:
            self._settle()
        elif self._request_id is None and self.answering:
            self._unasked()

    def _settle(self) -> None:
        """What was answered is known now that all that was read is parsed; the next request may be sent."""
        (answer, *more), self._answers = self._answers, []
        goes_on, self._goes_on = self._goes_on, False
        request_id, self._request_id = self._request_id, None
        if not self.answered:
            self.answered = True
            self._owner.useful()
        if request_id is not None:
            self._owner.answered(request_id, answer)
        if request_id is None or more or self.answering:
            self._unasked()
        elif not self._transport.is_closing():
            if goes_on:
                self._owner.ready(self)
            else:
                self._transport.close()

    def _unasked(self) -> None:
        """An answer, or the beginning of one, that no request asked for: its next bytes would count as another."""
        self._owner.unasked()
        self._transport.abort()

    def on_message_begin(self) -> None:
        """The first byte of an answer."""
        self._until_closed = True

    def on_header(self, name: bytes, value: bytes) -> None:
        """A header, or a trailer."""
        name = name.lower()
        meant = _MEANT.get(name)
        if meant is None:
            return
        if meant == _ENDS:
            self._until_closed = False
        elif meant == _JSON_BYTES:
            self._json_bytes = int(value) if value.isdigit() else None
        elif meant == _NOTED or stream_type(value) is not None:
            self._noted = {**self._noted, name: value}

    def on_body(self, body: bytes) -> None:
        """A part of the body."""
        self._parts.append(body)

    def on_message_complete(self) -> None:
        """The end of an answer, or of one before it."""
        noted, self._noted = self._noted, _NOTHING
        status = self._parser.get_status_code()
        if status < 200:  # the answer is still to come
            return
        parts, self._parts = self._parts, []
        json_bytes, self._json_bytes = self._json_bytes, None
        body = parts[0] if len(parts) == 1 else b"".join(parts)
        self._answers.append((status, body, json_bytes, noted))
        self._until_closed = None
        self._goes_on = self._parser.should_keep_alive()  # later it has forgotten

    def connection_lost(self, error: Exception | None) -> None:
        """It is closed, by whichever side."""
        if error is None and self._until_closed and self._request_id is not None and self._head_is_whole():
            self.on_message_complete()  # of no other length than that of the connection
            self._settle()
        self._owner.lost(self, self._request_id, self._reason)

    def _head_is_whole(self) -> bool:
        """Whether the body of an answer that ends with the connection began: if so, a further byte is one of it."""
        if self._parts:
            return True
        with contextlib.suppress(*self._owner.errors):
            self._parser.feed_data(b" ")
        whole = bool(self._parts)
        self._parts.clear()
        return whole

    def abort(self) -> None:
        """Give up on it, and on an answer that no request waits for."""
        self._reason = None
        self._transport.abort()


class HeadConnection(Http1Connection):
    """One whose answers have no body, whatever their heads say: those to HEAD (RFC 9110, 9.3.2)."""

    def on_headers_complete(self) -> None:
        """The head is all there is."""
        if self._parser.get_status_code() >= 200:
            super().on_message_complete()

    @override
    def on_message_complete(self) -> None:
        """Where the parser sees by itself that there is no body."""
        if self._parser.get_status_code() < 200:
            super().on_message_complete()

    @override
    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        if self._parts or not self.answering:
            self._parts.clear()
            self._parser = self._owner.parser(self)  # this one waits for a body


class CountedConnection(Http1Connection):
    """One of those to several addresses, whose shares are counted."""

    def __init__(self, owner: HttpTarget, address: str) -> None:
        super().__init__(owner)
        self._requests, self._address = owner.requests, address

    @override
    def begin(self, request_id: int, message: memoryview) -> None:
        self._requests[self._address] += 1
        super().begin(request_id, message)


class CountedHeadConnection(CountedConnection, HeadConnection):
    """Both."""
