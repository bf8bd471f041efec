"""Client, frontend and a do-nothing replica, each a process: a number of requests through all of them.

`frontend_us` and `client_us` in the extra info are CPU time per request; beside a client in C: `chain_vs_c.py`.
"""

from __future__ import annotations

import os
from pathlib import Path

import pytest
import uvloop
from pytest_benchmark.fixture import BenchmarkFixture

from frontend_launch.ports import Ports
from loadgen.config import Client, ExperimentConfig, Inputs, Output, Saturate
from loadgen.experiments.experiment import run_experiment
from loadgen.served import Deploy

SETTINGS = {"8 B": ((2,), 32, 1000), "8 KB": ((2048,), 32, 1000), "299x299x3": ((299, 299, 3), 8, 64)}
SECONDS = 2.0


@pytest.mark.parametrize("payload", SETTINGS)
def test_chain(benchmark: BenchmarkFixture, tmp_path: Path, payload: str) -> None:
    """Some seconds at full speed."""
    shape, batch_size, window = SETTINGS[payload]
    cores = sorted(os.sched_getaffinity(0))
    config = ExperimentConfig(
        Deploy(
            "noop",
            batch_size=batch_size,
            cpus=(cores[-1],),
            cpus_per_replica=1,
            infrastructure_cpus={"frontends": (cores[0],)},
            allow_overlap=True,
            input_shape=shape,
            ports=Ports(0, 0, 0, 0, 0),
        ),
        Saturate(SECONDS, max_in_flight=window),
        inputs=Inputs(count=4),
        client=Client(cpus=(cores[-1],), ceiling=False),
        output=Output(tmp_path),
    )
    results = benchmark.pedantic(lambda: uvloop.run(run_experiment(config)), rounds=1)
    summary, counters = results.summary, results.frontend_counters
    completed = summary.measured.completed
    client_s = results.verdict.evidence.client_cpu_share * summary.measured.duration_s
    benchmark.extra_info |= {
        "requests_per_s": round(summary.throughput_rps),
        "wall_us_per_request": round(1e6 / summary.throughput_rps, 1),
        "frontend_us": round(counters.process_cpu_ns / counters.replies / 1000, 1),
        "client_us": round(client_s * 1e6 / completed, 1),
        "limit": results.verdict.limit,
    }
    assert completed > 0
