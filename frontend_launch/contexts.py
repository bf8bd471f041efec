"""Ends a ZeroMQ context within a bounded time."""

from __future__ import annotations

import threading
from typing import Any

import zmq

PATIENCE_S = 1.0


def end_context(context: zmq.Context[Any], patience_s: float = PATIENCE_S) -> None:
    """Close a context's sockets at once, without what is still to be sent, and end it.

    libzmq 4.3.5 sometimes waits forever, about once in 20 000 times, where a peer of a monitored socket leaves at that
    moment. What it waits for is then left to the end of the process.

    Args:
        context: its sockets must not be watched by a loop any more.
        patience_s: how long the caller waits.
    """
    thread = threading.Thread(target=context.destroy, kwargs={"linger": 0}, name="end of a ZeroMQ context", daemon=True)
    thread.start()
    thread.join(patience_s)
