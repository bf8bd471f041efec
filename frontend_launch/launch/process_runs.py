"""Lists deployments that are processes: each keeps a file that says what it consists of, as long as it is up."""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import json
import os
import pkgutil
import shutil
import signal
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Collection
from contextlib import AbstractAsyncContextManager
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, TypeAlias

from frontend_launch.errors import LaunchError, RequestError
from frontend_launch.log_files import Added, added
from frontend_launch.scratch import LOCK, PREFIX
from model_containers import extras

FILE = "deployment.json"
"""In the directory of a deployment."""

LOGS = "logs"
"""In the directory of a deployment: the logs of its processes on this machine."""

NAME = "pid-"
"""Begins the name of a run of processes."""

END_TIMEOUT_S = 60.0
"""Patience for a program to take its deployment down."""

LOOK_EVERY_S = 0.05
"""Between two looks whether it has."""

FOLLOW_EVERY_S = 0.5
"""Between two looks for new lines of a log."""

GONE = "coordinator gone"
"""The state of processes whose program was killed: those of this machine have ended, those of other nodes end soon."""


@dataclass(frozen=True, slots=True)
class Part:
    """A process of a deployment.

    Attributes:
        role: in the placement.
        pid: of the process.
        model: that the deployment serves.
        cores: as ranges.
        gpu: its GPU; empty for none.
        ports: that it listens on, in words; empty for none.
        metrics: the URL of its metrics; empty for none.
        node: of a cluster; empty for this machine.
        actor: the name of the actor that supervises it; empty for none.
        ended: of one with an actor: whether it is known to have ended.
        started_s: when, on the clock of this machine that all its processes share.
    """

    role: str
    pid: int
    model: str
    cores: str
    gpu: str
    ports: str = ""
    metrics: str = ""
    node: str = ""
    actor: str = ""
    ended: bool = False
    started_s: float = field(default_factory=time.monotonic)

    @property
    def running(self) -> bool:
        """Whether the process is there."""
        return not self.ended if self.actor else Path(f"/proc/{self.pid}").exists()


@dataclass(frozen=True, slots=True)
class ProcessRun:
    """A deployment that is processes.

    Attributes:
        pid: of the program that started it.
        stays: until it is taken down; otherwise it ends with a measurement.
        cluster: the address of the cluster that has its nodes; empty for this machine.
        parts: its processes.
        directory: of the program, with its logs and credentials.
        held: the program is there.
    """

    pid: int
    stays: bool
    cluster: str
    parts: tuple[Part, ...]
    directory: Path
    held: bool

    @property
    def name(self) -> str:
        """As `loadgen ps` shows it."""
        return f"{NAME}{self.pid}"

    @property
    def idle(self) -> bool:
        """Whether no measurement is under way: it stays until it is taken down, or its program was killed."""
        return self.stays or not self.held

    def state(self, part: Part) -> str:
        """Of one of its processes, in a word or two."""
        return ("running" if part.running else "gone") if self.held else GONE


class Kept:
    """What a deployment consists of, in its file.

    Args:
        directory: of the deployment.
        stays: until it is taken down.
    """

    def __init__(self, directory: Path, stays: bool) -> None:
        self._path, self._stays = directory / FILE, stays
        self._parts: dict[str, Part] = {}
        self.cluster = ""

    def add(self, part: Part) -> None:
        """Note a process, in place of an earlier one of its role; a full disk costs the note only."""
        self._parts[part.role] = part
        self._write()

    def ended(self, part: Part) -> None:
        """Note that a process has ended."""
        if self._parts[part.role] is part:
            self.add(replace(part, ended=True))

    def _write(self) -> None:
        document = {
            "pid": os.getpid(),
            "stays": self._stays,
            "cluster": self.cluster,
            "parts": [asdict(part) for part in self._parts.values()],
        }
        draft = self._path.with_suffix(".new")
        with contextlib.suppress(OSError):
            draft.write_text(json.dumps(document))
            draft.replace(self._path)


