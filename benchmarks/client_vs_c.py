"""The client against one in C and others in Python, all on the same echoing server in C.

The server has one core, whichever client runs has another. Rounds are interleaved: in each, every client runs once for
every payload; medians are of the rounds. CPU time is the client process's, user and system, ZeroMQ's I/O thread
included, of the measured part only.

    .venv/bin/python benchmarks/client_vs_c.py [--sizes 8 8192 1072812] [--clients c loadgen pyzmq await] [--rounds 5]
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
from pathlib import Path
from typing import Any

from c_peer import UnavailableError, built, echo_server

WINDOWS = {8: 1000, 8192: 1000, 1_072_812: 64}
"""Requests in flight by payload bytes; 1072812 is an image of 299x299x3 float32."""

WARMUP_S = 0.3
CLIENTS = ("c", "loadgen", "pyzmq", "await")
TARGETS = {8: 4.5, 8192: 1.15, 1_072_812: 1.3}


def main() -> None:
    """Run the rounds and print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sizes", type=int, nargs="+", default=list(WINDOWS), help="payload bytes")
    parser.add_argument("--clients", nargs="+", default=list(CLIENTS), choices=CLIENTS)
    parser.add_argument("--windows", type=int, nargs="+", help="requests in flight  [default: 1000, of images 64]")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=1.0, help="of each measured part")
    parser.add_argument("--json", type=Path, help="keep all measurements here")
    arguments = parser.parse_args()
    server_core, client_core, *_ = [*sorted(os.sched_getaffinity(0)), *os.sched_getaffinity(0)]
    try:
        with built() as programs, echo_server(programs, server_core) as ports:
            rows = [
                {"round": number, "bytes": size, "window": window, "client": client}
                | run(client, programs, client_core, ports, size, arguments.seconds, window)
                for number in range(arguments.rounds)
                for size in arguments.sizes
                for window in arguments.windows or [WINDOWS.get(size, 100)]
                for client in arguments.clients
            ]
    except UnavailableError as reason:
        print(f"skipped: {reason}")
        return
    if arguments.json:
        arguments.json.write_text(json.dumps(rows, indent=1))
    for size, window in dict.fromkeys((row["bytes"], row["window"]) for row in rows):
        report(size, window, [row for row in rows if (row["bytes"], row["window"]) == (size, window)])


def run(
    client: str,
    programs: Path,
    core: int,
    ports: tuple[int, int],
    size: int,
    seconds: float,
    window: int | None = None,
) -> dict[str, float]:
    """One measured part of one client."""
    python = [sys.executable, str(Path(__file__).with_name("clients.py")), client]
    command = ["taskset", "-c", str(core), *([str(programs / "client")] if client == "c" else python)]
    numbers = (*ports, size, window or WINDOWS.get(size, 100), WARMUP_S, seconds)
    done = subprocess.run([*command, *map(str, numbers)], check=True, capture_output=True, text=True, timeout=60)
    measured = json.loads(done.stdout)
    return {"rps": measured["requests"] / measured["wall_s"], "cpu_us": measured["cpu_s"] / measured["requests"] * 1e6}


def report(size: int, window: int, rows: list[dict[str, Any]]) -> None:
    """Medians of one payload, and the ratios of each round to the client in C of the same round."""
    print(f"\n{size} bytes, {window} in flight")
    print("client      requests/s   CPU us/request  (least ... most)  x C's CPU (least ... most)")
    by_client: dict[str, list[dict[str, Any]]] = {}
    for row in rows:
        by_client.setdefault(row["client"], []).append(row)
    for client, measured in by_client.items():
        cpu = [row["cpu_us"] for row in measured]
        line = f"{client:8} {_median(measured, 'rps'):13,.0f} {statistics.median(cpu):16.2f}  {_spread(cpu):>17}"
        if "c" in by_client:
            ratios = [row["cpu_us"] / c["cpu_us"] for row, c in zip(measured, by_client["c"], strict=True)]
            line += f"  {statistics.median(ratios):8.2f} {_spread(ratios)}"
            if client == "loadgen" and WINDOWS.get(size) == window:
                line += f"  target {TARGETS[size]}"
        print(line)
    if {"loadgen", "await"} <= by_client.keys():
        ratios = [
            ours["rps"] / theirs["rps"] for ours, theirs in zip(by_client["loadgen"], by_client["await"], strict=True)
        ]
        print(f"request rate of loadgen / await: {statistics.median(ratios):.1f} {_spread(ratios)}")


def _median(rows: list[dict[str, float]], name: str) -> float:
    return statistics.median(row[name] for row in rows)


def _spread(values: list[float]) -> str:
    return f"({min(values):.2f} ... {max(values):.2f})"


if __name__ == "__main__":
    main()
