"""What a result was measured with."""

import subprocess
from pathlib import Path

import pytest

from loadgen.results.environment import git_commit

TOP = Path(__file__).parents[3]


@pytest.mark.skipif(not (TOP / ".git").exists(), reason="this is no checkout")
def test_the_commit_of_the_checkout_is_known():
    """With a plus where it was changed."""
    head = subprocess.run(["git", "-C", TOP, "rev-parse", "HEAD"], capture_output=True, text=True, check=True)
    assert (git_commit() or "").rstrip("+") == head.stdout.strip()
