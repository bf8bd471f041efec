"""Long work of a loop that has other work too: a little at a time."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterable

SLICE_S = 0.00025


class Slices:
    """Tells when others are to have their turn."""

    def __init__(self) -> None:
        self._due_s = time.monotonic() + SLICE_S

    async def between(self) -> bool:
        """Give others their turn where it is time to; to be called after each piece of work, of some microseconds.

        Returns:
            Whether they had it.
        """
        if time.monotonic() < self._due_s:
            return False
        await asyncio.sleep(0)
        self._due_s = time.monotonic() + SLICE_S
        return True


async def joined_in_slices(parts: Iterable[bytes]) -> list[bytes]:
    """The text of an iterator that works for each part, as blocks, each of which took a slice."""
    blocks: list[bytes] = []
    taken: list[bytes] = []
    slices = Slices()
    for part in parts:
        taken.append(part)
        if await slices.between():
            blocks.append(b"".join(taken))
            taken.clear()
    return [*blocks, b"".join(taken)]
