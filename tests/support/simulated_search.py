"""The search for the highest rate on servers in virtual time, whose highest rate is known."""

import bisect
import functools
import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace

import numpy as np
from sample_results import GOLDEN

from loadgen.experiments.probes import Probe, ProbeRequest, bound_s, cannot_pass, hopeless_after, judge, samples
from loadgen.experiments.search import Capacity, Limits, search
from loadgen.judging import slo
from loadgen.judging.intervals import with_intervals
from loadgen.judging.slo import Condition
from loadgen.load.arrivals import Renewal
from loadgen.load.record import ClientUse, Offered, Record
from loadgen.load.summary import summarise
from loadgen.load.tally import Tally
from loadgen.load.target import Outcome
from loadgen.load.time_batches import MAX_BATCHES

NS = 1_000_000_000
MEAN_S = 0.002
"""Mean time of a request in most servers: 500 requests/s, if they never wait."""

WARMUP_S, INTERVAL_S = 1.0, 1.0
TALLIED_S = 0.25

Answers = tuple[np.ndarray, np.ndarray]
"""When each request ends, in seconds; and whether it was refused."""

Serve = Callable[[np.ndarray, np.random.Generator], Answers]
"""Arrivals, ascending, in seconds since the server began, to answers."""


@dataclass(frozen=True)
class Server:
    """A server and an objective, with what a very long run finds.

    Attributes:
        name: for a table.
        objective: that the search holds.
        serve: what the server does.
        truth: computes the highest rate; None for a server that holds the objective at none.
    """

    name: str
    objective: str
    serve: Serve
    truth: Callable[[], float] | None = None

    @property
    def truth_rps(self) -> float | None:
        """The highest rate."""
        return None if self.truth is None else self.truth()


def in_order(arrived: np.ndarray, service: np.ndarray) -> np.ndarray:
    """When each answer comes, of a server that takes requests one at a time in the order of their arrival."""
    served = np.cumsum(service)
    done: np.ndarray = np.maximum.accumulate(arrived - (served - service)) + served
    return done


def mm1(arrived: np.ndarray, rng: np.random.Generator) -> Answers:
    """Exponential service."""
    return in_order(arrived, rng.exponential(MEAN_S, len(arrived))), np.zeros(len(arrived), bool)


def heavy(arrived: np.ndarray, rng: np.random.Generator) -> Answers:
    """One request in twenty takes 20 times as long; the mean is that of the others."""
    service = np.where(rng.random(len(arrived)) < 0.05, 20.0, 1.0) * MEAN_S / (0.95 + 0.05 * 20)
    return in_order(arrived, service), np.zeros(len(arrived), bool)


def cliff(arrived: np.ndarray, _: np.random.Generator) -> Answers:
    """A tenth of a second that brings more than 40 requests takes three times as long for each."""
    tenth = np.floor(10 * arrived).astype(int)
    crowded = np.bincount(tenth - tenth[0])[tenth - tenth[0]] > 40
    return in_order(arrived, np.where(crowded, 3 * MEAN_S, MEAN_S)), np.zeros(len(arrived), bool)


def pausing(arrived: np.ndarray, rng: np.random.Generator) -> Answers:
    """It stands still for the last two seconds of each minute."""
    minute, within = np.divmod(arrived, 60.0)
    worked = in_order(minute * 58 + np.minimum(within, 58.0), rng.exponential(MEAN_S, len(arrived)))
    minute, within = np.divmod(worked, 58.0)
    return np.maximum(arrived, minute * 60 + within), np.zeros(len(arrived), bool)


def batching(arrived: np.ndarray, _: np.random.Generator) -> Answers:
    """What waits, up to 8 requests, takes 8 ms and 1 ms for each."""
    times, ends, sizes, free, first = arrived.tolist(), [], [], -math.inf, 0
    while first < len(times):
        begin = max(free, times[first])
        last = bisect.bisect_right(times, begin, first, min(first + 8, len(times)))
        free = begin + 0.008 + 0.001 * (last - first)
        ends.append(free)
        sizes.append(last - first)
        first = last
    return np.repeat(ends, sizes), np.zeros(len(times), bool)


