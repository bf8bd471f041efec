"""Numbers of inputs that are drawn, and ranges that cannot be."""

import numpy as np
import pytest

from loadgen.errors import ConfigError
from loadgen.load.drawing import check_ranges, numbers, parse_ranges


@pytest.mark.parametrize(
    ("text", "ranges"),
    [
        ("0:1e4", {"": (0, 10_000)}),
        ("0:30522", {"": (0, 30522)}),
        ("-1:1.5", {"": (-1, 1.5)}),
        ("ids:0:30522, mask:0:2", {"ids": (0, 30522), "mask": (0, 2)}),
        ("a:b:1e3:2e3", {"a:b": (1000.0, 2000.0)}),
        (f"0:{2**64}", {"": (0, 2**64)}),
    ],
)
def test_ranges(text, ranges):
    """Alone or by name, whole numbers of any size as they are."""
    assert parse_ranges(text) == ranges


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("3", "not a range"),
        ("a:3", "not a range"),
        ("0:nan", "not a range"),
        ("0:inf", "not a range"),
        ("2:2", "empty"),
        ("3:2", "empty"),
        ("0:1,2:3", "a range without a name twice"),
        ("a:0:1,a:2:3", "has a twice"),
        ("", "not a range"),
    ],
)
def test_no_ranges(text, problem):
    """Refused in one line."""
    with pytest.raises(ConfigError, match=problem):
        parse_ranges(text)


@pytest.mark.parametrize(
    ("ranges", "dtypes", "problem"),
    [
        ({"c": (0, 1)}, {"a": "int32", "b": "int32"}, "c:0:1: the model has no input 'c'; name one of a, b"),
        ({"": (0, 1)}, {"a": "int32", "b": "int32"}, "0:1: the model has several inputs; name one of a, b"),
        ({"a": (0, 1)}, {"": "int32"}, "a:0:1: inputs have no names here; write LOW:HIGH"),
        ({"": (0, 1)}, {"a": "str"}, "the input is text"),
        ({"": (0, 300)}, {"a": "uint8"}, "uint8 has 0 to 255"),
        ({"": (-1, 3)}, {"a": "bool"}, "bool has 0 to 1"),
        ({"": (0.5, 3)}, {"a": "int64"}, "the input is of int64; write whole numbers"),
        ({"": (0, 1e39)}, {"a": "float32"}, "float32 does not hold it"),
    ],
)
def test_ranges_that_a_model_does_not_take(ranges, dtypes, problem):
    """Name the range and the remedy."""
    with pytest.raises(ConfigError, match=problem):
        check_ranges(ranges, dtypes)


@pytest.mark.parametrize("dtype", ["int8", "int64", "uint64", "bool", "float16", "float32", "float64"])
def test_numbers_lie_in_their_range(dtype):
    """Of the dtype, and not all the same."""
    bounds = (0, 2) if dtype == "bool" else (3, 100)
    check_ranges({"": bounds}, {"": dtype})
    drawn = numbers(np.random.default_rng(0), (100,), dtype, bounds, image=True)
    assert drawn.dtype == np.dtype(dtype)
    assert bounds[0] <= drawn.min() < drawn.max() <= bounds[1]
    assert drawn.dtype.kind == "f" or drawn.max() < bounds[1]


def test_the_usual_numbers():
    """Small ones, and pixels where it may be an image."""
    generator = np.random.default_rng(0)
    assert numbers(generator, (1000,), "float32", None, image=False).max() < 1
    assert 250 < numbers(generator, (1000,), "float32", None, image=True).max() <= 255
    assert numbers(generator, (1000,), "int64", None, image=False).max() == 127
    assert numbers(generator, (1000,), "uint8", None, image=True).max() == 255


def test_the_largest_whole_numbers_can_be_drawn():
    """Those of 64 bits too."""
    bounds = (2**64 - 4, 2**64)
    check_ranges({"": bounds}, {"": "uint64"})
    assert numbers(np.random.default_rng(0), (50,), "uint64", bounds, image=False).min() >= 2**64 - 4
