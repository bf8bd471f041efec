"""The HTTP/1.1 target: prepared messages, one at a time on each connection.

Answers are parsed by llhttp, through httptools; of the clients that were tried it is the one that costs least, see
docs/performance.md. Connections are opened as they are needed, up to a number; requests beyond wait for one.

A server may close a connection that has been idle for a while in the moment in which the next request is sent. Such a
request is sent once more, on a connection that is new: there it is the first, and the first is never repeated.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections import Counter, deque
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any, cast

from typing_extensions import override

from loadgen.errors import ConfigError
from loadgen.load.inputs import Pool
from loadgen.load.patience import Expiry
from loadgen.load.target import Delivers, Delivery, Replies, Target, TargetSpec
from loadgen.targets.access import Access
from loadgen.targets.address import Address
from loadgen.targets.addresses import Addresses
from loadgen.targets.dialer import Dialer
from loadgen.targets.http_answers import JudgeSpec
from loadgen.targets.http_request import error_text
from loadgen.targets.mailbox import Mailbox
from loadgen.targets.oip.answers import AnswerJudge
from loadgen.targets.oip.messages import HEADER_LENGTH
from loadgen.targets.oip.tensors import Tensor

BEYOND_TIMEOUT_S = 1.0
"""From a request's timeout to the earliest end of its connection."""

EXPIRE_EVERY_S = 1.0

_HEADER_LENGTH = HEADER_LENGTH.encode()


@dataclass(frozen=True, slots=True)
class TensorAnswers(JudgeSpec):
    """Answers that carry tensors.

    Attributes:
        outputs: all of them.
    """

    outputs: tuple[Tensor, ...]

    @override
    def make(self) -> AnswerJudge:
        return AnswerJudge(self.outputs)


@dataclass(frozen=True, slots=True)
class HttpSpec(TargetSpec):
    """A server that answers requests over HTTP/1.1; requests are whole messages, their head included.

    Attributes:
        address: of the server.
        access: what it wants besides; headers are part of the requests.
        answers: what they should be.
        connections: at most.
        timeout_s: patience for one reply; None for any. A connection that took longer is closed a second or two later.
    """

    address: Address
    access: Access
    answers: JudgeSpec
    connections: int
    timeout_s: float | None = None

    @override
    def make(self) -> HttpTarget:
        """Make the target, not yet open."""
        return HttpTarget(self)


class HttpTarget(Target, Delivers):
    """Sends to a server over HTTP/1.1; see `HttpSpec`.

    Attributes:
        errors: what the parser raises.
        requests: sent to each address, where there are several.
    """

    def __init__(self, spec: HttpSpec) -> None:
        self._spec = spec
        self._mailbox = Mailbox(partial(spec.access.concealed, path=spec.address.path))
        self._judge = spec.answers.make()
        self._messages: list[memoryview] = []
        self._waiting: deque[tuple[int, int]] = deque()
        """Requests, and since when."""
        self._again: deque[tuple[int, int]] = deque()
        """Likewise, of those that are to be sent once more; there are never more than connections to be made."""
        self._resent = 0
        self._idle: list[_Http1Connection] = []
        self._open: set[_Http1Connection] = set()
        self._addresses, self.requests = Addresses(spec.address), Counter[str]()
        self._dialer = Dialer(spec.address.text, self._connect, self._wanted)
        self._expiry: Expiry | None = None

    @override
    async def open(self, pool: Pool) -> None:
        """Connect once, to see that it can be done.

        Raises:
            TargetError: the server cannot be reached within 10 s.
            ConfigError: httptools is not installed, or a certificate cannot be used.
        """
        try:
            import httptools  # noqa: PLC0415 - behind an extra
        except ImportError:
            raise ConfigError("httptools is not installed: pip install 'loadgen[oip]'") from None
        self._parser: Callable[[Any], Any] = httptools.HttpResponseParser
        self.errors: tuple[type[Exception], ...] = (httptools.HttpParserError, httptools.HttpParserUpgrade)
        self._messages = pool.payloads()
        self._tls = self._spec.access.ssl_context() if self._spec.address.tls else None
        await self._dialer.first()
        if self._spec.timeout_s is not None:
            self._expiry = Expiry(self._spec.timeout_s + BEYOND_TIMEOUT_S, EXPIRE_EVERY_S, self._expire)

    def _expire(self, until_ns: int) -> None:
        """Close the connections whose requests have timed out."""
        for connection in list(self._open):
            if connection.expired(until_ns):
                connection.abort()

    @override
    def send(self, first_id: int, count: int, now_ns: int) -> None:
        """Write requests to connections that have none; those for which there is none wait."""
        for request_id in range(first_id, first_id + count):
            if self._idle:
                self._write(self._idle.pop(), request_id)
            else:
                self._waiting.append((request_id, now_ns))
        self._dialer.open_more()

    def _write(self, connection: _Http1Connection, request_id: int) -> None:
        connection.begin(request_id, self._messages[request_id % len(self._messages)])

    def _wanted(self) -> int:
        """Connections for those that wait."""
        return min(self._spec.connections - len(self._open), len(self._waiting) + len(self._again))

    async def _connect(self) -> None:
        await self._addresses.connect(self._new, self._tls)

    def _new(self, address: str) -> _Http1Connection:
        return _CountedConnection(self, address) if self._addresses.several else _Http1Connection(self)

    # What connections tell -------------------------------------------------------------------------------------

    def ready(self, connection: _Http1Connection) -> None:
        """A connection has no request."""
        request_id = self._next(self._waiting)
        if request_id is None:
            self._idle.append(connection)
        else:
            self._write(connection, request_id)

    def opened(self, connection: _Http1Connection) -> None:
        """A connection is new."""
        self._open.add(connection)
        request_id = self._next(self._again)
        if request_id is None:
            self.ready(connection)
        else:
            self._resent += 1
            self._write(connection, request_id)

    def _next(self, waiting: deque[tuple[int, int]]) -> int | None:
        """The request that has waited for longest, of those that somebody still waits for."""
        timeout_s = self._spec.timeout_s
        oldest_ns = 0 if timeout_s is None or self._expiry is None else self._expiry.before_ns(timeout_s)
        while waiting:
            request_id, since_ns = waiting.popleft()
            if since_ns > oldest_ns:
                return request_id
        return None

    def useful(self) -> None:
        """A connection has its first answer."""
        self._dialer.answered()

    def answered(self, request_id: int, status: int, body: bytes, json_bytes: int | None) -> None:
        """An answer is here.

        Args:
            request_id: which was answered.
            status: of HTTP.
            body: whole.
            json_bytes: how many of its first bytes are JSON; None for all.
        """
        wrong = self._judge.http(body, json_bytes) if 200 <= status < 300 else ""
        if wrong is None:
            self._mailbox.completed(request_id)
        else:
            request = self._messages[request_id % len(self._messages)]
            self._mailbox.failed(request_id, wrong if status == 200 else error_text(status, body), request)

    def lost(self, connection: _Http1Connection, request_id: int | None, reason: str | None) -> None:
        """A connection is no more, nor the answer to its request, if any; no reason where no request waits for it.

        A server that had answered on it and began no other answer has closed it as an idle one, most likely.

        Args:
            connection: which.
            request_id: its request without an answer; None without one.
            reason: why the answer is missing; None where no caller waits for it.
        """
        self._open.discard(connection)
        if connection in self._idle:
            self._idle.remove(connection)
        if request_id is not None and reason is not None:
            if connection.answered and not connection.answering:
                self._again.append((request_id, connection.since_ns))
            else:
                self._mailbox.failed(request_id, reason)
                if not connection.answered:
                    self._dialer.unused()
        self._dialer.open_more()

    def parser(self, connection: _Http1Connection) -> Any:
        """A parser of one connection's answers."""
        return self._parser(connection)

    @override
    def drain(self) -> Replies:
        return self._mailbox.drain()

    @property
    @override
    def delivery(self) -> Delivery:
        addresses = self._addresses
        shares = {address: self.requests[address] for address in addresses.known} if addresses.several else {}
        return Delivery(self._resent, shares, addresses.notes)

    @override
    def notify(self, wake: Callable[[], None]) -> None:
        self._mailbox.notify(wake)

    @override
    async def close(self) -> None:
        """Disconnect; what is outstanding is left behind."""
        if self._expiry is not None:
            self._expiry.close()
        await self._dialer.close()
        for connection in list(self._open):
            connection.abort()
        # Transports tell their protocols in a later turn of the loop.
        await asyncio.sleep(0)


