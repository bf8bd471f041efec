"""The query frontend against clients and replicas on real sockets."""

import asyncio
import contextlib
import signal
import subprocess
import sys
from typing import cast

import numpy as np
import pytest
import zmq
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from peers import ANY, Client, FrontendThread, Replica, Response, dealer, value
from prometheus_client.parser import text_string_to_metric_families
from strategies import ANSWERS, FRAMES, mutated

from frontend_launch import wire
from frontend_launch.errors import LaunchError
from frontend_launch.frontends import query, replica_link
from frontend_launch.frontends.query import QueryFrontend
from frontend_launch.frontends.replica import MOST_AHEAD, PROVEN
from frontend_launch.frontends.replica_link import ReplicaLink
from frontend_launch.frontends.state import MemoryStore
from frontend_launch.ports import Ports
from model_containers.data_types import DataType
from model_containers.wire import (
    BatchRequest,
    HeartbeatKind,
    HeartbeatReply,
    ReplyTimes,
    encode_batch_response,
    encode_heartbeat,
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


def test_a_replica_gets_what_is_there_up_to_the_maximum_and_one_batch_at_a_time(frontend, stack):
    """Never waiting to fill a batch."""
    frontend.register(batch_size=3)
    client, replica = Client(frontend, stack), Replica(frontend, stack)
    client.send(0)
    first = replica.receive_batch()
    for number in range(1, 5):
        client.send(number)
    frontend.until(lambda: frontend.frontend._requests == 5)
    assert replica.socket.poll(0) == 0
    replica.answer(first)
    second = replica.receive_batch()
    replica.answer(second)
    third = replica.receive_batch()
    assert [batch.count for batch in (first, second, third)] == [1, 3, 1]
    assert [batch.message_id for batch in (first, second, third)] == [0, 1, 2]


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


def test_a_quick_replica_has_several_batches_and_answers_them_together(frontend, stack):
    """No message is overlooked: each query is answered once, in order."""
    frontend.register(batch_size=1)
    client, replica = Client(frontend, stack), Replica(frontend, stack)
    number = 2 * PROVEN * MOST_AHEAD
    for request_id in range(number):
        client.send(request_id)
    frontend.until(lambda: frontend.frontend._requests == number)
    answered, most = 0, 0
    while answered < number:
        waiting = [replica.receive_batch()]
        (counters,) = frontend.counters().models.values()
        waiting += [replica.receive_batch() for _ in range(counters.batches - answered - 1)]
        for batch in waiting:
            replica.answer(batch, ReplyTimes(0, 0, 1000, False))
        answered += len(waiting)
        most = max(most, len(waiting))
        frontend.until(lambda so_far=answered: frontend.frontend._outbox.replies == so_far)
    assert most == 1 + MOST_AHEAD
    assert [client.receive().request_id for _ in range(number)] == list(range(number))


def test_a_stray_answer_changes_nothing_and_a_wrong_count_is_tried_again(frontend, stack):
    """The batch in flight stays in flight; a batch with a missing output goes to the replica once more."""
    frontend.register()
    client, replica = Client(frontend, stack), Replica(frontend, stack)
    client.send(1)
    batch = replica.receive_batch()
    replica.answer(type(batch).of(99, DataType.FLOATS, batch.inputs))
    frontend.until(lambda: frontend.frontend._dropped["stray_response"] == 1)
    replica.answer(type(batch).of(batch.message_id, DataType.FLOATS, batch.inputs * 2))
    again = replica.receive_batch()
    replica.answer(again)
    assert value(client.receive()) == 2.0
    counters = frontend.counters()
    model, row = counters.models["app:1"], counters.replicas["app:1:0"]
    assert (counters.requeued, row.batches, row.queries) == (1, 1, 1)
    assert model.failed_batches == row.failed_batches == 1


@pytest.mark.parametrize("times", [ReplyTimes(1, 2, 3, True), ReplyTimes(1, 2, 3, False), ReplyTimes(1, 2, 3), None])
def test_a_batch_that_the_replica_computed_again_is_counted(frontend, stack, times):
    """Its queries are answered; a replica that does not say counts none."""
    frontend.register()
    client, replica = Client(frontend, stack), Replica(frontend, stack)
    client.send(1)
    replica.answer(replica.receive_batch(), times)
    assert value(client.receive()) == 2.0
    counters = frontend.counters()
    failed = int(times is not None and times.failed is True)
    model, row = counters.models["app:1"], counters.replicas["app:1:0"]
    assert (model.failed_batches, row.failed_batches, row.batches, counters.requeued) == (failed, failed, 1, 0)


@pytest.mark.parametrize(
    "garbage",
    [
        pytest.param([b"\x09\0\0\0", b"\4\0\0\0", b"\0" * 4], id="another data type"),
        pytest.param([b"\2\0\0\0", b"\5\0\0\0", b"\0" * 4], id="another size than announced"),
        pytest.param([b"\2\0\0\0", b"\4\0\0\0", b"\0" * 4], id="no output"),
        pytest.param([b"\2\0\0\0"], id="too few frames"),
    ],
)
def test_garbage_in_place_of_an_answer_is_no_answer(frontend, stack, garbage):
    """It counts as a failed batch; twice, and the query gets the default output."""
    frontend.register(default_output="none")
    client, replica = Client(frontend, stack), Replica(frontend, stack)
    client.send(1)
    for _ in range(2):
        batch = replica.receive_batch()
        replica.socket.send_multipart([b"", b"\1\0\0\0", batch.message_id.to_bytes(4, "little"), *garbage])
    assert bytes(client.receive().output) == b"none"
    counters = frontend.counters()
    model, row = counters.models["app:1"], counters.replicas["app:1:0"]
    assert (model.failed_batches, row.failed_batches, row.batches, row.queries) == (2, 2, 0, 0)
    assert (counters.requeued, counters.defaults, sum(counters.dropped.values())) == (1, 1, 2)


@pytest.mark.parametrize("handle_ns", [10**12, 2**63 - 1, 2**63, 2**64 - 1])
def test_queries_are_answered_whatever_times_a_replica_reports(frontend, stack, handle_ns):
    """Times that cannot be are counted and left out of all sums."""
    frontend.register()
    client, replica = Client(frontend, stack), Replica(frontend, stack)
    for number in range(3):
        client.send(number)
        replica.answer(replica.receive_batch(), ReplyTimes(0, 0, handle_ns))
        assert client.receive().request_id == number
    counters = frontend.counters()
    row = counters.replicas["app:1:0"]
    assert (row.batches, row.timed_batches, row.compute_ns, counters.unanswered) == (3, 0, 0, 0)
    assert counters.dropped == {"impossible_times": 3}


@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(messages=st.lists(FRAMES | ANSWERS.map(encode_batch_response).flatmap(mutated), max_size=4))
def test_each_query_is_answered_once_whatever_a_replica_sends(frontend, messages):
    """By the replica that sends it, by the next one, or with the default output."""
    with contextlib.ExitStack() as stack:
        frontend.register()
        client, odd = Client(frontend, stack), Replica(frontend, stack)
        for number in range(4):
            client.send(number, [float(number)])
        odd.receive_batch()
        for frames in messages:
            odd.socket.send_multipart(frames or [b""])
        odd.socket.send_multipart(encode_heartbeat())
        while odd.receive() != HeartbeatReply(HeartbeatKind.KEEP_ALIVE):
            pass
        good = Replica(frontend, stack)
        odd.socket.close()
        answers: list[int] = []
        while len(answers) < 4:
            if good.socket.poll(0 if client.receiving.poll(10) else 10):
                message = good.receive()
                if isinstance(message, BatchRequest):
                    good.answer(message)
            while client.receiving.poll(0):
                answers.append(client.receive().request_id)
        assert sorted(answers) == [0, 1, 2, 3]
        assert frontend.counters().unanswered == 0


def test_a_replica_that_dies_gives_its_batch_to_another(frontend, stack):
    """At the head of the queue, and each query is answered once."""
    frontend.register()
    client, survivor = Client(frontend, stack), Replica(frontend, stack)
    with contextlib.ExitStack() as life:
        dying = Replica(frontend, life)
        for number in range(6):
            client.send(number, [float(number)])
        survivors_batch, lost_batch = survivor.receive_batch(), dying.receive_batch()
    frontend.until(lambda: not all(row.alive for row in frontend.frontend.counters().replicas.values()))
    survivor.answer(survivors_batch)
    again = survivor.receive_batch()
    assert bytes(again.content).startswith(bytes(lost_batch.content))
    survivor.answer(again)
    served = survivors_batch.count + again.count
    while served < 6:
        batch = survivor.receive_batch()
        survivor.answer(batch)
        served += batch.count
    answers = {response.request_id: value(response) for response in (client.receive() for _ in range(6))}
    assert answers == {number: 2.0 * number for number in range(6)}
    assert client.receiving.poll(0) == 0
    assert frontend.counters().requeued == lost_batch.count


def test_a_query_whose_second_replica_dies_too_gets_the_default(frontend, stack):
    """It is not tried for ever."""
    frontend.register(batch_size=1)
    client = Client(frontend, stack)
    for life_number in (1, 2):
        with contextlib.ExitStack() as life:
            dying = Replica(frontend, life)
            if life_number == 1:
                client.send(5)
            dying.receive_batch()
        frontend.until(lambda: not any(row.alive for row in frontend.frontend.counters().replicas.values()))
    response = client.receive()
    assert (response.request_id, bytes(response.output)) == (5, b"TIMEOUT")


def test_silence_of_a_computing_replica_does_not_end_it(frontend, stack):
    """Another one's death makes the frontend look, and find it alive."""
    frontend.register()
    client, computing = Client(frontend, stack), Replica(frontend, stack)
    client.send(1)
    batch = computing.receive_batch()
    with contextlib.ExitStack() as life:
        Replica(frontend, life)
    frontend.until(lambda: not all(row.alive for row in frontend.frontend.counters().replicas.values()))
    computing.answer(batch)
    assert client.receive().request_id == 1


def test_a_replica_that_hangs_is_found_by_zmtp_heartbeats(stack, monkeypatch):
    """Its process is stopped, its connection stands, and its batch goes to another."""
    monkeypatch.setattr(replica_link, "HEARTBEAT_EVERY_MS", 50)
    monkeypatch.setattr(replica_link, "HEARTBEAT_TIMEOUT_MS", 300)
    frontend = FrontendThread()
    stack.callback(frontend.close)
    frontend.register("noop")
    client = Client(frontend, stack)
    command = [sys.executable, "-m", "model_containers", "serve", "noop", "--port", str(frontend.ports.replica)]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    stack.callback(process.wait, 10)
    stack.callback(process.kill)
    frontend.until(lambda: "noop:1:0" in frontend.frontend.counters().replicas)
    process.send_signal(signal.SIGSTOP)
    client.send(1, application="noop")
    frontend.until(lambda: not any(row.alive for row in frontend.frontend.counters().replicas.values()))
    replica = Replica(frontend, stack, name="noop")
    replica.answer(replica.receive_batch())
    assert client.receive().request_id == 1


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


def test_every_heartbeat_is_answered(frontend, stack):
    """At once, and with a request for metadata only to a stranger."""
    replica = Replica(frontend, stack)
    for _ in range(3):
        replica.socket.send_multipart(encode_heartbeat())
        assert replica.receive() == HeartbeatReply(HeartbeatKind.KEEP_ALIVE)


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


def test_model_versions_that_nobody_serves_any_more_are_forgotten_beyond_a_number(frontend, stack, monkeypatch):
    """The oldest first, with their metrics; those that are served stay."""
    monkeypatch.setattr(replica_link, "MAX_PIPELINES", 3)
    frontend.register("kept")
    kept = Replica(frontend, stack, "kept")
    for number in range(5):
        with contextlib.ExitStack() as gone:
            Replica(frontend, gone, f"model-{number}")
        frontend.until(lambda: len(list(frontend.frontend._link._replicas)) == 1)
    assert list(frontend.counters().models) == ["kept:1", "model-3:1", "model-4:1"]
    names = {name for rows in frontend.report().values() for row in rows for name in row}
    assert not any(name.startswith("model:model-2:") for name in names)
    client = Client(frontend, stack)
    client.send(1, application="kept")
    kept.answer(kept.receive_batch())
    assert client.receive().request_id == 1


def test_a_handshake_during_a_probe_is_answered(frontend, stack):
    """A probe may answer with defaults, on the socket of the handshakes, and so hide one."""
    hidden = stack.enter_context(dealer(frontend.ports.response))

    async def probe():
        hidden.send_multipart(wire.HANDSHAKE)
        socket = frontend.frontend._response_socket
        frontend.frontend._outbox.unlooked = True  # what a send does, and the edge is gone
        for _ in range(10_000):
            if socket.getsockopt(zmq.EVENTS) & zmq.POLLIN:
                break
        frontend.frontend._link._probe()

    frontend.call(probe())
    assert hidden.recv_multipart()[0] == b""


class Probed(ReplicaLink):
    """Counts probes."""

    probes = 0

    def _probe(self):
        self.probes += 1
        super()._probe()


def test_no_probe_outlives_the_frontend(monkeypatch):
    """It would find closed sockets."""
    monkeypatch.setattr(replica_link, "PROBE_DELAYS_S", (0.2,))
    monkeypatch.setattr(query, "ReplicaLink", Probed)

    async def main():
        loop, due, errors = asyncio.get_running_loop(), asyncio.Event(), []
        loop.set_exception_handler(lambda _, context: errors.append(context["exception"]))
        async with asyncio.timeout(20):
            async with QueryFrontend(MemoryStore(), "127.0.0.1", ANY, 1) as frontend:
                link = cast("Probed", frontend._link)
                link._on_break([])
            loop.call_later(0.2, due.set)  # after the probe, which has waited for longer
            await due.wait()
        return link.probes, errors

    assert asyncio.run(main()) == (0, [])


def test_of_many_breaks_the_last_one_has_its_probes(monkeypatch):
    """They serve all the others."""
    monkeypatch.setattr(replica_link, "PROBE_DELAYS_S", (0.0, 0.001))
    monkeypatch.setattr(query, "ReplicaLink", Probed)

    async def main():
        loop, due = asyncio.get_running_loop(), asyncio.Event()
        async with asyncio.timeout(20), QueryFrontend(MemoryStore(), "127.0.0.1", ANY, 1) as frontend:
            link = cast("Probed", frontend._link)
            for _ in range(1000):
                link._on_break([])
            loop.call_later(0.001, due.set)  # after the probes, which have waited for longer
            await due.wait()
            return link.probes

    assert asyncio.run(main()) == 2
