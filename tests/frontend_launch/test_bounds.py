"""What one peer may take of a query frontend, with a client and a replica beside that behave well and lose nothing."""

import contextlib
import resource
import socket

import pytest
import zmq
from peers import Client, FrontendThread, Replica, dealer

from frontend_launch import __main__, wire
from frontend_launch.frontends import clients, query, replica_link
from model_containers.data_types import DataType
from model_containers.wire import HeartbeatKind, HeartbeatReply, encode_heartbeat

TIMEOUT_S = 10


class Beside:
    """A client and a replica, each of which gets what is its own, whatever others do."""

    def __init__(self, frontend, stack):
        frontend.register("beside")
        self.client, self.replica = Client(frontend, stack), Replica(frontend, stack, "beside")
        self.sent = 0

    @contextlib.contextmanager
    def waiting(self):
        """One query, which waits for its answer while the context lasts, and then gets it."""
        self.client.send(self.sent, [float(self.sent)], "beside")
        batch = self.replica.receive_batch()
        yield
        self.replica.answer(batch)
        assert self.client.receive().request_id == self.sent
        self.sent += 1

    def ask(self):
        """One query, which is answered."""
        with self.waiting():
            pass


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


def table_of(frontend):
    return frontend.frontend._clients


def test_handshakes_of_one_connection_evict_its_own_ids_only(stack, monkeypatch):
    """Whoever waits for an answer gets it, and one that has asked nothing yet is remembered."""
    monkeypatch.setattr(clients, "MAX_CLIENTS", 100)
    frontend = started(stack)
    beside, silent = Beside(frontend, stack), Client(frontend, stack)
    peer = stack.enter_context(dealer(frontend.ports.response))
    given = []
    with beside.waiting():
        for _ in range(500):
            peer.send_multipart(wire.HANDSHAKE)
            given.append(wire.decode_handshake_reply(peer.recv_multipart()))
    beside.ask()
    table = table_of(frontend)
    assert [client for client in given if client in table._identities] == given[-clients.MAX_IDS_OF_CONNECTION :]
    silent.send(1, application="beside")
    beside.replica.answer(beside.replica.receive_batch())
    assert silent.receive().request_id == 1


def test_connections_that_ask_nothing_evict_each_other_only(stack, monkeypatch):
    """However many come; all that is kept of them is bounded."""
    monkeypatch.setattr(clients, "MAX_CLIENTS", 20)
    frontend = started(stack)
    beside = Beside(frontend, stack)
    context = zmq.Context()
    stack.callback(context.destroy, 0)
    with beside.waiting():
        for _ in range(60):
            peer = context.socket(zmq.DEALER)
            peer.setsockopt(zmq.RCVTIMEO, 1000 * TIMEOUT_S)
            peer.connect(f"tcp://127.0.0.1:{frontend.ports.response}")
            peer.send_multipart(wire.encode_announcement(b""))
            peer.recv_multipart()
            peer.close(0)
    beside.ask()
    table = table_of(frontend)
    sizes = map(len, (table._identities, table._new, table._asking, table._ids_of, table._announced))
    assert list(sizes) == [21, 20, 1, 21, 20]


def test_of_clients_that_ask_the_one_that_was_silent_for_longest_is_forgotten(stack, monkeypatch):
    """Where there are very many."""
    monkeypatch.setattr(clients, "MAX_CLIENTS", 2)
    frontend = started(stack)
    frontend.register()
    first, second = Client(frontend, stack), Client(frontend, stack)
    for each in (first, second, first):
        each.send(1)
        assert each.receive().request_id == 1
    third = Client(frontend, stack)
    third.send(1)
    assert third.receive().request_id == 1
    second.send(2)
    frontend.until(lambda: frontend.frontend._dropped)
    assert frontend.counters().dropped == {"unknown_client": 1}


def test_a_client_that_does_not_read_is_dropped_at_a_bound(stack, monkeypatch, caplog):
    """Its answers do not grow without end, and its queries are not served any more."""
    monkeypatch.setattr(clients, "MAX_UNREAD", 32)
    monkeypatch.setattr(clients, "MIN_UNREAD", 32)
    frontend = started(stack)
    beside = Beside(frontend, stack)
    frontend.register("texts", DataType.STRINGS, batch_size=10)
    client = Client(frontend, stack, RCVHWM=1, RCVBUF=4096)
    replica = Replica(frontend, stack, "texts", DataType.STRINGS)
    sent = 0
    while not frontend.counters().orphaned:
        client._send(sent, "texts", DataType.STRINGS, b"x")
        replica.answer_with(replica.receive_batch(), DataType.STRINGS, [b"x" * (1 << 20)])
        beside.ask()
        sent += 1
        assert sent < 1000, "what waits for it has no bound"
    assert "does not read its answers" in caplog.records[0].getMessage()
    assert client.client_id not in table_of(frontend)._identities
    client._send(sent, "texts", DataType.STRINGS, b"x")
    frontend.until(lambda: frontend.frontend._dropped)
    assert frontend.counters().dropped == {"unknown_client": 1}
    beside.ask()


@pytest.mark.parametrize(
    ("output_bytes", "answers"),
    [(0, 131_072), (4096, 131_072), (1 << 16, 32_513), (1 << 20, 16_384), (1 << 28, 16_384)],
)
def test_fewer_large_answers_than_small_ones_wait_for_a_client(output_bytes, answers):
    """The bound follows the largest output; ZeroMQ takes it for connections that stand."""
    with zmq.Context() as context, context.socket(zmq.ROUTER) as router:
        table = clients.ClientTable(router, lambda _: None)
        assert router.getsockopt(zmq.SNDHWM) == 131_072
        table._sender.largest = output_bytes
        table.answer([], DataType.FLOATS, [])
        assert router.getsockopt(zmq.SNDHWM) == answers


def with_full_pipes(frontend, act):
    """Do something while no replica reads; gives to whom something was to be sent."""

    async def run():
        link = frontend.frontend._link
        send, refused = link._send_batch, []

        def full(frames):
            refused.append(frames[0])
            raise zmq.Again

        link._send_batch = full
        act(link)
        link._send_batch = send
        return refused

    return frontend.call(run())


def test_what_waits_for_a_replica_that_does_not_read_has_a_bound(stack):
    """At which the answers to its heartbeats are dropped, or the replica; the others are served."""
    frontend = started(stack)
    beside = Beside(frontend, stack)
    assert frontend.frontend._replica_socket.getsockopt(zmq.SNDHWM) == replica_link.MAX_UNREAD
    odd = Replica(frontend, stack, "app")
    (identity,) = (one.identity for one in frontend.frontend._link._replicas if one.model[0] == "app")
    for name in (b"stranger", identity):
        refused = with_full_pipes(frontend, lambda link, name=name: link._on_replica([name, *encode_heartbeat()]))
        assert refused == [name]
    assert not frontend.counters().replicas["app:1:0"].alive
    odd.socket.send_multipart(encode_heartbeat())
    assert odd.receive() == HeartbeatReply(HeartbeatKind.REQUEST_METADATA)
    beside.ask()


def test_a_busy_replica_outlives_probes_that_it_does_not_read(stack):
    """It answers its batch, and gets the next."""
    frontend = started(stack)
    beside = Beside(frontend, stack)
    with beside.waiting():
        assert len(with_full_pipes(frontend, lambda link: link._probe())) == 1
    beside.ask()


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
