"""The cores, NUMA nodes and GPUs that this process may use, or those of a machine described in words.

`discover` reads the kernel's own files, so it needs no library and works in a container:

=============================================== ====================================================
what                                            where
=============================================== ====================================================
cores                                           the affinity mask of this process, and what it may be widened to
CPU quota, cgroup v2 (``cpu.max``)              ``$MAX $PERIOD`` in µs, or ``max``
CPU quota, cgroup v1 (``cpu.cfs_*_us``)         quota and period in µs; -1 for no quota
GPUs                                            ``/proc/driver/nvidia/gpus/*``, else ``/dev/nvidia[0-9]*``
threads of one physical core                    ``/sys/devices/system/cpu/cpu*/topology/thread_siblings_list``
NUMA nodes of cores                             ``/sys/devices/system/node/node*/cpulist``
NUMA node of a GPU                              ``/sys/bus/pci/devices/*/numa_node``, by the driver's PCI bus id
=============================================== ====================================================

What one of these files does not tell is unknown, and the planner does without.

A quota is a share of time and says nothing of cores. The planner deals in whole cores, so a quota of 2.5 cores
leaves the first two: more busy cores than quota would be throttled together, which no measurement survives.
"""

from __future__ import annotations

import os
import re
import shlex
import socket
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from itertools import chain
from pathlib import Path

from frontend_launch import cgroups
from frontend_launch.affinity import reachable
from frontend_launch.errors import RequestError
from frontend_launch.integers import core_ranges, expand_ranges

MAX_DESCRIBED = 2048
"""Cores, or GPUs, of a machine in words: more than any has, and a plan for them takes seconds."""

_SYNTAX = "write cpus=0-31,gpus=0-1 and, if it matters, smt=2,numa=2"


@dataclass(frozen=True, slots=True)
class NumaNode:
    """Cores and GPUs that are near the same memory.

    Attributes:
        number: the kernel's.
        cores: the usable cores on it, ascending.
        gpus: the GPUs on it, ascending; those of which it is not known are on none.
    """

    number: int
    cores: tuple[int, ...]
    gpus: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class Topology:
    """The part of one machine that a deployment may use.

    Attributes:
        cores: the kernel's numbers of the usable cores, ascending.
        gpus: the numbers of the GPUs, ascending.
        node: the machine's name.
        words: that describe it, for one on which nothing can be started; empty for a machine that is there.
        note: why there are fewer cores than the affinity allows; empty when nothing was cut.
        siblings: the usable cores that are threads of one physical core, for each that has several.
        numa_nodes: the nodes that have memory, ascending; empty when they are unknown.
        beyond: the same machine with the cores outside the affinity of this process that its children may be pinned
            to; None where there are none.
    """

    cores: tuple[int, ...]
    gpus: tuple[int, ...]
    node: str
    words: str = ""
    note: str = ""
    siblings: tuple[tuple[int, ...], ...] = ()
    numa_nodes: tuple[NumaNode, ...] = ()
    beyond: Topology | None = None

    def reaching(self, cores: Iterable[int]) -> Topology:
        """The machine that has cores which the user named: with what is beyond the affinity only when they need it."""
        return self if self.beyond is None or set(cores) <= set(self.cores) else self.beyond

    def physical(self, core: int) -> tuple[int, ...]:
        """The usable threads of the physical core that a core belongs to, itself among them."""
        return next((group for group in self.siblings if core in group), (core,))

    def memory_of(self, cores: Iterable[int]) -> tuple[int, ...]:
        """The numbers of the NUMA nodes that cores are on; empty unless it is known for each of them."""
        wanted = frozenset(cores)
        nodes = [node for node in self.numa_nodes if wanted & set(node.cores)]
        known = frozenset(core for node in nodes for core in node.cores)
        return tuple(node.number for node in nodes) if wanted <= known else ()

    def near(self, gpu: int) -> tuple[int, ...]:
        """The usable cores on a GPU's NUMA node; all usable cores when the node is unknown."""
        return next((node.cores for node in self.numa_nodes if gpu in node.gpus), self.cores)


def discover(root: Path = Path("/")) -> Topology:
    """What this process may use: its affinity, limited by the CPU quota of its cgroups, and the machine's GPUs.

    Args:
        root: where ``proc``, ``sys`` and ``dev`` are found.
    """
    return machine_of(tuple(sorted(os.sched_getaffinity(0))), reachable(), root)


