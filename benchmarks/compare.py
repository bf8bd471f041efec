"""Two revisions, each with its own benchmarks, in interleaved rounds; prints what the second costs of the first.

    .venv/bin/python benchmarks/compare.py BASE [--head HEAD] [--rounds 3] [-k test_client]

Medians over the rounds of each benchmark's least time, and of the CPU time a request where the benchmark gives it.
Benchmarks that only one of the two has are left out. Work that is not committed is not measured.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import statistics
import subprocess
import sys
import tempfile
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[1]
Times = dict[str, list[float]]
"""What was measured of each benchmark, once a round."""


def main() -> None:
    """Run the rounds and print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("base", metavar="BASE", help="a git revision")
    parser.add_argument("--head", default="HEAD", help="the other one")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("-k", dest="only", default="", help="as pytest's own")
    arguments = parser.parse_args()
    times: tuple[Times, Times] = defaultdict(list), defaultdict(list)
    with (
        tempfile.TemporaryDirectory() as name,
        checked_out(arguments.base, Path(name, "base")) as base,
        checked_out(arguments.head, Path(name, "head")) as head,
    ):
        for _ in range(arguments.rounds):
            for tree, into in zip((base, head), times, strict=True):
                for label, value in measured(tree, arguments.only):
                    into[label].append(value)
    report(*times)


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
    environment = {**os.environ, "PYTHONPATH": str(tree)}
    done = subprocess.run(command, cwd=tree, env=environment, capture_output=True, text=True)
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
    """What the head costs of the base; the rounds' least and most."""
    print("     base us      head us  head / base (least ... most)")
    for label in sorted(base.keys() & head.keys()):
        ratios = [ours / theirs for ours, theirs in zip(head[label], base[label], strict=True)]
        print(
            f"{statistics.median(base[label]) * 1e6:12.2f} {statistics.median(head[label]) * 1e6:12.2f}"
            f"  {statistics.median(ratios):11.2f} ({min(ratios):.2f} ... {max(ratios):.2f})  {label}"
        )


if __name__ == "__main__":
    main()
