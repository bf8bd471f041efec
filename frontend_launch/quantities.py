"""Writes numbers for readers: measured values, counts with their noun, sizes and durations. Pure."""

from __future__ import annotations

import datetime
from decimal import Decimal

DIGITS = 4
"""Significant digits of a measured value."""

LEAST, MOST = 1e-9, 1e15
"""Between these a number has no exponent."""


def number(value: float | None, digits: int = DIGITS) -> str:
    """A measured value: significant digits and thousands separators; ``-`` for None.

    Values that no measurement has, below `LEAST` and from `MOST` on, have an exponent.

    Args:
        value: in the unit that the text around it names.
        digits: significant ones.
    """
    if value is None:
        return "-"
    if value and not LEAST <= abs(value) < MOST:
        return f"{value:.{digits}g}"
    return f"{Decimal(f'{value + 0.0:.{digits}g}'):,f}"  # the sum has no negative zero


def exact(value: float) -> str:
    """A value as an option takes it: all digits, no separators; an exponent only from 1e16 on and below 0.0001."""
    return repr(float(value)).removesuffix(".0")


def grouped(value: float) -> str:
    """A value of an option in a sentence: all digits, with thousands separators."""
    return f"{Decimal(exact(value)):,f}"


def plural(count: int, noun: str, nouns: str = "") -> str:
    """A count with its noun.

    Args:
        count: of things.
        noun: for one.
        nouns: for other counts, where an s at the end is wrong.
    """
    return f"{count:,} {noun if count == 1 else nouns or f'{noun}s'}"


def times(count: int) -> str:
    """How often: once, twice, or a number of times."""
    return {1: "once", 2: "twice"}.get(count, f"{count:,} times")


def byte_size(count: float) -> str:
    """An amount of memory in the largest binary unit that it reaches."""
    for unit in ("B", "KiB", "MiB"):
        if float(f"{count:.{DIGITS}g}") < 1024:
            return f"{number(count)} {unit}"
        count /= 1024
    return f"{number(count)} GiB"


def seconds(value: float, digits: int = 3) -> str:
    """A measured time in the unit that fits it: seconds, milliseconds or microseconds.

    Args:
        value: in seconds.
        digits: significant ones.
    """
    for factor, unit in ((1, "s"), (1e3, "ms")):
        if not value or abs(float(f"{value * factor:.{digits}g}")) >= 1:
            return f"{number(value * factor, digits)} {unit}"
    return f"{number(value * 1e6, digits)} \N{MICRO SIGN}s"


def duration(whole_s: float) -> str:
    """A duration to the second, such as ``0:02:00``."""
    return str(datetime.timedelta(seconds=round(whole_s)))
