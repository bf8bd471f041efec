"""Bounds what peers may take of an HTTP server: how many connections, for how long, and how many lines of its log."""

from __future__ import annotations

import asyncio
import logging
from collections import OrderedDict
from collections.abc import Awaitable, Callable
from typing import Any, cast

from aiohttp import web
from aiohttp.http_exceptions import HttpProcessingError
from aiohttp.typedefs import Middleware
from typing_extensions import override

from frontend_launch.frontends import garbage
from frontend_launch.frontends.seldom import Seldom

log = logging.getLogger(__name__)

MAX_CONNECTIONS = 256
"""Of one server; beyond it the one that has kept it waiting for longest is closed."""

HEAD_TIMEOUT_S = 60.0
"""How long the server waits for the head of a request, the first of a connection or the next."""

UNREAD_TIMEOUT_S = 60.0
"""How long an answer may wait for its reader."""

PEERS_FAULTS = (HttpProcessingError, web.RequestPayloadError, ConnectionError)
"""What an invalid HTTP request raises, in its head or in its body."""


class Connections:
    """The connections of one server."""

    def __init__(self) -> None:
        self._waiting: OrderedDict[asyncio.BaseTransport, _Connection] = OrderedDict()
        """Those without a request under way, the one that has waited longest first."""
        self._busy: OrderedDict[asyncio.BaseTransport, _Connection] = OrderedDict()
        self._turn = asyncio.Lock()
        self._warn = Seldom(log)
        self._closed = 0

    def serve(self, make: Callable[[], asyncio.Protocol]) -> Callable[[], asyncio.Protocol]:
        """How to make the protocol of a new connection, with which it is one of these.

        Args:
            make: makes the server's own.
        """
        return lambda: _Connection(self, make())

    def middleware(self) -> Middleware:
        """To be the first of the application, so that it is told of each request."""

        @web.middleware
        async def follow(
            request: web.Request, handler: Callable[[web.Request], Awaitable[web.StreamResponse]]
        ) -> web.StreamResponse:
            async with self._turn:  # however many requests come together, a turn of the loop begins one of them
                await asyncio.sleep(0)
            transport = request.transport
            connection = None if transport is None else self._waiting.pop(transport, None)
            if transport is None or connection is None:  # it is gone
                return await handler(request)
            self._busy[transport] = connection
            connection.expect_head(False)
            try:
                return await handler(request)
            finally:
                if self._busy.pop(transport, None) is not None:
                    self._waiting[transport] = connection
                    connection.expect_head(True)

        return follow

    def opened(self, transport: asyncio.Transport, connection: _Connection) -> None:
        """Take note of a new connection, and close another where there are too many.

        Args:
            transport: of the connection.
            connection: its protocol.
        """
        if len(self._waiting) + len(self._busy) >= MAX_CONNECTIONS:
            _, longest = (self._waiting or self._busy).popitem(last=False)
            longest.end()
            self._warn("more than %d HTTP connections: the one that has waited for longest is closed", MAX_CONNECTIONS)
        self._waiting[transport] = connection

    def closed(self, transport: asyncio.BaseTransport) -> None:
        """Forget a connection."""
        self._waiting.pop(transport, None)
        self._busy.pop(transport, None)
        self._closed += 1
        if self._closed % garbage.AFTER_CONNECTIONS == 0:
            garbage.collect()


class _Connection(asyncio.Protocol):
    """Passes on what happens to one connection, and ends it where its peer keeps the server waiting."""

    def __init__(self, connections: Connections, protocol: asyncio.Protocol) -> None:
        self._connections, self._protocol = connections, protocol
        self._head: asyncio.TimerHandle | None = None
        self._unread: asyncio.TimerHandle | None = None

    @override
    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)
        self._connections.opened(self._transport, self)
        self.expect_head(True)
        self._protocol.connection_made(transport)

    def expect_head(self, expected: bool) -> None:
        """Wait for the head of a request from now on, or no longer."""
        self._head = _restarted(self._head, HEAD_TIMEOUT_S if expected else None, self._transport)

    def end(self) -> None:
        """Close the connection without an answer."""
        self._transport.abort()

    @override
    def data_received(self, data: bytes) -> None:
        self._protocol.data_received(data)

    @override
    def eof_received(self) -> bool | None:
        return self._protocol.eof_received()

    @override
    def pause_writing(self) -> None:
        self._unread = _restarted(self._unread, UNREAD_TIMEOUT_S, self._transport)
        self._protocol.pause_writing()

    @override
    def resume_writing(self) -> None:
        self._unread = _restarted(self._unread, None, self._transport)
        self._protocol.resume_writing()

    @override
    def connection_lost(self, exc: Exception | None) -> None:
        for timer in (self._head, self._unread):
            if timer is not None:
                timer.cancel()
        self._connections.closed(self._transport)
        self._protocol.connection_lost(exc)


def _restarted(
    timer: asyncio.TimerHandle | None, after_s: float | None, transport: asyncio.Transport
) -> asyncio.TimerHandle | None:
    """A timer that ends a connection, in place of another; None for no timer."""
    if timer is not None:
        timer.cancel()
    return None if after_s is None else asyncio.get_running_loop().call_later(after_s, transport.abort)


class Complaints(logging.LoggerAdapter[logging.Logger]):
    """What the server says of requests: what peers did wrong is counted, and has a line now and then.

    Args:
        malformed: called for each invalid HTTP request.
    """

    def __init__(self, malformed: Callable[[], object]) -> None:
        super().__init__(log)
        self._malformed, self._warn, self._warn_of_own = malformed, Seldom(log), Seldom(log)

    @override
    def exception(self, msg: object, *args: object, exc_info: Any = True, **_: Any) -> None:
        """Say what ended a request."""
        if isinstance(exc_info, PEERS_FAULTS):
            self._malformed()
            self._warn("dropped an invalid HTTP request: %.200s", _first_line(exc_info))
        else:
            error = exc_info if isinstance(exc_info, BaseException) else None
            self._warn_of_own(str(msg), *args, error=error)

    @override
    def debug(self, msg: object, *args: object, exc_info: Any = None, **_: Any) -> None:
        """Of the debug messages, only one about an invalid method matters."""
        if isinstance(exc_info, PEERS_FAULTS):
            self.exception(msg, exc_info=exc_info)


def _first_line(error: BaseException) -> str:
    text = getattr(error, "message", "") or str(error) or type(error).__name__
    return ascii(next(iter(str(text).splitlines()), ""))
