"""How often a slow start is noted, with and without one, on simulated queues."""

import evidence
import numpy as np
import pytest
from simulated_queues import batching, mm1

from loadgen.judging.warmup import slow_start
from loadgen.load.record import Record

REQUESTS = (200, 660, 6_600, 40_000)
RUNS = 200
SLOW_SHARE, TIMES = 0.05, 4
NO_TRUTH = dict.fromkeys(("p50", "p90", "p95", "p99", "p99.9", "mean"), 1.0)


@pytest.mark.timeout(1200)
def test_slow_starts_are_noted_and_others_rarely():
    """Of runs in the steady state at most 2% have a note, all together."""
    makes = (mm1, lambda utilisation: batching(utilisation, NO_TRUTH))
    queues = [make(utilisation) for make in makes for utilisation in (0.5, 0.8, 0.9)]
    rows, wrong = [], 0
    for seed, queue in enumerate(queues):
        for requests in REQUESTS:
            rng = np.random.default_rng([seed, requests, 2])
            false = found = 0
            for _ in range(RUNS):
                done, latency = queue.latencies(requests, rng)
                order = np.argsort(done)
                done, latency = done[order] - done[order][0], latency[order]
                false += slow_start(run(done, latency)) is not None
                slow = np.where(done < SLOW_SHARE * done[-1], TIMES, 1)
                found += slow_start(run(done, latency * slow)) is not None
            wrong += false
            rows.append(f"| {queue.name} | {requests:,} | {false / RUNS:.1%} | {found / RUNS:.0%} |")
    head = ["| queue | requests | steady runs with a note | slow starts with a note |", "|---|---|---|---|"]
    text = (
        f"Of {RUNS} runs each: share that is noted as begun slowly, of runs in the steady state, and of the same runs\n"
        f"with {TIMES} times the latencies in the first {SLOW_SHARE:.0%} of the time.\n\n"
    )
    evidence.keep("slow-starts", "How often a slow start is noted", text + "\n".join([*head, *rows]))
    assert wrong <= 0.02 * RUNS * len(rows)


def run(done, latency):
    """Of answers at these times, in service times of 10 ms."""
    record = Record(measured_ns=int(done[-1] * 10_000_000))
    record.batches.record((latency * 10_000_000).astype(np.int64), (done * 10_000_000).astype(np.int64), 0)
    return record
