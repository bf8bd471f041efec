"""Reads the counters of kernel and frontends once a second: ``python -m loadgen.hardware.sampler``.

In the client's process even a thread would stop the loop that sends while it reads the files. Each reading is a line
of JSON. After the first one it prints an empty line, which tells its parent that it has started. It ends by SIGTERM, or
with the process that started it.
"""

from __future__ import annotations

import argparse
import contextlib
import http.client
import json
import os
import time
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from frontend_launch import cgroups
from frontend_launch.counters import Counters
from frontend_launch.errors import AdminError
from loadgen.hardware.energy import powercap_counters
from loadgen.hardware.readings import (
    SAMPLER,
    TOKEN,
    GpuReading,
    Queue,
    Reading,
    Tally,
    next_due_s,
    parse_process_cpu,
    parse_schedstat,
    parse_stat,
    parse_throttled,
)
from model_containers import lifeline
from model_containers.units import NS_PER_S

READINGS_BEFORE_SLOWING = 3600
"""After this number of readings the time between two of them doubles, so that the file of a long run stays small."""

FRONTEND_TIMEOUT_S = 0.5
"""Timeout for the frontend's answer; a frontend that is slower is too busy to be asked."""

_TICK_NS = NS_PER_S // os.sysconf("SC_CLK_TCK")
_PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")


def main() -> None:
    """Sample until the end."""
    parser = argparse.ArgumentParser(prog="python -m loadgen.hardware.sampler", description=__doc__)
    parser.add_argument("--out", type=Path, required=True, metavar="FILE")
    parser.add_argument("--every", type=float, default=1.0, metavar="SECONDS")
    parser.add_argument("--watch", action="append", default=[], metavar="ROLE=PID")
    parser.add_argument("--frontend", action="append", default=[], metavar="HOST:PORT", help="where its metrics are")
    arguments = parser.parse_args()
    lifeline.hold()
    watched = {role: int(pid) for role, _, pid in (text.partition("=") for text in arguments.watch)}
    watched[SAMPLER] = os.getpid()
    every_s, due_s, written, tally, waits = arguments.every, time.monotonic(), 0, Tally(), Tally()
    with arguments.out.open("a") as out, _gpus() as gpus:
        while True:
            watched = {role: _present(role, pid) for role, pid in watched.items()}
            reading = replace(read(watched, tally, waits, gpus), queues=read_queues(arguments.frontend))
            out.write(json.dumps(reading.to_row(), separators=(",", ":")) + "\n")
            out.flush()
            written += 1
            if written == 1:
                print(flush=True)  # noqa: T201 - this is what its parent waits for
            if written % READINGS_BEFORE_SLOWING == 0:
                every_s *= 2
            now_s = time.monotonic()
            due_s = next_due_s(due_s, every_s, now_s)
            time.sleep(due_s - now_s)


def read(watched: Mapping[str, int], tally: Tally, waits: Tally, gpus: Any = None) -> Reading:
    """Read everything now.

    Args:
        watched: a process of each role; it counts with its children, but what runs in a cgroup of its own, as a
            container does, is read whole.
        tally: CPU time until now; goes on counting.
        waits: waiting time until now; goes on counting.
        gpus: NVIDIA's library, ready for use; None without GPUs.
    """
    members = {role: _members(pid, watched.values()) for role, pid in watched.items()}
    return Reading(
        at_ns=time.monotonic_ns(),
        cores=parse_stat(Path("/proc/stat").read_text(), _TICK_NS),
        cpu_ns={role: tally.add(role, _cpu_ns(pids)) for role, pids in members.items()},
        throttled={role: _throttled(pid) for role, pid in watched.items()},
        rss_bytes={role: sum(map(_rss_bytes, pids)) for role, pids in members.items()},
        gpus={} if gpus is None else read_gpus(gpus),
        wait_ns=_add_waits(members, waits),
        energy_uj=read_energy(),
    )


def read_energy(root: Path = Path("/")) -> dict[str, tuple[int, int]]:
    """The counters of energy that the kernel has and lets this user read, see `powercap_counters`.

    Args:
        root: where ``/`` is; another directory in tests.
    """
    zones: dict[str, dict[str, str]] = {}
    for zone in (root / "sys/class/powercap").glob("intel-rapl:*"):
        texts = zones.setdefault(zone.name, {})
        for file in ("name", "energy_uj", "max_energy_range_uj"):
            with contextlib.suppress(OSError, ValueError):
                texts[file] = (zone / file).read_text()
    return powercap_counters(zones)


def read_queues(frontends: Iterable[str]) -> dict[str, Queue]:
    """The queues of all frontends, by model; a frontend that gives no valid answer in time is left out."""
    readings = [reading for frontend in frontends if (reading := _read_counters(frontend)) is not None]
    return {
        key: Queue(row.queue_length, row.batches, row.batch_size_sum, row.max_batch)
        for key, row in (Counters.merged(readings).models.items() if readings else ())
    }


def _read_counters(frontend: str) -> Counters | None:
    token = os.environ.get(TOKEN)
    connection = http.client.HTTPConnection(frontend, timeout=FRONTEND_TIMEOUT_S)
    try:
        connection.request("GET", "/metrics/loadgen", headers={"Authorization": f"Bearer {token}"} if token else {})
        return Counters.from_json(connection.getresponse().read())
    except (OSError, http.client.HTTPException, AdminError):
        return None
    finally:
        connection.close()


