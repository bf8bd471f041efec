"""What one batch sent ahead does to latency below saturation, and to the gap between batches above it.

Two replicas of a model that takes a known time for each batch, one after the other: one that reports its times, to
which the frontend sends ahead, and one that does not, to which it does not. Each is loaded at shares of what full
batches come to, by the same Poisson arrivals, then at full speed. Rounds are interleaved; medians and least and most.

    .venv/bin/python benchmarks/one_ahead.py [--batch-ms 5] [--batch-size 8] [--shares 0.5 0.8 0.95] [--rounds 5]
"""

from __future__ import annotations

import argparse
import asyncio
import json
import logging
import multiprocessing
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import uvloop

from frontend_launch.admin import AdminClient
from frontend_launch.ports import FRONTEND_PORTS, Ports
from loadgen.config import Client, ExperimentConfig, Load, OpenLoop, Output, Saturate
from loadgen.experiments.experiment import run_experiment
from loadgen.load.arrivals import Renewal
from loadgen.results.document import Results
from loadgen.served import Frontend
from model_containers.data_types import DataType
from model_containers.model import TensorSpec
from model_containers.server import serve
from model_containers.settings import Settings

SHAPE = (2,)


class Waiting:
    """Takes so long for a batch, whatever its size, as an accelerator with room does."""

    name = "waiting"
    input = TensorSpec(SHAPE, "float32")
    output = TensorSpec((1,), "float32")

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds

    def predict(self, batch: np.ndarray) -> np.ndarray:
        time.sleep(self._seconds)
        return batch[:, :1].copy()


def main() -> None:
    """Run the rounds and print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--batch-ms", type=float, default=5.0)
    parser.add_argument("--batch-size", type=int, default=8)
    parser.add_argument("--shares", type=float, nargs="+", default=[0.5, 0.8, 0.95], help="of the most there can be")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=5.0, help="of each run")
    arguments = parser.parse_args()
    logging.basicConfig(level=logging.ERROR)
    most_rps = arguments.batch_size / arguments.batch_ms * 1000
    loads = [*arguments.shares, None]
    measured: dict[tuple[float | None, bool], list[Results]] = {
        (share, ahead): [] for share in loads for ahead in (True, False)
    }
    with frontends() as ports, replicas(ports, arguments.batch_ms / 1000, arguments.batch_size):
        for number in range(arguments.rounds):
            for share, ahead in measured:
                rate_rps = None if share is None else share * most_rps
                measured[share, ahead].append(loaded(ports, ahead, rate_rps, arguments, number))
    print("load        ahead  p50 ms                p99 ms                requests/s")
    for (share, ahead), results in measured.items():
        name = "full speed" if share is None else f"{share:10.0%}"
        p50, p99 = ([one.summary.latency_ms[key] for one in results] for key in ("p50", "p99"))
        rates = [one.summary.throughput_rps for one in results]
        print(f"{name}  {'yes' if ahead else 'no':5}  {spread(p50):20}  {spread(p99):20}  {spread(rates)}")


@contextmanager
def frontends() -> Iterator[Ports]:
    """Both frontends as a process, on the first core."""
    ports = [f"--{name}-port=0" for name in FRONTEND_PORTS]
    core = min(os.sched_getaffinity(0))
    command = ["taskset", "-c", str(core), sys.executable, "-m", "frontend_launch", "serve", *ports]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    try:
        assert process.stdout is not None
        yield Ports(**json.loads(process.stdout.readline()))
    finally:
        process.terminate()
        process.wait(10)


@contextmanager
def replicas(ports: Ports, seconds: float, batch_size: int) -> Iterator[None]:
    """One that reports its times and one that does not, each behind an application of its own."""
    uvloop.run(register(ports, batch_size))
    context = multiprocessing.get_context("fork")
    settings = [
        Settings(name=name(ahead), port=ports.replica, reply_times=ahead, log_file=Path(os.devnull))
        for ahead in (True, False)
    ]
    processes = [context.Process(target=serve, args=(Waiting(seconds), one)) for one in settings]
    for process in processes:
        process.start()
    try:
        uvloop.run(registered(ports))
        yield
    finally:
        for process in processes:
            process.terminate()
            process.join(10)


def name(ahead: bool) -> str:
    """Of the application and its model."""
    return "ahead" if ahead else "not-ahead"


async def register(ports: Ports, batch_size: int) -> None:
    async with AdminClient(f"http://127.0.0.1:{ports.admin}") as admin:
        for application in (name(True), name(False)):
            await admin.register_application(application, DataType.FLOATS, "TIMEOUT", 500_000)
            await admin.register_model(application, "1", DataType.FLOATS, batch_size=batch_size)
            await admin.link_model(application, application)


async def registered(ports: Ports) -> None:
    async with AdminClient(f"http://127.0.0.1:{ports.admin}") as admin, asyncio.timeout(30):
        for application in (name(True), name(False)):
            while not await admin.replicas(application, "1"):  # noqa: ASYNC110 - another process's state
                await asyncio.sleep(0.02)


def loaded(ports: Ports, ahead: bool, rate_rps: float | None, arguments: argparse.Namespace, seed: int) -> Results:
    """One run, from the last core."""
    with tempfile.TemporaryDirectory() as directory:
        load: Load = Saturate(arguments.seconds, max_in_flight=8 * arguments.batch_size, warmup_s=0.5)
        if rate_rps is not None:
            load = OpenLoop(Renewal(rate_rps, arguments.seconds, cv=1.0, seed=seed), warmup_s=0.5)
        config = ExperimentConfig(
            Frontend(
                "noop",
                host="127.0.0.1",
                application=name(ahead),
                batch_size=arguments.batch_size,
                input_shape=SHAPE,
                ports=ports,
            ),
            load,
            client=Client(cpus=(max(os.sched_getaffinity(0)),), ceiling=False),
            output=Output(Path(directory)),
        )
        return uvloop.run(run_experiment(config))


def spread(values: Sequence[float | None]) -> str:
    """Median, least and most."""
    known = [value for value in values if value is not None]
    assert len(known) == len(values), "a percentile lies among the requests without an answer"
    return f"{statistics.median(known):.4g} ({min(known):.4g} ... {max(known):.4g})"


if __name__ == "__main__":
    main()
