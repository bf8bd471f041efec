"""Whatever a replica sends, a batch is answered, queued again, or still with it: never none of them, never two."""

from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st
from strategies import ANSWERS, FRAMES, FROM_REPLICA, mutated

from frontend_launch.frontends.batching import BatchQueue, Query
from frontend_launch.frontends.health import Aside
from frontend_launch.frontends.replica import Batch, Replica
from frontend_launch.frontends.replicas import ReplicaTable
from frontend_launch.frontends.settling import settle
from model_containers.data_types import Buffer, DataType
from model_containers.errors import WireError
from model_containers.units import NS_PER_S
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


def test_an_answer_before_those_to_earlier_batches_fails_all_until_its_own():
    """Replicas answer in order, so the earlier ones never get theirs; later ones stay."""
    table, replica = busy([batch(1), batch(2), batch(3)])
    settled = settle(table, replica, response(2), 50)
    assert settled.again == (*batch(1).queries, *batch(2).queries)
    assert (settled.batch, settled.error.kind if settled.error else None) == (None, "skipped_response")
    assert [each.message_id for each in replica.outstanding] == [3]
    assert settle(table, replica, response(3), 60).batch == batch(3)


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
    assert (settled.response, settled.batch, settled.again) == (None, None, () if left else batch(1).queries)
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


class Simulated:
    """Three replicas of one model and its queue, with what the shell does around the table."""

    def __init__(self, queries: int) -> None:
        self.table, self.queue, self.now_ns = ReplicaTable(), BatchQueue(0), 0
        self.replicas = [self.table.register(b"%d" % number, MODEL, DataType.FLOATS) for number in range(3)]
        self.ended: list[int] = []
        self.sent = 0
        for number in range(queries):
            self.queue.push(Query(0, number, "noop", b"1234", 0), 0)

    def dispatch(self) -> None:
        without: set[bytes] = set()
        while self.queue and (replica := self.table.next(MODEL, len(self.queue), 2, without)) is not None:
            others = self.queue.failed and self.table.working(MODEL) > 1
            queries = self.queue.take(2, self.now_ns, replica.replica_id if others else None)
            assert not others or all(query.failed_on != replica.replica_id for query in queries)
            if not queries:
                without.add(replica.identity)
                continue
            self.table.sent(replica, Batch(self.sent, queries, True, self.now_ns), self.now_ns)
            self.sent += 1

    def retry(self, replica: Replica, queries: Sequence[Query]) -> None:
        first = [query for query in queries if not query.requeued]
        self.queue.push_front((q._replace(requeued=True, failed_on=replica.replica_id) for q in first), self.now_ns)
        self.ended += [query.request_id for query in queries if query.requeued]

    def answer(self, replica: Replica, frames: Sequence[Buffer]) -> None:
        try:
            answer = decode_from_replica(frames)
        except WireError as error:
            settled = settle(self.table, replica, error, self.now_ns)
        else:
            if not isinstance(answer, BatchResponse):
                return
            settled = settle(self.table, replica, answer, self.now_ns)
        self.retry(replica, settled.again)
        if settled.batch is not None and settled.response is not None:
            assert len(settled.batch.queries) == len(settled.response.outputs)
            self.ended += [query.request_id for query in settled.batch.queries]

    def hang(self, replica: Replica) -> None:
        if replica.outstanding and not replica.outstanding[0].moved and self.table.replaceable(replica):
            queries = self.table.hung(replica, self.now_ns)
            self.queue.push_front([query._replace(moves=query.moves + 1) for query in queries], self.now_ns)

    def lose(self, replica: Replica) -> None:
        self.retry(replica, [query for batch in self.table.lost(replica, self.now_ns) for query in batch.queries])

    @property
    def everywhere(self) -> list[int]:
        waiting = (*self.queue._queries, *self.queue.failed)
        away = (query for replica in self.replicas for batch in replica.outstanding for query in batch.queries)
        return sorted([*self.ended, *(query.request_id for query in (*waiting, *away))])


STEPS = st.one_of(
    st.tuples(st.just("answer"), st.integers(0, 2), ANYTHING),
    st.tuples(st.sampled_from(["good", "good", "empty", "hang", "lose", "heartbeat"]), st.integers(0, 2), st.none()),
    st.tuples(st.just("wait"), st.integers(0, 120), st.none()),
)


@given(st.lists(STEPS, min_size=1, max_size=30))
def test_whatever_happens_each_query_is_in_one_place(steps):
    """In the queue, with one replica, or ended: answered, or with the default output."""
    simulated = Simulated(9)
    simulated.dispatch()
    for what, number, frames in steps:
        simulated.now_ns += 1000
        replica = simulated.replicas[number % 3]
        if what == "wait":
            simulated.now_ns += number * NS_PER_S
            simulated.table.recovered(simulated.now_ns)
        elif replica.alive and what in ("good", "empty") and replica.outstanding:
            batch = replica.outstanding[0]
            times, output = (None, b"1234") if what == "good" else (ReplyTimes(0, 0, 0, True), b"")
            outputs = (output,) * (len(batch.queries) or batch.moved)
            simulated.answer(replica, sent(BatchResponse(batch.message_id, DataType.FLOATS, outputs, times)))
        elif replica.alive and what == "answer" and frames is not None:
            simulated.answer(replica, frames)
        elif replica.alive and what == "heartbeat" and replica.health.aside is Aside.HUNG:
            simulated.table.forgot(replica, simulated.now_ns)
        elif replica.alive and what == "hang":
            simulated.hang(replica)
        elif replica.alive and what == "lose":
            simulated.lose(replica)
        simulated.dispatch()
        assert simulated.everywhere == list(range(9))
        assert simulated.queue.queued_bytes == 4 * len(simulated.queue)
        working = [each for each in simulated.replicas if each.alive and each.health.aside is None]
        assert len(working) == simulated.table.working(MODEL)
        hung = [each for each in simulated.replicas if each.alive and each.health.aside is Aside.HUNG]
        assert working or len(hung) == simulated.table.serving(MODEL)
        if simulated.queue:
            idle = [each for each in working if not each.outstanding]
            assert all(query.failed_on == each.replica_id for query in simulated.queue.failed for each in idle)
            assert not idle or not simulated.queue._queries
