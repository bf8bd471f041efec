"""Images built by an installed program, far from any checkout, on a real engine."""

import asyncio
import contextlib
import io
import json
import shutil
import signal
import subprocess
import sys
import sysconfig
import tarfile
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import program
import pytest
from peers import Client

from frontend_launch.admin import AdminClient
from frontend_launch.errors import ImageError
from frontend_launch.launch import images
from frontend_launch.launch.engine import engine
from model_containers.data_types import DataType

NOOP = "model-comp/noop"
CHECKOUT = Path(__file__).parents[2]
FOLDERS = ("loadgen", "frontend_launch", "model_containers", "docs")
FILES = ("pyproject.toml", "constraints.txt", "LICENSE")
LOOK_INSIDE = """
import importlib.util, json, os, shutil, sys
print(json.dumps({
    "uid": os.getuid(),
    "here": sorted(os.listdir(".")),
    "modules": [name for name in ("frontend_launch", "loadgen", "aiohttp", "typer", "tensorflow")
                if importlib.util.find_spec(name)],
    "compilers": [name for name in ("gcc", "cc", "make") if shutil.which(name)],
    "compiled": os.path.isdir("packages/model_containers/__pycache__"),
    "flags": [sys.dont_write_bytecode, os.environ["PYTHONUNBUFFERED"], sys.flags.safe_path, os.getcwd() in sys.path],
}))
"""


def command(*arguments, cwd=None, timeout=120):
    return subprocess.run(arguments, capture_output=True, text=True, cwd=cwd, timeout=timeout, check=False)


@pytest.fixture(scope="module")
def loadgen(tmp_path_factory):
    """The command of a wheel installed into a virtual environment, run from an empty directory."""
    scratch = tmp_path_factory.mktemp("wheel")
    source = scratch / "source"
    source.mkdir()
    for name in FOLDERS:  # a copy, since building leaves files behind
        shutil.copytree(CHECKOUT / name, source / name, symlinks=True)
    for name in FILES:
        shutil.copy(CHECKOUT / name, source / name)
    environment = scratch / "environment"
    pip = (sys.executable, "-m", "pip", "--disable-pip-version-check")
    for step in (
        (sys.executable, "-m", "venv", "--without-pip", environment),
        (*pip, "wheel", "--quiet", "--no-deps", "--wheel-dir", scratch, source),
    ):
        done = command(*step)
        assert done.returncode == 0, done.stderr
    (wheel,) = scratch.glob("*.whl")
    done = command(*pip, "--python", environment, "install", "--quiet", "--no-deps", wheel)
    assert done.returncode == 0, done.stderr
    (packages,) = environment.glob("lib/*/site-packages")
    # Dependencies are those of the tests; a path that is named so brings no checkout with it.
    (packages / "dependencies.pth").write_text(sysconfig.get_path("purelib") + "\n")
    empty = scratch / "empty"
    empty.mkdir()
    return lambda *arguments: command(environment / "bin" / "loadgen", *arguments, cwd=empty)


@pytest.fixture(scope="module")
def noop(loadgen):
    """The image of noop, built by that command."""
    done = loadgen("images", "build", "noop")
    assert done.returncode == 0, done.stderr
    return done.stdout


@contextlib.asynccontextmanager
async def container(**config):
    """A container of noop's image that is removed in the end, with this machine's network and a file system to read."""
    async with engine() as docker:
        host: dict[str, Any] = {"NetworkMode": "host", "ReadonlyRootfs": True}
        running = await docker.containers.run({"Image": NOOP, "HostConfig": host, **config})
        try:
            yield running
        finally:
            await running.delete(force=True)


def test_builds_from_a_wheel_far_from_any_checkout(loadgen, noop):
    """The model that was named, and the frontends always; then they are up to date."""
    assert [line.partition(":")[0] for line in noop.splitlines() if ": built in " in line] == [
        "clipper/zmq_frontend",
        "clipper/management_frontend",
        NOOP,
    ]
    done = loadgen("images", "list")
    assert done.returncode == 0, done.stderr
    rows = {line.split()[0]: line for line in done.stdout.splitlines()}
    for tag in (NOOP, "clipper/zmq_frontend:develop", "clipper/management_frontend:develop"):
        assert rows[tag].endswith("current")
    assert "model-comp/kernel-svm" in rows


def test_an_image_can_be_out_of_date_or_not_there(noop, monkeypatch):
    """Another requirement makes it older than the sources; a name that was never built is missing."""
    monkeypatch.setattr(images, "requirements", lambda names, extra: ["numpy>=2"])
    monkeypatch.setattr(images, "_FRONTENDS", (("loadgen-test/nobody:built", "query", (1,)),))
    states = {state.tag: state for state in asyncio.run(images.states())}
    assert states["loadgen-test/nobody:built"] == images.State("loadgen-test/nobody:built", "missing")
    assert states[NOOP].state == "older than the sources"
    size_bytes, created = states[NOOP].size_bytes, states[NOOP].created
    assert size_bytes is not None
    assert size_bytes > 1e6
    assert created is not None
    assert created.tzinfo is not None


def test_what_is_in_a_model_image(noop):
    """No user root, no other package, no compiler; byte code is there."""

    async def look():
        async with asyncio.timeout(60), container(Cmd=["python", "-c", LOOK_INSIDE]) as running:
            assert (await running.wait())["StatusCode"] == 0
            return json.loads("".join(await running.log(stdout=True)))

    assert asyncio.run(look()) == {
        "uid": 65532,
        "here": ["packages"],
        "modules": [],
        "compilers": [],
        "compiled": True,
        "flags": [True, "1", True, False],
    }


