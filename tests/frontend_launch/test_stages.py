"""Readings of stages: they add, subtract and survive JSON, bucket for bucket."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from frontend_launch import stages
from frontend_launch.errors import AdminError
from frontend_launch.stages import Stages

BATCHES = st.lists(st.tuples(st.integers(1, 64), st.integers(0, 10**10), st.none() | st.integers(0, 10**10)))


def stages_of(batches):
    made = Stages()
    for queries, rpc_ns, compute_ns in batches:
        made.answered(queries, rpc_ns, compute_ns)
        made.queue_wait.record(np.full(queries, rpc_ns))
    return made


def seen(row):
    return (
        *(histogram.counts.tolist() for histogram in (row.queue_wait, row.rpc, row.compute)),
        dict(row.batch_sizes),
    )


@given(BATCHES, BATCHES)
def test_what_came_after_an_earlier_reading(before, after):
    """Is what was counted in between, and nothing else."""
    earlier, later = stages_of(before), stages_of(before + after)
    (difference,) = stages.since({"noop:1": later}, {"noop:1": earlier}).values()
    assert seen(difference) == seen(stages_of(after))
    histogram = difference.rpc
    if histogram.total:
        exact = stages_of(after).rpc
        assert histogram.min_ns == pytest.approx(exact.min_ns, rel=2e-3, abs=1000)
        assert histogram.max_ns == pytest.approx(exact.max_ns, rel=2e-3, abs=1000)
        assert histogram.sum_ns == exact.sum_ns


@given(BATCHES)
def test_a_reading_survives_json(batches):
    """Bucket for bucket."""
    given_ = stages_of(batches)
    (read,) = stages.from_json(b"".join(stages.json_parts([("noop:1:0", given_)]))).values()
    assert seen(read) == seen(given_)


@given(BATCHES, BATCHES)
def test_several_frontends_as_one(first, second):
    """A model's stages add up, and replicas stand side by side."""
    both = stages.merged(
        [
            {"noop:1": stages_of(first), "noop:1:0": stages_of(first)},
            {"noop:1": stages_of(second), "noop:1:1": stages_of(second)},
        ]
    )
    assert seen(both["noop:1"]) == seen(stages_of(first + second))
    assert [seen(both[f"noop:1:{number}"]) for number in (0, 1)] == [seen(stages_of(first)), seen(stages_of(second))]


def test_what_was_not_known_before_is_new():
    """As a replica that came in between."""
    row = stages_of([(2, 1000, 500)])
    assert seen(stages.since({"noop:1:1": row}, {})["noop:1:1"]) == seen(row)


@pytest.mark.parametrize("text", ["", "[]", '{"noop:1": {}}', '{"noop:1": {"rpc": "x", "batch_sizes": {}}}'])
def test_what_is_no_reading_is_refused(text):
    """With one line."""
    with pytest.raises(AdminError, match="the frontend's stages cannot be read"):
        stages.from_json(text)
