"""What images are made of, and what is told of a build."""

import asyncio
import contextlib
import inspect
import io
import json
import os
import re
import shutil
import signal
import tarfile

import pytest
import typer
from aiohttp import web

from frontend_launch.errors import DescribeError, ImageError, UnavailableError
from frontend_launch.launch import images
from loadgen.cli import console, exit_codes
from loadgen.cli.images import INTERRUPTED, build, list_
from model_containers.model import Description, TensorSpec

NUMBERS = TensorSpec((4,), "float32")


def description(name="some", framework="none", **changes):
    return Description(
        name=name,
        framework=framework,
        input=NUMBERS,
        output=NUMBERS,
        takes=("floats",),
        image=f"some/{name}",
        **changes,
    )


def files(tar):
    """Name → content of the regular files; each entry without time and owner."""
    with tarfile.open(fileobj=io.BytesIO(tar)) as archive:
        members = archive.getmembers()
        assert [member.name for member in members] == sorted(member.name for member in members)
        assert {(member.mtime, member.uid, member.gid) for member in members} == {(0, 0, 0)}
        assert {member.mode for member in members} == {0o644, 0o755}
        opened = {member.name: archive.extractfile(member) for member in members if member.isfile()}
        return {name: file.read() for name, file in opened.items() if file is not None}


def write(path, text=""):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


@pytest.fixture
def packages(tmp_path, monkeypatch):
    """Two small packages in place of the project's, with what lies about in directories."""
    for name, dockerfile in (("model_containers", "Dockerfile.model"), ("frontend_launch", "Dockerfile.frontend")):
        write(tmp_path / name / "__init__.py")
        write(tmp_path / name / "deep" / "module.py", "one")
        write(tmp_path / name / "deep" / "data.json", "{}")
        write(tmp_path / name / "deep" / "__pycache__" / "module.cpython-311.pyc")
        write(tmp_path / name / "old.pyc")
        write(tmp_path / name / ".hidden" / "x.py")
        write(tmp_path / name / "images" / dockerfile, "FROM x")
    write(tmp_path / "model_containers" / "images" / "constraints.txt", "numpy==1")
    monkeypatch.setattr(images, "_PACKAGES", {name: tmp_path / name for name in images._PACKAGES})
    return tmp_path


@pytest.mark.parametrize(
    ("framework", "extra"),
    [
        ("none", set()),
        ("tensorflow", {"tensorflow"}),
        ("lightgbm", {"lightgbm"}),
        ("sklearn", {"scikit-learn", "skops"}),
    ],
)
def test_a_model_image_installs_its_own_framework_only(framework, extra):
    """Beside what the replica runtime needs; nothing of it for another platform or another extra."""
    text = files(images.model(description(framework=framework)).context)["requirements.txt"].decode()
    names = {line.partition(">")[0].replace("tensorflow-cpu", "tensorflow") for line in text.splitlines()}
    assert names == {"numpy", "pyzmq"} | extra
    assert ";" not in text


def test_a_frontend_image_installs_what_frontends_need():
    """No command line, no model."""
    for recipe in images.frontends():
        text = files(recipe.context)["requirements.txt"].decode()
        names = {line.partition(">")[0] for line in text.splitlines()}
        needed = "aiohttp hdrhistogram msgspec numpy prometheus-client pyzmq typing_extensions uvloop"
        assert names - {"redis"} == set(needed.split())


def test_a_gpu_image_has_another_tag_and_another_tensorflow():
    """Where the model has GPU code; the others stay as they are."""
    recipe = images.model(description(framework="tensorflow", gpu_capable=True), gpu=True)
    assert recipe.tag == "some/some:gpu"
    assert "tensorflow[and-cuda]" in files(recipe.context)["requirements.txt"].decode()
    assert images.model(description(), gpu=True) == images.model(description())


def test_lightgbm_gets_its_library_from_debian():
    """Its wheels do not bring it."""
    assert images.model(description(framework="lightgbm")).arguments["APT"] == "libgomp1"
    assert images.model(description(framework="sklearn")).arguments["APT"] == ""


