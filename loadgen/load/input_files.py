"""Inputs from files: arrays, images and texts, each as the model takes it or refused."""

from __future__ import annotations

import zipfile
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from typing_extensions import override

from loadgen.errors import ConfigError
from loadgen.load.images import base64_of, jpeg
from loadgen.load.inputs import MAX_POOL_BYTES, InputSource, Pool, enough_of
from model_containers.model import TensorSpec

_JPEG_START = b"\xff\xd8\xff"
DAMAGED = (zipfile.BadZipFile, zlib.error)
"""What a damaged npz raises, beside what one of another kind does."""

_ARRAYS = (".npy", ".npz")
_IMAGES = (".jpg", ".jpeg", ".png")
_TEXTS = (".txt",)
SUFFIXES = (*_ARRAYS, *_IMAGES, *_TEXTS)


@dataclass(frozen=True, slots=True)
class FileInputs(InputSource):
    """A pool from a file, or from all files of a directory in the order of their names.

    Arrays (npy, npz) hold one input or ``(n, *shape)`` of them; images (JPEG, PNG) one each; a text file one string a
    line. Nothing is resized: an input has the shape that the model takes. For a model that takes images as strings,
    JPEG files are sent as they are, whatever their size, and other images as JPEG.

    Attributes:
        path: the file or directory.
        spec: of one input.
        pixels: the shape of the image that an input is; None where it is none.
        most: take so many inputs at most; None for all.
        text: see `InputSource`; `looked_at` knows it.
        payload_bytes: likewise.
    """

    path: Path
    spec: TensorSpec
    pixels: tuple[int, int, int] | None
    most: int | None
    text: str = ""
    payload_bytes: int = 0

    def checked(self) -> FileInputs:
        """The same after a check of the files, which holds from then on, even if they change.

        Raises:
            ConfigError: see `InputSource.make`.
        """
        payloads = self.make().payloads()
        enough_of(self.most, len(payloads), self.path)
        return replace(self, text=f"{len(payloads)} inputs from {self.path}", payload_bytes=max(map(len, payloads)))

    @override
    def make(self) -> Pool:
        """Read them, see `InputSource`."""
        arrays: list[np.ndarray] = []
        total_bytes = 0
        for file in self._files():
            for array in self._read(file):
                total_bytes += array.nbytes
                if total_bytes > MAX_POOL_BYTES:
                    raise ConfigError(
                        f"{self.path} holds more than {MAX_POOL_BYTES >> 30} GiB of inputs: take {len(arrays)} of them "
                        f"with {{Inputs.count}} {len(arrays)}"
                    )
                arrays.append(array)
                if len(arrays) == self.most:
                    return Pool(arrays, self.spec.data_type)
        if not arrays:
            raise ConfigError(f"{self.path} holds no input")
        return Pool(arrays, self.spec.data_type)

    def _files(self) -> list[Path]:
        if self.path.is_dir():
            files = sorted(file for file in self.path.iterdir() if file.suffix.lower() in SUFFIXES)
            if not files:
                raise ConfigError(f"{self.path} holds no file that ends in {', '.join(SUFFIXES)}")
            return files
        if not self.path.exists():
            raise ConfigError(f"{self.path} is not there: name a file or a directory of inputs")
        if self.path.suffix.lower() not in SUFFIXES:
            raise ConfigError(f"{self.path} is no directory and does not end in {', '.join(SUFFIXES)}")
        return [self.path]

    def _read(self, file: Path) -> Iterator[np.ndarray]:
        suffix = file.suffix.lower()
        try:
            if suffix in _ARRAYS:
                yield from self._arrays(file)
            elif suffix in _IMAGES:
                yield self._image(file)
            else:
                yield from self._lines(file)
        except OSError as error:
            raise ConfigError(f"{file} cannot be read: {error.strerror or error}") from None

    def _arrays(self, file: Path) -> Iterator[np.ndarray]:
        if self.spec.dtype == "str":
            raise ConfigError(f"{file} holds numbers where strings are sent: leave {{Deploy.input_type}} out")
        try:
            with file.open("rb") as stream:
                loaded: Any = np.load(stream, allow_pickle=False)
                arrays = [loaded] if isinstance(loaded, np.ndarray) else [loaded[name] for name in loaded.files]
        except (ValueError, EOFError, *DAMAGED):
            raise ConfigError(f"{file} cannot be read: it holds no arrays of numbers, or is damaged") from None
        for array in arrays:
            if not array.ndim:
                raise ConfigError(f"{file} holds one number, not inputs: save an array")
            single = array.ndim == len(self._shapes[0]) if self._shapes else array.ndim < 2
            for one in array[np.newaxis] if single else array:
                yield self._fitted(one, file)

    def _image(self, file: Path) -> np.ndarray:
        if self.pixels is None and self.spec.shape is not None and len(self.spec.shape) != 3:
            raise ConfigError(f"{file} is an image, and this model takes none")
        if self.spec.dtype == "str" and file.suffix.lower() != ".png":
            content = file.read_bytes()
            if not content.startswith(_JPEG_START):
                raise ConfigError(f"{file} is not a JPEG file")
            return base64_of(content)
        from PIL import Image, UnidentifiedImageError  # noqa: PLC0415 - most runs do without

        try:
            with Image.open(file) as image:
                pixels = np.asarray(image.convert("RGB"))
        except UnidentifiedImageError:
            raise ConfigError(f"{file} is not an image") from None
        except Image.DecompressionBombError as error:
            raise ConfigError(f"{file} is too large: {error}") from None
        return base64_of(jpeg(pixels)) if self.spec.dtype == "str" else self._fitted(pixels, file)

    def _lines(self, file: Path) -> Iterator[np.ndarray]:
        if self.spec.dtype != "str" or self.pixels is not None:
            raise ConfigError(f"{file} is a text, and this model takes none")
        for line in file.read_bytes().splitlines():
            if line:
                yield np.frombuffer(line, dtype=np.uint8)

    @property
    def _shapes(self) -> tuple[tuple[int, ...], ...]:
        return () if self.spec.shape is None else (self.spec.shape, *self.spec.other_shapes)

    def _fitted(self, array: np.ndarray, file: Path) -> np.ndarray:
        """One input in the model's dtype, if it has a shape that the model takes and its numbers fit."""
        return fitted(array, self.spec.dtype, self._shapes, str(file))


