"""Containers for real: up, loaded, down, with nothing left; and everything that may go wrong on the way."""

import asyncio
import json
import os
import random
import re
import shlex
import signal
import subprocess
import sys
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from engine_proxy import EngineProxy
from program import ANY_PORTS, BRIEFLY

from frontend_launch.errors import LaunchError
from frontend_launch.launch import runs
from frontend_launch.launch.container import RUN_LABEL
from frontend_launch.launch.docker import DockerLauncher
from frontend_launch.launch.engine import engine
from frontend_launch.launch.launcher import DeploymentConfig
from frontend_launch.launch.placement import Assignment, Placement
from frontend_launch.ports import Ports
from model_containers import catalog

LOADGEN = str(Path(sys.executable).with_name("loadgen"))
PORTS = [*ANY_PORTS, "--redis-port=0"]
DOCKER = ["--runtime", "docker", "--model", "noop", *PORTS]
LOADED = ["--allow-invalid", "--no-ceiling", *BRIEFLY, "--log-every", "300ms"]
"""Other processes load the machine. Tests wait for the first line of measurements."""
MEASURED = [*DOCKER, *LOADED]
DEADLINE_S = 120
GUIDE = (Path(__file__).parents[2] / "docs" / "your-own-model.md").read_text()
CORE = min(os.sched_getaffinity(0))


def docker(*arguments):
    run = subprocess.run(["docker", *arguments], capture_output=True, text=True, timeout=60, check=False)
    assert run.returncode == 0, run.stderr
    return run.stdout.split()


def ours():
    """Containers and networks that loadgen made."""
    label = ["--filter", f"label={RUN_LABEL}"]
    return docker("ps", "--all", "--quiet", *label) + docker("network", "ls", "--quiet", *label)


def ran(*arguments):
    return subprocess.run([LOADGEN, *arguments], capture_output=True, text=True, timeout=DEADLINE_S, check=False)


def results_of(output):
    return json.loads(Path(output.splitlines()[-1].removeprefix("Saved results to ")).read_text())


@pytest.fixture(scope="module", autouse=True)
def own_directory(tmp_path_factory):
    """For directories of runs: other deployments of processes are not seen, and so neither meant nor taken down."""
    tmp_path_factory.getbasetemp()  # pytest makes its own when it is first asked, and needs it longer than this one
    with tempfile.TemporaryDirectory(prefix="docker-") as path, pytest.MonkeyPatch.context() as patch:
        patch.setenv("TMPDIR", path)
        patch.setattr(tempfile, "tempdir", path)
        yield


@pytest.fixture(scope="module", autouse=True)
def images(own_directory):
    """The images, from what is installed here."""
    built = ran("images", "build", "noop")
    assert built.returncode == 0, built.stderr


@pytest.fixture(autouse=True)
def nothing_left(images):
    """Nothing is there before, and nothing is left after each test: containers, networks, volumes, directories."""
    assert ours() == [], "a deployment is up, which these tests would take down: loadgen down --all"
    volumes = docker("volume", "ls", "--quiet")
    yield
    if left := ours():
        ran("down", "--all")
    assert left == []
    assert docker("volume", "ls", "--quiet") == volumes


def test_a_whole_deployment(tmp_path):
    """Redis, both frontends, two replicas: loaded through sockets, right answers, pinned as planned, taken down."""
    run = ran("saturate", *MEASURED, "-r", "2", "-d", "1", "--verify", "5", "--results-dir", str(tmp_path))
    assert run.returncode == 0, run.stderr
    results = results_of(run.stdout)
    assert results["answers"]["compared"] > results["answers"]["mismatched"] == 0
    assert {row["role"] for row in results["placement"]} == {
        *("client", "redis", "management", "query", "replica-0", "replica-1")
    }
    assert results["clipper_metrics"]["counters"]
    logs = next(tmp_path.glob("*.logs"))
    assert "registered as noop:1" in (logs / "replica-0.log").read_text()
    assert (logs / "redis.log").exists()
    assert "Ready to accept connections" in (logs / "redis.log").read_text()
    directories = re.findall(r"loadgen-[0-9a-f]{8}-\w+", " ".join(os.listdir(tempfile.gettempdir())))
    assert directories == []


