"""Deployments: refused where they need too many open files, started on free ports where others took the usual ones."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import sys
from dataclasses import replace

import pytest

from frontend_launch.errors import PlacementError, UnavailableError
from frontend_launch.launch import port_choice
from frontend_launch.ports import FRONTEND_PORTS, Ports
from loadgen.config import ExperimentConfig, Saturate
from loadgen.load import open_files
from loadgen.plan import prepare
from loadgen.served import Deploy
from loadgen.servers import deployment as servers
from loadgen.servers.deployment import check_open_files, deployed

HOST = "127.0.0.1"


def test_a_limit_of_open_files(monkeypatch):
    """The line says how many are needed, and what to do."""
    for limit in (77, sys.maxsize):
        monkeypatch.setattr(open_files, "raise_limit", lambda limit=limit: limit)
        check_open_files(10, 3)
    monkeypatch.setattr(open_files, "raise_limit", lambda: 64)
    check_open_files(1, 1)
    with pytest.raises(
        PlacementError, match=r"^10 replicas and 3 clients need 77 open files, 64 are allowed; raise the"
    ):
        check_open_files(10, 3)


@pytest.fixture
def taken(monkeypatch):
    """The numbers of the usual ports, one of which another process takes while the frontends start; all ports tried."""
    with contextlib.ExitStack() as others:
        with contextlib.ExitStack() as free:
            sockets = [free.enter_context(socket.create_server((HOST, 0))) for _ in FRONTEND_PORTS]
            usual = Ports(*(each.getsockname()[1] for each in sockets))
        tried = []

        @contextlib.asynccontextmanager
        async def bring_up(ports):
            tried.append(ports)
            if ports.request == usual.request:
                others.enter_context(socket.create_server((HOST, usual.request)))
                raise UnavailableError(f"port {usual.request} on {HOST} cannot be used")
            yield ports

        monkeypatch.setattr(port_choice, "Ports", lambda: usual)
        monkeypatch.setattr(servers, "_deployment", lambda plan, serve, ports: bring_up(ports))
        yield usual, tried


async def ports_of(serve):
    """The ports that a deployment is up with."""
    async with deployed(await prepare(ExperimentConfig(serve, Saturate(duration_s=1)))) as ports:
        return ports


def test_ports_that_others_take_before_the_bind_give_way(taken):
    """The frontends start once more, on free ports."""
    usual, tried = taken
    free = replace(usual, **dict.fromkeys(FRONTEND_PORTS, 0))
    assert asyncio.run(ports_of(Deploy("noop", ports=usual))) == free
    assert tried == [usual, free]


def test_ports_with_an_option_do_not_give_way(taken):
    """The user is told."""
    usual, tried = taken
    with pytest.raises(UnavailableError, match="cannot be used"):
        asyncio.run(ports_of(Deploy("noop", ports=usual, named_ports=FRONTEND_PORTS)))
    assert tried == [usual]


def test_ports_in_use_are_said_once_where_the_start_fails(taken, monkeypatch, caplog):
    """The second choice is the first: nothing starts again."""
    usual, _ = taken

    def refused(plan, serve, ports):
        raise UnavailableError("no engine answers")

    monkeypatch.setattr(servers, "_deployment", refused)
    caplog.set_level("INFO", servers.log.name)
    with socket.create_server((HOST, usual.request)), pytest.raises(UnavailableError, match="no engine answers"):
        asyncio.run(ports_of(Deploy("noop", ports=usual)))
    assert [text.startswith("ports: ") for text in caplog.messages] == [True]
