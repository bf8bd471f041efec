"""Which live outputs a measurement has. Pure."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import NamedTuple

from loadgen.errors import ConfigError, FieldError

LOOPBACK = "127.0.0.1"
MAX_PORT = 65_535


class Endpoint(NamedTuple):
    """Where a server listens.

    Attributes:
        host: an IPv4 address.
        port: 0 for any free one.
    """

    host: str
    port: int

    def __str__(self) -> str:
        return f"{self.host}:{self.port}"


def parse_endpoint(text: str) -> Endpoint:
    """Read ``PORT`` or ``HOST:PORT``; a port alone is one of loopback.

    Raises:
        ConfigError: it is neither.
    """
    host, separator, port = text.rpartition(":")
    if not re.fullmatch("[0-9]{1,5}", port) or int(port) > MAX_PORT or bool(host) != bool(separator):
        raise ConfigError(f"{text!r}: not a port; write 9464, or HOST:9464, or 0 for any free port")
    return Endpoint(host or LOOPBACK, int(port))


@dataclass(frozen=True, slots=True)
class Live:
    """What is shown of a measurement while it is under way.

    Attributes:
        terminal: a view on standard output, in place of the lines of intervals.
        prometheus: where the client's metrics are served; None for nowhere.
        web: where a page is served; None for nowhere.
    """

    terminal: bool = False
    prometheus: Endpoint | None = None
    web: Endpoint | None = None

    def __post_init__(self) -> None:
        for name, endpoint in (("prometheus", self.prometheus), ("web", self.web)):
            if endpoint is not None and not 0 <= endpoint.port <= MAX_PORT:
                raise FieldError(f"Live.{name}", endpoint.port, "is not a port", f"use 0 to {MAX_PORT}")

    @property
    def wanted(self) -> bool:
        """Whether there is any output."""
        return self.terminal or self.prometheus is not None or self.web is not None
