"""Open loops with Poisson arrivals, one a process; prints what one of them measured, for `schedule_lag.py`.

    python benchmarks/open_loops.py loadgen null REQUESTS_PER_S SECONDS
    python benchmarks/open_loops.py loadgen echo REQUESTS_PER_S SECONDS REQUEST_PORT RESPONSE_PORT
    python benchmarks/open_loops.py mlperf null REQUESTS_PER_S SECONDS

``loadgen`` is this project's client with everything that a run records. ``mlperf`` is MLPerf LoadGen's Server scenario
with its Python binding. ``null`` answers at once, in the call that hands it a request; ``echo`` is `c_peer`'s server,
with inputs of 8 KB.
"""

from __future__ import annotations

import dataclasses
import json
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import uvloop

from frontend_launch.histogram import LatencyHistogram
from loadgen.load.arrivals import Renewal
from loadgen.load.inputs import Pool, SeededInputs
from loadgen.load.job import Job
from loadgen.load.record import Record
from loadgen.load.runner import run
from loadgen.load.target import Outcome, Replies, TargetSpec
from loadgen.targets.clipper import ClipperSpec
from model_containers.data_types import DataType
from model_containers.model import TensorSpec

INPUT_BYTES = 8192
SEED = 1
EMPTY = Replies(np.empty(0, np.int64), np.empty(0, np.int64), np.empty(0, np.uint8), ())


@dataclass(frozen=True, slots=True)
class Measured:
    """What one open loop came to.

    Attributes:
        planned: requests of the schedule.
        sent: requests sent.
        answered_share: answers that arrived in the time of the schedule ÷ requests planned.
        answer_us: p50, p99 and most of the time from the plan to the answer, in microseconds.
        lag_us: the same from the plan to when the target had taken the request; None where it is not told.
        cpu_us: CPU time of the whole process a request, user and system, from the first request to the last.
    """

    planned: int
    sent: int
    answered_share: float
    answer_us: tuple[float, float, float]
    lag_us: tuple[float, float, float] | None
    cpu_us: float


class NullTarget:
    """A server that has answered before `send` returns."""

    def __init__(self) -> None:
        self._answers: list[tuple[int, int, int]] = []

    async def open(self, pool: Pool) -> None:
        pass

    def send(self, first_id: int, count: int, now_ns: int) -> None:
        self._answers.append((first_id, count, time.monotonic_ns()))

    def drain(self) -> Replies:
        if not self._answers:
            return EMPTY
        answers, self._answers = self._answers, []
        first, count = answers[0][0], sum(count for _, count, _ in answers)
        done_ns = np.repeat([done_ns for *_, done_ns in answers], [count for _, count, _ in answers])
        return Replies(np.arange(first, first + count), done_ns, np.full(count, Outcome.COMPLETED, np.uint8), ())

    def notify(self, wake: Callable[[], None]) -> None:
        pass

    async def close(self) -> None:
        pass


class NullSpec:
    """Makes a `NullTarget`."""

    def make(self) -> NullTarget:
        return NullTarget()


def loadgen(server: str, rate_rps: float, seconds: float, *ports: int) -> Measured:
    """The project's client."""
    spec: TargetSpec = NullSpec()
    if server == "echo":
        request, response = (f"tcp://127.0.0.1:{port}" for port in ports)
        spec = ClipperSpec(request, response, "echo", DataType.FLOATS, INPUT_BYTES, b"", keep_outputs=False)
    job = open_loop(spec, rate_rps, seconds)
    return measured(job, uvloop.run(run(job)))


