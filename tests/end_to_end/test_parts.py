"""The frontends and a replica started by hand, as on several machines."""

import asyncio
import contextlib
import http.client
import json
import os
import shlex
import signal
import subprocess
import sys
from pathlib import Path

import program
import pytest
from program import ANY_PORTS

from frontend_launch.admin import AdminClient
from frontend_launch.errors import AdminError
from frontend_launch.ports import Ports
from model_containers import credentials
from model_containers.data_types import DataType

DEADLINE_S = 60
FRONTENDS = [sys.executable, "-m", "frontend_launch"]


@contextlib.contextmanager
def serving(*words):
    """Both frontends; gives their ports, and afterwards what they logged."""
    said: list[str] = []
    command = [*FRONTENDS, "serve", *ANY_PORTS, *words]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        try:
            yield Ports(**json.loads(process.stdout.readline())), said
        finally:
            process.terminate()
            said.append(process.communicate(timeout=DEADLINE_S)[1])


@pytest.mark.parametrize(
    ("words", "warned"),
    [
        (["--host", "127.0.0.1"], False),
        (["--host", "0.0.0.0"], True),
        (["--host", "0.0.0.0", "--insecure"], False),
    ],
    ids=["loopback", "all addresses", "as asked"],
)
def test_ports_that_other_machines_reach_are_warned_of(words, warned):
    """Unless that is what was asked."""
    with serving(*words) as (_, said):
        pass
    assert (f"--host {words[1]}: other machines reach these ports" in said[0]) is warned


def test_a_deployment_with_credentials(tmp_path):
    """Made by a verb; only a replica and a client that have them take part."""
    directory = tmp_path / "keys"
    subprocess.run([*FRONTENDS, "credentials", str(directory)], check=True, timeout=DEADLINE_S)
    client = credentials.read(directory / "clients.json")

    async def until_registered(port):
        async with AdminClient(f"http://127.0.0.1:{port}") as stranger:
            with pytest.raises(AdminError, match=r"bearer token of its deployment \(status 401\)"):
                await stranger.applications()
        async with AdminClient(f"http://127.0.0.1:{port}", token=client.token) as admin, asyncio.timeout(DEADLINE_S):
            await admin.register_model("noop", "1", DataType.FLOATS, batch_size=1)
            while not await admin.replicas("noop", "1"):  # noqa: ASYNC110 - another process's state
                await asyncio.sleep(0.02)
            return [replica.model_replica_id for replica in await admin.replicas("noop", "1")]

    with serving("--host", "0.0.0.0", "--credentials", str(directory / "frontends.json")) as (ports, said):
        command = [sys.executable, "-m", "model_containers", "serve", "noop", "--port", str(ports.replica)]
        processes = [
            subprocess.Popen([*command, *words], stdout=subprocess.DEVNULL)
            for words in ([], ["--credentials", str(directory / "clients.json")])
        ]
        try:
            assert asyncio.run(until_registered(ports.admin)) == [0]
        finally:
            for process in processes:
                process.terminate()
                process.wait(DEADLINE_S)
    assert "other machines" not in said[0]
    assert client.token not in said[0]


def test_a_deployment_that_serves_no_other_user(tmp_path):
    """On loopback: the command that is printed has the credentials, and who has none is not served."""
    words = ["up", "-m", "noop", "--runtime", "process", "--local-token", *ANY_PORTS]
    environment = {**os.environ, "TMPDIR": str(tmp_path)}  # no other test takes it down
    with subprocess.Popen([program.LOADGEN, *words], stdout=subprocess.PIPE, text=True, env=environment) as process:
        assert process.stdout is not None
        try:
            (command,) = (
                line for line in iter(process.stdout.readline, "serving until Ctrl-C\n") if "--connect" in line
            )
            given = shlex.split(command)[1:]
            path = Path(given[given.index("--credentials") + 1])
            port = given[given.index("--metrics-port") + 1]
            stranger = http.client.HTTPConnection("127.0.0.1", int(port), timeout=DEADLINE_S)
            stranger.request("GET", "/metrics")
            refused = stranger.getresponse()
            refused.close()
            stranger.close()
            load = program.measuring(tmp_path, *given, *program.BRIEFLY, "-d", "2")
            loaded = program.ran(load)
        finally:
            process.send_signal(signal.SIGINT)
    assert refused.status == 401
    assert loaded.returncode == 0, loaded.stderr
    results = json.loads(Path(loaded.stdout.splitlines()[-1].removeprefix("Saved results to ")).read_text())
    assert results["summary"]["completed"] > 0
    assert results["frontend_counters"]["replies"] > 0  # the metrics too
    assert any(sample["queue_length"] for sample in results["hardware"]["samples"])  # and the sampler's
    assert not path.exists()  # gone with the deployment


def test_the_wrong_file(tmp_path):
    """That of clients has no key for a server."""
    made = credentials.make()
    path = tmp_path / "clients.json"
    made.for_clients().write(path)
    done = subprocess.run(
        [*FRONTENDS, "serve", *ANY_PORTS, "--credentials", str(path)],
        capture_output=True,
        text=True,
        timeout=DEADLINE_S,
        check=False,
    )
    assert done.returncode == 1
    assert done.stderr == f"--credentials {path}: these are a client's; give those of frontends.json\n"


@pytest.mark.parametrize(
    ("option", "value", "said"),
    [
        ("--host", "::", "IPv6 is not supported; give an IPv4 address"),
        ("--host", "[::1]", "IPv6 is not supported; give an IPv4 address"),
        ("--allow-host", "gpu-box:1337", "not a name alone; leave out scheme, port and path"),
    ],
)
def test_a_host_that_frontends_cannot_use(option, value, said):
    """One line says so, before anything is bound."""
    done = subprocess.run(
        [*FRONTENDS, "serve", *ANY_PORTS, option, value],
        capture_output=True,
        text=True,
        timeout=DEADLINE_S,
        check=False,
    )
    assert done.returncode == 2
    assert done.stderr.endswith(f"{option}: {value!r}: {said}\n")
