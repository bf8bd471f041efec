"""Waits for a server that is still starting, or for its model that is still loading."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable
from typing import TypeVar

from loadgen.errors import ClientLimitError, MisfitError, TargetError
from loadgen.targets.address import Address

log = logging.getLogger(__name__)

PAUSE_S = 0.5
"""Between two looks."""

_T = TypeVar("_T")


async def until_ready(look: Callable[[], Awaitable[_T]], address: Address, within_s: float) -> _T:
    """Look again and again, until there is something to be found.

    Args:
        look: raises a `TargetError` as long as there is nothing.
        address: of the server, for the log.
        within_s: patience, seconds.

    Raises:
        TargetError: the last one, after that time, or the first that waiting does not change.
    """
    deadline, last = time.monotonic() + within_s, f"{address.shown}: no answer"
    said = False
    while (left_s := deadline - time.monotonic()) > 0:
        try:
            async with asyncio.timeout(left_s):
                found = await look()
        except (ClientLimitError, MisfitError):
            raise
        except TimeoutError:
            break
        except TargetError as error:
            last = error.unworded
            if not said:
                log.info("waiting up to %g s for the server to be ready: %s", within_s, error)
                said = True
            await asyncio.sleep(min(PAUSE_S, max(0.0, deadline - time.monotonic())))
        else:
            if said:
                log.info("the server is ready")
            return found
    raise TargetError(f"{last}; it was not ready within {{TargetOptions.wait_ready_s}} {within_s:g} s")
