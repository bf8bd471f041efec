"""Brings up the server of a plan, or connects to it."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator

from frontend_launch.launch.deployment import DEFAULT_OUTPUT
from loadgen.plan import Plan
from loadgen.served import Deploy, External, Frontend
from loadgen.servers.deployment import deployed
from loadgen.servers.frontend import FrontendServer, connect
from loadgen.servers.server import Server


@contextlib.asynccontextmanager
async def serving(plan: Plan) -> AsyncIterator[Server]:
    """The server of a plan, while the context lasts: a deployment, brought up and taken down, or an external server.

    Args:
        plan: what to measure.

    Raises:
        FrontendLaunchError: it cannot be started; nothing is left running.
        ConfigError: the frontend to connect to has no such application.
        TargetError: the server cannot be reached.
    """
    match plan.config.serve:
        case Frontend() as frontend:
            yield await connect(frontend, plan.model)
        case External():
            from loadgen.servers.remote import RemoteServer  # noqa: PLC0415 - most runs do without
            from loadgen.servers.remote_answer import wait_for_answer  # noqa: PLC0415 - likewise

            assert plan.remote is not None
            await wait_for_answer(plan, plan.remote)
            yield RemoteServer(plan.remote)
        case Deploy():
            async with deployed(plan) as deployment:
                yield FrontendServer(tuple(deployment.endpoints), plan.model.name, DEFAULT_OUTPUT.encode(), deployment)
