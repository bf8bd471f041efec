"""Returns memory to the system when a large queue has been worked off.

The C library keeps what is freed between blocks that are still in use, of which a megabyte of payload leaves many; it
gives it back when it is told to. That takes some milliseconds, so it is done once, when nothing has been waiting for a
while.
"""

from __future__ import annotations

import asyncio
import ctypes
from collections.abc import Callable

LARGE_BYTES = 64 << 20
"""A queue of this size leaves something to give back."""

QUIET_S = 1.0
"""The time with an empty queue before memory is given back."""


class MemoryReturn:
    """Watches how much is queued.

    Args:
        queued_bytes: tells it.
        trim: gives memory back; None for what the C library has, which may be nothing.
    """

    def __init__(self, queued_bytes: Callable[[], int], trim: Callable[[], object] | None = None) -> None:
        self._queued_bytes, self._trim = queued_bytes, trim or _library_trim()
        self._was_large = False
        self._waiting: asyncio.TimerHandle | None = None

    def update(self) -> None:
        """Note how much is queued; to be called now and then while there is work, and when it ends."""
        queued_bytes = self._queued_bytes()
        if queued_bytes >= LARGE_BYTES:
            self._was_large = True
        elif self._was_large and not queued_bytes and self._waiting is None:
            self._waiting = asyncio.get_running_loop().call_later(QUIET_S, self._trim_if_idle)

    def _trim_if_idle(self) -> None:
        self._waiting = None
        if self._queued_bytes():
            return  # busy again: `update` looks when it is empty the next time
        self._was_large = False
        self._trim()

    def close(self) -> None:
        """Stop watching."""
        if self._waiting is not None:
            self._waiting.cancel()


def _library_trim() -> Callable[[], object]:
    """Glibc's ``malloc_trim``, which other C libraries do not have."""
    try:
        trim = ctypes.CDLL(None).malloc_trim
    except (OSError, AttributeError):
        return lambda: None
    return lambda: trim(0)
