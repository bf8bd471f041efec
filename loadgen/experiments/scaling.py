"""How throughput grows with the batch size and with replicas, from few measurements; pure.

A batch takes a replica alpha + beta * batch. So two or three measured batch sizes give the throughput at others.

Each of several replicas does less than one alone. The Universal Scalability Law (Gunther 1993) gives the efficiency of
n replicas: ``1 / (1 + sigma (n - 1) + kappa n (n - 1))``. Here sigma is the shared part, such as the frontend's core,
and kappa the loss by interference. Few measurements do not determine both. So the law's answer is the range over all
pairs that agree with the measurements; without a measurement, it is everything up to 1.

Batches that take equal times and requests that arrive at random make a queue whose latencies follow from a simulation.
Real batches vary, and frontend and client take their time too: so real latencies are longer.
"""

from __future__ import annotations

import bisect
import functools
import heapq
from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

_CHI2 = 3.84
"""95th percentile of the chi-squared distribution with one degree of freedom."""

_DEVIATIONS = 1.96
"""Standard deviations in half of a 95% interval."""

_SIGMA, _KAPPA = (
    axis.ravel()
    for axis in np.meshgrid(
        np.concatenate([[0.0], np.geomspace(1e-4, 1, 80)]), np.append(0.0, np.geomspace(1e-7, 1, 80))
    )
)


@dataclass(frozen=True, slots=True)
class Estimate:
    """A figure with its 95% interval.

    Attributes:
        value: the figure.
        low: lower end.
        high: upper end.
    """

    value: float
    low: float
    high: float

    @classmethod
    def around(cls, value: float, width: float) -> Estimate:
        """An interval whose ends are a share of the value away, on a logarithmic scale.

        Args:
            value: the figure.
            width: the share.
        """
        return cls(value, value / (1 + width), value * (1 + width))

    @property
    def width(self) -> float:
        """The distance of the upper end, as a share of the value."""
        return self.high / self.value - 1

    def times(self, other: Estimate) -> Estimate:
        """The product; its ends are those of both."""
        return Estimate(self.value * other.value, self.low * other.low, self.high * other.high)

    def scaled(self, factor: float) -> Estimate:
        """The figure and its ends, multiplied."""
        return Estimate(self.value * factor, self.low * factor, self.high * factor)


CLOSE = 0.05
"""A measurement within this distance counts as on the line, since counts of few batches are that coarse."""


@dataclass(frozen=True, slots=True)
class BatchCurve:
    """The throughput of one replica by batch size.

    Attributes:
        measured: requests a second, by the batch sizes that were measured, one at least.
        batches: of each measurement, as its weight; missing ones have the weight 1.
    """

    measured: Mapping[int, Estimate]
    batches: Mapping[int, float] = field(default_factory=dict)

    @property
    def coefficients_s(self) -> tuple[float, float]:
        """Seconds of a batch, and of each request in it: neither negative, the least relative squares."""
        sizes = np.array(sorted(self.measured), dtype=np.float64)
        times = sizes / np.array([self.measured[int(size)].value for size in sizes])
        if len(sizes) == 1:
            return 0.0, float(times[0] / sizes[0])
        weights = np.array([self.batches.get(int(size), 1.0) for size in sizes])
        terms = np.stack([weights / times, weights * sizes / times], axis=1)
        alpha, beta = np.linalg.lstsq(terms, weights, rcond=None)[0]
        if alpha < 0:
            return 0.0, float(terms[:, 1] @ weights / (terms[:, 1] @ terms[:, 1]))
        if beta < 0:
            return float(terms[:, 0] @ weights / (terms[:, 0] @ terms[:, 0])), 0.0
        return float(alpha), float(beta)

    def at(self, batch_size: int) -> Estimate:
        """Requests a second, as measured, or by the line, with the uncertainty of its worst point and miss.

        Args:
            batch_size: largest batch.
        """
        alpha, beta = self.coefficients_s

        def on_line(size: int) -> float:
            return size / (alpha + beta * size)

        if (known := self.measured.get(batch_size)) is not None:
            close = abs(np.log(on_line(batch_size) / known.value)) <= CLOSE
            return known.scaled(on_line(batch_size) / known.value) if close else known
        points = self.measured.items()
        missed = max(abs(np.log(on_line(size) / point.value)) for size, point in points)
        width = float(max(point.width for _, point in points) + np.expm1(missed))
        return Estimate.around(on_line(batch_size), width)


@dataclass(frozen=True, slots=True)
class Law:
    """The efficiency of several replicas: their throughput over that of as many which share nothing.

    Attributes:
        measured: the efficiency, by the number of replicas relative to the fewest that were measured.
    """

    measured: Mapping[float, Estimate] = field(default_factory=dict)

    def at(self, count: float) -> Estimate:
        """The efficiency of a number of replicas, relative to the fewest.

        Args:
            count: how many, 1 or more.
        """
        shares = _efficiency(count)
        if not self.measured:
            return Estimate(1.0, float(shares.min()), 1.0)
        misses = np.zeros(len(_SIGMA))
        for number, point in self.measured.items():
            error = max(1e-3, np.log1p(point.width)) / _DEVIATIONS
            misses += (np.log(_efficiency(number) / point.value) / error) ** 2
        least = float(misses.min())
        spare = max(1, len(self.measured) - 2)
        agreeing = shares[misses <= least + _CHI2 * max(1.0, least / spare)]
        return Estimate(float(shares[misses.argmin()]), float(agreeing.min()), float(agreeing.max()))


def _efficiency(count: float) -> np.ndarray:
    share: np.ndarray = 1 / (1 + _SIGMA * (count - 1) + _KAPPA * count * (count - 1))
    return share


SIMULATED = 10_000
"""Requests of a simulated queue."""


@functools.lru_cache(maxsize=512)
def latencies_s(batch_s: tuple[float, float], replicas: int, batch_size: int, rate_rps: float) -> np.ndarray:
    """Latencies of requests at random times, ascending; each free replica takes the waiting requests.

    Args:
        batch_s: seconds of a batch, and of each request in it.
        replicas: how many.
        batch_size: largest batch.
        rate_rps: requests a second.
    """
    alpha_s, beta_s = batch_s
    times = (_unit_times() / rate_rps).tolist()
    free = [0.0] * replicas
    ends, sizes, first = [], [], 0
    while first < len(times):
        begin = max(heapq.heappop(free), times[first])
        last = bisect.bisect_right(times, begin, first + 1, min(first + batch_size, len(times)))
        ends.append(begin + alpha_s + beta_s * (last - first))
        sizes.append(last - first)
        heapq.heappush(free, ends[-1])
        first = last
    ordered: np.ndarray = np.sort(np.repeat(ends, sizes) - times)
    return ordered


@functools.cache
def _unit_times() -> np.ndarray:
    times: np.ndarray = np.cumsum(np.random.default_rng(0).exponential(1.0, SIMULATED))
    return times
