"""Serves the state of a measurement over HTTP: metrics for Prometheus, and a page with a stream of its changes."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator

from loadgen.live.state import State


class Served:
    """The state, and who is told of its changes.

    Attributes:
        state: change it within `changing` only.
    """

    def __init__(self) -> None:
        self.state = State()
        self.changed = threading.Condition()

    @contextlib.contextmanager
    def changing(self) -> Iterator[None]:
        """The state changes in the context; those who wait for a change are told."""
        with self.changed:
            yield
            self.changed.notify_all()

    def listen(self, prometheus: int | None, web: int | None) -> None:
        """Serve on sockets that listen already.

        Args:
            prometheus: descriptor of that for metrics; None for none.
            web: of that for the page.
        """

    def close(self) -> None:
        """Serve no more."""
