"""Several servers as one target: who gets how many, and that nothing is lost or mixed up."""

import asyncio

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from loadgen.load.inputs import Pool
from loadgen.load.target import NO_REPLIES, Outcome, Replies, TimedReply
from loadgen.targets.balanced import BalancedTarget, level
from model_containers.data_types import DataType

OUTSTANDING = st.lists(st.integers(0, 1000), min_size=1, max_size=6)


class Server:
    """Keeps what it was sent, until it is told to answer some of it."""

    def __init__(self):
        self.waiting, self.answered, self.wake, self.closed = [], [], None, False

    async def open(self, pool):
        self.pool = pool

    def send(self, first_id, count, now_ns):
        self.waiting += range(first_id, first_id + count)

    def answer(self, count):
        self.answered, self.waiting = self.answered + self.waiting[:count], self.waiting[count:]
        if self.wake is not None:
            self.wake()

    def drain(self):
        ids, self.answered = self.answered, []
        if not ids:
            return NO_REPLIES
        count = len(ids)
        outcomes = np.full(count, Outcome.COMPLETED, np.uint8)
        outputs = [b"%d" % request for request in ids]
        reasons = [f"of {request}" for request in ids]
        # The last of each drain is timed, and its queue says whose it was.
        timed = [TimedReply(count - 1, 0, 0, ids[-1], 0, 0)]
        return Replies(np.array(ids), np.full(count, 7), outcomes, outputs, reasons, timed, more=len(ids) > 5)

    def notify(self, wake):
        self.wake = wake

    async def close(self):
        self.closed = True


@given(OUTSTANDING, st.integers(0, 3000), st.integers(0, 5))
def test_servers_are_filled_up_to_one_level(outstanding, count, turn):
    """A place that gets some ends at most one above any other; one that gets none is not below these."""
    shares = level(outstanding, count, turn)
    after = [before + share for before, share in zip(outstanding, shares, strict=True)]
    assert sum(shares) == count
    assert min(shares) >= 0
    given_some = [total for total, share in zip(after, shares, strict=True) if share]
    if given_some:
        assert max(given_some) - min(given_some) <= 1
        assert max(given_some) <= min(after) + 1


@given(st.lists(st.tuples(st.integers(0, 40), st.integers(0, 2), st.integers(0, 60)), max_size=40))
def test_every_request_goes_to_one_server_and_its_answer_comes_back_once(steps):
    """Whatever the order of sending and answering; who answers more gets more."""
    servers = [Server() for _ in range(3)]
    target = BalancedTarget(servers)
    sent, seen = 0, list[int]()
    for count, number, answers in steps:
        before = [len(server.waiting) for server in servers]
        target.send(sent, count, 0)
        sent += count
        after = [len(server.waiting) for server in servers]
        shares = [new - old for new, old in zip(after, before, strict=True)]
        assert sorted(after) == sorted(map(sum, zip(before, level(before, count), strict=True)))
        assert sum(shares) == count
        servers[number].answer(answers)
        replies = target.drain()
        assert len(replies.ids) == len(replies.done_ns) == len(replies.outcomes) == len(replies.outputs)
        assert [b"%d" % request for request in replies.ids.tolist()] == list(replies.outputs)
        assert [f"of {request}" for request in replies.ids.tolist()] == list(replies.reasons)
        assert [replies.ids[each.place] for each in replies.timed] == [each.queue_ns for each in replies.timed]
        assert replies.more == (len(replies.ids) > 5)  # only one of them has answered
        seen += replies.ids.tolist()
    for server in servers:
        server.answer(len(server.waiting))
    seen += target.drain().ids.tolist()
    assert sorted(seen) == list(range(sent))
    assert target.drain() is NO_REPLIES


def test_idle_servers_take_turns():
    """One request at a time, each answered before the next."""
    servers = [Server() for _ in range(3)]
    target, who = BalancedTarget(servers), []
    for request in range(6):
        target.send(request, 1, 0)
        who += [number for number, server in enumerate(servers) if server.waiting]
        servers[who[-1]].answer(1)
        target.drain()
    assert who == [0, 1, 2, 0, 1, 2]


def test_whoever_answers_first_wakes_once():
    """The others' answers are read with it."""
    servers, woken = [Server(), Server()], []
    target = BalancedTarget(servers)
    target.send(0, 4, 0)
    target.notify(lambda: woken.append(1))
    for server in servers:
        server.answer(1)
    assert woken == [1]
    target.notify(lambda: woken.append(2))
    servers[1].answer(1)
    assert woken == [1, 2]


def test_all_are_opened_and_closed():
    """With the same inputs."""
    servers = [Server(), Server()]
    target, pool = BalancedTarget(servers), Pool([np.zeros(1, np.float32)], DataType.FLOATS)
    asyncio.run(target.open(pool))
    assert [server.pool for server in servers] == [pool, pool]
    asyncio.run(target.close())
    assert all(server.closed for server in servers)
