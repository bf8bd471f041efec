"""Fails where HEAD costs more than a release: system calls a request, and CPU time a request in interleaved rounds.

    .venv/bin/python benchmarks/gate.py [BASE] [--rounds 6]

BASE is a git revision, the last tag where it is left out. Of each of the five figures of `FIGURES` (`one_by_one.py`)
system calls are counted once. At window 1 they are the same in each run, so 5% more fail; in an open loop they are
only told, since a client that others hold up sleeps less often. Of the CPU time the ratio of each round is taken, with
either revision first in turns: of six rounds the least and the most are the ends of an interval that holds the median
ratio with a probability of 97%. The gate fails where all of it is above 1.05. ``--rounds 0`` counts calls alone.
The benchmarks of the working tree are run on both revisions. It also fails where the base can run no figure at all.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from compare import ROOT, checked_out
from one_by_one import TOTAL, calls_a_request, counter, job_of, serving, spent

from loadgen.judging.comparison import MAX_ROUNDS, least_rounds

FIGURES = (("window-1", "zmq"), ("window-1", "http"), ("window-1", "grpc"), ("open-1000", "null"), ("open-1000", "zmq"))
MOST = 1.05
"""Ratio to the base from which on a figure fails."""

CALLS = 0.1
"""System calls a request that make no difference: of timers, which a slow machine has a few more of."""


def main() -> None:
    """Measure, print a table, and exit with 1 where a figure fails."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("base", metavar="BASE", nargs="?", help="a git revision")
    rounds = [0, *range(least_rounds(1), MAX_ROUNDS + 1)]
    parser.add_argument("--rounds", type=int, default=6, choices=rounds, metavar="N", help="of CPU time; 0, 6, 7 ...")
    arguments = parser.parse_args()
    base = arguments.base or last_release()
    program = counter()
    if not program:
        print("system calls are left out: neither perf nor strace can count them here")
    with (
        tempfile.TemporaryDirectory() as name,
        checked_out(base, Path(name, "base")) as old,
        checked_out("HEAD", Path(name, "head")) as new,
    ):
        verdicts: list[bool | None] = []
        print(f"{'':18}{f'of {base}':>14}{'of HEAD':>10}  ratio")
        for loop, server in FIGURES:
            verdicts.append(asyncio.run(worse(loop, server, (old, new), arguments.rounds, program)))
    if None in verdicts:
        print("a figure is left out: name a later revision to compare it too")
    sys.exit(True in verdicts or verdicts.count(None) == len(FIGURES))


def last_release() -> str:
    """The last tag."""
    done = subprocess.run(
        ["git", "-C", str(ROOT), "describe", "--tags", "--abbrev=0"], capture_output=True, text=True, check=False
    )
    if done.returncode:
        sys.exit("gate.py: there is no tag to compare HEAD with; name a revision: make bench-gate RELEASE=HEAD~20")
    return done.stdout.strip()


async def worse(loop: str, server: str, trees: tuple[Path, Path], rounds: int, program: str) -> bool | None:
    """Compare one figure, print its rows, and say whether it fails; None where the base cannot run it.

    Args:
        loop: of `one_by_one`.
        server: likewise.
        trees: of the base, and of HEAD.
        rounds: of CPU time.
        program: that counts system calls; empty for none.
    """
    failed, label = False, f"{loop} {server}"
    async with serving(job_of(loop, server, long=False)) as addresses:
        spent(loop, server, addresses, long=False, environment=of(trees[1]))
        try:
            spent(loop, server, addresses, long=False, environment=of(trees[0]))
        except subprocess.CalledProcessError as error:
            last = (error.stderr.splitlines() or [f"exit code {error.returncode}"])[-1]
            print(f"{label}: left out, since the base cannot run it: {last}")
            return None
        if program:
            calls = [calls_a_request(loop, server, addresses, program, of(tree))[TOTAL] for tree in trees]
            failed = loop == "window-1" and calls[1] > MOST * calls[0] + CALLS
            row(f"{label}, calls", calls[0], calls[1], f"{calls[1] / max(calls[0], CALLS):.2f}", failed)
        cpu_us: tuple[list[float], list[float]] = ([], [])
        for number in range(rounds):
            for side in (0, 1)[:: -1 if number % 2 else 1]:
                done = spent(loop, server, addresses, long=True, environment=of(trees[side]))
                cpu_us[side].append(done.cpu_us / done.requests)
    if rounds:
        slower, ratio = compared(*cpu_us)
        row(f"{label}, CPU us", statistics.median(cpu_us[0]), statistics.median(cpu_us[1]), ratio, slower)
        failed |= slower
    return failed


def of(tree: Path) -> dict[str, str]:
    """The environment of a client whose packages are those of a tree."""
    return {**os.environ, "PYTHONPATH": str(tree)}


def compared(base: Sequence[float], head: Sequence[float]) -> tuple[bool, str]:
    """Whether HEAD is slower for certain, and its ratio to the base in words.

    Args:
        base: a figure for each round.
        head: likewise, of the same rounds.
    """
    ratios = [ours / theirs for ours, theirs in zip(head, base, strict=True)]
    text = f"{statistics.median(ratios):.2f} ({min(ratios):.2f} ... {max(ratios):.2f})"
    return min(ratios) > MOST, text


def row(label: str, base: float, head: float, ratio: str, failed: bool) -> None:
    """Print a row of the table."""
    print(f"{label:24}{base:8.2f}{head:10.2f}  {ratio}{'  FAILED' if failed else ''}", flush=True)


if __name__ == "__main__":
    main()
