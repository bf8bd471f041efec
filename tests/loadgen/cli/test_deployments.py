"""``loadgen ps|logs|metrics|down``: containers and processes."""

import asyncio
import contextlib
import os
import tempfile
from types import SimpleNamespace

import pytest
from program import LOADGEN, asked

from frontend_launch import scratch
from frontend_launch.errors import LaunchError
from frontend_launch.launch.process_runs import LOGS, Kept, Part
from frontend_launch.launch.runs import ContainerInfo
from loadgen.cli import console
from loadgen.cli.deployments import _row
from loadgen.servers import deployment as servers
from model_containers import extras


def test_processes_are_listed_without_an_engine(monkeypatch, tmp_path):
    """With their ports, or the heading alone where nothing runs; a line says that containers are not listed."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    monkeypatch.setenv("DOCKER_HOST", f"unix://{tmp_path}/no-engine")
    done = asked([LOADGEN, "ps"])
    assert (done.returncode, done.stdout.split()[0], done.stdout.count("\n")) == (0, "run", 1)
    assert done.stderr.startswith("loadgen: containers are not listed: no Docker engine answers")
    with scratch.directory() as directory:
        kept = Kept(directory, True)
        kept.add(Part("frontends", os.getpid(), "noop", "0", "", "request 4456, response 4455"))
        kept.add(Part("replica-0", 7, "noop", "1", "", node="other (10.0.0.2)", actor="a"))
        done = asked([LOADGEN, "ps"])
    assert done.returncode == 0
    row = done.stdout.splitlines()[1].split(maxsplit=8)
    assert row[:7] == [f"pid-{os.getpid()}", "frontends", str(os.getpid()), "noop", "0", "-", "running"]
    assert row[-1].endswith("request 4456, response 4455")
    assert "7 on other (10.0.0.2)" in done.stdout.splitlines()[2]
    assert done.stderr.startswith("loadgen: containers are not listed: ")


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["down"], "RUN: no deployment of processes; containers are not listed"),
        (["logs"], "RUN: no deployment of processes; containers are not listed"),
        (["metrics", "abc"], "abc: no such run of processes; containers are not listed"),
        (["down", "--all"], "--all: containers are not removed"),
        (["up", "-m", "noop"], "--runtime docker"),
    ],
)
def test_without_an_engine_what_was_asked_is_said_first(monkeypatch, tmp_path, words, said):
    """With what the engine's client says, and the remedy."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    monkeypatch.setenv("DOCKER_HOST", f"unix://{tmp_path}/no-engine")
    done = asked([LOADGEN, *words])
    assert done.returncode == 4
    assert done.stderr.startswith(f"loadgen: {said}: no Docker engine answers: ")
    assert done.stderr.endswith("; start one, or name it in DOCKER_HOST\n")


def test_a_missing_extra_is_said_before_a_plan(monkeypatch, tmp_path):
    """Of `up`, whose plan is logged; the option is named."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(extras, "missing", lambda name: ("aiodocker",) if name == "docker" else ())
    done = asked([LOADGEN, "up", "-m", "noop"])
    said = f"loadgen: --runtime docker: needs aiodocker; {extras.remedy('docker')}\n"
    assert (done.returncode, done.stdout, done.stderr) == (2, "", said)


@pytest.fixture
def processes(monkeypatch, tmp_path):
    """A run of processes of this program, and no engine; gives its directory."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    monkeypatch.setenv("DOCKER_HOST", f"unix://{tmp_path}/no-engine")
    with scratch.directory() as directory:
        (directory / LOGS).mkdir()
        (directory / LOGS / "frontends.err").write_text("a line\n")
        (directory / LOGS / "replica-0.log").write_text("another\n")
        yield directory


def kept(directory, stays):
    file = Kept(directory, stays)
    for role in ("frontends", "replica-0"):
        file.add(Part(role, os.getpid(), "noop", "0", ""))


def test_logs_of_processes(processes):
    """Of the only run, of one that is named, and of one role."""
    kept(processes, True)
    assert asked([LOADGEN, "logs"]).stdout == "frontends  a line\nreplica-0  another\n"
    assert asked([LOADGEN, "logs", f"pid-{os.getpid()}", "--role", "replica-0"]).stdout == "replica-0  another\n"
    done = asked([LOADGEN, "logs", "--role", "nobody"])
    assert (done.returncode, "--role nobody: not a role of the run" in done.stderr) == (2, True)
    done = asked([LOADGEN, "metrics"])
    assert (done.returncode, "the run has no query frontend that runs" in done.stderr) == (2, True)


def test_a_measurement_is_meant_only_where_it_is_named(processes):
    """It ends by itself, and no `down --all` ends it."""
    kept(processes, False)
    assert asked([LOADGEN, "logs"]).returncode == 4
    assert asked([LOADGEN, "down", "--all"]).returncode == 4
    assert asked([LOADGEN, "logs", f"pid-{os.getpid()}"]).returncode == 0
    assert processes.exists()


def test_the_ports_of_a_container():
    """Are those of this machine, under their names."""
    ports = {4456: 40001, 7000: 40002, 6380: 1}
    found = ContainerInfo("run", "query", "query", "image", "0", "", "running", None, ports, "", "127.0.0.1")
    assert _row(found)[-2:] == ("-", "request 40001, replica 40002")


def test_a_deployment_that_stays_ends_when_it_is_lost(monkeypatch):
    """Rather than serve nothing until Ctrl-C."""

    @contextlib.asynccontextmanager
    async def up(_):
        failed = asyncio.Event()
        failed.set()
        failure = LaunchError("frontends ended with exit code 1")
        yield SimpleNamespace(endpoints=[], credentials_file=None, failed=failed, failure=failure)

    monkeypatch.setattr(servers, "up", up)
    monkeypatch.setattr(console, "set_up_logging", lambda *_: None)
    done = asked([LOADGEN, "up", "-m", "noop", "--runtime", "process"])
    assert (done.returncode, done.stdout) == (4, "serving until Ctrl-C\n")
    assert done.stderr == "loadgen: frontends ended with exit code 1\n"