def fitted(array: np.ndarray, dtype: str, shapes: Sequence[tuple[int, ...]], source: str) -> np.ndarray:
    """One input in a model's dtype, little-endian.

    Args:
        array: as it was found.
        dtype: the model's.
        shapes: that the model takes; none for any.
        source: where it was found, for errors.

    Raises:
        ConfigError: it has none of the shapes, or its numbers do not fit.
    """
    wanted = np.dtype(dtype).newbyteorder("<")
    shape = "x".join(map(str, array.shape)) or "one number"
    if shapes and array.shape not in shapes:
        taken = " or ".join("x".join(map(str, taken)) for taken in shapes)
        raise ConfigError(f"{source} holds inputs of {shape}, the model takes {taken}: resize them before")
    if not np.can_cast(array.dtype, wanted, "same_kind"):
        raise ConfigError(f"{source} holds {array.dtype}, the model takes {wanted}: convert it before")
    if wanted.kind in "iu" and array.size:
        limits = np.iinfo(wanted)
        if array.min() < limits.min or array.max() > limits.max:
            raise ConfigError(f"{source} holds {array.min()} to {array.max()}, beyond {wanted}: scale it before")
    with np.errstate(over="ignore"):
        fits = np.ascontiguousarray(array, dtype=wanted)
    if wanted.kind == "f" and not np.isfinite(fits).all():
        raise ConfigError(f"{source} holds numbers that are not finite in {wanted}: no answer could be right")
    return fits
