"""Fails where HEAD costs more than the last release: system calls a request, and CPU time a request.

    .venv/bin/python benchmarks/gate.py [BASE] [--rounds 12] [--may-skip]

BASE is a git revision. Where it is left out, it is the commit before HEAD that wrote the last release into
CHANGELOG.md. If `one_by_one.py` came later, it is the commit that added it: an older one can run no figure.

A round measures a figure of `FIGURES` on both revisions, with either first in turns. Rounds end with the first in which
HEAD costs at most 1.05 times as much; a figure fails where it costs more in all rounds. Between equal revisions a ratio
is as likely below 1 as above. If rounds are independent, a figure fails by chance less often than once in 4096 times.
Of all eight, one does less often than once in 500 times. A busy machine hides small differences instead. System calls
are compared at window 1: in an open loop, a client that others hold up makes fewer.

The benchmarks of the working tree are run on both revisions. The gate also fails where the base can run no figure.
``--may-skip`` lets it pass where the history lacks the release, as in a shallow clone.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import re
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path

from compare import ROOT, checked_out
from one_by_one import TOTAL, calls_a_request, counter, job_of, serving, spent

from loadgen.judging.comparison import MAX_ROUNDS, least_rounds

FIGURES = (("window-1", "zmq"), ("window-1", "http"), ("window-1", "grpc"), ("open-1000", "null"), ("open-1000", "zmq"))
STEADY_CALLS = "window-1"
"""The loop whose system calls are compared."""

MOST = 1.05
"""Ratio to the base from which on a figure fails."""

CALLS = 0.1
"""System calls a request that make no difference: of timers, which a slow machine has a few more of."""


def main() -> None:
    """Measure, print a table, and exit with 1 where a figure fails."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("base", metavar="BASE", nargs="?", help="a git revision")
    rounds = range(least_rounds(1), MAX_ROUNDS + 1)
    parser.add_argument("--rounds", type=int, default=12, choices=rounds, metavar="N", help="at most")
    parser.add_argument("--may-skip", action="store_true", help="pass where the history lacks the release")
    arguments = parser.parse_args()
    base = arguments.base or last_release()
    if base is None:
        problem = "the history here lacks the last release"
        if arguments.may_skip:
            print(f"gate.py: skipped: {problem}")
            return
        sys.exit(
            f"gate.py: {problem}; fetch it (git fetch --unshallow), or name a revision: make bench-gate RELEASE=..."
        )
    program = counter()
    if not program:
        print("system calls are left out: neither perf nor strace can count them here")
    with (
        tempfile.TemporaryDirectory() as name,
        checked_out(base, Path(name, "base")) as old,
        checked_out("HEAD", Path(name, "head")) as new,
    ):
        verdicts: list[bool | None] = []
        print(f"{'':18}{f'of {base}':>14}{'of HEAD':>10}{'ratio':>7}{'rounds':>8}")
        for loop, server in FIGURES:
            verdicts.append(asyncio.run(worse(loop, server, (old, new), arguments.rounds, program)))
    if None in verdicts:
        print("a figure is left out: name a later revision to compare it too")
    sys.exit(True in verdicts or verdicts.count(None) == len(FIGURES))


def last_release() -> str | None:
    """The commit to compare HEAD with, abbreviated; None where it is not in the history."""
    if git("rev-parse", "--is-shallow-repository") != "false":
        return None
    before = git("show", "HEAD~1:CHANGELOG.md") or ""
    heading = re.search(r"^## \[\d.*$", before, re.MULTILINE)
    if heading is None:
        return None
    release = git("log", "-1", "--format=%h", f"-S{heading[0]}", "HEAD~1", "--", "CHANGELOG.md")
    benchmarks = git("log", "-1", "--format=%h", "--diff-filter=A", "HEAD", "--", "benchmarks/one_by_one.py")
    return git("rev-list", "--no-walk", "--max-count=1", "--abbrev-commit", *filter(None, (release, benchmarks)))


def git(*arguments: str) -> str | None:
    """What a command of git prints; None where it fails, or git is not there."""
    try:
        done = subprocess.run(["git", "-C", str(ROOT), *arguments], capture_output=True, text=True, check=False)
    except FileNotFoundError:
        return None
    return None if done.returncode else done.stdout.strip()


async def worse(loop: str, server: str, trees: tuple[Path, Path], rounds: int, program: str) -> bool | None:
    """Compare one figure, print its rows, and say whether it fails; None where the base cannot run it.

    Args:
        loop: of `one_by_one`.
        server: likewise.
        trees: of the base, and of HEAD.
        rounds: at most.
        program: that counts system calls; empty for none.
    """

    def calls(tree: Path) -> float:
        return calls_a_request(loop, server, addresses, program, of(tree))[TOTAL]

    def cpu_us(tree: Path) -> float:
        done = spent(loop, server, addresses, long=True, environment=of(tree))
        return done.cpu_us / done.requests

    label = f"{loop} {server}"
    async with serving(job_of(loop, server, long=False)) as addresses:
        spent(loop, server, addresses, long=False, environment=of(trees[1]))
        try:
            spent(loop, server, addresses, long=False, environment=of(trees[0]))
        except subprocess.CalledProcessError as error:
            last = (error.stderr.splitlines() or [f"exit code {error.returncode}"])[-1]
            print(f"{label}: left out, since the base cannot run it: {last}")
            return None
        failed = False
        if program and loop == STEADY_CALLS:
            failed = row(f"{label}, calls", in_turns(calls, trees, rounds, CALLS), rounds, CALLS)
        return row(f"{label}, CPU us", in_turns(cpu_us, trees, rounds), rounds) or failed


def in_turns(
    cost: Callable[[Path], float], trees: tuple[Path, Path], rounds: int, slack: float = 0.0
) -> list[tuple[float, float]]:
    """What the base and HEAD cost in each round, up to the first in which HEAD does not cost more.

    Args:
        cost: measures a tree.
        trees: of the base, and of HEAD.
        rounds: at most.
        slack: a difference that does not count.
    """
    costs: list[tuple[float, float]] = []
    while len(costs) < rounds and all(more(*each, slack) for each in costs):
        order = trees[:: -1 if len(costs) % 2 else 1]
        by_tree = {tree: cost(tree) for tree in order}
        costs.append((by_tree[trees[0]], by_tree[trees[1]]))
    return costs


def more(base: float, head: float, slack: float) -> bool:
    """Whether HEAD costs more than it may."""
    return head > MOST * base + slack


def of(tree: Path) -> dict[str, str]:
    """The environment of a client whose packages are those of a tree."""
    return {**os.environ, "PYTHONPATH": str(tree)}


def row(label: str, costs: Sequence[tuple[float, float]], rounds: int, slack: float = 0.0) -> bool:
    """Print a row of the table, and say whether it fails.

    Args:
        label: of the figure.
        costs: of the base and of HEAD, as `in_turns` gives them.
        rounds: at most.
        slack: as for `in_turns`.
    """
    failed = len(costs) == rounds and more(*costs[-1], slack)
    base, head = (statistics.median(side) for side in zip(*costs, strict=True))
    ratio = statistics.median(ours / theirs for theirs, ours in costs)
    print(f"{label:24}{base:8.2f}{head:10.2f}{ratio:7.2f}{len(costs):8}{'  FAILED' if failed else ''}", flush=True)
    return failed


if __name__ == "__main__":
    main()
