"""Which requests are timed."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from frontend_launch.sampling import MOST_PER_S, Sampler
from model_containers.units import NS_PER_S


def picked(batch, rate, seconds):
    """How many requests of batches at this rate were timed, by their places in a batch."""
    sampler, places = Sampler(), [0] * batch
    for number in range(round(rate * seconds / batch)):
        for place in sampler.pick(batch, NS_PER_S + round(number * batch / rate * NS_PER_S)):
            places[place] += 1
    return places


@pytest.mark.parametrize("batch", [1, 2, 7, 32])
def test_at_a_low_rate_all_are_timed(batch):
    """Up to the bound, whatever the batches."""
    requests = 3 * MOST_PER_S // batch * batch
    assert sum(picked(batch, MOST_PER_S, 3)) == pytest.approx(requests, abs=batch)


@pytest.mark.parametrize("rate", [60, 75, 99, 100, 101, 120, 150, 180, 199, 200, 250, 333, 500, 1_000])
@pytest.mark.parametrize("batch", [1, 2, 7])
def test_above_the_bound_about_so_many_are_timed(rate, batch):
    """Not many more just below twice the bound, nor many fewer just above it."""
    places = picked(batch, rate, 20)
    assert sum(places) / 20 == pytest.approx(MOST_PER_S, rel=0.15)
    assert min(places) > 0


@pytest.mark.no_cover
@pytest.mark.parametrize("rate", [5_000, 20_000, 100_000])
@pytest.mark.parametrize("batch", [1, 32, 33, 500])
def test_at_a_high_rate_about_so_many_are_timed_and_each_place_of_a_batch_has_its_turn(rate, batch):
    """The stride is odd, and begins anew from another place."""
    places = picked(batch, rate, 20)
    assert MOST_PER_S / 2 <= sum(places) / 20 <= 1.5 * MOST_PER_S
    assert min(places) > 0


@given(st.lists(st.tuples(st.integers(1, 1000), st.integers(0, NS_PER_S // 10)), min_size=1, max_size=300))
def test_places_are_of_the_batch(batches):
    """However the rate changes; and a pause of a tenth of a second makes the next look."""
    sampler, now_ns = Sampler(), NS_PER_S
    for count, pause_ns in batches:
        now_ns += pause_ns
        assert all(0 <= place < count for place in sampler.pick(count, now_ns))
