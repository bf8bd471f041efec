"""Container images: their contents, their build, and whether existing ones are up to date."""

from __future__ import annotations

import asyncio
import hashlib
import importlib.metadata
import io
import json
import re
import tarfile
import time
from collections import deque
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import aiohttp

from frontend_launch import models
from frontend_launch.errors import DescribeError, ImageError, LaunchError
from frontend_launch.launch.docker import REDIS_IMAGE
from frontend_launch.launch.engine import TIMEOUT_S, engine
from frontend_launch.ports import Ports
from model_containers import wire
from model_containers.extras import remedy
from model_containers.model import Description

if TYPE_CHECKING:
    import aiodocker
    from packaging.requirements import Requirement

BASE = "python:3.11-slim-bookworm"
"""The image that ours are made from."""

SOURCES_LABEL = "loadgen.sources"
BASE_LABEL = "loadgen.base"
VERSION_LABEL = "loadgen.version"

PROGRESS_S = 10.0
"""A build that says nothing for this time shows how far it is."""

SILENCE_S = 1800.0
"""A build that shows nothing for this time is aborted. Downloads of wheels and trainings of models show nothing."""

TAIL_LINES = 20
"""How much of a step's output is kept for the case that it fails."""

_MODEL_NEEDS = frozenset({"numpy", "pyzmq"})
_FRONTEND_NEEDS = frozenset(
    {
        "aiohttp",
        "hdrhistogram",
        "msgspec",
        "numpy",
        "prometheus-client",
        "pyzmq",
        "redis",
        "typing_extensions",
        "uvloop",
    }
)
_APT = {"lightgbm": "libgomp1"}
"""Debian packages that a framework's wheels take from the system."""

_PACKAGES = {"frontend_launch": Path(__file__).parents[1], "model_containers": Path(wire.__file__).parent}
"""Where they are installed."""

_GPU_TAG = ":gpu"
_STEP = re.compile(r"Step (\d+/\d+) : (.*)", re.DOTALL)
_COLOUR = re.compile(r"\x1b\[[0-9;]*m")
_INSTRUCTION_WIDTH = 100

_PORTS = Ports()
_FRONTENDS = (
    (
        "clipper/zmq_frontend:develop",
        "query",
        (_PORTS.metrics, _PORTS.response, _PORTS.request, _PORTS.replica),
    ),
    ("clipper/management_frontend:develop", "management", (_PORTS.admin,)),
)


@dataclass(frozen=True, slots=True)
class Recipe:
    """What an image is made of, but for the image it starts from.

    Attributes:
        tag: its name.
        context: a tar archive with the Dockerfile and all that it copies.
        arguments: of the build.
    """

    tag: str
    context: bytes
    arguments: Mapping[str, str]

    def digest(self, base: str) -> str:
        """The SHA-256, in hexadecimal, of all that the image is made of."""
        arguments = json.dumps([base, sorted(self.arguments.items())]).encode()
        return hashlib.sha256(hashlib.sha256(self.context).digest() + arguments).hexdigest()


@dataclass(frozen=True, slots=True)
class State:
    """An image as the engine has it.

    Attributes:
        tag: its name.
        state: how it compares with the sources installed here; ``present`` for one that is not made of them.
        size_bytes: with the layers that it shares; None for one that is missing.
        created: when it was built; None for one that is missing.
    """

    tag: str
    state: Literal["current", "older than the sources", "present", "missing"]
    size_bytes: int | None = None
    created: datetime | None = None


async def build(names: Sequence[str], *, base: str = BASE, gpu: bool = False, say: Callable[[str], None]) -> None:
    """Build the frontends' images and those of some models; to cancel it ends the step under way.

    Args:
        names: models of the catalogue; none for all of them.
        base: the image to start from, one with Python 3.11 or newer, pip and apt.
        gpu: build the models that have GPU code for GPUs, under the tag ``gpu``.
        say: told of each step that is not answered from the engine's cache, and of each image.

    Raises:
        DescribeError: there is no such model.
        LaunchError: no Docker engine answers.
        ImageError: an image cannot be built; the text names it and the step.
    """
    chosen = [model(description, gpu=gpu) for description in await descriptions(names)]
    async with engine() as docker:
        recipes = [*frontends(), *chosen]
        for number, recipe in enumerate(recipes, start=1):
            await _build(docker, recipe, base, f"image {number} of {len(recipes)}", say)


