"""The program as a user starts it."""

import subprocess
import sys
import time
from pathlib import Path

LOADGEN = str(Path(sys.executable).with_name("loadgen"))
ANY_PORTS = [f"--{name}-port=0" for name in ("request", "response", "replica", "metrics", "admin")]
DEADLINE_S = 120


def noop(tmp_path, verb, *arguments):
    """The words of a verb on our own do-nothing model, on free ports."""
    return [LOADGEN, verb, "-m", "noop", "--results-dir", str(tmp_path / "results"), *ANY_PORTS, *arguments]


def target(tmp_path, verb, url, *arguments):
    """The words of a verb on a server that runs already."""
    return [LOADGEN, verb, "--target", url, "--results-dir", str(tmp_path / "results"), *arguments]


def ran(words):
    """What it said, when it has ended."""
    return subprocess.run(words, capture_output=True, text=True, timeout=DEADLINE_S, check=False)


def until(condition, deadline_s=DEADLINE_S):
    """Poll what another process does, and give what it came to; the deadline makes a failure, never a pass."""
    give_up = time.monotonic() + deadline_s
    while not (value := condition()):
        assert time.monotonic() < give_up
        time.sleep(0.01)
    return value
