"""The original's arithmetic of histograms and its formats of numbers, to the last digit.

It computes in the x87's 80-bit ``long double`` and prints with C++'s default format. Where this machine's
``numpy.longdouble`` is another type, the last four or so of the digits differ. Pure.
"""

from __future__ import annotations

import math

import numpy as np

DOUBLE_DIGITS = 17
LONG_DOUBLE_DIGITS = 21
"""``max_digits10`` of the two types: this many digits tell any two values apart."""


def mean(ordered: np.ndarray) -> np.longdouble:
    """The sum of ``value / n``, one after the other.

    Args:
        ordered: int64, sorted, not empty.
    """
    return _sum(ordered.astype(np.longdouble) / np.longdouble(len(ordered)))


def standard_deviation(ordered: np.ndarray) -> np.longdouble:
    """Of a population: the squares are divided by n.

    Args:
        ordered: int64, sorted, not empty.
    """
    if len(ordered) == 1:
        return np.longdouble(0)
    squares = (ordered.astype(np.longdouble) - mean(ordered)) ** 2
    deviation: np.longdouble = np.sqrt(_sum(squares) / np.longdouble(len(ordered)))
    return deviation


def percentile(ordered: np.ndarray, quantile: float) -> np.longdouble:
    """The value at position ``quantile * (n + 1)``, counted from 1, between two values in proportion.

    That is the definition of Weibull, "R-6"; positions beyond the ends are the ends. The position and the
    step to the next value are doubles.

    Args:
        ordered: int64, sorted, not empty.
        quantile: 0 to 1.
    """
    number = len(ordered)
    lowest = 1 / (number + 1)
    if quantile <= lowest:
        position = 1.0
    elif quantile < number * lowest:
        position = quantile * (number + 1)
    else:
        position = float(number)
    below = math.floor(position)
    value = np.longdouble(int(ordered[below - 1]))
    if fraction := position - below:
        value += np.longdouble(fraction * (int(ordered[below]) - int(ordered[below - 1])))
    return value


def _sum(values: np.ndarray) -> np.longdouble:
    """In order; numpy's own sum adds in pairs, which rounds differently."""
    total: np.longdouble = np.cumsum(values)[-1]
    return total


def double_text(value: float) -> str:
    """A double as C++'s streams print it with 17 significant digits."""
    return f"{value:.{DOUBLE_DIGITS}g}"


def long_double_text(value: np.longdouble) -> str:
    """A long double as C++'s streams print it with 21 significant digits: ``%Lg``, without trailing zeros."""
    if not np.isfinite(value):
        return str(float(value))
    mantissa, _, power = np.format_float_scientific(
        value, precision=LONG_DOUBLE_DIGITS - 1, unique=False, trim="k"
    ).partition("e")
    exponent = int(power)
    sign, digits = ("-" if value < 0 else ""), mantissa.lstrip("-").replace(".", "")
    if not -4 <= exponent < LONG_DOUBLE_DIGITS:
        return f"{sign}{_trimmed(digits[:1] + '.' + digits[1:])}e{exponent:+03d}"
    if exponent < 0:
        return f"{sign}{_trimmed('0.' + '0' * (-exponent - 1) + digits)}"
    return f"{sign}{_trimmed(digits[: exponent + 1] + '.' + digits[exponent + 1 :])}"


def _trimmed(digits: str) -> str:
    return digits.rstrip("0").rstrip(".")
