"""Which cores a process's cgroup leaves it, as the kernel's files say, version 1 and 2."""

from __future__ import annotations

from pathlib import Path

from frontend_launch.launch.topology import expand_ranges


def cores(pid: int, root: Path = Path("/")) -> tuple[int, ...] | None:
    """The cores of a process's cgroup; None where it has no cpuset, or none that can be seen from here.

    Args:
        pid: of the process.
        root: of the file system that holds ``proc`` and ``sys``.
    """
    try:
        lines = (root / f"proc/{pid}/cgroup").read_text().splitlines()
    except OSError:
        return None
    for file in cpuset_files(lines):
        try:
            text = (root / "sys/fs/cgroup" / file).read_text().strip()
        except OSError:
            continue
        if text:
            return expand_ranges(text.split(","))
    return None


def cpuset_files(lines: list[str]) -> list[str]:
    """Where the cores are written, below ``/sys/fs/cgroup``, of the cgroups in ``/proc/PID/cgroup``, best first.

    A line is ``ID:CONTROLLERS:PATH``; version 2 has one with no controllers.
    """
    files = []
    for line in lines:
        _, _, rest = line.partition(":")
        controllers, _, path = rest.partition(":")
        if "cpuset" in controllers.split(","):
            files += [f"cpuset{path}/cpuset.effective_cpus", f"cpuset{path}/cpuset.cpus"]
        elif not controllers:
            files += [f"{path.lstrip('/')}/cpuset.cpus.effective"]
    return sorted(files, key=lambda file: not file.startswith("cpuset"))
