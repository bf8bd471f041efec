"""What this process may use of its machine, or a machine described in words.

`discover` reads the kernel's own files, so it needs no library and works in a container:

=============================================== ====================================================
what                                            where
=============================================== ====================================================
cores                                           the affinity mask of this process
CPU quota, cgroup v2 (``cpu.max``)              ``$MAX $PERIOD`` in µs, or ``max``
CPU quota, cgroup v1 (``cpu.cfs_*_us``)         quota and period in µs; a quota of -1 is none
GPUs                                            ``/proc/driver/nvidia/gpus/*``, else ``/dev/nvidia[0-9]*``
=============================================== ====================================================

A quota is a share of time and says nothing of cores. The planner deals in whole cores, so a quota of 2.5 cores
leaves the first two: more busy cores than quota would be throttled together, which no measurement survives.
"""

from __future__ import annotations

import os
import re
import socket
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from frontend_launch.errors import PlacementError

MAX_RANGE_MEMBERS = 65_536
"""Most integers that one list may stand for; a typing error must not fill the memory."""

_ITEM = re.compile(r"(?P<first>[0-9]{1,9})(?:-(?P<last>[0-9]{1,9}))?")
_SYNTAX = "write cpus=0-31,gpus=0-1"


@dataclass(frozen=True, slots=True)
class Topology:
    """The part of one machine that a deployment may use.

    Attributes:
        cores: the kernel's numbers of the usable cores, ascending.
        gpus: the numbers of the GPUs, ascending.
        node: the machine's name.
        described: True for a machine in words, on which nothing can be started.
        note: why there are fewer cores than the affinity allows; empty when nothing was cut.
    """

    cores: tuple[int, ...]
    gpus: tuple[int, ...]
    node: str
    described: bool
    note: str = ""


def discover(root: Path = Path("/")) -> Topology:
    """What this process may use: its affinity, limited by the CPU quota of its cgroups, and the machine's GPUs.

    Args:
        root: where ``proc``, ``sys`` and ``dev`` are found.
    """
    cores, note = limit_to_quota(tuple(sorted(os.sched_getaffinity(0))), cpu_quota(root))
    return Topology(cores, find_gpus(root), socket.gethostname(), described=False, note=note)


def describe(text: str) -> Topology:
    """A machine in words: ``cpus=LIST,gpus=LIST``, such as ``cpus=0-31,gpus=0-1``; without ``gpus`` it has none.

    Raises:
        PlacementError: the text is something else.
    """
    fields: dict[str, list[str]] = {}
    members: list[str] | None = None
    for part in re.split(r"[,;\s]+", text.strip()):
        name, equals, value = part.rpartition("=")
        if equals:
            if name not in ("cpus", "gpus") or name in fields:
                raise PlacementError(f"topology {text!r}: {name!r} is unknown or said twice: {_SYNTAX}")
            members = fields[name] = []
        if members is None:
            raise PlacementError(f"topology {text!r} does not begin with a name: {_SYNTAX}")
        members.append(value)
    cores = _described_numbers(text, fields.get("cpus", []))
    if not cores:
        raise PlacementError(f"topology {text!r} has no cores: {_SYNTAX}")
    gpus = fields.get("gpus", [])
    return Topology(cores, () if gpus == ["none"] else _described_numbers(text, gpus), "described", described=True)


def _described_numbers(text: str, members: list[str]) -> tuple[int, ...]:
    items = [member for member in members if member]
    try:
        return tuple(sorted(set(expand_ranges(items)))) if items else ()
    except ValueError as error:
        raise PlacementError(f"topology {text!r}: {error}") from None


