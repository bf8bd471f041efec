"""How often the verdict errs, on servers in virtual time that seeds draw."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Iterable, Iterator

import evidence
import pytest
from simulated_server import SimulatedServer, closed_loop, open_loop

from loadgen.judging.evidence import Evidence
from loadgen.judging.validity import certificate
from loadgen.judging.verdict import judge

RUNS = 1000
SEED = 1_000_000
"""The first of a range that was not looked at while the rule was made."""

REQUESTS, LONGEST_S = 12_000, 120.0
"""A measured part has this number of requests at capacity, or lasts as long as one of the command by default."""

LOADS = (0.5, 0.8, 0.9, 0.95, 1.0, 1.05, 1.2)
"""Offered rates ÷ the capacity."""

WINDOWS = (0.5, 1.0, 2.0, 4.0)
"""Requests in flight ÷ the places in the batches of all replicas."""

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


HEAD = f"""\
Shares of {RUNS} runs in virtual time, in percent. A seed draws each server: 1 to 4 replicas, batches of 1 to 32; a full
batch takes 0.5 to 50 ms, with a jitter of up to 30%. A run is as long as {REQUESTS} requests at capacity, at most
{LONGEST_S:g} s. Arrivals in an open loop are Poisson; its load is the offered rate ÷ the capacity. The load of a closed
loop is the number of requests in flight ÷ the places in the batches of all replicas; answers take no time on their way.

| loop | load | {" | ".join(", ".join(each) for each in CONCLUSIONS)} |
|---|---|{"---|" * len(CONCLUSIONS)}"""

SERVERS = [*(("open", load) for load in LOADS), *(("closed", window) for window in WINDOWS)]


@pytest.fixture(scope="module")
def rows() -> Iterator[dict[int, str]]:
    """A row for each load."""
    found: dict[int, str] = {}
    yield found
    evidence.keep_whole("verdicts", "How often the verdict errs", HEAD, found, len(SERVERS))


@pytest.mark.parametrize("place", range(len(SERVERS)), ids=lambda place: "-".join(map(str, SERVERS[place])))
def test_the_verdict_is_rarely_wrong(place, rows):
    """On open loops below, at and above the capacity, and on closed loops with and without enough in flight."""
    loop, load = SERVERS[place]
    run = offered if loop == "open" else in_flight
    found = shares(run(load, seed) for seed in range(SEED + place * RUNS, SEED + (place + 1) * RUNS))
    rows[place] = f"| {loop} | {load:g} | {' | '.join(f'{100 * found.get(each, 0.0):.1f}' for each in CONCLUSIONS)} |"
    assert set(found) <= set(CONCLUSIONS)
    assert found.get(UNDECIDED, 0.0) <= 0.10
    match loop, load:
        case ("open", 0.8) | ("closed", 0.5):
            assert found.get(LOAD, 0.0) >= 0.95
        case ("open", 1.0):
            assert found.get(LOAD, 0.0) <= 0.03
        case ("open", 1.05 | 1.2) | ("closed", 1.0 | 2.0 | 4.0):
            assert found.get(REPLICAS, 0.0) >= 0.95


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
