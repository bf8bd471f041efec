"""Who is idle, what is in flight, and how readings add up."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from frontend_launch.frontends.batching import Query
from frontend_launch.frontends.health import Aside
from frontend_launch.frontends.replica import AHEAD_BYTES, AHEAD_NS, MOST_AHEAD, PROVEN, Batch
from frontend_launch.frontends.replicas import ReplicaTable, Shard
from model_containers.data_types import DataType
from model_containers.units import NS_PER_S
from model_containers.wire import ReplyTimes

MODEL = ("noop", "1")


def batch(number=0):
    return Batch(number, (Query(0, number, "noop", b"1234", 0),))


def table_of(count):
    table = ReplicaTable()
    return table, [table.register(b"%d" % number, MODEL, DataType.FLOATS) for number in range(count)]


def test_ids_count_registrations_and_are_never_reused():
    """A replica that comes back is a new one."""
    table, (first, second) = table_of(2)
    table.lost(first, 0)
    again = table.register(first.identity, MODEL, DataType.FLOATS)
    assert [first.replica_id, second.replica_id, again.replica_id] == [0, 1, 2]


def test_ids_of_several_frontends_do_not_meet():
    """Each counts on by their number."""
    tables = [ReplicaTable(Shard(number, 3)) for number in range(3)]
    ids = [
        table.register(b"%d" % connection, MODEL, DataType.FLOATS).replica_id
        for connection in range(2)
        for table in tables
    ]
    assert ids == [0, 1, 2, 3, 4, 5]


def test_the_longest_idle_replica_is_next_and_a_busy_one_is_not_idle():
    """A replica that reports no times is never sent a second batch, however much waits."""
    table, (first, second) = table_of(2)
    assert table.next(MODEL, queued=0, maximum=1) is first
    table.sent(first, batch(), 10)
    assert table.next(MODEL, queued=0, maximum=1) is second
    table.sent(second, batch(), 20)
    assert table.next(MODEL, queued=0, maximum=1) is None
    assert table.next(MODEL, queued=1000, maximum=1) is None
    table.answered(second, None, 30)
    table.answered(first, None, 40)
    assert table.next(MODEL, queued=0, maximum=1) is second


def test_a_lost_replica_gives_its_batch_back():
    """And is neither idle nor known any more."""
    table, (replica,) = table_of(1)
    table.sent(replica, batch(7), 10)
    assert table.lost(replica, 25) == (batch(7),)
    assert (table.next(MODEL, queued=0, maximum=1), table.get(replica.identity), replica.alive) == (None, None, False)
    assert replica.in_flight_until_ns(1000) == 15


def timed_table_of(count):
    """Replicas that have reported times once, at 0 ns, and are idle."""
    table, replicas = table_of(count)
    for replica in replicas:
        table.sent(replica, batch(), 0)
        table.answered(replica, ReplyTimes(0, 0, 0), 0)
    return table, replicas


def test_one_batch_is_sent_ahead_when_every_replica_will_get_a_full_one():
    """To the replica that has been busy for longest, and never a third."""
    table, (first, second) = timed_table_of(2)
    table.sent(first, batch(1), 10)
    assert table.next(MODEL, queued=1, maximum=4) is second, "an idle one gets what there is"
    table.sent(second, batch(2), 20)
    assert table.next(MODEL, queued=7, maximum=4) is None, "whoever is idle first shall have it"
    assert table.next(MODEL, queued=8, maximum=4) is first
    table.sent(first, batch(3), 30)
    assert table.next(MODEL, queued=8, maximum=4) is second
    table.sent(second, batch(4), 30)
    assert table.next(MODEL, queued=1000, maximum=4) is None
    assert table.answered(first, ReplyTimes(0, 0, 80), 100) == batch(1)
    assert (first.began_ns, first.in_flight_until_ns(150)) == (100, 140)
    assert table.next(MODEL, queued=8, maximum=4) is first
    assert table.lost(second, 200) == (batch(2), batch(4)), "both come back, in order"
    assert table.next(MODEL, queued=4, maximum=4) is first, "one replica is left to feed"


def filled(table, replica, first):
    """Send batches as long as the table names the replica; returns how many are outstanding."""
    while (named := table.next(MODEL, queued=1000, maximum=1)) is replica:
        table.sent(named, batch(first + len(replica.outstanding)), 0)
    return len(replica.outstanding)


@pytest.mark.parametrize(
    ("handle_ns", "payload", "most"),
    [
        pytest.param(0, b"1234", 1 + MOST_AHEAD, id="quick"),
        pytest.param(AHEAD_NS // 3, b"1234", 1 + 3, id="three in the time"),
        pytest.param(AHEAD_NS + 1, b"1234", 2, id="slow"),
        pytest.param(0, bytes(AHEAD_BYTES + 1), 2, id="large"),
    ],
)
def test_several_batches_are_sent_ahead_where_they_are_small_and_quick(handle_ns, payload, most):
    """One more for each sixteen answers, and no more at the end than the replica computes in two milliseconds."""
    table, (replica,) = timed_table_of(1)
    seen = []
    for number in range(PROVEN * MOST_AHEAD + 1):
        table.sent(replica, Batch(number, (Query(0, number, "noop", payload, 0),)), 0)
        table.answered(replica, ReplyTimes(0, 0, handle_ns), handle_ns)
        seen.append(1 + replica.ahead)
    assert seen[0] == 2
    assert seen == sorted(seen)
    assert set(seen) == set(range(2, most + 1))
    assert filled(table, replica, 1000) == most


def test_a_slow_batch_ends_the_sending_of_several_ahead():
    """And they come back when it is forgotten."""
    table, (replica,) = timed_table_of(1)

    def answer(handle_ns):
        table.sent(replica, batch(), 0)
        table.answered(replica, ReplyTimes(0, 0, handle_ns), handle_ns)
        return replica.ahead

    assert [answer(1000) for _ in range(PROVEN * MOST_AHEAD)][-1] == MOST_AHEAD
    assert answer(50_000_000) == 1
    assert answer(1000) == 1
    assert MOST_AHEAD in (answer(1000) for _ in range(1000))


def test_the_replica_with_the_fewest_batches_is_next():
    """Idle ones come first."""
    table, replicas = timed_table_of(3)
    for number in range(PROVEN * MOST_AHEAD):
        for replica in replicas:
            table.sent(replica, batch(number), 0)
            table.answered(replica, ReplyTimes(0, 0, 1000), 1000)
    order = []
    while (replica := table.next(MODEL, queued=1000, maximum=1)) is not None:
        order.append(replica.replica_id)
        table.sent(replica, batch(len(order)), 0)
    assert order == [0, 1, 2] * (1 + MOST_AHEAD)
    for _ in range(2):
        table.answered(replicas[1], ReplyTimes(0, 0, 1000), 2000)
    table.answered(replicas[0], ReplyTimes(0, 0, 1000), 2000)
    assert table.next(MODEL, queued=1000, maximum=1) is replicas[1]
    assert table.next(MODEL, queued=2, maximum=1) is None, "the first one to be idle gets it"


def test_what_was_with_a_replica_before_is_sent_one_ahead():
    """If it ends the next replica too, few others go with it."""
    table, (replica,) = timed_table_of(1)
    for number in range(PROVEN * MOST_AHEAD):
        table.sent(replica, batch(number), 0)
        table.answered(replica, ReplyTimes(0, 0, 1000), 1000)
    for number in range(2):
        assert table.next(MODEL, queued=1000, maximum=1, again=True) is replica
        table.sent(replica, batch(number), 0)
    assert table.next(MODEL, queued=1000, maximum=1, again=True) is None
    assert table.next(MODEL, queued=1000, maximum=1) is replica


def test_a_replica_that_was_sent_a_batch_ahead_never_waits():
    """Its time in compute is the time there was, in both readings."""
    table, (replica,) = timed_table_of(1)
    table.sent(replica, batch(), 0)
    for end in (100, 200, 300):
        table.sent(replica, batch(), end - 50)
        table.answered(replica, ReplyTimes(0, 0, 100), end)
    assert replica.compute_until_ns(350) == 350


def test_an_answer_without_a_batch_changes_nothing():
    """A stray answer does not make a replica idle twice."""
    table, (replica,) = table_of(1)
    assert table.answered(replica, ReplyTimes(1, 1, 1), 10) is None
    assert replica.batches == 0


def test_an_answer_that_cannot_be_read_is_not_booked_as_one():
    """The replica was busy, and goes on; its batch counts as failed."""
    table, (replica,) = timed_table_of(1)
    table.sent(replica, batch(1), 10)
    table.sent(replica, batch(2), 20)
    assert table.failed(replica, 110) == batch(1)
    assert (replica.batches, replica.queries, replica.failed_batches) == (1, 1, 1)
    assert (replica.in_flight_ns, replica.began_ns) == (100, 110)
    assert table.failed(replica, 150) == batch(2)
    assert table.next(MODEL, queued=0, maximum=1) is replica
    assert table.failed(replica, 200) is None
    assert replica.counters(200).failed_batches == 2


def test_a_batch_that_the_replica_computed_again_is_answered_and_failed():
    """It counts as both."""
    table, (replica,) = table_of(1)
    for failed in (None, False, True):
        table.sent(replica, batch(), 0)
        table.answered(replica, ReplyTimes(0, 0, 80, failed), 100)
    assert (replica.batches, replica.failed_batches) == (3, 1)


def test_time_in_compute_counts_the_batch_under_way():
    """As far as it has got: the time since it was sent, less the overhead of the one before."""
    table, (replica,) = table_of(1)
    table.sent(replica, batch(), 1000)
    assert replica.compute_until_ns(1050) == 0  # nothing is known of this replica yet
    table.answered(replica, ReplyTimes(5, 5, 80), 1100)
    assert replica.compute_until_ns(1150) == 80
    table.sent(replica, batch(), 1200)
    assert replica.compute_until_ns(1210) == 80
    assert replica.compute_until_ns(1270) == 80 + 50
    assert replica.in_flight_until_ns(1270) == 100 + 70
    assert replica.compute_until_ns(9999) == 80 + 2 * 80  # a replica that hangs is not busy


def test_the_age_of_the_batch_under_way():
    """Since it was sent, or since the one before it was answered; none without one, or when its replica is gone."""
    table, (replica,) = timed_table_of(1)
    assert replica.counters(50).oldest_batch_ns == 0
    table.sent(replica, batch(1), 100)
    table.sent(replica, batch(2), 120)
    assert replica.counters(400).oldest_batch_ns == 300
    table.answered(replica, ReplyTimes(0, 0, 80), 500)
    assert replica.counters(510).oldest_batch_ns == 10, "the replica had another batch until then"
    table.lost(replica, 600)
    assert (replica.counters(900).oldest_batch_ns, replica.counters(900).alive) == (0, False)


def test_full_batches_are_counted_with_their_time_in_compute():
    """Of replicas that report times; others do not tell."""
    table, (replica, foreign) = table_of(2)
    full = batch()._replace(full=True)
    for one, times in ((full, ReplyTimes(1, 1, 70)), (batch(), ReplyTimes(1, 1, 20)), (full, ReplyTimes(1, 1, 90))):
        table.sent(replica, one, 0)
        table.answered(replica, times, 100)
    table.sent(foreign, full, 0)
    table.answered(foreign, None, 100)
    counters = replica.counters(100)
    assert (counters.full_batches, counters.full_compute_ns, counters.timed_batches) == (2, 160, 3)
    assert (foreign.counters(100).full_batches, foreign.counters(100).full_compute_ns) == (0, 0)


@given(st.lists(st.tuples(st.integers(1, 100), st.integers(0, 100), st.integers(0, 30)), max_size=30))
def test_readings_never_go_back(steps):
    """Whatever the estimate was, a later reading is not smaller, and never more than the time there was."""
    table, (replica,) = table_of(1)
    now, last = 0, 0
    for elapsed, handle, gap in steps:
        table.sent(replica, batch(), now)
        for _ in range(2):
            now += elapsed
            reading = replica.compute_until_ns(now)
            assert last <= reading <= now
            last = reading
        table.answered(replica, ReplyTimes(0, 0, min(handle, 2 * elapsed)), now)
        now += gap
        assert last <= replica.compute_until_ns(now) <= now
        last = replica.compute_until_ns(now)


@pytest.mark.parametrize("count", [1, 3])
def test_every_replica_is_handed_out_before_any_twice(count):
    """Work spreads."""
    table, replicas = table_of(count)
    seen = []
    while (replica := table.next(MODEL, queued=0, maximum=1)) is not None:
        table.sent(replica, batch(), 0)
        seen.append(replica)
    assert seen == replicas


def test_a_replica_that_hangs_gives_its_batches_away_and_gets_none_until_it_answers():
    """Its time in flight ends, its late answer is booked as no answer, and the others are what a queue has to feed."""
    table, (hung, other) = timed_table_of(2)
    table.sent(other, batch(), 0)
    table.answered(other, ReplyTimes(0, 0, 0), 0)
    table.sent(hung, batch(1), 10)
    table.sent(hung, batch(2), 20)
    table.sent(other, batch(3), 20)
    assert table.overdue(5 * NS_PER_S, 0) == []
    assert table.overdue(6 * NS_PER_S, 0) == [hung, other]
    assert table.overdue(6 * NS_PER_S, 5 * NS_PER_S) == [], "this process did not run until then"
    assert table.hung(hung, 1010) == (*batch(1).queries, *batch(2).queries)
    assert not table.replaceable(other)
    assert (table.working(MODEL), table.serving(MODEL)) == (1, 2)
    assert table.overdue(6 * NS_PER_S, 0) == [other]
    assert table.next(MODEL, queued=2, maximum=2) is other, "one replica is left to feed"
    assert (hung.in_flight_until_ns(5000), hung.under_way_ns(5000)) == (1000, 4990)
    late = table.answered(hung, ReplyTimes(0, 0, 5000), 6010)
    assert (late, hung.health.late_batches, hung.batches, hung.handle_ns) == (Batch(1, (), moved=1), 1, 1, 0)
    assert (hung.health.aside, hung.counters(7000).aside_ns, hung.in_flight_until_ns(7000)) == (None, 5000, 1000)
    assert (table.working(MODEL), table.turned()) == (2, [hung, hung])
    assert table.lost(hung, 8000) == (Batch(2, (), moved=1),)


def test_a_replica_that_came_back_and_hangs_again_keeps_no_batch():
    """Also where batches that moved are before those that it got since."""
    table, (hung, other) = timed_table_of(2)
    table.sent(hung, batch(1), 0)
    table.sent(hung, batch(2), 0)
    table.hung(hung, 1)
    table.answered(hung, ReplyTimes(0, 0, 0), 2)
    table.sent(other, batch(3), 2)
    assert table.next(MODEL, queued=2, maximum=1) is hung
    table.sent(hung, batch(4), 2)
    table.answered(other, ReplyTimes(0, 0, 0), 3)
    assert table.overdue(60 * NS_PER_S, 0) == [hung]
    assert table.hung(hung, 60 * NS_PER_S) == batch(4).queries
    assert [each.moved for each in hung.outstanding] == [1, 1]
    assert table.overdue(120 * NS_PER_S, 0) == []


@pytest.mark.parametrize("ends", ["failed", "hung"])
def test_few_batches_go_ahead_to_a_replica_that_failed_or_hung(ends):
    """Until it has proven itself again."""
    table, (replica, _) = timed_table_of(2)
    for number in range(PROVEN * MOST_AHEAD):
        table.sent(replica, batch(number), 0)
        table.answered(replica, ReplyTimes(0, 0, 0), 0)
    assert replica.ahead == MOST_AHEAD
    table.sent(replica, batch(1000), 0)
    getattr(table, ends)(replica, 0)
    assert replica.ahead == 1


def test_a_replica_that_fails_three_times_in_a_row_pauses_while_others_work():
    """The last one that works never does; where it is lost, those that pause come back at once."""
    table, (first, second) = table_of(2)
    for now in range(6):
        for replica in (first, second):
            if replica.health.aside is None:
                table.sent(replica, batch(now), now)
                table.failed(replica, now)
    assert (first.health.aside, second.health.aside) == (Aside.FAILING, None)
    assert table.next(MODEL, queued=0, maximum=1) is second
    assert table.recovered(NS_PER_S) == []
    table.lost(second, 10)
    assert (first.health.aside, table.next(MODEL, queued=0, maximum=1)) == (None, first)


def test_an_answer_ends_a_row_of_failures():
    """Two more are no reason for a pause."""
    table, (replica, _) = table_of(2)
    for answered in (False, False, True, False, False):
        table.sent(replica, batch(), 0)
        if answered:
            table.answered(replica, None, 1)
        else:
            table.failed(replica, 1)
    assert (replica.health.aside, replica.health.failures) == (None, 2)


def test_the_type_of_most_replicas_is_right():
    """Where there is no such type, each is; a replica that is gone has no say."""
    table, (first, second, third) = table_of(3)
    assert not table.differs(first, DataType.INTS), "the only one so far"
    assert not table.differs(second, DataType.FLOATS)
    assert not table.differs(first, DataType.INTS)
    assert not table.differs(third, DataType.FLOATS)
    assert table.differs(first, DataType.INTS)
    table.lost(second, 0)
    assert not table.differs(first, DataType.INTS)
