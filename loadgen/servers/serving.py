"""Bring up what a plan wants measured, or find it."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator

from frontend_launch.launch.deployment import DEFAULT_OUTPUT
from loadgen.config import Frontend
from loadgen.plan import Plan
from loadgen.servers.deployment import deployment_of
from loadgen.servers.frontend import FrontendServer, connect
from loadgen.servers.server import Server
from loadgen.waiting import unless


@contextlib.asynccontextmanager
async def serving(plan: Plan, stop: asyncio.Event) -> AsyncIterator[Server]:
    """What a plan wants measured: brought up on the way in and taken down on the way out, or found.

    Args:
        plan: what to measure.
        stop: set it to end the start early.

    Raises:
        FrontendLaunchError: it cannot be started; nothing is left running.
        ConfigError: the frontend to connect to has no such application.
        TargetError: the server cannot be reached.
        Interrupted: `stop` was set before it was up.
    """
    if isinstance(plan.config.serve, Frontend):
        yield await unless(stop, connect(plan.config.serve, plan.model.name))
        return
    if plan.remote is not None:
        from loadgen.servers.remote import RemoteServer  # noqa: PLC0415 - most runs do without

        yield RemoteServer(plan.remote)
        return
    deployment = deployment_of(plan)
    async with contextlib.AsyncExitStack() as stack:
        await unless(stop, stack.enter_async_context(deployment))
        yield FrontendServer(tuple(deployment.endpoints), plan.model.name, DEFAULT_OUTPUT.encode(), deployment)
