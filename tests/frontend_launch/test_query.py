"""The query frontend against clients on real sockets: what they ask, what they get, and what is counted of it."""

import contextlib

import numpy as np
import pytest
import zmq
from peers import ANY, Client, FrontendThread, Replica, Response, dealer, value
from prometheus_client.parser import text_string_to_metric_families

from frontend_launch import wire
from frontend_launch.errors import LaunchError
from frontend_launch.frontends.query import QueryFrontend
from frontend_launch.frontends.store import MemoryStore
from frontend_launch.ports import Ports
from model_containers.data_types import DataType
from model_containers.wire import (
    ReplyTimes,
)


def test_a_query_goes_through_and_its_answer_comes_back(frontend, stack):
    """With the request's id and the replica's output."""
    frontend.register()
    client, replica = Client(frontend, stack), Replica(frontend, stack)
    client.send(7, [21.0, 5.0])
    batch = replica.receive_batch()
    assert [np.frombuffer(part, "<f4").tolist() for part in batch.inputs] == [[21.0, 5.0]]
    replica.answer(batch)
    response = client.receive()
    assert (response.request_id, response.output_type, value(response)) == (7, DataType.FLOATS, 42.0)


def test_each_handshake_has_a_client_id_of_its_own(frontend, stack):
    """That no client of an earlier process has."""
    earlier = FrontendThread()
    stack.callback(earlier.close)
    assert len({Client(each, stack).client_id for each in (frontend, earlier) for _ in range(3)}) == 6


def test_without_a_replica_the_default_output_comes_at_once(frontend, stack):
    """And with an unlinked application too; for an unknown one the protocol of 2017 has no answer."""
    frontend.register(default_output="none yet")
    client = Client(frontend, stack)
    client.send(1)
    response = client.receive()
    assert (response.output_type, bytes(response.output)) == (DataType.STRINGS, b"none yet")
    assert {"internal:aggregate_num_predictions": {"count": "1"}} in frontend.report()["counters"]
    client.send(2, application="who")
    client.send(3)
    assert client.receive().request_id == 3
    assert frontend.counters().dropped == {"unknown_application": 1}


def test_an_empty_text_is_answered(frontend, stack):
    """As the original does: the replica gets its NUL."""
    frontend.register(input_type=DataType.STRINGS)
    client, replica = Client(frontend, stack), Replica(frontend, stack, input_type=DataType.STRINGS)
    client.send_text(1, b"")
    batch = replica.receive_batch()
    assert (bytes(batch.content), batch.inputs) == (b"\0", (b"",))
    replica.answer_with(batch, DataType.STRINGS, [b"short"])
    assert client.receive() == (1, DataType.STRINGS, b"short")


OUR_HANDSHAKE = wire.encode_announcement(b"another clock")


@pytest.mark.parametrize(
    ("handshake", "output_type", "failed", "outputs", "received"),
    [
        pytest.param(
            wire.HANDSHAKE, DataType.FLOATS, None, [b"\0" * 4, b""], [b"\0" * 4, b"TIMEOUT"], id="a client of 2017"
        ),
        pytest.param(OUR_HANDSHAKE, DataType.FLOATS, None, [b"\0" * 4, b""], [b"\0" * 4, b""], id="ours"),
        pytest.param(OUR_HANDSHAKE, DataType.STRINGS, True, [b"a", b""], [b"a", b"TIMEOUT"], id="ours, of texts"),
        pytest.param(wire.HANDSHAKE, DataType.STRINGS, False, [b"a", b""], [b"a", b""], id="an empty text"),
    ],
)
def test_what_a_client_gets_where_the_model_failed(frontend, stack, handshake, output_type, failed, outputs, received):
    """No numbers are no answer: who would take them for one gets the default output, which is counted."""
    frontend.register()
    client, replica = Client(frontend, stack, handshake), Replica(frontend, stack)
    client.send(0)
    first = replica.receive_batch()
    for number in (1, 2):
        client.send(number)
    frontend.until(lambda: frontend.frontend._requests == 3)
    replica.answer(first)
    client.receiving.recv_multipart()
    times = None if failed is None else ReplyTimes(0, 0, 0, failed)
    replica.answer_with(replica.receive_batch(), output_type, outputs, times)
    answers = sorted(client.receiving.recv_multipart()[1:4] for _ in range(2))
    assert [output for *_, output in answers] == received
    defaults = sum(output == b"TIMEOUT" for output in received)
    assert (frontend.counters().defaults, frontend.counters().replies) == (defaults, 3)


