"""Intervals of throughput, mean latency and percentiles, by batch means; pure.

Answers that follow each other resemble each other: they waited in one queue. So the usual interval, for independent
samples, is much too narrow. Batch means (Law & Kelton, Simulation Modeling and Analysis; Schmeiser 1982, Operations
Research 30, 556) take the run apart into batches of one length. Batches that are long against the correlation are
nearly independent, and their variance says how uncertain the whole run is.

A percentile p is one whose share of slower answers is 1 - p. That share is a mean, so batch means give its interval,
which the histogram of all answers turns into latencies (Woodruff 1952, JASA 47, 635; for batches of a simulation
Nakayama 2014, ACM TOMACS 24, 19). The share varies as that of fewer independent answers would. Their number is never
taken to be larger than that of the answers.

Batches cannot show what a run has not seen: a run without a long queue has a low p99, and small differences between its
batches. So an interval is known only where all of this holds:

* neighbours among `BATCHES` batches correlate by less than `MAX_CORRELATION`;
* the share of slower answers is known to within `MAX_WIDTH` of itself: some 50 independent answers are slower;
* the same holds for p90, whatever the percentile, and for p95 if it is the mean.

A value without an interval has bounds. A percentile p is at least the percentile whose share of faster answers is p to
the power of `LEAST_POWER`: for p99 that is p92.3. It is at most `MOST_TIMES` its value, if `FEW` requests are slower;
with fewer there is no upper bound. In runs of simulated queues with 100 requests or more, each bound holds in some 90%
of the runs or more: `docs/evidence/bounds.md`. Bounds decide objectives that are far from the value.

Near `MAX_WIDTH` the variance is itself uncertain. So an interval is widened by `CAUTION` times its width, relative to
the share, or by that of p90 (of the mean: p95) if that is larger. `docs/evidence/intervals.md` says how many intervals
of simulated queues are known, and how many of these hold the true value.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace

import numpy as np

from loadgen.judging.steady import student_quantile
from loadgen.load.record import Record
from loadgen.load.summary import PERCENTILES, Share, Summary, is_few, slow_name
from loadgen.load.tally import OUTCOMES
from loadgen.load.target import Outcome
from loadgen.load.time_batches import COARSE_NS
from model_containers.units import NS_PER_S

BATCHES = 20
MAX_CORRELATION = 0.4
MAX_WIDTH = 0.3
CAUTION = 2.0
CONFIDENCE = 0.95
LEAST_POWER = 8
MEAN_FEW = 100
"""Below this number of answers, the mean is only known to be at least the smallest latency."""

MOST_TIMES = 4.0
MAX_LOST = 0.1
"""Largest share of unanswered requests among the slower ones, since the times of their loss are unknown."""

_NS_PER_MS = 1e6

Interval = tuple[float, float]
"""Lower and upper end."""

Bounds = tuple[float, float | None]
"""Lower and upper bound; None for no upper bound."""


@dataclass(frozen=True, slots=True)
class Intervals:
    """95% intervals of a run; what is missing is not known.

    Attributes:
        throughput_rps: answers a second.
        latency_ms: mean and percentiles, by name.
        bounds_ms: lower and upper bound of those that are missing there; the upper one None where not known.
    """

    throughput_rps: Interval | None = None
    latency_ms: Mapping[str, Interval] = field(default_factory=dict)
    bounds_ms: Mapping[str, Bounds] = field(default_factory=dict)


def intervals(record: Record) -> Intervals:
    """The intervals of a run.

    Args:
        record: of all clients.
    """
    throughput_rps, latency_ms = _intervals(record)
    return Intervals(throughput_rps, latency_ms, _bounds(record, latency_ms))


def _bounds(record: Record, known: Mapping[str, Interval]) -> dict[str, Bounds]:
    """Bounds, in ms, of mean and percentiles without an interval; none for percentiles among lost requests."""
    latency, lost = record.latency, record.lost
    found: dict[str, Bounds] = {}
    for percentile in PERCENTILES:
        name, value_ns = f"p{percentile:g}", latency.percentile_ns(percentile, lost)
        if name in known or value_ns is None:
            continue
        # In decimal digits, as `rank` takes it.
        least_ns = latency.percentile_ns(round(100 * (percentile / 100) ** LEAST_POWER, 6), lost)
        assert least_ns is not None
        most = None if is_few(percentile, latency.total + lost) else MOST_TIMES * value_ns / _NS_PER_MS
        found[name] = least_ns / _NS_PER_MS, most
    if "mean" not in known and latency.mean_ns is not None and not lost:
        mean = latency.mean_ns / _NS_PER_MS
        few = latency.total < MEAN_FEW
        found["mean"] = (latency.min_ns / _NS_PER_MS, None) if few else (mean / MOST_TIMES, mean * MOST_TIMES)
    return found


def _intervals(record: Record) -> tuple[Interval | None, dict[str, Interval]]:
    """The interval of the throughput, and those of the mean and of percentiles that are known."""
    counts, sums_ns = record.batches.within(record.skipped_ns, record.skipped_ns + record.measured_ns)
    if len(counts) < BATCHES or not counts.any():
        return None, {}
    run = _Run(record, counts, counts.sum(axis=1), record.lost)
    throughput_rps, least = _throughput(run.totals, record), run.width(90)
    if least is None:
        return throughput_rps, {}
    found = {f"p{percentile:g}": run.percentile(percentile, least) for percentile in PERCENTILES}
    found["mean"] = run.mean(sums_ns, least)
    return throughput_rps, {name: interval for name, interval in found.items() if interval is not None}


@dataclass(frozen=True, slots=True)
class _Run:
    """The latencies of a run.

    Attributes:
        record: of the run.
        counts: answers, ``(batches, coarse buckets)``.
        totals: answers, ``(batches,)``.
        lost: requests without an answer, slower than all that have one.
    """

    record: Record
    counts: np.ndarray
    totals: np.ndarray
    lost: int

    def share(self, percentile: float) -> float:
        """The share of the answers that are slower than a percentile of all requests."""
        answers = self.record.latency.total
        return 1 - percentile / 100 * (answers + self.lost) / answers

    def width(self, percentile: float) -> float | None:
        """Half the width of the interval of the share of slower answers, relative to it; None where not known."""
        slower, answers = self.share(percentile), int(self.totals.sum())
        if slower <= 0 or self.lost > MAX_LOST * (1 - percentile / 100) * (answers + self.lost):
            return None
        spread = _spread(self._slower(slower), self.totals)
        if spread is None:
            return None
        independent = slower * (1 - slower) / answers
        width = _T * math.sqrt(max(spread / answers**2, independent)) / slower
        return width if width <= MAX_WIDTH else None

    def _slower(self, share: float) -> np.ndarray:
        """Answers of each batch among the slowest, with the proportional part of the bucket at the boundary."""
        rising = np.cumsum(self.counts.sum(axis=0))
        wanted = share * rising[-1]
        bucket = int(np.searchsorted(rising, rising[-1] - wanted))
        part = (wanted - (rising[-1] - rising[bucket])) / self.counts[:, bucket].sum()
        result: np.ndarray = self.counts[:, bucket + 1 :].sum(axis=1) + part * self.counts[:, bucket]
        return result

    def percentile(self, percentile: float, least: float) -> Interval | None:
        """The interval of a percentile, in ms, as far out as coarse buckets reach.

        Args:
            percentile: 0 to 100.
            least: the least relative width for which the factor of caution is chosen.
        """
        width = self.width(percentile)
        if width is None:
            return None
        slower, latency = self.share(percentile), self.record.latency
        by = slower * width * (1 + CAUTION * max(width, least))
        low_ns, high_ns = (latency.percentile_ns(100 * (1 - share)) for share in (slower + by, slower - by))
        assert low_ns is not None
        assert high_ns is not None
        bucket = int(np.searchsorted(COARSE_NS, low_ns, side="right")) - 1
        beyond = int(np.searchsorted(COARSE_NS, high_ns, side="right"))
        above_ns = COARSE_NS[beyond] if beyond < len(COARSE_NS) else latency.max_ns
        low, high = max(int(COARSE_NS[bucket]), latency.min_ns), min(int(above_ns), latency.max_ns)
        return low / _NS_PER_MS, high / _NS_PER_MS

    def mean(self, sums_ns: np.ndarray, least: float) -> Interval | None:
        """The interval of the mean, in ms.

        Args:
            sums_ns: of the latencies of each batch.
            least: as of `percentile`.
        """
        width, spread, answers = self.width(95), _spread(sums_ns, self.totals), int(self.totals.sum())
        if width is None or spread is None or self.lost:
            return None
        mean = float(sums_ns.sum()) / answers
        by = _T * math.sqrt(spread) / answers * (1 + CAUTION * max(width, least))
        return (mean - by) / _NS_PER_MS, (mean + by) / _NS_PER_MS


def with_intervals(summary: Summary, record: Record) -> Summary:
    """A summary with all intervals that are known.

    Args:
        summary: of a record.
        record: of all clients.
    """
    known = intervals(record)
    return replace(
        summary,
        intervals_ms=known.latency_ms,
        throughput_interval_rps=known.throughput_rps,
        bounds_ms=known.bounds_ms,
        shares=_shares(record),
    )


def _shares(record: Record) -> dict[str, Share] | None:
    """The shares of `Summary.shares`."""
    tally = record.tally
    if tally is None or not tally.totals[:OUTCOMES].any():
        return None
    counts, totals = tally.within(record.skipped_ns, record.skipped_ns + record.measured_ns), tally.totals
    ended, requests = counts[:, :OUTCOMES].sum(axis=1), int(totals[:OUTCOMES].sum())
    shares = {
        outcome.name.lower(): Share(
            int(totals[outcome]), requests, share_interval(counts[:, outcome], counts[:, outcome], ended)
        )
        for outcome in Outcome
        if outcome is not Outcome.COMPLETED
    }
    lost, missing = ended - counts[:, Outcome.COMPLETED], requests - int(totals[Outcome.COMPLETED])
    for place, bound_ns in enumerate(tally.bounds_ns, OUTCOMES):
        slow, half = lost + counts[:, place], lost + counts[:, place + len(tally.bounds_ns)]
        shares[slow_name(bound_ns)] = Share(missing + int(totals[place]), requests, share_interval(slow, half, ended))
    return shares


def share_interval(some: np.ndarray, more: np.ndarray, totals: np.ndarray) -> Interval | None:
    """The interval of a share of requests, from batches of one length.

    Requests that follow each other share their fate, so a share varies like that of fewer independent requests. The
    spread of the batches gives their number. For these, Wilson's interval (1927, JASA 22, 209) holds for rare requests
    too, and is not empty where none was seen. Rare requests say little of their spread, so the spread of a larger share
    counts as well.

    Args:
        some: those that count, ``(batches,)``.
        more: a larger share that varies likewise, such as those that took half as long.
        totals: all requests.

    Returns:
        None where neighbouring batches resemble each other, or there are fewer than `BATCHES`.
    """
    requests = int(totals.sum())
    if not requests:
        return None
    dispersions = [_dispersion(each, totals) for each in (some, more)]
    known = [each for each in dispersions if each is not None]
    if len(known) < len(dispersions):
        return None
    share, number = int(some.sum()) / requests, requests / max(known)
    centre = (share + _T**2 / (2 * number)) / (1 + _T**2 / number)
    by = _T / (1 + _T**2 / number) * math.sqrt(share * (1 - share) / number + _T**2 / (4 * number**2))
    low, high = (centre - by if share else 0.0), (centre + by if share < 1 else 1.0)
    return max(0.0, low), min(1.0, high)


def _dispersion(some: np.ndarray, totals: np.ndarray) -> float | None:
    """The variance of a count over batches, relative to that of independent requests; 1 at least."""
    spread = _spread(some.astype(np.float64), totals)
    if spread is None:
        return None
    share = some.sum() / totals.sum()
    independent = float(totals.sum() * share * (1 - share))
    return max(1.0, spread / independent) if independent else 1.0


def _throughput(totals: np.ndarray, record: Record) -> Interval | None:
    """The interval of the throughput, in answers a second.

    In an open loop the first batches lack the answers to earlier requests, and the last one has late answers. So the
    batches at both ends are left out.
    """
    ends = -(-len(totals) // BATCHES)
    inner = totals[ends:-ends].astype(np.float64)
    spread = _spread(inner, np.ones(len(inner)))
    if spread is None or not inner.any():
        return None
    offered = record.offered
    answers = record.latency.total if offered is None else offered.arrived
    rate = answers / record.measured_ns * NS_PER_S
    by = _T * math.sqrt(spread / len(inner) / len(totals)) / record.batches.length_ns * NS_PER_S
    return max(0.0, rate - by), rate + by


def _spread(values: np.ndarray, sizes: np.ndarray) -> float | None:
    """The variance of a sum over batches that their sizes do not explain.

    Args:
        values: of each batch.
        sizes: of each batch; the sum of values is proportional to it, but for chance.

    Returns:
        None where neighbours resemble each other, or there are fewer than `BATCHES` batches.
    """
    if len(values) < BATCHES:
        return None
    apart = values - values.sum() / sizes.sum() * sizes
    merged = np.add.reduceat(apart, np.arange(BATCHES) * len(apart) // BATCHES)
    squares = float(merged @ merged)
    if squares and float(merged[1:] @ merged[:-1]) >= MAX_CORRELATION * squares:
        return None
    return max(len(each) / (len(each) - 1) * float(each @ each) for each in (merged, apart))


_T = student_quantile((1 + CONFIDENCE) / 2, BATCHES - 1)
