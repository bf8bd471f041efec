"""Intervals by batch means: known only where they hold, and then nearly always right."""

import numpy as np
import pytest
from sample_results import GOLDEN
from simulated_queues import Coverage, batching, mm1

from loadgen.judging.intervals import BATCHES, Intervals, intervals, share_interval, with_intervals
from loadgen.load.record import Offered, Record
from loadgen.load.tally import Tally
from loadgen.load.target import Outcome
from model_containers.units import NS_PER_S

MS = 1_000_000

BATCHING = {"p50": 14.25, "p90": 21.59, "p95": 24.41, "p99": 30.36, "p99.9": 38.61, "mean": 15.01}
"""At 0.8, from a run of sixteen million requests."""


def record(latency_ns, seconds=20):
    """A run with these answers, evenly in time."""
    latency = np.asarray(latency_ns, dtype=np.int64)
    result = Record(measured_ns=seconds * NS_PER_S)
    result.latency.record(latency)
    since = np.linspace(0, seconds * NS_PER_S - 1, len(latency)).astype(np.int64)
    if len(latency):
        result.batches.record(latency, since, 0)
    return result


def coverage(queue, requests, runs, seed=1):
    """Of each figure."""
    rng = np.random.default_rng(seed)
    counts = {name: Coverage() for name in ("throughput", *queue.truth)}
    for _ in range(runs):
        found = intervals(queue.run(requests, rng))
        counts["throughput"].add(found.throughput_rps, queue.true("throughput"))
        for name in queue.truth:
            counts[name].add(found.latency_ms.get(name), queue.true(name))
    return counts


def test_few_answers_show_no_percentile():
    """Not even the median of five, and not p99.9 of a thousand."""
    rng = np.random.default_rng(1)
    assert intervals(record(rng.exponential(5 * MS, 5))).latency_ms == {}
    assert "p99.9" not in intervals(record(rng.exponential(5 * MS, 1000))).latency_ms
    assert intervals(record([])) == Intervals()


def test_independent_answers_have_the_interval_of_the_textbook():
    """Of p50 some two standard errors to each side, a little more since the variance is estimated."""
    rng = np.random.default_rng(2)
    widths, textbook = [], 2 * 1.96 * np.sqrt(0.25 / 20_000) / 0.5 * 5
    for _ in range(20):
        known = intervals(record(rng.exponential(5 * MS, 20_000))).latency_ms
        if "p50" in known:
            widths.append(known["p50"][1] - known["p50"][0])
    assert len(widths) >= 17
    assert textbook < np.median(widths) < 2 * textbook + 0.02 * 5 * np.log(2) * 2


def test_answers_that_resemble_each_other_show_less():
    """Blocks of equal answers are worth one each."""
    rng = np.random.default_rng(3)
    single = rng.exponential(5 * MS, 4000)
    apart, together = intervals(record(single)), intervals(record(np.repeat(single[:500], 8)))
    assert "p95" in apart.latency_ms
    assert "p95" not in together.latency_ms


def test_a_queue_that_grows_shows_nothing():
    """Neighbouring batches resemble each other."""
    assert intervals(record(np.linspace(1, 100, 10_000) * MS)).latency_ms == {}


def test_equal_answers_have_an_interval_as_wide_as_a_bucket():
    """It is no point, since batches do not tell values in a bucket apart, and it holds the value."""
    found = intervals(record(np.full(100_000, 5 * MS)))
    for low, high in found.latency_ms.values():
        assert 0.97 * 5 < low <= 5 <= high < 1.03 * 5
    assert found.throughput_rps == pytest.approx((5000, 5000), rel=0.01)


def test_a_run_with_too_few_batches_shows_nothing():
    """A quarter of a second has sixteen."""
    rng = np.random.default_rng(4)
    run = record(rng.exponential(5 * MS, 10_000), seconds=1)
    run.measured_ns = (BATCHES - 1) * run.batches.length_ns
    found = intervals(run)
    assert (found.throughput_rps, found.latency_ms) == (None, {})


def test_lost_requests_are_slower_than_all_answers():
    """They move a percentile, and one that falls among many of them has no interval."""
    rng = np.random.default_rng(5)
    whole, lossy = (record(rng.exponential(5 * MS, 50_000)) for _ in range(2))
    lossy.offered = Offered(planned=50_200, answered=50_000, arrived=50_000)
    assert "mean" in intervals(whole).latency_ms
    found = intervals(lossy).latency_ms
    assert {"p50", "p90", "p95"} <= found.keys()
    assert not {"mean", "p99", "p99.9"} & found.keys()
    low, high = found["p95"]
    assert low < -5 * np.log(1 - 0.95 * 50_200 / 50_000) < high


def test_intervals_rise_with_the_percentile():
    """Both ends."""
    found = intervals(record(np.random.default_rng(6).exponential(5 * MS, 200_000))).latency_ms
    names = ["p50", "p90", "p95", "p99"]
    for ends in zip(*(found[name] for name in names), strict=True):
        assert list(ends) == sorted(ends)


@pytest.mark.parametrize("requests", [660, 6600])
def test_a_busy_queue_is_not_known_after_a_short_run(requests):
    """At 0.9 a few hundred answers are worth one independent one."""
    counts = coverage(mm1(0.9), requests, 20)
    assert counts.pop("throughput").known
    assert not any(each.known for each in counts.values())


