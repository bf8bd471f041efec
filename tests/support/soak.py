"""A run at full speed whose replicas are killed and stopped in turn, and what its processes hold meanwhile."""

from __future__ import annotations

import contextlib
import os
import signal
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import deployed
from deployed import Ended

REPLICAS = 3
FAULTS = (signal.SIGSTOP, signal.SIGKILL)
LASTING = ("client", "frontends", "sampler")
"""The roles whose processes are the same from the beginning to the end."""

LOOK_S = 1.0
END_S = 2.0
"""Memory is not looked at so close to the end of the measured part: making results takes memory once."""

PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")


@dataclass(frozen=True, slots=True)
class Held:
    """What a process holds."""

    rss_bytes: int
    files: int


@dataclass(slots=True)
class Soaked:
    """What a run left behind.

    Attributes:
        ended: the run.
        seconds: how long faults were made for.
        faults: the signals and the roles that got them, in order.
        held: of each lasting role, a row a second.
    """

    ended: Ended
    seconds: float
    faults: list[tuple[signal.Signals, str]] = field(default_factory=list)
    held: dict[str, list[Held]] = field(default_factory=dict)


def soak(directory: Path, duration_s: float, every_s: float) -> Soaked:
    """Load a deployment at full speed, and kill or stop one replica after the other.

    Args:
        directory: of the run; made here.
        duration_s: of the measured part.
        every_s: between two faults.
    """
    words = ["saturate", *deployed.model("noop"), "-b", "64", "-d", f"{duration_s}s", "--drain", "30s"]
    words += ["--replicas", str(REPLICAS), "--cpus-per-replica", "1", "--allow-overlap", "--restart-replicas"]
    words += ["--max-in-flight", "2000"]
    faults, held = _faults(), {role: list[Held]() for role in LASTING}
    made: list[tuple[signal.Signals, str]] = []
    with deployed.running(directory, *words, "--allow-invalid") as command:
        pids = {**command.pids(), "client": command.pid}
        command.measuring()
        began_s = last_s = time.monotonic()
        fault, role = next(faults)
        while command.under_way():
            loaded = time.monotonic() - began_s < duration_s - END_S
            for watched in LASTING if loaded else ():
                with contextlib.suppress(OSError, IndexError):  # it has just ended
                    held[watched].append(_held(pids[watched]))
            due = time.monotonic() - last_s >= every_s or not made
            if due and (pid := command.pid_of(role)) is not None:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, fault)
                    made.append((fault, role))
                    fault, role = next(faults)
                    last_s = time.monotonic()
            time.sleep(LOOK_S)
        seconds = time.monotonic() - began_s
        return Soaked(command.end(), seconds, made, held)


def _faults() -> Iterator[tuple[signal.Signals, str]]:
    number = 0
    while True:
        yield FAULTS[number % len(FAULTS)], f"replica-{number % REPLICAS}"
        number += 1


def _held(pid: int) -> Held:
    pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    return Held(pages * PAGE_BYTES, len(os.listdir(f"/proc/{pid}/fd")))


def check_counts(soaked: Soaked) -> None:
    """Each request was answered once, or is a failure that has a name."""
    ended = soaked.ended
    summary, document = ended.document["summary"], ended.document
    assert ended.exit_code == 0, ended.said
    assert summary["sent"] == summary["completed"] + summary["failed"] + summary["defaulted"], ended.said
    assert summary["failed"] == sum(document["failures"].values()), ended.said
    assert summary["defaulted"] == document["frontend_counters"]["defaults"], ended.said
    assert (summary["late"], summary["unexpected"], summary["resent"]) == (0, 0, 0), ended.said


def growth(rows: Sequence[Held]) -> tuple[float, int]:
    """By how much the last third holds more than the middle one, at most: memory as a share, and files."""
    third = len(rows) // 3
    middle, last = rows[third : 2 * third], rows[2 * third :]
    memory = max(row.rss_bytes for row in last) / max(row.rss_bytes for row in middle) - 1
    return memory, max(row.files for row in last) - max(row.files for row in middle)


def replaced(soaked: Soaked) -> dict[str, int]:
    """How often each role was replaced, as the notes say."""
    found = {}
    for note in soaked.ended.document["notes"]:
        role, text, rest = note.partition(" was replaced ")
        if text:
            how_often = rest.split()[0].strip(",")
            found[role] = {"once": 1, "twice": 2}.get(how_often) or int(how_often)
    return found


def table(soaked: Soaked) -> str:
    """The figures of a soak, as a page has them."""
    summary = soaked.ended.document["summary"]
    counts = {fault: sum(made is fault for made, _ in soaked.faults) for fault in FAULTS}
    rows = [
        f"{soaked.seconds:,.0f} s at full speed, {REPLICAS} replicas of `noop`, largest batch 64, "
        f"{summary['throughput_rps']:,.0f} requests/s.",
        f"{counts[signal.SIGKILL]} replicas were killed and {counts[signal.SIGSTOP]} stopped; "
        f"{sum(replaced(soaked).values())} were replaced.",
        "",
        "| requests | |",
        "|---|---|",
        *(f"| {name} | {summary[name]:,} |" for name in ("sent", "completed", "failed", "defaulted")),
        f"| lost | {summary['abandoned'] + summary['timed_out']:,} |",
        f"| answered twice | {summary['late'] + summary['unexpected']:,} |",
        "",
        "The most that each process held in each third of the time:",
        "",
        "| process | MiB | descriptors |",
        "|---|---|---|",
    ]
    for role, held in soaked.held.items():
        thirds = [held[len(held) * part // 3 : len(held) * (part + 1) // 3] for part in range(3)]
        mib = ", ".join(f"{max(row.rss_bytes for row in third) / 2**20:.1f}" for third in thirds)
        files = ", ".join(str(max(row.files for row in third)) for third in thirds)
        rows.append(f"| {role} | {mib} | {files} |")
    return "\n".join(rows)
