"""Inputs from files: arrays, images, texts and records, each as the model takes it or refused."""

from __future__ import annotations

import math
import os
import stat
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from typing_extensions import override

from loadgen import files
from loadgen.errors import ConfigError
from loadgen.load import array_files, images, text_files
from loadgen.load.array_files import array_names, read_array
from loadgen.load.image_layout import ImageOptions, has_channels, is_image, laid_out, resized
from loadgen.load.images import base64_of, jpeg, read_pixels
from loadgen.load.inputs import MAX_POOL_BYTES, InputSource, Pool, enough_of
from loadgen.load.text_files import Entry, entries
from model_containers.model import TensorSpec

Shapes = tuple[tuple[int, ...], ...]
"""Those that a model takes, -1 for a dimension that may vary; none for any."""

_JPEG_START = b"\xff\xd8\xff"
_OF_THE_SYSTEM = ("thumbs.db", "desktop.ini")
_COMPRESSED = (".gz", ".bz2", ".xz", ".zst")
_TABLES = (".tsv", ".parquet", ".feather", ".arrow")
MOST_DIMENSIONS = 32
"""Of an input; numpy iterates over no more."""

SUFFIXES = tuple(dict.fromkeys((*array_files.SUFFIXES, *images.SUFFIXES, *text_files.SUFFIXES)))


