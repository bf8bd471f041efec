"""Numbers for readers."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from frontend_launch.quantities import byte_size, duration, exact, number, plural, seconds, times

MEASURED = st.floats(-1e14, 1e14).filter(lambda value: value == 0 or abs(value) >= 1e-9)


@pytest.mark.parametrize(
    ("value", "text"),
    [
        pytest.param(None, "-", id="not known"),
        pytest.param(0.0, "0", id="zero"),
        pytest.param(-0.0, "0", id="negative zero"),
        pytest.param(0.00001234, "0.00001234", id="small, without an exponent"),
        pytest.param(0.123456, "0.1235", id="below one"),
        pytest.param(9.99996, "10", id="rounded up to the next power of ten"),
        pytest.param(999.96, "1,000", id="rounded up to a separator"),
        pytest.param(20091.4, "20,090", id="large, without an exponent"),
        pytest.param(-1234567.0, "-1,235,000", id="negative"),
        pytest.param(1e300, "1e+300", id="beyond what is measured"),
        pytest.param(1e-300, "1e-300", id="below what is measured"),
        pytest.param(math.inf, "inf", id="no bound"),
        pytest.param(math.nan, "nan", id="no number"),
    ],
)
def test_a_measured_value(value, text):
    """Four significant digits and thousands separators."""
    assert number(value) == text


def test_fewer_digits():
    """Where three are enough, or more are needed."""
    assert number(20091.4, 3) == "20,100"
    assert number(20091.4, 6) == "20,091.4"


@given(MEASURED, st.integers(3, 6))
def test_a_number_is_read_back(value, digits):
    """Without an exponent, and as near as its digits allow."""
    text = number(value, digits)
    assert "e" not in text
    assert float(text.replace(",", "")) == pytest.approx(value, rel=0.5 * 10 ** (1 - digits))


@given(MEASURED, MEASURED)
def test_numbers_keep_their_order(first, second):
    """A larger value is never shown as a smaller one."""
    low, high = (float(number(value).replace(",", "")) for value in sorted((first, second)))
    assert low <= high


@given(st.floats(allow_nan=False))
def test_an_exact_value_is_the_same_when_typed_again(value):
    """No digit is lost, and nothing has to be taken out."""
    assert float(exact(value)) == value
    assert "," not in exact(value)


@pytest.mark.parametrize(("value", "text"), [(2_000_000, "2000000"), (1234567.5, "1234567.5"), (0.1, "0.1")])
def test_an_exact_value(value, text):
    """As a user writes it."""
    assert exact(value) == text


@pytest.mark.parametrize(
    ("count", "text"),
    [(0, "0 cores"), (1, "1 core"), (2, "2 cores"), pytest.param(12_345, "12,345 cores", id="all digits of a count")],
)
def test_a_count_with_its_noun(count, text):
    """One is singular, nothing is not."""
    assert plural(count, "core") == text
    assert plural(count, "process", "processes") == text.replace("cores", "processes").replace("core", "process")


@pytest.mark.parametrize(
    ("count", "text"),
    [
        (0, "0 B"),
        (1023, "1,023 B"),
        (1024, "1 KiB"),
        pytest.param(2**20 - 1, "1 MiB", id="never 1,024 of a unit that has a larger one"),
        (3.5 * 2**20, "3.5 MiB"),
        (2.1 * 2**30, "2.1 GiB"),
        (5000 * 2**30, "5,000 GiB"),
    ],
)
def test_a_byte_size(count, text):
    """In the largest unit that it reaches."""
    assert byte_size(count) == text


@given(st.integers(0, 2**50))
def test_a_byte_size_is_below_the_next_unit(count):
    """At most four digits of a unit, except for the largest."""
    value, unit = byte_size(count).split()
    assert unit == "GiB" or float(value.replace(",", "")) < 1024


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0.0, "0 s"),
        (0.00727, "7.27 ms"),
        (1.8e-05, "18 \N{MICRO SIGN}s"),
        (0.9999, "1 s"),
        (0.0009996, "1 ms"),
        (-0.25, "-250 ms"),
        (1234.5, "1,230 s"),
    ],
)
def test_a_measured_time(value, text):
    """In the unit that fits it."""
    assert seconds(value) == text


@pytest.mark.parametrize(("whole_s", "text"), [(0.4, "0:00:00"), (119.6, "0:02:00"), (90_000, "1 day, 1:00:00")])
def test_a_duration(whole_s, text):
    """To the second."""
    assert duration(whole_s) == text


def test_how_often():
    """In words where there is one."""
    assert [times(count) for count in (1, 2, 3, 1200)] == ["once", "twice", "3 times", "1,200 times"]
