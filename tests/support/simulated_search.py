"""The search for the highest rate on servers in virtual time, whose highest rate is known."""

import functools
from collections.abc import Iterable, Sequence
from dataclasses import replace

import numpy as np
from sample_results import GOLDEN

from loadgen.experiments.search import Capacity, Limits, Probe, ProbeRequest, bound_ms, cannot_pass, judge, search
from loadgen.judging import slo
from loadgen.judging.slo import Condition
from loadgen.load.arrivals import Renewal
from loadgen.load.record import ClientUse, Offered, Record
from loadgen.load.summary import summarise
from loadgen.load.target import Outcome

OBJECTIVES = ("p99<20ms", "p95<10ms,failed<0.1%", "p99<250ms")
NS = 1_000_000_000
SERVICE_S = 0.002
"""Time for a request at a server that takes one at a time: 500 requests/s, if it never waits."""


def waits(times_ns: np.ndarray, service_ns: float) -> np.ndarray:
    """When each answer comes, of a server that takes requests one at a time in the order of their arrival."""
    order = np.arange(len(times_ns))
    done_ns: np.ndarray = np.maximum.accumulate(times_ns - order * service_ns) + (order + 1) * service_ns
    return done_ns


def probe(ask: ProbeRequest, conditions: Sequence[Condition], seed: int, service_s: float = SERVICE_S) -> Probe:
    """A probe in virtual time, cut short as a real one is."""
    warmup_s, interval_s = 1.0, 1.0
    times_ns = Renewal(ask.rate_rps, ask.duration_s, 1.0, seed).times_ns(warmup_s)
    done_ns = waits(times_ns, round(service_s * NS))
    in_flight: list[float] = []
    cut = False
    for begin_s in np.arange(0.0, ask.duration_s - interval_s / 2, interval_s):
        begin_ns, end_ns = begin_s * NS, (begin_s + interval_s) * NS
        held_ns = np.clip(np.minimum(done_ns, end_ns) - np.maximum(times_ns, begin_ns), 0, None)
        in_flight.append(float(held_ns.sum()) / (interval_s * NS))
        if cut := cannot_pass(in_flight, ask.rate_rps, bound_ms(conditions)):
            break
    measured = times_ns >= 0
    offered = Offered()
    record = Record(measured_ns=round(ask.duration_s * NS), offered=offered, clients=[ClientUse()])
    record.latency.record((done_ns - times_ns)[measured].astype(np.int64))
    record.outcomes[Outcome.COMPLETED] = len(times_ns)
    record.sent = len(times_ns)
    offered.planned = offered.answered = int(measured.sum())
    offered.arrived = int(np.count_nonzero((done_ns >= 0) & (done_ns < ask.duration_s * NS)))
    results = replace(GOLDEN, summary=summarise(record), ended="cut_short" if cut else "schedule", path=None)
    return judge(ask, results, conditions, in_flight)


def found(
    conditions: Sequence[Condition], seed: int, limits: Limits, start_rps: float = 40.0, service_s: float = SERVICE_S
) -> Capacity:
    steps = search(start_rps, limits)
    ask = next(steps)
    number = 0
    while True:
        number += 1
        try:
            ask = steps.send(probe(ask, conditions, 1000 * seed + number, service_s))
        except StopIteration as end:
            capacity: Capacity = end.value
            return capacity


@functools.cache
def highest_rate(bound_s: float, quantile: float, service_s: float = SERVICE_S) -> float:
    """What a very long run finds: of two million requests, by bisection."""
    low, high = 0.05 / service_s, 1 / service_s
    unit = np.cumsum(np.random.default_rng(1).exponential(1.0, 2_000_000))
    while high / low > 1.0005:
        rate = (low * high) ** 0.5
        times_ns = unit / rate * NS
        latency_ns = waits(times_ns, service_s * NS) - times_ns
        low, high = (rate, high) if np.quantile(latency_ns, quantile) < bound_s * NS else (low, rate)
    return low


def trials(text: str, seeds: Iterable[int], limits: Limits) -> list[Capacity]:
    """What the search finds for an objective, once for each seed of the arrivals."""
    conditions = slo.parse(text)
    return [found(conditions, seed, limits) for seed in seeds]


def right(answer: Capacity, text: str, limits: Limits) -> bool:
    """Whether it is confirmed, and within the tolerance of what a very long run finds."""
    bound = bound_ms(slo.parse(text))
    assert bound is not None
    expected = highest_rate(bound / 1000, 0.99 if "p99" in text else 0.95)
    if not answer.confirmed:
        return False
    assert answer.rate_rps is not None
    return abs(answer.rate_rps / expected - 1) <= limits.tolerance
