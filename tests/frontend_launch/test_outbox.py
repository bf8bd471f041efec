"""Which answers are sent together, and when."""

import asyncio
from typing import cast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from frontend_launch.frontends.batching import Query
from frontend_launch.frontends.clients import BatchTimes, ClientTable
from frontend_launch.frontends.outbox import LATENCY_SHARE, LONGEST_NS, MOST_ANSWERS, MOST_BYTES, Outbox
from model_containers.data_types import DataType

MS = 1_000_000
GONE = 9


class Clients:
    """Stands for the table of clients: one of them is gone."""

    def __init__(self):
        self.waiting, self.sent, self.emptied = [], [], asyncio.Event()

    @property
    def held(self):
        return len(self.waiting)

    def hold(self, queries, output_type, outputs, times=None):
        self.waiting += [None if query.client_id == GONE else query.request_id for query in queries]

    def send_held(self):
        sent, self.waiting = [each for each in self.waiting if each is not None], []
        if self.sent:
            self.emptied.set()
        self.sent.append(sent)
        return len(sent)


class Sending:
    """An outbox, and batches for it."""

    def __init__(self):
        self.clients = Clients()
        self.looks = 0
        self.outbox = Outbox(cast(ClientTable, self.clients), self.look)

    def look(self):
        self.looks += 1

    def batch(self, now_ns, age_ns, *ids, size_bytes=4, client=0):
        queries = [Query(client, number, "app", b"", now_ns - age_ns) for number in ids]
        self.outbox.send_batch(queries, DataType.BYTES, [bytes(size_bytes)] * len(ids), BatchTimes(0, None), now_ns)

    def default(self, number):
        self.outbox.send([Query(0, number, "app", b"", 0)], DataType.BYTES, [b""])

    @property
    def sent(self):
        return self.clients.sent


def in_loop(body):
    async def main():
        sending = Sending()
        try:
            body(sending)
        finally:
            sending.outbox.close()
        return sending

    return asyncio.run(main())


def test_quick_batches_whose_queries_waited_long_are_sent_together():
    """The first one alone: it is not known yet how soon the next one comes."""

    def body(sending):
        for number in range(12):
            now_ns = 1000 * MS + number * 200_000
            sending.batch(now_ns, 500 * MS, number)
            sending.outbox.flush_if_due(now_ns)
        assert sending.sent == [[0], [1, 2, 3, 4, 5, 6]]
        sending.default(99)

    sending = in_loop(body)
    assert sending.sent[-1] == [7, 8, 9, 10, 11, 99]
    assert sending.outbox.replies == 13


def test_outputs_of_one_turn_are_sent_together_when_it_is_over():
    """With what is held; sending may have hidden what came on the socket."""

    async def main():
        sending = Sending()
        for turn in ((1, 2, 3), (4, 5)):
            for number in turn:
                sending.default(number)
            await asyncio.sleep(0)
        assert (sending.sent, sending.looks) == ([[1, 2, 3], [4, 5]], 2)

    asyncio.run(main())


@pytest.mark.parametrize(
    ("gap_ns", "age_ns", "size_bytes", "count"),
    [
        pytest.param(200_000, 10 * MS, 4, 1, id="queries that came just now"),
        pytest.param(600_000, 500 * MS, 4, 1, id="slow batches"),
        pytest.param(200_000, 500 * MS, MOST_BYTES + 1, 1, id="large outputs"),
        pytest.param(200_000, 500 * MS, 4, MOST_ANSWERS, id="many"),
    ],
)
def test_others_are_sent_when_their_burst_is_over(gap_ns, age_ns, size_bytes, count):
    """At the latest."""

    def body(sending):
        for place in range(5):
            now_ns = 1000 * MS + place * gap_ns
            sending.batch(now_ns, age_ns, *range(count), size_bytes=size_bytes)
            sending.outbox.flush_if_due(now_ns)
        assert len(sending.sent) == 5
        assert sending.outbox._timer is None

    in_loop(body)


@given(st.lists(st.tuples(st.integers(1, 3 * MS), st.integers(0, 2000 * MS)), max_size=50))
def test_nothing_is_held_for_longer_than_a_hundredth_of_its_latency(steps):
    """Nor for more than a millisecond, beyond the next burst; and all is sent once."""

    def body(sending):
        now_ns = 10_000 * MS
        held_since: dict[int, tuple[int, int]] = {}
        for number, (gap_ns, age_ns) in enumerate(steps):
            for since_ns, latency_ns in held_since.values():
                assert now_ns - since_ns < min(LONGEST_NS, latency_ns // LATENCY_SHARE)
            now_ns += gap_ns
            sending.batch(now_ns, age_ns, number)
            held_since[number] = (now_ns, age_ns)
            sending.outbox.flush_if_due(now_ns)
            held_since = {each: held_since[each] for each in sending.clients.waiting}

    sending = in_loop(body)
    assert [each for sent in sending.sent for each in sent] == [*range(len(steps))]
    assert sending.outbox.replies == len(steps)


def test_what_no_batch_sends_a_timer_does():
    """And then says so: sending may hide a handshake."""

    async def main():
        sending = Sending()
        for number in range(2):
            sending.batch(1000 * MS + number, 500 * MS, number)
            sending.outbox.flush_if_due(1000 * MS + number)
        assert sending.clients.held == 1
        async with asyncio.timeout(10):
            await sending.clients.emptied.wait()
        await asyncio.sleep(0)
        assert sending.sent == [[0], [1]]
        assert sending.looks == 1
        assert sending.outbox._timer is None

    asyncio.run(main())


def test_the_answers_of_one_burst_are_sent_together():
    """Also where none may be held for longer, unless the burst is a long one."""

    def body(sending):
        for number in range(30):
            sending.batch(1000 * MS + number * 50_000, 0, number)
        sending.outbox.flush_if_due(1002 * MS)

    sending = in_loop(body)
    first, second = sending.sent[:2]
    assert [*first, *second] == [*range(30)]
    assert len(first) == 2 + LONGEST_NS // 50_000


def test_answers_to_clients_that_are_gone_are_counted():
    def body(sending):
        sending.batch(0, 0, 1, 2, client=GONE)
        sending.batch(0, 0, 3)

    sending = in_loop(body)
    assert (sending.outbox.replies, sending.outbox.orphaned) == (1, 2)
