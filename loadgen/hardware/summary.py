"""Turns readings of cores, processes, GPUs and queues into shares, peaks and findings.

Pure. `loadgen.hardware.sampler` takes the readings in a process of its own.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Annotated, Any, Generic, TypeVar

from msgspec import Meta

from frontend_launch.integers import core_ranges
from frontend_launch.launch.placement import Assignment
from loadgen.constraints import Count
from loadgen.hardware.energy import Energy, EnergyTally
from loadgen.hardware.readings import MAX_SAMPLES, MAX_VALUES, GpuReading, Queue, Reading
from model_containers.units import NS_PER_S

N = TypeVar("N", int, float)

IDLE_SHARE = 0.8
"""Cores of a replica below this were idle, though it was never without a batch."""


@dataclass(frozen=True, slots=True)
class Sample:
    """What happened between two readings, as shares: 1 is one core.

    Attributes:
        at_s: the end, seconds after the measured part began.
        elapsed_s: from one to the other.
        processes_on: of each core, the share in processes.
        busy: of each core, the share in all but idling.
        cpu: of each role.
        wait: of each role, the time that its threads waited on run queues.
        batch_fill: of each model, the mean batch over the largest there may be; None where none was sent.
    """

    at_s: float
    elapsed_s: float
    processes_on: Mapping[int, float]
    busy: Mapping[int, float]
    cpu: Mapping[str, float]
    wait: Mapping[str, float]
    batch_fill: Mapping[str, float | None]


@dataclass(frozen=True, slots=True)
class CoreUse:
    """How busy one core was.

    Attributes:
        mean: over the measured part.
        max: the most between two readings.
    """

    mean: float
    max: float


@dataclass(frozen=True, slots=True)
class ProcessUse:
    """What the processes of one role used.

    Attributes:
        cpu_mean: share of a core over the measured part.
        cpu_max: the most between two readings.
        rss_max_bytes: most memory.
        throttled_periods: periods in which a CPU quota held them back.
        throttled_s: time of that, summed over cores.
        wait_share: share of the measured part that a thread that wanted to run waited for a core, 0 to 1; see
            `wait_share`. None where the kernel does not tell.
    """

    cpu_mean: float
    cpu_max: float
    rss_max_bytes: Count
    throttled_periods: Count
    throttled_s: float
    wait_share: float | None = None


@dataclass(frozen=True, slots=True)
class Island:
    """Cores that are joined by roles that share them, over the measured part; of shares, 1 is all of its cores.

    Attributes:
        cores: ascending.
        roles: of the plan, and the sampler; they run on no other cores.
        own: CPU share of these roles, 0 to 1.
        outside: CPU share of processes outside the plan, 0 to 1; None where the kernel does not tell of all cores.
    """

    cores: list[Count]
    roles: list[str]
    own: float
    outside: float | None


@dataclass(frozen=True, slots=True)
class GpuUse:
    """What one GPU did; None for what it does not tell.

    Attributes:
        utilisation_mean: mean of the readings.
        utilisation_max: the largest reading.
        memory_max_bytes: most memory in use.
        processes_max: most processes on it.
        sm_clock_mhz: mean clock of its multiprocessors, of the readings.
        sm_clock_limit_mhz: the highest that this clock can have.
    """

    utilisation_mean: float | None = None
    utilisation_max: float | None = None
    memory_max_bytes: int | None = None
    processes_max: int | None = None
    sm_clock_mhz: float | None = None
    sm_clock_limit_mhz: int | None = None


@dataclass(frozen=True, slots=True)
class HardwareSample:
    """What happened between two readings, as it is stored.

    Attributes:
        at_s: the end, since the measured part began.
        cores: share of each core that was busy.
        processes: CPU share of each role.
        rss_bytes: memory of each role at the end.
        gpus: utilisation of each GPU at the end; None where it does not tell.
        queue_length: queries that wait at the end, by model; empty in files from before it was recorded.
        batch_fill: mean batch over the largest there may be, by model; None where none was sent.
    """

    at_s: float
    cores: Mapping[str, float]
    processes: Mapping[str, float]
    rss_bytes: Mapping[str, Count]
    gpus: Mapping[str, float | None]
    queue_length: Mapping[str, Count] = field(default_factory=dict)
    batch_fill: Mapping[str, float | None] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Hardware:
    """What cores, processes and GPUs did in the measured part; of shares, 1 is one core.

    Attributes:
        readings: number of readings.
        every_s: mean time between two of them.
        cores: by number.
        processes: by role.
        gpus: by number.
        samples: what happened between readings, thinned where there are many.
        findings: what a reader should look at, in sentences.
        islands: of each group of cores that roles share, the CPU of these roles and of others.
        energy: of processors and GPUs; None where nothing tells.
    """

    readings: Annotated[int, Meta(ge=2)]
    every_s: float
    cores: Mapping[str, CoreUse]
    processes: Mapping[str, ProcessUse]
    gpus: Mapping[str, GpuUse]
    samples: list[HardwareSample]
    findings: list[str]
    islands: list[Island] = field(default_factory=list)
    energy: Energy | None = None

    @property
    def watched_s(self) -> float:
        """From the first reading to the last."""
        return self.every_s * (self.readings - 1)


def between(first: Reading, second: Reading, began_ns: int) -> Sample:
    """What happened between two readings.

    Args:
        first: the earlier reading.
        second: the later one; cores that are in one reading only are left out.
        began_ns: the zero of the sample's time, of the readings' clock.
    """
    elapsed_ns = max(1, second.at_ns - first.at_ns)
    both = sorted(first.cores.keys() & second.cores.keys())
    grown = {core: [b - a for a, b in zip(first.cores[core], second.cores[core], strict=True)] for core in both}
    return Sample(
        at_s=(second.at_ns - began_ns) / NS_PER_S,
        elapsed_s=elapsed_ns / NS_PER_S,
        processes_on={core: max(0, running_ns) / elapsed_ns for core, (running_ns, _) in grown.items()},
        # The kernel counts in whole ticks, which may come to a little more than the time there was.
        busy={core: min(1.0, max(0, busy_ns) / elapsed_ns) for core, (_, busy_ns) in grown.items()},
        cpu={role: max(0, ns - first.cpu_ns.get(role, ns)) / elapsed_ns for role, ns in second.cpu_ns.items()},
        wait={
            role: max(0, ns - first.wait_ns[role]) / elapsed_ns
            for role, ns in second.wait_ns.items()
            if role in first.wait_ns
        },
        batch_fill={key: _fill(first.queues.get(key), queue) for key, queue in second.queues.items()},
    )


def wait_share(cpu: float, wait: float) -> float:
    """How much of a period a thread of a role that wanted to run waited for a core: 0 never, 1 all the time.

    ``wait / max(1, cpu + wait)``. ``cpu + wait`` is the mean number of threads that wanted to run, so idle threads do
    not count: one thread that waits half of the time has 0.5, as have eight threads on eight cores that each wait half
    of the time. It is a share of the period, not of the time in which the role wanted to run. So a role that seldom
    wants to run has a small one. Threads of any process make one wait: those of the role itself, of other roles, and of
    processes outside the plan.

    Args:
        cpu: CPU time of all its threads ÷ the length of the period.
        wait: their time on run queues ÷ the length of the period.
    """
    return wait / max(1.0, cpu + wait)


def _fill(first: Queue | None, second: Queue) -> float | None:
    batches, queries = (0, 0) if first is None else (first.batches, first.queries)
    sent = second.batches - batches
    return (second.queries - queries) / sent / second.max_batch if sent > 0 else None


class Decimated:
    """Keeps every reading, then every second one, then every fourth, so that there are never more than `most`."""

    def __init__(self, most: int) -> None:
        assert most >= 2
        self.kept: list[Reading] = []
        self._most, self._every, self._count = most - most % 2, 1, 0

    def add(self, reading: Reading) -> None:
        """Take the next reading."""
        if self._count % self._every == 0:
            if len(self.kept) == self._most:  # an even number, so this reading is one of those to keep
                self.kept = self.kept[::2]
                self._every *= 2
            self.kept.append(reading)
        self._count += 1


class _Peaks:
    """The most there was of everything, and the mean of what has no counter."""

    def __init__(self) -> None:
        self.busy: dict[int, float] = {}
        self.cpu: dict[str, float] = {}
        self.rss_bytes: dict[str, int] = {}
        self._gpus: dict[int, _GpuPeaks] = {}

    def between(self, sample: Sample) -> None:
        _raise(self.busy, sample.busy)
        _raise(self.cpu, sample.cpu)

    def at(self, reading: Reading) -> None:
        _raise(self.rss_bytes, reading.rss_bytes)
        for number, gpu in reading.gpus.items():
            self._gpus.setdefault(number, _GpuPeaks()).at(gpu)

    @property
    def gpus(self) -> dict[str, GpuUse]:
        return {str(number): peaks.use for number, peaks in sorted(self._gpus.items())}


class _Told(Generic[N]):
    """The largest and the mean of a value of which not every reading tells; None where none does."""

    def __init__(self) -> None:
        self.largest: N | None = None
        self._total, self._count = 0.0, 0

    def add(self, value: N | None) -> None:
        if value is not None:
            self.largest = value if self.largest is None else max(self.largest, value)
            self._total, self._count = self._total + value, self._count + 1

    @property
    def mean(self) -> float | None:
        return self._total / self._count if self._count else None


class _GpuPeaks:
    def __init__(self) -> None:
        self._utilisation, self._memory, self._processes = _Told[float](), _Told[int](), _Told[int]()
        self._clock, self._limit = _Told[int](), _Told[int]()

    def at(self, gpu: GpuReading) -> None:
        self._utilisation.add(gpu.utilisation)
        self._memory.add(gpu.memory_bytes)
        self._processes.add(gpu.processes)
        self._clock.add(gpu.sm_clock_mhz)
        self._limit.add(gpu.sm_clock_limit_mhz)

    @property
    def use(self) -> GpuUse:
        return GpuUse(
            utilisation_mean=self._utilisation.mean,
            utilisation_max=self._utilisation.largest,
            memory_max_bytes=self._memory.largest,
            processes_max=self._processes.largest,
            sm_clock_mhz=self._clock.mean,
            sm_clock_limit_mhz=self._limit.largest,
        )


def _raise(most: dict[Any, Any], values: Mapping[Any, Any]) -> None:
    for key, value in values.items():
        if most.get(key) is None or value > most[key]:
            most[key] = value


def summarise(
    readings: Iterable[Reading], began_ns: int, ended_ns: int, assignments: Sequence[Assignment]
) -> Hardware | None:
    """What the readings within a period come to; None with fewer than two of them.

    Args:
        readings: in order; looked at one by one, so that a long run needs no more memory than a short one.
        began_ns: when the period began, monotonic clock.
        ended_ns: when it ended.
        assignments: the plan, and where the sampler ran.
    """
    within = (reading for reading in readings if began_ns <= reading.at_ns <= ended_ns)
    first = last = next(within, None)
    if first is None or last is None:
        return None
    decimated, peaks, count, energy = Decimated(_most_samples(first)), _Peaks(), 1, EnergyTally()
    decimated.add(first)
    peaks.at(first)
    for reading in within:
        peaks.between(between(last, reading, began_ns))
        energy.between(last, reading)
        peaks.at(reading)
        decimated.add(reading)
        last, count = reading, count + 1
    if count < 2:
        return None
    whole = between(first, last, began_ns)
    throttled = {role: _throttled(first, last, role) for role in whole.cpu}
    islands = islands_of(whole, assignments)
    return Hardware(
        readings=count,
        every_s=round(whole.elapsed_s / (count - 1), 3),
        cores={str(core): CoreUse(share, peaks.busy[core]) for core, share in whole.busy.items()},
        processes={
            role: ProcessUse(
                cpu_mean=share,
                cpu_max=peaks.cpu[role],
                rss_max_bytes=peaks.rss_bytes.get(role, 0),
                throttled_periods=throttled[role][0],
                throttled_s=throttled[role][1],
                wait_share=wait_share(share, whole.wait[role]) if role in whole.wait else None,
            )
            for role, share in whole.cpu.items()
        },
        gpus=peaks.gpus,
        samples=[_stored(between(a, b, began_ns), b) for a, b in pairwise(decimated.kept)],
        findings=[],
        islands=islands,
        energy=energy.energy,
    )


def _most_samples(reading: Reading) -> int:
    width = len(reading.cores) + 2 * len(reading.cpu_ns) + len(reading.gpus) + 2 * len(reading.queues) + 1
    return max(2, min(MAX_SAMPLES, MAX_VALUES // width))


def _stored(sample: Sample, reading: Reading) -> HardwareSample:
    """A sample as it is stored; a GPU's utilisation and a queue's length are those at its end."""
    return HardwareSample(
        at_s=round(sample.at_s, 3),
        cores={str(core): round(share, 3) for core, share in sample.busy.items()},
        processes={role: round(share, 3) for role, share in sample.cpu.items()},
        rss_bytes=dict(reading.rss_bytes),
        gpus={str(number): gpu.utilisation for number, gpu in reading.gpus.items()},
        queue_length={key: queue.length for key, queue in reading.queues.items()},
        batch_fill={key: None if fill is None else round(fill, 4) for key, fill in sample.batch_fill.items()},
    )


def _throttled(first: Reading, last: Reading, role: str) -> tuple[int, float]:
    """Periods and seconds; a cgroup that is gone has no counters any more."""
    before, after = first.throttled.get(role, (0, 0)), last.throttled.get(role, (0, 0))
    return max(0, after[0] - before[0]), max(0, after[1] - before[1]) / NS_PER_S


def idle_cores(hardware: Hardware, assignments: Sequence[Assignment]) -> list[str]:
    """A line for each replica whose cores were idle though it always had a batch.

    Args:
        hardware: of a run whose replicas were saturated.
        assignments: who ran where.
    """
    lines = []
    for row in assignments:
        seen = [hardware.cores[str(core)].mean for core in row.cores if str(core) in hardware.cores]
        if row.role.startswith("replica") and row.gpu is None and seen:
            share = sum(seen) / len(seen)
            if share < IDLE_SHARE:
                # Not what it used itself: where others used its cores, it may have wanted more.
                lines.append(
                    f"cores {core_ranges(row.cores)} of {row.role} were busy {share:.0%} of the time only: "
                    "fewer may do, or its framework does not use them"
                )
    return lines


def islands_of(whole: Sample, assignments: Iterable[Assignment]) -> list[Island]:
    """How busy the islands of a placement were.

    Args:
        whole: over the whole measured part.
        assignments: who ran where.
    """
    return [_island(whole, sorted(cores), roles) for cores, roles in _shared_cores(assignments)]


def _island(whole: Sample, cores: list[int], roles: list[str]) -> Island:
    own = sum(whole.cpu.get(role, 0.0) for role in roles)
    outside = None
    if whole.processes_on.keys() >= set(cores):
        # The kernel counts the time of a core in ticks, that of a process exactly: the rest may be below 0.
        rest = sum(whole.processes_on[core] for core in cores) - own
        outside = min(1.0, max(0.0, rest / len(cores)))
    return Island(cores, roles, min(1.0, own / len(cores)), outside)


def _shared_cores(assignments: Iterable[Assignment]) -> list[tuple[frozenset[int], list[str]]]:
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
