"""The supervisor of a process on a node of a cluster, without a cluster."""

from __future__ import annotations

import asyncio
import os
import pickle
from contextlib import asynccontextmanager

import pytest

from frontend_launch import supervision
from frontend_launch.affinity import affinity, pin
from frontend_launch.children import Command
from frontend_launch.errors import LaunchError
from frontend_launch.launch import supervisor
from frontend_launch.launch.supervisor import ProcessSupervisor, node_report
from frontend_launch.supervision import ANSWER_BYTES, own_version

SERVES = """
import os, sys, time
with open(os.environ["LOADGEN_LOG_FILE"], "w") as log:
    log.write("a line")
print("an error", file=sys.stderr, flush=True)
print("ready", flush=True)
time.sleep(600)
"""


@pytest.fixture(autouse=True)
def _same_cores():
    before = os.sched_getaffinity(0)
    yield
    pin(os.getpid(), before)


@asynccontextmanager
async def supervised(code: str, ended: asyncio.Event | None = None):
    made = ProcessSupervisor((ended or asyncio.Event()).set)
    core = min(os.sched_getaffinity(0))
    pid = await made.start(Command("replica-0", ["-c", code], (core,), {"NAME": "value"}), True)
    try:
        yield made, pid
    finally:
        await made.close()


def test_a_long_log_is_handed_over_in_pieces(monkeypatch):
    """As it was when its size was asked for."""
    monkeypatch.setattr("frontend_launch.launch.supervisor.ANSWER_BYTES", 4)

    async def act() -> None:
        async with supervised(SERVES) as (made, _):
            await made.first_line()
            size = (await made.logs())["replica-0.err"]
            pieces = [await made.log_piece("replica-0.err", begin) for begin in range(0, size, 4)]
            assert pieces == [b"an e", b"rror", b"\n"]

    asyncio.run(act())


UNREADABLE = """
import os
with open(os.environ["LOADGEN_LOG_FILE"], "wb") as log:
    log.write(b"\\xff\\n" * 50_000)
print("ready", flush=True)
"""


def test_lines_of_a_log_are_handed_over_in_answers_that_ray_carries_by_itself():
    """Whatever the log has."""

    async def act() -> None:
        async with supervised(UNREADABLE) as (made, _):
            await made.first_line()
            read: dict[int, int] = {}
            lines, answers = 0, 0
            while (found := await made.log_added(read)).lines:
                assert len(pickle.dumps(found)) <= ANSWER_BYTES
                lines, answers, read = lines + len(found.lines), answers + 1, found.read
            assert (lines, answers) == (50_000, 5)

    asyncio.run(act())


def test_a_process_is_started_watched_and_ended():
    """On its core; its logs are handed over, and nothing is left."""

    async def act() -> None:
        async with supervised(SERVES) as (made, pid):
            assert await made.first_line() == b"ready\n"
            assert await made.cores() == affinity(pid) == (min(os.sched_getaffinity(0)),)
            assert await made.exit_code(0) is None
            assert await made.logs() == {"replica-0.err": 9, "replica-0.log": 6}
            assert await made.log_piece("replica-0.err", 0) == b"an error\n"
            assert await made.log_piece("replica-0.err", 9) == b""
            assert await made.log_tail(1) == "a line\nan error"
            assert await made.gpus() == os.environ.get("CUDA_VISIBLE_DEVICES", "")
        assert affinity(pid) == ()

    asyncio.run(act())


@pytest.mark.parametrize("there", [True, False], ids=["there", "not there"])
def test_a_process_runs_in_the_directory_of_its_command(tmp_path, there):
    """Where this machine has it: files have the same names on both."""

    async def act() -> None:
        made = ProcessSupervisor(asyncio.Event().set)
        directory = tmp_path if there else tmp_path / "elsewhere"
        await made.start(Command("replica-0", ["-c", "import os; print(os.getcwd())"], (), {}, str(directory)), True)
        try:
            expected = str(tmp_path) if there else os.getcwd()
            assert (await made.first_line()).decode().strip() == expected
        finally:
            await made.close()

    asyncio.run(act())


def test_an_exit_code_is_told_as_soon_as_it_is_known():
    """However long the question may take."""

    async def act() -> None:
        async with supervised("raise SystemExit(7)") as (made, _):
            assert await made.exit_code(600) == 7

    asyncio.run(act())


def test_without_a_launcher_the_process_ends(monkeypatch):
    """And the supervisor with it."""
    monkeypatch.setattr(supervision, "LEASE_S", 0.01)

    async def act() -> None:
        ended = asyncio.Event()
        async with supervised(SERVES, ended) as (_, pid):
            await ended.wait()
            assert affinity(pid) == ()

    asyncio.run(act())


def test_without_its_node_the_process_ends(monkeypatch):
    """The manager of the node was the parent."""
    monkeypatch.setattr(supervision, "PARENT_EVERY_S", 0)

    async def act() -> None:
        ended = asyncio.Event()
        async with supervised(SERVES, ended):
            monkeypatch.setattr(os, "getppid", lambda: -1)
            await ended.wait()

    asyncio.run(act())


def test_an_end_without_a_launcher_is_no_exit_of_the_process(monkeypatch):
    """The launcher finds the supervisor gone: neither a pending question nor a new one has an answer."""
    monkeypatch.setattr(supervision, "PARENT_EVERY_S", 0)

    async def act() -> None:
        ended = asyncio.Event()
        async with supervised(SERVES, ended) as (made, _):
            questions = [asyncio.create_task(made.exit_code(600))]
            monkeypatch.setattr(os, "getppid", lambda: -1)
            await ended.wait()
            questions.append(asyncio.create_task(made.exit_code(0)))
            for _ in range(20):  # passes of the loop, of which an answer would take a few
                await asyncio.sleep(0)
            assert not any(question.done() for question in questions)
            for question in questions:
                question.cancel()

    asyncio.run(act())


def test_a_process_that_cannot_be_started(monkeypatch):
    """Is told to the launcher."""

    async def refuse(*_: object, **__: object) -> None:
        raise LaunchError("replica-0 cannot be started: no")

    monkeypatch.setattr(supervisor, "start", refuse)

    async def act() -> None:
        with pytest.raises(LaunchError, match="cannot be started"):
            async with supervised(""):
                pass

    asyncio.run(act())


def test_a_node_reports_what_the_cluster_hands_out():
    """As many cores, and the version of loadgen."""
    report = node_report(1, 0)
    assert (len(report.topology.cores), report.topology.gpus, report.version) == (1, (), own_version())


def test_a_process_finds_the_modules_of_its_supervisor(tmp_path, monkeypatch):
    """Which a cluster may have given it by its module path only."""
    (tmp_path / "carried.py").write_text("print('carried')")
    monkeypatch.syspath_prepend(tmp_path)

    async def act() -> None:
        async with supervised("import carried") as (made, _):
            assert await made.first_line() == b"carried\n"

    asyncio.run(act())