def listed() -> list[ProcessRun]:
    """The deployments of this user that are processes; those of killed programs too, as long as their files stay."""
    found = []
    for path in sorted(Path(tempfile.gettempdir()).glob(f"{PREFIX}*/{FILE}")):
        with contextlib.suppress(OSError, ValueError, TypeError, KeyError):  # gone by now, or no file of a deployment
            if path.parent.lstat().st_uid == os.geteuid():
                held = _held(path.parent)
                document: dict[str, Any] = json.loads(path.read_text())
                parts = tuple(sorted((Part(**row) for row in document.pop("parts")), key=lambda part: part.role))
                found.append(ProcessRun(**document, parts=parts, directory=path.parent, held=held))
    return found


def _held(directory: Path) -> bool:
    """Whether the process that made a directory is there: it holds the lock."""
    lock = os.open(directory / LOCK, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(lock)
    return False


async def remove(run: ProcessRun) -> str:
    """Have the program of a run take it down, as with SIGTERM, and remove what a killed one left.

    Returns:
        What was removed.

    Raises:
        LaunchError: the program does not end.
    """
    if run.held:
        with contextlib.suppress(ProcessLookupError):
            os.kill(run.pid, signal.SIGTERM)
        try:
            async with asyncio.timeout(END_TIMEOUT_S):
                while True:
                    await asyncio.sleep(LOOK_EVERY_S)
                    if not _there(run.directory):
                        break
        except TimeoutError:
            text = f"{run.name}: process {run.pid} did not take the run down within {END_TIMEOUT_S:g} s; end it"
            raise LaunchError(text) from None
    await asyncio.to_thread(shutil.rmtree, run.directory, ignore_errors=True)
    return f"{run.name}: {', '.join(part.role for part in run.parts)}"


def _there(directory: Path) -> bool:
    with contextlib.suppress(OSError):
        return _held(directory)
    return False


Reader: TypeAlias = Callable[[Part, dict[int, int]], Awaitable[Added]]
"""Reads the lines of a process that were added since the last look, see `frontend_launch.log_files.added`."""

_NODES = "frontend_launch.launch.ray:reader"
"""The same on the nodes of a cluster, imported when it is asked for, since it is behind an extra."""


@contextlib.asynccontextmanager
async def _reader(run: ProcessRun) -> AsyncIterator[Reader]:
    """The reader of a run's logs; of parts elsewhere that have ended, their launcher has kept them.

    Raises:
        LaunchError: its cluster does not answer.
        RequestError: the extra of its cluster is not installed.
    """

    async def kept(part: Part, known: dict[int, int]) -> Added:
        return added(run.directory / LOGS, part.role, known)

    if not run.cluster:
        yield kept
        return
    if missing := extras.missing("ray"):
        raise RequestError(f"{run.name}: its logs are on a cluster, and need {missing[0]}; {extras.remedy('ray')}")
    nodes: Callable[[str, str], AbstractAsyncContextManager[Reader]] = pkgutil.resolve_name(_NODES)
    async with nodes(run.name, run.cluster) as elsewhere:
        yield lambda part, known: (kept if part.ended else elsewhere)(part, known)


async def logs(run: ProcessRun, roles: Collection[str], *, follow: bool) -> AsyncIterator[tuple[str, str]]:
    """Lines of a run's logs with the role: one's after the other's, or as they come.

    With `follow` it ends when the program of the run does.

    Args:
        run: whose.
        roles: of its parts.
        follow: go on until it ends.

    Raises:
        LaunchError: its cluster, or a node of it, does not answer.
        RequestError: the extra of its cluster is not installed.
    """
    parts = [part for part in run.parts if part.role in roles]
    known: dict[str, dict[int, int]] = {role: {} for role in roles}
    async with _reader(run) as read:
        while True:
            for part in parts:
                lines = [""]
                while lines:
                    lines, known[part.role] = await read(part, known[part.role])
                    for line in lines:
                        yield part.role, line
            if not follow or not _there(run.directory):
                return
            await asyncio.sleep(FOLLOW_EVERY_S)