def machine_of(affinity: tuple[int, ...], within_reach: tuple[int, ...], root: Path = Path("/")) -> Topology:
    """The machine of a process.

    Args:
        affinity: the cores that the process may use, ascending.
        within_reach: those that its children may be pinned to, ascending.
        root: where ``proc``, ``sys`` and ``dev`` are found.
    """
    beyond = tuple(core for core in within_reach if core not in affinity)
    whole = _topology((*affinity, *beyond), root) if beyond else None
    if whole is None or set(whole.cores) <= set(affinity):  # the quota pays for no others
        return _topology(affinity, root)
    here = _topology(affinity, root)
    outside = core_ranges(set(whole.cores) - set(affinity))
    note = f"this process may not run on {outside} (taskset, numactl), its replicas may; name them with --cpus"
    return replace(here, note="; ".join(filter(None, (here.note, note))), beyond=whole)


def _topology(cores: tuple[int, ...], root: Path) -> Topology:
    """A machine with these cores, of which a quota leaves the first."""
    usable, note = limit_to_quota(cores, cpu_quota(root))
    usable = tuple(sorted(usable))
    siblings, numa_nodes = find_siblings(usable, root), find_numa_nodes(usable, root)
    return Topology(usable, find_gpus(root), socket.gethostname(), note=note, siblings=siblings, numa_nodes=numa_nodes)


