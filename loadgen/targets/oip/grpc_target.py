"""The gRPC target of the Open Inference Protocol: prepared messages over HTTP/2.

gRPC's own library takes three to six times the CPU time for a call, mostly to wake up its own threads; see
docs/performance.md. It is used only to ask for metadata.
"""

from __future__ import annotations

import asyncio
import ssl
from collections import Counter, deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import cast

from typing_extensions import override

from frontend_launch.patience import Expiry
from loadgen.errors import ConfigError
from loadgen.load.inputs import Pool
from loadgen.load.target import Delivers, Delivery, Replies, Target, TargetSpec
from loadgen.targets import http2
from loadgen.targets.access import Access
from loadgen.targets.address import Address
from loadgen.targets.addresses import Addresses
from loadgen.targets.dialer import Dialer
from loadgen.targets.mailbox import Mailbox
from loadgen.targets.oip.answers import AnswerJudge
from loadgen.targets.oip.tensors import Tensor
from model_containers.extras import remedy

METHOD = "/inference.GRPCInferenceService/ModelInfer"
BEYOND_TIMEOUT_S = 1.0
"""From a request's timeout to the cancellation of its call."""
EXPIRE_EVERY_S = 1.0
LOST = "the connection was lost before the answer"


@dataclass(frozen=True, slots=True)
class OipGrpcSpec(TargetSpec):
    """A model on a server; requests are what `loadgen.targets.oip.messages.grpc_request` makes.

    Attributes:
        address: of the model.
        access: headers, tokens and certificates for the server.
        outputs: what a good answer carries.
        connections: over which calls are spread in turn.
        timeout_s: patience for one reply; None for any.
        trusted: answers are not looked at.
    """

    address: Address
    access: Access
    outputs: tuple[Tensor, ...]
    connections: int = 1
    timeout_s: float | None = None
    trusted: bool = False

    @override
    def make(self) -> OipGrpcTarget:
        """Make the target, not yet open."""
        return OipGrpcTarget(self)


