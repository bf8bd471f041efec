"""The Docker engine."""

from __future__ import annotations

import asyncio

from frontend_launch.errors import LaunchError

TIMEOUT_S = 5.0


async def engine_version() -> str:
    """The version of the engine that answers.

    Raises:
        LaunchError: none does, or the extra ``docker`` is not installed.
    """
    try:
        import aiodocker  # noqa: PLC0415 - behind an extra
    except ImportError:
        raise LaunchError("aiodocker is not installed: pip install 'loadgen[docker]'") from None
    try:
        async with asyncio.timeout(TIMEOUT_S), aiodocker.Docker() as docker:
            version = await docker.version()
    except (aiodocker.DockerError, ValueError, OSError, TimeoutError) as error:
        raise LaunchError(f"no Docker engine answers: {str(error) or type(error).__name__}") from None
    return str(version["Version"])
