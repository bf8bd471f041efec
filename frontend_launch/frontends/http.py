"""HTTP servers of the frontends: aiohttp applications on a port of the running loop."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator

from aiohttp import web

from frontend_launch.errors import LaunchError
from frontend_launch.frontends.query import QueryFrontend

SHUTDOWN_TIMEOUT_S = 1.0


def metrics_app(frontend: QueryFrontend) -> web.Application:
    """``/metrics`` in the shape of the original, ``/metrics/loadgen`` with our own monotone counters."""

    async def metrics(_: web.Request) -> web.Response:
        return web.json_response(frontend.report())

    async def counters(_: web.Request) -> web.Response:
        return web.Response(text=frontend.counters().to_json(), content_type="application/json")

    application = web.Application()
    application.add_routes([web.get("/metrics", metrics), web.get("/metrics/loadgen", counters)])
    return application


@contextlib.asynccontextmanager
async def listening(application: web.Application, host: str, port: int, option: str) -> AsyncIterator[int]:
    """Serve an application while the context lasts; gives the port.

    Raises:
        LaunchError: the port is in use.
    """
    runner = web.AppRunner(application, access_log=None, shutdown_timeout=SHUTDOWN_TIMEOUT_S)
    await runner.setup()
    try:
        try:
            await web.TCPSite(runner, host, port).start()
        except OSError as error:
            text = f"port {port} on {host} cannot be used ({error.strerror}): free it or choose another with {option}"
            raise LaunchError(text) from None
        yield runner.addresses[0][1]
    finally:
        await runner.cleanup()
