"""Clock offsets, the agreed start, and its skew."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from loadgen.workers.clocks import (
    LEAD_NS,
    Began,
    ClockOffset,
    Exchange,
    StartSkew,
    agreed_start,
    estimate,
    start_skew,
)

DELAYS = st.integers(0, 10**9)


@pytest.mark.parametrize(
    ("exchanges", "found"),
    [
        ([Exchange(0, 1000, 0)], ClockOffset(1000, 0)),
        ([Exchange(100, 1150, 200)], ClockOffset(1000, 50)),
        ([Exchange(100, 1150, 200), Exchange(300, 5000, 10_000)], ClockOffset(1000, 50)),
        ([Exchange(300, 5000, 10_000), Exchange(100, 1150, 200)], ClockOffset(1000, 50)),
        ([Exchange(100, 90, 201)], ClockOffset(-60, 51)),
    ],
    ids=["no delay", "symmetric", "least first", "least last", "odd"],
)
def test_an_offset_is_that_of_the_least_round_trip(exchanges, found):
    """Half of it is the error."""
    assert estimate(exchanges) == found


@given(st.integers(-(10**15), 10**15), st.lists(st.tuples(DELAYS, DELAYS, DELAYS), min_size=1, max_size=20))
def test_the_true_offset_is_within_the_error(offset_ns, delays):
    """However the way there and the way back share the round trip: a node behind 5 ms in one direction too."""
    exchanges = [
        Exchange(at_ns, at_ns + there_ns + offset_ns, at_ns + there_ns + back_ns) for at_ns, there_ns, back_ns in delays
    ]
    found = estimate(exchanges)
    assert abs(found.offset_ns - offset_ns) <= found.error_ns
    assert found.error_ns == min((there + back + 1) // 2 for _, there, back in delays)


@given(st.integers(0, 10**15), st.lists(DELAYS, max_size=20))
def test_a_start_is_agreed_in_advance(now_ns, round_trips_ns):
    """By more than the longest round trip, so that each worker knows of it before."""
    assert agreed_start(now_ns, round_trips_ns) >= now_ns + LEAD_NS + max(round_trips_ns, default=0)


@pytest.mark.parametrize(
    ("began", "found"),
    [
        ([Began(700, 20)], StartSkew(0, 0)),
        ([Began(0, 20), Began(0, 30)], StartSkew(0, 50)),
        ([Began(5, 20), Began(0, 30), Began(90, 1)], StartSkew(90, 50)),
    ],
    ids=["one worker", "together", "one late"],
)
def test_skew_is_what_the_workers_own_clocks_say(began, found):
    """The errors of two offsets are its error: a slow network is no skew."""
    assert start_skew(began) == found