ROOM = 20
"""Requests that a refusing server has at once."""


def refusing(arrived: np.ndarray, rng: np.random.Generator) -> Answers:
    """Exponential service; a request that finds 20 others is refused at once."""
    ends, refused = arrived.copy(), np.zeros(len(arrived), bool)
    busy = [-math.inf] * ROOM
    free, place = -math.inf, 0
    for number, (at, service) in enumerate(
        zip(arrived.tolist(), rng.exponential(MEAN_S, len(arrived)).tolist(), strict=True)
    ):
        if busy[place] > at:
            refused[number] = True
            continue
        free = (free if free > at else at) + service
        ends[number] = busy[place] = free
        place = (place + 1) % ROOM
    return ends, refused


def mm1_rate(bound_s: float, slow_share: float) -> float:
    """Where the share of slower answers of M/M/1 is this: they are exponential with rate mu - lambda."""
    return 1 / MEAN_S + math.log(slow_share) / bound_s


def refusing_rate(share: float) -> float:
    """Where M/M/1/K refuses this share."""
    low, high = 0.01, 2.0
    while high - low > 1e-9:
        load = (low + high) / 2
        refused = (1 - load) * load**ROOM / (1 - load ** (ROOM + 1)) if load != 1 else 1 / (ROOM + 1)
        low, high = (load, high) if refused < share else (low, load)
    return low / MEAN_S


@functools.cache
def long_run_rate(serve: Serve, bound_s: float, slow_share: float, requests: int = 8_000_000) -> float:
    """What a very long run finds, by bisection."""
    low, high = 0.05 / MEAN_S, 1 / MEAN_S
    unit = np.cumsum(np.random.default_rng(1).exponential(1.0, requests))
    while high / low > 1.0005:
        rate = (low * high) ** 0.5
        done, _ = serve(unit / rate, np.random.default_rng(2))
        slow = np.count_nonzero(done - unit / rate >= bound_s) / requests
        low, high = (rate, high) if slow < slow_share else (low, rate)
    return low


def probe(ask: ProbeRequest, conditions: Sequence[Condition], seed: int, serve: Serve = mm1) -> Probe:
    """A probe in virtual time, cut short as a real one is."""
    rng = np.random.default_rng([seed, 7])
    times_ns = Renewal(ask.rate_rps, ask.duration_s, 1.0, seed).times_ns(WARMUP_S)
    begun_s = 60 * rng.random() + WARMUP_S
    arrived = times_ns / NS
    done, refused = serve(arrived + begun_s, rng)
    done = done - begun_s
    in_flight = _in_flight(arrived, done, ask.duration_s)
    bound, lasting = bound_s(conditions), hopeless_after(conditions, ask)
    lengths = range(1, len(in_flight) + 1)
    cut = next((n for n in lengths if cannot_pass(in_flight[:n], ask.rate_rps, bound, lasting)), None)
    measured = times_ns >= 0
    record = _record(arrived[measured], done[measured], refused[measured], ask.duration_s, conditions)
    record.sent, record.outcomes[Outcome.COMPLETED] = len(times_ns), int(np.count_nonzero(~refused))
    record.outcomes[Outcome.FAILED] = int(np.count_nonzero(refused))
    assert record.offered is not None
    record.offered.arrived = int(np.count_nonzero((done >= 0) & (done < ask.duration_s) & ~refused))
    summary = with_intervals(summarise(record), record)
    results = replace(GOLDEN, summary=summary, ended="schedule" if cut is None else "cut_short", path=None)
    return judge(ask, results, conditions, in_flight[:cut])


