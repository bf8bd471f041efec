"""Tensors of the Open Inference Protocol: datatypes, shapes, bytes; pure.

Source of names and layouts: https://github.com/kserve/open-inference-protocol, "Tensor Data" and "Tensor Data Types",
and the binary tensor data extension: numbers are little-endian in row-major order, an element of BYTES is its length
as four bytes and then its content.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from loadgen.errors import ConfigError, FieldError
from loadgen.load.drawing import PIXEL_RANGE, Range, numbers
from loadgen.targets.http_request import json_values
from model_containers.data_types import TEXT_LETTERS

DTYPES = {
    "BOOL": "bool",
    "UINT8": "uint8",
    "UINT16": "uint16",
    "UINT32": "uint32",
    "UINT64": "uint64",
    "INT8": "int8",
    "INT16": "int16",
    "INT32": "int32",
    "INT64": "int64",
    "FP16": "float16",
    "BF16": "uint16",
    "FP32": "float32",
    "FP64": "float64",
}
"""NumPy's name for each datatype of a fixed size; for BF16, which NumPy lacks, the dtype of its bits."""

BYTES = "BYTES"

HEADER_LENGTH = "inference-header-content-length"
"""The HTTP header that says where JSON ends and binary tensors begin."""

_LENGTH = struct.Struct("<I")


@dataclass(frozen=True, slots=True)
class Tensor:
    """A tensor of a model.

    Attributes:
        name: the model's.
        datatype: the protocol's.
        shape: -1 for a dimension that may vary.
    """

    name: str
    datatype: str
    shape: tuple[int, ...]

    @property
    def elements(self) -> int:
        """Number of elements; the shape must be known."""
        return math.prod(self.shape)

    @property
    def text(self) -> str:
        """Such as ``INPUT FP32 1x299x299x3``."""
        return f"{self.name} {self.datatype} {'x'.join(map(str, self.shape)) or 'scalar'}"


def check_datatype(tensor: Tensor) -> None:
    """Refuse a datatype that the protocol does not have.

    Raises:
        ConfigError: the protocol does not have it.
    """
    if tensor.datatype != BYTES and tensor.datatype not in DTYPES:
        raise ConfigError(
            f"{tensor.name}: of {tensor.datatype}, which cannot be sent, only {', '.join([*DTYPES, BYTES])}"
        )


def resolve(tensor: Tensor, rows: int | None, given: tuple[int, ...] | None) -> Tensor:
    """The tensor of one request.

    Args:
        tensor: as the server describes it.
        rows: the batch size, for a model whose first dimension is the batch; None for one without.
        given: the shape without the batch, where the user says it.

    Raises:
        ConfigError: a dimension is not known, or the shape that was given is not one of the tensor's.
    """
    own = tensor.shape if rows is None else tensor.shape[1:]
    shape = own if given is None else given
    text = "x".join(map(str, own))
    if any(size < 0 for size in shape):
        raise ConfigError(
            f"{tensor.name}: has the shape {text}, -1 may vary; name it with {{TargetOptions.shapes}}, as {_eg(own)}"
        )
    if len(own) != len(shape) or any(size not in (-1, chosen) for size, chosen in zip(own, shape, strict=True)):
        written = "x".join(map(str, shape))
        problem = f"is not a shape of {tensor.name}, which has {text or 'no dimension'}"
        raise FieldError("TargetOptions.shapes", written, problem)
    return Tensor(tensor.name, tensor.datatype, shape if rows is None else (rows, *shape))


def with_rows(tensor: Tensor, rows: int) -> Tensor:
    """A tensor whose first dimension is the batch, with this number of rows."""
    return Tensor(tensor.name, tensor.datatype, (rows, *tensor.shape[1:]))


def _eg(shape: Sequence[int]) -> str:
    return "x".join(str(size if size > 0 else 8) for size in shape)


def draw(generator: np.random.Generator, tensor: Tensor, bounds: Range | None = None) -> bytes:
    """Random content for a tensor: pixels, 0 to 255, for the shape of an image; else numbers in [0, 1) or [0, 128).

    Args:
        generator: advanced by what is drawn.
        tensor: with a shape that has no unknown dimension.
        bounds: of its numbers; None for those.
    """
    if bounds is not None:
        dtype = number_dtype(tensor.datatype)
        return encode_numbers(numbers(generator, tensor.shape, dtype, bounds, image=False), tensor.datatype)
    if tensor.datatype == BYTES:
        letters = generator.integers(ord("a"), ord("z") + 1, (tensor.elements, TEXT_LETTERS), dtype=np.uint8)
        return encode_strings(row.tobytes() for row in letters)
    image = len(tensor.shape) >= 3
    if tensor.datatype == "BOOL":
        return generator.integers(0, 2, tensor.shape, dtype=np.uint8).tobytes()
    if tensor.datatype[0] in "UI":
        return (
            generator.integers(0, 256 if image and tensor.datatype == "UINT8" else 128, tensor.shape, dtype="int64")
            .astype(np.dtype(DTYPES[tensor.datatype]).newbyteorder("<"))
            .tobytes()
        )
    return encode_numbers(
        generator.random(tensor.shape, dtype=np.float32) * (PIXEL_RANGE if image else 1), tensor.datatype
    )


