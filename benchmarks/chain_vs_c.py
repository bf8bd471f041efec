"""The whole chain, client, frontend and do-nothing replicas, as a share of a client in C on an echoing server in C.

The frontend has the first core; client and replicas have the second, where the client in C runs too. Where several
frontends are compared with one, all may use all cores. Interleaved rounds; medians of the rounds' shares. The
frontends' CPU time per request is from their own counters.

    .venv/bin/python benchmarks/chain_vs_c.py [--sizes 8 8192 1072812] [--windows 1000] [--replicas 1] [--clients 1]
        [--frontends 1] [--credentials]
"""

from __future__ import annotations

import argparse
import json
import logging
import os
import statistics
import tempfile
from dataclasses import asdict, dataclass
from pathlib import Path

import uvloop
from c_peer import UnavailableError, built, echo_server
from client_vs_c import WINDOWS, run

from frontend_launch.ports import Ports
from loadgen.config import Client, ExperimentConfig, Inputs, Output, Saturate
from loadgen.experiments.experiment import run_experiment
from loadgen.results.document import Results
from loadgen.served import Deploy

SHAPES = {8: (2,), 8192: (2048,), 1_072_812: (299, 299, 3)}
BATCHES = {8: 32, 8192: 32, 1_072_812: 8}
TARGETS = {8: 0.08, 8192: 0.35, 1_072_812: 0.45}


@dataclass(frozen=True, slots=True)
class Point:
    """One setting of the chain."""

    size: int
    window: int
    replicas: int
    clients: int
    frontends: int
    credentials: bool


@dataclass(frozen=True, slots=True)
class Figures:
    """What one run of the chain came to; CPU time in microseconds a request."""

    rps: float
    share: float
    client_us: float
    frontend_us: float
    limit: str


def main() -> None:
    """Run the rounds and print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sizes", type=int, nargs="+", default=list(SHAPES), choices=SHAPES, help="payload bytes")
    parser.add_argument("--windows", type=int, nargs="+", default=[1000], help="requests in flight")
    parser.add_argument("--replicas", type=int, nargs="+", default=[1])
    parser.add_argument("--clients", type=int, nargs="+", default=[1], help="processes that share the window")
    parser.add_argument("--frontends", type=int, nargs="+", default=[1])
    parser.add_argument("--credentials", action="store_true", help="without and with")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=1.5, help="of each measured part")
    parser.add_argument("--json", type=Path, help="keep all measurements here")
    arguments = parser.parse_args()
    logging.basicConfig(level=logging.ERROR)
    points = [
        Point(size, window, replicas, clients, frontends, credentials)
        for size in arguments.sizes
        for window in arguments.windows
        for replicas in arguments.replicas
        for clients in arguments.clients
        for frontends in arguments.frontends
        for credentials in ((False, True) if arguments.credentials else (False,))
    ]
    measured: dict[Point, list[Figures]] = {point: [] for point in points}
    cores = tuple(sorted(os.sched_getaffinity(0)))
    frontends_cores, others = (cores, cores) if max(arguments.frontends) > 1 else (cores[:1], cores[-1:])
    try:
        with built() as programs, echo_server(programs, cores[0]) as ports:
            for _ in range(arguments.rounds):
                c_rps = {
                    size: run("c", programs, cores[-1], ports, size, arguments.seconds)["rps"]
                    for size in arguments.sizes
                }
                for point in points:
                    measured[point].append(chain(point, arguments.seconds, frontends_cores, others, c_rps[point.size]))
    except UnavailableError as reason:
        print(f"skipped: {reason}")
        return
    if arguments.json:
        rows = [asdict(point) | asdict(figures) for point, runs in measured.items() for figures in runs]
        arguments.json.write_text(json.dumps(rows, indent=1))
    report(measured)


def chain(
    point: Point, seconds: float, frontends_cores: tuple[int, ...], others: tuple[int, ...], c_rps: float
) -> Figures:
    """One run of a deployment of its own."""
    with tempfile.TemporaryDirectory() as directory:
        window = min(point.window, WINDOWS[point.size]) if point.size > 8192 else point.window
        config = ExperimentConfig(
            Deploy(
                "noop",
                batch_size=BATCHES[point.size],
                replicas=point.replicas,
                cpus=others,
                cpus_per_replica=1,
                infrastructure_cpus={"frontends": frontends_cores},
                frontends=point.frontends,
                allow_overlap=True,
                input_shape=SHAPES[point.size],
                local_token=point.credentials,
                ports=Ports(0, 0, 0, 0, 0),
            ),
            Saturate(seconds, max_in_flight=window, warmup_s=0.5),
            inputs=Inputs(count=4),
            client=Client(point.clients, others, ceiling=False),
            output=Output(Path(directory)),
        )
        results = uvloop.run(_run(config))
    counters, completed = results.frontend_counters, results.summary.measured.completed
    assert counters is not None
    return Figures(
        rps=results.summary.throughput_rps,
        share=results.summary.throughput_rps / c_rps,
        client_us=results.verdict.evidence.client_cpu_share * results.summary.measured.duration_s * 1e6 / completed,
        frontend_us=counters.process_cpu_ns / counters.replies / 1000,
        limit=results.verdict.limit,
    )


async def _run(config: ExperimentConfig) -> Results:
    return await run_experiment(config)


def report(measured: dict[Point, list[Figures]]) -> None:
    """Medians, and the spread of the shares."""
    print(
        "  bytes  window  replicas  clients  frontends  credentials  requests/s  share of C (least ... most)"
        "  target  client us  frontend us  limit"
    )
    for point, runs in measured.items():
        shares = [figures.share for figures in runs]
        print(
            f"{point.size:7}  {point.window:6}  {point.replicas:8}  {point.clients:7}  {point.frontends:9}"
            f"  {'yes' if point.credentials else 'no':>11}"
            f"  {statistics.median(figures.rps for figures in runs):10,.0f}"
            f"  {statistics.median(shares):10.3f} ({min(shares):.3f} ... {max(shares):.3f})"
            f"  {TARGETS[point.size]:6}"
            f"  {statistics.median(figures.client_us for figures in runs):9.1f}"
            f"  {statistics.median(figures.frontend_us for figures in runs):11.1f}"
            f"  {runs[-1].limit}"
        )


if __name__ == "__main__":
    main()
