"""Runs of simulated queues whose true percentiles are known, as records."""

import bisect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from loadgen.load.record import Record
from loadgen.load.summary import PERCENTILES
from model_containers.units import NS_PER_S

SERVICE_NS = 10_000_000
"""Mean time of one request in the server, or of one part of a batch."""

_WARM = 3000
"""Requests before the first of a batching server's run; at 0.9 the queue forgets in some hundred."""

_LARGEST, _FIXED, _EACH = 8, 4.0, 1.0
"""Of the batching server: the largest batch, and its time with the part that each request adds."""


@dataclass(frozen=True)
class Queue:
    """A queue at one utilisation.

    Attributes:
        name: for a table.
        rate: requests per service time.
        latencies: answers when, and after how long, in service times, of a number of requests.
        truth: in service times, by the names of percentiles and ``mean``.
    """

    name: str
    rate: float
    latencies: Callable[[int, np.random.Generator], tuple[np.ndarray, np.ndarray]]
    truth: Mapping[str, float]

    def run(self, requests: int, rng: np.random.Generator) -> Record:
        """The record of a run in which this number of requests arrive on average."""
        length = requests / self.rate
        done, latency = self.latencies(int(requests + 6 * requests**0.5) + 10, rng)
        arrived = done - latency
        planned = arrived - arrived[0] < length
        done, latency, begun = done[planned], latency[planned], arrived[0]
        order = np.argsort(done, kind="stable")
        latency_ns = (latency[order] * SERVICE_NS).astype(np.int64)
        record = Record(measured_ns=int(length * SERVICE_NS))
        record.latency.record(latency_ns)
        record.batches.record(latency_ns, ((done[order] - begun) * SERVICE_NS).astype(np.int64), 0)
        return record

    def true(self, name: str) -> float:
        """Milliseconds, or requests a second of ``throughput``."""
        if name == "throughput":
            return self.rate / SERVICE_NS * NS_PER_S
        return self.truth[name] * SERVICE_NS / 1e6


def mm1(utilisation: float) -> Queue:
    """M/M/1: latency is exponential, with mean 1 / (1 - utilisation)."""

    def latencies(requests: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
        arrived = np.cumsum(rng.exponential(1 / utilisation, requests))
        service = rng.exponential(1, requests)
        begins = rng.exponential(1 / (1 - utilisation)) if rng.random() < utilisation else 0.0
        path = np.cumsum(np.concatenate([[begins], service[:-1] - np.diff(arrived)]))
        waited = path - np.minimum(np.minimum.accumulate(path), 0)
        return arrived + waited + service, waited + service

    mean = 1 / (1 - utilisation)
    truth = {f"p{each:g}": -np.log(1 - each / 100) * mean for each in PERCENTILES}
    return Queue(f"M/M/1 at {utilisation:g}", utilisation, latencies, {**truth, "mean": mean})


def batching(utilisation: float, truth: Mapping[str, float] | None = None) -> Queue:
    """Poisson arrivals at a server that takes what waits, up to 8, for a time that grows with their number.

    Args:
        utilisation: share of the rate that full batches have.
        truth: in service times; None measures it in a run of sixteen million requests.
    """
    rate = utilisation * _LARGEST / (_FIXED + _EACH * _LARGEST)

    def latencies(requests: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
        arrived = np.cumsum(rng.exponential(1 / rate, requests + _WARM))
        done = _served(arrived.tolist())
        return done[_WARM:], (done - arrived)[_WARM:]

    if truth is None:
        parts = [latencies(4_000_000, np.random.default_rng(seed))[1] for seed in range(4)]
        every = np.concatenate(parts)
        truth = {f"p{each:g}": float(np.quantile(every, each / 100)) for each in PERCENTILES}
        truth["mean"] = float(every.mean())
    return Queue(f"batching at {utilisation:g}", rate, latencies, truth)


def _served(arrived: Sequence[float]) -> np.ndarray:
    """When each request is answered."""
    ends, sizes = [], []
    free, first = 0.0, 0
    while first < len(arrived):
        begin = max(free, arrived[first])
        last = bisect.bisect_right(arrived, begin, first, min(first + _LARGEST, len(arrived)))
        free = begin + _FIXED + _EACH * (last - first)
        ends.append(free)
        sizes.append(last - first)
        first = last
    return np.repeat(ends, sizes)


@dataclass
class Coverage:
    """Of intervals of many runs.

    Attributes:
        runs: how many.
        known: how many had an interval.
        covered: how many of those hold the truth.
    """

    runs: int = 0
    known: int = 0
    covered: int = 0

    def add(self, interval: tuple[float, float] | None, truth: float) -> None:
        """Count one run."""
        self.runs += 1
        if interval is not None:
            self.known += 1
            self.covered += interval[0] <= truth <= interval[1]
