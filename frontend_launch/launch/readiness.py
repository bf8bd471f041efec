"""Waits until a container serves, and asks services through their published ports."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import Awaitable, Callable

from frontend_launch.errors import LaunchError
from frontend_launch.launch.container import RunningContainer
from frontend_launch.launch.launcher import ending

log = logging.getLogger(__name__)

TIMEOUT_S = 60.0
ANSWER_TIMEOUT_S = 1.0
POLL_S = 0.05


async def until_ready(container: RunningContainer, began_s: float, ready: Callable[[], Awaitable[bool]]) -> None:
    """Wait until a container serves.

    Args:
        container: whose end makes waiting pointless.
        began_s: when it was started, monotonic clock, for the log.
        ready: whether it serves.

    Raises:
        LaunchError: it ended, or does not within `TIMEOUT_S`.
    """
    give_up_s = time.monotonic() + TIMEOUT_S
    while not await ready():
        if container.exited.done():
            text = f"{container.role} {ending(container.exited.result())} before it was ready"
            raise LaunchError(text, await container.log_tail())
        if time.monotonic() > give_up_s:
            text = f"{container.role} is not ready within {TIMEOUT_S:.0f} s"
            raise LaunchError(text, await container.log_tail())
        await asyncio.sleep(POLL_S)
    log.info("%s ready after %.1f s", container.role, time.monotonic() - began_s)


async def answers(port: int, question: bytes, answer: bytes, host: str = "127.0.0.1") -> bool:
    """Whether a service says what it says when it is ready; the engine's proxy accepts before anybody listens.

    Args:
        port: of the host.
        question: bytes to write.
        answer: bytes that a service that is ready answers with first.
        host: where it listens.
    """
    try:
        async with asyncio.timeout(ANSWER_TIMEOUT_S):
            reader, writer = await asyncio.open_connection(host, port)
            try:
                writer.write(question)
                return (await reader.read(len(answer))) == answer
            finally:
                writer.close()
                # A reset is told here too; left untold, it is logged when the connection is collected, much later.
                with contextlib.suppress(OSError):
                    await writer.wait_closed()
    except (OSError, TimeoutError):
        return False
