"""A process whose parent is gone ends, by the pipe alone."""

import os
import subprocess
import sys

from model_containers import lifeline

WAITER = """
import threading
from model_containers import lifeline
lifeline.hold()
print("held", flush=True)
threading.Event().wait()
"""


def test_the_end_of_the_pipe_ends_the_process():
    """At once, whatever its main thread does."""
    watched, held = os.pipe()
    process = subprocess.Popen(
        [sys.executable, "-c", WAITER],
        env={**os.environ, lifeline.VARIABLE: str(watched)},
        pass_fds=(watched,),
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    os.close(watched)
    assert process.stdout.readline() == "held\n"
    assert process.poll() is None
    os.close(held)
    assert process.wait(10) == 1
    process.stdout.close()


def test_without_a_pipe_nothing_is_watched(monkeypatch):
    """A replica started by hand lives on its own."""
    monkeypatch.delenv(lifeline.VARIABLE, raising=False)
    lifeline.hold()
