"""The connection to the Docker engine: calls with timeouts, and its refusals as errors."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable
from typing import TYPE_CHECKING, TypeVar

from frontend_launch.errors import LaunchError, UnavailableError
from model_containers.extras import remedy

if TYPE_CHECKING:
    import aiodocker

TIMEOUT_S = 5.0
"""Patience for a first answer."""

CALL_TIMEOUT_S = 60.0
"""Patience for any other: the engine may be busy with other containers."""

T = TypeVar("T")

_UNREACHABLE = 900
"""The client's own status for an engine that it cannot connect to."""

_NO_IMAGE = ("No such image", "no such image")
_PORT_IN_USE = ("port is already allocated", "address already in use")
"""What the engine says of them."""


class NameTaken(LaunchError):  # noqa: N818 - not a fault: another name is tried
    """The engine has a container of this name."""


@contextlib.asynccontextmanager
async def engine() -> AsyncIterator[aiodocker.Docker]:
    """A connection to the engine, which has answered; whatever is under way on it ends when it is left.

    Raises:
        UnavailableError: no engine answers, or the extra ``docker`` is not installed.
    """
    try:
        import aiodocker  # noqa: PLC0415 - behind an extra
        import aiohttp  # noqa: PLC0415 - what it is made with
    except ImportError:
        raise UnavailableError(f"aiodocker is not installed; {remedy('docker')}") from None
    async with contextlib.AsyncExitStack() as stack:
        try:
            async with asyncio.timeout(TIMEOUT_S):
                docker = await stack.enter_async_context(aiodocker.Docker())
                await docker.version()
        except (AssertionError, AttributeError, TypeError):  # how the client says that it knows of no socket
            raise _no_engine("there is no socket, and DOCKER_HOST is not set") from None
        except (aiodocker.DockerError, aiohttp.ClientError, ValueError, OSError, TimeoutError) as error:
            raise _no_engine(one_line(error)) from None
        yield docker


def _no_engine(reason: str) -> UnavailableError:
    return UnavailableError(f"no Docker engine answers: {reason}; start one, or name it in DOCKER_HOST")


def one_line(error: BaseException) -> str:
    """What an error says of itself, in one line."""
    return " ".join(str(error).split()) or type(error).__name__


async def engine_version() -> str:
    """The version of the engine that answers.

    Raises:
        UnavailableError: none does, or the extra ``docker`` is not installed.
    """
    async with engine() as docker, asyncio.timeout(TIMEOUT_S):
        return str((await docker.version())["Version"])


async def call(what: str, answer: Awaitable[T]) -> T:
    """Wait for the engine, within bounds, and word its refusals.

    Args:
        what: it is about, for the error.
        answer: of the client; awaited here, `CALL_TIMEOUT_S` at most.

    Raises:
        LaunchError: it refuses, or does not answer.
        UnavailableError: there is no such image, or a port is in use.
    """
    import aiodocker  # noqa: PLC0415 - behind an extra
    import aiohttp  # noqa: PLC0415

    try:
        async with asyncio.timeout(CALL_TIMEOUT_S):
            return await answer
    except aiodocker.DockerError as error:
        if error.status == 409 and "name" in error.message and "in use" in error.message:
            raise NameTaken(f"{what}: the name is taken") from None
        if error.status == _UNREACHABLE:
            raise LaunchError(f"{what}: the Docker engine does not answer: {one_line(error)}") from None
        kind = UnavailableError if any(words in error.message for words in (*_NO_IMAGE, *_PORT_IN_USE)) else LaunchError
        raise kind(refusal(what, error.message)) from None
    except (aiohttp.ClientError, OSError, TimeoutError) as error:
        raise LaunchError(f"{what}: the Docker engine does not answer: {one_line(error)}") from None


def refusal(what: str, message: str) -> str:
    """What the engine's words mean and what to do about it, in one line.

    Args:
        what: it is about; begins the line.
        message: the engine's.
    """
    text = " ".join(message.split())
    if "could not select device driver" in text:
        return (
            f"{what}: the engine cannot hand out GPUs ({text}); install the NVIDIA container toolkit, "
            "or leave GPUs out with --gpus none"
        )
    if any(words in text for words in _NO_IMAGE):
        image = text.rpartition("o such image: ")[2].removesuffix(":latest")
        remedy = f"run docker pull {image}" if image.startswith("redis") else "run loadgen images build"
        return f"image {image}: does not exist; {remedy}"
    if any(words in text for words in _PORT_IN_USE):
        return f"{what}: a port is in use ({text}); free it or choose another, such as --request-port 0"
    return f"{what}: the engine refuses: {text}"
