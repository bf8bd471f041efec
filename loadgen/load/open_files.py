"""How many files this process, and each process that it starts, may have open."""

from __future__ import annotations

import resource
import sys

MARGIN = 64
"""Open files of a client besides its connections: logs, sockets of its own, libraries."""


def raise_limit() -> int:
    """Raise the limit as far as it goes without privileges; returns the limit."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != hard:
        try:
            resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
        except (OSError, ValueError):  # a hard limit above what the kernel allows
            hard = soft
    return sys.maxsize if hard == resource.RLIM_INFINITY else hard
