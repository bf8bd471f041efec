"""The network between client and query frontend, or between it and a replica, is cut for ten seconds."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import network
import program
import pytest
from network import Cable, process

CUT_S = 10.0
REGISTER = """
import asyncio, sys
from frontend_launch.admin import AdminClient
from model_containers.data_types import DataType

async def main(address, replicas):
    async with AdminClient(address) as admin, asyncio.timeout(60):
        await admin.register_application("noop", DataType.FLOATS, "TIMEOUT", 500_000)
        await admin.register_model("noop", "1", DataType.FLOATS, batch_size=16)
        await admin.link_model("noop", "noop")
        print("registered", flush=True)
        while len(await admin.replicas("noop", "1")) < replicas:
            await asyncio.sleep(0.05)

asyncio.run(main(sys.argv[1], int(sys.argv[2])))
"""


@contextlib.contextmanager
def serving(cable: Cable, ends: list[list[str]]) -> Iterator[dict[str, int]]:
    """A query frontend at the server's end, and a replica at each of some ends; gives the frontend's ports."""
    with contextlib.ExitStack() as stack:
        words = [sys.executable, "-m", "frontend_launch", "serve", *program.ANY_PORTS]
        words += ["--host", network.SERVER, "--insecure"]
        frontend = stack.enter_context(process([*cable.server, *words], stdout=subprocess.PIPE))
        assert frontend.stdout is not None
        ports: dict[str, int] = json.loads(frontend.stdout.readline())
        address = f"http://{network.SERVER}:{ports['admin']}"
        words = [*cable.server, sys.executable, "-c", REGISTER, address, str(len(ends))]
        with process(words, stdout=subprocess.PIPE) as registering:
            assert registering.stdout is not None
            assert registering.stdout.readline() == "registered\n"
            for end in ends:
                where = {"CLIPPER_IP": network.SERVER, "CLIPPER_PORT": str(ports["replica"])}
                replica = [*end, sys.executable, "-m", "model_containers", "serve", "noop"]
                stack.enter_context(process(replica, env=os.environ | where, stdout=subprocess.DEVNULL))
            assert registering.wait(60) == 0
        yield ports


def measured(cable: Cable, client: list[str], ports: dict[str, int], directory: Path, *options: str) -> dict[str, Any]:
    """The results of a run during which the cable is cut."""
    where = [f"--{name}-port={ports[name]}" for name in ("request", "response", "metrics", "admin")]
    words = ["saturate", "--connect", network.SERVER, "-m", "noop", *where, "--results-dir", str(directory)]
    words += ["--max-in-flight", "200", "--log-every", "500ms", "--no-ceiling", "--allow-invalid", *options]
    command = program.started([*client, program.LOADGEN, *words])
    try:
        cable.cut()
        time.sleep(CUT_S)
        cable.mend()
        said, complaint = command.communicate(timeout=program.DEADLINE_S)
    finally:
        command.kill()
        command.wait()
    assert command.returncode == 0, said + complaint
    (path,) = directory.glob("*.json")
    found: dict[str, Any] = json.loads(path.read_text())
    return found


@pytest.mark.parametrize("timeout", ["", "3s"], ids=["patient", "with a timeout"])
def test_a_client_goes_on_after_the_cut(tmp_path, timeout):
    """All that was outstanding is answered, or timed out as such; nothing is lost or answered twice."""
    options = ["-d", "20s", "--drain", "20s", *(["--timeout", timeout] if timeout else [])]
    with network.cable() as cable, serving(cable, [cable.server]) as ports:
        document = measured(cable, cable.client, ports, tmp_path, *options)
    summary = document["summary"]
    assert (document["ended"], document["error"]) == ("duration", None)
    assert summary["sent"] == summary["completed"] + summary["timed_out"]
    assert 0 < summary["timed_out"] <= 1000 if timeout else summary["timed_out"] == 0
    assert (summary["late"], summary["unexpected"]) == (summary["timed_out"], 0), "late is when all were answered"
    assert max(document["client_metrics"]["thrus"][-4:]) > 0, "it went on"


def test_a_replica_that_is_cut_off_is_set_aside_and_taken_back(tmp_path):
    """Its batch is served by the other."""
    with network.cable() as cable, serving(cable, [cable.server, cable.client]) as ports:
        document = measured(cable, cable.server, ports, tmp_path, "-d", "25s", "--drain", "20s")
    summary = document["summary"]
    assert summary["sent"] == summary["completed"]
    assert (summary["late"], summary["unexpected"]) == (0, 0)
    rows = document["frontend_counters"]["replicas"].values()
    assert sorted(row["hung_times"] for row in rows) == [0, 1]
    assert all(row["alive"] and not row["aside"] for row in rows)
    assert "1 of 2 replicas worked throughout" in document["verdict"]["text"]
