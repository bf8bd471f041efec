"""What a result was measured with."""

import subprocess
from pathlib import Path

import pytest

from loadgen.results.environment import frequency_governors, git_commit

TOP = Path(__file__).parents[3]


@pytest.mark.skipif(not (TOP / ".git").exists(), reason="this is no checkout")
def test_the_commit_of_the_checkout_is_known():
    """With a plus where it was changed."""
    head = subprocess.run(["git", "-C", TOP, "rev-parse", "HEAD"], capture_output=True, text=True, check=True)
    assert (git_commit() or "").rstrip("+") == head.stdout.strip()


def test_governors_have_their_cores(tmp_path):
    """As the kernel's files have them; none in most virtual machines."""
    for core, governor in {0: "performance", 1: "powersave", 2: "powersave", 3: "powersave", 10: "performance"}.items():
        folder = tmp_path / f"cpu{core}" / "cpufreq"
        folder.mkdir(parents=True)
        (folder / "scaling_governor").write_text(f"{governor}\n")
    (tmp_path / "cpu4").mkdir()
    (tmp_path / "cpufreq").mkdir()
    assert frequency_governors(tmp_path) == {"performance": "0,10", "powersave": "1-3"}
    assert frequency_governors(tmp_path / "cpu4") == {}
