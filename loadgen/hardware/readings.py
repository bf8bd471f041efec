"""The readings of cores, processes, queues and GPUs, and the parsers of the kernel's texts; pure."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, NamedTuple

TOKEN = "LOADGEN_TOKEN"  # noqa: S105 - the name of a variable
"""The sampler's environment variable for the token of the frontends' metrics; empty for none."""

SAMPLER = "sampler"
"""The role of the process that takes the readings: it is watched like the others."""

MAX_SAMPLES = 3600
MAX_VALUES = 100_000
"""Most samples that are kept, and most values in all samples."""


@dataclass(frozen=True, slots=True)
class Queue:
    """A model's queue at one moment.

    Attributes:
        length: queries that wait.
        batches: batches sent until now.
        queries: queries in them.
        max_batch: the largest batch a replica may be given.
    """

    length: int
    batches: int
    queries: int
    max_batch: int


class GpuReading(NamedTuple):
    """One GPU at one moment; None for a value that it does not report.

    Attributes:
        utilisation: 0 to 1.
        memory_bytes: in use.
        processes: compute processes on it.
        sm_clock_mhz: the clock of its multiprocessors.
        sm_clock_limit_mhz: the highest that this clock can have.
        energy_mj: since its driver was loaded.
    """

    utilisation: float | None = None
    memory_bytes: int | None = None
    processes: int | None = None
    sm_clock_mhz: int | None = None
    sm_clock_limit_mhz: int | None = None
    energy_mj: int | None = None


@dataclass(frozen=True, slots=True)
class Reading:
    """Counters at one moment; all but memory, GPUs and queues only ever grow.

    Attributes:
        at_ns: monotonic clock.
        cores: of each core, nanoseconds in processes, and in all but idling.
        cpu_ns: CPU time of each role.
        throttled: of each role, periods in which a quota of its cgroup held it back, and ns, summed over cores.
        rss_bytes: memory of each role; what its processes share counts for each of them.
        gpus: of each GPU, by number.
        queues: of each model, as the frontend tells.
        wait_ns: time that threads of each role waited on a run queue; without roles of which the kernel does not tell.
        energy_uj: of each processor package and its memory, microjoules and where they start again from 0.
    """

    at_ns: int
    cores: Mapping[int, tuple[int, int]]
    cpu_ns: Mapping[str, int]
    throttled: Mapping[str, tuple[int, int]]
    rss_bytes: Mapping[str, int]
    gpus: Mapping[int, GpuReading] = field(default_factory=dict)
    queues: Mapping[str, Queue] = field(default_factory=dict)
    wait_ns: Mapping[str, int] = field(default_factory=dict)
    energy_uj: Mapping[str, tuple[int, int]] = field(default_factory=dict)

    def to_row(self) -> dict[str, Any]:
        """As JSON takes it."""
        return asdict(self)

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
            throttled={role: (int(pair[0]), int(pair[1])) for role, pair in row["throttled"].items()},
            rss_bytes=dict(row["rss_bytes"]),
            gpus={int(gpu): GpuReading(*values) for gpu, values in row["gpus"].items()},
            queues={key: Queue(**values) for key, values in row["queues"].items()},
            wait_ns=dict(row.get("wait_ns", {})),
            energy_uj={name: (int(pair[0]), int(pair[1])) for name, pair in row.get("energy_uj", {}).items()},
        )


class Tally:
    """CPU or waiting time of each role, which only grows, although its processes and threads come and go.

    Time that a process used after it was last seen is lost. Time that it used before it was first seen counts, except
    at the first reading of its role.
    """

    def __init__(self) -> None:
        self._seen: dict[str, Mapping[tuple[int, int], int]] = {}
        self._total_ns: dict[str, int] = {}

    def add(self, role: str, times_ns: Mapping[tuple[int, int], int]) -> int:
        """Count the time of a role's processes or threads; returns that of the role until now.

        Args:
            role: its role in the placement.
            times_ns: by process and start in ticks, or by process and thread: time since it began; of those that run
                now.
        """
        before = self._seen.get(role, times_ns)
        grown_ns = sum(max(0, ns - before.get(process, 0)) for process, ns in times_ns.items())
        self._seen[role] = times_ns
        self._total_ns[role] = self._total_ns.get(role, 0) + grown_ns
        return self._total_ns[role]

    def __contains__(self, role: str) -> bool:
        """The role has been counted before."""
        return role in self._total_ns


def next_due_s(due_s: float, every_s: float, now_s: float) -> float:
    """When to read again: at a multiple of the period, at least half a period later: short times make coarse shares.

    Args:
        due_s: when the last reading was due.
        every_s: between two readings.
        now_s: of the same clock as `due_s`.
    """
    beats = math.ceil((now_s - due_s) / every_s + 0.5)
    return due_s + max(1, beats) * every_s


def parse_stat(text: str, tick_ns: int) -> dict[int, tuple[int, int]]:
    """``/proc/stat`` → nanoseconds of each core in processes (user, nice, system), and in all but idle and iowait.

    The fields are those of proc_pid_stat(5): user nice system idle iowait irq softirq steal.

    Args:
        text: of the whole file.
        tick_ns: length of a tick of the kernel.
    """
    cores = {}
    for line in text.splitlines():
        name, *values = line.split()
        if name.startswith("cpu") and name != "cpu":
            user, nice, system, _, _, *rest = map(int, values[:8])
            running = (user + nice + system) * tick_ns
            cores[int(name.removeprefix("cpu"))] = (running, running + sum(rest) * tick_ns)
    return cores


def parse_process_cpu(text: str, tick_ns: int) -> tuple[int, int]:
    """``/proc/PID/stat`` → when the process started, in ticks, and the CPU time of all its threads, in nanoseconds.

    These are fields 22, 14 and 15; they stand behind a name that may hold anything.

    Args:
        text: of the whole file.
        tick_ns: length of a tick of the kernel.
    """
    fields = text.rpartition(")")[2].split()
    return int(fields[19]), (int(fields[11]) + int(fields[12])) * tick_ns


def parse_schedstat(text: str) -> int | None:
    """``schedstat`` of a thread → nanoseconds it waited on a run queue; None where the kernel does not count.

    The numbers are: nanoseconds on a core, nanoseconds waiting, and time slices. A kernel that does not count has zeros
    only, as a thread has that never ran.
    """
    on_core_ns, waited_ns, slices = map(int, text.split())
    return waited_ns if on_core_ns or waited_ns or slices else None


def parse_throttled(text: str) -> tuple[int, int]:
    """``cpu.stat`` of a cgroup, either version → periods in which it was throttled, and nanoseconds over all cores."""
    values = dict(line.split(maxsplit=1) for line in text.splitlines() if " " in line)
    time_ns = (
        values.get("throttled_time", 0) if "throttled_usec" not in values else int(values["throttled_usec"]) * 1000
    )
    return int(values.get("nr_throttled", 0)), int(time_ns)
