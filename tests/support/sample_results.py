"""Results documents for tests, made from the stored one; nothing was measured."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from frontend_launch.histogram import LatencyHistogram
from loadgen.hardware.summary import CoreUse, Hardware, HardwareSample, ProcessUse
from loadgen.judging.validity import Check
from loadgen.load.summary import MeasuredPart
from loadgen.results.document import Results
from loadgen.results.files import read
from loadgen.results.sections import (
    ClientMetrics,
    Histograms,
    InFlightWindow,
    PlacementRow,
    PlannedArrivals,
    SentInputs,
    StageTime,
    StageTimes,
)

GOLDEN = read(Path(__file__).parents[1] / "golden" / "results-v1.json")
INVALID = Check("outside load", "somebody used core 3", "nobody does", "failed", "end it")
PERCENTILES = (50.0, 95.0, 99.0, 99.9)


def results(
    replicas: int = 1,
    cpus: int = 1,
    batch: int = 2,
    *,
    gpus: Sequence[int] = (),
    throughput_rps: float | None = None,
    latency_ms: float | None = None,
    seconds: int = 60,
    model: str = "noop",
    seed: int = 0,
    described: bool = False,
    **members: Any,
) -> Results:
    """A saturating run: throughput grows with all of them, less and less, and the window is the latency's cause."""
    random = np.random.default_rng([seed, replicas, cpus, batch])
    rate = throughput_rps or 40 * (replicas * cpus) ** 0.9 * batch**0.4
    p50_ms = latency_ms or 1000 * 200 / rate
    histogram = LatencyHistogram()
    histogram.record((p50_ms * 1e6 * random.lognormal(0, 0.25, int(rate * seconds))).astype(np.int64))
    interval = LatencyHistogram()
    interval.record(np.full(round(3 * rate), round(p50_ms * 1e6)))
    count = -(-seconds // 3)
    percentiles = {f"p{p:g}": _ms(histogram.percentile_ns(p)) for p in PERCENTILES}
    cores = [list(range(2 + i * cpus, 2 + (i + 1) * cpus)) for i in range(replicas)]
    row = replace(GOLDEN.placement[0], shared=False)
    placement = [
        replace(row, role="client", cores=[0]),
        replace(row, role="frontends", cores=[1]),
        *(
            replace(row, role=f"replica-{i}", cores=own, gpu=gpus[i % len(gpus)] if gpus else None)
            for i, own in enumerate(cores)
        ),
    ]
    extra = _watched(placement, seconds, gpus, histogram, random) if described else {}
    values = {name: getattr(GOLDEN, name) for name in Results.__dataclass_fields__}
    return Results(
        **{
            **values,
            "model": replace(GOLDEN.model, name=model),
            "environment": replace(
                GOLDEN.environment, cores=64, usable_cores=list(range(max(64, 2 + replicas * cpus)))
            ),
            "placement": placement,
            "inputs": SentInputs("32 seeded inputs", "floats"),
            "window": InFlightWindow(requests=200, payload_bytes=4, bytes=800),
            "summary": replace(
                GOLDEN.summary,
                sent=histogram.total + 200,
                completed=histogram.total,
                abandoned=200,
                measured=MeasuredPart(float(seconds), histogram.total, histogram.total),
                throughput_rps=histogram.total / seconds,
                latency_ms={
                    "mean": _ms(histogram.mean_ns),
                    "min": _ms(histogram.min_ns),
                    **percentiles,
                    "max": _ms(histogram.max_ns),
                },
            ),
            "verdict": replace(
                GOLDEN.verdict,
                saturated="yes",
                limit="replicas",
                text=f"yes (replicas busy 99%, batches {batch:.2f} of {batch}): the replicas are the limit",
                evidence=replace(GOLDEN.verdict.evidence, max_batch=batch, replicas=replicas, busy_share=0.99),
            ),
            "histograms": Histograms(histogram.encode(), [interval.encode()] * count),
            "client_metrics": ClientMetrics(
                thrus=[round(3 * rate) / 3] * count,
                p99_lats=list(p50_ms / 1000 * random.normal(1.5, 0.1, count)),
                mean_lats=[p50_ms / 1000] * count,
            ),
            "node_configs": [
                replace(
                    GOLDEN.node_configs[0],
                    allocated_cpus=sorted(core for own in cores for core in own),
                    num_replicas=replicas,
                    cpus_per_replica=cpus,
                    batch_size=batch,
                    gpus=list(gpus),
                )
            ],
            **extra,
            **members,
        }
    )


def at_a_rate(rate_rps: float) -> Results:
    """An open loop that was carried, of 10 ms."""
    made = results(seconds=60, throughput_rps=rate_rps, latency_ms=10.0)
    summary = replace(made.summary, offered_rps=rate_rps, planned=int(60 * rate_rps), intervals_ms={"p99": (9.0, 30.0)})
    return replace(made, summary=summary, arrivals=PlannedArrivals(f"poisson {rate_rps:g} requests/s", rate_rps))


def _ms(time_ns: float | None) -> float:
    assert time_ns is not None
    return time_ns / 1e6


def _watched(
    placement: Sequence[PlacementRow],
    seconds: int,
    gpus: Sequence[int],
    histogram: LatencyHistogram,
    random: np.random.Generator,
) -> dict[str, Any]:
    """What the hardware did, and where the time went."""

    def around(value: float, scale: float, count: int) -> list[float]:
        return [float(x) for x in np.clip(random.normal(value, scale, count), 0, None)]

    roles = [row.role for row in placement]
    watched, used = [*roles, "sampler"], sorted(set(gpus))
    cores = sorted({core for row in placement for core in row.cores})
    latency_ms = _ms(histogram.mean_ns)

    def stage(share: float) -> StageTime:
        return StageTime(10, {"mean": share * latency_ms, "p50": share * latency_ms, "p99": 1.6 * share * latency_ms})

    return {
        "stages": {
            "noop:1": StageTimes({"2": 10}, queue_wait=stage(0.7), rpc=stage(0.2), compute=stage(0.18)),
            "noop:1:0": StageTimes({"2": 10}, rpc=stage(0.2), compute=stage(0.18)),
        },
        "hardware": Hardware(
            readings=seconds,
            every_s=1.0,
            cores={str(core): CoreUse(float(random.uniform(0.2, 1)), 1.0) for core in cores},
            processes={role: ProcessUse(0.9, 1.0, 300 << 20, 0, 0.0) for role in roles},
            gpus={},
            samples=[
                HardwareSample(
                    at_s=second,
                    cores=dict(zip(map(str, cores), around(0.9, 0.02, len(cores)), strict=True)),
                    processes=dict(zip(watched, around(0.9, 0.05, len(watched)), strict=True)),
                    gpus=dict(zip(map(str, used), around(0.8, 0.05, len(used)), strict=True)),
                    rss_bytes=dict.fromkeys(watched, 300 << 20),
                    queue_length={"noop:1": round(around(150, 10, 1)[0])},
                    batch_fill={"noop:1": around(0.97, 0.01, 1)[0] if second > 1 else None},
                )
                for second in map(float, range(1, seconds))
            ],
            findings=[],
        ),
    }