@pytest.mark.parametrize(
    ("frames", "kind"),
    [
        pytest.param([b""], "frame_count", id="one frame"),
        pytest.param([b""] * 12, "frame_count", id="twelve frames"),
        pytest.param(
            [b"", b"\xff" * 4, b"\0" * 4, b"app", b"\2\0\0\0", b"\1\0\0\0", b"\0" * 4],
            "unknown_client",
            id="a client id that was never handed out",
        ),
    ],
)
def test_what_would_crash_the_original_is_dropped_and_counted(frontend, stack, frames, kind):
    """And the next good request is served."""
    frontend.register()
    client, replica = Client(frontend, stack), Replica(frontend, stack)
    client.sending.send_multipart(frames)
    client.send(1)
    replica.answer(replica.receive_batch())
    assert client.receive().request_id == 1
    assert frontend.counters().dropped == {kind: 1}


@pytest.mark.parametrize(
    ("code", "count", "kind"),
    [
        pytest.param(9, 1, "data_type", id="type 9"),
        pytest.param(-1, 1, "data_type", id="type -1"),
        pytest.param(2, 2, "payload_size", id="too short"),
        pytest.param(2, -1, "payload_size", id="a negative count"),
        pytest.param(1, 1, "input_type", id="ints for floats"),
        pytest.param(4, 4, "embedded_nul", id="a NUL inside a string"),
    ],
)
def test_a_request_that_is_not_valid_gets_the_default_output(frontend, stack, code, count, kind):
    """At once, and counted by kind; a client of this project is told why."""
    frontend.register(default_output="none")
    Replica(frontend, stack)
    client, own = Client(frontend, stack), Client(frontend, stack, wire.encode_announcement(b""))
    for each in (client, own):
        numbers = [number.to_bytes(4, "little", signed=True) for number in (each.client_id, 7, code, count)]
        each.sending.send_multipart([b"", *numbers[:2], b"app", *numbers[2:], b"\0" * 4])
    assert client.receive() == Response(7, DataType.STRINGS, b"none")
    refusal = own.receiving.recv_multipart()
    assert refusal[:3] == [b"", b"\7\0\0\0", b"\xff" * 4]
    assert refusal[3]
    counters = frontend.counters()
    assert (counters.dropped, counters.default_reasons) == ({kind: 2}, {"invalid_request": 1})
    assert (counters.requests, counters.replies, counters.defaults, counters.refused) == (2, 2, 1, 1)
    scheduled = 2 if kind == "input_type" else 0  # of 2017, which compares the types when it makes a batch
    assert {"internal:aggregate_num_predictions": {"count": str(scheduled)}} in frontend.report()["counters"]


def test_a_client_of_this_project_is_told_of_an_unknown_application(frontend, stack):
    """Another one waits, as in 2017."""
    own = Client(frontend, stack, wire.encode_announcement(b""))
    own.send(5, application="who")
    assert own.receiving.recv_multipart()[1:] == [
        b"\5\0\0\0",
        b"\xff" * 4,
        b"a request for the unknown application 'who'",
    ]
    assert frontend.counters().unanswered == 0


def test_a_malformed_handshake_hands_out_no_id(frontend, stack):
    """One frame on the response port blocks the original; here it is dropped."""
    with dealer(frontend.ports.response) as odd:
        odd.send_multipart([b"x"])
        frontend.until(lambda: frontend.frontend._dropped)
    assert Client(frontend, stack).client_id >= 0
    assert frontend.counters().dropped == {"handshake": 1}


