"""Reads the logs of a part of a deployment: whole lines that were added since the last look."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

MOST_BYTES = 16 << 20
"""Of a file, the last bytes that are read at once."""


class Added(NamedTuple):
    """What a look at logs found.

    Attributes:
        lines: that were added since the last look, file by file.
        read: bytes of each file that have been read, by its inode, which stays when a log is rotated.
    """

    lines: list[str]
    read: dict[int, int]


def added(directory: Path, role: str, read: Mapping[int, int], most_bytes: int = MOST_BYTES) -> Added:
    """The lines that a part has logged since the last look; the next look has the rest where they are too long for one.

    Args:
        directory: of the logs.
        role: of the part: its files are ``ROLE.err`` and ``ROLE.log``, of which one rotated file is kept.
        read: as the last look said; empty for all lines.
        most_bytes: of all lines; a longer line is cut.
    """
    lines, now, left = list[str](), dict(read), most_bytes
    for name in (f"{role}.err", f"{role}.log.1", f"{role}.log"):
        with contextlib.suppress(OSError), (directory / name).open("rb") as log:  # there may be none
            inode, size = os.fstat(log.fileno()).st_ino, log.seek(0, os.SEEK_END)
            known = now.get(inode, 0)
            begin = log.seek(max(known if known <= size else 0, size - MOST_BYTES))
            text = log.read(left)
            whole = text[: text.rfind(b"\n") + 1] or (text if len(text) == most_bytes else b"")
            left -= len(whole)
            now[inode] = begin + len(whole)
            lines += whole.decode(errors="replace").splitlines()
    return Added(lines, now)


def tail(path: Path) -> bytes:
    """The last bytes of a log."""
    with path.open("rb") as log:
        log.seek(max(0, log.seek(0, os.SEEK_END) - MOST_BYTES))
        return log.read(MOST_BYTES)
