"""How long the command line takes to say what it can do, against an empty program of the same library."""

from __future__ import annotations

import statistics
import subprocess
import sys
import time

from pytest_benchmark.fixture import BenchmarkFixture

HEAVY = ("numpy", "zmq", "uvloop", "aiohttp")
EMPTY = """
import typer
app = typer.Typer()

@app.command()
def nothing() -> None:
    pass

app(["--help"])
"""
OURS = "import sys; sys.argv = ['loadgen', '--help']; from loadgen.cli import main; main()"
ROUNDS = 9


def test_help(benchmark: BenchmarkFixture) -> None:
    """Interleaved; the ratio of the medians is in the extra info, the target is 1.3."""
    empty_s: list[float] = []
    ours_s: list[float] = []

    def once() -> None:
        empty_s.append(seconds(EMPTY))
        ours_s.append(seconds(OURS))

    benchmark.pedantic(once, rounds=ROUNDS, warmup_rounds=1)
    ratios = [ours / empty for ours, empty in zip(ours_s, empty_s, strict=True)]
    benchmark.extra_info["ratio to an empty program"] = round(statistics.median(ratios), 2)
    benchmark.extra_info["least, most"] = [round(min(ratios), 2), round(max(ratios), 2)]


def seconds(program: str) -> float:
    began = time.monotonic()
    subprocess.run([sys.executable, "-c", program], check=True, capture_output=True)
    return time.monotonic() - began


def test_help_loads_nothing_heavy(benchmark: BenchmarkFixture) -> None:
    """What a user has not asked for is not imported."""

    def imported() -> set[str]:
        done = subprocess.run(
            [sys.executable, "-X", "importtime", "-c", OURS], check=True, capture_output=True, text=True
        )
        return {line.rpartition("|")[2].strip().partition(".")[0] for line in done.stderr.splitlines()}

    assert not benchmark.pedantic(imported, rounds=1) & set(HEAVY)
