"""Two revisions, each with its own benchmarks, in interleaved rounds; prints what the second costs of the first.

    .venv/bin/python benchmarks/compare.py BASE [--head HEAD] [--rounds 12] [-k test_client]

Of each benchmark's least time, and of the CPU time a request where the benchmark gives it: medians over the rounds, and
the ratio with its 95% interval, as `loadgen compare` makes it. Rounds end once all intervals are within 5% of their
ratios. Benchmarks that only one of the two has are left out. Work that is not committed is not measured.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import math
import os
import statistics
import subprocess
import sys
import tempfile
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

import pytest

from loadgen.judging.comparison import MAX_ROUNDS, interval, least_rounds

ROOT = Path(__file__).parents[1]
WITHIN = 0.05
"""How far from a ratio the ends of its interval may be, as a share."""

Times = dict[str, list[float]]
"""What was measured of each benchmark, once a round."""


def main() -> None:
    """Run the rounds and print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("base", metavar="BASE", help="a git revision")
    parser.add_argument("--head", default="HEAD", help="the other one")
    parser.add_argument("--rounds", type=int, default=12, choices=range(1, MAX_ROUNDS + 1), help="at most")
    parser.add_argument("-k", dest="only", default="", help="as pytest's own")
    arguments = parser.parse_args()
    times: tuple[Times, Times] = defaultdict(list), defaultdict(list)
    with (
        tempfile.TemporaryDirectory() as name,
        checked_out(arguments.base, Path(name, "base")) as base,
        checked_out(arguments.head, Path(name, "head")) as head,
    ):
        sides = list(zip((base, head), times, strict=True))
        for number in range(arguments.rounds):
            for tree, into in sides[:: -1 if number % 2 else 1]:
                for label, value in measured(tree, arguments.only):
                    into[label].append(value)
            if number + 1 >= least_rounds(1) and all(narrow(*effects(*times, label)) for label in both(*times)):
                break
    report(*times)


def both(base: Times, head: Times) -> list[str]:
    """What both of them measured."""
    return sorted(base.keys() & head.keys())


def effects(base: Times, head: Times, label: str) -> list[float]:
    """The logarithm of head ÷ base in each round."""
    return [math.log(ours / theirs) for ours, theirs in zip(head[label], base[label], strict=True)]


def narrow(*logarithms: float) -> bool:
    """Whether the interval of the ratio is known well enough."""
    ends = interval(logarithms)
    return ends is not None and ends[1] - ends[0] <= 2 * math.log1p(WITHIN)


@contextlib.contextmanager
def checked_out(revision: str, directory: Path) -> Iterator[Path]:
    """A working tree of a revision."""
    git = ["git", "-C", str(ROOT), "worktree"]
    subprocess.run([*git, "add", "--quiet", "--detach", str(directory), revision], check=True)
    try:
        yield directory
    finally:
        subprocess.run([*git, "remove", "--force", str(directory)], check=True)


def measured(tree: Path, only: str) -> list[tuple[str, float]]:
    """One round of a working tree's benchmarks."""
    path = tree.with_suffix(".json")
    command = [sys.executable, "-m", "pytest", "-q", "benchmarks", f"--benchmark-json={path}", "-k", only]
    command += ["-W", "ignore::pytest_benchmark.logger.PytestBenchmarkWarning"]
    environment = {**os.environ, "PYTHONPATH": str(tree)}
    done = subprocess.run(command, cwd=tree, env=environment, capture_output=True, text=True)
    if done.returncode == pytest.ExitCode.NO_TESTS_COLLECTED:
        sys.exit(f"-k {only}: selects no benchmark; list them with: pytest benchmarks --collect-only")
    if done.returncode:
        sys.exit(f"the benchmarks of {tree.name} failed:\n{done.stdout[-3000:]}{done.stderr[-1000:]}")
    values = []
    for benchmark in json.loads(path.read_text())["benchmarks"]:
        values.append((benchmark["fullname"], benchmark["stats"]["min"]))
        cpu_us = benchmark["extra_info"].get("cpu_us_per_request")
        if cpu_us is not None:
            values.append((f"{benchmark['fullname']}, CPU a request", cpu_us / 1e6))
    return values


def report(base: Times, head: Times) -> None:
    """What the head costs of the base, with the interval where there are rounds enough for one."""
    print("     base us      head us  head / base (95% interval)")
    for label in both(base, head):
        logarithms = effects(base, head, label)
        ends = interval(logarithms)
        between = "" if ends is None else f" ({math.exp(ends[0]):.2f} ... {math.exp(ends[1]):.2f})"
        print(
            f"{statistics.median(base[label]) * 1e6:12.2f} {statistics.median(head[label]) * 1e6:12.2f}"
            f"  {math.exp(statistics.fmean(logarithms)):11.2f}{between}  {label}"
        )


if __name__ == "__main__":
    main()