def test_a_frontend_image_holds_the_frontends_for_either_port(noop):
    """What it is called with selects the frontend; its flags come after the image's name."""

    async def look():
        async with asyncio.timeout(30), engine() as docker:
            return [(await docker.images.inspect(recipe.tag))["Config"] for recipe in images.frontends()]

    query, management = asyncio.run(look())
    assert sorted(query["ExposedPorts"]) == ["1337/tcp", "4455/tcp", "4456/tcp", "7000/tcp"]
    assert sorted(management["ExposedPorts"]) == ["1338/tcp"]
    assert [config["User"] for config in (query, management)] == ["65532:65532"] * 2
    assert "LOADGEN_FRONTEND_KIND=query" in query["Env"]
    assert "LOADGEN_FRONTEND_KIND=management" in management["Env"]


@pytest.fixture
def frontends():
    """Both frontends as a process beside the engine."""
    with program.frontends() as ports:
        yield ports


def test_a_container_of_it_is_a_replica(noop, frontends):
    """It registers, answers a query, and leaves with code 0 when it is told to stop."""

    async def serve():
        where = ["CLIPPER_IP=127.0.0.1", f"CLIPPER_PORT={frontends.replica}"]
        async with (
            asyncio.timeout(60),
            AdminClient(f"http://127.0.0.1:{frontends.admin}") as admin,
            container(Env=where) as running,
        ):
            await admin.register_application("noop", DataType.FLOATS, "TIMEOUT", 500_000)
            await admin.register_model("noop", "1", DataType.FLOATS, batch_size=1)
            await admin.link_model("noop", "noop")
            while not await admin.replicas("noop", "1"):  # noqa: ASYNC110 - another process's state
                await asyncio.sleep(0.02)
            answer = await asyncio.to_thread(ask)
            await running.stop(t=20)
            return answer, (await running.wait())["StatusCode"]

    def ask():
        with contextlib.ExitStack() as stack:
            client = Client(SimpleNamespace(ports=frontends), stack)
            client.send(1, (7.0, 8.0), "noop")
            return client.receive()

    answer, code = asyncio.run(serve())
    assert answer.output_type is DataType.FLOATS
    assert np.frombuffer(answer.output, "<f4").tolist() == [7.0]
    assert code == 0


def test_a_base_that_is_not_there_is_one_line(loadgen):
    """It names the image, the step and the base."""
    done = loadgen("images", "build", "noop", "--base", "loadgen-test/nowhere:none")
    assert done.returncode == 4
    last = done.stderr.splitlines()[-1]
    assert "clipper/zmq_frontend:develop cannot be built: step 2/" in last
    assert "FROM loadgen-test/nowhere:none" in last
    assert "Traceback" not in done.stderr


def test_a_requirement_that_cannot_be_had_shows_what_pip_says(monkeypatch):
    """The failing step, and the end of its output."""
    monkeypatch.setattr(images, "requirements", lambda names, extra: ["numpy==0.0.1"])
    with pytest.raises(ImageError, match=r"zmq_frontend:develop cannot be built: step 6/18, RUN .*code: 1") as caught:
        asyncio.run(images.build(["noop"], say=lambda line: None))
    assert "numpy==0.0.1" in caught.value.log_tail


@pytest.fixture
def endless_base():
    """An image; a build from it runs a step that does not end."""
    tag = "loadgen-test/endless"
    dockerfile = f"FROM {images.BASE}\nONBUILD RUN echo begun && sleep 1000\n".encode()
    archive = io.BytesIO()
    with tarfile.open(fileobj=archive, mode="w") as tar:
        entry = tarfile.TarInfo("Dockerfile")
        entry.size = len(dockerfile)
        tar.addfile(entry, io.BytesIO(dockerfile))
    archive.seek(0)

    async def make():
        async with asyncio.timeout(60), engine() as docker:
            await docker.images.build(fileobj=archive, encoding="identity", tag=tag)

    async def remove():
        async with asyncio.timeout(60), engine() as docker:
            await docker.images.delete(tag, force=True)

    asyncio.run(make())
    yield tag
    asyncio.run(remove())


def test_ctrl_c_ends_the_build_here_and_in_the_engine(endless_base, tmp_path):
    """One line and the shell's code; the step's container goes away."""

    async def steps_running():
        async with engine() as docker:
            return sum("sleep 1000" in container["Command"] for container in await docker.containers.list())

    async def until_running(wanted):
        async with asyncio.timeout(30):
            while await steps_running() != wanted:  # noqa: ASYNC110 - another process's state
                await asyncio.sleep(0.05)

    call = [Path(sys.executable).with_name("loadgen"), "images", "build", "noop", "--base", endless_base]
    process = subprocess.Popen(call, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=tmp_path)
    assert process.stdout is not None
    try:
        assert any(f"FROM {endless_base}" in line for line in process.stdout)  # the build's first step
        asyncio.run(until_running(1))
        process.send_signal(signal.SIGINT)
        _, errors = process.communicate(timeout=20)
    finally:
        process.kill()
    assert process.returncode == 130
    assert errors.splitlines() == ["loadgen: interrupted before all images were built: those that were stay"]
    asyncio.run(until_running(0))
