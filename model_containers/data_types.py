"""The element types that both protocols share, and the buffers that carry them."""

from __future__ import annotations

import enum

import numpy as np

from model_containers.errors import WireError

Buffer = bytes | memoryview
"""One frame: bytes, or a view on memory that ZeroMQ owns."""


class DataType(enum.IntEnum):
    """Element type codes, shared by the client and the container protocol."""

    BYTES = 0
    INTS = 1
    FLOATS = 2
    DOUBLES = 3
    STRINGS = 4

    @property
    def element_bytes(self) -> int:
        """Bytes of one element; a string's element is one character."""
        return _ELEMENT_BYTES[self]

    @property
    def canonical(self) -> str:
        """The name that the configuration store keeps, such as ``floats``."""
        return _CANONICAL[self]

    @property
    def dtype(self) -> str:
        """The numpy dtype that it carries, ``str`` for strings."""
        return _DTYPES[self]

    @classmethod
    def parse(cls, text: str) -> DataType:
        """Read a type's name in any spelling that the protocol admits (``floats``, ``float``, ``f``).

        Raises:
            WireError: the name is not one of them.
        """
        try:
            return _BY_NAME[text.strip().lower()]
        except KeyError:
            raise WireError(
                "data_type", f"unknown input type {text!r}; one of {', '.join(_CANONICAL.values())}"
            ) from None

    @classmethod
    def of_dtype(cls, dtype: np.dtype) -> DataType:
        """The code that carries a numpy dtype.

        Raises:
            WireError: the protocol has no code for it.
        """
        try:
            return DTYPES[np.dtype(dtype).name]
        except KeyError:
            raise WireError("data_type", f"no wire type carries dtype {dtype}") from None


_ELEMENT_BYTES = {DataType.BYTES: 1, DataType.INTS: 4, DataType.FLOATS: 4, DataType.DOUBLES: 8, DataType.STRINGS: 1}
_CANONICAL = {
    DataType.BYTES: "bytes",
    DataType.INTS: "integers",
    DataType.FLOATS: "floats",
    DataType.DOUBLES: "doubles",
    DataType.STRINGS: "strings",
}
_BY_NAME = {
    name: code
    for code, names in {
        DataType.BYTES: "bytes byte b",
        DataType.INTS: "integers ints integer int i",
        DataType.FLOATS: "floats float f",
        DataType.DOUBLES: "doubles double d",
        DataType.STRINGS: "strings string str strs s",
    }.items()
    for name in names.split()
}
_DTYPES = {
    DataType.BYTES: "uint8",
    DataType.INTS: "int32",
    DataType.FLOATS: "float32",
    DataType.DOUBLES: "float64",
    DataType.STRINGS: "str",
}
_BY_CODE = {int(code): code for code in DataType}
DTYPES = {dtype: code for code, dtype in _DTYPES.items()} | {"int8": DataType.BYTES}
"""The numpy dtypes that the wire carries, each with its code."""

TEXT_LETTERS = 64
"""Length of a text that is drawn."""

OUTPUT_TYPES = frozenset({DataType.BYTES, DataType.INTS, DataType.FLOATS, DataType.STRINGS})
"""What a replica may answer with: doubles go in but never come out."""


def data_type(code: int) -> DataType:
    """The data type behind a code.

    Raises:
        WireError: the code is not 0 to 4.
    """
    try:
        return _BY_CODE[code]
    except KeyError:
        raise WireError("data_type", f"unknown data type code {code}") from None
