"""How often the verdict errs, on servers in virtual time that seeds draw."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Iterable

import evidence
from simulated_server import SimulatedServer, closed_loop, open_loop

from loadgen.judging.evidence import Evidence
from loadgen.judging.validity import certificate
from loadgen.judging.verdict import judge

RUNS = 1000
SEED = 1_000_000
"""The first of a range that nobody looked at while the rule was made."""

REQUESTS, LONGEST_S = 12_000, 120.0
"""A measured part has so many requests at capacity, or lasts as long as one of the command by default."""

LOADS = (0.5, 0.8, 0.9, 0.95, 1.0, 1.05, 1.2)
WINDOWS = (0.5, 1.0, 2.0, 4.0)

Conclusion = tuple[str, str]
Shares = dict[Conclusion, float]
LOAD, REPLICAS, UNDECIDED = ("no", "load"), ("yes", "replicas"), ("undecided", "unknown")
CONCLUSIONS: tuple[Conclusion, ...] = (
    LOAD,
    ("near", "load"),
    ("yes", "load"),
    ("near", "replicas"),
    REPLICAS,
    UNDECIDED,
)


def test_the_verdict_is_rarely_wrong():
    """On open loops below, at and above the capacity, and on closed loops with and without enough in flight."""
    loads = {load: shares(offered(load, seed) for seed in seeds(place)) for place, load in enumerate(LOADS)}
    windows = {
        window: shares(in_flight(window, seed) for seed in seeds(len(LOADS) + place))
        for place, window in enumerate(WINDOWS)
    }
    evidence.keep("verdicts", "How often the verdict errs", page(loads, windows))
    rows = [*loads.values(), *windows.values()]
    assert {conclusion for row in rows for conclusion in row} <= set(CONCLUSIONS)
    assert loads[0.8].get(LOAD, 0.0) >= 0.95
    assert min(loads[load].get(REPLICAS, 0.0) for load in LOADS if load >= 1.05) >= 0.95
    assert loads[1.0].get(LOAD, 0.0) <= 0.03
    assert max(row.get(UNDECIDED, 0.0) for row in rows) <= 0.10
    assert windows[0.5].get(LOAD, 0.0) >= 0.95
    assert min(windows[window].get(REPLICAS, 0.0) for window in WINDOWS if window >= 1) >= 0.95


def seeds(place: int) -> range:
    return range(SEED + place * RUNS, SEED + (place + 1) * RUNS)


def offered(load: float, seed: int) -> Evidence:
    """A run at a share of the capacity."""
    draw = random.Random(seed)
    server = SimulatedServer.drawn(draw)
    return open_loop(server, load, duration_s(server), draw)


def in_flight(share: float, seed: int) -> Evidence:
    """A run with a window of a share of the places in the batches of all replicas, of which there are two or more."""
    draw = random.Random(seed)
    while (places := (server := SimulatedServer.drawn(draw)).max_batch * server.replicas) < 2:
        pass
    return closed_loop(server, int(share * places), duration_s(server), draw)


def duration_s(server: SimulatedServer) -> float:
    return min(LONGEST_S, REQUESTS / server.capacity_rps)


def shares(runs: Iterable[Evidence]) -> Shares:
    """How often each conclusion is drawn, as a share of the runs."""
    verdicts = [judge(run, certificate(run)) for run in runs]
    counted = Counter((verdict.saturated, verdict.limit) for verdict in verdicts)
    return {conclusion: count / len(verdicts) for conclusion, count in counted.items()}


def page(loads: dict[float, Shares], windows: dict[float, Shares]) -> str:
    head = [
        f"| {' | '.join(('', *(', '.join(each) for each in CONCLUSIONS)))} |",
        f"|{'---|' * (1 + len(CONCLUSIONS))}",
    ]
    return "\n".join(
        [
            f"Shares of {RUNS} runs in virtual time, in percent. A seed draws each server: 1 to 4 replicas, batches of",
            "1 to 32, a full batch takes 0.5 to 50 ms with a jitter of up to 30 %. A run is as long as "
            f"{REQUESTS} requests at capacity, at most {LONGEST_S:g} s.",
            "",
            "Open loop, Poisson arrivals, by the offered rate ÷ the capacity:",
            "",
            *head,
            *(line(f"{load:g}", row) for load, row in loads.items()),
            "",
            "Closed loop, by the requests in flight ÷ the places in batches:",
            "",
            *head,
            *(line(f"{window:g}", row) for window, row in windows.items()),
        ]
    )


def line(name: str, row: Shares) -> str:
    return f"| {' | '.join((name, *(f'{100 * row.get(each, 0.0):.1f}' for each in CONCLUSIONS)))} |"
