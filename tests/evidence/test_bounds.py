"""How often the bounds of what has no interval hold, on simulated queues."""

import evidence
import numpy as np
import pytest
from simulated_queues import batching, mm1

from loadgen.judging.intervals import intervals

REQUESTS = (20, 100, 660, 6_600)
RUNS = 200
LEAST = 0.9


@pytest.mark.timeout(1200)
def test_bounds_hold():
    """Of each figure, of all queues and lengths together."""
    queues = [make(utilisation) for make in (mm1, batching) for utilisation in (0.5, 0.8, 0.9)]
    names = list(queues[0].truth)
    rows, total = [], {name: np.zeros(4, dtype=int) for name in names}
    for seed, queue in enumerate(queues):
        for requests in REQUESTS:
            rng = np.random.default_rng([seed, requests, 1])
            counts = {name: np.zeros(4, dtype=int) for name in names}
            for _ in range(RUNS):
                for name, (low, high) in intervals(queue.run(requests, rng)).bounds_ms.items():
                    truth = queue.true(name)
                    counts[name] += (1, low <= truth, high is not None, high is not None and high >= truth)
            shown = " | ".join(shares(counts[name]) for name in names)
            rows.append(f"| {queue.name} | {requests:,} | {shown} |")
            for name in names:
                total[name] += counts[name]
    rows.append(f"| all | | {' | '.join(shares(total[name]) for name in names)} |")
    head = [f"| queue | requests | {' | '.join(names)} |", "|---|---|" + "---|" * len(names)]
    text = (
        f"Of {RUNS} runs each, of those without an interval: share whose truth is at least the lower bound, and share\n"
        "whose truth is at most the upper bound; a dash marks none.\n\n"
    )
    evidence.keep("bounds", "How often the bounds of what has no interval hold", text + "\n".join([*head, *rows]))
    for name in names:
        runs, low, bounded, high = total[name]
        assert low >= LEAST * runs, name
        assert high >= LEAST * bounded, name


def shares(counts):
    """For a table."""
    runs, low, bounded, high = counts.tolist()
    if not runs:
        return "all known"
    return f"{low / runs:.0%}, {high / bounded:.0%}" if bounded else f"{low / runs:.0%}, -"