@dataclass(frozen=True, slots=True)
class FileInputs(InputSource):
    """A pool from a file, or from all files of a directory and those below it, in the order of their names.

    Arrays (npy, npz) hold one input or ``(n, *shape)`` of them; images one each; a text file one string a line; JSON,
    JSON Lines and CSV one input an entry. An input has the shape that the model takes; images are resized on demand.
    For a model that takes images as strings, JPEG files are sent as they are, whatever their size, and other images as
    JPEG.

    Attributes:
        path: the file or directory.
        spec: of one input.
        pixels: the shape of an input that is an image; None for others.
        most: the largest number of inputs; None for all.
        text: see `InputSource`; `looked_at` knows it.
        payload_bytes: likewise.
        image_options: what is done with images.
        allow_nan: floats may be no numbers.
        names: what the model calls its inputs; several are one number each, which are one input here.
    """

    path: Path
    spec: TensorSpec
    pixels: tuple[int, int, int] | None
    most: int | None
    text: str = ""
    payload_bytes: int = 0
    image_options: ImageOptions = ImageOptions()  # noqa: RUF009 - frozen
    allow_nan: bool = False
    names: tuple[str, ...] = ()

    def checked(self) -> FileInputs:
        """The same after a check of the files, which holds from then on, even if they change.

        Raises:
            ConfigError: see `InputSource.make`.
        """
        payloads = self.make().payloads()
        enough_of(self.most, len(payloads), self.path)
        largest = max(1, *map(len, payloads))
        return replace(
            self, text=f"{len(payloads)} input{'s' * (len(payloads) != 1)} from {self.path}", payload_bytes=largest
        )

    @override
    def make(self) -> Pool:
        """Read them, see `InputSource`."""
        arrays: list[np.ndarray] = []
        total_bytes = 0
        for file in files_in(self.path, SUFFIXES, self._suffixes):
            for array in self._read(file):
                total_bytes += array.nbytes
                if total_bytes > MAX_POOL_BYTES:
                    raise ConfigError(
                        f"{self.path}: holds more than {MAX_POOL_BYTES >> 30} GiB of inputs; "
                        f"take {len(arrays)} of them with {{Inputs.count}} {len(arrays)}"
                    )
                arrays.append(array)
                if len(arrays) == self.most:
                    return Pool(arrays, self.spec.data_type)
        if not arrays:
            raise ConfigError(f"{self.path}: holds no input; save one at least")
        return Pool(arrays, self.spec.data_type)

    @property
    def _suffixes(self) -> tuple[str, ...]:
        """Of the files in a directory that hold inputs of this model, so that labels may lie beside them."""
        if self.pixels is not None:
            return images.SUFFIXES if self.spec.dtype == "str" else (*array_files.SUFFIXES, *images.SUFFIXES)
        if self.spec.dtype == "str":
            return (*array_files.SUFFIXES, *text_files.SUFFIXES)
        takes_images = self.spec.shape is None or is_image(self.spec.shape, self.image_options)
        return (*array_files.SUFFIXES, *(images.SUFFIXES if takes_images else ()), *text_files.OF_NUMBERS)

    def _read(self, file: Path) -> Iterator[np.ndarray]:
        suffix = file.suffix.lower()
        if suffix in images.SUFFIXES:
            yield self._image(file)
            return
        if self.pixels is not None and self.spec.dtype == "str":
            if suffix in array_files.SUFFIXES:
                raise ConfigError(f"{file}: holds numbers where strings are sent; leave {{Deploy.input_type}} out")
            raise ConfigError(f"{file}: a text, and this model takes none; name images")
        if suffix in array_files.SUFFIXES:
            found = self._of_arrays(file)
        elif suffix == text_files.LINES and self.spec.dtype != "str":
            raise ConfigError(f"{file}: a text, and this model takes none; save numbers, as npy or csv")
        else:
            found = map(self._of_entry, entries(file))
        if self.spec.dtype == "str":
            found = (_string(array.item(), file) for array in found)
        yield from found

    def _of_arrays(self, file: Path) -> Iterator[np.ndarray]:
        """The inputs in all arrays of a file, or in those alone that have the names of the model's inputs."""
        names, dtype = array_names(file), self.spec.dtype
        if not self._columns or not set(self.names) <= set(names):
            name = self.names[0] if len(self.names) == 1 else ""
            yield from inputs_of_file(file, name, dtype, self._shapes, allow_nan=self.allow_nan)
            return
        one, allow_nan = ((1,),), self.allow_nan
        columns = [list(inputs_of_arrays(file, [name], dtype, one, allow_nan=allow_nan)) for name in self.names]
        if len({*map(len, columns)}) > 1:
            raise ConfigError(f"{file}: holds arrays of different lengths ({', '.join(self.names)}); save equal ones")
        for row in zip(*columns, strict=True):
            yield np.concatenate(row)

    def _of_entry(self, entry: Entry) -> np.ndarray:
        value = entry.value
        if self._columns and isinstance(value, dict) and set(self.names) <= value.keys():
            entry = replace(entry, value=[value[name] for name in self.names])
        name = self.names[0] if len(self.names) == 1 else ""
        return inputs_of_entry(entry, self.spec.dtype, self._shapes, name=name, allow_nan=self.allow_nan)

    @property
    def _columns(self) -> bool:
        """Whether an input here is one number for each of several that the model has names for."""
        return len(self.names) > 1 and self.spec.shape == (len(self.names),)

    def _image(self, file: Path) -> np.ndarray:
        if self.spec.dtype == "str":
            return self._encoded(file)
        return image_input(file, self.spec.dtype, self._shapes, self.image_options)

    def _encoded(self, file: Path) -> np.ndarray:
        """An image as a string: a JPEG file as it is, others as JPEG."""
        if self.pixels is None:
            raise ConfigError(f"{file}: an image, and this model takes none; name texts")
        content, method = content_of(file), self.image_options.resize
        if content.startswith(_JPEG_START) and method is None:
            return base64_of(content)
        pixels = read_pixels(file)
        if method is not None:
            pixels = resized(pixels, self.pixels[0], self.pixels[1], method)
        return base64_of(jpeg(pixels))

    @property
    def _shapes(self) -> Shapes:
        return () if self.spec.shape is None else (self.spec.shape, *self.spec.other_shapes)


def shapes_in(path: Path) -> list[tuple[int, ...]]:
    """The shapes that an input of the first file may have, the likeliest first; none where they are unknown."""
    try:
        file = files_in(path, SUFFIXES)[0]
        suffix = file.suffix.lower()
        if suffix in images.SUFFIXES:
            height, width, channels = read_pixels(file).shape
            return [(height, width, channels), (channels, height, width), (1, height, width), (height, width)]
        if suffix in array_files.SUFFIXES:
            array = read_array(file, array_names(file)[0])
            return [shape for shape in (array.shape[1:], array.shape) if shape]
        shape = np.shape(next(entries(file)).value)  # type: ignore[call-overload]  # of whatever JSON holds
        return [shape] if shape else []
    except (ConfigError, ValueError, LookupError, StopIteration):  # it will be refused when it is read
        return []


