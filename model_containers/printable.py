"""Shows control characters of foreign text escaped, in all that a process prints or logs.

Servers, files, logs of containers and models have a say in what is printed: their names, errors and lines. A terminal
obeys the control characters in it: it changes its title, its colours, or the lines above. `protect` stands between a
process and its standard output and error, so that no line has to remember this.
"""

from __future__ import annotations

import logging
import re
import sys
from collections.abc import Iterable
from typing import Any, TextIO, cast

_OBEYED = (
    r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f]|\r(?!\n)"
    r"|[\xad\u061c\u180e\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb\U000e0000-\U000e007f]"
)
"""Control characters but for tabs and ends of lines; those that reorder a line, and those of no width."""

_CONTROL = re.compile(_OBEYED + r"|[\ud800-\udfff]")
"""These; and halves of surrogate pairs, such as in names of files, which no encoding can print."""

_CONTROL_BUT_BYTES = re.compile(_OBEYED + r"|[\ud800-\udc9f\udd00-\udfff]")
"""The same, without the halves that stand for bytes of names which are no control characters to a terminal either."""

BYTES_OF_NAMES = "bytes-of-names"
"""What streams have for `errors` that write such bytes as they are."""


def printable(text: str) -> str:
    r"""The text as a terminal shows it without obeying it, with escapes such as ``\x1b``."""
    return _CONTROL.sub(_escape, text)


def _escape(match: re.Match[str]) -> str:
    if match[0] == "\x7f":
        return "\\u007f"  # the one of these that JSON holds as it is: the text stays JSON
    return match[0].encode("unicode_escape").decode()


def printable_line(text: str) -> str:
    r"""The same of text that has to stay within a line: ends of lines are escapes too."""
    return printable(text).replace("\r", "\\r").replace("\n", "\\n")


class RecordFormatter(logging.Formatter):
    """Formats records for logs whose records begin with their time: no other line begins at the margin."""

    def format(self, record: logging.LogRecord) -> str:
        """The record, with its further lines indented: foreign text has no line that looks like a record."""
        return super().format(record).replace("\n", "\n    ")


class PrintableFormatter(logging.Formatter):
    """Formats records for logs that go to a file."""

    def format(self, record: logging.LogRecord) -> str:
        """The record as printable text."""
        return printable(super().format(record))


class _Printable:
    """A stream of text that writes what is printable.

    Args:
        stream: where it goes.
    """

    def __init__(self, stream: TextIO) -> None:
        self.stream = stream

    def write(self, text: str) -> int:
        """Write the text escaped; returns the length of what was given."""
        control = _CONTROL_BUT_BYTES if self.stream.errors == BYTES_OF_NAMES else _CONTROL
        self.stream.write(control.sub(_escape, text))
        return len(text)

    def writelines(self, lines: Iterable[str]) -> None:
        """Write each of the lines."""
        for line in lines:
            self.write(line)

    def __getattr__(self, name: str) -> Any:
        if name in ("buffer", "detach"):  # around it
            raise AttributeError(name)
        return getattr(self.stream, name)


def protect() -> None:
    """Escape what this process prints from now on."""
    sys.stdout, sys.stderr = _protected(sys.stdout), _protected(sys.stderr)


def _protected(stream: TextIO | None) -> TextIO:
    # A process may be started without one.
    return cast(TextIO, stream if stream is None or isinstance(stream, _Printable) else _Printable(stream))


def unprotected(stream: TextIO) -> TextIO:
    """The stream as it was before, for a program that makes escape sequences of its own from printable text."""
    return stream.stream if isinstance(stream, _Printable) else stream