def _record(
    arrived: np.ndarray, done: np.ndarray, refused: np.ndarray, duration_s: float, conditions: Sequence[Condition]
) -> Record:
    """What a client records of the measured part."""
    order = np.argsort(done, kind="stable")
    done_ns = (done[order] * NS).astype(np.int64)
    latency_ns, refused = done_ns - (arrived[order] * NS).astype(np.int64), refused[order]
    bounds_ns = slo.slow_bounds_ns(conditions)
    tally = None if bounds_ns is None else Tally(bounds_ns)
    record = Record(measured_ns=round(duration_s * NS), offered=Offered(), clients=[ClientUse()], tally=tally)
    good = ~refused
    record.latency.record(latency_ns[good])
    if good.any():
        while (
            record.batches.length_ns * MAX_BATCHES <= done_ns[-1]
        ):  # as it would be at the end; to begin so is quicker
            record.batches.length_ns *= 2
        record.batches.record(latency_ns[good], done_ns[good], 0)
    if tally is not None and len(done_ns):
        edges = np.searchsorted(done_ns, np.arange(0, done_ns[-1] + TALLIED_S * NS, TALLIED_S * NS))
        for first, last in zip(edges[:-1].tolist(), edges[1:].tolist(), strict=True):
            if first < last:
                answered = good[first:last]
                tally.completed(latency_ns[first:last][answered], int(done_ns[first]))
                tally.lost(Outcome.FAILED, int(np.count_nonzero(~answered)), int(done_ns[first]))
    assert record.offered is not None
    record.offered.planned, record.offered.answered = len(arrived), int(np.count_nonzero(good))
    return record


def _in_flight(arrived: np.ndarray, done: np.ndarray, duration_s: float) -> list[float]:
    """The mean number in flight of each interval."""
    edges = np.arange(0, max(2, math.ceil(duration_s / INTERVAL_S - 0.5) + 1)) * INTERVAL_S

    def waited(times: np.ndarray) -> np.ndarray:
        ordered = np.sort(times)
        before = np.searchsorted(ordered, edges)
        total: np.ndarray = before * edges - np.concatenate([[0.0], np.cumsum(ordered)])[before]
        return total

    means: list[float] = (np.diff(waited(arrived) - waited(done)) / INTERVAL_S).tolist()
    return means


def found(server: Server, seed: int, limits: Limits, start_rps: float = 40.0) -> Capacity:
    """What a search finds, with arrivals of its own for each seed."""
    conditions = slo.parse(server.objective)
    steps = search(start_rps, replace(limits, samples=samples(conditions)))
    ask = next(steps)
    number = 0
    while True:
        number += 1
        try:
            ask = steps.send(probe(ask, conditions, 1000 * seed + number, server.serve))
        except StopIteration as end:
            capacity: Capacity = end.value
            return capacity


def trials(server: Server, seeds: Iterable[int], limits: Limits) -> list[Capacity]:
    """What the search finds, once for each seed."""
    return [found(server, seed, limits) for seed in seeds]


def covers(server: Server, answer: Capacity) -> bool:
    """Whether the interval holds the truth; where no rate is right, that none was confirmed."""
    truth_rps, interval = server.truth_rps, answer.interval_rps
    if truth_rps is None:
        return not any(probe.step in ("confirm", "above") and probe.outcome == "pass" for probe in answer.probes)
    return interval is not None and interval[0] <= truth_rps <= interval[1]


def servers() -> list[Server]:
    """Those of the table."""
    return [
        Server("one at a time, exponential", "p99<50ms", mm1, lambda: mm1_rate(0.05, 0.01)),
        Server("the same", "p50<10ms", mm1, lambda: mm1_rate(0.01, 0.5)),
        Server("5% of requests 20 times as long", "p99<100ms", heavy, lambda: long_run_rate(heavy, 0.1, 0.01)),
        Server("batches up to 8", "p99<40ms", batching, lambda: long_run_rate(batching, 0.04, 0.01)),
        Server("a third as fast at 40 requests in 0.1 s", "p99<100ms", cliff, lambda: long_run_rate(cliff, 0.1, 0.01)),
        Server("refuses requests while it has 20", "failed<0.5%,p99<100ms", refusing, lambda: refusing_rate(0.005)),
        Server("stands still 2 s each minute", "p99<100ms", pausing),
    ]
