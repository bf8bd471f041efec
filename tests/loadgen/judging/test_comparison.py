"""Paired rounds: exact tests, intervals, Holm's correction and decisions."""

import itertools
import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sample_results import GOLDEN

from loadgen.judging import comparison
from loadgen.judging.comparison import (
    OPEN_LOOP,
    Outcome,
    gated,
    holm,
    interval,
    largest_scatter,
    least_rounds,
    paired,
    sign_flip_p,
    unpaired,
)

EFFECTS = st.lists(st.integers(-1000, 1000), min_size=2, max_size=7)
"""Whole numbers, whose sums are exact."""

PLAIN = replace(GOLDEN.summary, lost=0, measured=replace(GOLDEN.summary.measured, completed=100_000))


def run(throughput_rps=100.0, **latency_ms):
    """A summary with these figures."""
    return replace(PLAIN, throughput_rps=throughput_rps, latency_ms=latency_ms)


def rounds(effects, metric="p50"):
    """Rounds in which B takes so much longer, as logarithms."""
    return [(run(**{metric: 10.0}), run(**{metric: 10.0 * math.exp(effect)})) for effect in effects]


@given(EFFECTS)
def test_sign_flips_are_those_of_scipy(effects):
    """Of all changes of signs, two-sided."""
    stats = pytest.importorskip("scipy.stats")
    found = stats.permutation_test((np.array(effects, float),), np.sum, permutation_type="samples", n_resamples=np.inf)
    assert sign_flip_p(effects) == pytest.approx(float(found.pvalue))


@given(EFFECTS, st.integers(-1000, 1000))
def test_the_interval_has_the_means_that_the_test_does_not_refute(effects, mean):
    """Within it no p-value is below the risk, beyond it each is."""
    risk, ends = 0.1, interval(effects, 0.1)
    if ends is None:
        assert all(sign_flip_p(effects, value) > risk for value in (-1e9, mean, 1e9))
    else:
        assert (sign_flip_p(effects, mean) > risk) == (ends[0] <= mean <= ends[1])


@given(EFFECTS, st.integers(-5, 5), st.sampled_from([2, 4]))
def test_the_interval_moves_with_the_effects(effects, shift, scale):
    """It is that of moved and stretched effects."""
    before, after = interval(effects, 0.1), interval([scale * effect + shift for effect in effects], 0.1)
    assert (before is None) == (after is None)
    if before is not None:
        assert after == pytest.approx(tuple(scale * end + shift for end in before))


@given(st.lists(st.floats(0, 1), max_size=6))
def test_holm(p_values):
    """No less than alone, no more than Bonferroni's, in the same order."""
    corrected = holm(p_values)
    for p, one in zip(p_values, corrected, strict=True):
        assert p <= one <= min(1.0, len(p_values) * p) or one == pytest.approx(p)
    for (p, one), (q, other) in itertools.combinations(zip(p_values, corrected, strict=True), 2):
        assert (p - q) * (one - other) >= 0


def test_holm_by_hand():
    """Holm 1979."""
    assert holm([0.01, 0.04, 0.03]) == pytest.approx([0.03, 0.06, 0.06])


@pytest.mark.parametrize(("metrics", "fewest"), [(1, 6), (2, 7), (4, 8)])
def test_least_rounds(metrics, fewest):
    """With one fewer even rounds that all agree show nothing."""
    smallest = [metrics * sign_flip_p([1.0] * count) for count in (fewest - 1, fewest)]
    assert least_rounds(metrics) == fewest
    assert smallest[1] <= comparison.RISK < smallest[0]


@pytest.mark.parametrize(("count", "metrics"), [(6, 1), (8, 4), (10, 4), (14, 1)])
def test_the_scatter_that_is_said_has_the_power(count, metrics):
    """Of normal effects at the margin, at least 90% are found at the level of Holm's first step."""
    margin, rng = 0.05, np.random.default_rng(1)
    scatter = largest_scatter(count, metrics, margin)
    draws = rng.normal(math.log1p(margin), scatter, (400, count))
    found = sum(metrics * sign_flip_p(row) <= comparison.RISK for row in draws)
    assert 0.86 <= found / len(draws) <= 0.97


@pytest.mark.parametrize(
    ("effects", "outcome"),
    [
        ([0.0] * 6, Outcome.NOT_WORSE),
        ([-0.3, -0.2, -0.1, -0.2, -0.3, -0.1], Outcome.NOT_WORSE),
        ([0.01, 0.02, 0.03, 0.02, 0.01, 0.02], Outcome.NOT_WORSE),  # worse, within the margin
        ([0.06, 0.07, 0.05, 0.06, 0.08, 0.06], Outcome.WORSE),
        ([0.01, 0.06, 0.05, 0.06, 0.08, 0.06], Outcome.WORSE),
        ([-0.01, 0.06, 0.05, 0.06, 0.08, 0.06], Outcome.UNDECIDED),
        ([-0.2, 0.2, -0.1, 0.1, -0.3, 0.3], Outcome.UNDECIDED),
        ([0.5] * 5, Outcome.UNDECIDED),  # too few to say anything
    ],
)
@pytest.mark.parametrize("metric", ["p50", "throughput"])
def test_decisions(effects, outcome, metric):
    """Of one metric, in its own direction: below the margin, above zero, or neither."""
    found = paired(rounds(effects), ["p50"], 0.05)
    if metric == "throughput":
        found = paired([(run(100.0), run(100.0 * math.exp(-effect))) for effect in effects], ["throughput"], 0.05)
    assert found.outcome is outcome
    assert found.effects[0].outcome is outcome