def test_several_query_frontends(tmp_path):
    """Over one Redis: each with its own replicas and sockets, and both are known to the management frontend."""
    two = ("-r", "2", "--frontends", "2", "--allow-overlap")
    run = ran("saturate", *MEASURED, *two, "-d", "1", "--verify", "5", "--results-dir", str(tmp_path))
    assert run.returncode == 0, run.stderr
    results = results_of(run.stdout)
    assert results["answers"]["compared"] > results["answers"]["mismatched"] == 0
    assert {row["role"] for row in results["placement"]} == {
        *("client", "redis", "management", "query-0", "query-1", "replica-0", "replica-1")
    }
    assert {name: row["queries"] > 0 for name, row in results["frontend_counters"]["replicas"].items()} == {
        "noop:1:0": True,
        "noop:1:1": True,
    }
    brought = ran("up", *DOCKER, *two)
    assert brought.returncode == 0, brought.stderr
    for command in brought.stdout.splitlines()[-2:]:
        load = ran(*command.split()[1:], *LOADED, "-d", "1", "--results-dir", str(tmp_path))
        assert load.returncode == 0, load.stderr
        assert "proxy" not in load.stdout
    assert ran("down").stdout.count("removed directory") == 1


def test_a_deployment_that_stays(tmp_path):
    """up, ps, logs, metrics, saturate --connect through its sockets, down."""
    brought = ran("up", *DOCKER)
    assert brought.returncode == 0, brought.stderr
    command = brought.stdout.splitlines()[-1].split()
    # Other tests may have processes, whose rows begin with pid-.
    listed = [line for line in ran("ps").stdout.splitlines()[1:] if not line.startswith("pid-")]
    assert [line.split()[1] for line in listed] == ["management", "query", "redis", "replica-0"]
    assert all(" running " in line for line in listed)
    run_id = listed[0].split()[0]
    assert "replica noop:1:0 (replica-0) registered" in ran("logs", "--role", "query").stdout
    assert "model:noop:1" in ran("metrics", run_id).stdout
    assert json.loads(ran("metrics", "--counters").stdout)["models"]["noop:1"]["max_batch"] == 2
    for _ in range(2):
        load = ran(*command[1:], *LOADED, "-d", "1", "--results-dir", str(tmp_path))
        assert load.returncode == 0, load.stderr
        assert "proxy" not in load.stdout
        assert results_of(load.stdout)["summary"]["left_behind"] == 0
    assert ran("logs", "--role", "nobody").returncode == 2
    assert ran("down", "nowhere").returncode == 2
    removed = ran("down").stdout
    assert removed.count("removed container") == 4
    assert "removed network clipper_network" in removed
    assert "removed directory" in removed


def test_what_goes_through_the_engine_s_proxy_is_said(tmp_path):
    """When the sockets cannot be had; in the notes and in the verdict."""
    command = ran("up", *DOCKER).stdout.splitlines()[-1].split()
    for directory in Path(tempfile.gettempdir()).glob("loadgen-????????-*/sockets"):
        directory.rename(directory.with_name("hidden"))
    results = results_of(ran(*command[1:], *LOADED, "-d", "3", "--results-dir", str(tmp_path)).stdout)
    assert any("proxy process" in note for note in results["notes"])
    assert "proxy process" in results["verdict"]["text"]
    ran("down")


def test_fences(tmp_path):
    """Not root, nothing to write to, no capabilities, no new ones, limits; ports on this machine only."""
    ran("up", *DOCKER)
    for name in docker("ps", "--quiet", "--filter", f"label={RUN_LABEL}"):
        (shown,) = json.loads("".join(docker("inspect", "--format", "[{{json .}}]", name)))
        host, config = shown["HostConfig"], shown["Config"]
        assert config["User"].split(":")[0] not in ("", "0", "root")
        assert (host["ReadonlyRootfs"], host["CapDrop"], host["SecurityOpt"]) == (True, ["ALL"], ["no-new-privileges"])
        assert host["Memory"] == host["MemorySwap"] > 0
        assert host["PidsLimit"] == 512
        assert host["LogConfig"]["Config"] == {"max-size": "10m", "max-file": "2"}
        assert {where["HostIp"] for bound in host["PortBindings"].values() for where in bound} <= {"127.0.0.1"}
        assert config["Labels"]["ai.clipper.container.label"] == ""
    ran("down")