def test_a_gone_clients_queries_are_dropped(frontend, stack):
    """The first reply that cannot be routed tells; the next client is served at once."""
    frontend.register(batch_size=1)
    replica = Replica(frontend, stack)
    with contextlib.ExitStack() as life:
        gone = Client(frontend, life)
        for number in range(1000):
            gone.send(number)
        frontend.until(lambda: frontend.frontend._requests == 1000)
        batch = replica.receive_batch()
    client = Client(frontend, stack)
    client.send(7, [3.0])
    frontend.until(lambda: frontend.frontend._requests == 1001)
    while True:
        replica.answer(batch)
        batch = replica.receive_batch()
        if np.frombuffer(batch.inputs[0], "<f4")[0] == 3.0:
            break
    replica.answer(batch)
    assert value(client.receive()) == 6.0
    counters = frontend.counters()
    assert counters.replies + counters.orphaned == 1001
    assert counters.orphaned >= 900
    assert counters.models["app:1"].queue_length == 0


def test_no_reply_is_lost_to_a_client_that_does_not_read(frontend, stack):
    """Far beyond any default high-water mark."""
    frontend.register(batch_size=500)
    client, replica = Client(frontend, stack), Replica(frontend, stack)
    total, done = 50_000, 0
    for number in range(total):
        client.send(number)
    while done < total:
        batch = replica.receive_batch()
        replica.answer(batch)
        done += batch.count
    frontend.until(lambda: frontend.frontend._outbox.replies == total)
    assert sorted(client.receive().request_id for _ in range(total)) == list(range(total))


def test_at_the_bound_of_queued_bytes_reading_stops_and_nothing_is_lost(stack):
    """Senders wait; once there is room it goes on."""
    frontend = FrontendThread(max_queued_bytes=100 * 4000)
    stack.callback(frontend.close)
    frontend.register(batch_size=50)
    client, replica = Client(frontend, stack), Replica(frontend, stack)
    total, done = 3000, 0
    client.sending.setsockopt(zmq.SNDHWM, 0)
    for number in range(total):
        client.send(number, np.full(1000, number))
    frontend.until(lambda: frontend.frontend._incoming.paused)
    assert frontend.counters().requests < 300
    while done < total:
        batch = replica.receive_batch()
        replica.answer(batch)
        done += batch.count
    assert sorted(client.receive().request_id for _ in range(total)) == list(range(total))
    assert frontend.counters().paused_ns > 0


def test_counters_add_up_and_subtract(frontend, stack):
    """Batches, full ones, sizes, and the replica's own times."""
    frontend.register(batch_size=2)
    client, replica = Client(frontend, stack), Replica(frontend, stack)
    client.send(0)
    replica.answer(replica.receive_batch(), ReplyTimes(10, 20, 30))
    client.receive()
    before = frontend.counters()
    for number in range(1, 4):
        client.send(number)
    served = 0
    while served < 3:
        batch = replica.receive_batch()
        replica.answer(batch, ReplyTimes(10, 20, 30))
        served += batch.count
    for _ in range(3):
        client.receive()
    after = frontend.counters()
    change = type(after).from_json(after.to_json()).since(type(before).from_json(before.to_json()))
    model, row = change.models["app:1"], change.replicas["app:1:0"]
    assert (change.requests, change.replies, model.batch_size_sum, row.queries) == (3, 3, 3, 3)
    assert model.batches == row.batches == row.timed_batches
    assert (row.recv_ns, row.parse_ns, row.compute_ns) == (10 * row.batches, 20 * row.batches, 30 * row.batches)
    assert (row.full_batches, row.full_compute_ns) == (model.full_batches, 30 * model.full_batches)
    assert 0 < row.in_flight_ns <= change.now_ns
    assert 0 <= model.queue_empty_ns <= change.now_ns
    report = {name: fields for rows in frontend.report().values() for row in rows for name, fields in row.items()}
    assert report["app:app:num_predictions"] == {"count": "4"}
    assert report["model:app:1:num_predictions"] == {"count": "4"}


