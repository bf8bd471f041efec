"""Reads and writes lists of integers such as ``0-2,5``."""

from __future__ import annotations

import re
from collections.abc import Iterable

MAX_RANGE_MEMBERS = 65_536
"""Most integers that one list may stand for; a typing error must not fill the memory."""

_ITEM = re.compile(r"(?P<first>[0-9]{1,9})(?:-(?P<last>[0-9]{1,9}))?")


def expand_ranges(items: Iterable[str]) -> tuple[int, ...]:
    """The integers that items such as ``3`` and ``20-27`` stand for, in their order; the inverse of `core_ranges`.

    Raises:
        ValueError: an item is neither, runs backwards, or the list is longer than `MAX_RANGE_MEMBERS`.
    """
    numbers: list[int] = []
    for item in items:
        match = _ITEM.fullmatch(item)
        if match is None:
            raise ValueError(f"{item!r}: neither a whole number nor a range; write such as 7 or 20-27")
        first, last = int(match["first"]), int(match["last"] or match["first"])
        if last < first:
            raise ValueError(f"{item!r}: runs backwards; write {last}-{first}")
        if len(numbers) + last - first >= MAX_RANGE_MEMBERS:
            raise ValueError(f"{item!r}: makes the list longer than {MAX_RANGE_MEMBERS} numbers; name fewer")
        numbers.extend(range(first, last + 1))
    return tuple(numbers)


def core_ranges(cores: Iterable[int]) -> str:
    """Core numbers as ``taskset`` writes them, ascending: ``0-2,5``; a pair is ``0,1``, nothing is ``-``."""
    runs: list[list[int]] = []
    for core in sorted(set(cores)):
        if runs and core == runs[-1][-1] + 1:
            runs[-1].append(core)
        else:
            runs.append([core])
    return ",".join(f"{run[0]}-{run[-1]}" if len(run) > 2 else ",".join(map(str, run)) for run in runs) or "-"
