"""Lines of the log that peers can cause as often as they like: the first are said at once, and a few each minute."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable

EVERY_S = 60.0


class Seldom:
    """Logs events of one kind.

    Args:
        log: where to.
        lines: in a minute.
        clock: in seconds.
    """

    def __init__(self, log: logging.Logger, lines: int = 1, clock: Callable[[], float] = time.monotonic) -> None:
        self._log, self._lines, self._clock = log, lines, clock
        self._next_s = float("-inf")
        self._left = self._unsaid = 0

    def __call__(
        self, text: str, *args: object, error: BaseException | None = None, level: int = logging.WARNING
    ) -> None:
        """Say it, or count it for the next line.

        Args:
            text: with places for `args`, as the log takes it.
            args: the values.
            error: whose traceback belongs to the line.
            level: of the line.
        """
        now_s = self._clock()
        if now_s >= self._next_s:
            self._next_s, self._left = now_s + EVERY_S, self._lines
        if not self._left:
            self._unsaid += 1
            return
        self._left -= 1
        if self._unsaid:
            text, args = text + " (and %d more since the last such line)", (*args, self._unsaid)
            self._unsaid = 0
        self._log.log(level, text, *args, exc_info=error)
