"""The model with the most weights: its answers are compared, and it is compiled."""

import subprocess
import sys

from swapping import check_that_swaps_are_found


def test_two_swapped_answers_are_found(tmp_path):
    """As of the other models."""
    check_that_swaps_are_found("vgg", tmp_path)


def test_it_is_what_it_says_when_it_is_compiled():
    """For batches that are powers of two."""
    words = [sys.executable, "-m", "model_containers", "verify", "vgg", "--max-batch", "8", "--xla", "1"]
    subprocess.run(words, timeout=280, check=True)
