"""The query frontend against replicas on real sockets: what they are sent, what they answer, and those that die."""

import asyncio
import contextlib
import signal
import subprocess
import sys
from typing import cast

import pytest
import zmq
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from peers import ANY, Client, FrontendThread, Replica, dealer, value
from strategies import ANSWERS, FRAMES, mutated

from frontend_launch import wire
from frontend_launch.frontends import query, replica_link
from frontend_launch.frontends.query import QueryFrontend
from frontend_launch.frontends.replica import MOST_AHEAD, PROVEN
from frontend_launch.frontends.replica_link import ReplicaLink
from frontend_launch.frontends.store import MemoryStore
from model_containers.data_types import DataType
from model_containers.wire import (
    BatchRequest,
    HeartbeatKind,
    HeartbeatReply,
    ReplyTimes,
    encode_batch_response,
    encode_heartbeat,
)


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


def test_every_heartbeat_is_answered(frontend, stack):
    """At once, and with a request for metadata only to a stranger."""
    replica = Replica(frontend, stack)
    for _ in range(3):
        replica.socket.send_multipart(encode_heartbeat())
        assert replica.receive() == HeartbeatReply(HeartbeatKind.KEEP_ALIVE)


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
