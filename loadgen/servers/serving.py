"""Brings up what a plan wants measured, or connects to it."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator

from frontend_launch.launch.deployment import DEFAULT_OUTPUT
from loadgen.plan import Plan
from loadgen.servers.deployment import deployment_of
from loadgen.servers.frontend import FrontendServer, connect
from loadgen.servers.server import Server

FIRST_ANSWER_S = 10.0
"""Patience for the first answer of an external server."""


@contextlib.asynccontextmanager
async def serving(plan: Plan) -> AsyncIterator[Server]:
    """What a plan wants measured: brought up on the way in and taken down on the way out, or found.

    Args:
        plan: what to measure.

    Raises:
        FrontendLaunchError: it cannot be started; nothing is left running.
        ConfigError: the frontend to connect to has no such application.
        TargetError: the server cannot be reached.
    """
    config, model = plan.config, plan.model
    if config.connection is not None:
        yield await connect(config.connection, config.ports, model.name)
        return
    if plan.remote is not None:
        from loadgen.servers.remote import RemoteServer  # noqa: PLC0415 - most runs do without

        yield RemoteServer(plan.remote)
        return
    async with deployment_of(plan) as deployment:
        yield FrontendServer(tuple(deployment.endpoints), model.name, DEFAULT_OUTPUT.encode(), deployment)
