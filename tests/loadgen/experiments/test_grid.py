"""Which cells there are, and in what order they are measured."""

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from loadgen.experiments.grid import GridCell, Measurement, Size, by_size, cells, schedule

axes = st.lists(st.integers(1, 8), min_size=1, max_size=4)


def test_the_first_example_of_the_original_has_48_cells():
    """Four numbers of replicas, two of cores, six batch sizes."""
    grid = cells((1, 2, 3, 4), (1, 2), (1, 2, 4, 8, 16, 32))
    assert len(grid) == 48
    assert [cell.name for cell in grid[:7]] == [f"r1-c1-b{2**power}" for power in range(6)] + ["r1-c2-b1"]


@given(axes, axes, axes)
def test_every_combination_once(replicas, cpus, batch_sizes):
    """A value that is given twice counts once."""
    grid = cells(replicas, cpus, batch_sizes)
    assert len(set(grid)) == len(grid) == len(set(replicas)) * len(set(cpus)) * len(set(batch_sizes))


@given(axes, axes, axes, st.integers(1, 3), st.integers(0, 5), st.none() | st.integers(1, 5))
def test_a_schedule_measures_each_cell_in_each_round(replicas, cpus, batch_sizes, repeat, seed, anchor_every):
    """No measurement occurs twice, cells of one size stay together, the anchor comes at intervals and last."""
    grid = cells(replicas, cpus, batch_sizes)
    order = schedule(grid, repeat, seed, anchor_every)
    assert len(set(order)) == len(order)
    plain = [measurement for measurement in order if measurement.kind == "cell"]
    assert Counter(measurement.cell for measurement in plain) == dict.fromkeys(grid, repeat)
    for number in range(repeat):
        of_round = [measurement.cell.size for measurement in plain if measurement.repeat == number]
        assert len(list(by_size([m for m in plain if m.repeat == number]))) == len(set(of_round))
    anchors = [measurement for measurement in order if measurement.kind == "anchor"]
    assert {anchor.cell for anchor in anchors} <= {order[0].cell}
    if len(plain) > 1:
        assert order[-1].kind == "anchor"
        assert len(anchors) == 1 + (0 if anchor_every is None else (len(plain) - 1) // anchor_every)


@pytest.mark.parametrize(("repeat", "drawn"), [(1, False), (3, True)])
def test_the_order_is_drawn_where_cells_repeat(repeat, drawn):
    """One round goes through the grid as it is written; more are shuffled, the same way for the same seed."""
    grid = cells((1, 2), (1,), (1, 2, 4, 8))
    order = [measurement.cell for measurement in schedule(grid, repeat, 0, None) if measurement.kind == "cell"]
    assert (order != list(grid) * repeat) is drawn
    assert schedule(grid, repeat, 0, None) == schedule(grid, repeat, 0, None)


def test_one_measurement_needs_no_anchor():
    """There is nothing that could have drifted."""
    only = GridCell(Size(1, 1), 2)
    assert schedule([only], 1, 0, None) == (Measurement(only),)