def expand_ranges(items: Iterable[str]) -> tuple[int, ...]:
    """The integers that items such as ``3`` and ``20-27`` stand for, in their order; the inverse of `core_ranges`.

    Raises:
        ValueError: an item is neither, runs backwards, or the list is longer than `MAX_RANGE_MEMBERS`.
    """
    numbers: list[int] = []
    for item in items:
        match = _ITEM.fullmatch(item)
        if match is None:
            raise ValueError(f"{item!r} is neither a whole number nor a range such as 20-27")
        first, last = int(match["first"]), int(match["last"] or match["first"])
        if last < first:
            raise ValueError(f"{item!r} runs backwards: write {last}-{first}")
        if len(numbers) + last - first >= MAX_RANGE_MEMBERS:
            raise ValueError(f"{item!r} makes the list longer than {MAX_RANGE_MEMBERS} numbers: name fewer")
        numbers.extend(range(first, last + 1))
    return tuple(numbers)


def core_ranges(cores: Iterable[int]) -> str:
    """Core numbers as ``taskset`` writes them, ascending: ``0-2,5``; a pair is ``0,1``, nothing is ``-``."""
    runs: list[list[int]] = []
    for core in sorted(set(cores)):
        if runs and core == runs[-1][-1] + 1:
            runs[-1].append(core)
        else:
            runs.append([core])
    return ",".join(f"{run[0]}-{run[-1]}" if len(run) > 2 else ",".join(map(str, run)) for run in runs) or "-"


def limit_to_quota(cores: tuple[int, ...], quota: float | None) -> tuple[tuple[int, ...], str]:
    """The first whole cores that a quota pays for, at least one, and a note when that cut any.

    Args:
        cores: the cores of the affinity mask, ascending.
        quota: in cores; None for no limit.
    """
    if quota is None or quota >= len(cores):
        return cores, ""
    usable = cores[: max(1, int(quota))]
    if usable == cores:
        return cores, ""
    note = f"the CPU quota of {quota:g} cores leaves {core_ranges(usable)} of cores {core_ranges(cores)}"
    return usable, note


def find_gpus(root: Path = Path("/")) -> tuple[int, ...]:
    """The numbers of the NVIDIA GPUs, counted from 0 as CUDA does, whatever their device files are called."""
    found = list((root / "proc/driver/nvidia/gpus").glob("*")) or list((root / "dev").glob("nvidia[0-9]*"))
    return tuple(range(len(found)))


def cpu_quota(root: Path = Path("/")) -> float | None:
    """The tightest CPU quota, in cores, of this process's cgroups and all their parents; None without one."""
    return min((quota for directory in _cgroup_directories(root) for quota in _quotas(directory)), default=None)


def _cgroup_directories(root: Path) -> Iterator[Path]:
    """The cgroups that hold this process, and their parents up to each mount, as far as they can be seen.

    A line of ``/proc/self/cgroup`` is ``ID:CONTROLLERS:PATH``; version 2 has one with no controllers. In a container
    the path may be the host's, which is not below the mount; the mount itself is then the container's own cgroup.
    """
    for line in _read(root / "proc/self/cgroup").splitlines():
        match line.split(":", 2):
            case [_, "", path]:
                mounts = ("", "unified")
            case [_, controllers, path] if "cpu" in controllers.split(","):
                mounts = (controllers, "cpu")
            case _:
                continue
        below = PurePosixPath(path.lstrip("/"))
        # A path that leads out of the mount says that the mount is all that can be seen.
        levels = [PurePosixPath()] if ".." in below.parts else [below, *below.parents]
        yield from (root / "sys/fs/cgroup" / mount / level for mount in mounts for level in levels)


def _quotas(directory: Path) -> Iterator[float]:
    """The quotas that a cgroup sets, in cores, in the files of either version."""
    v1 = f"{_read(directory / 'cpu.cfs_quota_us')} {_read(directory / 'cpu.cfs_period_us')}"
    for text in (v1, _read(directory / "cpu.max")):
        match text.split():
            case [quota, period] if quota.isdecimal() and period.isdecimal() and int(period) > 0:
                yield int(quota) / int(period)


def _read(path: Path) -> str:
    """A file's text; empty where it is missing or closed to us, for the kernel shows each machine a different set."""
    try:
        return path.read_text(errors="surrogateescape")
    except OSError:
        return ""