def _present(role: str, pid: int) -> int:
    """The process of a role, or the one that the deployment started in its place."""
    if Path(f"/proc/{pid}").exists():
        return pid
    variable = f"LOADGEN_ROLE={role}".encode()
    for path in Path(f"/proc/{os.getppid()}/task").glob("*/children"):
        with contextlib.suppress(OSError):
            for child in map(int, path.read_text().split()):
                if variable in Path(f"/proc/{child}/environ").read_bytes().split(b"\0"):
                    return child
    return pid


def _members(pid: int, watched: Collection[int]) -> list[int]:
    return cgroups.members(pid) if cgroups.differs(pid, os.getpid()) else _family(pid, watched)


def _family(pid: int, watched: Collection[int]) -> list[int]:
    """A process and its descendants, without those that are watched on their own, such as the client's children."""
    found, waiting = [], [pid]
    while waiting:
        found.append(waiting.pop())
        for path in Path(f"/proc/{found[-1]}/task").glob("*/children"):
            with contextlib.suppress(OSError):
                waiting += [child for child in map(int, path.read_text().split()) if child not in watched]
    return found


def _cpu_ns(pids: list[int]) -> dict[tuple[int, int], int]:
    """CPU time of processes by number and start, since numbers are reused."""
    found = {}
    for pid in pids:
        with contextlib.suppress(OSError, ValueError, IndexError):  # it is gone
            started, cpu_ns = parse_process_cpu(Path(f"/proc/{pid}/stat").read_text(), _TICK_NS)
            found[pid, started] = cpu_ns
    return found


def _add_waits(members: Mapping[str, list[int]], waits: Tally) -> dict[str, int]:
    """Waiting time of each role until now, without roles whose threads the kernel does not count."""
    found = {}
    for role, pids in members.items():
        times_ns = _wait_ns(pids)
        if times_ns or role in waits:
            found[role] = waits.add(role, times_ns)
    return found


def _wait_ns(pids: list[int]) -> dict[tuple[int, int], int]:
    """Waiting time by process and thread, of threads that the kernel counts."""
    found = {}
    for pid in pids:
        with contextlib.suppress(OSError):  # it is gone
            for thread in os.listdir(f"/proc/{pid}/task"):  # a model has hundreds: Path.glob takes twice as long
                with (
                    contextlib.suppress(OSError, ValueError),
                    open(f"/proc/{pid}/task/{thread}/schedstat", "rb", 0) as file,
                ):
                    if (waited_ns := parse_schedstat(file.read().decode())) is not None:
                        found[pid, int(thread)] = waited_ns
    return found


def _rss_bytes(pid: int) -> int:
    with contextlib.suppress(OSError, ValueError, IndexError):
        return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * _PAGE_BYTES
    return 0


def _throttled(pid: int) -> tuple[int, int]:
    """Throttling by the quotas of its own cgroup and of the cgroups above it."""
    each = [parse_throttled(text) for text in cgroups.read_upwards(pid, "cpu", "cpu.stat")]
    return sum(periods for periods, _ in each), sum(ns for _, ns in each)


@contextlib.contextmanager
def _gpus() -> Iterator[Any]:
    """NVIDIA's library, if it and a driver are there."""
    try:
        import pynvml  # noqa: PLC0415 - behind an extra

        pynvml.nvmlInit()
    except Exception:  # not installed, no driver, a driver that is broken: no GPUs to watch
        yield None
        return
    try:
        yield pynvml
    finally:
        pynvml.nvmlShutdown()


def read_gpus(pynvml: Any) -> dict[int, GpuReading]:
    """The readings of each GPU, by its number.

    A value that a GPU does not report, such as the utilisation of a partitioned one, is None. A GPU that cannot be
    read is left out.
    """

    def asked(question: Callable[[], Any]) -> Any:
        with contextlib.suppress(pynvml.NVMLError):
            return question()
        return None

    found = {}
    for index in range(asked(pynvml.nvmlDeviceGetCount) or 0):
        gpu = asked(lambda index=index: pynvml.nvmlDeviceGetHandleByIndex(index))  # type: ignore[misc]
        if gpu is not None:
            found[index] = GpuReading(
                asked(lambda gpu=gpu: pynvml.nvmlDeviceGetUtilizationRates(gpu).gpu / 100),  # type: ignore[misc]
                asked(lambda gpu=gpu: int(pynvml.nvmlDeviceGetMemoryInfo(gpu).used)),  # type: ignore[misc]
                asked(lambda gpu=gpu: len(pynvml.nvmlDeviceGetComputeRunningProcesses(gpu))),  # type: ignore[misc]
                asked(lambda gpu=gpu: int(pynvml.nvmlDeviceGetClockInfo(gpu, pynvml.NVML_CLOCK_SM))),  # type: ignore[misc]
                asked(lambda gpu=gpu: int(pynvml.nvmlDeviceGetMaxClockInfo(gpu, pynvml.NVML_CLOCK_SM))),  # type: ignore[misc]
                asked(lambda gpu=gpu: int(pynvml.nvmlDeviceGetTotalEnergyConsumption(gpu))),  # type: ignore[misc]
            )
    return found


if __name__ == "__main__":
    main()
