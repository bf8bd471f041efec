"""Words a connection that cannot be made: a limit of the client, a certificate, or a server that is away; pure."""

from __future__ import annotations

import errno
import os
import re
from collections.abc import Mapping
from typing import Final

from loadgen.errors import ClientLimitError, MisfitError, TargetError, UnreachableError

LIMITS: Final[Mapping[int, str]] = {
    errno.ENFILE: "this machine may not open more files; raise fs.file-max, or use fewer connections",
    errno.EMFILE: "this process may not open more files; raise the limit (ulimit -Hn), or use fewer connections",
    errno.EADDRNOTAVAIL: "this machine has no free port or address for another connection; use fewer connections, or "
    "more ports (net.ipv4.ip_local_port_range)",
    errno.ENOBUFS: "this machine has no buffers for another connection; use fewer connections",
    errno.ENOMEM: "this machine has no memory for another connection; use fewer connections",
}
"""What to say of errors that are the client's, by their number; the first text contains the second."""


_CERTIFICATE = re.compile(
    r"certificate.verify.failed: (.*?)(?:\.? \(_ssl|: OK|$)|(Hostname Verification Check failed)", re.I
)
"""As Python, aiohttp and gRPC quote OpenSSL and BoringSSL."""

_OTHER_NAME = re.compile("not valid for|mismatch|Hostname")


def client_limit(error: BaseException) -> str | None:
    """Which limit of the client an error is about; None where it is about none."""
    number = getattr(error, "errno", None)
    return LIMITS.get(number) if isinstance(number, int) else limit_in(str(error))


def limit_in(text: str) -> str | None:
    """The same for an error of which only the text is left."""
    return next((limit for number, limit in LIMITS.items() if os.strerror(number) in text), None)


def unreachable(server: str, reason: str, cause: BaseException | str) -> TargetError:
    """The error for a connection that could not be made.

    Args:
        server: which, with what separates it from the rest; empty where the caller adds it.
        reason: in a few words.
        cause: the error behind it, or its text.
    """
    if (limit := limit_in(cause) if isinstance(cause, str) else client_limit(cause)) is not None:
        return ClientLimitError(limit)
    if (found := _CERTIFICATE.search(str(cause))) is not None:
        problem = found[1] or found[2]
        remedy = _certificate_remedy(problem)
        return MisfitError(f"{server}the server's certificate is not accepted: {problem}; {remedy}")
    return UnreachableError(f"{server}cannot be reached: {reason}; start the server, or correct the address")


def _certificate_remedy(problem: str) -> str:
    if _OTHER_NAME.search(problem):
        return "use a name that it has, as host or as {Address.tls_server_name}"
    if "expired" in problem:
        return "renew it"
    return "name its authority with {Access.ca}"
