"""The original's arithmetic and texts: the specification's vectors to the last digit."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from frontend_launch.frontends.metric_numbers import (
    double_text,
    long_double_text,
    mean,
    percentile,
    standard_deviation,
)

pytestmark = pytest.mark.skipif(
    np.finfo(np.longdouble).nmant != 63, reason="this machine's long double is not that of the x87"
)


def values(*runs):
    """Runs of (number, value), in order."""
    return np.array([value for number, value in runs for _ in range(number)], dtype=np.int64)


@pytest.mark.parametrize(
    ("ordered", "expected"),
    [
        pytest.param(
            values((1, 1), (362, 2)),
            ("1.9972451790633608883", "0.0524140429488717577568"),
            id="batches of 2 and one of 1",
        ),
        pytest.param(values((1295, 1)), ("0.999999999999999996205", "3.79470760369926551903e-18"), id="1295 ones"),
        pytest.param(values((1, 7)), ("7", "0"), id="a single value"),
    ],
)
def test_mean_and_deviation(ordered, expected):
    """As documents of the original have them, rounding errors included."""
    assert (long_double_text(mean(ordered)), long_double_text(standard_deviation(ordered))) == expected


@pytest.mark.parametrize(
    ("ordered", "quantile", "expected"),
    [
        pytest.param(values((345, 129296), (18, 129322)), 0.95, "129316.800000000000296", id="p95 of 363"),
        pytest.param(values((718, 47962525), (7, 47967588)), 0.99, "47966271.6200000000463", id="p99 of 725"),
        pytest.param(np.array([16, 53, 104, 113, 185, 202]), 0.5, "108.5", id="between two"),
        pytest.param(np.array([16, 53, 104, 113, 185, 202]), 0.95, "202", id="beyond the last"),
        pytest.param(np.array([16, 53, 104, 113, 185, 202]), 0.01, "16", id="before the first"),
        pytest.param(values((1, 5)), 0.5, "5", id="of one value"),
    ],
)
def test_percentiles(ordered, quantile, expected):
    """Interpolated at position q(n + 1)."""
    assert long_double_text(percentile(ordered, quantile)) == expected


def test_a_percentile_whose_position_is_no_double():
    """0.4 × 6 is a little more than 2.4."""
    assert float(percentile(np.array([15, 20, 35, 40, 50]), 0.4)) == pytest.approx(26, rel=1e-15)


@given(st.lists(st.integers(0, 10**12), min_size=1, max_size=50), st.floats(0.01, 0.99))
def test_percentiles_agree_with_the_definition_of_weibull(numbers, quantile):
    """To the precision of a double; numpy has that definition too."""
    ordered = np.sort(np.array(numbers, dtype=np.int64))
    expected = np.percentile(ordered, 100 * quantile, method="weibull")
    assert float(percentile(ordered, quantile)) == pytest.approx(expected, rel=1e-9, abs=1e-3)


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0, "0"),
        (1, "1"),
        (-1.5, "-1.5"),
        (0.0001220703125, "0.0001220703125"),
        (2.0**-14, "6.103515625e-05"),
        (2.0**70, "1.18059162071741130342e+21"),
        (2.0**69, "590295810358705651712"),
        (math.nan, "nan"),
    ],
)
def test_texts_of_long_doubles(value, text):
    """As `%Lg` with 21 digits."""
    assert long_double_text(np.longdouble(value)) == text


@given(st.floats(allow_nan=False, allow_infinity=False))
def test_every_double_is_read_back_from_its_text(value):
    """Seventeen digits tell any two apart; as a long double, 21 do."""
    assert float(double_text(value)) == value
    assert float(long_double_text(np.longdouble(value))) == value
