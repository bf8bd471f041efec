"""The saved messages with something wrong, against each socket, with a client beside that loses nothing."""

import contextlib

import fuzzing
import pytest
from peers import Client, FrontendThread, Replica

from frontend_launch.frontends.http import listening
from frontend_launch.frontends.management import make_app

CORPUS = fuzzing.corpus()


@pytest.fixture
def frontend():
    with contextlib.closing(FrontendThread()) as frontend:
        frontend.register("beside")
        frontend.register(fuzzing.APPLICATION, objective_s=0.001)
        yield frontend


@pytest.fixture
def ask(frontend):
    """One query of a client that behaves well, with its answer."""
    with contextlib.ExitStack() as stack:
        client, replica = Client(frontend, stack), Replica(frontend, stack, "beside")

        def one(number):
            client.send(number, [float(number)], "beside")
            replica.answer(replica.receive_batch())
            assert client.receive().request_id == number

        yield one


@pytest.mark.parametrize("name", fuzzing.SOCKETS)
def test_messages(frontend, ask, caplog, name):
    """What is sent over and over changes nothing for the others; each is answered, or counted, or ignored."""
    ports = {each: getattr(frontend.ports, each) for each in fuzzing.SOCKETS}
    for _ in range(2):
        peer = fuzzing.Peer(name, ports)
        for number, frames in enumerate(CORPUS[name]):
            peer.send(frames)
            if number % 20 == 0:
                ask(number)
        peer.settle()
        peer.close()
    ask(1000)
    assert not [record for record in caplog.records if record.exc_info]
    bad = {fuzzing.outcome(name, frames) for frames in CORPUS[name]} & set(frontend.counters().dropped)
    assert len(bad) >= (1 if name == "response" else 4)


def test_http(frontend, ask, caplog):
    """Of the metrics and of the management API."""
    server = listening(make_app(frontend.store), "127.0.0.1", 0, "--admin-port")
    admin = frontend.call(server.__aenter__())
    try:
        with frontend.metrics() as metrics:
            for number, (text,) in enumerate(CORPUS["http"]):
                for port in (admin, metrics):
                    answer = fuzzing.send_http(port, text)
                    assert not answer or answer.startswith(b"HTTP/"), answer
                    assert b" 500 " not in answer.partition(b"\r\n")[0], text
                if number % 20 == 0:
                    ask(number)
    finally:
        frontend.call(server.__aexit__(None, None, None))
    assert not [record for record in caplog.records if record.exc_info]
    assert frontend.counters().dropped["http"] > 0
