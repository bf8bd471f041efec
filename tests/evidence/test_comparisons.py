"""How often a comparison calls equal servers different, and finds a slower one, on simulated queues."""

from dataclasses import replace

import evidence
import numpy as np
import pytest
from sample_results import GOLDEN

from loadgen.judging.comparison import OPEN_LOOP, THROUGHPUT, Outcome, least_rounds, paired

COMPARISONS = 200
FEWER = 50
"""Of long runs."""

REQUESTS = 5_000
"""Of a run."""

WARM = 500
"""Requests before it."""

NOISE = 0.2
"""Of a service time, beside what its input takes."""

MARGIN = 0.05
UTILISATIONS = (0.5, 0.8, 0.9)
ROUNDS = least_rounds(len(OPEN_LOOP))
LEAST_FOUND = 0.9
MOST_FALSE = 0.05

KINDS = {
    "plain": "each answer takes what its input does, and 20% of noise of its own",
    "drift": "the machine becomes 0.5% slower from run to run",
    "correlated": "the speed of runs scatters by 1%, and neighbours resemble each other by 0.7",
    "unequal": "the speed of runs of B scatters by 1%, that of A by 0.2%",
    "own arrivals": "A and B have arrivals and inputs of their own",
}
JUDGED = ("plain", "drift", "correlated", "unequal")
"""Kinds that measure as `loadgen compare` does."""


def served(arrived: np.ndarray, service: np.ndarray) -> np.ndarray:
    """Latencies of a single server, by Lindley's recursion as a running minimum; both ``(runs, requests)``."""
    path = np.cumsum(service[:, :-1] - np.diff(arrived, axis=1), axis=1)
    path = np.concatenate([np.zeros((len(path), 1)), path], axis=1)
    waited: np.ndarray = path - np.minimum.accumulate(path, axis=1) + service
    return waited[:, WARM:]


def figures(utilisation: float, slower: float, kind: str, rng: np.random.Generator, requests: int = REQUESTS):
    """The rounds of a comparison, as summaries.

    Args:
        utilisation: of A.
        slower: service time of B ÷ of A.
        kind: of `KINDS`.
        rng: of all that is drawn.
        requests: of a run.
    """
    shape = (ROUNDS, requests + WARM)
    first = np.arange(ROUNDS) % 2  # AB BA AB BA
    speeds = speeds_of(kind, rng)
    latencies, rates = [], []
    for side, factor in enumerate((1.0, slower)):
        if not side or kind == "own arrivals":
            gaps, inputs = rng.exponential(1 / utilisation, shape), rng.exponential(1, shape)
        noise = rng.lognormal(-(NOISE**2) / 2, NOISE, shape)
        speed = speeds[2 * np.arange(ROUNDS) + (first != side)][:, None]
        if kind == "unequal":
            speed = speed * np.exp(rng.normal(0, (0.002, 0.01)[side], (ROUNDS, 1)))
        arrived = np.cumsum(gaps, axis=1)
        waited = served(arrived, inputs * noise * factor * speed)
        latencies.append(np.quantile(waited, (0.5, 0.95, 0.99), axis=1))
        rates.append(requests / (arrived[:, -1] + waited[:, -1] - arrived[:, WARM]))
    return [
        tuple(summary(latencies[side][:, number], rates[side][number]) for side in (0, 1)) for number in range(ROUNDS)
    ]


def speeds_of(kind: str, rng: np.random.Generator) -> np.ndarray:
    """How much longer the machine takes in each run, in the order of time."""
    runs = 2 * ROUNDS
    if kind == "drift":
        return 1 + 0.005 * np.arange(runs)
    if kind != "correlated":
        return np.ones(runs)
    values = [rng.normal()]
    for _ in range(runs - 1):
        values.append(0.7 * values[-1] + (1 - 0.7**2) ** 0.5 * rng.normal())
    return np.exp(0.01 * np.array(values))


def summary(latencies, rate):
    """What a run measured."""
    names = dict(zip(("p50", "p95", "p99"), map(float, latencies), strict=True))
    measured = replace(GOLDEN.summary.measured, completed=REQUESTS)
    return replace(GOLDEN.summary, throughput_rps=float(rate), latency_ms=names, measured=measured, lost=0)


@pytest.mark.timeout(3000)
def test_comparisons():
    """Equal servers are called different in few comparisons; 5% of service time is found in most."""
    rows, wrong = [], []
    for kind in KINDS:
        for utilisation in UTILISATIONS:
            shares = []
            for slower in (1.0, 1.05):
                rng = np.random.default_rng([int(100 * utilisation), int(100 * slower), list(KINDS).index(kind)])
                outcomes = [
                    paired(figures(utilisation, slower, kind, rng), OPEN_LOOP, MARGIN).outcome
                    for _ in range(COMPARISONS)
                ]
                shares.append({outcome: outcomes.count(outcome) / COMPARISONS for outcome in Outcome})
            equal, worse = shares
            rows.append(
                f"| {kind} | {utilisation:g} | {equal[Outcome.WORSE]:.1%} | {equal[Outcome.NOT_WORSE]:.1%} "
                f"| {equal[Outcome.UNDECIDED]:.1%} | {worse[Outcome.WORSE]:.1%} | {worse[Outcome.NOT_WORSE]:.1%} |"
            )
            if kind in JUDGED:
                wrong += [rows[-1]] * (equal[Outcome.WORSE] > MOST_FALSE or worse[Outcome.WORSE] < LEAST_FOUND)
    head = [
        "| noise | utilisation | equal: worse | not worse | undecided | 5% slower: worse | not worse |",
        "|---|---|---|---|---|---|---|",
    ]
    text = (
        f"Of {COMPARISONS} comparisons each, of {ROUNDS} rounds: what was decided, with a margin of {MARGIN:.0%} "
        f"and the metrics {', '.join(OPEN_LOOP)}.\nA single server answers {REQUESTS:,} Poisson arrivals a run; "
        "the service time depends on the input. A 5% longer service time makes latencies longer by more than that.\n\n"
        + "\n".join(f"- {kind}: {meaning}" for kind, meaning in KINDS.items())
        + "\n\n"
    )
    evidence.keep("comparisons", "How often a comparison is right", text + "\n".join([*head, *rows, "", *lengths()]))
    assert wrong == []


def lengths():
    """How often equal servers end as not worse, by the length of runs and by what is judged."""
    chosen = (OPEN_LOOP, (THROUGHPUT, "p50", "p95"), ("p50",))
    yield f"Of {FEWER} comparisons of equal servers each, in {ROUNDS} rounds: share that ends as *not worse*.\n"
    yield f"| requests a run | utilisation | {' | '.join(', '.join(metrics) for metrics in chosen)} |"
    yield "|---|---|" + "---|" * len(chosen)
    for requests in (REQUESTS, 10 * REQUESTS):
        for utilisation in UTILISATIONS:
            rng = np.random.default_rng([int(100 * utilisation), requests])
            made = [figures(utilisation, 1.0, "plain", rng, requests) for _ in range(FEWER)]
            shares = (
                sum(paired(rounds, metrics, MARGIN).outcome is Outcome.NOT_WORSE for rounds in made) / FEWER
                for metrics in chosen
            )
            yield f"| {requests:,} | {utilisation:g} | {' | '.join(f'{share:.0%}' for share in shares)} |"
