"""Long work of a loop that has other work too: a little at a time."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterable
from typing import TypeVar

T = TypeVar("T")
SLICE_S = 0.0005


async def in_slices(parts: Iterable[T]) -> list[T]:
    """Take everything from an iterator that works for each part, and give others their turn in between."""
    taken, due_s = [], time.monotonic() + SLICE_S
    for part in parts:
        taken.append(part)
        if time.monotonic() >= due_s:
            await asyncio.sleep(0)
            due_s = time.monotonic() + SLICE_S
    return taken