async def states() -> list[State]:
    """All images that there should be, Redis's first, and those for GPUs that there are.

    Raises:
        DescribeError: the catalogue cannot be had.
        LaunchError: no Docker engine answers.
    """
    async with engine() as docker:
        found = await descriptions()
        wanted = [*frontends(), *map(model, found)]
        optional = [model(description, gpu=True) for description in found if description.gpu_capable]
        there = [await _state(docker, recipe) for recipe in optional]
        return [
            await _present(docker, REDIS_IMAGE),
            *[await _state(docker, recipe) for recipe in wanted],
            *[state for state in there if state.state != "missing"],
        ]


# What an image is made of ------------------------------------------------------------------------------------


def frontends() -> list[Recipe]:
    """The images of the query and of the management frontend."""
    tar = context("frontend_launch", "Dockerfile.frontend", requirements(_FRONTEND_NEEDS, "redis"))
    return [
        Recipe(tag, tar, {"FRONTEND": frontend, "PORTS": " ".join(map(str, ports))})
        for tag, frontend, ports in _FRONTENDS
    ]


def model(description: Description, *, gpu: bool = False) -> Recipe:
    """The image of a model.

    Args:
        description: of a model of the catalogue.
        gpu: for GPUs, if the model can use one.
    """
    gpu = gpu and description.gpu_capable
    extra = f"{description.framework}-gpu" if gpu else description.framework
    tar = context("model_containers", "Dockerfile.model", requirements(_MODEL_NEEDS, extra))
    arguments = {"MODEL": description.name, "APT": _APT.get(description.framework, "")}
    return Recipe(description.image + (_GPU_TAG if gpu else ""), tar, arguments)


def requirements(names: Collection[str], extra: str) -> list[str]:
    """The project's own requirements, as pip reads them: some of those it always has, and all of an extra, if any.

    Args:
        names: of those that have no extra, as the project declares them.
        extra: all of its requirements are taken; one that does not exist has none.

    Raises:
        LaunchError: the extra ``docker`` is not installed.
    """
    # An image is for Linux, whatever the machine that asks for it.
    linux = {"os_name": "posix", "platform_system": "Linux", "sys_platform": "linux"}
    picked = []
    for requirement in _declared():
        marker = requirement.marker
        if marker is None or marker.evaluate({**linux, "extra": ""}):
            wanted = requirement.name in names
        else:
            wanted = marker.evaluate({**linux, "extra": extra})
        if wanted:
            picked.append(str(requirement).partition(";")[0].strip())
    return sorted(picked)


@cache
def _declared() -> Sequence[Requirement]:
    """What the project says that it requires."""
    try:
        from packaging.requirements import Requirement  # noqa: PLC0415 - behind an extra
    except ImportError:
        raise LaunchError(f"packaging is not installed; {remedy('docker')}") from None
    return [Requirement(line) for line in importlib.metadata.requires("loadgen") or ()]


def context(package: str, dockerfile: str, needs: Sequence[str]) -> bytes:
    """A tar archive to build from, the same for the same sources.

    Args:
        package: whose directory ``images`` holds the Dockerfile; ``frontend_launch`` comes with ``model_containers``.
        dockerfile: its name there.
        needs: the requirements to install.
    """
    files = {
        "Dockerfile": (_PACKAGES[package] / "images" / dockerfile).read_bytes(),
        "constraints.txt": (_PACKAGES["model_containers"] / "images" / "constraints.txt").read_bytes(),
        "requirements.txt": "".join(f"{need}\n" for need in needs).encode(),
    }
    for name in {package, "model_containers"}:
        files |= _sources(name, _PACKAGES[name])
    return _tar(files)


def _sources(package: str, directory: Path) -> dict[str, bytes]:
    """A package's modules and data, but what images are built from: nothing inside one reads that."""
    return {
        f"{package}/{path.relative_to(directory).as_posix()}": path.read_bytes()
        for path in directory.rglob("*")
        if path.is_file() and _belongs(path.relative_to(directory))
    }


