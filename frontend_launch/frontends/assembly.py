"""Assembles a process of frontends: a store, and one frontend or both over it."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Collection
from dataclasses import replace
from pathlib import Path

from frontend_launch.frontends.http import listening, metrics_app, own_names
from frontend_launch.frontends.management import make_app
from frontend_launch.frontends.query import QueryFrontend
from frontend_launch.frontends.replicas import Shard
from frontend_launch.frontends.store import MemoryStore, Store
from frontend_launch.ports import Ports
from model_containers.credentials import Credentials


def memory() -> Store:
    """A store for frontends of one process."""
    return MemoryStore()


@contextlib.asynccontextmanager
async def redis(host: str, port: int, password: str | None = None) -> AsyncIterator[Store]:
    """A store for frontends of several processes.

    Args:
        host: of Redis.
        port: of Redis.
        password: of Redis; None for none.

    Raises:
        StoreError: Redis does not answer.
    """
    from frontend_launch.frontends.redis_store import open_store  # noqa: PLC0415 - behind an extra

    async with open_store(host, port, password) as store:
        await store.reach()
        yield store


@contextlib.asynccontextmanager
async def query(
    store: Store,
    host: str,
    ports: Ports,
    max_queued_bytes: int,
    max_message_bytes: int,
    ipc_directory: Path | None,
    shard: tuple[int, int],
    allowed: Collection[str] = (),
    credentials: Credentials | None = None,
) -> AsyncIterator[Ports]:
    """Serve the query frontend and its metrics while the context lasts; gives the ports that were taken.

    Args:
        store: configuration; shared with the management frontend.
        host: to bind on.
        ports: to bind; 0 takes any free one.
        max_queued_bytes: payload bytes that may wait; at the bound the frontend stops reading.
        max_message_bytes: of each part of a message that a peer sends.
        ipc_directory: for Unix sockets beside the ports; None for none.
        shard: this frontend's number, from 0, and of how many.
        allowed: names that HTTP requests may address it by, beside its addresses and this machine's name.
        credentials: of those that are served; None to serve all.

    Raises:
        LaunchError: a port is in use.
        StoreError: the store does not answer.
    """
    async with (
        QueryFrontend(
            store, host, ports, max_queued_bytes, ipc_directory, Shard(*shard), credentials, max_message_bytes
        ) as frontend,
        listening(
            metrics_app(frontend, own_names(host, allowed), _token(credentials)),
            host,
            ports.metrics,
            "--metrics-port",
            frontend.on_malformed_http,
        ) as metrics,
    ):
        yield replace(frontend.ports, metrics=metrics)


@contextlib.asynccontextmanager
async def management(
    store: Store, host: str, ports: Ports, allowed: Collection[str] = (), credentials: Credentials | None = None
) -> AsyncIterator[Ports]:
    """Serve the management frontend while the context lasts; gives the ports that were taken.

    Args:
        store: configuration; shared with the query frontend.
        host: to bind on.
        ports: whose `admin` is bound; 0 takes any free one.
        allowed: names that HTTP requests may address it by, beside its addresses and this machine's name.
        credentials: of those that are served; None to serve all.

    Raises:
        LaunchError: a port is in use.
    """
    application = make_app(store, own_names(host, allowed), _token(credentials))
    async with listening(application, host, ports.admin, "--admin-port") as admin:
        yield replace(ports, admin=admin)


def _token(credentials: Credentials | None) -> str:
    return "" if credentials is None else credentials.token
