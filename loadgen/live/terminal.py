"""The view on a terminal: drawn in place below the lines of the log, while its program is in the foreground."""

from __future__ import annotations

import contextlib
import os
from io import StringIO
from pathlib import Path

from rich.console import Console
from rich.text import Text

from loadgen.live.screen import screen
from loadgen.live.state import State

MIN_COLUMNS, MIN_ROWS = 60, 4
"""On a smaller terminal, or one that does not tell its size, only the lines of the log are shown."""


def in_foreground(stat: str) -> bool:
    """Whether a process runs, in the foreground of its terminal.

    Args:
        stat: of ``/proc/PID/stat``.
    """
    state, _, group, _, _, foreground = stat.rpartition(")")[2].split()[:6]
    return state not in ("T", "t") and group == foreground


def rendered(state: State, width: int, now_ns: int, *, colours: bool = True) -> list[str]:
    """The lines of the view.

    Args:
        state: of the measurement.
        width: of the terminal.
        now_ns: the clock of the state.
        colours: with the terminal's codes for them.
    """
    file = StringIO()
    system = "standard" if colours and "NO_COLOR" not in os.environ else None
    console = Console(file=file, width=width, color_system=system, force_terminal=colours, legacy_windows=False)  # type: ignore[arg-type]
    console.print(screen(state, width, now_ns))
    return file.getvalue().splitlines()


class Terminal:
    """Draws on a terminal. Each drawing is one write, and the cursor stays visible: nothing has to be put back.

    Args:
        descriptor: of the terminal.
        pid: of the program that has it.

    Attributes:
        shown: lines of the log that were shown.
    """

    def __init__(self, descriptor: int, pid: int) -> None:
        self._descriptor = descriptor
        self._stat = Path(f"/proc/{pid}/stat")
        self._drawn: list[int] = []
        """Widths of the lines of the view on the screen."""
        self.shown = 0

    def draw(self, state: State, now_ns: int) -> None:
        """Show new lines of the log, and the view below them.

        Args:
            state: of the measurement; its lines are taken.
            now_ns: the clock of the state.
        """
        columns, rows = self._size()
        lines = state.take_lines()
        if not self._in_foreground():
            self._drawn = []  # another program has written over the view
            self._write("".join(f"{line}\n" for line in lines))
        else:
            erased = self._erased(columns)
            view: list[str] = []
            if columns >= MIN_COLUMNS and rows >= MIN_ROWS:
                view = rendered(state, columns - 1, now_ns)[: rows - 1]
            self._drawn = [Text.from_ansi(line).cell_len for line in view]
            self._write(erased + "".join(f"{line}\n" for line in lines) + "\n".join(view))
        self.shown += len(lines)

    def close(self) -> None:
        """Erase the view, where it is still what was written last."""
        if self._in_foreground():
            self._write(self._erased(self._size()[0]))
        self._drawn = []

    def _erased(self, columns: int) -> str:
        """Codes that erase the view; a terminal that became narrower has wrapped its lines."""
        rows = sum(max(1, -(-width // max(1, columns))) for width in self._drawn)
        return "" if not rows else f"\r\x1b[{rows - 1}A\x1b[J" if rows > 1 else "\r\x1b[J"

    def _size(self) -> tuple[int, int]:
        with contextlib.suppress(OSError):
            size = os.get_terminal_size(self._descriptor)
            return size.columns, size.lines
        return 0, 0

    def _in_foreground(self) -> bool:
        with contextlib.suppress(OSError, ValueError):
            return in_foreground(self._stat.read_text())
        return False

    def _write(self, text: str) -> None:
        data = text.encode(errors="replace")
        while data:
            data = data[os.write(self._descriptor, data) :]
