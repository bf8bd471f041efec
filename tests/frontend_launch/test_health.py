"""How long a batch may take, in tables and in virtual time: no busy replica hangs, and one that hangs is found."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from frontend_launch.frontends.health import FLOOR_NS, TIMES, UNKNOWN_NS, Aside, Health, Patience
from model_containers.units import NS_PER_S

MS = 1_000_000
MINUTE_NS = 60 * NS_PER_S


def learned(*batches):
    """From batches of a replica that was warm, as sizes and times; its first one took 1 ms."""
    patience = Patience()
    patience.answered(1, MS, first=True)
    for queries, elapsed_ns in batches:
        patience.answered(queries, elapsed_ns, first=False)
    return patience


@pytest.mark.parametrize(
    ("batches", "queries", "deadline_ns"),
    [
        ((), 1, UNKNOWN_NS),
        (((1, 2 * MS),), 1, FLOOR_NS),
        (((2, 1000 * MS),), 2, 10 * NS_PER_S),
        (((2, 1000 * MS), (2, 10 * MS)), 3, TIMES * (1000 - 1000 / 64) * MS),
        (((8, 2000 * MS),), 1, 20 * NS_PER_S),
        (((1, 1000 * MS),), 16, 160 * NS_PER_S),
        (((1, 1000 * MS), (32, 3000 * MS)), 8, 30 * NS_PER_S),
    ],
)
def test_a_deadline_is_ten_times_the_longest_batch_of_that_size(batches, queries, deadline_ns):
    """Of the next larger size where that one is not known, in proportion beyond the largest; at least the floor."""
    assert learned(*batches).deadline_ns(queries, first=False) == deadline_ns


def test_a_first_batch_has_the_time_of_a_warm_up():
    """Nothing is known before one was answered; then it tells, of the first batches of others and of its own second."""
    patience = Patience()
    assert patience.deadline_ns(2, first=True) == MINUTE_NS
    patience.answered(2, 9 * NS_PER_S, first=True)
    assert patience.deadline_ns(2, first=True) == patience.deadline_ns(2, first=False) == 90 * NS_PER_S
    patience.answered(2, 2 * MS, first=False)
    assert (patience.deadline_ns(2, first=True), patience.deadline_ns(2, first=False)) == (90 * NS_PER_S, FLOOR_NS)


@pytest.mark.parametrize("seconds", [30, 59, 200])
def test_the_warm_up_of_one_replica_tells_of_that_of_the_next(seconds):
    """A minute at first; beyond that a replica or two are found late."""
    patience, late = Patience(), 0
    for _ in range(10):
        late += seconds * NS_PER_S > patience.deadline_ns(4, first=True)
        patience.answered(4, seconds * NS_PER_S, first=True)
    assert late == (2 if seconds == 200 else 0)


def test_where_first_batches_are_quick_one_that_is_not_is_found_soon():
    """Its replica was stopped before it had any."""
    assert learned().deadline_ns(2, first=True) == FLOOR_NS


def test_a_late_answer_doubles_the_deadline_at_most():
    """A replica that was stopped for a minute does not hide the next one."""
    patience = learned((1, 2 * MS), (1, MINUTE_NS))
    assert patience.deadline_ns(1, first=False) == 2 * FLOOR_NS
    for _ in range(100):
        patience.answered(1, 2 * MS, first=False)
    assert patience.deadline_ns(1, first=False) == FLOOR_NS


@given(st.integers(1, 600 * NS_PER_S))
def test_a_model_that_became_slower_is_soon_in_time(elapsed_ns):
    """Whatever its batches take from now on."""
    patience = learned((1, 2 * MS))
    late = 0
    while elapsed_ns > patience.deadline_ns(1, first=False):
        patience.answered(1, elapsed_ns, first=False)
        late += 1
    assert late <= 7


@given(st.integers(1, 20), st.floats(0.0, 2.0), st.lists(st.integers(1, 64), min_size=1, max_size=40))
def test_a_model_whose_times_grow_with_the_batch_is_never_late(unit_s, power, sizes):
    """Up to the square of the size, whatever the order of the sizes, once the smallest have been seen."""
    patience, seen = learned(), 1
    for queries in [1, *sizes]:
        queries = min(queries, 2 * seen)
        elapsed_ns = int(unit_s * queries**power * NS_PER_S / 10)
        assert elapsed_ns <= patience.deadline_ns(queries, first=False)
        patience.answered(queries, elapsed_ns, first=False)
        seen = max(seen, queries)


@given(st.lists(st.tuples(st.integers(1, 4096), st.integers(0, 10**14), st.booleans()), max_size=50))
def test_a_deadline_is_never_below_its_floor(batches):
    """Nor does learning break, whatever the sizes and the times."""
    patience = Patience()
    for queries, elapsed_ns, first in batches:
        patience.answered(queries, elapsed_ns, first)
    for queries in (1, 7, 4096):
        assert patience.deadline_ns(queries, first=False) >= FLOOR_NS
        assert patience.deadline_ns(queries, first=True) >= FLOOR_NS


def test_pauses_grow_up_to_a_minute():
    """One second at first."""
    health, now_ns, pauses = Health(), 0, []
    for _ in range(8):
        health.set_aside(Aside.FAILING, now_ns)
        assert health.paused(health.until_ns - 1)
        assert not health.paused(health.until_ns)
        pauses.append((health.until_ns - now_ns) // NS_PER_S)
        now_ns = health.until_ns
        health.take_back(now_ns)
    assert pauses == [1, 2, 4, 8, 16, 32, 60, 60]
    assert (health.aside_ns, health.failing_times) == (sum(pauses) * NS_PER_S, 8)


def test_a_replica_that_hangs_is_set_aside_until_it_answers():
    """No time ends it."""
    health = Health()
    health.set_aside(Aside.HUNG, 10)
    assert (health.aside, health.hung_times, health.aside_until_ns(60)) == (Aside.HUNG, 1, 50)
    assert not health.paused(10**18)
    health.take_back(100)
    assert (health.aside, health.aside_until_ns(200)) == (None, 90)
