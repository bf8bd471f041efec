"""Replicas that hang or fail, beside such that work, on real sockets: nothing is lost, nothing is answered twice."""

from __future__ import annotations

import contextlib
import logging
import os
import signal
import subprocess
import sys
from collections.abc import Iterator

import pytest
from peers import Client, FrontendThread, Replica

from frontend_launch.frontends import health, replica_link
from frontend_launch.frontends.replica_link import ReplicaLink
from model_containers.data_types import DataType
from model_containers.units import NS_PER_S
from model_containers.wire import BatchRequest, BatchResponse, ReplyTimes, encode_batch_response, encode_heartbeat

FLOOR_NS = NS_PER_S // 4


@pytest.fixture
def impatient(monkeypatch):
    """No batch has more time than a quarter of a second."""
    monkeypatch.setattr(health, "FLOOR_NS", FLOOR_NS)
    monkeypatch.setattr(health, "UNKNOWN_NS", FLOOR_NS)
    monkeypatch.setattr(replica_link, "SWEEP_S", 0.02)


@contextlib.contextmanager
def process(frontend: FrontendThread) -> Iterator[int]:
    """A replica of `noop` in a process of its own."""
    known = len(frontend.counters().replicas)
    command = [sys.executable, "-m", "model_containers", "serve", "noop", "--port", str(frontend.ports.replica)]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL) as started:
        try:
            frontend.until(lambda: len(frontend.frontend.counters().replicas) > known)
            yield started.pid
        finally:
            started.kill()


@pytest.mark.usefixtures("impatient")
def test_the_batch_of_a_stopped_process_is_served_by_another(frontend, stack, caplog):
    """And it is taken back when it goes on; its late answer is not sent."""
    frontend.register("noop")
    client = Client(frontend, stack)
    stopped, _ = (stack.enter_context(process(frontend)) for _ in range(2))
    os.kill(stopped, signal.SIGSTOP)
    for number in range(50):
        client.send(number, application="noop")
    assert sorted(client.receive().request_id for _ in range(50)) == list(range(50))
    row = frontend.counters().replicas["noop:1:0"]
    assert (row.alive, row.aside, row.overdue, row.hung_times, row.batches) == (True, True, True, 1, 0)
    assert "replica noop:1:0 has not answered for" in caplog.text
    os.kill(stopped, signal.SIGCONT)
    frontend.until(lambda: not frontend.frontend.counters().replicas["noop:1:0"].aside)
    row = frontend.counters().replicas["noop:1:0"]
    assert (row.overdue, row.late_batches, row.batches, row.aside_ns > 0) == (False, 1, 0, True)
    for number in range(50, 200):
        client.send(number, application="noop")
    assert sorted(client.receive().request_id for _ in range(150)) == list(range(50, 200))
    frontend.until(lambda: frontend.frontend.counters().replicas["noop:1:0"].batches > 0)
    assert client.receiving.poll(0) == 0
    counters = frontend.counters()
    assert (counters.replies, counters.defaults, counters.unanswered) == (200, 0, 0)


@pytest.mark.usefixtures("impatient")
def test_without_another_replica_the_frontend_waits_and_says_so(frontend, stack, caplog):
    """Once a batch; the answer counts, however late it comes."""
    frontend.register()
    client, replica = Client(frontend, stack), Replica(frontend, stack)
    client.send(1)
    batch = replica.receive_batch()
    frontend.until(lambda: frontend.frontend.counters().replicas["app:1:0"].overdue)
    replica.answer(batch)
    assert client.receive().request_id == 1
    row = frontend.counters().replicas["app:1:0"]
    assert (row.hung_times, row.batches, row.late_batches, row.overdue) == (0, 1, 0, False)
    assert caplog.text.count("and no other can: waiting") == 1


@pytest.mark.usefixtures("impatient")
def test_a_replica_that_comes_later_serves_what_hangs(frontend, stack):
    """The one that hung was the only one until then."""
    frontend.register()
    client, hung = Client(frontend, stack), Replica(frontend, stack)
    client.send(1)
    hung.receive_batch()
    frontend.until(lambda: frontend.frontend.counters().replicas["app:1:0"].overdue)
    good = Replica(frontend, stack)
    good.answer(good.receive_batch())
    assert client.receive().request_id == 1


@pytest.mark.usefixtures("impatient")
def test_a_query_that_hangs_three_replicas_gets_the_default(frontend, stack):
    """It does not go round for ever; the last replica is never set aside."""
    frontend.register(batch_size=1)
    client = Client(frontend, stack)
    replicas = [Replica(frontend, stack) for _ in range(4)]
    client.send(7)
    response = client.receive()
    assert (response.request_id, bytes(response.output)) == (7, b"TIMEOUT")
    counters = frontend.counters()
    assert (counters.requeued, counters.default_reasons) == (2, {"replicas_hung": 1})
    assert sum(row.aside for row in counters.replicas.values()) == 3
    for replica in replicas[:3]:
        replica.answer(replica.receive_batch())
    frontend.until(lambda: not any(row.aside for row in frontend.frontend.counters().replicas.values()))
    assert client.receiving.poll(0) == 0