def test_more_rounds():
    """About as many as decide, where that is possible at all."""
    (quiet,) = paired(rounds([0.01, 0.02] * 2), ["p50"], 0.05).effects
    (noisy,) = paired(rounds([-0.6, 0.5] * 3), ["p50"], 0.05).effects
    assert quiet.more == least_rounds(1) - 4
    assert noisy.more is None
    between = paired(rounds([-0.06, 0.05, 0.04, -0.03, 0.06, -0.05]), ["p50"], 0.05)
    assert between.outcome is Outcome.UNDECIDED
    assert between.more == between.effects[0].more
    assert 0 < (between.more or 0) <= comparison.MAX_ROUNDS - 6


def test_a_worse_metric_makes_all_worse():
    """And one that is undecided among others makes all undecided."""
    good = [(run(p50=10.0, p99=50.0), run(p50=9.0, p99=40.0))] * 8
    mixed = [(run(p50=10.0, p99=50.0), run(p50=9.0, p99=80.0))] * 8
    assert paired(good, ["p50", "p99"], 0.05).outcome is Outcome.NOT_WORSE
    assert paired(mixed, ["p50", "p99"], 0.05).outcome is Outcome.WORSE
    assert paired([], ["p50"], 0.05).outcome is Outcome.UNDECIDED


def test_a_percentile_of_few_requests_is_not_gated():
    """It is named, and nothing rests on it; without another metric nothing is decided."""
    few = replace(run(p50=10.0, p99=90.0), measured=replace(PLAIN.measured, completed=499))
    worse = replace(few, latency_ms={"p50": 10.0, "p99": 900.0})
    found = paired([(few, worse)] * 8, ["p50", "p99"], 0.05)
    assert found.outcome is Outcome.NOT_WORSE
    assert found.effects[1].outcome is None
    assert found.effects[1].text == "p99 is not gated: a run has 499 requests, which are too few for it"
    assert paired([(few, worse)] * 8, ["p99"], 0.05).outcome is Outcome.UNDECIDED
    assert gated(OPEN_LOOP, 499) == ("throughput", "p50", "p95")
    assert gated(OPEN_LOOP, 500) == OPEN_LOOP


def test_a_percentile_among_lost_requests_is_undecided():
    """Nor is it left out, which would pass what loses requests."""
    lost = replace(PLAIN, latency_ms={"p99": None}, lost=5000)
    found = paired([(run(p99=10.0), replace(lost)) for _ in range(8)], ["p99"], 0.05)
    assert found.outcome is Outcome.UNDECIDED
    assert found.effects[0].text == "8 of 16 runs did not answer the requests that decide it"


def test_ratios_are_of_the_figures():
    """And their ends in order, whatever is worse."""
    rates = (80.0, 81.0, 82.0, 80.0, 81.0, 82.0)
    (effect,) = paired([(run(100.0), run(rate)) for rate in rates], ["throughput"], 0.05).effects
    assert effect.ratio == pytest.approx(0.81, abs=0.001)
    assert effect.interval == pytest.approx((0.80, 0.82))
    assert effect.margin == pytest.approx(1 / 1.05)


def test_another_time_tolerates_the_spread_of_the_baseline():
    """B is worse only beyond it and the margin, and not worse only where the margin has room for the spread."""
    baseline = [run(p50=value) for value in (10.0, 11.0, 12.0)]

    def outcome(*values):
        return unpaired(baseline, [run(p50=value) for value in values], ["p50"], 0.05).outcome

    assert outcome(*[11.5] * 6) is Outcome.UNDECIDED  # it would have been 4% worse, and the time 20% better
    assert outcome(*[9.0] * 6) is Outcome.NOT_WORSE
    assert outcome(*[16.0, 17.0] * 3) is Outcome.WORSE
    assert outcome(*[12.0, 16.0] * 3) is Outcome.UNDECIDED
    assert outcome(*[16.0] * 3) is Outcome.UNDECIDED


@pytest.mark.parametrize("metric", ["p50", "throughput"])
@pytest.mark.parametrize(
    ("effect", "outcome"),
    [
        (0.0, Outcome.NOT_WORSE),
        (0.025, Outcome.NOT_WORSE),
        (0.035, Outcome.UNDECIDED),  # within the margin, but not with the spread
        (0.045, Outcome.UNDECIDED),
        (0.06, Outcome.WORSE),
        (0.5, Outcome.WORSE),
    ],
)
def test_a_baseline_with_a_spread_below_the_margin(metric, effect, outcome):
    """What is not worse is within the margin even with the spread."""

    def one(log):
        return run(100.0 * math.exp(-log), p50=10.0 * math.exp(log))

    baseline = [one(log) for log in (-0.01, 0.0, 0.01)]
    found = unpaired(baseline, [one(effect)] * 6, [metric], 0.05)
    assert found.outcome is outcome
    assert found.effects[0].spread == pytest.approx(math.exp(0.02))
    assert abs(math.log(found.effects[0].margin)) == pytest.approx(math.log1p(0.05))


def test_figures_are_of_all_runs():
    """So that they agree with the ratio: of a baseline too."""
    (effect,) = unpaired([run(value) for value in (80.0, 100.0, 125.0)], [run(50.0)] * 6, ["throughput"], 0.05).effects
    assert effect.figures == pytest.approx((100.0, 50.0))
    assert effect.ratio == pytest.approx(0.5)
    (effect,) = paired([(run(80.0), run(40.0)), (run(125.0), run(62.5))], ["throughput"], 0.05).effects
    assert effect.figures == pytest.approx((100.0, 50.0))
