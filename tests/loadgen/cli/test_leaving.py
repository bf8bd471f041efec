"""The end of the program while a library still works in a thread: the end of the interpreter could crash under it."""

import subprocess
import sys

import pytest

ENDS = """
import asyncio, atexit, os, sys, threading
from frontend_launch.tasks import in_daemon
from loadgen import cli
from loadgen.cli import verbs

class Interpreter:
    def __del__(self, write=os.write):
        write(2, b", interpreter")

async def abandon(work):
    abandoned = asyncio.ensure_future(in_daemon(work))
    await asyncio.sleep(0)
    if sys.argv[1] == "done":
        await abandoned

def run(_):
    asyncio.run(abandon((lambda: None) if sys.argv[1] == "done" else threading.Event().wait))
    sys.exit(int(sys.argv[2]) if sys.argv[2:] else None)

until_the_end = Interpreter()
atexit.register(print, "last words", end="", file=sys.stderr)
verbs.run = run
print("a result", end="")
cli.main()
"""


@pytest.mark.parametrize(("work", "said"), [("hangs", "last words"), ("done", "last words, interpreter")])
@pytest.mark.parametrize("code", [6, None], ids=["failed", "succeeded"])
def test_a_program_ends_beside_work_that_hangs(work, said, code):
    """With its exit code, what it printed, and what it does at its exit."""
    command = [sys.executable, "-c", ENDS, work, *([] if code is None else [str(code)])]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (code or 0, "a result", said)
