"""Reads the kernel's files of a process's cgroups, version 1 and 2."""

from __future__ import annotations

import contextlib
from pathlib import Path, PurePosixPath
from typing import Literal, NamedTuple

from frontend_launch.integers import expand_ranges

MOUNT = "sys/fs/cgroup"
"""Below the root of the file system."""


class Location(NamedTuple):
    """The directory of one cgroup.

    Attributes:
        mount: of its hierarchy, below ``/sys/fs/cgroup``; empty for that directory itself.
        path: below the mount. In a container it may be the host's, which is not there.
    """

    mount: str
    path: str

    @property
    def levels(self) -> list[PurePosixPath]:
        """The cgroup and all that it is in, up to the mount, from the inside out, below ``/sys/fs/cgroup``."""
        below = PurePosixPath(self.path)
        # A path that leads out of the mount says that the mount is all that can be seen.
        inside = [PurePosixPath()] if ".." in below.parts else [below, *below.parents]
        return [PurePosixPath(self.mount) / level for level in inside]


def cores(pid: int, root: Path = Path("/")) -> tuple[int, ...] | None:
    """The cores of a process's cgroup; None where it has no cpuset, or none that can be seen from here.

    Args:
        pid: of the process.
        root: of the file system that holds ``proc`` and ``sys``.
    """
    text = read_first(pid, "cpuset", "cpuset.effective_cpus", "cpuset.cpus.effective", "cpuset.cpus", root=root).strip()
    return expand_ranges(text.split(",")) if text else None


def members(pid: int, root: Path = Path("/")) -> list[int]:
    """The processes in a process's cgroup; itself alone where that cannot be seen.

    Args:
        pid: of any process of the cgroup.
        root: where ``/`` is; another directory in tests.
    """
    return [int(line) for line in read_first(pid, "cpu", "cgroup.procs", root=root).split()] or [pid]


def differs(pid: int, other: int, root: Path = Path("/")) -> bool:
    """Whether two processes are in different cgroups of those that `members` looks at.

    Args:
        pid: of one process.
        other: of the other.
        root: where ``/`` is; another directory in tests.
    """
    # Controllers are mounted one by one in version 1: a difference in another one's says nothing of these members.
    one, two = (directories(process, "cpu", root)[:1] for process in (pid, other))
    return one != two


def read_first(pid: int, controller: str, *names: str, root: Path = Path("/")) -> str:
    """The first of some files of a process's cgroup that can be read; empty when none can.

    Args:
        pid: of the process.
        controller: such as ``cpu``.
        root: where ``/`` is; another directory in tests.
        *names: of the files, in the order of preference.
    """
    for mount, path in directories(pid, controller, root):
        for name in names:
            try:
                text = (root / MOUNT / mount / path / name).read_text()
            except OSError:
                continue
            if text.strip():
                return text
    return ""


def read_upwards(pid: int, controller: str, name: str, root: Path = Path("/")) -> list[str]:
    """A file of a process's cgroup and of those that this one is in, from the inside out, as far as they can be seen.

    Args:
        pid: of the process.
        controller: such as ``cpu``.
        name: of the file.
        root: where ``/`` is; another directory in tests.
    """
    for directory in directories(pid, controller, root):
        texts = []
        for level in directory.levels:
            with contextlib.suppress(OSError):
                texts.append((root / MOUNT / level / name).read_text())
        if texts:
            return texts
    return []


def directories(pid: int | Literal["self"], controller: str, root: Path = Path("/")) -> list[Location]:
    """Where a controller may keep the files of a process's cgroup, best first; the only reader of ``/proc/PID/cgroup``.

    A line is ``ID:CONTROLLERS:PATH``; version 2 has one with no controllers.

    Args:
        pid: of the process.
        controller: such as ``cpu``.
        root: where ``/`` is; another directory in tests.
    """
    first, second = [], []
    for line in _lines(pid, root):
        match line.split(":", 2):
            case [_, "", path]:
                second += [Location(mount, path.lstrip("/")) for mount in ("", "unified")]
            case [_, controllers, path] if controller in controllers.split(","):
                first += [Location(mount, path.lstrip("/")) for mount in (controllers, controller)]
    return first + second


def _lines(pid: int | Literal["self"], root: Path) -> list[str]:
    try:
        return (root / f"proc/{pid}/cgroup").read_text(errors="surrogateescape").splitlines()
    except OSError:
        return []
