"""A run is steady when its changes are shown to be small, not when none is seen."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from loadgen.judging.steady import SteadyParameters, steadiness, student_quantile

TIME = np.arange(100.0)


def noise(share, seed=0, count=100):
    return 1 + share * np.random.default_rng(seed).standard_normal(count)


def walk(share, seed=0, count=100):
    """Noise of which each value is most of the one before."""
    values = np.zeros(count)
    for index, step in enumerate(np.random.default_rng(seed).standard_normal(count)):
        values[index] = 0.95 * values[index - 1] + step
    return 1 + share * values / values.std()


@pytest.mark.parametrize(
    ("throughput", "p99", "steady"),
    [
        pytest.param(np.ones(100), np.ones(100), True, id="nothing changes"),
        pytest.param(noise(0.01), noise(0.05, 1), True, id="little noise"),
        pytest.param(noise(0.2), np.ones(100), False, id="noise that hides any change of throughput"),
        pytest.param(np.ones(100), noise(1.0, 1) ** 2, False, id="noise that hides any change of p99"),
        pytest.param(walk(0.03), np.ones(100), False, id="noise that wanders: few values are independent"),
        pytest.param(noise(0.03), np.ones(100), True, id="as much that does not"),
        pytest.param(walk(0.002), np.ones(100), True, id="little that wanders"),
        pytest.param(1 - 0.0012 * (TIME - 50), np.ones(100), False, id="throughput falls by 6% over the window"),
        pytest.param(1 - 0.0008 * (TIME - 50), np.ones(100), True, id="throughput falls by 4%"),
        pytest.param(np.ones(100), 1 + 0.006 * (TIME - 75), False, id="p99 grows by 30%"),
        pytest.param(np.ones(100), 1 + 0.004 * (TIME - 75), True, id="p99 grows by 20%"),
        pytest.param(np.ones(100), np.sqrt(TIME), False, id="a backlog at full utilisation"),
        pytest.param(np.minimum(TIME + 1, 40), np.minimum(TIME + 1, 40), True, id="a start that is over"),
        pytest.param(np.minimum(TIME + 1, 70), np.minimum(TIME + 1, 70), False, id="a start that was long"),
        pytest.param(np.zeros(100), np.ones(100), False, id="nothing is answered"),
        pytest.param(np.ones(29), np.ones(29), False, id="too few intervals"),
        pytest.param(np.ones(33), np.ones(33), False, id="enough for four looks only"),
        pytest.param(np.ones(34), np.ones(34), True, id="just enough"),
    ],
)
def test_steady(throughput, p99, steady):
    """By the default parameters; both series must be."""
    assert steadiness(throughput.tolist(), p99.tolist()).steady is steady


@pytest.mark.parametrize(("unknown", "steady"), [(99, False), (48, False), (47, True)])
def test_an_interval_without_p99_is_not_steady(unknown, steady):
    """As long as it is in the window of a look."""
    p99: list[float | None] = [1.0] * 100
    p99[unknown] = None
    assert steadiness([1.0] * 100, p99).steady is steady
    assert ("no p99 in 1 of the last" in steadiness([1.0] * 100, p99).text) is (unknown == 99)


def test_looks_must_agree():
    """One that says yes by itself is not enough."""
    throughput = [1.0] * 30 + [1.4] * 10 + [1.0] * 60
    at = [steadiness(throughput[:count], [1.0] * count, SteadyParameters(looks=1)).steady for count in range(1, 101)]
    first = at.index(True, 31) + 1
    assert not steadiness(throughput[:first], [1.0] * first).steady
    assert steadiness(throughput[: first + 4], [1.0] * (first + 4)).steady
    assert f"but not yet after {first - 1} intervals" in steadiness(throughput[:first], [1.0] * first).text


def test_text_names_change_uncertainty_and_margin():
    """In percent of the mean over the window."""
    text = steadiness((1 - 0.0008 * (TIME - 74.5)).tolist(), noise(0.05).tolist()).text
    assert text.startswith("over the last 50 intervals throughput -4.0 ± 0.0% (margin 5%), p99 ")
    assert text.endswith("% (margin 25%)")


@pytest.fixture(scope="module")
def stats():
    """A second to import, which no worker needs that runs other tests."""
    from scipy import stats

    return stats


def test_independent_noise_gives_the_textbooks_interval(stats):
    """The uncertainty is Student's quantile x the slope's standard error x intervals, where residuals are no alike."""
    values = 10 + np.tile([1.0, -1.0], 25)  # neighbours that differ count as independent
    fit = stats.linregress(np.arange(50), values)
    expected = stats.t.ppf(0.995, 48) * fit.stderr * 50 / values.mean()
    parameters = SteadyParameters(min_intervals=50, looks=1)
    text = steadiness(values.tolist(), [1.0] * 50, parameters).text
    assert f"± {100 * expected:.1f}%" in text


@pytest.mark.parametrize("degrees", [3, 3.5, 5, 10, 48.2, 1000])
@pytest.mark.parametrize("probability", [0.9, 0.95, 0.99, 0.995])
def test_student_quantile(stats, probability, degrees):
    """As scipy has it, within 1%."""
    assert student_quantile(probability, degrees) == pytest.approx(stats.t.ppf(probability, degrees), rel=0.01)


@given(
    st.lists(st.floats(0, 1e9), max_size=80),
    st.floats(1e-3, 1e3),
)
def test_units_do_not_matter(values, unit):
    """Nor does any input make it fail."""
    scaled = [value * unit for value in values]
    text = steadiness(values, values).text
    assert isinstance(steadiness(scaled, scaled).steady, bool)
    assert text


@pytest.mark.parametrize("correlation", [0.0, 0.5])
def test_a_drift_at_the_margin_is_rarely_called_steady(correlation):
    """One look at each of 400 seeded series, neighbours alike or not, errs little more often than it says."""
    parameters = SteadyParameters(min_intervals=60, alpha=0.05, looks=1)
    drift = 1 + parameters.throughput_margin * (np.arange(60) - 29.5) / 60
    random, wrong = np.random.default_rng(7), 0
    for _ in range(400):
        scatter = random.standard_normal(61)
        for index in range(1, 61):
            scatter[index] = correlation * scatter[index - 1] + np.sqrt(1 - correlation**2) * scatter[index]
        wrong += steadiness((drift + 0.01 * scatter[1:]).tolist(), [1.0] * 60, parameters).steady
    assert 0 < wrong <= 400 * 0.09