def test_redis_is_for_its_frontends(tmp_path):
    """Its port is published only where that is asked; in its network it wants a password, which no process list has."""
    unpublished = [word for word in DOCKER if not word.startswith("--redis-port")]
    assert ran("up", *unpublished).returncode == 0
    (redis,) = docker("ps", "--quiet", "--filter", "label=loadgen.role=redis")
    (shown,) = json.loads("".join(docker("inspect", "--format", "[{{json .}}]", redis)))
    run = shown["Config"]["Labels"][RUN_LABEL]
    assert shown["NetworkSettings"]["Ports"] in ({}, {"6379/tcp": None})
    assert shown["Name"] == f"/redis-{run}"
    assert list(shown["NetworkSettings"]["Networks"]) == [f"clipper_network-{run}"]
    asked = ("redis-cli", "-h", f"redis-{run}", "-p", "6380", "ping")
    assert docker("run", "--rm", "--network", f"clipper_network-{run}", "redis:7-bookworm", *asked)[0] == "NOAUTH"
    (password,) = (text.partition("=")[2] for text in shown["Config"]["Env"] if text.startswith("REDISCLI_AUTH="))
    assert len(password) > 40
    assert password not in " ".join(docker("top", redis, "-eo", "pid,args"))
    ran("down")


def test_a_deployment_that_other_machines_reach(tmp_path):
    """On the address that was named; only clients with the credentials are served."""
    brought = ran("up", *DOCKER, "--publish-address", "127.0.0.2", "--local-token")
    assert brought.returncode == 0, brought.stderr
    command = shlex.split(brought.stdout.splitlines()[-1])
    assert command[command.index("--connect") + 1] == "127.0.0.2"
    (query,) = docker("ps", "--quiet", "--filter", "label=loadgen.role=query")
    (bound,) = json.loads("".join(docker("inspect", "--format", "[{{json .HostConfig.PortBindings}}]", query)))
    assert {where["HostIp"] for places in bound.values() for where in places} == {"127.0.0.2"}
    load = ran(*command[1:], *LOADED, "-d", "1", "--results-dir", str(tmp_path))
    assert load.returncode == 0, load.stderr
    assert results_of(load.stdout)["summary"]["completed"] > 0
    assert "model:noop:1" in ran("metrics").stdout
    port = command[command.index("--metrics-port") + 1]
    assert "(status 401)" in ran("metrics", "--host", "127.0.0.2", "--metrics-port", port).stderr
    ran("down")


