"""What one peer may take of a query frontend, with a client and a replica beside that behave well and lose nothing."""

import asyncio
import contextlib
import json
import logging
import resource
import socket
import time
import urllib.request
from concurrent.futures import ThreadPoolExecutor

import pytest
import zmq
from peers import Beside, Client, Replica, dealer, started

from frontend_launch import __main__, wire
from frontend_launch.errors import StoreError
from frontend_launch.frontends import clients, query, replica_link, slices
from frontend_launch.frontends import store as stores
from frontend_launch.frontends.metric_definitions import ApplicationMetrics
from frontend_launch.records import Application, ModelVersion
from model_containers import credentials
from model_containers.data_types import DataType
from model_containers.wire import HeartbeatKind, HeartbeatReply, Metadata, encode_heartbeat, encode_metadata

TIMEOUT_S = 10


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


@pytest.mark.parametrize("name", ["request", "response", "replica"])
def test_a_peer_without_a_key_is_bound_before_it_shakes_hands(stack, name):
    """At once, and not only when it took too long to greet (10 s): it is not known yet whose message it is."""
    frontend = started(stack, max_message_bytes=4096, credentials=credentials.make())
    greeting = b"\xff" + bytes(8) + b"\x7f\x03\x00" + b"CURVE".ljust(20, b"\0") + bytes(32)
    address = "127.0.0.1", getattr(frontend.ports, name)
    with contextlib.closing(socket.create_connection(address, timeout=5)) as peer:
        peer.sendall(greeting)
        assert len(peer.makefile("rb").read(len(greeting))) == len(greeting)
        peer.sendall(b"\x06" + (1 << 30).to_bytes(8, "big"))  # the head of a command of 1 GiB
        with contextlib.suppress(ConnectionResetError):
            assert peer.recv(1) == b""


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
    """The request is one message, and malformed."""
    frontend = started(stack)
    beside = Beside(frontend, stack)
    peer = stack.enter_context(dealer(getattr(frontend.ports, name)))
    peer.send_multipart([b"x"] * 20_000)
    beside.ask()
    frontend.until(lambda: frontend.frontend._dropped)
    beside.ask()
    assert sum(frontend.counters().dropped.values()) == 1


def test_requests_of_a_burst_that_nobody_serves_are_answered_together(stack):
    """Sending each alone would take several times as long, and hold up the others."""
    frontend = started(stack)
    frontend.register("odd")
    own = Client(frontend, stack, wire.encode_announcement(b""))
    requests = [
        [b"", *wire.encode_request_burst(own.client_id, [number], name, DataType.FLOATS, [bytes(4)])]
        for number, name in enumerate(("odd", "unknown") * 20)
    ]
    sent, burst = [], table_of(frontend)._sender.burst

    def noted(*args):
        sent.append(args)
        return burst(*args)

    async def ask():
        table_of(frontend)._sender.burst = noted
        for request in requests:
            frontend.frontend._on_request(request)
        frontend.frontend._after_requests()

    frontend.call(ask())
    answers = [own.receiving.recv_multipart()[wire.RESPONSE_ID] for _ in range(40)]
    assert {int.from_bytes(answer, "little") for answer in answers} == set(range(40))
    assert len(sent) == 1


def test_names_have_a_bound(stack, caplog):
    """What a peer calls itself, or asks for, does not fill the log, the metrics or the memory."""
    frontend = started(stack)
    beside = Beside(frontend, stack)
    peer = stack.enter_context(dealer(frontend.ports.replica))
    peer.send_multipart(encode_metadata(Metadata("x" * 1001, "1", DataType.FLOATS)))
    own = Client(frontend, stack, wire.encode_announcement(b""))
    own.send(1, application="y" * 100_000)
    assert len(own.receiving.recv_multipart()[3]) < 2000
    frontend.until(lambda: len(frontend.frontend._dropped) == 2)
    assert frontend.counters().dropped == {"text": 1, "unknown_application": 1}
    assert max(len(record.getMessage()) for record in caplog.records) < 2000
    assert list(frontend.counters().models) == ["beside:1"]
    beside.ask()


def test_the_metrics_of_many_applications_stop_nobody(stack, monkeypatch):
    """Queries are served while their text is made, however many ask for it."""
    frontend = started(stack)
    beside = Beside(frontend, stack)
    for number in range(400):
        ApplicationMetrics(frontend.frontend._registry, f"many-{number}", 0)
    served_by: list[int] = []
    text = frontend.frontend._registry.text

    def noted(now_ns):
        give_up_s = time.monotonic() + TIMEOUT_S
        yield from text(now_ns)
        while len(set(served_by)) <= 3 and time.monotonic() < give_up_s:  # a text has no end until some were served
            served_by.append(frontend.frontend._outbox.replies)
            yield b""

    monkeypatch.setattr(slices, "SLICE_S", 0.0)
    monkeypatch.setattr(frontend.frontend._registry, "text", noted)
    port = stack.enter_context(frontend.metrics())
    with ThreadPoolExecutor(3) as pool:
        url = f"http://127.0.0.1:{port}/metrics"
        bodies = [pool.submit(urllib.request.urlopen, url, timeout=TIMEOUT_S) for _ in range(3)]
        while not all(body.done() for body in bodies):
            beside.ask()
        for body in bodies:
            with body.result() as answer:
                json.load(answer)
    assert len(set(served_by)) > 3


