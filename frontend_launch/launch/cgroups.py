"""What the kernel's files say of a process's cgroups, version 1 and 2."""

from __future__ import annotations

import contextlib
from pathlib import Path, PurePosixPath

from frontend_launch.integers import expand_ranges


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
    one, two = (directories(_lines(process, root), "cpu")[:1] for process in (pid, other))
    return one != two


def read_first(pid: int, controller: str, *names: str, root: Path = Path("/")) -> str:
    """The first of some files of a process's cgroup that can be read; empty when none can.

    Args:
        pid: of the process.
        controller: such as ``cpu``.
        root: where ``/`` is; another directory in tests.
        *names: of the files, in the order of preference.
    """
    for directory in directories(_lines(pid, root), controller):
        for name in names:
            try:
                text = (root / "sys/fs/cgroup" / directory / name).read_text()
            except OSError:
                continue
            if text.strip():
                return text
    return ""


def read_upwards(pid: int, controller: str, name: str, root: Path = Path("/")) -> list[str]:
    """A file of a process's cgroup and of those that this one is in, from the inside out, as far as they can be seen.

    In a container the path may be the host's, which is not below the mount; the mount is then what can be seen.

    Args:
        pid: of the process.
        controller: such as ``cpu``.
        name: of the file.
        root: where ``/`` is; another directory in tests.
    """
    mount = root / "sys/fs/cgroup"
    for directory in directories(_lines(pid, root), controller):
        texts = []
        for level in (PurePosixPath(directory), *PurePosixPath(directory).parents):
            with contextlib.suppress(OSError):
                texts.append((mount / level / name).read_text())
        if texts:
            return texts
    return []


def directories(lines: list[str], controller: str) -> list[str]:
    """Where a controller keeps its files, below ``/sys/fs/cgroup``, of the cgroups in ``/proc/PID/cgroup``, best first.

    A line is ``ID:CONTROLLERS:PATH``; version 2 has one with no controllers.

    Args:
        lines: of ``/proc/PID/cgroup``.
        controller: such as ``cpu``.
    """
    first, second = [], []
    for line in lines:
        _, _, rest = line.partition(":")
        controllers, _, path = rest.partition(":")
        if controller in controllers.split(","):
            first += [f"{controllers}{path}", f"{controller}{path}"]
        elif not controllers:
            second.append(path.lstrip("/"))
    return first + second


def _lines(pid: int, root: Path) -> list[str]:
    try:
        return (root / f"proc/{pid}/cgroup").read_text().splitlines()
    except OSError:
        return []
