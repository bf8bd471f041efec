"""Lists of integers, written and read."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from frontend_launch.integers import MAX_RANGE_MEMBERS, core_ranges, expand_ranges


@pytest.mark.parametrize(
    ("cores", "text"),
    [
        pytest.param((0, 1, 2, 5), "0-2,5", id="a run and a single"),
        pytest.param((7, 6), "6,7", id="a pair, sorted"),
        pytest.param((), "-", id="nothing"),
        pytest.param((3, 3), "3", id="once"),
    ],
)
def test_core_ranges(cores, text):
    """Cores are written as taskset writes them."""
    assert core_ranges(cores) == text


@given(st.sets(st.integers(0, 5000), min_size=1, max_size=60))
def test_ranges_round_trip(cores):
    """What core_ranges writes, expand_ranges reads."""
    assert expand_ranges(core_ranges(cores).split(",")) == tuple(sorted(cores))


def test_the_longest_list_is_still_read():
    """The bound itself is allowed, one more is not."""
    assert len(expand_ranges([f"1-{MAX_RANGE_MEMBERS}"])) == MAX_RANGE_MEMBERS
    with pytest.raises(ValueError, match="name fewer"):
        expand_ranges([f"1-{MAX_RANGE_MEMBERS}", "0"])
