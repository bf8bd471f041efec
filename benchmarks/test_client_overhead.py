"""The client's own cost per request: send, receive and record, against a frontend that does nothing.

The figure to read is the client's CPU time per request, `cpu_us_per_request` in the extra info, since the wall time,
`wall_us_per_request`, is also the peer's; compare it only with others of the same run.
"""

from __future__ import annotations

import time
from dataclasses import replace

import pytest
import uvloop
from pytest_benchmark.fixture import BenchmarkFixture

from loadgen.load.inputs import SeededInputs
from loadgen.load.job import Job
from loadgen.load.runner import run
from loadgen.targets.clipper import ClipperSpec
from model_containers.data_types import DataType
from model_containers.model import TensorSpec

SHAPES = {"8 B": (2,), "8 KB": (2048,), "299x299x3": (299, 299, 3)}
WINDOWS = (1, 10, 100, 1000, 10_000)
MOST_BYTES = 1 << 30


def requests_of(payload: str, window: int) -> int:
    """Enough for the window to be full for most of the run."""
    return max(2 * window, {"8 B": 40_000, "8 KB": 20_000, "299x299x3": 2_000}[payload] // (10 if window == 1 else 1))


@pytest.mark.parametrize("window", WINDOWS)
@pytest.mark.parametrize("payload", SHAPES)
def test_client(benchmark: BenchmarkFixture, null_server: dict[str, str], payload: str, window: int) -> None:
    """One run of this number of requests."""
    inputs = SeededInputs(TensorSpec(SHAPES[payload], "float32"), None, 4, 0)
    if window * inputs.payload_bytes > MOST_BYTES:
        pytest.skip(f"{window} requests of {inputs.payload_bytes} bytes are more than 1 GiB in flight")
    requests = requests_of(payload, window)
    job = Job(
        target=ClipperSpec(
            null_server["request"], null_server["response"], "null", DataType.FLOATS, 4, b"", keep_outputs=False
        ),
        inputs=inputs,
        window=window,
        duration_s=None,
        requests=requests,
        warmup_s=0.0,
        timeout_s=None,
        stall_s=60.0,
        first_answer_s=None,
        log_every_s=3600.0,
        drain_s=0.0,
    )
    first = replace(job, requests=1, window=1)
    spent_ns, start_ns = [], []

    def once() -> None:
        start_ns.append(spent_by(first))
        spent_ns.append(spent_by(job))

    benchmark.pedantic(once, rounds=3, warmup_rounds=1)
    for name, spent, start in zip(
        ("cpu", "wall"), zip(*spent_ns, strict=True), zip(*start_ns, strict=True), strict=True
    ):
        benchmark.extra_info[f"{name}_us_per_request"] = round((min(spent) - min(start)) / (requests - 1) / 1000, 2)


def spent_by(job: Job) -> tuple[int, int]:
    """CPU and wall time of a whole run, nanoseconds; that of one request is what other runs begin and end with."""
    began_ns = time.process_time_ns(), time.monotonic_ns()
    record = uvloop.run(run(job))
    assert record.latency.total == job.requests
    return time.process_time_ns() - began_ns[0], time.monotonic_ns() - began_ns[1]
