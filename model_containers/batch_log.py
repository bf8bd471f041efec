"""The log of a replica: two lines per batch, buffered, thinned and bounded.

::

    Got start of message 1042
    recv: 172.000000 us, parse: 195.000000 us, handle: 0.123944 seconds
"""

from __future__ import annotations

import logging
import logging.handlers
import sys
from pathlib import Path

from model_containers.printable import PrintableFormatter
from model_containers.units import NS_PER_S
from model_containers.wire import ReplyTimes

BATCHES_PER_S = 100
"""More than that in a second are left out, and counted."""

MAX_BYTES = 10_000_000
"""A log file that has grown to this is set aside once, and begun again."""


class BatchLog:
    """Buffers entries for a second at most, as long as batches come; told the time.

    Args:
        log: where the lines go.
    """

    def __init__(self, log: logging.Logger) -> None:
        self._log = log
        self._lines: list[str] = []
        self._second, self._count = 0, 0

    def batch(self, message_id: int, times: ReplyTimes, now_ns: int) -> None:
        """Log one batch.

        Args:
            message_id: of the batch on the wire.
            times: what it took.
            now_ns: monotonic clock, never earlier than before.
        """
        second = now_ns // NS_PER_S
        if second != self._second:
            self.flush()
            self._second = second
        self._count += 1
        if self._count <= BATCHES_PER_S:
            self._lines.append(
                f"Got start of message {message_id}\n"
                f"recv: {times.recv_ns / 1e3:.6f} us, parse: {times.parse_ns / 1e3:.6f} us, "
                f"handle: {times.handle_ns / NS_PER_S:.6f} seconds"
            )

    def flush(self) -> None:
        """Write what is buffered."""
        if self._count > BATCHES_PER_S:
            self._lines.append(f"{self._count - BATCHES_PER_S} batches left out")
        if self._lines:
            self._log.info("%s", "\n".join(self._lines))
        self._lines, self._count = [], 0


def open_log(path: Path | None) -> logging.Logger:
    """The replica's logger: plain lines to standard output, or to a file that is rotated."""
    handler: logging.Handler
    if path is None:
        handler = logging.StreamHandler(sys.stdout)
    else:
        handler = logging.handlers.RotatingFileHandler(path, maxBytes=MAX_BYTES, backupCount=1)
    handler.setFormatter(PrintableFormatter("%(message)s"))
    log = logging.getLogger("model_containers.replica")
    log.setLevel(logging.INFO)
    log.propagate = False
    for old in tuple(log.handlers):
        log.removeHandler(old)
        old.close()
    log.addHandler(handler)
    return log
