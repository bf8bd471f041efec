"""How late an open loop is, and what it costs, beside MLPerf LoadGen's Server scenario; Poisson arrivals.

Three open loops take turns in each round, on one core. loadgen and MLPerf LoadGen each load a target that answers at
once. loadgen also loads an echoing server in C, with inputs of 8 KB; that server has the other core.

The table compares what MLPerf LoadGen logs: the time from the plan to the answer of the target that answers at once.
Figures are medians of the rounds. For both it includes a few microseconds to hand one request over in Python. Beside
it stands loadgen's schedule lag: from the plan to the moment when the target, or ZeroMQ's queue before the server in C,
has accepted the request. MLPerf LoadGen is left out where it is not installed (extra `peers`), the server in C where it
cannot be built.

    .venv/bin/python benchmarks/schedule_lag.py [--rates 1000 5000 10000] [--rounds 5] [--seconds 2]
"""

from __future__ import annotations

import argparse
import contextlib
import importlib.util
import json
import os
import statistics
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from c_peer import UnavailableError, built, echo_server

OPEN_LOOPS = Path(__file__).with_name("open_loops.py")


@dataclass(frozen=True, slots=True)
class Point:
    """One open loop at one rate."""

    client: str
    server: str
    rate_rps: float


def main() -> None:
    """Run the rounds and print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rates", type=float, nargs="+", default=[1000, 5000, 10_000], help="requests a second")
    parser.add_argument("--servers", nargs="+", default=["null", "echo"], choices=["null", "echo"])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=2.0, help="of each schedule")
    arguments = parser.parse_args()
    server_core, client_core, *_ = [*sorted(os.sched_getaffinity(0)), *os.sched_getaffinity(0)]
    with contextlib.ExitStack() as stack:
        loops = [("loadgen", "null"), ("mlperf", "null")] * ("null" in arguments.servers)
        ports: tuple[int, ...] = ()
        if ("mlperf", "null") in loops and importlib.util.find_spec("mlperf_loadgen") is None:
            print("left out: mlcommons-loadgen is not installed (pip install -c constraints.txt '.[peers]')")
            loops.remove(("mlperf", "null"))
        if "echo" in arguments.servers:
            try:
                ports = stack.enter_context(echo_server(stack.enter_context(built()), server_core))
                loops.append(("loadgen", "echo"))
            except UnavailableError as reason:
                print(f"left out: {reason}")
        points = [Point(*loop, rate_rps) for rate_rps in arguments.rates for loop in loops]
        measured: dict[Point, list[dict[str, Any]]] = {point: [] for point in points}
        for _ in range(arguments.rounds):
            for point in points:
                measured[point].append(run(point, client_core, arguments.seconds, ports))
    report(measured)


def run(point: Point, core: int, seconds: float, ports: tuple[int, ...]) -> dict[str, Any]:
    """One open loop in a process of its own."""
    command = ["taskset", "-c", str(core), sys.executable, str(OPEN_LOOPS), point.client, point.server]
    numbers = (point.rate_rps, seconds, *(ports if point.server == "echo" else ()))
    done = subprocess.run([*command, *map(str, numbers)], check=True, stdout=subprocess.PIPE, text=True, timeout=120)
    measured: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return measured


def report(measured: dict[Point, list[dict[str, Any]]]) -> None:
    """Medians, and for those of this project how its figures of each round compare with the peer's of the same."""
    print(
        "| requests/s | client, target | plan to answer, µs: p50 / p99 / max | schedule lag, µs: p50 / p99 / max",
        end="",
    )
    print(" | CPU µs a request | sent of planned | answered in time |")
    print("|---" * 7 + "|")
    for point, rounds in measured.items():
        sent, planned = (sum(row[name] for row in rounds) for name in ("sent", "planned"))
        print(
            f"| {point.rate_rps:,.0f} | {point.client}, {point.server} | {_medians(rounds, 'answer_us')}"
            f" | {_medians(rounds, 'lag_us')} | {statistics.median(row['cpu_us'] for row in rounds):.0f}"
            f" | {sent} of {planned} | {100 * statistics.median(row['answered_share'] for row in rounds):.3f}% |"
        )
    for point, rounds in measured.items():
        peers = measured.get(Point("mlperf", "null", point.rate_rps))
        if peers is not None and (point.client, point.server) == ("loadgen", "null"):
            print(
                f"\n{point.rate_rps:,.0f} requests/s, plan to answer, loadgen / mlperf, median (least ... most):",
                end="",
            )
            for index, name in enumerate(("p50", "p99")):
                ratios = [
                    ours["answer_us"][index] / its["answer_us"][index] for ours, its in zip(rounds, peers, strict=True)
                ]
                print(f"  {name} {statistics.median(ratios):.2f} ({min(ratios):.2f} ... {max(ratios):.2f})", end="")
    print()


def _medians(rounds: list[dict[str, Any]], name: str) -> str:
    if rounds[0][name] is None:
        return "not told"
    return " / ".join(
        f"{statistics.median(figures):.0f}" for figures in zip(*(row[name] for row in rounds), strict=True)
    )


if __name__ == "__main__":
    main()
