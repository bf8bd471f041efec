"""The ports of a deployment, of which 0 means any free one, and the addresses that they are bound on."""

from __future__ import annotations

import errno
import ipaddress
from dataclasses import dataclass

MAX_PORT = 65_535

FRONTEND_PORTS = ("request", "response", "replica", "metrics", "admin")
"""The fields of `Ports` that frontends bind, in order; each has an option, ``--NAME-port``."""


@dataclass(frozen=True, slots=True)
class Ports:
    """Ports of both frontends.

    Attributes:
        request: where the query frontend reads requests.
        response: where it hands out client ids and answers.
        replica: where replicas connect.
        metrics: its metrics over HTTP.
        admin: the management frontend's REST.
        redis: the store of frontends that are containers; None where only they reach it.
    """

    request: int = 4456
    response: int = 4455
    replica: int = 7000
    metrics: int = 1337
    admin: int = 1338
    redis: int | None = None

    @property
    def text(self) -> str:
        """The ports of frontends in words, in the order of their fields."""
        return ", ".join(f"{name} {getattr(self, name) or 'any free one'}" for name in FRONTEND_PORTS)


def unusable(host: str, port: int, option: str, error: OSError) -> str:
    """Why a port cannot be bound, and what to do.

    Args:
        host: to bind on.
        port: to bind.
        option: that chooses the port.
        error: of the attempt.
    """
    if error.errno == errno.EADDRNOTAVAIL:
        return f"{host}: not an address of this machine; choose one of its addresses, or 0.0.0.0 for all"
    return f"port {port} on {host}: cannot be used ({error.strerror}); free it or choose another with {option}"


def is_loopback(host: str) -> bool:
    """Whether only this machine reaches a port that is bound on this host.

    Args:
        host: an address, or a name, of which ``localhost`` is the only one that is known to be.
    """
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
