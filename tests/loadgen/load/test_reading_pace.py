"""How often replies are read: seldom enough to save turns, and often enough for the latencies."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from loadgen.load.reading_pace import LATENCY_SHARE, LONGEST_NS, ReadingPace


def intervals(latencies_ns):
    pace, now_ns, found = ReadingPace(), 0, []
    for latency_ns in latencies_ns:
        next_ns = pace.next_ns(now_ns, latency_ns)
        found.append(next_ns - now_ns)
        now_ns = next_ns
    assert pace.longest_ns == max(found)
    return found


@pytest.mark.parametrize(
    ("latency_ns", "interval_ns"),
    [(0, 0), (99, 0), (10_000, 100), (5_000_000, 50_000), (370_000_000, LONGEST_NS), (60_000_000_000, LONGEST_NS)],
)
def test_a_hundredth_of_the_latency_and_a_millisecond_at_most(latency_ns, interval_ns):
    assert intervals([latency_ns] * 200)[-1] == pytest.approx(interval_ns, rel=0.03, abs=2)


@given(st.integers(0, 2**16), st.floats(0.1, 1.5))
def test_it_is_the_median_that_counts(seed, spread):
    """Whatever the distribution; a few slow requests do not make the others' latencies less exact."""
    latencies_ns = np.random.default_rng(seed).lognormal(np.log(2e7), spread, 2000)
    median_ns = float(np.median(latencies_ns))
    late = intervals(latencies_ns.astype(int).tolist())[1000:]
    assert np.median(late) == pytest.approx(median_ns / LATENCY_SHARE, rel=0.2)


@pytest.mark.parametrize(("before_ns", "after_ns"), [(1_000_000, 100_000_000), (100_000_000, 1_000_000)])
def test_it_follows(before_ns, after_ns):
    found = intervals([before_ns] * 100 + [after_ns] * 300)
    assert found[99] == pytest.approx(before_ns // LATENCY_SHARE, rel=0.03)
    assert found[-1] == pytest.approx(after_ns // LATENCY_SHARE, rel=0.03)


def test_the_longest_is_of_the_measured_part():
    pace = ReadingPace()
    for _ in range(300):
        pace.next_ns(0, 90_000_000)
    for _ in range(300):
        asked_ns = pace.next_ns(0, 50_000_000)
    assert pace.longest_ns > asked_ns
    pace.begin_measured()
    assert pace.longest_ns == asked_ns  # it is under way
    pace.next_ns(0, 50_000_000)
    assert 0 < pace.longest_ns <= 500_000 * 1.03
