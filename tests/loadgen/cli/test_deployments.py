"""``loadgen ps``: containers and processes."""

import asyncio
import contextlib
import os
import tempfile
from types import SimpleNamespace

from program import LOADGEN, asked

from frontend_launch import scratch
from frontend_launch.errors import LaunchError
from frontend_launch.launch.process_runs import Kept
from frontend_launch.launch.runs import ContainerInfo
from loadgen.cli import console
from loadgen.cli.deployments import _row
from loadgen.servers import deployment as servers


def test_processes_are_listed_without_an_engine(monkeypatch, tmp_path):
    """With their ports, or the heading alone where nothing runs; a line says that containers are not listed."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    monkeypatch.setenv("DOCKER_HOST", f"unix://{tmp_path}/no-engine")
    done = asked([LOADGEN, "ps"])
    assert (done.returncode, done.stdout.split()[0], done.stdout.count("\n")) == (0, "run", 1)
    assert done.stderr.startswith("loadgen: containers are not listed: no Docker engine answers")
    with scratch.directory() as directory:
        kept = Kept(directory)
        kept.add("frontends", os.getpid(), "noop", "0", None, "request 4456, response 4455")
        kept.add("replica-0", 7, "noop", "1", None, node="other (10.0.0.2)")
        done = asked([LOADGEN, "ps"])
    assert done.returncode == 0
    row = done.stdout.splitlines()[1].split(maxsplit=8)
    assert row[:7] == [f"pid-{os.getpid()}", "frontends", str(os.getpid()), "noop", "0", "-", "running"]
    assert row[-1].endswith("request 4456, response 4455")
    assert "7 on other (10.0.0.2)" in done.stdout.splitlines()[2]
    assert done.stderr.startswith("loadgen: containers are not listed: ")


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