def _string(text: bytes, file: Path) -> np.ndarray:
    """A text as the client protocol carries it."""
    if b"\0" in text:
        raise ConfigError(f"{file}: holds a text with a NUL, which ends a string on the wire; remove it")
    return np.frombuffer(text, dtype=np.uint8)


def files_in(path: Path, suffixes: Sequence[str], inside: Sequence[str] = ()) -> list[Path]:
    """The file, or the files in a directory and below it, in the order of their names.

    Names with a leading dot, and what file managers leave behind, are left out.

    Args:
        path: of the file or directory.
        suffixes: the ends of names that are taken; none for any.
        inside: those that are taken in a directory; none for the same.

    Raises:
        ConfigError: no file was found.
    """
    try:
        if path.is_dir():
            taken = inside or suffixes
            found = [file for file in _walk(path, set()) if not taken or file.suffix.lower() in taken]
            if taken and not found:
                raise ConfigError(f"{path}: holds no file that ends in {', '.join(taken)}; name another directory")
            return found
        if not stat.S_ISREG(path.stat().st_mode):
            raise ConfigError(f"{path}: not a file on disk, and inputs are read several times; save them first")
    except FileNotFoundError:
        raise ConfigError(f"{path}: not there; name a file or a directory of inputs") from None
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read: {error.strerror or error}") from None
    if suffixes and path.suffix.lower() not in suffixes:
        raise ConfigError(
            f"{path}: neither a directory nor a file that ends in {', '.join(suffixes)}; name such a file"
        )
    return [path]


def _walk(directory: Path, above: Collection[str]) -> Iterator[Path]:
    real = os.path.realpath(directory)
    if real in above:  # a link to a directory that it lies in
        return
    for path in sorted(directory.iterdir()):
        if path.name.startswith(".") or path.name.lower() in _OF_THE_SYSTEM:
            continue
        if path.is_dir():
            yield from _walk(path, {*above, real})
        elif path.is_file() or not path.exists():  # else no data: a socket or the like; a broken link is an error
            yield path


def content_of(file: Path) -> bytes:
    """All that a file holds, as one input.

    Raises:
        ConfigError: it cannot be read, holds nothing, or more than one input.
    """
    suffix = file.suffix.lower()
    if suffix in _TABLES or (suffix in _COMPRESSED and file.with_suffix("").suffix.lower() in (*SUFFIXES, *_TABLES)):
        remedy = "unpack it" if suffix in _COMPRESSED else "save it as csv or jsonl"
        raise ConfigError(f"{file}: holds many inputs in a form that is not read; {remedy}")
    try:
        content = files.read_bytes(file)
    except files.UnreadableError as error:
        raise ConfigError(f"{file}: cannot be read: {error}") from None
    if not content:
        raise ConfigError(f"{file}: empty; remove it")
    return content


def image_input(file: Path, dtype: str, shapes: Shapes, options: ImageOptions) -> np.ndarray:
    """An image as a model takes it.

    Args:
        file: of the image.
        dtype: the model's.
        shapes: that the model takes, -1 for a dimension that may vary; none for any.
        options: what is done with it.

    Raises:
        ConfigError: it cannot be read, or the model does not take it.
    """
    if shapes and not any(is_image(shape, options) for shape in shapes):
        raise ConfigError(f"{file}: an image, and this model takes none; save numbers, as npy or csv")
    pixels = laid_out(read_pixels(file), shapes, options, str(file))
    if shapes and not any(is_of(pixels.shape, shape) for shape in shapes):
        found, taken = _text_of(pixels.shape), " or ".join(map(_text_of, shapes))
        turned = any(sorted(pixels.shape) == sorted(shape) for shape in shapes)
        remedy = "transpose it before" if turned else "resize it before, or with {Inputs.resize} bilinear"
        if not any(has_channels(shape, options) for shape in shapes):
            by_hand = "save its pixels as npy, since images have 1 or 3 channels"
            remedy = by_hand if options.layout is None else "leave {Inputs.layout} out"
        raise ConfigError(f"{file}: an image of {found}, the model takes {taken}; {remedy}")
    return fitted(pixels, dtype, shapes, str(file))


# One input ---------------------------------------------------------------------------------------------------


