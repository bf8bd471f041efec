"""The program as a user starts it."""

import contextlib
import io
import subprocess
import sys
import time
from pathlib import Path

import pytest

from loadgen.cli import main

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


def asked(words):
    """The same without a process: for a command that ends before it starts anything."""
    out, err = io.StringIO(), io.StringIO()
    with pytest.MonkeyPatch.context() as patch, contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        patch.setattr(sys, "argv", list(words))
        try:
            main()
            code = 0
        except SystemExit as error:
            code = error.code or 0
    return subprocess.CompletedProcess(words, code, out.getvalue(), err.getvalue())


def until(condition, deadline_s=DEADLINE_S):
    """Poll what another process does, and give what it came to; the deadline makes a failure, never a pass."""
    give_up = time.monotonic() + deadline_s
    while not (value := condition()):
        assert time.monotonic() < give_up
        time.sleep(0.01)
    return value
