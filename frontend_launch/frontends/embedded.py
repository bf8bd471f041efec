"""Both frontends in one process and one loop, over one store in memory."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator
from dataclasses import replace

from frontend_launch.frontends.http import listening, metrics_app
from frontend_launch.frontends.management import make_app
from frontend_launch.frontends.query import QueryFrontend
from frontend_launch.frontends.state import MemoryStore
from frontend_launch.ports import Ports


@contextlib.asynccontextmanager
async def frontends(host: str, ports: Ports, max_queued_bytes: int) -> AsyncIterator[Ports]:
    """Serve while the context lasts; gives the ports that were taken.

    Raises:
        LaunchError: a port is in use.
    """
    store = MemoryStore()
    async with (
        QueryFrontend(store, host, ports, max_queued_bytes) as query,
        listening(metrics_app(query), host, ports.metrics, "--metrics-port") as metrics,
        listening(make_app(store), host, ports.admin, "--admin-port") as admin,
    ):
        yield replace(query.ports, metrics=metrics, admin=admin)