def inputs_of_file(
    file: Path, name: str, dtype: str, shapes: Shapes, *, allow_nan: bool = False
) -> Iterator[np.ndarray]:
    """The inputs in the array of a file that has the input's name, or in all arrays where none has.

    Args:
        file: npy or npz.
        name: of the only input; empty where it has none.
        dtype: see `inputs_of_arrays`.
        shapes: likewise.
        allow_nan: likewise.

    Raises:
        ConfigError: likewise.
    """
    names = array_names(file)
    if name in names:
        names = [name]
    try:
        yield from inputs_of_arrays(file, names, dtype, shapes, allow_nan=allow_nan)
    except ConfigError as error:
        if len(names) == 1:
            raise
        called = f", named {name!r}" if name else ""
        raise ConfigError(f"{error.unworded}, or save the inputs alone{called}") from None


def inputs_of_arrays(
    file: Path, names: Sequence[str], dtype: str | None, shapes: Shapes, *, allow_nan: bool = False
) -> Iterator[np.ndarray]:
    """The inputs in arrays of a file, one each or one for each row.

    Args:
        file: npy or npz.
        names: of the arrays.
        dtype: the model's, None for the array's own; for ``str`` inputs are arrays of bytes objects.
        shapes: that the model takes, -1 for a dimension that may vary; none for any.
        allow_nan: floats may be no numbers.

    Raises:
        ConfigError: the file cannot be read, or holds what the model does not take.
    """
    dimensions = None
    for name in names:
        whole = read_array(file, name)
        source = f"{file}, {name}" if name else str(file)
        for array in _plain(whole, source) if whole.dtype == object and dtype != "str" else [whole]:
            if not shapes and dimensions not in (None, array.ndim):
                raise ConfigError(
                    f"{file}: holds arrays of other dimensions ({', '.join(names)}); save the inputs only"
                )
            dimensions = array.ndim
            taken = dtype or _own_dtype(array, source)
            check_kind(array, taken, source)
            for one in _split(array, taken, shapes, source):
                yield fitted(one, taken, shapes, source, allow_nan=allow_nan)


def _own_dtype(array: np.ndarray, source: str) -> str:
    if array.dtype.kind in "SU":
        return "str"
    if array.dtype.kind not in "biuf":
        raise ConfigError(f"{source}: holds {array.dtype}, which JSON does not have; convert it before")
    return "float64" if array.dtype.itemsize > np.dtype(np.float64).itemsize else array.dtype.name


def _plain(array: np.ndarray, source: str) -> list[np.ndarray]:
    """Elements that were saved as objects, with a type of their own; those of different shapes each by itself."""
    try:
        return [np.array(array.tolist())]
    except ValueError:
        pass
    try:
        return [np.array(one) for one in array.flat]
    except ValueError:
        raise ConfigError(f"{source}: holds lists of different lengths in one input; save arrays") from None


def _split(array: np.ndarray, dtype: str, shapes: Shapes, source: str) -> Iterator[np.ndarray]:
    """An array's inputs: itself, where it has the dimensions of one, otherwise its rows."""
    if not array.ndim and shapes[:1] != ((),):
        raise ConfigError(f"{source}: holds one number, not inputs; save an array")
    dimensions = len(shapes[0]) if shapes else min(array.ndim, 0 if dtype == "str" else 1)
    if array.ndim == 1 and len(array) > 1 and shapes[:1] in [((1,),), *([((-1,),)] if dtype == "str" else [])]:
        array = array[:, np.newaxis]
    if array.ndim == dimensions:
        yield array
    else:
        yield from (array[at, ...] for at in range(len(array)))


def inputs_of_entry(entry: Entry, dtype: str, shapes: Shapes, *, name: str = "", allow_nan: bool = False) -> np.ndarray:
    """The input in an entry of a file.

    Args:
        entry: as the file has it.
        dtype: the model's; for ``str`` the input is an array of bytes objects.
        shapes: that the model takes, -1 for a dimension that may vary; none for any.
        name: of the input; empty where it has none.
        allow_nan: floats may be no numbers.

    Raises:
        ConfigError: the model does not take that.
    """
    value = member(entry, name, dtype, allow_nan=allow_nan)
    return input_of(value, dtype, shapes, entry.source, allow_nan=allow_nan)


