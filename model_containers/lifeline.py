"""Ends a process whose parent is gone, even by SIGKILL: it watches a pipe that only the parent holds."""

from __future__ import annotations

import os
import threading

VARIABLE = "LOADGEN_PARENT_FD"
"""The environment variable that names the descriptor of the pipe's reading end."""


def hold() -> None:
    """Watch the pipe that the environment names, if it names one, until it ends; then end this process at once."""
    descriptor = os.environ.get(VARIABLE)
    if descriptor is not None:
        threading.Thread(target=_watch, args=(int(descriptor),), name="lifeline", daemon=True).start()


def _watch(descriptor: int) -> None:
    os.read(descriptor, 1)
    os._exit(1)
