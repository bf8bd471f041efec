"""What is measured: a deployment of our own, up while it is, or a frontend that somebody else runs."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import shutil
from collections.abc import AsyncIterator
from dataclasses import dataclass, replace
from pathlib import Path

from frontend_launch.admin import AdminClient
from frontend_launch.errors import AdminError, LaunchError
from frontend_launch.launch.deployment import DEFAULT_OUTPUT, Deployment
from frontend_launch.launch.launcher import Endpoint
from frontend_launch.ports import Ports
from loadgen.config import Connection, Plan
from loadgen.deployments import deployment_of
from loadgen.errors import ConfigError, TargetError
from loadgen.waiting import unless

log = logging.getLogger(__name__)

LOOPBACK = ("127.0.0.1", "localhost")
PROXIED = "requests go through the Docker engine's proxy process, which is measured with the rest"
FIRST_ANSWER_S = 10.0
"""Patience for the first answer of a frontend that somebody else runs."""


@dataclass(frozen=True, slots=True)
class Server:
    """A deployment of our own, or a frontend that somebody else runs.

    Attributes:
        endpoint: where it is reached.
        application: the application to ask.
        default_output: the bytes of the application's default output.
        deployment: None where it is somebody else's.
        notes: what could not be found out.
    """

    endpoint: Endpoint
    application: str
    default_output: bytes
    deployment: Deployment | None = None
    notes: tuple[str, ...] = ()

    async def keep_logs(self, directory: Path) -> None:
        """Copy the logs of what we started."""
        if self.deployment is not None:
            await self.deployment.keep_logs()
            try:
                shutil.copytree(self.deployment.log_directory, directory, dirs_exist_ok=True)
            except OSError as error:  # the results are saved; they are not worth less without the logs
                log.warning("the logs cannot be kept in %s: %s", directory, error)


@contextlib.asynccontextmanager
async def serving(plan: Plan, stop: asyncio.Event) -> AsyncIterator[Server]:
    """What a plan wants measured: brought up on the way in and taken down on the way out, or found.

    Raises:
        FrontendLaunchError: it cannot be started; nothing is left running.
        ConfigError: the frontend to connect to has no such application.
        Interrupted: `stop` was set before it was up.
    """
    config, model = plan.config, plan.model
    if config.connection is not None:
        yield await unless(stop, _connect(config.connection, config.ports, model.name))
        return
    deployment = deployment_of(plan)
    async with contextlib.AsyncExitStack() as stack:
        await unless(stop, stack.enter_async_context(deployment))
        yield Server(deployment.endpoints[0], model.name, DEFAULT_OUTPUT.encode(), deployment)


async def _connect(connection: Connection, ports: Ports, model: str) -> Server:
    """Ask the management frontend for the application; where it cannot be asked, the run goes on without.

    Raises:
        ConfigError: it answers, and has no such application.
    """
    await _resolve(connection.host)
    name = connection.application or model
    endpoint, notes = await _neighbour(Endpoint(connection.host, ports))
    try:
        async with AdminClient(f"http://{connection.host}:{ports.admin}") as admin:
            application = await admin.application(name)
    except AdminError as error:
        note = f"the default output is taken to be {DEFAULT_OUTPUT}: {error}"
        log.warning("%s", note)
        return Server(endpoint, name, DEFAULT_OUTPUT.encode(), notes=(*notes, note))
    if application is None:
        raise ConfigError(f"{connection.host} has no application {name!r}: name one that it has with --app")
    return Server(endpoint, name, application.default_output.encode(), notes=notes)


async def _resolve(host: str) -> None:
    """Say at once that a host has no address, not after the patience for its answer.

    Raises:
        TargetError: it has none.
    """
    try:
        async with asyncio.timeout(FIRST_ANSWER_S):
            await asyncio.get_running_loop().getaddrinfo(host, None)
    except (OSError, UnicodeError, TimeoutError) as error:
        reason = (error.strerror if isinstance(error, OSError) else None) or type(error).__name__
        raise TargetError(f"--connect {host}: {reason}; name a host that has an address") from None


async def _neighbour(endpoint: Endpoint) -> tuple[Endpoint, tuple[str, ...]]:
    """How to reach a frontend best that may be a container on this machine: through its sockets, if it has any.

    Returns:
        The endpoint, and what is to be said of it: ports of a container are those of a proxy process of the engine.
    """
    if endpoint.host not in LOOPBACK:
        return endpoint, ()
    try:
        from frontend_launch.launch import runs  # noqa: PLC0415 - behind an extra
        from frontend_launch.launch.engine import engine  # noqa: PLC0415

        async with engine() as docker:
            found = await runs.publishing(docker, endpoint.ports.request)
    except LaunchError:
        return endpoint, ()
    if found is None:
        return endpoint, ()
    directory = runs.sockets(found)
    if directory is None:
        return endpoint, (PROXIED,)
    return replace(endpoint, directory=directory), ()
