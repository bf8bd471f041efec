"""A line of the log that peers can cause as often as they like: said at once, and then once a minute at most."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable

EVERY_S = 60.0


class Seldom:
    """Warns of one kind of event.

    Args:
        log: where to.
        clock: in seconds.
    """

    def __init__(self, log: logging.Logger, clock: Callable[[], float] = time.monotonic) -> None:
        self._log, self._clock = log, clock
        self._next_s = float("-inf")
        self._unsaid = 0

    def __call__(self, text: str, *args: object, error: BaseException | None = None) -> None:
        """Warn, or count this for the next line.

        Args:
            text: with places for `args`, as the log takes it.
            args: the values.
            error: whose traceback belongs to the line.
        """
        now_s = self._clock()
        if now_s < self._next_s:
            self._unsaid += 1
            return
        self._next_s = now_s + EVERY_S
        if self._unsaid:
            text, args = text + " (and %d more since the last such line)", (*args, self._unsaid)
            self._unsaid = 0
        self._log.warning(text, *args, exc_info=error)
