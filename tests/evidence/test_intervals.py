"""How many intervals are known, and how many of those hold the truth, on simulated queues."""

import evidence
import numpy as np
import pytest
from simulated_queues import Coverage, batching, mm1

from loadgen.judging.intervals import intervals

REQUESTS = (660, 6_600, 66_000, 400_000)
UTILISATIONS = (0.5, 0.8, 0.9)
RUNS = 200
LEAST = 0.93
"""Share that must cover."""

FEW = 10
"""Of fewer intervals the share is not judged for each figure of each queue, but for all queues together."""


@pytest.mark.timeout(3000)
def test_intervals_cover():
    """Of each queue, length and figure; and of each figure, all queues and lengths together."""
    queues = [make(utilisation) for make in (mm1, batching) for utilisation in UTILISATIONS]
    names = ("throughput", *queues[0].truth)
    rows = []
    cells: dict[tuple[str, int], dict[str, Coverage]] = {}
    for seed, queue in enumerate(queues):
        for requests in REQUESTS:
            rng = np.random.default_rng([seed, requests])
            cells[queue.name, requests] = counts = {name: Coverage() for name in names}
            for _ in range(RUNS):
                found = intervals(queue.run(requests, rng))
                counts["throughput"].add(found.throughput_rps, queue.true("throughput"))
                for name in queue.truth:
                    counts[name].add(found.latency_ms.get(name), queue.true(name))
            shown = [shares(counts[name]) for name in names]
            rows.append(f"| {queue.name} | {requests:,} | {' | '.join(shown)} |")
    total = {name: together(counts[name] for counts in cells.values()) for name in names}
    rows.append(f"| all | | {' | '.join(shares(total[name]) for name in names)} |")
    head = [f"| queue | requests | {' | '.join(names)} |", "|---|---|" + "---|" * len(names)]
    text = (
        f"Of {RUNS} runs each: share whose 95% interval is known, and share of those intervals that hold the truth.\n"
        "A batching server takes what waits, up to 8 requests, for 40 ms and 10 ms more per request.\n\n"
    )
    evidence.keep(
        "intervals", "How often an interval is known, and how often it is right", text + "\n".join([*head, *rows])
    )
    for name in names:
        assert total[name].covered >= LEAST * total[name].known, name
    for cell, counts in cells.items():
        latencies = together(counts[name] for name in names if name != "throughput")
        for each in (latencies, *counts.values()):
            assert each.known < FEW or each.covered >= LEAST * each.known, cell


def together(parts):
    """The sum."""
    total = Coverage()
    for part in parts:
        total.runs += part.runs
        total.known += part.known
        total.covered += part.covered
    return total


def shares(coverage):
    """For a table."""
    if not coverage.known:
        return "none"
    return f"{coverage.known / coverage.runs:.0%}, {coverage.covered / coverage.known:.1%}"