def test_a_context_holds_the_right_packages_and_nothing_that_lies_about(packages):
    """Modules and data; no byte code, no hidden files, no Dockerfiles but the one."""
    model = {"__init__.py", "deep/module.py", "deep/data.json"}
    about = {"Dockerfile", "constraints.txt", "requirements.txt"}
    model_files = {f"model_containers/{name}" for name in model}
    frontend_files = {f"frontend_launch/{name}" for name in model}
    assert set(files(images.model(description()).context)) == about | model_files
    for recipe in images.frontends():
        assert set(files(recipe.context)) == about | model_files | frontend_files


def test_the_installed_packages_make_a_context():
    """With the Dockerfiles and constraints that are package data."""
    content = files(images.model(description()).context)
    assert b"\nFROM $BASE\n" in content["Dockerfile"]
    assert b"numpy==" in content["constraints.txt"]
    assert "model_containers/server.py" in content
    assert not any(name.startswith(("frontend_launch", "loadgen")) or "__pycache__" in name for name in content)


def test_models_of_one_framework_share_everything_up_to_their_name():
    """Their contexts are equal, so the engine's cache answers each step that does not name the model."""
    one, other = (images.model(description(name, "sklearn")) for name in ("one", "other"))
    assert one.context == other.context
    assert one.digest(images.BASE) != other.digest(images.BASE)


def test_the_same_sources_give_the_same_digest(packages, tmp_path):
    """Wherever they are, whenever they were written."""
    before = images.model(description())
    copy = packages / "copy" / "model_containers"
    shutil.copytree(packages / "model_containers", copy, copy_function=shutil.copyfile)
    shutil.rmtree(packages / "model_containers")
    copy.rename(packages / "model_containers")
    assert images.model(description()) == before
    assert images.model(description()).digest("x") == before.digest("x")


@pytest.mark.parametrize(
    "changed",
    ["deep/module.py", "deep/new.py", "images/Dockerfile.model", "images/constraints.txt"],
)
def test_a_change_of_a_source_changes_the_digest(packages, changed):
    """Whatever of it goes into the image."""
    before = images.model(description()).digest(images.BASE)
    write(packages / "model_containers" / changed, "changed")
    assert images.model(description()).digest(images.BASE) != before


def test_another_base_or_another_requirement_changes_the_digest(packages, monkeypatch):
    """Both are part of what the image is made of."""
    before = images.model(description()).digest(images.BASE)
    assert images.model(description()).digest("other") != before
    monkeypatch.setattr(images, "requirements", lambda names, extra: ["numpy>=3"])
    assert images.model(description()).digest(images.BASE) != before


def test_byte_code_does_not_change_the_digest(packages):
    """It comes and goes."""
    before = images.model(description()).digest(images.BASE)
    write(packages / "model_containers" / "__pycache__" / "other.pyc", "changed")
    assert images.model(description()).digest(images.BASE) == before


def told(*texts):
    """What is said while the engine tells these texts, and the follower."""
    steps = images.BuildSteps("some/image", "some:base")
    said = [line for text in texts if (line := steps.take({"stream": text}))]
    return said, steps


def test_a_step_is_told_once_and_not_at_all_when_cached():
    """With its number, the image and the instruction, in one line."""
    said, steps = told(
        *("Step 1/4 : ARG BASE=x", "\n", "Step 2/4 : FROM $BASE", "\n", " ---> 0123\n"),
        *("Step 3/4 : RUN a\n  b", "\n", " ---> Using cache\n", " ---> 4567\n"),
        *("Step 4/4 : RUN c", "\n", " ---> Running in 89ab\n", "\x1b[91moops\n\x1b[0m", "fine\n", " ---> cdef\n"),
    )
    assert said == ["[2/4] some/image: FROM some:base", "[4/4] some/image: RUN c"]
    assert (list(steps.tail), steps.done) == (["oops", "fine"], False)


def test_an_image_is_done_when_the_engine_says_so():
    """And not when it goes silent."""
    _, steps = told("Step 1/1 : FROM $BASE", "\n", " ---> 0123\n", "Successfully built 0123\n")
    assert steps.done


