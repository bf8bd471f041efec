"""What cores, processes and GPUs did while load ran: readings of the kernel's counters → shares, peaks and findings.

Pure. `loadgen.sampler` takes the readings in a process of its own.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

from frontend_launch.launch.placement import Assignment
from frontend_launch.launch.topology import core_ranges

IDLE_SHARE = 0.8
"""Cores of a replica below this were idle, though it was never without a batch."""

OUTSIDE_SHARE = 0.05
"""So much of a core for processes outside the plan is pointed out."""

MAX_SAMPLES = 3600

_NS_PER_S = 1_000_000_000


@dataclass(frozen=True, slots=True)
class Reading:
    """Counters at one moment; all but the last three only ever grow.

    Attributes:
        at_ns: monotonic clock.
        cores: of each core, nanoseconds in processes, and in all but idling.
        cpu_ns: CPU time of each role.
        throttled_ns: time that each role was held back by the quota of its cgroup.
        rss_bytes: memory of each role.
        gpus: of each GPU, its utilisation (0 to 1), memory in bytes, and processes.
    """

    at_ns: int
    cores: Mapping[int, tuple[int, int]]
    cpu_ns: Mapping[str, int]
    throttled_ns: Mapping[str, int]
    rss_bytes: Mapping[str, int]
    gpus: Mapping[int, tuple[float, int, int]] = field(default_factory=dict)

    def to_row(self) -> dict[str, Any]:
        """As JSON takes it."""
        return {name: getattr(self, name) for name in self.__dataclass_fields__}

    @classmethod
    def from_row(cls, row: Mapping[str, Any]) -> Reading:
        """Read what `to_row` made, after JSON turned numbers that are keys into texts.

        Raises:
            KeyError, ValueError, TypeError: it is no reading.
        """
        return cls(
            at_ns=int(row["at_ns"]),
            cores={int(core): (int(pair[0]), int(pair[1])) for core, pair in row["cores"].items()},
            cpu_ns=dict(row["cpu_ns"]),
            throttled_ns=dict(row["throttled_ns"]),
            rss_bytes=dict(row["rss_bytes"]),
            gpus={int(gpu): (float(u), int(m), int(n)) for gpu, (u, m, n) in row["gpus"].items()},
        )


@dataclass(frozen=True, slots=True)
class Sample:
    """What happened between two readings, as shares: 1 is one core.

    Attributes:
        at_s: the end, seconds after the measured part began.
        processes_on: of each core, the share in processes.
        busy: of each core, the share in all but idling.
        cpu: of each role.
    """

    at_s: float
    processes_on: Mapping[int, float]
    busy: Mapping[int, float]
    cpu: Mapping[str, float]


def samples(readings: Sequence[Reading], began_ns: int) -> list[Sample]:
    """The readings, one after the other, as shares of the time between them; thinned to a bounded number."""
    every = max(1, -(-len(readings) // MAX_SAMPLES))
    chosen = readings[::every]
    return [_between(first, second, began_ns) for first, second in pairwise(chosen)]


def _between(first: Reading, second: Reading, began_ns: int) -> Sample:
    elapsed_ns = max(1, second.at_ns - first.at_ns)
    both = first.cores.keys() & second.cores.keys()
    return Sample(
        at_s=(second.at_ns - began_ns) / _NS_PER_S,
        processes_on={core: (second.cores[core][0] - first.cores[core][0]) / elapsed_ns for core in sorted(both)},
        busy={core: (second.cores[core][1] - first.cores[core][1]) / elapsed_ns for core in sorted(both)},
        # A process that is gone has no time any more, and no time was taken back.
        cpu={role: max(0.0, (ns - first.cpu_ns.get(role, ns)) / elapsed_ns) for role, ns in second.cpu_ns.items()},
    )


def summarise(
    readings: Sequence[Reading], began_ns: int, ended_ns: int, assignments: Sequence[Assignment], saturated: bool
) -> dict[str, Any] | None:
    """What the readings within a period come to; None with fewer than two of them.

    Args:
        readings: in order.
        began_ns: when the period began, monotonic clock.
        ended_ns: when it ended.
        assignments: the plan.
        saturated: the replicas were found to be busy all the time.
    """
    within = [reading for reading in readings if began_ns <= reading.at_ns <= ended_ns]
    if len(within) < 2:
        return None
    first, last = within[0], within[-1]
    whole = _between(first, last, began_ns)
    parts = samples(within, began_ns)
    throttled_s = {role: _throttled_s(first, last, role) for role in whole.cpu}
    return {
        "readings": len(within),
        "cores": {
            str(core): {"mean": share, "max": max(part.busy.get(core, 0.0) for part in parts)}
            for core, share in whole.busy.items()
        },
        "processes": {
            role: {
                "cpu_mean": share,
                "cpu_max": max(part.cpu.get(role, 0.0) for part in parts),
                "rss_max_bytes": max(reading.rss_bytes.get(role, 0) for reading in within),
                "throttled_s": throttled_s[role],
            }
            for role, share in whole.cpu.items()
        },
        "gpus": {
            str(gpu): {
                "utilisation_mean": sum(reading.gpus[gpu][0] for reading in within) / len(within),
                "utilisation_max": max(reading.gpus[gpu][0] for reading in within),
                "memory_max_bytes": max(reading.gpus[gpu][1] for reading in within),
                "processes_max": max(reading.gpus[gpu][2] for reading in within),
            }
            for gpu in last.gpus
            if all(gpu in reading.gpus for reading in within)
        },
        "samples": [
            {
                "at_s": round(part.at_s, 3),
                "cores": {str(core): round(share, 3) for core, share in part.busy.items()},
                "processes": {role: round(share, 3) for role, share in part.cpu.items()},
            }
            for part in parts
        ],
        "findings": findings(whole, throttled_s, assignments, saturated),
    }


def _throttled_s(first: Reading, last: Reading, role: str) -> float:
    now_ns = last.throttled_ns.get(role, 0)
    return max(0, now_ns - first.throttled_ns.get(role, now_ns)) / _NS_PER_S


def findings(
    whole: Sample, throttled_s: Mapping[str, float], assignments: Sequence[Assignment], saturated: bool
) -> list[str]:
    """What a reader should look at, a line each."""
    lines = []
    for row in assignments:
        seen = [whole.busy[core] for core in row.cores if core in whole.busy]
        if saturated and row.role.startswith("replica") and row.gpu is None and seen:
            share = sum(seen) / len(seen)
            if share < IDLE_SHARE:
                lines.append(
                    f"{row.role} kept its cores {core_ranges(row.cores)} busy {share:.0%} of the time only: "
                    "fewer may do, or its framework does not use them"
                )
    for cores, roles in _islands(assignments):
        ours = sum(whole.cpu.get(role, 0.0) for role in roles)
        outside = sum(whole.processes_on.get(core, 0.0) for core in cores) - ours
        if outside > OUTSIDE_SHARE * len(cores) and cores <= whole.processes_on.keys():
            lines.append(
                f"processes outside the plan used {outside:.0%} of a core on the cores of {', '.join(roles)} "
                f"({core_ranges(cores)})"
            )
    lines += [
        f"{role} was held back by the CPU quota of its cgroup for {seconds:.1f} s"
        for role, seconds in throttled_s.items()
        if seconds > 0
    ]
    return lines


def _islands(assignments: Iterable[Assignment]) -> list[tuple[frozenset[int], list[str]]]:
    """Roles that share cores, with the cores of them all: of more than these no process of the plan can use."""
    islands: list[tuple[frozenset[int], list[str]]] = []
    for row in assignments:
        cores, roles = frozenset(row.cores), [row.role]
        apart = []
        for other_cores, other_roles in islands:
            if cores & other_cores:
                cores, roles = cores | other_cores, [*other_roles, *roles]
            else:
                apart.append((other_cores, other_roles))
        islands = [*apart, (cores, roles)]
    return islands


# The kernel's files ------------------------------------------------------------------------------------------


def parse_stat(text: str, tick_ns: int) -> dict[int, tuple[int, int]]:
    """``/proc/stat`` → nanoseconds of each core in processes (user, nice, system), and in all but idle and iowait.

    The fields are those of proc_pid_stat(5): user nice system idle iowait irq softirq steal.
    """
    cores = {}
    for line in text.splitlines():
        name, *values = line.split()
        if name.startswith("cpu") and name != "cpu":
            user, nice, system, _, _, *rest = map(int, values[:8])
            running = (user + nice + system) * tick_ns
            cores[int(name.removeprefix("cpu"))] = (running, running + sum(rest) * tick_ns)
    return cores


def parse_process_cpu(text: str, tick_ns: int) -> int:
    """``/proc/PID/stat`` → CPU time of all threads, ns: its fields 14 and 15, behind a name that may hold anything."""
    fields = text.rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) * tick_ns


def parse_throttled(text: str) -> int:
    """``cpu.stat`` of a cgroup, either version → nanoseconds it was throttled."""
    values = dict(line.split(maxsplit=1) for line in text.splitlines() if " " in line)
    if "throttled_usec" in values:
        return int(values["throttled_usec"]) * 1000
    return int(values.get("throttled_time", 0))
