"""The networks: their answers are compared, and the one with the most weights is compiled."""

import subprocess
import sys

import pytest
from swapping import NETWORKS, check_that_swaps_are_found


@pytest.mark.parametrize("name", NETWORKS)
def test_two_swapped_answers_are_found(name, tmp_path):
    """As of the other models."""
    check_that_swaps_are_found(name, tmp_path)


def test_vgg_is_what_it_says_when_it_is_compiled():
    """For batches that are powers of two."""
    words = [sys.executable, "-m", "model_containers", "verify", "vgg", "--max-batch", "8", "--xla", "1"]
    subprocess.run(words, timeout=280, check=True)