def test_the_output_kept_is_bounded():
    """The last lines of the step under way."""
    _, steps = told("Step 1/2 : RUN a", "old\n", "Step 2/2 : RUN b", *(f"line {index}\n" for index in range(100)))
    assert list(steps.tail) == [f"line {index}" for index in range(80, 100)]


def test_a_pull_counts_as_a_step_that_works():
    """Its messages have another form."""
    steps = images.BuildSteps("some/image", "some:base")
    assert steps.take({"stream": "Step 1/2 : FROM $BASE"}) is None
    assert steps.take({"status": "Pulling from some", "id": "base"}) == "[1/2] some/image: FROM some:base"
    assert steps.take({"aux": {"ID": "sha256:0"}}) is None


def test_without_an_engine_it_is_one_line(monkeypatch):
    """Said before any model is asked."""
    pytest.importorskip("aiodocker")
    monkeypatch.setenv("DOCKER_HOST", "unix:///nowhere.sock")
    with pytest.raises(UnavailableError, match="no Docker engine answers"):
        asyncio.run(images.states())


def test_without_a_socket_it_is_one_line(monkeypatch):
    """The client fails in another way then."""
    docker = pytest.importorskip("aiodocker.docker")
    monkeypatch.delenv("DOCKER_HOST", raising=False)
    monkeypatch.setattr(docker, "_sock_search_paths", [])
    with pytest.raises(UnavailableError, match="no Docker engine answers"):
        asyncio.run(images.states())


def test_how_far_a_build_is():
    """Which image and step of how many, what is pulled, and the last line that was written."""
    steps = images.BuildSteps("some/image", "some:base", place="image 2 of 8")
    assert steps.progress(3.0) == "    image 2 of 8, 3 s, waiting for the engine"
    steps.take({"stream": "Step 1/9 : FROM $BASE"})
    for layer, done in (("a", 1_000_000), ("b", 500_000), ("a", 3_000_000)):
        detail = {"current": done, "total": 4_000_000}
        steps.take({"status": "Downloading", "id": layer, "progressDetail": detail})
    steps.take({"status": "Extracting", "id": "a", "progressDetail": {}})
    assert steps.progress(12.3) == "    image 2 of 8, 12 s, step 1/9, 4 of 8 MB pulled"
    steps.take({"stream": "Step 2/9 : RUN pip"})
    steps.take({"stream": "Collecting numpy\n"})
    assert steps.progress(60.0) == "    image 2 of 8, 60 s, step 2/9: Collecting numpy"


STEP = {"stream": "Step 1/2 : RUN something"}
OUTPUT = {"stream": "it writes\n"}


@contextlib.asynccontextmanager
async def fake_engine(path, monkeypatch, messages, ending, inspected=None):
    """An engine that tells these messages of any build, and then ends its answer in some way."""

    async def version(request):
        return web.json_response({"Version": "20.10", "ApiVersion": "1.41"})

    async def build(request):
        await request.read()
        response = web.StreamResponse()
        response.enable_chunked_encoding()
        await response.prepare(request)
        for message in messages:
            await response.write(json.dumps(message).encode() + b"\n")
        await ending(request)
        return response

    app = web.Application()
    app.add_routes([web.get("/version", version), web.get("/v1.41/version", version), web.post("/v1.41/build", build)])
    if inspected is not None:
        app.add_routes([web.get("/v1.41/images/{name:.*}/json", inspected)])
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    await web.UnixSite(runner, str(path)).start()
    monkeypatch.setenv("DOCKER_HOST", f"unix://{path}")
    try:
        yield
    finally:
        await runner.cleanup()


async def regular(request):
    """The answer ends as it should."""


async def abrupt(request):
    request.transport.abort()


async def never(request):
    await asyncio.Event().wait()