def test_a_replica_that_is_killed_under_load_loses_nothing(tmp_path):
    """Its batch is answered by the other; the run says so and goes on."""
    arguments = ["saturate", *MEASURED, "-r", "2", "-d", "4", "--verify", "1", "--results-dir", str(tmp_path)]
    process = subprocess.Popen([LOADGEN, *arguments], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert process.stdout is not None
    lines = iter(process.stdout.readline, "")
    assert any("p99: " in line for line in lines)
    victim = docker("ps", "--quiet", "--filter", "label=loadgen.role=replica-0")
    docker("kill", *victim)
    out, err = process.communicate(timeout=DEADLINE_S)
    assert process.returncode == 0, err
    assert "replica-0 ended with exit code 137; 1 replica goes on" in out
    results = results_of(out)
    summary = results["summary"]
    assert summary["defaulted"] == summary["failed"] == results["answers"]["mismatched"] == 0
    assert summary["completed"] + summary["abandoned"] == summary["sent"]


def test_redis_that_ends_under_load_loses_nothing(tmp_path):
    """Queries are served by what the query frontend knows."""
    arguments = ["saturate", *MEASURED, "-d", "4", "--results-dir", str(tmp_path)]
    process = subprocess.Popen([LOADGEN, *arguments], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert process.stdout is not None
    lines = iter(process.stdout.readline, "")
    assert any("p99: " in line for line in lines)
    docker("kill", *docker("ps", "--quiet", "--filter", "label=loadgen.role=redis"))
    out, err = process.communicate(timeout=DEADLINE_S)
    assert process.returncode == 0, err
    results = results_of(out)
    assert "redis ended with exit code 137; queries are served without it" in results["notes"]
    summary = results["summary"]
    assert summary["completed"] + summary["abandoned"] == summary["sent"]


def test_the_engine_going_away_under_load_ends_the_run(tmp_path, monkeypatch):
    """In one line and with its own code; what was measured is kept, and the label finds the containers later."""
    proxy = EngineProxy(tmp_path / "engine.sock")
    monkeypatch.setenv("DOCKER_HOST", proxy.url)
    arguments = ["saturate", *MEASURED, "-d", "60", "--results-dir", str(tmp_path / "results")]
    process = subprocess.Popen([LOADGEN, *arguments], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stderr is not None
    try:
        lines = iter(process.stdout.readline, "")
        assert any("p99: " in line for line in lines), process.stderr.read()
    finally:
        proxy.close()
    out, err = process.communicate(timeout=DEADLINE_S)
    assert process.returncode == 6, err
    assert "the Docker engine went away" in err.splitlines()[-1]
    assert "Traceback" not in err
    results = results_of(out)
    assert results["ended"] == "server_lost"
    assert results["summary"]["measured"]["completed"] > 0
    monkeypatch.delenv("DOCKER_HOST")
    assert "removed container" in ran("down", "--all").stdout
    assert ours() == []


def test_a_model_of_one_s_own_in_a_container(tmp_path):
    """As the guide says."""
    for block in re.findall(r"```(?:python|dockerfile)\n(.*?)```", GUIDE, re.DOTALL):
        name = match[1] if (match := re.match(r"# (\S+)", block)) else "Dockerfile"
        (tmp_path / name).write_text(block)
    docker("build", "--quiet", "--tag", "linear", str(tmp_path))
    try:
        (line,) = re.findall(
            r"^loadgen (saturate --model linear:Projection --runtime docker.*) --duration", GUIDE, re.M
        )
        command = [LOADGEN, *line.split(), *PORTS, "--allow-invalid", *BRIEFLY, "-d", "1", "--verify", "5"]
        run = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=DEADLINE_S, check=False)
        assert run.returncode == 0, run.stderr
        answers = results_of(run.stdout)["answers"]
        assert answers["compared"] > answers["mismatched"] == 0
    finally:
        docker("rmi", "linear")


@pytest.mark.parametrize(
    ("role", "text", "alive"),
    [
        ("replica-0", "replica-0, the last replica, ended with exit code 137", "0 of 1; gone: noop:1:0 (replica-0)"),
        ("query", "query ended with exit code 137", "1 of 1"),
    ],
)
def test_a_part_that_nothing_goes_on_without_ends_the_run(tmp_path, role, text, alive):
    """With its log, and what was measured, which is not valid."""
    arguments = ["saturate", *MEASURED, "-d", "60", "--results-dir", str(tmp_path)]
    process = subprocess.Popen([LOADGEN, *arguments], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert process.stdout is not None
    lines = iter(process.stdout.readline, "")
    assert any("p99: " in line for line in lines)
    docker("kill", *docker("ps", "--quiet", "--filter", f"label=loadgen.role={role}"))
    out, err = process.communicate(timeout=DEADLINE_S)
    assert process.returncode == 6
    assert text in err
    results = results_of(out)
    assert results["summary"]["completed"] > 0
    found = {check["name"]: check["measured"] for check in results["certificate"]}
    assert (found["run complete"], found["replicas alive"]) == (text, alive)


@pytest.mark.parametrize("until_line", ["redis: container", "query ready", "p99: "])
def test_ctrl_c_at_any_time_leaves_nothing(tmp_path, until_line):
    """Exit code 130; the fixture looks."""
    arguments = ["saturate", *MEASURED, "-d", "60", "--results-dir", str(tmp_path)]
    process = subprocess.Popen(
        [LOADGEN, *arguments], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True
    )
    assert process.stdout is not None
    lines = iter(process.stdout.readline, "")
    assert any(until_line in line for line in lines)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=DEADLINE_S)
    assert process.returncode == 130
    assert "Traceback" not in err


def test_a_killed_run_is_found_by_its_label_and_nothing_else_is_touched(tmp_path):
    """A foreign container and a foreign network stay."""
    foreign = docker("run", "--detach", "--label", "somebody=else", "redis:7-bookworm", "redis-server")[0]
    network = docker("network", "create", "--label", "somebody=else", "somebodys_network")[0]
    try:
        process = subprocess.Popen(
            [LOADGEN, "saturate", *MEASURED, "-d", "60", "--results-dir", str(tmp_path)],
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )
        assert process.stdout is not None
        lines = iter(process.stdout.readline, "")
        assert any("p99: " in line for line in lines)
        process.kill()
        process.wait(10)
        process.stdout.close()
        assert len(ours()) == 5
        removed = ran("down", "--all").stdout
        assert removed.count("removed container") == 4
        assert ours() == []
        assert foreign[:12] in docker("ps", "--quiet")
        assert network[:12] in docker("network", "ls", "--quiet")
    finally:
        docker("rm", "--force", "--volumes", foreign)
        docker("network", "rm", network)


def launched(placement, **changes):
    """Start frontends and replicas through a launcher, and take everything down."""
    config = DeploymentConfig(
        model=catalog.describe("noop"), model_name="noop", placement=placement, max_batch=2, ports=Ports(*[0] * 6)
    )
    config = replace(config, **changes)

    async def scenario():
        async with DockerLauncher(config) as launcher, asyncio.timeout(DEADLINE_S):
            parts: list[Any] = []
            (endpoint,) = await launcher.start_frontends(parts.append)
            for assignment in placement.replicas:
                parts.append(await launcher.start_replica(assignment, endpoint))
            return {part.role: part.name for part in parts}

    return asyncio.run(scenario())


def placement_of(gpu=None):
    roles = ("redis", "management", "query", "replica-0")
    return Placement(
        tuple(Assignment("here", role, (CORE,), gpu if "replica" in role else None, shared=True) for role in roles)
    )


def test_a_stopped_container_of_the_same_name_is_no_obstacle(monkeypatch):
    """Another name is taken."""
    taken = docker("create", "--name", "mgmt_frontend-7", "redis:7-bookworm")[0]
    numbers = iter([*[7] * 2, *range(100, 200)])
    monkeypatch.setattr(random, "randrange", lambda _: next(numbers))
    try:
        names = launched(placement_of())
    finally:
        docker("rm", "--force", "--volumes", taken)
    assert re.fullmatch(r"mgmt_frontend-1\d\d", names["management"])


def test_a_gpu_that_the_engine_does_not_have_is_one_line():
    """The request reaches the engine, which refuses it; the refusal says what to do."""
    subprocess.run(["docker", "tag", "model-comp/noop", "model-comp/noop:gpu"], check=True)
    try:
        with pytest.raises(LaunchError, match=r"replica-0: the engine cannot hand out GPUs .*--gpus none"):
            launched(placement_of(gpu=0))
    finally:
        subprocess.run(["docker", "rmi", "model-comp/noop:gpu"], capture_output=True, check=True)


def test_a_missing_image_is_one_line(tmp_path):
    """Before anything is started, with the command that makes it."""
    run = ran("saturate", *MEASURED, "--image", "nobody/nothing", "--results-dir", str(tmp_path))
    assert run.returncode == 4
    assert run.stderr == "loadgen: image nobody/nothing: does not exist; run loadgen images build\n"


def test_a_port_in_use_is_one_line(tmp_path):
    """With the engine's words, and everything else taken down."""
    busy = docker("run", "--detach", "--publish", "127.0.0.1::6379", "redis:7-bookworm", "redis-server")[0]
    try:
        port = docker("port", busy, "6379")[0].rpartition(":")[2]
        flags = [flag for flag in DOCKER if not flag.startswith("--admin")]
        run = ran("saturate", "--no-ceiling", *flags, "--admin-port", port, "--results-dir", str(tmp_path))
    finally:
        docker("rm", "--force", "--volumes", busy)
    assert run.returncode == 4
    assert "a port is in use" in run.stderr.splitlines()[-1]


def test_without_an_engine_is_one_line(tmp_path, monkeypatch):
    """For each verb that wants one."""
    monkeypatch.setenv("DOCKER_HOST", f"unix://{tmp_path}/nothing.sock")
    runtime, none = "--runtime docker", "RUN: no deployment of processes; containers are not listed"
    for arguments, option in (
        (["saturate", *MEASURED], runtime),
        (["up", *DOCKER], runtime),
        (["down"], none),
        (["logs"], none),
        (["metrics"], none),
        (["logs", "abc"], "abc: no such run of processes; containers are not listed"),
        (["down", "--all"], "--all: containers are not removed"),
    ):
        run = ran(*arguments)
        assert run.returncode == 4
        assert run.stderr.startswith(f"loadgen: {option}: no Docker engine answers: ")
        assert run.stderr.endswith("; start one, or name it in DOCKER_HOST\n")
        assert len(run.stderr.splitlines()) == 1


def test_the_engine_answers():
    """What the other tests rest on."""

    async def scenario():
        async with engine() as docker_engine:
            return await runs.containers(docker_engine)

    assert asyncio.run(scenario()) == []