def describe(text: str) -> Topology:
    """A machine in words: ``cpus=LIST,gpus=LIST,smt=THREADS,numa=NODES``, such as ``cpus=0-31,gpus=0-1,smt=2,numa=2``.

    Without ``gpus`` it has none; without ``smt`` a core is a physical core; without ``numa`` its nodes are unknown.
    Numbers go round as Linux mostly gives them: of 32 cores with ``smt=2,numa=2``, 0 and 16 are one physical core,
    node 0 has 0-7 and 16-23, node 1 the others. The GPUs are dealt out to the nodes in order.

    Raises:
        RequestError: the text is something else.
    """
    fields: dict[str, list[str]] = {}
    members: list[str] | None = None
    for part in re.split(r"[,;\s]+", text.strip()):
        name, equals, value = part.rpartition("=")
        if equals:
            if name not in ("cpus", "gpus", "smt", "numa") or name in fields:
                raise RequestError(f"{_named(text)}: {name!r} is unknown or said twice; {_SYNTAX}")
            members = fields[name] = []
        if members is None:
            raise RequestError(f"{_named(text)}: does not begin with a name; {_SYNTAX}")
        members.append(value)
    cores = _described_numbers(text, fields.get("cpus", []))
    if not cores:
        raise RequestError(f"{_named(text)}: has no cores; {_SYNTAX}")
    names = fields.get("gpus", [])
    gpus = () if names == ["none"] else _described_numbers(text, names)
    threads, nodes = (_described_count(text, name, fields) for name in ("smt", "numa"))
    if len(cores) % (threads * nodes):
        raise RequestError(
            f"{_named(text)}: {len(cores)} cores do not come in {nodes} equal nodes of cores with {threads} threads"
        )
    physical = [cores[first :: len(cores) // threads] for first in range(len(cores) // threads)]
    on_node = len(physical) // nodes
    numa_nodes = tuple(
        NumaNode(
            number,
            tuple(sorted(chain(*physical[number * on_node : (number + 1) * on_node]))),
            tuple(gpu for place, gpu in enumerate(gpus) if place * nodes // len(gpus) == number),
        )
        for number in range(nodes)
    )
    return Topology(
        cores,
        gpus,
        "described",
        words=text,
        siblings=tuple(physical) if threads > 1 else (),
        numa_nodes=numa_nodes if "numa" in fields else (),
    )


def _named(text: str) -> str:
    """The option with its value, for errors."""
    return f"--topology {shlex.quote(text)}"


def _described_count(text: str, name: str, fields: Mapping[str, list[str]]) -> int:
    match fields.get(name, ["1"]):
        case [count] if re.fullmatch("[1-9][0-9]{0,3}", count):
            return int(count)
        case counts:
            raise RequestError(f"{_named(text)}: {name}={','.join(counts)} is not a number from 1 on; {_SYNTAX}")


def _described_numbers(text: str, members: list[str]) -> tuple[int, ...]:
    items = [member for member in members if member]
    try:
        numbers = tuple(sorted(set(expand_ranges(items)))) if items else ()
    except ValueError as error:
        raise RequestError(f"{_named(text)}: {error}") from None
    if len(numbers) > MAX_DESCRIBED:
        raise RequestError(f"{_named(text)}: {len(numbers)} are too many; describe at most {MAX_DESCRIBED}")
    return numbers


def first_cores(machine: Topology, cores: int, gpus: int) -> Topology:
    """The part of a machine with its first cores and GPUs; what lies beyond its affinity is left out.

    Args:
        machine: all of it.
        cores: most of them, at least 1.
        gpus: most of them.
    """
    kept, cards = machine.cores[:cores], machine.gpus[:gpus]
    siblings = (tuple(core for core in group if core in kept) for group in machine.siblings)
    numa_nodes = (
        NumaNode(
            node.number,
            tuple(core for core in node.cores if core in kept),
            tuple(gpu for gpu in node.gpus if gpu in cards),
        )
        for node in machine.numa_nodes
    )
    return replace(
        machine,
        cores=kept,
        gpus=cards,
        siblings=tuple(group for group in siblings if len(group) > 1),
        numa_nodes=tuple(node for node in numa_nodes if node.cores),
        beyond=None,
    )


def limit_to_quota(cores: tuple[int, ...], quota: float | None) -> tuple[tuple[int, ...], str]:
    """The first whole cores that a quota pays for, at least one, and a note when that cut any.

    Args:
        cores: the cores that there would be without it, in the order in which they are kept.
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
    found = _gpu_bus_ids(root) or [path.name for path in (root / "dev").glob("nvidia[0-9]*")]
    return tuple(range(len(found)))


def _gpu_bus_ids(root: Path) -> list[str]:
    """The PCI bus ids of the GPUs that the driver knows, ascending, in which order ``nvidia-smi`` numbers them."""
    return sorted(path.name for path in (root / "proc/driver/nvidia/gpus").glob("*"))


def find_siblings(cores: tuple[int, ...], root: Path = Path("/")) -> tuple[tuple[int, ...], ...]:
    """Those of the cores that are threads of one physical core, for each physical core with several of them.

    Args:
        cores: those that this process may use.
        root: where ``/`` is; another directory in tests.
    """
    groups = set()
    for core in cores:
        text = _read(root / f"sys/devices/system/cpu/cpu{core}/topology/thread_siblings_list")
        groups.add(tuple(sorted(set(_kernel_list(text)) & set(cores))))
    return tuple(sorted(group for group in groups if len(group) > 1))


def find_numa_nodes(cores: tuple[int, ...], root: Path = Path("/")) -> tuple[NumaNode, ...]:
    """The NUMA nodes that have some of the cores and memory, with the GPUs whose node the kernel tells.

    Args:
        cores: those that this process may use.
        root: where ``/`` is; another directory in tests.
    """
    system = root / "sys/devices/system/node"
    # A node without memory cannot be asked for any; kernels that do not list those that have some have no such node.
    with_memory = _read(system / "has_memory").strip()
    gpu_nodes = [_read(root / f"sys/bus/pci/devices/{bus_id}/numa_node").strip() for bus_id in _gpu_bus_ids(root)]
    nodes = []
    for path in system.glob("node[0-9]*"):
        number = int(path.name.removeprefix("node"))
        here = tuple(sorted(set(_kernel_list(_read(path / "cpulist"))) & set(cores)))
        if here and (not with_memory or number in _kernel_list(with_memory)):
            nodes.append(NumaNode(number, here, tuple(i for i, node in enumerate(gpu_nodes) if node == str(number))))
    return tuple(sorted(nodes, key=lambda node: node.number))


def _kernel_list(text: str) -> tuple[int, ...]:
    """A list such as ``0-7,16-23`` from the kernel; empty where it is something else."""
    try:
        return expand_ranges(text.strip().split(","))
    except ValueError:
        return ()


def cpu_quota(root: Path = Path("/")) -> float | None:
    """The tightest CPU quota, in cores, of this process's cgroups and all their parents; None without one."""
    levels = (level for directory in cgroups.directories("self", "cpu", root) for level in directory.levels)
    return min((quota for level in levels for quota in _quotas(root / cgroups.MOUNT / level)), default=None)


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
