"""Whatever a replica sends, a batch is answered, queued again, or still with it: never none of them, never two."""

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st
from strategies import ANSWERS, FRAMES, FROM_REPLICA, mutated

from frontend_launch.frontends.batching import Query
from frontend_launch.frontends.replicas import Batch, ReplicaTable
from frontend_launch.frontends.settling import settle
from model_containers.data_types import DataType
from model_containers.errors import WireError
from model_containers.wire import (
    BatchResponse,
    Heartbeat,
    Metadata,
    ReplyTimes,
    decode_from_replica,
    encode_batch_response,
    encode_heartbeat,
    encode_metadata,
)

MODEL = ("noop", "1")
MS = 1_000_000


def batch(number, queries=2, sent_ns=0):
    return Batch(
        number, tuple(Query(0, 10 * number + each, "noop", b"1234", 0) for each in range(queries)), True, sent_ns
    )


def busy(batches):
    table = ReplicaTable()
    replica = table.register(b"r", MODEL, DataType.FLOATS)
    for each in batches:
        table.sent(replica, each, each.sent_ns)
    return table, replica


def response(number, outputs=2, times=None):
    return BatchResponse(number, DataType.FLOATS, (b"1234",) * outputs, times)


def test_an_answer_ends_its_batch():
    """With what the replica sent."""
    table, replica = busy([batch(1, sent_ns=10)])
    settled = settle(table, replica, response(1, times=ReplyTimes(1, 2, 3)), 50)
    assert (settled.batch, settled.response) == (batch(1, sent_ns=10), response(1, times=ReplyTimes(1, 2, 3)))
    assert (settled.latency_ns, settled.error) == (40, None)


@pytest.mark.parametrize("handle_ns", [112 * MS, 2**63 - 1, 2**63, 2**64 - 1])
def test_times_that_cannot_be_are_left_out(handle_ns):
    """A batch that was away for 100 ms was not computed for longer; its outputs count."""
    table, replica = busy([batch(1, sent_ns=50 * MS)])
    settled = settle(table, replica, response(1, times=ReplyTimes(0, 0, handle_ns)), 150 * MS)
    assert (settled.batch, settled.response) == (batch(1, sent_ns=50 * MS), response(1))
    assert settled.error is not None
    assert settled.error.kind == "impossible_times"
    counters = replica.counters(200 * MS)
    assert (counters.batches, counters.timed_batches, counters.compute_ns) == (1, 0, 0)


def test_times_may_be_those_of_a_clock_that_runs_a_little_faster():
    """Of a batch that was sent ahead they count from its sending."""
    table, replica = busy([batch(1), batch(2, sent_ns=900 * MS)])
    assert settle(table, replica, response(1, times=ReplyTimes(0, 0, 1009 * MS)), 1000 * MS).error is None
    assert settle(table, replica, response(2, times=ReplyTimes(0, 0, 105 * MS)), 1001 * MS).error is None


@pytest.mark.parametrize(
    ("answer", "kind", "left"),
    [
        (response(2), "stray_response", 1),
        (response(1, outputs=1), "output_count", 0),
        (response(1, outputs=3), "output_count", 0),
        (WireError("data_type", "no type"), "data_type", 0),
    ],
)
def test_what_is_no_answer_fails_the_batch_under_way_or_leaves_it(answer, kind, left):
    """A stray one leaves it."""
    table, replica = busy([batch(1)])
    settled = settle(table, replica, answer, 50)
    assert (settled.response, settled.batch) == (None, None if left else batch(1))
    assert settled.error is not None
    assert (settled.error.kind, len(replica.outstanding)) == (kind, left)


def sent(message):
    """A message that a replica sends, as frames."""
    match message:
        case Heartbeat():
            return encode_heartbeat()
        case Metadata():
            return encode_metadata(message)
        case BatchResponse():
            return encode_batch_response(message)


MESSAGES = (FROM_REPLICA | ANSWERS).map(sent)
ANYTHING = FRAMES | MESSAGES | MESSAGES.flatmap(mutated)


@given(st.lists(ANYTHING, min_size=1, max_size=8))
def test_whatever_comes_each_batch_is_in_one_place(messages):
    """With the replica, answered, or to be queued again."""
    batches = [batch(number) for number in range(3)]
    table, replica = busy(batches)
    ended: list[Batch] = []
    for now, frames in enumerate(messages, 1):
        answer: object
        try:
            answer = decode_from_replica(frames)
        except WireError as error:
            answer = error
        if isinstance(answer, BatchResponse | WireError):
            settled = settle(table, replica, answer, now)
            assert settled.response is None or settled.batch is not None
            ended += [settled.batch] if settled.batch is not None else []
            if settled.response is not None and settled.batch is not None:
                assert len(settled.response.outputs) == len(settled.batch.queries)
    assert Counter([*ended, *replica.outstanding]) == Counter(batches)
    assert replica.counters(100).compute_ns <= 2 * 100 + 8 * 11 * MS