def test_a_port_in_use_is_one_clear_line():
    """With the option that chooses another."""
    with zmq.Context() as context, context.socket(zmq.ROUTER) as taken:
        port = taken.bind_to_random_port("tcp://127.0.0.1")
        with pytest.raises(LaunchError, match=rf"port {port} on 127.0.0.1: .*--response-port"):
            QueryFrontend(MemoryStore(), "127.0.0.1", Ports(0, port, 0, 0, 0), 1)


def test_handshake_reply_is_two_frames(frontend, stack):
    """As the original's."""
    with dealer(frontend.ports.response) as socket:
        socket.send_multipart(wire.HANDSHAKE)
        assert list(map(len, socket.recv_multipart())) == [0, 4]


def test_any_free_port_is_said(frontend):
    """Asked for 0, told what it became."""
    assert min(frontend.ports.request, frontend.ports.response, frontend.ports.replica) > 0
    assert ANY.request == 0


def test_stages_add_up_over_replicas_that_come_and_go(frontend, stack):
    """A model's are the sums of its replicas'; the wait in the queue is its own, of each query."""
    frontend.register(batch_size=2)
    client, first = Client(frontend, stack), Replica(frontend, stack)
    client.send(1)
    first.answer(first.receive_batch(), ReplyTimes(1000, 2000, 3_000_000))
    client.receive()
    second = Replica(frontend, stack)
    first.socket.close()
    frontend.until(lambda: not frontend.frontend.counters().replicas["app:1:0"].alive)
    client.send(2)
    second.answer(second.receive_batch())
    client.receive()
    stages = dict(frontend.frontend.stages())
    assert set(stages) == {"app:1", "app:1:1"}
    whole, present = stages["app:1"], stages["app:1:1"]
    assert (whole.queue_wait.total, whole.rpc.total, whole.compute.total, whole.batch_sizes) == (2, 2, 1, {1: 2})
    assert (present.queue_wait.total, present.rpc.total, present.compute.total) == (0, 1, 0)
    assert whole.compute.max_ns == 3_000_000


def test_prometheus_reads_the_metrics(frontend, stack):
    """The original's names as labels, our counters, and exact histograms."""
    frontend.register(batch_size=2)
    client, replica = Client(frontend, stack), Replica(frontend, stack)
    client.send(1)
    replica.answer(replica.receive_batch(), ReplyTimes(1000, 2000, 3_000_000, True))
    client.receive()
    text = b'loadgen_num_predictions_total{of="app",scope="app"} 1.0'
    frontend.until(lambda: text in b"".join(frontend.frontend.prometheus()))  # a reply leaves before it is counted
    families = text_string_to_metric_families(b"".join(frontend.frontend.prometheus()).decode())
    samples = {(row.name, *sorted(row.labels.values())): row.value for family in families for row in family.samples}
    assert samples["loadgen_num_predictions_total", "app:1", "model"] == 1
    assert samples["loadgen_batch_size_queries", "0.99", "app:1", "model"] == 1
    assert samples["loadgen_compute_seconds_bucket", "0.0025", "app:1", "model"] == 0
    assert samples["loadgen_compute_seconds_bucket", "0.005", "app:1", "model"] == 1
    assert samples["loadgen_compute_seconds_sum", "app:1:0", "replica"] == pytest.approx(0.003)
    assert samples["loadgen_batch_queries_bucket", "1", "app:1", "model"] == 1
    assert samples["loadgen_replica_alive", "app:1:0"] == 1
    assert samples["loadgen_replica_failed_batches_total", "app:1:0"] == 1
    assert samples["loadgen_model_failed_batches_total", "app:1"] == 1
    assert samples["loadgen_frontend_requests_total",] == 1
