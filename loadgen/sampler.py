"""``python -m loadgen.sampler``: reads the kernel's counters once a second, in a process of its own.

In the client's process even a thread would hold up the loop that sends, for as long as it takes to read the files.
Each reading is a line of JSON; it ends by SIGTERM, or with the process that started it.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from frontend_launch.launch import cgroups
from loadgen.hardware import Reading, parse_process_cpu, parse_stat, parse_throttled
from model_containers import lifeline

_TICK_NS = 1_000_000_000 // os.sysconf("SC_CLK_TCK")
_PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")


def main() -> None:
    """Sample until the end."""
    parser = argparse.ArgumentParser(prog="python -m loadgen.sampler", description=__doc__)
    parser.add_argument("--out", type=Path, required=True, metavar="FILE")
    parser.add_argument("--every", type=float, default=1.0, metavar="SECONDS")
    parser.add_argument("--watch", action="append", default=[], metavar="ROLE=PID")
    arguments = parser.parse_args()
    lifeline.hold()
    watched = {role: int(pid) for role, _, pid in (text.partition("=") for text in arguments.watch)}
    due_s = time.monotonic()
    with arguments.out.open("a") as out, _gpus() as gpus:
        while True:
            out.write(json.dumps(read(watched, gpus).to_row()) + "\n")
            out.flush()
            due_s += arguments.every
            time.sleep(max(0.0, due_s - time.monotonic()))


def read(watched: Mapping[str, int], gpus: Any = None) -> Reading:
    """Read everything now.

    Args:
        watched: a process of each role; what runs in a cgroup of its own, as a container does, is read whole.
        gpus: NVIDIA's library, ready for use; None without GPUs.
    """
    members = {role: _members(pid) for role, pid in watched.items()}
    return Reading(
        at_ns=time.monotonic_ns(),
        cores=parse_stat(Path("/proc/stat").read_text(), _TICK_NS),
        cpu_ns={role: sum(map(_cpu_ns, pids)) for role, pids in members.items()},
        throttled_ns={role: _throttled_ns(pid) for role, pid in watched.items()},
        rss_bytes={role: sum(map(_rss_bytes, pids)) for role, pids in members.items()},
        gpus={} if gpus is None else _read_gpus(gpus),
    )


def _members(pid: int) -> list[int]:
    return cgroups.members(pid) if cgroups.differs(pid, os.getpid()) else [pid]


def _cpu_ns(pid: int) -> int:
    with contextlib.suppress(OSError, ValueError, IndexError):  # it is gone
        return parse_process_cpu(Path(f"/proc/{pid}/stat").read_text(), _TICK_NS)
    return 0


def _rss_bytes(pid: int) -> int:
    with contextlib.suppress(OSError, ValueError, IndexError):
        return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * _PAGE_BYTES
    return 0


def _throttled_ns(pid: int) -> int:
    with contextlib.suppress(OSError, ValueError):
        return parse_throttled(cgroups.read_first(pid, "cpu", "cpu.stat"))
    return 0


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


def _read_gpus(pynvml: Any) -> dict[int, tuple[float, int, int]]:
    found = {}
    with contextlib.suppress(pynvml.NVMLError):
        for index in range(pynvml.nvmlDeviceGetCount()):
            handle = pynvml.nvmlDeviceGetHandleByIndex(index)
            found[index] = (
                pynvml.nvmlDeviceGetUtilizationRates(handle).gpu / 100,
                int(pynvml.nvmlDeviceGetMemoryInfo(handle).used),
                len(pynvml.nvmlDeviceGetComputeRunningProcesses(handle)),
            )
    return found


if __name__ == "__main__":
    main()