def member(entry: Entry, name: str, dtype: str, others: Collection[str] = (), *, allow_nan: bool = False) -> object:
    """What an entry has for one input of a model.

    Args:
        entry: as the file has it.
        name: of the input.
        dtype: the model's.
        others: the names of the model's other inputs.
        allow_nan: a missing number is NaN.

    Raises:
        ConfigError: it has nothing for this input, or several things that may be meant.
    """
    value = entry.texts if dtype == "str" and entry.texts is not None else entry.value
    if not isinstance(value, dict):
        if others:
            names = ", ".join(sorted((name, *others)))
            raise ConfigError(f"{entry.source}: not an object; the model takes several inputs, so name them: {names}")
        return value
    if name in value:
        found: object = value[name]
        return found
    if not others and len(value) == 1:
        return next(iter(value.values()))
    if not value:
        raise ConfigError(f"{entry.source}: holds an object without members; write its values")
    number = int | float | None if allow_nan else int | float
    if not others and dtype != "str" and all(isinstance(one, number) for one in value.values()):
        if value.keys() != set(entry.names):
            problem = f"{entry.source}: has {', '.join(map(str, value))}, the first entry {', '.join(entry.names)}"
            raise ConfigError(f"{problem}; give all entries the same members")
        return [value[name] for name in entry.names]
    missing = [str(key) for key, one in value.items() if one is None]
    if missing and dtype != "str" and not others:
        raise ConfigError(f"{entry.source}: has no value for {', '.join(missing)}; fill it in")
    found = f"has the members {', '.join(map(str, value))}"
    problem = f"{found}, not {name!r}; name one so" if name else f"{found}, the model takes one; leave the others out"
    raise ConfigError(f"{entry.source}: {problem}")


def input_of(value: object, dtype: str, shapes: Shapes, source: str, *, allow_nan: bool = False) -> np.ndarray:
    """An input from a value as JSON has it.

    Args:
        value: nested lists, or one element; of texts also bytes.
        dtype: the model's; for ``str`` the input is an array of bytes objects.
        shapes: that the model takes, -1 for a dimension that may vary; none for any.
        source: where it was found, for refusals.
        allow_nan: floats may be no numbers.

    Raises:
        ConfigError: the model does not take that.
    """
    if allow_nan and dtype != "str" and np.dtype(dtype).kind == "f":
        value = _with_nan(value)
    try:
        array = np.array(value, dtype=object if dtype == "str" else None)
        if array.ndim > MOST_DIMENSIONS:
            raise ValueError(array.ndim)
    except ValueError:
        raise ConfigError(f"{source}: its lists differ in length, or are too deep; save an array") from None
    if dtype != "str" and array.dtype.kind in "fO" and np.dtype(dtype).kind in "iu":
        array = _integers(value, array)
    floats = dtype != "str" and array.dtype.kind == np.dtype(dtype).kind == "f"
    if floats and (np.abs(array) >= _exact_up_to(dtype)).any():
        _refuse_rounded(np.array(value, dtype=object), dtype, source)  # some may be integers
    if shapes and array.ndim <= 1 and -1 not in shapes[0] and array.size == np.prod(shapes[0], dtype=np.int64):
        array = array.reshape(shapes[0])  # in row-major order, as servers take them too
    elif shapes and not array.ndim:
        array = array.reshape((1,) * len(shapes[0]))
    return fitted(array, dtype, shapes, source, allow_nan=allow_nan)


def _with_nan(value: object) -> object:
    """A value with NaN for what is missing."""
    if isinstance(value, list):
        return list(map(_with_nan, value))
    return math.nan if value is None else value


def _integers(value: object, array: np.ndarray) -> np.ndarray:
    """Integers that numpy would make floats or objects, since they are larger than those of its usual type."""
    exact = np.array(value, dtype=object)
    if any(type(one) is not int for one in exact.flat):
        return array
    try:
        return exact.astype(np.uint64)
    except OverflowError:
        return array