def number_dtype(datatype: str) -> str:
    """The dtype of a tensor's numbers in numpy, which has no BF16; ``str`` for texts."""
    return "str" if datatype == BYTES else "float32" if datatype == "BF16" else DTYPES[datatype]


def least(tensor: Tensor) -> Tensor:
    """The smallest tensor of its shape: 1 for a dimension that may vary."""
    return Tensor(tensor.name, tensor.datatype, tuple(1 if size < 0 else size for size in tensor.shape))


def zeros(tensor: Tensor) -> bytes:
    """Content of zeros, and of empty strings, for a tensor whose shape is known."""
    each = 4 if tensor.datatype == BYTES else np.dtype(DTYPES[tensor.datatype]).itemsize
    return bytes(each * tensor.elements)


def encode_numbers(array: np.ndarray, datatype: str) -> bytes:
    """An array's numbers in a datatype of fixed size; BF16 is the upper half of each float32, rounded toward zero.

    Args:
        array: of any shape; in C order on the wire.
        datatype: of the protocol, any but BYTES.
    """
    if datatype == "BF16":
        bits = np.ascontiguousarray(array, dtype="<f4").view("<u4")
        return (bits >> 16).astype("<u2").tobytes()
    return np.ascontiguousarray(array, dtype=np.dtype(DTYPES[datatype]).newbyteorder("<")).tobytes()


def decode_numbers(content: bytes, datatype: str) -> np.ndarray:
    """The numbers of what `encode_numbers` made, in one dimension; of BF16 as float32.

    Args:
        content: raw, as on the wire.
        datatype: of the protocol, any but BYTES.

    Raises:
        ValueError: it was cut short.
    """
    numbers: np.ndarray = np.frombuffer(content, np.dtype(DTYPES[datatype]).newbyteorder("<"))
    if datatype == "BF16":
        return (numbers.astype("<u4") << 16).view("<f4")
    return numbers


def encode_strings(strings: Iterable[bytes]) -> bytes:
    """Encode elements of BYTES."""
    return b"".join(_LENGTH.pack(len(string)) + string for string in strings)


def decode_strings(content: bytes) -> list[bytes]:
    """The elements of what `encode_strings` made.

    Raises:
        ValueError: it was cut short.
    """
    strings, at = [], 0
    while at < len(content):
        if at + 4 > len(content):
            raise ValueError("a length is cut short")
        (length,) = _LENGTH.unpack_from(content, at)
        if at + 4 + length > len(content):
            raise ValueError("a string is cut short")
        strings.append(content[at + 4 : at + 4 + length])
        at += 4 + length
    return strings


def size_fits(tensor: Tensor, content: bytes | memoryview) -> bool:
    """Whether content has the size of a tensor of a known shape.

    Args:
        tensor: with a shape that has no unknown dimension.
        content: raw, as on the wire.
    """
    if tensor.datatype == BYTES:
        try:
            return len(decode_strings(bytes(content))) == tensor.elements
        except ValueError:
            return False
    dtype = DTYPES.get(tensor.datatype)
    return dtype is not None and len(content) == tensor.elements * np.dtype(dtype).itemsize


def count_fits(tensor: Tensor, data: object) -> bool:
    """Whether JSON has as many elements as a tensor of a known shape, nested in any way, texts where it is of BYTES.

    Args:
        tensor: with a shape that has no unknown dimension.
        data: as parsed from JSON.
    """
    rows = [data]
    while any(isinstance(row, list) for row in rows):
        rows = [one for row in rows for one in (row if isinstance(row, list) else [row])]
    kinds: tuple[type, ...] = (str,) if tensor.datatype == BYTES else (int, float, type(None))
    return len(rows) == tensor.elements and all(isinstance(one, kinds) for one in rows)


def as_json(tensor: Tensor, content: bytes) -> list[object]:
    """A tensor's elements in one flat list, as JSON has them.

    Args:
        tensor: whose datatype the content has.
        content: raw, as on the wire; strings in UTF-8.

    Raises:
        ConfigError: its datatype cannot be written so.
    """
    if tensor.datatype in ("FP16", "BF16"):
        raise ConfigError(
            f"{tensor.name}: of {tensor.datatype}, which JSON does not have, and this server takes no binary tensors "
            "over HTTP; use oip+grpc://"
        )
    if tensor.datatype == BYTES:
        return [string.decode() for string in decode_strings(content)]
    return json_values(decode_numbers(content, tensor.datatype))
