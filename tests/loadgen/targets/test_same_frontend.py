"""One frontend or two, told by the ids of clients."""

import contextlib

import pytest
import uvloop
import zmq
from peers import Client, FrontendThread

from frontend_launch.wire import ipc_addresses
from loadgen.targets import same_frontend as module
from loadgen.targets.same_frontend import same_frontend


@pytest.fixture
def frontends(tmp_path):
    """Two, each with sockets in a directory of its own."""
    with contextlib.ExitStack() as stack:
        found = []
        for name in "ab":
            (tmp_path / name).mkdir()
            frontend = FrontendThread(ipc_directory=tmp_path / name)
            stack.callback(frontend.close)
            found.append((frontend, ipc_addresses(tmp_path / name)[1]))
        yield found


def test_the_sockets_of_a_frontend_are_told_from_another_s(frontends):
    """However many clients either had before."""
    (first, first_ipc), (second, second_ipc) = frontends
    tcp = f"tcp://127.0.0.1:{first.ports.response}"
    for clients_before in range(3):
        with contextlib.ExitStack() as stack:
            assert uvloop.run(same_frontend(tcp, first_ipc))
            assert not uvloop.run(same_frontend(tcp, second_ipc))
            for _ in range(clients_before):
                Client(second, stack)


def test_an_address_without_an_answer_is_none_of_it(frontends, monkeypatch):
    """Within the patience."""
    monkeypatch.setattr(module, "TIMEOUT_S", 0.1)
    with zmq.Context() as context, context.socket(zmq.ROUTER) as silent:
        port = silent.bind_to_random_port("tcp://127.0.0.1")
        assert not uvloop.run(same_frontend(f"tcp://127.0.0.1:{port}", frontends[0][1]))
