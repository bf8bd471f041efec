"""Turns the text of options into values, so that nothing behind the command line sees text.

Integer lists are written ``0 1``, ``0,1``, ``20-27``, as repeated flags, and in any mixture of these. The parser of
the command line gives an option one word, so `normalise_argv` first joins the words that belong to a list.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable

from frontend_launch.integers import expand_ranges
from loadgen.constraints import MAX_DURATION_S
from loadgen.errors import ConfigError

MAX_SHAPE_ELEMENTS = 1_000_000_000
"""Most elements of one input."""

MAX_TAG_VALUE = 200
"""Characters of a tag's value."""

RESERVED_TAGS = ("command", "core", "le", "load", "model", "quantile", "queue", "role")
"""Names that are labels of metrics already."""

_TAG_NAME = re.compile("(?!__)[A-Za-z_][A-Za-z0-9_]{0,62}")

NUMBER = r"(?:[0-9]+(?:\.[0-9]*)?|\.[0-9]+)"
"""A number of a duration or a rate, as part of a regular expression."""

_SECONDS = {"h": 3600.0, "m": 60.0, "min": 60.0, "s": 1.0, "ms": 0.001}
_BARE = re.compile(NUMBER)
_DURATION = re.compile(
    rf"(?=.)(?:({NUMBER})(h))?(?:({NUMBER})(m|min))?(?:({NUMBER})(s))?(?:({NUMBER})(ms))?", re.IGNORECASE
)
_RATE = re.compile(rf"([+-]?{NUMBER}(?:e[+-]?[0-9]{{1,3}})?)(?:/(ms|s|min|m|h))?", re.IGNORECASE)
_SHAPE = re.compile(r"[0-9]{1,10}(x[0-9]{1,10})*", re.IGNORECASE)


def check_tag(name: str, value: str) -> None:
    """Refuse a tag that could not be a label of a metric, or would not fit into a line.

    Args:
        name: of the tag.
        value: of the tag.

    Raises:
        ConfigError: it is such a tag.
    """
    if not _TAG_NAME.fullmatch(name):
        raise ConfigError(f"{name!r}: not the name of a tag; use letters, digits and _, and begin with a letter")
    if name in RESERVED_TAGS:
        raise ConfigError(f"{name!r}: a label of loadgen's metrics already; choose another name")
    if len(value) > MAX_TAG_VALUE or not value.isprintable():
        raise ConfigError(
            f"{name!r}: its value is too long or cannot be printed; use at most {MAX_TAG_VALUE} printable characters"
        )


def parse_tag(text: str) -> tuple[str, str]:
    """Read a tag, such as ``commit=4f2a9c1``: its name and its value.

    Raises:
        ConfigError: it makes no sense.
    """
    name, separator, value = text.partition("=")
    if not separator:
        raise ConfigError(f"{text!r}: has no value; write NAME=VALUE, such as commit=4f2a9c1")
    check_tag(name, value)
    return name, value


def parse_int_list(text: str | Iterable[str]) -> tuple[int, ...]:
    """Integers in the order written; duplicates stay, since their meaning depends on the option.

    Args:
        text: members and ranges separated by commas or spaces, such as ``0 1``, ``0,1`` or ``20-27``; or several texts.

    Raises:
        ConfigError: it is empty or something else.
    """
    whole = text if isinstance(text, str) else ",".join(text)
    items = [item for item in re.split(r"[,\s]+", whole) if item]
    if not items:
        raise ConfigError(f"{whole!r}: names no number; write a list such as 0,1 or 20-27")
    try:
        return expand_ranges(items)
    except ValueError as error:
        raise ConfigError(f"{error}" if items == [whole] else f"{whole!r}: {error}") from None


def parse_gpus(text: str | Iterable[str]) -> tuple[int, ...]:
    """A list of GPU numbers, or ``none``, which is the empty list.

    Raises:
        ConfigError: it is neither.
    """
    whole = text if isinstance(text, str) else ",".join(text)
    if whole.strip().lower() == "none":
        return ()
    try:
        return parse_int_list(whole)
    except ConfigError as error:
        raise ConfigError(f"{error}, or none, alone, for no GPU") from None


def parse_duration(text: str) -> float:
    """Seconds: ``120``, ``120s``, ``2m``, ``1m30s``, ``1.5h`` or ``250ms``.

    Raises:
        ConfigError: it is something else, zero or too long.
    """
    seconds = parse_duration_or_zero(text)
    if seconds == 0:
        raise ConfigError(f"{text!r}: a duration above zero is needed; write 120, 120s or 2m")
    return seconds


def parse_duration_or_zero(text: str) -> float:
    """As `parse_duration`, or zero in any unit: ``0``, ``0s``, ``0.0``.

    Raises:
        ConfigError: it is something else, or too long.
    """
    words = text.strip()
    if _BARE.fullmatch(words):
        seconds = float(words)
    elif match := _DURATION.fullmatch(words):
        parts = zip(match.groups()[::2], match.groups()[1::2], strict=True)
        seconds = math.fsum(float(number) * _SECONDS[unit.lower()] for number, unit in parts if unit is not None)
    else:
        raise ConfigError(f"{text!r}: not a duration; write 120, 120s, 2m, 1m30s, 1.5h or 250ms")
    if seconds > MAX_DURATION_S:
        raise ConfigError(f"{text!r}: too long; use at most {MAX_DURATION_S / 3600:g}h")
    return seconds


def parse_rate(text: str) -> float:
    """Requests a second: ``100``, ``100/s``, ``6/m``, ``6/min`` or ``360/h``.

    Raises:
        ConfigError: it is something else; the field refuses numbers that are not rates.
    """
    match = _RATE.fullmatch(text.strip())
    rate = math.inf if match is None else float(match[1]) / _SECONDS[(match[2] or "s").lower()]
    if math.isinf(rate):
        raise ConfigError(f"{text!r}: not a rate; write requests a second such as 100, or 6/m or 360/h")
    return rate


def parse_share(text: str) -> float:
    """``2%`` or ``0.02`` → 0.02.

    Raises:
        ConfigError: it is neither.
    """
    number, percent = text.strip().removesuffix("%"), text.strip().endswith("%")
    try:
        share = float(number)
    except ValueError:
        raise ConfigError(f"{text!r}: not a share; write such as 2% or 0.02") from None
    return share / 100 if percent else share


def parse_shape(text: str) -> tuple[int, ...]:
    """The dimensions of one input, such as ``299x299x3``.

    Raises:
        ConfigError: it is something else, a dimension is 0, or there are more than `MAX_SHAPE_ELEMENTS` elements.
    """
    if _SHAPE.fullmatch(text.strip()) is None:
        raise ConfigError(f"{text!r}: not a shape; write its dimensions such as 299x299x3")
    shape = tuple(int(size) for size in text.strip().lower().split("x"))
    if 0 in shape:
        raise ConfigError(f"{text!r}: has no elements; use dimensions of at least 1")
    if math.prod(shape) > MAX_SHAPE_ELEMENTS:
        raise ConfigError(f"{text!r}: has too many elements; use at most {MAX_SHAPE_ELEMENTS}")
    return shape


def parse_rates(text: str) -> tuple[float, ...]:
    """Rates such as ``100,200.5`` or ``6/m,12/m``.

    Raises:
        ConfigError: one of them is not a rate.
    """
    return tuple(parse_rate(part) for part in text.split(","))