def _belongs(path: Path) -> bool:
    made = any(part == "__pycache__" or part.startswith(".") for part in path.parts) or path.suffix == ".pyc"
    return not made and path.parts[0] != "images"


def _tar(files: Mapping[str, bytes]) -> bytes:
    """An archive without times or owners, in the order of the names."""
    directories = {parent.as_posix() for name in files for parent in Path(name).parents} - {"."}
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.GNU_FORMAT) as tar:
        for name in sorted(directories | set(files)):
            entry = tarfile.TarInfo(name)
            if name in directories:
                entry.type, entry.mode = tarfile.DIRTYPE, 0o755
                tar.addfile(entry)
            else:
                entry.size, entry.mode = len(files[name]), 0o644
                tar.addfile(entry, io.BytesIO(files[name]))
    return buffer.getvalue()


async def descriptions(names: Sequence[str] = ()) -> list[Description]:
    """What models of the catalogue are; all of them when none is named.

    Raises:
        DescribeError: there is no such model.
    """
    known = await models.catalogue()
    for name in names:
        if name not in known:
            raise DescribeError(f"{name}: has no image; choose some of {', '.join(known)}")
    return await asyncio.gather(*(models.describe(name) for name in known if not names or name in names))


# Building ----------------------------------------------------------------------------------------------------


@dataclass(slots=True)
class BuildSteps:
    """Follows what the engine tells of a build.

    Attributes:
        tag: of the image.
        base: the image it starts from.
        number: of the step under way, of how many: ``2/9``; empty before the first.
        instruction: of that step.
        tail: the last lines that it wrote.
        done: the image is there.
        place: of the image among those that are built: ``image 2 of 8``.
    """

    tag: str
    base: str
    number: str = ""
    instruction: str = ""
    tail: deque[str] = field(default_factory=lambda: deque(maxlen=TAIL_LINES))
    done: bool = False
    place: str = ""
    _unsaid: bool = False
    _pulled: dict[str, tuple[int, int]] = field(default_factory=dict)

    def progress(self, elapsed_s: float) -> str:
        """How far the build is, in one line.

        Args:
            elapsed_s: since it began.
        """
        where = f"step {self.number}" if self.number else "waiting for the engine"
        done, total = (sum(sizes) for sizes in zip(*self._pulled.values(), strict=True)) if self._pulled else (0, 0)
        if total:
            where += f", {done / 1e6:.0f} of {total / 1e6:.0f} MB pulled"
        last = f": {self.tail[-1].strip()[:_INSTRUCTION_WIDTH]}" if self.tail else ""
        return f"    {self.place}, {elapsed_s:.0f} s, {where}{last}"

    def take(self, message: Mapping[str, Any]) -> str | None:
        """Take one message.

        Returns:
            A line about a step that has begun and is not answered from the cache.
        """
        written = _COLOUR.sub("", message.get("stream", "")).rstrip()
        if step := _STEP.match(written):
            self._begin(step[1], step[2])
            return None
        if not written and "status" not in message:  # a pull tells its status, thousands of times
            return None
        self._pull(message)
        if not written.startswith(" ---> "):
            self.tail.extend(written.splitlines())
            self.done = self.done or written.startswith("Successfully built ")
        new = self._unsaid and written != " ---> Using cache"
        self._unsaid = False
        return f"[{self.number}] {self.tag}: {self.instruction}" if new else None

    def _pull(self, message: Mapping[str, Any]) -> None:
        sizes = message.get("progressDetail") or {}
        if message.get("status") == "Downloading" and isinstance(sizes.get("total"), int):
            self._pulled[str(message.get("id"))] = (int(sizes.get("current", 0)), sizes["total"])

    def _begin(self, number: str, instruction: str) -> None:
        text = " ".join(instruction.replace("FROM $BASE", f"FROM {self.base}").split())
        self.number = number
        self.instruction = text if len(text) <= _INSTRUCTION_WIDTH else text[: _INSTRUCTION_WIDTH - 1] + "…"
        self.tail.clear()
        self._pulled.clear()
        self._unsaid = True


