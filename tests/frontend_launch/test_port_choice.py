"""The ports of a deployment: the usual ones where all are free, else free ones."""

import contextlib
import socket
from dataclasses import replace

import pytest

from frontend_launch.launch import port_choice
from frontend_launch.launch.port_choice import chosen
from frontend_launch.ports import FRONTEND_PORTS, Ports

HOST = "127.0.0.1"


@pytest.fixture
def usual(monkeypatch):
    """Ports that are free on this machine, in place of the usual ones."""
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(socket.create_server((HOST, 0))) for _ in FRONTEND_PORTS]
        found = Ports(*(each.getsockname()[1] for each in sockets))
    monkeypatch.setattr(port_choice, "Ports", lambda: found)
    return found


def test_all_are_free(usual):
    """Nothing is to be said."""
    assert chosen(usual, (), HOST) == (usual, "")


@pytest.mark.parametrize("name", FRONTEND_PORTS)
def test_one_is_in_use(usual, name):
    """All give way, so that none is mixed up with those of another deployment."""
    with socket.create_server((HOST, getattr(usual, name))):
        ports, note = chosen(usual, (), HOST)
    assert ports == replace(usual, **dict.fromkeys(FRONTEND_PORTS, 0))
    assert note == f"{getattr(usual, name)} on {HOST} in use; the frontends take 5 free ports"


def test_ports_that_were_named_stay(usual):
    """By another number, or by the usual one: binding them is an error where they are in use."""
    wanted = replace(usual, admin=9)
    with socket.create_server((HOST, usual.request)):
        assert chosen(wanted, ("request",), HOST) == (wanted, "")
        ports, _ = chosen(wanted, (), HOST)
    assert (ports.request, ports.metrics, ports.admin) == (0, 0, 9)


def test_what_else_is_wrong_is_for_binding_to_say(usual):
    """Such as an address of another machine."""
    assert chosen(usual, (), "192.0.2.1") == (usual, "")


def test_ports_in_words():
    """In the order of their fields."""
    text = "request 4456, response any free one, replica 7000, metrics 1337, admin 1338"
    assert Ports(response=0).text == text
