"""Lays rows of texts out in aligned columns, within the width of a terminal."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from itertools import zip_longest

_GAP = "  "
"""Between two columns."""


def table(rows: Sequence[Sequence[str]], width: int | None = None) -> str:
    """Rows as aligned columns, without a newline at the end.

    Args:
        rows: of texts, as many in each.
        width: of the terminal; where the columns are wider, the widest have their texts on several lines, and no word
            is broken. None for any.
    """
    columns = list(zip(*rows, strict=True))
    widths = [max(map(len, column)) for column in columns]
    if width is not None:
        least = [max(len(word) for cell in column for word in _words(cell)) for column in columns]
        while sum(widths) + len(_GAP) * (len(widths) - 1) > width and widths != least:
            widths[max(range(len(widths)), key=lambda at: (widths[at] > least[at], widths[at]))] -= 1
    lines = []
    for row in rows:
        cells = [_wrapped(cell, room) for cell, room in zip(row, widths, strict=True)]
        for parts in zip_longest(*cells, fillvalue=""):
            lines.append(_GAP.join(part.ljust(room) for part, room in zip(parts, widths, strict=True)).rstrip())
    return "\n".join(lines)


def _words(cell: str) -> list[str]:
    """The words of a cell, each with the indent that its line would have; one at least."""
    return [_indent(cell) + word for word in cell.split()] or [cell]


def _indent(cell: str) -> str:
    return cell[: len(cell) - len(cell.lstrip())]


def _wrapped(cell: str, width: int) -> list[str]:
    """The lines of a cell."""
    if len(cell) <= width:
        return [cell]
    return textwrap.wrap(cell, width, subsequent_indent=_indent(cell), break_long_words=False, break_on_hyphens=False)
