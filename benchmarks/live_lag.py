"""What live outputs cost an open loop: its schedule lag with and without them, in paired rounds.

Four open loops take turns in each round, in an order that rotates. They share one schedule of Poisson arrivals, and a
target in the process that answers at once:

- without live outputs;
- without them once more, which shows the noise between equal loops;
- with the view on a terminal, metrics and page, whose process has a core of its own;
- with all of them on the client's core, as on a machine of two cores.

Logging intervals are a third of the usual, which makes more records and more lines.

    .venv/bin/python benchmarks/live_lag.py [--rates 1000 10000] [--rounds 8] [--seconds 5] [--realtime]

With `--realtime`, the client alone has a real-time priority, so that other programs of the machine do not delay it. It
takes root, and leaves less of a core to these programs.
"""

from __future__ import annotations

import argparse
import dataclasses
import fcntl
import json
import logging
import os
import pty
import statistics
import subprocess
import sys
import tempfile
import termios
import threading
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import uvloop
from open_loops import NullSpec, measured, open_loop

from frontend_launch.launch.placement import Assignment
from loadgen.feed.messages import RunPlanned
from loadgen.feed.options import LOOPBACK, Endpoint, Live
from loadgen.feed.view import showing
from loadgen.load.record import Record
from loadgen.load.runner import Hooks, log_line, run

ARMS = ("without", "without again", "other core", "same core")
LOG_EVERY_S = 1.0


def main() -> None:
    """Run the rounds and print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rates", type=float, nargs="+", default=[1000, 10_000], help="requests a second")
    parser.add_argument("--rounds", type=int, default=8)
    parser.add_argument("--seconds", type=float, default=5.0, help="of each schedule")
    parser.add_argument("--realtime", action="store_true", help="give the client a real-time priority")
    parser.add_argument("--one", nargs=4, metavar=("ARM", "RATE", "SECONDS", "FILE"), help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.one is not None:
        arm, rate_rps, seconds, path = arguments.one
        if arguments.realtime:
            os.sched_setscheduler(0, os.SCHED_FIFO | os.SCHED_RESET_ON_FORK, os.sched_param(1))
        one(arm, float(rate_rps), float(seconds), Path(path))
        return
    for rate_rps in arguments.rates:
        rounds: list[dict[str, dict[str, Any]]] = []
        for number in range(arguments.rounds):
            turn = number % len(ARMS)
            arms = ARMS[turn:] + ARMS[:turn]
            rounds.append({arm: in_a_terminal(arm, rate_rps, arguments.seconds, arguments.realtime) for arm in arms})
        report(rate_rps, rounds)


def report(rate_rps: float, rounds: Sequence[dict[str, dict[str, Any]]]) -> None:
    """Medians of each arm, and of its ratios to the first in the same round.

    Args:
        rate_rps: of the rounds.
        rounds: what each arm measured.
    """
    print(f"\n{rate_rps:,.0f} requests/s | lag p50 / p99, µs | p99 ÷ p99 without, median (least to most) | CPU µs each")
    for arm in ARMS:
        p50, p99 = (statistics.median(row[arm]["lag_us"][place] for row in rounds) for place in (0, 1))
        ratios = sorted(row[arm]["lag_us"][1] / row["without"]["lag_us"][1] for row in rounds)
        cpu_us = statistics.median(row[arm]["cpu_us"] for row in rounds)
        print(
            f"{arm} | {p50:.0f} / {p99:.0f} | {statistics.median(ratios):.2f} ({ratios[0]:.2f} to {ratios[-1]:.2f})"
            f" | {cpu_us:.1f}",
            flush=True,
        )


def in_a_terminal(arm: str, rate_rps: float, seconds: float, realtime: bool) -> dict[str, Any]:
    """One open loop, in a process of its own, on a terminal that this process reads.

    Args:
        arm: which.
        rate_rps: requests a second.
        seconds: of the schedule.
        realtime: at such a priority.
    """
    ours, terminal = pty.openpty()
    fcntl.ioctl(terminal, termios.TIOCSWINSZ, (40).to_bytes(2, "little") + (120).to_bytes(2, "little") + bytes(4))
    reader = threading.Thread(target=drain, args=(ours,), daemon=True)
    reader.start()
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory) / "measured"
        command = [sys.executable, __file__, "--one", arm, str(rate_rps), str(seconds), str(path)]
        command += ["--realtime"] if realtime else []
        subprocess.run(command, check=True, stdin=terminal, stdout=terminal, start_new_session=True, timeout=120)
        os.close(terminal)
        reader.join()
        os.close(ours)
        found: dict[str, Any] = json.loads(path.read_text())
    return found


def drain(descriptor: int) -> None:
    """Read a terminal until its other end is closed."""
    try:
        while os.read(descriptor, 65_536):
            pass
    except OSError:
        pass


def one(arm: str, rate_rps: float, seconds: float, path: Path) -> None:
    """Measure one arm on this terminal.

    Args:
        arm: which.
        rate_rps: requests a second.
        seconds: of the schedule.
        path: where to write what was measured.
    """
    fcntl.ioctl(0, termios.TIOCSCTTY, 0)  # the view is drawn for a program in the foreground only
    os.environ["TERM"] = "xterm-256color"
    logging.basicConfig(stream=sys.stdout, level=logging.INFO)
    other_core, client_core = cores()
    os.sched_setaffinity(0, [client_core])
    job = open_loop(NullSpec(), rate_rps, seconds, LOG_EVERY_S)
    everything = Live(True, Endpoint(LOOPBACK, 0), Endpoint(LOOPBACK, 0))
    live = Live() if arm.startswith("without") else everything
    beside = Assignment("here", "frontends", (client_core if arm == "same core" else other_core,), None, False)

    async def act() -> Record:
        async with showing(live, beside, "rate", {}) as view:
            await view.place(beside)
            view.run_planned(RunPlanned("null", "poisson", 0.0, seconds, open_loop=True))

            async def begin() -> int:
                begins_ns = time.monotonic_ns()
                view.load_begins(begins_ns)
                return begins_ns

            return await run(job, hooks=Hooks(on_interval=view.passing(log_line), begin=begin))

    path.write_text(json.dumps(dataclasses.asdict(measured(job, uvloop.run(act())))))


def cores() -> Iterator[int]:
    """The first core of this process, and the second where there is one."""
    first, *others = sorted(os.sched_getaffinity(0))
    return iter((first, others[0] if others else first))


if __name__ == "__main__":
    main()
