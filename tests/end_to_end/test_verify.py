"""Answers under load are compared with the right ones: a frontend that mixes up two of them is found out."""

import pytest
from swapping import HONEST_FRONTENDS, NETWORKS, check_that_swaps_are_found, verified

from model_containers import catalog


@pytest.mark.models
@pytest.mark.parametrize("name", [name for name in catalog.NAMES if name not in NETWORKS])
def test_two_swapped_answers_are_found(name, tmp_path):
    """For every model but the networks, which take half a minute to load twice and are part of `make evidence`."""
    check_that_swaps_are_found(name, tmp_path)


def test_right_answers_are_right(tmp_path):
    """The same without the swap."""
    run, results = verified(HONEST_FRONTENDS, "noop", tmp_path)
    assert (run.returncode, results["answers"]["mismatched"], results["answers"]["compared"]) == (0, 0, 20)
