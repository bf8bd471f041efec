"""Ports that cannot be bound: one line with the port, the reason and the option."""

from __future__ import annotations

import contextlib
import errno
import socket
from dataclasses import fields, replace

import pytest
import uvloop

from frontend_launch.errors import LaunchError
from frontend_launch.frontends import assembly
from frontend_launch.ports import Ports, is_loopback, unusable

FREE = Ports(0, 0, 0, 0, 0)
NAMES = [port.name for port in fields(Ports) if port.name != "redis"]


async def served(host: str, ports: Ports) -> None:
    """Bind all ports of frontends, and let them go."""
    async with contextlib.AsyncExitStack() as stack:
        store = assembly.memory()
        bound = await stack.enter_async_context(assembly.query(store, host, ports, 1 << 20, 1 << 20, None, (0, 1)))
        await stack.enter_async_context(assembly.management(store, host, bound))


@pytest.mark.parametrize("name", NAMES)
def test_a_port_in_use(name):
    """Whichever it is; the others are free again."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        text = rf"^port {port} on 127\.0\.0\.1: cannot be used \(.*\); free it or choose another with --{name}-port$"
        with pytest.raises(LaunchError, match=text):
            uvloop.run(served("127.0.0.1", replace(FREE, **{name: port})))
    uvloop.run(served("127.0.0.1", replace(FREE, **{name: port})))


def test_a_host_of_another_machine():
    """No port of it can be bound."""
    with pytest.raises(LaunchError, match=r"^192\.0\.2\.1: not an address of this machine; choose"):
        uvloop.run(served("192.0.2.1", FREE))


def test_what_is_said_and_what_is_loopback():
    """An error of another kind has its own words."""
    denied = OSError(errno.EACCES, "Permission denied")
    assert unusable("127.0.0.1", 80, "--admin-port", denied).startswith(
        "port 80 on 127.0.0.1: cannot be used (Permission"
    )
    assert [is_loopback(host) for host in ("127.0.0.1", "localhost", "::1", "0.0.0.0", "example.org")] == [
        True,
        True,
        True,
        False,
        False,
    ]
