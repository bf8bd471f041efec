"""Arrays of npy and npz files, read without running what a pickle may hold."""

from __future__ import annotations

import pickle
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from typing_extensions import override

from loadgen.errors import ConfigError

SUFFIXES = (".npy", ".npz")
_ZIP = b"PK"
_SPARSE = {"data", "format", "shape"}
"""What `scipy.sparse.save_npz` writes, beside indices."""

MOST_UNPACKED_BYTES = 4 << 30
"""Of an array in an npz, all of which has to be in memory."""

T = TypeVar("T")


class _RefusedError(Exception):
    """A pickle wants what might run code."""


def array_names(file: Path) -> list[str]:
    """The names of the arrays in an npz; one empty name for an npy.

    Raises:
        ConfigError: it cannot be read, or holds no plain arrays.
    """
    names = _reading(file, lambda: _names(file))
    if set(names) >= _SPARSE:
        raise ConfigError(f"{file}: holds a sparse matrix; save it with toarray()")
    return names


def read_array(file: Path, name: str) -> np.ndarray:
    """An array of a file; that of an npy lies in the file until it is copied. Objects are texts or numbers.

    Args:
        file: npy or npz.
        name: one of `array_names`.

    Raises:
        ConfigError: it cannot be read, or holds something else.
    """
    return _reading(file, lambda: _member(file, name) if name else _npy(file))


def _reading(file: Path, read: Callable[[], T]) -> T:
    try:
        return read()
    except ConfigError:
        raise
    except OSError as error:
        raise ConfigError(f"{file}: cannot be read: {error.strerror or error}") from None
    except _RefusedError:
        problem = f"{file}: holds Python objects, which are not read since they may run code"
        raise ConfigError(f"{problem}; save numbers, or texts with astype(str)") from None
    except MemoryError:
        raise ConfigError(f"{file}: does not fit in memory, or is damaged") from None
    except Exception:  # a damaged file raises whatever its bytes lead to, such as TokenError
        raise ConfigError(f"{file}: holds no arrays, or is damaged; save it again with NumPy") from None


def _names(file: Path) -> list[str]:
    with file.open("rb") as stream:
        if stream.read(len(_ZIP)) != _ZIP:
            return [""]
        with zipfile.ZipFile(stream) as members:
            names = members.namelist()
    if not all(name.endswith(".npy") for name in names):
        raise ValueError("other members than arrays")
    return [name.removesuffix(".npy") for name in names]


def _npy(file: Path) -> np.ndarray:
    try:
        array: np.ndarray = np.load(file, mmap_mode="r", allow_pickle=False)
    except ValueError:
        with file.open("rb") as stream:
            return _objects(stream)
    return array


def _member(file: Path, name: str) -> np.ndarray:
    with zipfile.ZipFile(file) as members:
        if members.getinfo(f"{name}.npy").file_size > MOST_UNPACKED_BYTES:
            problem = f"{file}, {name}: has more than {MOST_UNPACKED_BYTES >> 30} GiB unpacked"
            raise ConfigError(f"{problem}; save it as npy, which is read in parts")
        try:
            with members.open(f"{name}.npy") as stream:
                array: np.ndarray = np.lib.format.read_array(stream, allow_pickle=False)
        except ValueError:
            with members.open(f"{name}.npy") as stream:
                return _objects(stream)
    return array


def _objects(stream: Any) -> np.ndarray:
    """An array of objects that are plain.

    Raises:
        ValueError: it is another one.
    """
    if np.lib.format.read_magic(stream) != (1, 0) or not np.lib.format.read_array_header_1_0(stream)[2].hasobject:
        raise ValueError("no objects")
    array = _Objects(stream).load()
    if not isinstance(array, np.ndarray):
        raise ValueError("no array")
    return array


class _Objects(pickle.Unpickler):
    """Reads arrays and scalars of numpy, texts and plain numbers only, none of which runs code."""

    @override
    def find_class(self, module: str, name: str) -> Any:
        plain = module.partition(".")[0] == "numpy" and name in ("_reconstruct", "scalar", "ndarray", "dtype")
        if not plain and (module, name) != ("_codecs", "encode"):
            raise _RefusedError(name)
        return super().find_class(module, name)
