"""What one peer may take of a query frontend, with a client and a replica beside that behave well and lose nothing."""

import contextlib
import resource
import socket

import pytest
import zmq
from peers import Client, FrontendThread, Replica, dealer

from frontend_launch import __main__
from frontend_launch.frontends import query

TIMEOUT_S = 10


class Beside:
    """A client and a replica, each of which gets what is its own, whatever others do."""

    def __init__(self, frontend, stack):
        frontend.register("beside")
        self.client, self.replica = Client(frontend, stack), Replica(frontend, stack, "beside")
        self.sent = 0

    def ask(self):
        """One query, which is answered."""
        self.client.send(self.sent, [float(self.sent)], "beside")
        self.replica.answer(self.replica.receive_batch())
        assert self.client.receive().request_id == self.sent
        self.sent += 1


@pytest.fixture
def stack():
    with contextlib.ExitStack() as stack:
        yield stack


def started(stack, **options):
    frontend = FrontendThread(**options)
    stack.callback(frontend.close)
    return frontend


@pytest.mark.parametrize("name", ["request", "response", "replica"])
def test_a_part_that_is_too_large_ends_its_connection(stack, name):
    """Before it is read: nothing of it is in memory."""
    frontend = started(stack, max_message_bytes=4096)
    beside = Beside(frontend, stack)
    with dealer(getattr(frontend.ports, name)) as peer:
        monitor = peer.get_monitor_socket(int(zmq.EVENT_DISCONNECTED))
        monitor.setsockopt(zmq.RCVTIMEO, 1000 * TIMEOUT_S)
        peer.send_multipart([b"", bytes(4097)])
        assert monitor.recv_multipart()
        peer.disable_monitor()
    beside.ask()
    assert frontend.counters().dropped == {}


def test_a_part_of_the_largest_size_is_read(stack):
    """The bound is on parts, and exact."""
    frontend = started(stack, max_message_bytes=4096)
    beside = Beside(frontend, stack)
    for elements in (1024, 1):
        beside.client.send(elements, [1.0] * elements, "beside")
        beside.replica.answer(beside.replica.receive_batch())
        assert beside.client.receive().request_id == elements


@pytest.mark.parametrize("name", ["request", "response", "replica"])
def test_a_peer_that_connects_and_says_nothing_is_let_go(stack, monkeypatch, name):
    """Also one that says half of what ZeroMQ greets with."""
    monkeypatch.setattr(query, "HANDSHAKE_TIMEOUT_MS", 50)
    frontend = started(stack)
    beside = Beside(frontend, stack)
    idle = [
        stack.enter_context(socket.create_connection(("127.0.0.1", getattr(frontend.ports, name)), TIMEOUT_S))
        for _ in range(20)
    ]
    for peer in idle[::2]:
        peer.sendall(b"\xff\0\0\0")
    beside.ask()
    for peer in idle:
        with contextlib.suppress(ConnectionError):
            while peer.recv(4096):
                pass
    beside.ask()


@pytest.mark.parametrize("name", ["request", "response", "replica"])
def test_a_message_of_very_many_parts_holds_nobody_up(stack, name):
    """It is one message that is none."""
    frontend = started(stack)
    beside = Beside(frontend, stack)
    peer = stack.enter_context(dealer(getattr(frontend.ports, name)))
    peer.send_multipart([b"x"] * 20_000)
    beside.ask()
    frontend.until(lambda: frontend.frontend._dropped)
    beside.ask()
    assert sum(frontend.counters().dropped.values()) == 1


@pytest.mark.parametrize("value", ["0", "-1", "1e9", "", "9" * 5000, str(1 << 63)], ids=range(6))
def test_a_size_that_is_none_is_refused(capsys, value):
    """In one line."""
    with pytest.raises(SystemExit) as ended:
        __main__._parser().parse_args(["serve", "--max-message-bytes", value])
    assert ended.value.code == 2
    line = capsys.readouterr().err.splitlines()[-1]
    assert "--max-message-bytes: " in line
    assert len(line) < 200


@pytest.mark.parametrize(
    ("limits", "wanted"),
    [
        pytest.param((1024, 4096), (4096, 4096), id="as high as is allowed"),
        pytest.param((1024, 1 << 30), (1 << 20, 1 << 30), id="a million"),
        pytest.param((1024, resource.RLIM_INFINITY), (1 << 20, resource.RLIM_INFINITY), id="no limit"),
        pytest.param((4096, 4096), None, id="as it is"),
        pytest.param((1 << 21, 1 << 30), None, id="higher already"),
        pytest.param((resource.RLIM_INFINITY, resource.RLIM_INFINITY), None, id="none already"),
    ],
)
def test_a_frontend_takes_the_descriptors_that_it_may_have(monkeypatch, limits, wanted):
    """Each connection of a peer is one."""
    taken = []
    monkeypatch.setattr(resource, "getrlimit", lambda _: limits)
    monkeypatch.setattr(resource, "setrlimit", lambda _, given: taken.append(given))
    __main__._raise_descriptor_limit()
    assert taken == ([] if wanted is None else [wanted])