def test_replicas_that_come_and_go_leave_little_behind(stack, monkeypatch):
    """Of their models, of themselves, and of their records."""
    for name in ("MAX_PIPELINES", "MAX_GONE_REPLICAS", "LINES_A_MINUTE"):
        monkeypatch.setattr(replica_link, name, 3)
    monkeypatch.setattr(stores, "MAX_REPLICAS", 5)
    frontend = started(stack)
    beside = Beside(frontend, stack)
    for number in range(12):
        with contextlib.ExitStack() as life:
            Replica(frontend, life, f"model-{number % 6}")
        frontend.until(lambda: len(frontend.frontend._served) == 1)
        beside.ask()
    table = frontend.frontend._link._replicas
    per_model = (table._free, table._serving, table._aside, table._patience, table._output_types)
    assert {len(known) for known in per_model} == {3}
    assert len(table._registrations) == len(frontend.counters().models) == 3
    assert len(frontend.counters().replicas) == 4
    assert len(frontend.call(frontend.store.replicas())) == 5


def test_replicas_do_not_wait_without_end_for_a_store_that_does_not_answer(stack, monkeypatch):
    """They serve all the same."""
    monkeypatch.setattr(query, "MAX_UNWRITTEN", 2)
    frontend = started(stack)
    frontend.register("beside")

    async def fail(_):
        raise StoreError("no")

    monkeypatch.setattr(frontend.store, "add_replica", fail)
    replicas = [Replica(frontend, stack, "beside") for _ in range(5)]
    assert len(frontend.frontend._tasks) == 2
    client = Client(frontend, stack)
    for number, replica in enumerate(replicas):
        client.send(number, application="beside")
        replica.answer(replica.receive_batch())
        client.receive()


def test_a_store_in_memory_refuses_what_is_too_much(monkeypatch):
    """What is known may change, and is served."""
    monkeypatch.setattr(stores, "MAX_APPLICATIONS", 2)
    monkeypatch.setattr(stores, "MAX_MODELS", 2)

    async def fill(store, length=0):
        for number in range(3):
            await store.add_application(Application(f"{number}", DataType.INTS, "x" * length, 1))

    async def fill_models(store):
        for number in range(3):
            await store.add_model(ModelVersion("m", f"{number}", DataType.INTS, ("",), "x", "x", 1))

    async def main():
        store = stores.MemoryStore()
        for what, act in (("applications", fill), ("models", fill_models)):
            with pytest.raises(StoreError, match=f"no room for more {what}: 2 are here"):
                await act(store)
        await store.add_application(Application("1", DataType.INTS, "y", 1))
        await store.add_model(ModelVersion("m", "1", DataType.INTS, ("",), "x", "x", 9))
        assert [model.batch_size for model in await store.models()] == [1, 9]
        assert len(await store.applications()) == 2
        monkeypatch.setattr(stores, "MAX_TEXT", 1000)
        with pytest.raises(StoreError, match="no room for more applications: 1 are here, with 601 characters"):
            await fill(stores.MemoryStore(), 600)

    asyncio.run(main())


def table_of(frontend):
    return frontend.frontend._clients


def test_handshakes_of_one_connection_evict_its_own_ids_only(stack, monkeypatch):
    """A client that waits for an answer gets it, and one that has asked nothing yet is remembered."""
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


def test_handshakes_are_answered_a_few_at_a_time(stack):
    """However many wait, requests and answers have their turn in between."""
    frontend = started(stack)
    turns, handshake = [0], frontend.frontend._on_handshake

    async def begin():
        reader = frontend.frontend._handshakes
        burst = reader._burst

        def noted(frames):
            turns[-1] += 1
            handshake(frames)

        def turn():
            turns.append(0)
            burst()

        reader._handle, reader._burst = noted, turn

    frontend.call(begin())
    peer = stack.enter_context(dealer(frontend.ports.response))
    for _ in range(200):
        peer.send_multipart(wire.HANDSHAKE)
    for _ in range(200):
        peer.recv_multipart()
    assert sum(turns) == 200
    assert max(turns) <= query.HANDSHAKES_AT_ONCE


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
    warnings = [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING]
    assert "does not read its answers" in warnings[0]
    assert client.client_id not in table_of(frontend)._identities
    client._send(sent, "texts", DataType.STRINGS, b"x")
    frontend.until(lambda: frontend.frontend._dropped)
    assert frontend.counters().dropped == {"unknown_client": 1}
    beside.ask()


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
