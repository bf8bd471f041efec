"""Deployments that are processes, as `loadgen ps`, `logs` and `down` find them."""

import asyncio
import contextlib
import os
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from frontend_launch import scratch
from frontend_launch.errors import LaunchError, RequestError
from frontend_launch.launch import process_runs
from frontend_launch.launch.process_runs import FILE, GONE, LOGS, Kept, Part, listed, logs, remove
from model_containers import extras

DEADLINE_S = 60
FRONTENDS = Part("frontends", os.getpid(), "noop", "0", "", "request 4456", "http://127.0.0.1:1337")
PROGRAM = """
import os, signal, sys, threading
from frontend_launch import scratch
from frontend_launch.launch.process_runs import Kept, Part
wanted = {signal.SIGTERM}
signal.pthread_sigmask(signal.SIG_BLOCK, wanted)
with scratch.directory() as directory:
    Kept(directory, True).add(Part("frontends", os.getpid(), "noop", "0", ""))
    print("up", flush=True)
    signal.sigwait(wanted)
    if sys.argv[1:]:
        signal.sigwait(wanted)
"""


@pytest.fixture(autouse=True)
def alone(monkeypatch, tmp_path):
    """No deployment of another test is there."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))


@pytest.fixture
def program(tmp_path):
    """Another program with a deployment, which a first signal ends, or a second one."""
    started = []

    def start(*arguments):
        words = [sys.executable, "-c", PROGRAM, *arguments]
        environment = {**os.environ, "TMPDIR": str(tmp_path)}
        process = subprocess.Popen(words, env=environment, stdout=subprocess.PIPE, text=True)
        started.append(process)
        assert process.stdout is not None
        assert process.stdout.readline() == "up\n"
        return process

    yield start
    for process in started:
        process.kill()
        process.wait()
        if process.stdout is not None:
            process.stdout.close()


def test_what_is_up_is_listed():
    """With the program that started it, until it is taken down; one of another machine runs until its end is noted."""
    with scratch.directory() as directory:
        kept = Kept(directory, True)
        kept.add(FRONTENDS)
        kept.add(Part("replica-0", 1 << 30, "noop", "1-2", "0"))
        kept.add(Part("replica-0", (1 << 30) + 1, "noop", "1-2", "0"))
        elsewhere = Part("replica-1", 1 << 30, "noop", "3", "", node="other (10.0.0.2)", actor="a")
        kept.add(elsewhere)
        (run,) = listed()
        assert (run.name, run.stays, run.idle, run.cluster) == (f"pid-{os.getpid()}", True, True, "")
        assert [(part.role, run.state(part)) for part in run.parts] == [
            ("frontends", "running"),
            ("replica-0", "gone"),
            ("replica-1", "running"),
        ]
        kept.ended(elsewhere)
        (run,) = listed()
        assert run.state(run.parts[2]) == "gone"
        again = Part("replica-1", 1 << 30, "noop", "3", "", node="other (10.0.0.2)", actor="b")
        kept.add(again)
        kept.ended(elsewhere)
        (run,) = listed()
        assert run.parts[2] == again
    assert listed() == []


def test_a_program_that_was_killed_is_said_and_what_it_left_is_removed(program):
    """Whatever its processes are: they end by themselves."""
    process = program()
    process.kill()
    process.wait()
    (run,) = listed()
    assert (run.held, run.idle, run.state(run.parts[0])) == (False, True, GONE)
    assert asyncio.run(remove(run)) == f"pid-{process.pid}: frontends"
    assert listed() == []


def test_a_program_takes_its_deployment_down(program):
    """As with SIGTERM."""
    process = program()
    (run,) = listed()
    assert asyncio.run(remove(run)) == f"pid-{process.pid}: frontends"
    assert process.wait(DEADLINE_S) == 0
    assert not run.directory.exists()


def test_a_program_that_does_not_end_is_named(program, monkeypatch):
    """And what it has is left alone."""
    monkeypatch.setattr(process_runs, "END_TIMEOUT_S", 0.2)
    process = program("twice")
    (run,) = listed()
    with pytest.raises(LaunchError, match=f"pid-{process.pid}: process {process.pid} did not take the run down"):
        asyncio.run(remove(run))
    assert listed() == [run]
    process.send_signal(signal.SIGTERM)
    assert process.wait(DEADLINE_S) == 0


def test_no_other_file_is_one_of_a_deployment(tmp_path):
    """Nor one without the lock of a program."""
    left = tmp_path / "loadgen-left"
    left.mkdir()
    Kept(left, False).add(FRONTENDS)
    assert listed() == []
    with scratch.directory() as directory:
        for text in ("{", "[]", '{"pid": 1}', '{"pid": 1, "parts": [{"x": 1}]}'):
            (directory / FILE).write_text(text)
            assert [run for run in listed() if run.directory == directory] == []


def test_a_full_disk_costs_the_note_only(monkeypatch, tmp_path):
    """Not the deployment."""

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "write_text", full)
    Kept(tmp_path, False).add(FRONTENDS)


def test_logs_of_a_cluster_need_its_extra(monkeypatch):
    """One line names it: the run was started by another installation."""
    monkeypatch.setitem(extras.MODULES, "ray", ("ray_is_not_here",))

    async def read(run):
        return [line async for line in logs(run, ["frontends"], follow=False)]

    with scratch.directory() as directory:
        kept = Kept(directory, True)
        kept.cluster = "10.0.0.1:6379"
        kept.add(FRONTENDS)
        (run,) = listed()
        with pytest.raises(RequestError) as refused:
            asyncio.run(read(run))
    problem = f"{run.name}: its logs are on a cluster, and need ray_is_not_here"
    assert str(refused.value) == f"{problem}; {extras.remedy('ray')}"


def test_logs_are_followed_until_the_program_ends(monkeypatch):
    """Each line once, with its role."""
    monkeypatch.setattr(process_runs, "FOLLOW_EVERY_S", 0)

    async def act(stack):
        directory = stack.enter_context(scratch.directory())
        Kept(directory, True).add(FRONTENDS)
        (directory / LOGS).mkdir()
        log = (directory / LOGS / "frontends.err").open("a", buffering=1)
        stack.callback(log.close)
        log.write("one\n")
        (run,) = listed()
        assert [line async for line in logs(run, ["frontends"], follow=False)] == [("frontends", "one")]
        found = []
        async for role, line in logs(run, ["frontends", "nobody"], follow=True):
            found.append((role, line))
            if len(found) == 1:
                log.write("two\n")
            else:
                stack.close()
        return found

    with contextlib.ExitStack() as stack:
        assert asyncio.run(act(stack)) == [("frontends", "one"), ("frontends", "two")]