def check_kind(array: np.ndarray, dtype: str, source: str) -> None:
    """Refuse an array whose elements are not of the kind that a model takes.

    Args:
        array: as it was found.
        dtype: the model's.
        source: where it was found.

    Raises:
        ConfigError: they are not.
    """
    kind = array.dtype.kind
    if dtype == "str":
        if kind == "O":
            wrong = next((one for one in array.flat if not isinstance(one, str | bytes)), None)
            fits, found = all(isinstance(one, str | bytes) for one in array.flat), type(wrong).__name__
        else:
            fits, found = kind in "SU", str(array.dtype)
        if not fits:
            raise ConfigError(f"{source}: holds {found} where texts are sent; write texts")
        return
    wanted = np.dtype(dtype)
    if not (kind in "iu" and wanted.kind in "iub") and not np.can_cast(array.dtype, wanted, "same_kind"):
        raise ConfigError(f"{source}: holds {array.dtype}, the model takes {wanted}; convert it before")


def fitted(array: np.ndarray, dtype: str, shapes: Shapes, source: str, *, allow_nan: bool = False) -> np.ndarray:
    """One input in a model's dtype, little-endian; for ``str`` an array of bytes objects.

    Args:
        array: as it was found, of a kind that the model takes.
        dtype: the model's.
        shapes: that the model takes, -1 for a dimension that may vary; none for any.
        source: where it was found, for errors.
        allow_nan: floats may be no numbers.

    Raises:
        ConfigError: it has none of the shapes, or its numbers do not fit.
    """
    check_kind(array, dtype, source)
    if shapes and not any(is_of(array.shape, taken) for taken in shapes):
        taken = " or ".join(map(_text_of, shapes))
        turned = any(sorted(array.shape) == sorted(shape) for shape in shapes)
        remedy = "transpose them before" if turned else "resize them before"
        raise ConfigError(f"{source}: holds inputs of {_text_of(array.shape)}, the model takes {taken}; {remedy}")
    if not array.size:
        raise ConfigError(f"{source}: holds an input without elements; remove it")
    if dtype == "str":
        return _bytes(array, source)
    wanted = np.dtype(dtype).newbyteorder("<")
    if array.dtype.kind in "iu" and wanted.kind in "iub":
        least, most = (0, 1) if wanted.kind == "b" else (np.iinfo(wanted).min, np.iinfo(wanted).max)
        if array.min() < least or array.max() > most:
            raise ConfigError(f"{source}: holds {array.min()} to {array.max()}, beyond {wanted}; scale it before")
    with np.errstate(over="ignore"):
        fits = np.array(array, dtype=wanted, order="C")
    if wanted.kind == "f" and not (np.isfinite(fits) | (allow_nan & np.isnan(fits))).all():
        remedy = "remove them" if not np.isnan(fits).any() else "remove them, or allow NaN with {Inputs.allow_nan}"
        raise ConfigError(f"{source}: holds numbers that are not finite in {wanted}; {remedy}")
    if array.dtype.kind in "iu" and wanted.kind == "f":
        _refuse_rounded(array, dtype, source)
    return fits


def _exact_up_to(dtype: str) -> int:
    """The largest integer up to which a float type has every integer."""
    return 2 << int(np.finfo(dtype).nmant)


def _refuse_rounded(array: np.ndarray, dtype: str, source: str) -> None:
    """Refuse integers that a float type would round; floats are rounded.

    Args:
        array: of integers, or of objects of which some are.
        dtype: the float type, in which all are finite.
        source: where it was found.

    Raises:
        ConfigError: it has one.
    """
    most = _exact_up_to(dtype)
    for one in array[(array > most) | (array < -most)].tolist():
        if type(one) is int and (found := int(np.dtype(dtype).type(one))) != one:
            problem = f"{source}: holds {one}, which {dtype} rounds to {found}"
            raise ConfigError(f"{problem}; scale it before, or write it as a float")


def _text_of(shape: Sequence[int]) -> str:
    return "x".join(map(str, shape)) or "one element"


def is_of(shape: Sequence[int], taken: Sequence[int]) -> bool:
    """Whether a shape is one that a model takes."""
    return len(shape) == len(taken) and all(size in (-1, own) for own, size in zip(shape, taken, strict=True))


def _bytes(array: np.ndarray, source: str) -> np.ndarray:
    texts = np.empty(array.shape, dtype=object)
    try:
        for at, text in np.ndenumerate(array):
            texts[at] = text.encode() if isinstance(text, str) else bytes(text)
    except UnicodeEncodeError:
        raise ConfigError(f"{source}: holds half a surrogate pair, which is not text; write it as UTF-8") from None
    return texts