@pytest.mark.usefixtures("impatient")
def test_a_heartbeat_brings_back_a_replica_that_forgot_its_batch(frontend, stack):
    """One that computes sends none."""
    frontend.register()
    client, forgetful, good = Client(frontend, stack), Replica(frontend, stack), Replica(frontend, stack)
    client.send(1)
    forgetful.receive_batch()
    good.answer(good.receive_batch())
    client.receive()
    forgetful.socket.send_multipart(encode_heartbeat())
    frontend.until(lambda: not frontend.frontend.counters().replicas["app:1:0"].aside)
    client.send(2)
    good.answer(good.receive_batch())
    client.send(3)
    forgetful.answer(forgetful.receive_batch())
    assert sorted(client.receive().request_id for _ in range(2)) == [2, 3]


def garbage(batch: BatchRequest) -> list[bytes]:
    return [b"", b"\1\0\0\0", batch.message_id.to_bytes(4, "little"), b"\x09\0\0\0", b"\4\0\0\0", b"\0" * 4]


def of_ints(batch: BatchRequest) -> list[bytes | memoryview]:
    return list(encode_batch_response(BatchResponse(batch.message_id, DataType.INTS, (b"1234",) * batch.count)))


def of_nothing(batch: BatchRequest) -> list[bytes | memoryview]:
    times = ReplyTimes(0, 0, 0, True)
    return list(encode_batch_response(BatchResponse(batch.message_id, DataType.FLOATS, (b"",) * batch.count, times)))


@pytest.mark.parametrize("answer", [garbage, of_ints, of_nothing])
def test_what_one_of_three_replicas_fails_on_the_others_answer(frontend, stack, caplog, answer):
    """After three failed batches in a row it gets none for a second; none of them counts as answered."""
    caplog.set_level(logging.INFO)
    frontend.register(batch_size=1)
    client = Client(frontend, stack)
    good = [Replica(frontend, stack) for _ in range(2)]
    bad = Replica(frontend, stack)
    for number in range(2):  # most replicas have answered with floats
        client.send(number)
        good[number].answer(good[number].receive_batch())
        client.receive()
    failed, answered = 0, set[int]()
    for number in range(2, 30):
        client.send(number)
        while client.receiving.poll(0) == 0:
            if bad.socket.poll(1) and isinstance(batch := bad.receive(), BatchRequest):
                bad.socket.send_multipart(answer(batch))
                failed += 1
            for replica in good:
                if replica.socket.poll(0) and isinstance(batch := replica.receive(), BatchRequest):
                    replica.answer(batch)
        response = client.receive()
        assert (response.output_type, len(response.output)) == (DataType.FLOATS, 4)
        answered.add(response.request_id)
    assert answered == set(range(2, 30))
    counters = frontend.counters()
    row = counters.replicas["app:1:2"]
    assert (row.failing_times, row.batches, row.failed_batches) == (failed // 3, 0, failed)
    assert (counters.defaults, counters.requeued) == (0, failed)
    assert failed >= 3
    assert "replica app:1:2 failed 3 batches in a row" in caplog.text


def test_the_second_failure_of_a_query_says_why(frontend, stack):
    """The default output, by the kind of the answers."""
    frontend.register()
    client = Client(frontend, stack)
    replicas = [Replica(frontend, stack) for _ in range(2)]
    client.send(1)
    for replica in replicas:
        replica.socket.send_multipart(garbage(replica.receive_batch()))
    assert bytes(client.receive().output) == b"TIMEOUT"
    assert frontend.counters().default_reasons == {"data_type": 1}


def test_a_model_that_fails_gets_three_batches_while_nothing_proves_it(frontend, stack):
    """The others are slow, so it would have taken all that waits before one of them answers."""
    frontend.register(batch_size=1)
    client = Client(frontend, stack)
    bad, slow = Replica(frontend, stack), Replica(frontend, stack)
    for number in range(20):
        client.send(number)
    batches = [slow.receive_batch()]
    for _ in range(3):
        bad.socket.send_multipart(of_nothing(bad.receive_batch()))
    frontend.until(lambda: frontend.frontend.counters().replicas["app:1:0"].aside)
    assert frontend.counters().replicas["app:1:0"].failed_batches == 3
    bad.socket.close()
    for number in range(20):
        slow.answer(batches[-1])
        batches.append(slow.receive_batch() if number < 19 else batches[-1])
    assert sorted(client.receive().request_id for _ in range(20)) == list(range(20))
    assert frontend.counters().defaults == 0


def test_an_input_that_two_models_fail_on_is_no_fault_of_theirs(frontend, stack):
    """However many there are; each gets the default output, since this client reads no failures."""
    frontend.register(batch_size=1)
    client = Client(frontend, stack)
    replicas = [Replica(frontend, stack) for _ in range(2)]
    for number in range(10):
        client.send(number)
        for replica in replicas:
            replica.socket.send_multipart(of_nothing(replica.receive_batch()))
        response = client.receive()
        assert (response.request_id, bytes(response.output)) == (number, b"TIMEOUT")
    counters = frontend.counters()
    assert not any(row.failing_times for row in counters.replicas.values())
    assert counters.default_reasons == {"model_failed": 10}


def test_a_frontend_that_did_not_run_takes_no_replica_for_hung(frontend, stack):
    """Answers may wait to be read."""
    frontend.register()
    client = Client(frontend, stack)
    busy, _ = Replica(frontend, stack), Replica(frontend, stack)
    client.send(1)
    batch = busy.receive_batch()
    link: ReplicaLink = frontend.frontend._link

    async def slept():
        link._swept_ns -= 10 * NS_PER_S
        replica = next(iter(link._replicas))
        replica.began_ns -= 10 * NS_PER_S
        link._sweep()
        return replica.health.hung_times

    assert frontend.call(slept()) == 0
    busy.answer(batch)
    assert client.receive().request_id == 1
