"""Every request ends once, whatever comes back in whatever order."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from loadgen.load.in_flight import InFlight, settled_of


def ids(*values):
    return np.array(values, dtype=np.int64)


def test_replies_find_when_their_requests_were_sent():
    """In any order."""
    table = InFlight(4)
    table.send(2, 100)
    table.send(1, 200)
    settled = table.settle(ids(2, 0))
    assert settled.known.tolist() == [True, True]
    assert settled.sent_ns.tolist() == [200, 100]
    assert table.outstanding == 1


def test_a_second_reply_is_late_and_a_stranger_unexpected():
    """Only the first reply to a request that was sent counts."""
    table = InFlight(4)
    table.send(2, 100)
    assert table.settle(ids(0, 0, 7, -1)).known.tolist() == [True, False, False, False]
    assert table.settle(ids(0)).known.tolist() == [False]
    assert (table.outstanding, table.late, table.unexpected) == (1, 2, 2)


def test_expiry_takes_what_is_old_enough():
    """A reply after that is late."""
    table = InFlight(4)
    table.send(2, 100)
    table.send(2, 200)
    table.settle(ids(0))
    assert table.expire(150).ids.tolist() == [1]
    assert table.expire(150).ids.tolist() == []
    assert table.settle(ids(1, 2)).known.tolist() == [False, True]
    assert (table.outstanding, table.late) == (1, 1)


def test_a_request_outlives_the_ring():
    """One that is never answered does not block its slot, and can still end later."""
    table = InFlight(1)
    table.send(1, 1)
    for turn in range(5000):
        table.send(1, 10 + turn)
        assert table.settle(ids(turn + 1)).known.all()
    settled = table.settle(ids(0))
    assert (settled.known.tolist(), settled.sent_ns.tolist()) == ([True], [1])
    assert table.outstanding == 0


def test_a_straggler_expires():
    """Requests that have left the ring are given up on as well."""
    table = InFlight(1)
    table.send(1, 1)
    for turn in range(5000):
        table.send(1, 10 + turn)
        table.settle(ids(turn + 1))
    assert table.expire(5).sent_ns.tolist() == [1]
    assert table.outstanding == 0


LATE, LATER = 1000, 2000


class AgainstAModel(RuleBasedStateMachine):
    """The table against a dictionary."""

    def __init__(self):
        super().__init__()
        self.table, self.outstanding, self.now = InFlight(8, planned=True), {}, 0
        self.late = self.unexpected = 0

    @rule(count=st.integers(1, 300) | st.just(1))
    def send(self, count):
        """Send some, each a little later than planned."""
        self.now += 1
        self.outstanding.update(dict.fromkeys(range(self.table.sent, self.table.sent + count), self.now))
        self.table.send(count, self.now + LATE, np.full(count, self.now), self.now + LATER)

    @rule(data=st.data())
    def settle(self, data):
        """Reply to some, known or not."""
        highest = self.table.sent + 3
        replied = data.draw(st.lists(st.integers(-1, highest), max_size=40))
        if self.outstanding:
            replied += data.draw(st.lists(st.sampled_from(sorted(self.outstanding)), max_size=40))
        one_by_one = data.draw(st.booleans())
        settled = (
            settled_of(list(map(self.table.settle_one, replied))) if one_by_one else self.table.settle(ids(*replied))
        )
        columns = (column.tolist() for column in settled)
        for reply, known, planned_ns, sent_ns, taking_ns in zip(replied, *columns, strict=True):
            expected = self.outstanding.pop(reply, None)
            assert known == (expected is not None)
            if known:
                assert (planned_ns, sent_ns, taking_ns) == (expected, expected + LATE, expected + LATER)
            elif 0 <= reply < self.table.sent:
                self.late += 1
            else:
                self.unexpected += 1

    @rule(age=st.integers(0, 5))
    def expire(self, age):
        """Give up on the old ones."""
        old = [request for request, sent in self.outstanding.items() if sent <= self.now - age]
        for request in old:
            del self.outstanding[request]
        assert sorted(self.table.expire(self.now - age).ids.tolist()) == sorted(old)

    @invariant()
    def adds_up(self):
        """The counts are the model's."""
        assert self.table.outstanding == len(self.outstanding)
        assert (self.table.late, self.table.unexpected) == (self.late, self.unexpected)


TestAgainstAModel = AgainstAModel.TestCase


@given(st.lists(st.integers(0, 99), unique=True, max_size=100))
def test_each_request_is_settled_exactly_once(order):
    """A drain in any order settles each of its requests, and a second drain none."""
    table = InFlight(100)
    table.send(100, 1)
    assert table.settle(ids(*order)).known.sum() == len(order)
    assert table.settle(ids(*order)).known.sum() == 0
    assert table.outstanding == 100 - len(order)
