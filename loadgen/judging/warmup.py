"""Whether a warm-up sufficed: whether a run began slower than all that followed; pure.

The reference is the last half of the measured part, in groups of one length. The start is all groups before the first
one within the range of the reference. It was slow if, on average, it is twice as far from the reference's median as
the slowest group of the reference. That is rare if all groups are alike: with independent groups and exponential tails,
the first exceeds twice the largest of n others once in n²/2 runs. Groups that resemble their neighbours are worth fewer
than they are. If those of the reference do, there is no note.

A slow start that moves neither mean, p99 nor p99.9 by much is not noted.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from frontend_launch.histogram import rank
from loadgen.load.record import Record
from loadgen.load.summary import is_few
from loadgen.load.time_batches import COARSE_NS
from model_containers.units import NS_PER_S

LEAST_ANSWERS = 10
"""Mean number of answers of a group."""

LEAST_GROUPS = 20
MAX_CORRELATION = 0.4
TIMES = 2.0
LEAST_SHARE = 0.05
"""A mean closer to the median than this share of it counts as equal to it."""

MEAN_SHARE, TAIL_SHARE = 0.02, 0.1
"""From these changes of the mean, and of p99 or p99.9, on, a slow start is noted."""


@dataclass(frozen=True, slots=True)
class SlowStart:
    """A start that was slower than all that followed.

    Attributes:
        length_s: how long, since the measured part began.
        times: mean latency in it ÷ that after it.
        tail: the percentile that it moves: p99.9 where p99 stays nearly the same.
        tail_times: this percentile of the measured part ÷ that after it.
    """

    length_s: float
    times: float
    tail: str
    tail_times: float


def slow_start(record: Record) -> SlowStart | None:
    """The slow start of a measured part; None where it is not evident, or makes no difference.

    Args:
        record: of all clients.
    """
    counts, sums_ns = record.batches.within(record.skipped_ns, record.skipped_ns + record.measured_ns)
    if len(counts) < LEAST_GROUPS or not counts.any():
        return None
    totals = counts.sum(axis=1)
    least = int(np.ceil(LEAST_ANSWERS * len(counts) / counts.sum()))
    end, size = 0, least
    while not end and len(counts) // size >= LEAST_GROUPS:  # short ones tell more; long ones resemble each other less
        starts = np.arange(len(counts) // size) * size
        end = size * _slow_groups(_levels(np.add.reduceat(totals, starts), np.add.reduceat(sums_ns, starts)))
        size *= 2
    if not end or not totals[:end].any():
        return None
    mean_ns = sums_ns[end:].sum() / totals[end:].sum()
    times = float(sums_ns[:end].sum() / totals[:end].sum() / mean_ns)
    tails = {
        f"p{percentile:g}": _tail_ns(counts, percentile) / _tail_ns(counts[end:], percentile)
        for percentile in (99.0, 99.9)
        if percentile == 99.0 or not is_few(percentile, int(totals[end:].sum()))
    }
    tail = next((name for name, moved in tails.items() if moved >= 1 + TAIL_SHARE), None)
    if sums_ns.sum() / totals.sum() < (1 + MEAN_SHARE) * mean_ns and tail is None:
        return None
    tail = tail or "p99"
    return SlowStart(end * record.batches.length_ns / NS_PER_S, times, tail, tails[tail])


def _levels(totals: np.ndarray, sums: np.ndarray) -> np.ndarray:
    """The logarithm of each group's mean latency; a group without answers has that of the next one with answers."""
    known = np.flatnonzero(totals)
    following = np.searchsorted(known, np.arange(len(totals)))
    places = known[np.minimum(following, len(known) - 1)]
    levels: np.ndarray = np.log(np.maximum(sums[places], 1) / totals[places])
    return levels


def _slow_groups(levels: np.ndarray) -> int:
    """How many groups make up the slow start; 0 for none."""
    half = len(levels) // 2
    reference = levels[half:]
    middle = float(np.median(reference))
    apart = reference - reference.mean()
    squares = float(apart @ apart)
    if squares > len(apart) * 1e-12 and float(apart[1:] @ apart[:-1]) >= MAX_CORRELATION * squares:
        return 0
    most = max(float(reference.max()) - middle, float(np.log1p(LEAST_SHARE)))
    within = np.flatnonzero(levels[:half] - middle <= most)
    slow = int(within[0]) if len(within) else 0
    if not slow or float(levels[:slow].mean()) - middle < TIMES * most:
        return 0
    return slow


def _tail_ns(counts: np.ndarray, percentile: float) -> float:
    """A percentile of some groups, to the width of a coarse bucket."""
    rising = np.cumsum(counts.sum(axis=0))
    return float(max(1, COARSE_NS[int(np.searchsorted(rising, rank(percentile, int(rising[-1]))))]))
