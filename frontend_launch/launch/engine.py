"""The Docker engine."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from typing import TYPE_CHECKING

from frontend_launch.errors import LaunchError

if TYPE_CHECKING:
    import aiodocker

TIMEOUT_S = 5.0


@contextlib.asynccontextmanager
async def engine() -> AsyncIterator[aiodocker.Docker]:
    """A connection to the engine, which has answered; whatever is under way on it ends when it is left.

    Raises:
        LaunchError: no engine answers, or the extra ``docker`` is not installed.
    """
    try:
        import aiodocker  # noqa: PLC0415 - behind an extra
        import aiohttp  # noqa: PLC0415 - what it is made with
    except ImportError:
        raise LaunchError("aiodocker is not installed: pip install 'loadgen[docker]'") from None
    async with contextlib.AsyncExitStack() as stack:
        try:
            async with asyncio.timeout(TIMEOUT_S):
                docker = await stack.enter_async_context(aiodocker.Docker())
                await docker.version()
        except AssertionError:  # how the client says that it knows of no socket
            raise LaunchError("no Docker engine answers: there is no socket, and DOCKER_HOST is not set") from None
        except (aiodocker.DockerError, aiohttp.ClientError, ValueError, OSError, TimeoutError) as error:
            raise LaunchError(f"no Docker engine answers: {said(error)}") from None
        yield docker


def said(error: BaseException) -> str:
    """What an error says of itself, in one line."""
    return " ".join(str(error).split()) or type(error).__name__


async def engine_version() -> str:
    """The version of the engine that answers.

    Raises:
        LaunchError: none does, or the extra ``docker`` is not installed.
    """
    async with engine() as docker, asyncio.timeout(TIMEOUT_S):
        return str((await docker.version())["Version"])
