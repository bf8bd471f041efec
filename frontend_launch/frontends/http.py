"""The HTTP servers of the frontends: aiohttp applications on a port of the running loop."""

from __future__ import annotations

import asyncio
import contextlib
import hmac
import socket
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Iterable
from typing import TYPE_CHECKING

from aiohttp import web
from aiohttp.typedefs import Middleware
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4

from frontend_launch import stages
from frontend_launch.errors import LaunchError
from frontend_launch.frontends.connections import Complaints, Connections
from frontend_launch.frontends.slices import joined_in_slices
from frontend_launch.frontends.web_pages import refusal
from frontend_launch.ports import unusable

if TYPE_CHECKING:
    from frontend_launch.frontends.query import QueryFrontend

SHUTDOWN_TIMEOUT_S = 1.0
BACKLOG = 128
MAX_BODY_BYTES = 1 << 20
"""Of a request."""


def own_names(host: str, allowed: Iterable[str] = ()) -> frozenset[str]:
    """The names, in lower case, that a request may address a server by, beside addresses and ``localhost``.

    Args:
        host: that the server binds.
        allowed: further ones.
    """
    return frozenset(name.lower() for name in (host, socket.gethostname(), *allowed))


def guarded(names: Collection[str], token: str, *middlewares: Middleware) -> web.Application:
    """An application that refuses what a web page of another server asks, and who lacks its token.

    Args:
        names: from `own_names`; who has a token may use any.
        token: that requests have to bear; empty for none.
        middlewares: of the application.
    """

    @web.middleware
    async def guard(
        request: web.Request, handler: Callable[[web.Request], Awaitable[web.StreamResponse]]
    ) -> web.StreamResponse:
        if not _bears(request.headers.get("Authorization", ""), token):
            text = "Authorization: this server wants the bearer token of its deployment"
            return web.Response(status=401, text=text, headers={"WWW-Authenticate": "Bearer"})
        refused = refusal(request.method, request.headers, None if token else names)
        if refused is None:
            return await handler(request)
        return web.Response(status=refused.status, text=refused.text)

    return web.Application(middlewares=[guard, *middlewares], client_max_size=MAX_BODY_BYTES)


def _bears(authorization: str, token: str) -> bool:
    """Whether a request bears the token, in a time that does not tell how much of it is right."""
    scheme, _, given = authorization.partition(" ")
    same = hmac.compare_digest(given.strip().encode(errors="replace"), token.encode())
    return not token or (same and scheme.lower() == "bearer")


def metrics_app(frontend: QueryFrontend, names: Collection[str] = (), token: str = "") -> web.Application:
    """``/metrics`` in the shape of the original; loadgen's own under ``/metrics/loadgen``, and all for Prometheus.

    Args:
        frontend: whose metrics.
        names: from `own_names`.
        token: that requests have to bear; empty for none.
    """
    application, turn = guarded(names, token), asyncio.Lock()
    application.add_routes(
        [
            _page("/metrics", "application/json", frontend.report_text, turn),
            _page("/metrics/loadgen", "application/json", lambda: (frontend.counters().to_json(),), turn),
            _page("/metrics/loadgen/stages", "application/json", lambda: stages.json_parts(frontend.stages()), turn),
            _page("/metrics/prometheus", CONTENT_TYPE_PLAIN_0_0_4, frontend.prometheus, turn),
        ]
    )
    return application


def _page(path: str, content_type: str, make: Callable[[], Iterable[bytes]], turn: asyncio.Lock) -> web.RouteDef:
    async def get(request: web.Request) -> web.StreamResponse:
        async with turn:  # however many ask, the loop makes one at a time
            blocks = await joined_in_slices(make())
        headers = {"Content-Type": content_type}
        if len(blocks) == 1:
            return web.Response(body=blocks[0], headers=headers)
        response = web.StreamResponse(headers={**headers, "Content-Length": str(sum(map(len, blocks)))})
        await response.prepare(request)
        blocks.reverse()
        while blocks:
            await response.write(blocks.pop())  # also freed one by one
            await asyncio.sleep(0)  # the peer may read as fast as this writes
        await response.write_eof()
        return response

    return web.get(path, get)


@contextlib.asynccontextmanager
async def listening(
    application: web.Application, host: str, port: int, option: str, malformed: Callable[[], object] = lambda: None
) -> AsyncIterator[int]:
    """Serve an application while the context lasts; gives the port.

    Args:
        application: what to serve; cleaned up on the way out.
        host: to bind on.
        port: to bind; 0 takes any free one.
        option: that chooses the port, for the error.
        malformed: called for each invalid HTTP request.

    Raises:
        LaunchError: the port is in use.
    """
    complaints = Complaints(malformed)
    runner = web.AppRunner(application, access_log=None, logger=complaints, shutdown_timeout=SHUTDOWN_TIMEOUT_S)
    connections = Connections()
    application.middlewares.insert(0, connections.middleware())
    await runner.setup()
    assert runner.server is not None
    try:
        try:
            protocols = connections.serve(runner.server)
            socket = await asyncio.get_running_loop().create_server(protocols, host, port, backlog=BACKLOG)
        except OSError as error:
            raise LaunchError(unusable(host, port, option, error)) from None
        try:
            yield socket.sockets[0].getsockname()[1]
        finally:
            socket.close()
    finally:
        await runner.cleanup()