class OipGrpcTarget(Target, Delivers):
    """Sends to a server over gRPC; see `OipGrpcSpec`."""

    def __init__(self, spec: OipGrpcSpec) -> None:
        self._spec = spec
        self._mailbox = Mailbox(spec.access.concealed)
        self._judge: Callable[[bytes], str | None] = _trust if spec.trusted else AnswerJudge(spec.outputs).grpc
        self._messages: list[memoryview] = []
        self._waiting: deque[tuple[int, int]] = deque()
        """Requests, and since when; in the order in which they were to be sent."""
        self._again: deque[tuple[int, int]] = deque()
        """Likewise, of those that the server has not looked at."""
        self._resent = 0
        self._open: list[_GrpcConnection] = []
        self._leaving: set[_GrpcConnection] = set()
        self._turn = 0
        self._addresses, self._calls = Addresses(spec.address), Counter[str]()
        """Calls to each address over connections that are gone."""
        self._dialer = Dialer(spec.address.shown, self._connect, self._wanted)
        self._expiry: Expiry | None = None
        self._closed = False

    @override
    async def open(self, pool: Pool) -> None:
        """Connect.

        Raises:
            TargetError: the server cannot be reached within 10 s, or does not speak HTTP/2.
            ConfigError: hpack is not installed, or a certificate cannot be used.
        """
        try:
            import hpack  # noqa: F401, PLC0415 - behind an extra
        except ImportError:
            raise ConfigError(f"hpack is not installed; {remedy('oip')}") from None
        address, access = self._spec.address, self._spec.access
        self._tls: ssl.SSLContext | None = None
        if address.tls:
            self._tls = access.ssl_context()
            self._tls.set_alpn_protocols(["h2"])
        headers = {
            ":method": "POST",
            ":scheme": "https" if address.tls else "http",
            ":path": METHOD,
            ":authority": dict(access.headers).get("host", address.authority),
            "te": "trailers",
            "content-type": "application/grpc",
            "user-agent": "loadgen",
            **dict(access.metadata),
        }
        self._headers = list(headers.items())
        self._messages = pool.payloads()
        await self._dialer.first(self._spec.connections)
        if self._spec.timeout_s is not None:
            self._expiry = Expiry(self._spec.timeout_s + BEYOND_TIMEOUT_S, EXPIRE_EVERY_S, self._expire)

    async def _connect(self) -> None:
        """Make a connection that takes calls."""
        connection = await self._addresses.connect(
            lambda address: _GrpcConnection(self, http2.Http2Connection(self._headers), address), self._tls
        )
        try:
            await connection.opened
        except BaseException:  # timed out or cancelled: it must not stay open
            connection.abort()
            raise

    def _wanted(self) -> int:
        return self._spec.connections - len(self._open)

    @override
    def send(self, first_id: int, count: int, now_ns: int) -> None:
        """Begin calls, over the connections in turn; calls beyond their capacity wait."""
        self._waiting.extend((request_id, now_ns) for request_id in range(first_id, first_id + count))
        self._begin()

    def _begin(self) -> None:
        """Begin waiting calls, as far as connections have capacity."""
        waiting, messages = self._waiting, self._messages
        while self._again and (connection := self._next()) is not None:
            request_id, since_ns = self._again.popleft()
            connection.core.call_again(request_id, messages[request_id % len(messages)], since_ns)
            self._resent += 1
        while waiting and (connection := self._next()) is not None:
            request_id, since_ns = waiting.popleft()
            connection.core.call(request_id, messages[request_id % len(messages)], since_ns)
        for connection in self._open:
            connection.flush()

    def _next(self) -> _GrpcConnection | None:
        """The next connection in turn with free capacity."""
        for _ in self._open:
            self._turn = (self._turn + 1) % len(self._open)
            if self._open[self._turn].core.room:
                return self._open[self._turn]
        return None

    def _expire(self, until_ns: int) -> None:
        """Cancel the calls whose requests have timed out."""
        for waiting in (self._again, self._waiting):
            while waiting and waiting[0][1] <= until_ns:
                waiting.popleft()
        for connection in (*self._open, *self._leaving):
            connection.core.expire(until_ns)
            connection.flush()
        self._begin()

    # What connections tell -------------------------------------------------------------------------------------

    def opened(self, connection: _GrpcConnection) -> None:
        """A connection takes calls."""
        self._open.append(connection)
        self._begin()

    def answered(self, connection: _GrpcConnection, answers: list[http2.Answer]) -> None:
        """Calls of a connection have ended.

        Args:
            connection: whose calls they were.
            answers: request, its message or None, and why it has no message.
        """
        if not connection.answered:
            connection.answered = True
            self._dialer.answered()
        for request_id, message, reason in answers:
            wrong = reason if message is None else self._judge(message)
            if wrong is None:
                self._mailbox.completed(request_id)
            else:
                self._mailbox.failed(request_id, wrong, self._messages[request_id % len(self._messages)])
        if self._waiting:
            self._begin()

    def again(self, requests: list[tuple[int, int]]) -> None:
        """The server has not read these calls, which began at these times."""
        self._again.extend(requests)
        self._begin()

    def leaving(self, connection: _GrpcConnection) -> None:
        """A connection takes no more calls and is replaced; calls under way may still end."""
        if connection in self._open:
            self._open.remove(connection)
            self._leaving.add(connection)
            if not connection.answered and (connection.core.broken or not connection.core.keys):
                self._dialer.unused()
            self._dialer.open_more()

    def lost(self, connection: _GrpcConnection, request_ids: list[int], reason: str) -> None:
        """A connection is gone; these requests get no answers.

        Args:
            connection: which.
            request_ids: its calls without an answer.
            reason: why, for a reader.
        """
        if self._closed:
            return
        if request_ids and not connection.answered:
            self._dialer.unused()
        self.leaving(connection)
        self._leaving.discard(connection)
        self._calls[connection.address] += connection.core.began
        for request_id in request_ids:
            self._mailbox.failed(request_id, reason)

    @override
    def drain(self) -> Replies:
        return self._mailbox.drain()

    @property
    @override
    def delivery(self) -> Delivery:
        addresses = self._addresses
        notes = [*addresses.notes, *self._dialer.notes]
        if not addresses.several:
            return Delivery(self._resent, notes=notes)
        calls = Counter(self._calls)
        for connection in (*self._open, *self._leaving):
            calls[connection.address] += connection.core.began
        return Delivery(self._resent, {address: calls[address] for address in addresses.known}, notes)

    @override
    def notify(self, wake: Callable[[], None]) -> None:
        self._mailbox.notify(wake)

    @override
    async def close(self) -> None:
        """Disconnect; outstanding requests are abandoned."""
        self._closed = True
        if self._expiry is not None:
            self._expiry.close()
        await self._dialer.close()
        for connection in (*self._open, *self._leaving):
            connection.abort()
        # Transports tell their protocols in a later turn of the loop.
        await asyncio.sleep(0)


class _GrpcConnection(asyncio.Protocol):
    """The shell of one connection.

    Attributes:
        core: what it speaks.
        opened: done when it takes calls; an OSError when it is never going to.
        address: of the server.
        answered: a call of it has ended.
    """

    def __init__(self, owner: OipGrpcTarget, core: http2.Http2Connection, address: str) -> None:
        self._owner, self.core, self.address, self.answered = owner, core, address, False
        self.opened: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        self.flush()

    def flush(self) -> None:
        """Write the pending bytes."""
        if self.core.outgoing:
            self._transport.writelines(self.core.outgoing)
            self.core.outgoing = []

    def data_received(self, data: bytes) -> None:
        core, owner = self.core, self._owner
        answers = core.received(data)
        if core.unseen:
            owner.again(core.unseen)
            core.unseen = []
        if core.ready and not self.opened.done():
            self.opened.set_result(None)
            owner.opened(self)
        if answers:
            owner.answered(self, answers)
        self.flush()
        if not core.usable and self.opened.done():
            owner.leaving(self)
        if core.broken:
            self.abort()
        elif not core.usable and not core.keys and self.opened.done():
            self._transport.close()

    def connection_lost(self, error: Exception | None) -> None:
        if not self.opened.done():
            self.opened.set_exception(ConnectionError(self.core.broken or _why_not(error)))
            self.opened.exception()  # seen, whether somebody still waits or not
        self._owner.lost(self, self.core.keys, self.core.broken or LOST)

    def abort(self) -> None:
        """Give up on it."""
        self._transport.abort()


def _trust(_answer: bytes) -> None:
    """Accept any answer."""


def _why_not(error: Exception | None) -> str:
    return f"the connection was closed before it could be used{f': {error}' if error else ''}"
