"""Answers on their way back to clients, of whom some are gone."""

import contextlib
import itertools
import time

import pytest
import zmq
from hypothesis import example, given, settings
from hypothesis import strategies as st

from frontend_launch import wire
from frontend_launch.clock import clock_id
from frontend_launch.frontends.batching import Query
from frontend_launch.frontends.clients import IDS, BatchTimes, ClientTable, random_ids
from model_containers.data_types import DataType
from model_containers.errors import WireError

PATIENCE_MS = 10_000


class Party:
    """A frontend's response socket, and clients that have said hello; two of them are gone since."""

    def __init__(self, context, timed=()):
        self.router = context.socket(zmq.ROUTER)
        self.router.setsockopt(zmq.ROUTER_MANDATORY, 1)
        self.lost: list[int] = []
        self.clients = ClientTable(self.router, self.lost.append, itertools.count())
        port = self.router.bind_to_random_port("tcp://127.0.0.1")
        self.peers, self.identities = [], []
        for number in range(4):
            peer = context.socket(zmq.DEALER)
            peer.connect(f"tcp://127.0.0.1:{port}")
            peer.send_multipart(wire.encode_announcement(clock_id()) if number in timed else wire.HANDSHAKE)
            assert self.router.poll(PATIENCE_MS)
            hello = self.router.recv_multipart()
            self.identities.append(hello[0])
            self.clients.register(hello)
            assert peer.poll(PATIENCE_MS)
            assert wire.decode_handshake_reply(peer.recv_multipart()) == number
            self.peers.append(peer)

    def part(self, *gone):
        """Close some, and wait until the router knows."""
        give_up_s = time.monotonic() + PATIENCE_MS / 1000
        for number in gone:
            self.peers[number].close(linger=0)
            with contextlib.suppress(zmq.ZMQError):  # no peer is there to get it
                while time.monotonic() < give_up_s:
                    self.router.send_multipart([self.identities[number], b"", b"\xff\xff\xff\xff"])
        assert time.monotonic() < give_up_s


@settings(max_examples=20)
@example([(1, b""), *[(0, b"")] * 7, (3, b""), (0, b""), (0, b"")], True)  # sent in three parts, picked from once
@given(
    st.lists(
        st.tuples(st.sampled_from([0, 1, 2, 3, 99]), st.sampled_from([b"", b"answer", bytes(70_000)])), max_size=12
    ),
    st.booleans(),
)
def test_whoever_is_there_gets_every_answer(asked, announced):
    """In order, whatever else is in the batch; a client that is gone is reported once."""
    with zmq.Context() as context:
        party = Party(context, timed=(0, 1) if announced else ())
        party.part(1, 3)
        queries = [Query(client, number, "app", b"", 0) for number, (client, _) in enumerate(asked)]
        outputs = [output for _, output in asked]
        party.clients.hold(queries, DataType.BYTES, outputs, BatchTimes(0, None))
        sent = party.clients.send_held()
        for client in (0, 2):
            expected = [
                [b"", number.to_bytes(4, "little"), bytes(4), output]
                for number, (asker, output) in enumerate(asked)
                if asker == client
            ]
            got = []
            for _ in expected:
                assert party.peers[client].poll(PATIENCE_MS)
                got.append(party.peers[client].recv_multipart())
            assert [message[:4] for message in got] == expected
            assert {len(message) for message in got} <= {5 if announced and client == 0 else 4}
        assert sent == sum(client in (0, 2) for client, _ in asked)
        assert sorted(party.lost) == sorted({client for client, _ in asked} & {1, 3})
        assert not any(party.clients.touch(client) for client in party.lost)
        context.destroy(linger=0)


def test_what_is_no_handshake_gets_no_id():
    """And the next one gets the next."""
    with zmq.Context() as context:
        party = Party(context)
        with pytest.raises(WireError):
            party.clients.register([b"identity", b"", b"", b""])
        assert party.clients.touch(3)
        assert not party.clients.touch(4)
        context.destroy(linger=0)


def test_client_ids_are_random_and_given_once():
    """Two tables share none, but by chance; they are numbers of the protocol."""
    first, second = (list(itertools.islice(random_ids(), 10_000)) for _ in range(2))
    assert len(set(first)) == len(set(second)) == 10_000
    assert 0 <= min(*first, *second) <= max(*first, *second) < IDS
    assert first != second
    assert len(set(first) & set(second)) <= 5
