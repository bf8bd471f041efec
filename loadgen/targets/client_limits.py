"""Tells the client's own limits from a server that cannot be reached; pure."""

from __future__ import annotations

import errno
import os
from collections.abc import Mapping
from typing import Final

from loadgen.errors import ClientLimitError, TargetError, UnreachableError

LIMITS: Final[Mapping[int, str]] = {
    errno.ENFILE: "this machine may not open more files; raise fs.file-max, or use fewer connections",
    errno.EMFILE: "this process may not open more files; raise the limit (ulimit -Hn), or use fewer connections",
    errno.EADDRNOTAVAIL: "this machine has no free port or address for another connection; use fewer connections, or "
    "more ports (net.ipv4.ip_local_port_range)",
    errno.ENOBUFS: "this machine has no buffers for another connection; use fewer connections",
    errno.ENOMEM: "this machine has no memory for another connection; use fewer connections",
}
"""What to say of errors that are the client's, by their number; the first text contains the second."""


def client_limit(error: BaseException) -> str | None:
    """Which limit of the client an error is about; None where it is about none."""
    number = getattr(error, "errno", None)
    return LIMITS.get(number) if isinstance(number, int) else limit_in(str(error))


def limit_in(text: str) -> str | None:
    """The same for an error of which only the text is left."""
    return next((limit for number, limit in LIMITS.items() if os.strerror(number) in text), None)


def unreachable(text: str, cause: BaseException | str) -> TargetError:
    """The error for a connection that could not be made.

    Args:
        text: says so.
        cause: the error behind it, or its text.
    """
    limit = limit_in(cause) if isinstance(cause, str) else client_limit(cause)
    return UnreachableError(text) if limit is None else ClientLimitError(limit)
