"""Reads inputs and parameters that the user writes by hand; pure."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Sequence

from loadgen.errors import ConfigError, FieldError
from loadgen.parsing import parse_shape
from loadgen.targets.oip.tensors import BYTES, DTYPES

_DATATYPES = {
    **{dtype.upper(): datatype for datatype, dtype in DTYPES.items() if datatype != "BF16"},
    **{"STR": BYTES, "STRING": BYTES, BYTES: BYTES},
    **{datatype: datatype for datatype in DTYPES},
}
"""The protocol's names, and numpy's."""

_LIKE_A_DATATYPE = re.compile(r"(?:bf|fp|float|u?int|half|double|str)[a-z]*[0-9]*", re.IGNORECASE)
"""A word that may be meant as a datatype; names in TensorFlow have a colon and a number."""

_FIELD = "TargetOptions.parameters"
SET_BY_US = ("binary_data_output",)


def parse_inputs(text: str) -> tuple[dict[str, tuple[int, ...]], dict[str, str]]:
    """Shapes and datatypes by name, such as ``A:4x4,B:FP32:2``; a shape alone has the empty name.

    An input with a datatype may have no dimension beside the batch: ``TEXT:BYTES``.

    Raises:
        ConfigError: see `parse_shape`; or a name comes twice.
    """
    shapes: dict[str, tuple[int, ...]] = {}
    datatypes: dict[str, str] = {}
    for part in text.split(","):
        before, _, last = part.rpartition(":")
        name, _, middle = before.rpartition(":")
        datatype = _DATATYPES.get(middle.strip().upper()) if name.strip() else None
        shape: tuple[int, ...] = ()
        if datatype is None and name.strip() and _LIKE_A_DATATYPE.fullmatch(middle.strip()):
            raise ConfigError(
                f"{part!r}: {middle.strip()} is not a datatype; write one of {', '.join((*DTYPES, BYTES))}"
            )
        if datatype is not None:
            shape = parse_shape(last) if last.strip() else ()
        elif before.strip() and (datatype := _DATATYPES.get(last.strip().upper())) is not None:
            name = before
        else:
            name, shape = before, parse_shape(last)
        name = name.strip()
        if name in shapes:
            raise ConfigError(f"{text!r}: has {name or 'a shape without a name'} twice; name it once")
        shapes[name] = shape
        if datatype is not None:
            datatypes[name] = datatype
    return shapes, datatypes


def parse_parameters(options: Sequence[str]) -> dict[str, bool | int | float | str]:
    """Parameters such as ``priority=1``: a number, ``true`` or ``false``, or a text; quotes make any value a text.

    Raises:
        ConfigError: one has no name or value, comes twice, or is the protocol's own.
    """
    parameters: dict[str, bool | int | float | str] = {}
    for option in options:
        name, equals, text = option.partition("=")
        name = name.strip()
        if not equals or not name:
            raise FieldError(_FIELD, option, "is not a parameter", "write NAME=VALUE, such as priority=1")
        if name in parameters:
            raise FieldError(_FIELD, name, "is given twice", "give it once")
        if not (name + text).isprintable():
            raise FieldError(_FIELD, option, "is not printable", "write it so")
        if name in SET_BY_US:
            raise FieldError(_FIELD, name, "is set by loadgen", "leave it out")
        parameters[name] = _value(option, text)
    return parameters


def _value(option: str, text: str) -> bool | int | float | str:
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        return text
    if isinstance(value, int) and not -(1 << 63) <= value < 1 << 64:
        raise FieldError(_FIELD, option, "is beyond 64 bits", "write it as a text, in quotes")
    if isinstance(value, float) and not math.isfinite(value):
        return text
    return value if isinstance(value, bool | int | float | str) else text