@pytest.mark.no_cover
def test_intervals_that_are_known_cover():
    """On three queues, seeded; `docs/evidence/intervals.md` has more."""
    cases = ((mm1(0.5), 10_000), (mm1(0.8), 40_000), (batching(0.8, BATCHING), 15_000))
    counts = [coverage(*case, runs=15) for case in cases]
    for name in ("throughput", "mean", "p50", "p90", "p95"):
        known, covered = (sum(getattr(each[name], member) for each in counts) for member in ("known", "covered"))
        assert known >= 10
        assert covered >= 0.93 * known


@pytest.mark.parametrize("utilisation", [0.5, 0.9])
def test_shares_cover_though_slow_requests_come_in_clusters(utilisation):
    """Of a hundred short runs of a queue: those that are slow are rare, and all in one or two busy periods."""
    queue, rng = mm1(utilisation), np.random.default_rng(4)
    bound = queue.truth["p99"]
    known = covered = 0
    for _ in range(100):
        done, latency = queue.latencies(6_600, rng)
        batch = ((done - done.min()) / np.ptp(done) * 159).astype(int)
        counts = [np.bincount(batch, weights=latency >= least, minlength=160) for least in (bound, bound / 2, 0.0)]
        interval = share_interval(*counts)
        if interval is not None:
            known += 1
            covered += interval[0] <= 0.01 <= interval[1]
    assert known > 80
    assert covered >= 0.93 * known


def test_a_share_that_was_not_seen_has_an_upper_end():
    """That of the textbook: 4.4 of the requests, with 95% confidence from both sides."""
    nothing, totals = np.zeros(160), np.full(160, 100)
    none, every = (share_interval(some, some, totals) for some in (nothing, totals))
    assert none is not None
    assert every is not None
    assert (none[0], every[1]) == (0.0, 1.0)
    assert none[1] == pytest.approx(1 - every[0]) == pytest.approx(4.38 / (16_000 + 4.38), rel=0.01)
    assert share_interval(nothing, nothing, np.zeros(160)) is None
    assert share_interval(nothing[:19], nothing[:19], totals[:19]) is None


def test_summaries_have_shares_where_requests_were_counted():
    """Of each outcome, and of the slow ones of each bound; lost requests are slow."""
    tally = Tally([10 * MS])
    for second in range(20):
        tally.completed(np.full(9, (20 if second == 3 else 1) * MS), second * NS_PER_S)
        tally.lost(Outcome.FAILED, 1, second * NS_PER_S)
    made = Record(measured_ns=20 * NS_PER_S, tally=tally)
    shares = with_intervals(GOLDEN.summary, made).shares
    assert shares is not None
    assert (shares["failed"].count, shares["failed"].requests, shares["timed_out"].value) == (20, 200, 0.0)
    assert (shares["latency>=10ms"].count, shares["latency>=10ms"].value) == (29, 0.145)
    assert shares["latency>=10ms"].interval is not None
    assert with_intervals(GOLDEN.summary, Record()).shares is None


def test_of_few_answers_a_percentile_has_a_lower_bound():
    """The slowest of five is that of their p99.9; of 500 and more answers there is an upper bound of p99 too."""
    few = intervals(record([MS, 2 * MS, 3 * MS, 4 * MS, 12 * MS])).bounds_ms
    least_ms = {"p50": 1, "p90": 3, "p95": 4, "p99": 12, "p99.9": 12, "mean": 1}
    assert {name: low for name, (low, _) in few.items()} == pytest.approx(least_ms, rel=1e-3)
    assert {high for _, high in few.values()} == {None}
    bounds = intervals(record(np.arange(1, 501) * MS)).bounds_ms
    assert bounds["p99"] == pytest.approx((462, 4 * 495), rel=1e-3)
    assert bounds["p99.9"][1] is None
    assert bounds["p99.9"][0] == pytest.approx(497, rel=1e-3)
    assert intervals(record(np.arange(1, 500) * MS)).bounds_ms["p99"][1] is None


def test_what_has_an_interval_has_no_bounds():
    """And what falls among lost requests has its own."""
    rng = np.random.default_rng(5)
    found = intervals(record(rng.exponential(5 * MS, 50_000)))
    assert found.bounds_ms.keys() & found.latency_ms.keys() == set()
    assert found.bounds_ms.keys() | found.latency_ms.keys() == {"mean", "p50", "p90", "p95", "p99", "p99.9"}
    lossy = record(rng.exponential(5 * MS, 500))
    lossy.offered = Offered(planned=510, answered=500, arrived=500)
    assert intervals(lossy).bounds_ms.keys() == {"p50", "p90", "p95"}


@pytest.mark.no_cover
@pytest.mark.parametrize("utilisation", [0.5, 0.8, 0.9])
def test_bounds_hold(utilisation):
    """Of a p99 that has no interval; `docs/evidence/bounds.md` has more."""
    queue, rng = mm1(utilisation), np.random.default_rng(7)
    true_ms = queue.true("p99")
    found = [intervals(queue.run(660, rng)).bounds_ms["p99"] for _ in range(50)]
    assert sum(low <= true_ms for low, _ in found) >= 45
    highs = [high for _, high in found if high is not None]
    assert len(highs) >= 45
    assert sum(high >= true_ms for high in highs) >= 0.9 * len(highs)
