"""Reads files that a user names: up to a bound, and all text by one rule, UTF-8 with or without a byte order mark."""

from __future__ import annotations

import json
import os
import select
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Never

MAX_BYTES = 1 << 30
"""Largest file; a file without an end, such as ``/dev/zero``, is refused too."""

MAX_SETTING_BYTES = 16 << 20
"""Largest file that holds an option's value."""

PATIENCE_S = 10.0
"""Timeout for the next part of a pipe's content."""

_PART_BYTES = 1 << 20
_OTHER_MARKS = (
    (b"\xff\xfe\0\0", "UTF-32"),
    (b"\0\0\xfe\xff", "UTF-32"),
    (b"\xff\xfe", "UTF-16"),
    (b"\xfe\xff", "UTF-16"),
)


class UnreadableError(Exception):
    """Why a file cannot be read, and the remedy: the text after the file's name and "cannot be read"."""


def read_bytes(path: Path, most_bytes: int = MAX_BYTES) -> bytes:
    """The content of a file.

    Args:
        path: of the file.
        most_bytes: the largest that is read.

    Raises:
        UnreadableError: it cannot be read, or is larger.
    """
    try:
        # Without waiting for the writer of a pipe, which may never come.
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
        try:
            content = b"".join(_parts(descriptor, most_bytes + 1))
        finally:
            os.close(descriptor)
    except OSError as error:
        raise UnreadableError(f"{error.strerror or error}; name another file") from None
    except ValueError:
        raise UnreadableError("a name has no null character; name another file") from None
    if len(content) > most_bytes:
        raise UnreadableError(f"it has more than {most_bytes >> 20} MiB; name a smaller file")
    return content


def _parts(descriptor: int, most_bytes: int) -> Iterator[bytes]:
    """What can be read, up to a bound; a pipe or a terminal that stays silent for `PATIENCE_S` is an error."""
    ready = select.poll()
    ready.register(descriptor, select.POLLIN)
    while most_bytes:
        if not ready.poll(1000 * PATIENCE_S):
            raise UnreadableError(f"nothing came for {PATIENCE_S:g} s; name another file, or write to it")
        part = os.read(descriptor, min(most_bytes, _PART_BYTES))
        if not part:
            return
        most_bytes -= len(part)
        yield part


def read_text(path: Path, most_bytes: int = MAX_BYTES) -> str:
    """The text that a file holds, without a byte order mark.

    Args:
        path: of the file.
        most_bytes: the largest that is read.

    Raises:
        UnreadableError: it cannot be read, is larger, or is not UTF-8.
    """
    return decoded(read_bytes(path, most_bytes))


def decoded(content: bytes) -> str:
    """Decode UTF-8, without a byte order mark.

    Raises:
        UnreadableError: they are not UTF-8.
    """
    refuse_other_encodings(content)
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise UnreadableError(f"line {line} is not UTF-8; save it as UTF-8") from None


def refuse_other_encodings(content: bytes) -> None:
    """Refuse text whose byte order mark is not that of UTF-8, or that has zeros between its letters.

    Raises:
        UnreadableError: it is.
    """
    for mark, name in _OTHER_MARKS:
        if content.startswith(mark):
            raise UnreadableError(f"it is {name}; save it as UTF-8")
    if b"\0" in content:
        raise UnreadableError("it has NUL bytes, as UTF-16 and binary files have; save it as text in UTF-8")


def parse_json(text: str) -> Any:
    """Parse JSON; NaN, Infinity and repeated members, which Python's parser admits, are errors.

    Raises:
        ValueError: it is not JSON, or nested too deeply.
    """
    try:
        return json.loads(text, parse_constant=_no_json, object_pairs_hook=_members)
    except RecursionError:
        raise ValueError("it is nested too deep") from None


def _members(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    members = dict(pairs)
    if len(members) < len(pairs):
        twice = next(name for at, (name, _) in enumerate(pairs) if name in dict(pairs[:at]))
        raise ValueError(f"an object has {twice!r} twice")
    return members


def _no_json(name: str) -> Never:
    raise ValueError(f"JSON has no {name}")