async def _build(docker: aiodocker.Docker, recipe: Recipe, base: str, place: str, say: Callable[[str], None]) -> None:
    """Build one image.

    Args:
        docker: the engine.
        recipe: what the image is made of.
        base: the image to start from.
        place: of the image among those that are built, in words.
        say: told of its steps, and how far it is.
    """
    import aiodocker  # noqa: PLC0415 - behind an extra

    steps = BuildSteps(recipe.tag, base, place=place)
    began = time.monotonic()
    say(f"{recipe.tag}: {place}")
    telling = asyncio.create_task(_tell(steps, began, say))
    try:
        await _follow(docker, recipe, base, steps, say)
    except aiodocker.DockerError as error:
        # The engine repeats the instruction, which the text has already.
        reason = error.message.rpartition("' returned a ")[2] if "' returned a " in error.message else error.message
        raise _failure(steps, " ".join(reason.split())) from None
    except TimeoutError:
        raise _failure(steps, f"nothing was heard of it for {SILENCE_S:g} s") from None
    except (aiohttp.ClientError, OSError, ValueError) as error:
        raise _failure(steps, f"the engine's answer cannot be read ({error or type(error).__name__})") from None
    finally:
        telling.cancel()
        await asyncio.gather(telling, return_exceptions=True)
    if not steps.done:
        raise _failure(steps, "the engine broke off")
    say(f"{recipe.tag}: built in {time.monotonic() - began:.1f} s")


async def _tell(steps: BuildSteps, began_s: float, say: Callable[[str], None]) -> None:
    """Say how far a build is, again and again, until it is cancelled.

    Args:
        steps: of the build.
        began_s: when it began, monotonic clock.
        say: told of it.
    """
    while True:
        await asyncio.sleep(PROGRESS_S)
        say(steps.progress(time.monotonic() - began_s))


async def _follow(
    docker: aiodocker.Docker, recipe: Recipe, base: str, steps: BuildSteps, say: Callable[[str], None]
) -> None:
    messages = docker.images.build(
        fileobj=io.BytesIO(recipe.context),
        encoding="identity",
        tag=recipe.tag,
        buildargs={**recipe.arguments, "BASE": base},
        labels={
            SOURCES_LABEL: recipe.digest(base),
            BASE_LABEL: base,
            VERSION_LABEL: importlib.metadata.version("loadgen"),
        },
        forcerm=True,
        stream=True,
    )
    clock = asyncio.get_running_loop().time
    async with asyncio.timeout(SILENCE_S) as patience:
        async for message in messages:
            patience.reschedule(clock() + SILENCE_S)
            if line := steps.take(message):
                say(line)


def _failure(steps: BuildSteps, reason: str) -> ImageError:
    where = f"step {steps.number}, {steps.instruction}: " if steps.number else ""
    return ImageError(f"{steps.tag} cannot be built: {where}{reason}", "\n".join(steps.tail))


# What there is -----------------------------------------------------------------------------------------------


async def _state(docker: aiodocker.Docker, recipe: Recipe) -> State:
    image = await _inspected(docker, recipe.tag)
    if image is None:
        return State(recipe.tag, "missing")
    labels = image["Config"].get("Labels") or {}
    current = labels.get(SOURCES_LABEL) == recipe.digest(labels.get(BASE_LABEL, BASE))
    created = datetime.fromisoformat(image["Created"])
    return State(recipe.tag, "current" if current else "older than the sources", image["Size"], created)


async def _present(docker: aiodocker.Docker, tag: str) -> State:
    """Of an image that is not made here."""
    image = await _inspected(docker, tag)
    if image is None:
        return State(tag, "missing")
    return State(tag, "present", image["Size"], datetime.fromisoformat(image["Created"]))


async def _inspected(docker: aiodocker.Docker, tag: str) -> dict[str, Any] | None:
    """What the engine tells of an image; None of one that it has not."""
    import aiodocker  # noqa: PLC0415 - behind an extra

    try:
        async with asyncio.timeout(TIMEOUT_S):
            return await docker.images.inspect(tag)
    except aiodocker.DockerError as error:
        if error.status == 404:
            return None
        raise LaunchError(f"the Docker engine does not tell of {tag}: {error.message}") from None
    except (aiohttp.ClientError, OSError, ValueError, TimeoutError) as error:
        reason = str(error) or type(error).__name__
        raise LaunchError(f"the Docker engine does not tell of {tag}: {reason}") from None
