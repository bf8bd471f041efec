"""Counts of requests by how they ended, in batches of time."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from loadgen.load.tally import Tally
from loadgen.load.target import Outcome
from loadgen.load.time_batches import FIRST_LENGTH_NS, MAX_BATCHES

answers = st.lists(
    st.tuples(st.integers(0, 40 * MAX_BATCHES), st.sampled_from(Outcome), st.integers(1, 9)), max_size=30
)


def counted(rows):
    tally = Tally([20, 40])
    for batch, outcome, count in rows:
        at_ns = batch * FIRST_LENGTH_NS
        if outcome is Outcome.COMPLETED:
            tally.completed(np.full(count, 10 * count), at_ns)
        else:
            tally.lost(outcome, count, at_ns)
    return tally


@given(answers, answers)
def test_batches_are_bounded_and_add_up(one, other):
    """To the totals, however long the run is; those of two clients are those of one that did both."""
    both, merged, last = counted([*one, *other]), counted(one), counted(other)
    merged.merge(last)
    for tally in (both, merged):
        rows = tally.within(0, MAX_BATCHES * tally.length_ns)
        assert len(rows) == MAX_BATCHES
        assert rows.sum(axis=0).tolist() == tally.totals.tolist()
    assert merged.totals.tolist() == both.totals.tolist()
    assert (merged.within(0, 10**12) == both.within(0, 10**12)).all()


def test_what_ends_after_the_measured_part_counts_in_its_last_batch():
    """A request that was planned for it may end later."""
    tally = counted([(0, Outcome.COMPLETED, 5), (9, Outcome.FAILED, 2)])
    assert tally.within(0, 2 * FIRST_LENGTH_NS).tolist() == [[5, 0, 0, 0, 0, 5, 5, 5, 5], [0, 0, 2, 0, 0, 0, 0, 0, 0]]
    assert len(tally.within(0, FIRST_LENGTH_NS - 1)) == 0
