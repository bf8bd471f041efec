"""Checks the fields of configurations; each error names its field. Pure.

A field whose default is None may be None.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import fields
from numbers import Integral, Real
from typing import TYPE_CHECKING

from frontend_launch.quantities import exact
from loadgen.errors import FieldError

if TYPE_CHECKING:
    from _typeshed import DataclassInstance


MOST = 10**15
"""Largest whole number: counts of requests and seeds fit into their types, and into JSON."""


def whole(value: DataclassInstance, *names: str, least: int = 1, most: int = MOST, each: bool = False) -> None:
    """Refuse fields that are not whole numbers, or out of bounds.

    Args:
        value: a part of a configuration.
        names: of its fields.
        least: 1, or 0.
        most: the largest.
        each: the fields are tuples of such numbers.

    Raises:
        FieldError: one is not.
    """
    for field, number in _given(value, names, each):
        if isinstance(number, bool) or not isinstance(number, Integral):
            raise FieldError(field, number, "is not a whole number", f"use {least} or more")
        if int(number) < least:
            problem = "is not positive" if least else "must not be negative"
            raise FieldError(field, number, problem, f"use {least} or more")
        if int(number) > most:
            raise FieldError(field, number, "is too large", f"use at most {most}")


def finite(
    value: DataclassInstance, *names: str, zero: bool = False, most: float | None = None, each: bool = False
) -> None:
    """Refuse fields that are not finite numbers, not positive, or out of bounds.

    Args:
        value: a part of a configuration.
        names: of its fields.
        zero: they may be 0.
        most: the largest; None for any.
        each: the fields are tuples of such numbers.

    Raises:
        FieldError: one is not.
    """
    remedy = "use 0 or more" if zero else "use a number above 0"
    for field, number in _given(value, names, each):
        if isinstance(number, bool) or not isinstance(number, Real):
            raise FieldError(field, number, "is not a number", remedy)
        if not math.isfinite(number):
            raise FieldError(field, number, "is not finite", remedy)
        if number < 0 or not (number or zero):
            raise FieldError(field, number, "must not be negative" if zero else "is not positive", remedy)
        if most is not None and float(number) > most:
            raise FieldError(field, number, "is too large", f"use at most {exact(most)}")


def words(value: DataclassInstance, *names: str) -> None:
    """Refuse fields that are not text, are blank, or have control characters.

    Args:
        value: a part of a configuration.
        names: of its fields.

    Raises:
        FieldError: one is.
    """
    instance(value, *names, of=(str,))
    for field, text in _given(value, names, each=False):
        assert isinstance(text, str)
        if not text.strip():
            raise FieldError(field, repr(text), "is blank", "name something, or leave it out")
        if not text.isprintable():
            raise FieldError(field, text, "has characters that cannot be printed", "leave them out")


def host(value: DataclassInstance, *names: str) -> None:
    """Refuse fields that cannot be the name or the number of a host.

    Args:
        value: a part of a configuration.
        names: of its fields.

    Raises:
        FieldError: one cannot.
    """
    words(value, *names)
    for field, text in _given(value, names, each=False):
        if not is_host(str(text)):
            raise FieldError(field, text, "is not a host", "write its name or number, without a port or a path")


def is_host(text: str) -> bool:
    """Whether this can be the name or the number of a host."""
    try:
        text.encode("idna")
    except UnicodeError:
        return False
    port = text.count(":") == 1  # an IPv6 address has more
    return bool(text) and text.isprintable() and not port and not set(text) & set(" /\\?#@,;'\"{}<>|^`")


def instance(value: DataclassInstance, *names: str, of: tuple[type, ...], each: bool = False) -> None:
    """Refuse fields of other types.

    Args:
        value: a part of a configuration.
        names: of its fields.
        of: the types that they may have.
        each: the fields are tuples of values of these types.

    Raises:
        FieldError: one has another.
    """
    for field, given in _given(value, names, each):
        if not isinstance(given, of):
            *others, last = [kind.__name__ for kind in of]
            kinds = f"{', '.join(others)} or {last}" if others else last
            raise FieldError(field, repr(given), f"is of type {type(given).__name__}", f"use {kinds}")


def _given(value: DataclassInstance, names: tuple[str, ...], each: bool) -> Iterator[tuple[str, object]]:
    """The values of fields with their names, without fields that are None by default."""
    optional = {field.name for field in fields(value) if field.default is None}
    for name in names:
        given, field = getattr(value, name), f"{type(value).__name__}.{name}"
        if given is None and name in optional:
            continue
        if not each:
            yield field, given
        elif isinstance(given, tuple):
            yield from ((field, member) for member in given)
        else:
            raise FieldError(field, repr(given), f"is of type {type(given).__name__}", "use a tuple")
