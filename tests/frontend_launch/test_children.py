"""Child processes: pinned from the start, with a log, and ended whatever they do."""

import asyncio
import errno
import os
import signal
import sys

import pytest
import uvloop

from frontend_launch import children
from frontend_launch.affinity import affinity
from frontend_launch.children import Command, start
from frontend_launch.errors import LaunchError

CORE = min(os.sched_getaffinity(0))
WAIT = "import threading; print('up', flush=True); threading.Event().wait()"
STUBBORN = f"import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN); {WAIT}"


def test_a_process_runs_on_its_cores_and_ends_when_told(tmp_path):
    """By SIGTERM."""

    async def scenario():
        process = await start(Command("p", ["-c", WAIT], (CORE,)), tmp_path, read_stdout=True)
        assert await process.stdout.readline() == b"up\n"
        assert affinity(process.pid) == (CORE,)
        await process.stop()
        return process.exited.result()

    assert uvloop.run(scenario()) == -signal.SIGTERM


@pytest.mark.parametrize("where", ["os.pipe", "frontend_launch.children.create_process", "pathlib.Path.open"])
def test_a_limit_of_open_files_is_one_line(tmp_path, monkeypatch, where):
    """Wherever it is met; what was opened until then is closed."""

    def refuse(*_arguments, **_named):
        raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))

    before = set(os.listdir("/proc/self/fd"))
    monkeypatch.setattr(where, refuse)
    with pytest.raises(LaunchError, match=r"^p cannot be started: [0-9]+ open files are too few; raise the limit"):
        uvloop.run(start(Command("p", ["-c", WAIT]), tmp_path))
    assert set(os.listdir("/proc/self/fd")) <= before  # files of another test may be closed meanwhile


def test_one_that_does_not_listen_is_killed(tmp_path, monkeypatch):
    """After the time it had."""
    monkeypatch.setattr(children, "STOP_TIMEOUT_S", 0.05)

    async def scenario():
        process = await start(Command("p", ["-c", STUBBORN]), tmp_path, read_stdout=True)
        await process.stdout.readline()
        await process.stop()
        return process.exited.result()

    assert uvloop.run(scenario()) == -signal.SIGKILL


def test_one_that_was_stopped_ends_by_the_same_signal(tmp_path):
    """A process that SIGSTOP holds takes SIGTERM when it goes on."""

    async def scenario():
        process = await start(Command("p", ["-c", WAIT]), tmp_path, read_stdout=True)
        await process.stdout.readline()
        os.kill(process.pid, signal.SIGSTOP)
        await process.stop()
        return process.exited.result()

    assert uvloop.run(scenario()) == -signal.SIGTERM


def test_the_tail_holds_the_log_and_standard_error(tmp_path):
    """Only the last lines."""
    code = "import sys; [print(n, file=sys.stderr) for n in range(100)]; sys.exit(3)"

    async def scenario():
        (tmp_path / "p.log").write_text("from its own log\n")
        process = await start(Command("p", ["-c", code]), tmp_path)
        assert await asyncio.wait_for(asyncio.shield(process.exited), 10) == 3
        tail = await process.log_tail(lines=2)
        await process.stop()
        return tail

    assert uvloop.run(scenario()) == "from its own log\n98\n99"


def test_what_cannot_be_started_is_one_line(tmp_path, monkeypatch):
    """It names the role."""
    monkeypatch.setattr(sys, "executable", "/no/such/python")
    with pytest.raises(LaunchError, match="p cannot be started"):
        uvloop.run(start(Command("p", []), tmp_path))
