"""Chooses the ports of a deployment: the usual ones where all are free, else free ones."""

from __future__ import annotations

import errno
import socket
from collections.abc import Collection
from dataclasses import replace

from frontend_launch.ports import FRONTEND_PORTS, Ports
from frontend_launch.quantities import plural


def chosen(ports: Ports, named: Collection[str], address: str) -> tuple[Ports, str]:
    """The ports to bind, and why they are not the usual ones, after "ports"; empty where they are.

    Args:
        ports: that are wanted; those of the usual numbers give way together where one of them is in use.
        named: ports that do not give way, beside those of other numbers.
        address: to bind on.
    """
    movable = _movable(ports, named)
    taken = [str(getattr(ports, name)) for name in movable if _in_use(address, getattr(ports, name))]
    if not taken:
        return ports, ""
    moved = replace(ports, **dict.fromkeys(movable, 0))
    return moved, f"{', '.join(taken)} on {address} in use; the frontends take {plural(len(movable), 'free port')}"


def free(ports: Ports, named: Collection[str]) -> Ports:
    """Free ports in place of those of the usual numbers.

    Args:
        ports: that are wanted.
        named: ports that do not give way.
    """
    return replace(ports, **dict.fromkeys(_movable(ports, named), 0))


def _movable(ports: Ports, named: Collection[str]) -> list[str]:
    usual = Ports()
    return [name for name in FRONTEND_PORTS if name not in named and getattr(ports, name) == getattr(usual, name)]


def _in_use(address: str, port: int) -> bool:
    """Whether binding a port finds it in use; what else is wrong with it, binding it says later."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # as the frontends have it
        try:
            probe.bind((address, port))
        except OSError as error:
            return error.errno == errno.EADDRINUSE
    return False