class _Http1Connection(asyncio.Protocol):
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
        self._answers: list[tuple[int, bytes, int | None]] = []
        self._until_closed: bool | None = None
        """Whether the answer under way ends with the connection; None before its first byte."""
        self._goes_on = False
        self._reason: str | None = "the connection was lost before the answer"

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
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
        try:
            self._parser.feed_data(data)
        except self._owner.errors as error:
            self._reason = f"the answer is no HTTP: {error}"
            self._transport.abort()
        if self._answers:
            self._settle()
        elif self._request_id is None and self.answering:
            self._transport.abort()  # the beginning of an answer that no request asked for

    def _settle(self) -> None:
        """What was answered is known now that all that was read is parsed; the next request may be sent."""
        (answer, *more), self._answers = self._answers, []
        goes_on, self._goes_on = self._goes_on, False
        request_id, self._request_id = self._request_id, None
        if not self.answered:
            self.answered = True
            self._owner.useful()
        if request_id is not None:
            self._owner.answered(request_id, *answer)
        if request_id is None or more or self.answering:
            self._transport.abort()  # unsolicited: its next bytes would count as another answer
        elif not self._transport.is_closing():
            if goes_on:
                self._owner.ready(self)
            else:
                self._transport.close()

    def on_message_begin(self) -> None:
        self._until_closed = True

    def on_header(self, name: bytes, value: bytes) -> None:
        name = name.lower()
        if name == _HEADER_LENGTH:
            self._json_bytes = int(value) if value.isdigit() else None
        elif name in (b"content-length", b"transfer-encoding"):
            self._until_closed = False

    def on_body(self, body: bytes) -> None:
        self._parts.append(body)

    def on_message_complete(self) -> None:
        if self._parser.get_status_code() < 200:  # the answer is still to come
            return
        parts, self._parts = self._parts, []
        json_bytes, self._json_bytes = self._json_bytes, None
        body = parts[0] if len(parts) == 1 else b"".join(parts)
        self._answers.append((self._parser.get_status_code(), body, json_bytes))
        self._until_closed = None
        self._goes_on = self._parser.should_keep_alive()  # later it has forgotten

    def connection_lost(self, error: Exception | None) -> None:
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


class _CountedConnection(_Http1Connection):
    """One of those to several addresses, whose shares are counted."""

    def __init__(self, owner: HttpTarget, address: str) -> None:
        super().__init__(owner)
        self._requests, self._address = owner.requests, address

    @override
    def begin(self, request_id: int, message: memoryview) -> None:
        self._requests[self._address] += 1
        super().begin(request_id, message)