def open_loop(spec: TargetSpec, rate_rps: float, seconds: float, log_every_s: float = 3.0) -> Job:
    """Poisson arrivals of 8 KB.

    Args:
        spec: whom they are sent to.
        rate_rps: requests a second.
        seconds: of the schedule.
        log_every_s: length of a logging interval.
    """
    return Job(
        target=spec,
        inputs=SeededInputs(TensorSpec((INPUT_BYTES // 4,), "float32"), None, 4, 0),
        window=1_000_000,
        duration_s=seconds,
        requests=None,
        warmup_s=0.0,
        timeout_s=60.0,
        stall_s=60.0,
        first_answer_s=None,
        log_every_s=log_every_s,
        drain_s=10.0,
        arrivals=Renewal(rate_rps, seconds, cv=1.0, seed=SEED),
    )


def measured(job: Job, record: Record) -> Measured:
    """What an open loop came to.

    Args:
        job: it.
        record: of it.
    """
    assert job.arrivals is not None
    assert record.offered is not None
    return Measured(
        planned=len(job.arrivals.times_ns(0.0)),
        sent=record.sent,
        answered_share=record.offered.arrived / record.offered.planned,
        answer_us=_percentiles_us(record.latency),
        lag_us=_percentiles_us(record.offered.lag),
        cpu_us=record.clients[0].cpu_ns / record.measured_sent / 1000,
    )


def _percentiles_us(histogram: LatencyHistogram) -> tuple[float, float, float]:
    p50, p99, most = (histogram.percentile_ns(percent) for percent in (50, 99, 100))
    assert p50 is not None
    assert p99 is not None
    assert most is not None
    return p50 / 1000, p99 / 1000, most / 1000


def mlperf(server: str, rate_rps: float, seconds: float) -> Measured:
    """MLPerf LoadGen: its own schedule, pacing and log; the time of an answer is from its detail log."""
    import mlperf_loadgen as peer

    sent, cpu_s = 0, [0.0, 0.0]

    def issue(samples: list[Any]) -> None:
        nonlocal sent
        peer.QuerySamplesComplete([peer.QuerySampleResponse(sample.id, 0, 0) for sample in samples])
        if not sent:
            cpu_s[0] = time.process_time()
        sent += len(samples)

    def flush() -> None:  # called once, after the last request
        cpu_s[1] = time.process_time()

    settings = peer.TestSettings()
    settings.scenario, settings.mode = peer.TestScenario.Server, peer.TestMode.PerformanceOnly
    settings.server_target_qps, settings.min_duration_ms = rate_rps, round(seconds * 1000)
    settings.min_query_count, settings.server_target_latency_ns = 1, 10**10
    settings.schedule_rng_seed = SEED
    with tempfile.TemporaryDirectory() as directory:
        logs = peer.LogSettings()
        logs.log_output.outdir = directory
        system = peer.ConstructSUT(issue, flush)
        library = peer.ConstructQSL(1024, 1024, lambda _: None, lambda _: None)
        peer.StartTestWithLogSettings(system, library, settings, logs)
        peer.DestroyQSL(library)
        peer.DestroySUT(system)
        log = _detail_log(Path(directory))
    p50, p99, most = (
        log[f"result_{name}_latency_ns"] / 1000 for name in ("50.00_percentile", "99.00_percentile", "max")
    )
    return Measured(
        planned=log["generated_query_count"],
        sent=sent,
        answered_share=log["result_completed_samples_per_sec"] / log["result_scheduled_samples_per_sec"],
        answer_us=(p50, p99, most),
        lag_us=None,
        cpu_us=(cpu_s[1] - cpu_s[0]) / sent * 1e6,
    )


def _detail_log(directory: Path) -> dict[str, Any]:
    """The values of the log by their keys; a line is ``:::MLLOG`` and an object in JSON."""
    lines = (directory / "mlperf_log_detail.txt").read_text().splitlines()
    entries = (json.loads(line.partition(" ")[2]) for line in lines if line.startswith(":::MLLOG"))
    return {entry["key"]: entry["value"] for entry in entries}


def main() -> None:
    """Run the open loop that is named, and print what it measured."""
    client, server, rate_rps, seconds, *ports = sys.argv[1:]
    loop = {"loadgen": loadgen, "mlperf": mlperf}[client]
    print(json.dumps(dataclasses.asdict(loop(server, float(rate_rps), float(seconds), *map(int, ports)))), flush=True)


if __name__ == "__main__":
    main()