@pytest.mark.parametrize(
    ("messages", "ending", "reason"),
    [
        ((STEP, OUTPUT, {"error": "no", "errorDetail": {"message": "no"}}), regular, "no"),
        ((STEP, OUTPUT), regular, "the engine broke off"),
        ((STEP, OUTPUT), abrupt, "the engine('s answer cannot be read| broke off)"),
        ((STEP, OUTPUT), never, "nothing was heard of it for 0.5 s"),
    ],
    ids=["error", "end", "abort", "silence"],
)
def test_a_build_that_does_not_end_well_names_image_and_step(tmp_path, monkeypatch, messages, ending, reason):
    """Whatever the engine does, with the step's output."""
    pytest.importorskip("aiodocker")
    monkeypatch.setattr(images, "SILENCE_S", 0.5)

    async def build():
        async with fake_engine(tmp_path / "engine", monkeypatch, messages, ending), asyncio.timeout(10):
            await images.build(["noop"], say=lambda line: None)

    match = rf"^clipper/zmq_frontend:develop cannot be built: step 1/2, RUN something: {reason}"
    with pytest.raises(ImageError, match=match) as caught:
        asyncio.run(build())
    assert caught.value.log_tail == "it writes"


def test_a_build_that_says_nothing_shows_how_far_it_is(tmp_path, monkeypatch):
    """Until it goes on."""
    pytest.importorskip("aiodocker")
    monkeypatch.setattr(images, "PROGRESS_S", 0.01)
    said = []

    async def build():
        told = asyncio.Event()

        async def wait(request):
            await told.wait()

        def say(line):
            said.append(line)
            if "it writes" in line:
                told.set()

        async with fake_engine(tmp_path / "engine", monkeypatch, (STEP, OUTPUT), wait), asyncio.timeout(10):
            with pytest.raises(ImageError, match="the engine broke off"):
                await images.build(["noop"], say=say)

    asyncio.run(build())
    assert said[0] == "clipper/zmq_frontend:develop: image 1 of 3"
    assert any(re.fullmatch(r"    image 1 of 3, 0 s, step 1/2: it writes", line) for line in said)


@pytest.mark.parametrize("there", [True, False])
def test_redis_is_listed(tmp_path, monkeypatch, capsys, there):
    """It is not made here, and where it is missing its own remedy is said."""
    pytest.importorskip("aiodocker")

    async def inspect_image(request):
        if there and "redis" in request.path:
            return web.json_response({"Config": {}, "Size": 117_000_000, "Created": "2026-01-01T00:00:00.000000000Z"})
        return web.json_response({"message": "No such image"}, status=404)

    async def states():
        async with fake_engine(tmp_path / "engine", monkeypatch, (), regular, inspect_image), asyncio.timeout(10):
            return await images.states()

    redis, *built = asyncio.run(states())
    assert (redis.tag, redis.state) == ("redis:7-bookworm", "present" if there else "missing")
    assert {state.state for state in built} == {"missing"}
    monkeypatch.setattr(images, "states", lambda: asyncio.sleep(0, [redis, *built]))
    list_()
    lines = capsys.readouterr().out.splitlines()
    remedies = ["-> loadgen images build", *([] if there else ["-> docker pull redis:7-bookworm"])]
    assert [line for line in lines if line.startswith("->")] == remedies


def test_a_model_that_is_not_there_is_one_line():
    """It names those that are."""
    with pytest.raises(DescribeError, match=r"^nope: has no image; choose some of vgg"):
        asyncio.run(images.descriptions(["nope"]))


def test_the_command_line_and_the_room_agree_on_the_base():
    """The one says it without importing the other."""
    assert inspect.signature(build).parameters["base"].default == images.BASE


def test_an_image_that_cannot_be_built_has_the_code_of_what_cannot_be_started():
    """Its log's tail comes with it."""
    assert exit_codes.of_error(ImageError("", "tail")) == exit_codes.LAUNCH


def test_stopped_while_building(capsys):
    """The work is cancelled, and it is said what stays."""
    cancelled = []

    async def never_ends():
        os.kill(os.getpid(), signal.SIGINT)
        try:
            await asyncio.Event().wait()
        finally:
            cancelled.append(True)

    with pytest.raises(typer.Exit) as ended:
        console.run(never_ends(), INTERRUPTED)
    assert ended.value.exit_code == 130
    assert "those that were stay" in capsys.readouterr().err
    assert cancelled == [True]
