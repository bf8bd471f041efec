"""How often `loadgen.judging.steady` errs: simulated runs, looked at after every interval until they are called steady.

Two errors are counted, per run and not per look: a run that is called steady while what it measures, without the noise,
still changes over the window by its margin or more; and a run that is steady and not called so within a number
of intervals. Noise is multiplicative and lognormal, its logarithm an autoregressive process of order 1; throughput and
p99 have noise of their own. Nothing is timed.

    .venv/bin/python benchmarks/steady_error_rates.py [--runs 250] [--intervals 240] [--seed 1]
"""

from __future__ import annotations

import argparse
import statistics
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from loadgen.judging.steady import SteadyParameters, steadiness

PARAMETERS = SteadyParameters()
WITHIN = (60, 120, 240)


@dataclass(frozen=True, slots=True)
class Noise:
    """How much two series scatter, as shares of their means, and how much intervals resemble their neighbours."""

    throughput: float
    p99: float
    correlation: float

    def __str__(self) -> str:
        return f"{100 * self.throughput:g}/{100 * self.p99:g}% r {self.correlation:g}"


NOISES = tuple(Noise(*scatter, r) for scatter in ((0.01, 0.05), (0.03, 0.15), (0.06, 0.3)) for r in (0.0, 0.5))

Signal = tuple[np.ndarray, np.ndarray]
"""Throughput and p99 without noise, in units of their own."""


def main() -> None:
    """Print both tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=250, help="of each kind")
    parser.add_argument("--intervals", type=int, default=240, help="after which a run ends in any case")
    parser.add_argument("--seed", type=int, default=1)
    arguments = parser.parse_args()
    random = np.random.default_rng(arguments.seed)
    time = np.arange(1, arguments.intervals + 1) - 0.5

    print("Steady runs: share called steady within this number of intervals, and the median of those that were\n")
    print("| noise of throughput/p99 | " + " | ".join(f"{within}" for within in WITHIN) + " | median |")
    print("|---" * (len(WITHIN) + 2) + "|")
    for noise in NOISES:
        ends = called(_steady(time), noise, arguments.runs, random)
        shares = (f"{_percent(sum(end is not None and end <= within for end in ends), ends)}" for within in WITHIN)
        print(f"| {noise} | " + " | ".join(shares) + f" | {_median(ends)} |", flush=True)

    print("\nRuns that drift: share called steady while the change is at the margin or above it\n")
    print("| what changes | " + " | ".join(map(str, NOISES)) + " |")
    print("|---" * (len(NOISES) + 1) + "|")
    for name, signal in SIGNALS.items():
        drifting = changes_too_much(signal(time))
        wrong = []
        for noise in NOISES:
            ends = called(signal(time), noise, arguments.runs, random)
            wrong.append(_percent(sum(end is not None and bool(drifting[end - 1]) for end in ends), ends))
        print(f"| {name} | " + " | ".join(wrong) + " |", flush=True)


def called(signal: Signal, noise: Noise, runs: int, random: np.random.Generator) -> list[int | None]:
    """After how many intervals each run was called steady; None where it never was."""
    throughput, p99 = signal
    return [
        _first_call(
            (throughput * scatter(noise.throughput, noise.correlation, len(throughput), random)).tolist(),
            (p99 * scatter(noise.p99, noise.correlation, len(p99), random)).tolist(),
        )
        for _ in range(runs)
    ]


def _first_call(throughput: list[float], p99: list[float]) -> int | None:
    looks = range(PARAMETERS.min_intervals + PARAMETERS.looks - 1, len(throughput) + 1)
    return next((look for look in looks if steadiness(throughput[:look], p99[:look]).steady), None)


def scatter(share: float, correlation: float, count: int, random: np.random.Generator) -> np.ndarray:
    """Factors of mean 1: lognormal, with an autoregressive logarithm that begins in its stationary distribution."""
    innovations = random.standard_normal(count) * np.sqrt(1 - correlation**2)
    logarithm = np.empty(count)
    logarithm[0] = random.standard_normal()
    for index in range(1, count):
        logarithm[index] = correlation * logarithm[index - 1] + innovations[index]
    sigma = np.sqrt(np.log1p(share**2))
    factors: np.ndarray = np.exp(sigma * logarithm - sigma**2 / 2)
    return factors


def changes_too_much(signal: Signal) -> np.ndarray:
    """For each number of intervals, whether the signal changes over the window by its margin or more."""
    throughput, p99 = signal
    return np.array(
        [
            change(throughput, look) >= PARAMETERS.throughput_margin or change(p99, look) >= PARAMETERS.p99_margin
            for look in range(1, len(throughput) + 1)
        ]
    )


def change(values: np.ndarray, look: int) -> float:
    """The change of a line through the last half of the intervals, as a share of their mean."""
    window = values[:look][-max(PARAMETERS.min_intervals, look // 2) :]
    if len(window) < 2:
        return 0.0
    return abs(float(np.polyfit(np.arange(len(window)), window, 1)[0])) * len(window) / float(window.mean())


def at_margin(time: np.ndarray, margin: float) -> np.ndarray:
    """A power of time: over the last half it changes by the same share at every look, here just the margin."""
    low, high = 0.0, 1.0
    for _ in range(40):
        power = (low + high) / 2
        least = min(change(time**power, look) for look in range(PARAMETERS.min_intervals, len(time) + 1, 5))
        low, high = (low, power) if least >= margin else (power, high)
    return time**high


def _steady(time: np.ndarray) -> Signal:
    return np.ones_like(time), np.ones_like(time)


def _throughput_at_margin(time: np.ndarray) -> Signal:
    return at_margin(time, PARAMETERS.throughput_margin), np.ones_like(time)


def _p99_at_margin(time: np.ndarray) -> Signal:
    return np.ones_like(time), at_margin(time, PARAMETERS.p99_margin)


def _both_at_margin(time: np.ndarray) -> Signal:
    return at_margin(time, PARAMETERS.throughput_margin), at_margin(time, PARAMETERS.p99_margin)


def _even(time: np.ndarray) -> Signal:
    return np.exp(-PARAMETERS.throughput_margin * time / PARAMETERS.min_intervals), np.ones_like(time)


def _backlog(time: np.ndarray) -> Signal:
    return np.ones_like(time), np.sqrt(time)


def _filling(time: np.ndarray) -> Signal:
    return np.ones_like(time), np.minimum(time, 100.0)


def _warm_up(length: float) -> Callable[[np.ndarray], Signal]:
    def signal(time: np.ndarray) -> Signal:
        rest = np.exp(-time / length)
        return 1 - 0.5 * rest, 1 + rest

    return signal


SIGNALS: dict[str, Callable[[np.ndarray], Signal]] = {
    "throughput, just at its margin at every look": _throughput_at_margin,
    "p99, just at its margin at every look": _p99_at_margin,
    "both, just at their margins": _both_at_margin,
    "throughput falls evenly, 5% in 30 intervals": _even,
    "p99 grows like the square root of time: a backlog at full utilisation": _backlog,
    "p99 grows evenly for 100 intervals, then stays: a window that fills": _filling,
    "warm-up from half the throughput and twice the p99, time constant 10 intervals": _warm_up(10),
    "the same, 40 intervals": _warm_up(40),
}


def _percent(count: int, of: list[int | None]) -> str:
    return f"{100 * count / len(of):.1f}%"


def _median(ends: list[int | None]) -> str:
    known = [end for end in ends if end is not None]
    return f"{statistics.median(known):g}" if known else "-"


if __name__ == "__main__":
    main()
