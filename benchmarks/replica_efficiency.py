"""How much of a bare model's throughput a whole deployment keeps, and how busy its replica is.

Two measurements take turns on one machine. A bare loop calls the project's own model object on the replica's core.
Then `saturate` runs with one replica on the same core and everything else on the others.

    .venv/bin/python benchmarks/replica_efficiency.py --model inception --rounds 3 --seconds 30
"""

from __future__ import annotations

import argparse
import json
import logging
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import uvloop

from frontend_launch.ports import Ports
from loadgen.config import Client, ExperimentConfig, Output, Saturate
from loadgen.experiments.experiment import run_experiment
from loadgen.results.document import Results
from loadgen.served import Deploy


def main() -> None:
    """Run the rounds and print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="inception")
    parser.add_argument("--batch-size", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=30.0)
    parser.add_argument("--core", type=int, default=max(os.sched_getaffinity(0)))
    parser.add_argument("--bare", action="store_true", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.bare:
        print(json.dumps(bare_rps(arguments.model, arguments.batch_size, arguments.seconds)))
        return
    logging.basicConfig(level=logging.WARNING)
    rows = [round_of(arguments) for _ in range(arguments.rounds)]
    print("bare rps  deployed rps  ratio  busy share")
    for bare, deployed, busy in rows:
        print(f"{bare:8.2f}  {deployed:12.2f}  {deployed / bare:5.3f}  {busy:10.3f}")
    ratios = [deployed / bare for bare, deployed, _ in rows]
    print(f"median ratio {statistics.median(ratios):.3f}, least busy share {min(busy for *_, busy in rows):.3f}")


def round_of(arguments: argparse.Namespace) -> tuple[float, float, float]:
    """One bare loop, then one deployment."""
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    command = ["taskset", "-c", str(arguments.core), sys.executable, __file__, "--bare"]
    command += [
        "--model",
        arguments.model,
        "--batch-size",
        str(arguments.batch_size),
        "--seconds",
        str(arguments.seconds),
    ]
    bare = float(
        subprocess.run(command, env=environment, check=True, capture_output=True, text=True).stdout.splitlines()[-1]
    )
    with tempfile.TemporaryDirectory() as directory:
        config = ExperimentConfig(
            Deploy(
                arguments.model,
                batch_size=arguments.batch_size,
                cpus=(arguments.core,),
                ports=Ports(0, 0, 0, 0, 0),
            ),
            Saturate(arguments.seconds, warmup_s=3.0),
            client=Client(ceiling=False),
            output=Output(Path(directory)),
        )
        results = uvloop.run(_saturate(config))
    return bare, results.summary.throughput_rps, results.verdict.evidence.busy_share or 0.0


async def _saturate(config: ExperimentConfig) -> Results:
    return await run_experiment(config)


def bare_rps(model: str, batch_size: int, seconds: float) -> float:
    """Images a second of the model object alone, called in a loop on batches of fixed size."""
    from model_containers.catalog import load
    from model_containers.model import LoadOptions

    loaded = load(model, LoadOptions(threads=1))
    shape = loaded.input.shape or (8,)
    generator = np.random.default_rng(0)
    batches = [(generator.random((batch_size, *shape), dtype=np.float32) * 255) for _ in range(8)]
    for batch in batches:
        loaded.predict(batch)
    began, done = time.monotonic(), 0
    while time.monotonic() - began < seconds:
        loaded.predict(batches[done % len(batches)])
        done += 1
    return done * batch_size / (time.monotonic() - began)


if __name__ == "__main__":
    main()
