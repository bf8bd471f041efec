"""Draws the numbers of inputs: in a range that is said, else pixels for what may be an image, else small ones. Pure."""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np

from loadgen.errors import ConfigError, FieldError

PIXEL_RANGE = 255.0
SMALL = 128
"""Whole numbers are drawn below this, so that each dtype holds them, and vocabularies have them."""

DTYPES = ("float32", "float64", "int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64", "bool")
"""Of numbers that may be drawn."""

Range = tuple[float, float]
"""From the first number, to below the second; whole ones are kept as `int`, of any size."""


def parse_ranges(text: str) -> dict[str, Range]:
    """Ranges of inputs by name, such as ``input_ids:0:30522,attention_mask:0:2``; one alone has the empty name.

    Raises:
        ConfigError: a part is no range, or a name comes twice.
    """
    ranges: dict[str, Range] = {}
    for part in text.split(","):
        try:
            name, low, high = part.rsplit(":", 2) if part.count(":") > 1 else ("", *part.split(":"))
            key, bounds = name.strip(), (_number(low), _number(high))
        except ValueError:
            raise ConfigError(f"{part!r}: not a range; write LOW:HIGH or NAME:LOW:HIGH, such as 0:30522") from None
        if key in ranges:
            raise ConfigError(f"{text!r}: has {key or 'a range without a name'} twice; name it once")
        if not bounds[0] < bounds[1]:
            raise ConfigError(f"{part!r}: empty; the second number must be above the first")
        ranges[key] = bounds
    return ranges


def _number(text: str) -> float:
    try:
        return int(text)
    except ValueError:
        number = float(text)
        if not math.isfinite(number):
            raise ValueError(text) from None
        return int(number) if number.is_integer() else number


def check_ranges(ranges: Mapping[str, Range], dtypes: Mapping[str, str]) -> None:
    """Refuse ranges of inputs that there are not, or that cannot be drawn.

    Args:
        ranges: by name; the empty name stands for the only input.
        dtypes: of the model's inputs by name, as numpy names them; ``str`` for texts.

    Raises:
        ConfigError: there are some.
    """
    for name, bounds in ranges.items():
        value = f"{name}:{bounds[0]}:{bounds[1]}" if name else f"{bounds[0]}:{bounds[1]}"
        if name not in dtypes and (name or len(dtypes) != 1):
            if dtypes.keys() == {""}:
                raise FieldError("Inputs.ranges", value, "{value}: inputs have no names here", "write LOW:HIGH")
            problem = f"has no input {name!r}" if name else "has several inputs"
            raise FieldError(
                "Inputs.ranges", value, f"{{value}}: the model {problem}", f"name one of {', '.join(dtypes)}"
            )
        dtype = dtypes[name] if name in dtypes else next(iter(dtypes.values()))
        if dtype == "str":
            raise FieldError("Inputs.ranges", value, "{value}: the input is text, which has none", "leave it out")
        _check_range(bounds, np.dtype(dtype), value)


def _check_range(bounds: Range, dtype: np.dtype, value: str) -> None:
    if dtype.kind == "b":
        least, above = 0, 2
    elif dtype.kind in "iu":
        least, above = int(np.iinfo(dtype).min), int(np.iinfo(dtype).max) + 1
    else:
        if max(map(abs, bounds)) > float(np.finfo(dtype).max):
            raise FieldError("Inputs.ranges", value, f"{{value}}: {dtype} does not hold it", "take smaller numbers")
        return
    if not all(isinstance(bound, int) for bound in bounds):
        raise FieldError("Inputs.ranges", value, f"{{value}}: the input is of {dtype}", "write whole numbers")
    if bounds[0] < least or bounds[1] > above:
        raise FieldError("Inputs.ranges", value, f"{{value}}: {dtype} has {least} to {above - 1}", "take a part of it")


def numbers(
    generator: np.random.Generator, shape: tuple[int, ...], dtype: str, bounds: Range | None, *, image: bool
) -> np.ndarray:
    """An input, little-endian; without a range in [0, 1), whole numbers in [0, 128), pixels in [0, 255].

    Args:
        generator: advanced by what is drawn.
        shape: of the input.
        dtype: of its numbers.
        bounds: their range, checked; None for the usual one.
        image: it may be one.
    """
    kind = np.dtype(dtype)
    if kind.kind in "iub":
        low, high = bounds or (0, 2 if kind.kind == "b" else 256 if image else SMALL)
        drawn = generator.integers(int(low), int(high), shape, dtype="uint8" if kind.kind == "b" else kind.name)
    else:
        low, high = bounds or (0.0, PIXEL_RANGE if image else 1.0)
        drawn = generator.random(shape, dtype=np.float32)
        if kind.itemsize > drawn.itemsize and bounds is not None:
            drawn = drawn.astype(kind)
        drawn = drawn * drawn.dtype.type(high - low) + drawn.dtype.type(low)
    return drawn.astype(kind.newbyteorder("<"), order="C", copy=False)
