"""The HTTP/1.1 target: prepared messages, one at a time on each connection.

llhttp parses the answers, through httptools: the cheapest parser of those that were tried, see docs/performance.md.
Connections are opened as they are needed, up to a number; further requests wait for one.

A server may close an idle connection just when the next request is sent. Such a request is sent once more, as the first
of a new connection; the first request of a connection is never repeated.
"""

from __future__ import annotations

import asyncio
import time
from collections import Counter, deque
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

from typing_extensions import override

from frontend_launch.patience import Expiry
from loadgen.errors import ConfigError, TargetError
from loadgen.load.inputs import Pool
from loadgen.load.target import Delivers, Delivery, Replies, Target, TargetSpec
from loadgen.targets.access import Access
from loadgen.targets.address import Address
from loadgen.targets.addresses import Addresses
from loadgen.targets.content_encoding import decoded
from loadgen.targets.dialer import Dialer
from loadgen.targets.http1_connection import (
    ENCODING,
    STREAM,
    Answer,
    CountedConnection,
    CountedHeadConnection,
    HeadConnection,
    Http1Connection,
)
from loadgen.targets.http_answers import AnyAnswers, JudgeSpec, stream_text, stream_type
from loadgen.targets.http_failures import failure_text
from loadgen.targets.mailbox import Mailbox
from loadgen.targets.oip.tensors import Tensor
from loadgen.targets.port_probe import explained
from model_containers.extras import remedy

if TYPE_CHECKING:
    from loadgen.targets.oip.answers import AnswerJudge

BEYOND_TIMEOUT_S = 1.0
"""From a request's timeout to the earliest end of its connection."""

EXPIRE_EVERY_S = 1.0


@dataclass(frozen=True, slots=True)
class TensorAnswers(JudgeSpec):
    """Answers that carry tensors.

    Attributes:
        outputs: all of them.
    """

    outputs: tuple[Tensor, ...]

    @override
    def make(self) -> AnswerJudge:
        from loadgen.targets.oip.answers import AnswerJudge  # noqa: PLC0415 - most answers carry none

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
        head: requests are of HEAD, whose answers have no body.
        trusted: answers in parts count too.
    """

    address: Address
    access: Access
    answers: JudgeSpec
    connections: int
    timeout_s: float | None = None
    head: bool = False
    trusted: bool = False

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
        self._idle: list[Http1Connection] = []
        self._open: set[Http1Connection] = set()
        self._addresses, self.requests = Addresses(spec.address), Counter[str]()
        self._dialer = Dialer(spec.address.shown, self._connect, self._wanted)
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
            raise ConfigError(f"httptools is not installed; {remedy('oip')}") from None
        self._parser: Callable[[Any], Any] = httptools.HttpResponseParser
        self.errors: tuple[type[Exception], ...] = (httptools.HttpParserError, httptools.HttpParserUpgrade)
        self._messages = pool.payloads()
        self._tls = self._spec.access.ssl_context() if self._spec.address.tls else None
        try:
            await self._dialer.first()
        except TargetError as error:
            raise await explained(error, self._spec.address) from None
        if self._spec.timeout_s is not None:
            self._expiry = Expiry(self._spec.timeout_s + BEYOND_TIMEOUT_S, EXPIRE_EVERY_S, self._expire)

    def _expire(self, until_ns: int) -> None:
        """Close the connections whose requests have timed out."""
        for connection in list(self._open):
            if connection.expired(until_ns):
                connection.abort()

    @override
    def send(self, first_id: int, count: int, now_ns: int) -> None:
        """Write requests to idle connections; the others wait."""
        for request_id in range(first_id, first_id + count):
            if self._idle:
                self._write(self._idle.pop(), request_id)
            else:
                self._waiting.append((request_id, now_ns))
        self._dialer.open_more()

    def _write(self, connection: Http1Connection, request_id: int) -> None:
        connection.begin(request_id, self._messages[request_id % len(self._messages)])

    def _wanted(self) -> int:
        """Connections for those that wait."""
        return min(self._spec.connections - len(self._open), len(self._waiting) + len(self._again))

    async def _connect(self) -> None:
        await self._addresses.connect(self._new, self._tls)

    def _new(self, address: str) -> Http1Connection:
        if self._addresses.several:
            return (CountedHeadConnection if self._spec.head else CountedConnection)(self, address)
        return HeadConnection(self) if self._spec.head else Http1Connection(self)

    # What connections tell -------------------------------------------------------------------------------------

    def ready(self, connection: Http1Connection) -> None:
        """A connection has no request."""
        request_id = self._next(self._waiting)
        if request_id is None:
            self._idle.append(connection)
        else:
            self._write(connection, request_id)

    def opened(self, connection: Http1Connection) -> None:
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

    def answered(self, request_id: int, answer: Answer) -> None:
        """An answer is here.

        Args:
            request_id: which was answered.
            answer: what came.
        """
        done_ns = time.monotonic_ns()  # what is read of the answer from here on is not the server's time
        status, body, json_bytes, noted = answer
        wrong: str | None = None if 200 <= status < 300 else ""
        if noted:
            wrong, body = self._decoded(wrong, answer)
        if wrong is None:
            wrong = self._judge.http(body, json_bytes)
        if wrong is None:
            self._mailbox.completed(request_id, done_ns)
        else:
            request = self._messages[request_id % len(self._messages)]
            reason = wrong
            if status != 200 and not (wrong and (ENCODING in noted or STREAM in noted)):
                text = failure_text(status, body, noted, self._spec.address)
                reason = f"{text}; {wrong}" if wrong else text
            self._mailbox.failed(request_id, reason, request, done_ns)

    def unasked(self) -> None:
        """An answer that no request asked for is here."""
        self._mailbox.unasked()

    def _decoded(self, wrong: str | None, answer: Answer) -> tuple[str | None, bytes]:
        """What is wrong with an answer, and its body without the encoding that it came in, where either is read."""
        _, body, _, noted = answer
        encoding, kind = noted.get(ENCODING), stream_type(noted.get(STREAM, b""))
        if wrong is None and kind is not None and not (self._spec.trusted or self._spec.head):
            return stream_text(kind), body
        if encoding is None or (wrong is None and isinstance(self._judge, AnyAnswers)):
            return wrong, body
        try:
            return wrong, decoded(body, encoding)
        except ValueError as error:
            return (str(error) if wrong is None else wrong), b""

    def lost(self, connection: Http1Connection, request_id: int | None, reason: str | None) -> None:
        """A connection is closed, and its request, if any, has no answer.

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

    def parser(self, connection: Http1Connection) -> Any:
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
        return Delivery(self._resent, shares, [*addresses.notes, *self._dialer.notes])

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
