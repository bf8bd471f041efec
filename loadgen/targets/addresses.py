"""Makes connections to all addresses of a server's name, in turn."""

from __future__ import annotations

import asyncio
import ipaddress
import logging
import os
import socket
import ssl
import time
from collections import Counter
from collections.abc import Callable, Sequence
from typing import TypeVar

from frontend_launch.patience import patience
from loadgen.targets.address import Address
from loadgen.targets.client_limits import client_limit
from model_containers.units import NS_PER_S

log = logging.getLogger(__name__)

PATIENCE_S = 2.0
"""Patience for one address while another is left."""

PASSED_OVER_NS = 10 * NS_PER_S
"""An address that took no connection is not tried for so long, while others are."""

ONE_MACHINE = "localhost"
"""A name that stands for one machine in two families of addresses, of which servers often use one only."""

_P = TypeVar("_P", bound=asyncio.BaseProtocol)


async def open_stream(
    server: Address, tls: ssl.SSLContext | None = None
) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """A connection to a server, for a question.

    Args:
        server: host and port, or a Unix socket.
        tls: None without.

    Raises:
        OSError: it cannot be made.
    """
    name = None if tls is None else server.server_name
    if server.unix_socket:
        return await asyncio.open_unix_connection(server.unix_socket, ssl=tls, server_hostname=name)
    return await asyncio.open_connection(server.host, server.port, ssl=tls, server_hostname=name)


async def resolve(host: str, port: int) -> Sequence[str]:
    """The addresses of a host, as the system orders them; a number is its own address.

    Args:
        host: a name, or a number.
        port: of the server.

    Raises:
        OSError: the name is not known.
    """
    try:
        ipaddress.ip_address(host)
    except ValueError:
        found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
        return list(dict.fromkeys(str(sockaddr[0]) for *_, sockaddr in found))
    return [host]


class Addresses:
    """The addresses of one server; its name is resolved at first, and whenever no address is left to try.

    Args:
        server: whose they are.

    Attributes:
        known: all that there ever were, in the order in which they were found.
        several: there was more than one at first.
    """

    def __init__(self, server: Address) -> None:
        self._server = server
        self._now: Sequence[str] = ()
        self._turn = -1
        self._passed_over_until_ns: dict[str, int] = {}
        self._refusals: Counter[tuple[str, str]] = Counter()
        self.known: list[str] = []
        self.several = False

    @property
    def notes(self) -> list[str]:
        """A line for each address that took no connection, for each reason."""
        return [
            f"{self._server.host}: {address}, one of {len(self.known)} addresses, took no connection ({reason}; "
            f"{count} attempt{'' if count == 1 else 's'})"
            for (address, reason), count in self._refusals.items()
        ]

    async def connect(self, make: Callable[[str], _P], tls: ssl.SSLContext | None) -> _P:
        """Make a connection to the next address, or to one after it where that takes none.

        Args:
            make: its protocol, called with the address.
            tls: None without.

        Raises:
            OSError: no address takes one, or this machine cannot make another.
        """
        *others, last = await self._in_turn()
        for address in others:
            try:
                async with patience(PATIENCE_S):
                    return await self._connect(address, make, tls)
            except OSError as error:
                if client_limit(error) is not None:
                    raise
                self._refused(address, error)
        try:
            return await self._connect(last, make, tls)
        except OSError as error:
            self._refused(last, error)
            raise

    async def _connect(self, address: str, make: Callable[[str], _P], tls: ssl.SSLContext | None) -> _P:
        loop, server = asyncio.get_running_loop(), self._server
        name = None if tls is None else server.server_name
        if server.unix_socket:
            _, connection = await loop.create_unix_connection(
                lambda: make(address), server.unix_socket, ssl=tls, server_hostname=name
            )
        else:
            _, connection = await loop.create_connection(
                lambda: make(address), address, server.port, ssl=tls, server_hostname=name
            )
        self._passed_over_until_ns.pop(address, None)
        return connection

    async def _in_turn(self) -> Sequence[str]:
        """Those to try, at least one."""
        now_ns = time.monotonic_ns()
        usable = [address for address in self._now if self._passed_over_until_ns.get(address, 0) <= now_ns]
        if not usable:
            server = self._server
            usable = [server.unix_socket] if server.unix_socket else [*await resolve(server.host, server.port)]
            self.several = self.several or (not self.known and len(usable) > 1)
            self._now = tuple(usable)
            self.known += [address for address in usable if address not in self.known]
        self._turn += 1
        first = self._turn % len(usable)
        return usable[first:] + usable[:first]

    def _refused(self, address: str, error: OSError) -> None:
        self._passed_over_until_ns[address] = time.monotonic_ns() + PASSED_OVER_NS
        if not self.several or self._server.host == ONE_MACHINE:
            return
        number = error.errno if error.errno and error.errno > 0 else None
        reason = os.strerror(number) if number else "no answer" if isinstance(error, TimeoutError) else str(error)
        said = address, reason or type(error).__name__
        if said not in self._refusals:
            log.warning("%s: %s takes no connection (%s)", self._server.text, *said)
        self._refusals[said] += 1
