"""Makes the contents of requests to a model, and whole requests from them."""

from __future__ import annotations

import base64
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Protocol

import numpy as np
from typing_extensions import override

from loadgen.errors import ConfigError, FieldError
from loadgen.load import array_files, images, text_files
from loadgen.load.array_files import array_names
from loadgen.load.drawing import Range
from loadgen.load.image_layout import ImageOptions, is_image
from loadgen.load.input_files import content_of, files_in, image_input, input_of, inputs_of_file, is_of, member
from loadgen.load.inputs import MAX_POOL_BYTES, InputSource, Pool, enough_of, request_pool
from loadgen.load.text_files import Entry, entries
from loadgen.targets.access import Access
from loadgen.targets.address import Address
from loadgen.targets.http_request import post
from loadgen.targets.oip.messages import Content, Parameters, Shared, grpc_request, http_request
from loadgen.targets.oip.tensors import (
    BYTES,
    DTYPES,
    HEADER_LENGTH,
    Tensor,
    decode_numbers,
    decode_strings,
    draw,
    encode_numbers,
    encode_strings,
    number_dtype,
)

Filled = tuple[Tensor, bytes]
"""A tensor with its shape in one request, and its content."""


class Contents(Protocol):
    """The source of the contents of tensors: picklable, and the same each time."""

    __slots__ = ()

    @property
    def text(self) -> str:
        """A short description."""
        ...

    @property
    def note(self) -> str:
        """The optional tensors that requests leave out, in words; empty for none.

        Raises:
            ConfigError: see `each`.
        """
        ...

    def each(self) -> Iterator[tuple[Filled, ...]]:
        """The tensors of one request after the other.

        Raises:
            ConfigError: a file cannot be read or does not hold what the model takes.
        """
        ...


@dataclass(frozen=True, slots=True)
class SeededContents(Contents):
    """Drawn; the same seed gives the same on every machine.

    Attributes:
        tensors: of one request.
        count: how many requests.
        seed: of the generator.
        ranges: of numbers, by the tensor's name; the empty name stands for the only one.
        optional: names of the model's tensors that a request may leave out.
    """

    tensors: tuple[Tensor, ...]
    count: int
    seed: int
    ranges: Mapping[str, Range] = field(default_factory=dict)
    optional: tuple[str, ...] = ()

    @property
    @override
    def text(self) -> str:
        return f"{self.count} seeded inputs {', '.join(tensor.text for tensor in self.tensors)}"

    @property
    @override
    def note(self) -> str:
        return _left_out(self.optional, [{tensor.name for tensor in self.tensors}])

    @override
    def each(self) -> Iterator[tuple[Filled, ...]]:
        generator = np.random.default_rng(self.seed)
        bounds = [self.ranges.get(tensor.name, self.ranges.get("")) for tensor in self.tensors]
        for _ in range(self.count):
            yield tuple(
                (tensor, draw(generator, tensor, one)) for tensor, one in zip(self.tensors, bounds, strict=True)
            )


@dataclass(frozen=True, slots=True)
class FileContents(Contents):
    """From a file, or from all files of a directory; a request takes the next inputs, as many as it has rows.

    For one input tensor: npy, npz, images, and for BYTES any other file as one string. For several: an npz whose arrays
    have the tensors' names, each ``(n, *shape)``. For any number: an entry a request, of text files, JSON, JSON Lines
    and CSV. Members or columns have the tensors' names, and JSON may have the form of Triton's perf_analyzer. An
    optional tensor that a file or an entry lacks is left out.

    Attributes:
        path: the file or directory.
        tensors: of one request, -1 for a dimension that may vary.
        batched: the first dimension of each tensor is the batch.
        most: inputs to take at most; None for all.
        shapes: without the batch, of inputs that bring none of their own, for each tensor; None for the tensor's.
        as_json: requests have strings as JSON, so that they have to be UTF-8.
        image_options: what is done with images.
        allow_nan: floats may be no numbers.
        optional: names of tensors that a request may leave out.
    """

    path: Path
    tensors: tuple[Tensor, ...]
    batched: bool
    most: int | None
    shapes: tuple[tuple[int, ...] | None, ...] = ()
    as_json: bool = False
    image_options: ImageOptions = ImageOptions()  # noqa: RUF009 - frozen
    allow_nan: bool = False
    optional: tuple[str, ...] = ()

    @property
    @override
    def text(self) -> str:
        return f"inputs from {self.path}"

    @property
    @override
    def note(self) -> str:
        if not self.optional:
            return ""  # without reading the files once more
        return _left_out(self.optional, [{tensor.name for tensor, _ in filled} for filled in self.each()])

    @override
    def each(self) -> Iterator[tuple[Filled, ...]]:
        inputs = list[_Row]()
        total_bytes = 0
        for parts in islice(self._inputs(), self.most):
            total_bytes += sum(len(part.content) for part in parts if part is not None)
            if total_bytes > MAX_POOL_BYTES and inputs:
                problem = f"holds more than {MAX_POOL_BYTES >> 30} GiB of inputs"
                raise FieldError("Inputs.path", self.path, problem, f"take {len(inputs)} with {{Inputs.count}}")
            inputs.append(parts)
        count = len(inputs)
        if not count:
            raise FieldError("Inputs.path", self.path, "holds no input", "save one at least")
        enough_of(self.most, count, self.path)
        rows = self.tensors[0].shape[0] if self.batched else 1
        for first in range(0, count, rows):
            batch = [inputs[index % count] for index in range(first, first + rows)]
            filled = [self._filled(place, batch) for place in range(len(self.tensors))]
            yield tuple(each for each in filled if each is not None)

    def _filled(self, place: int, batch: Sequence[_Row]) -> Filled | None:
        """One tensor with the parts of all rows; None where they leave it out."""
        tensor, parts = self.tensors[place], [part for row in batch if (part := row[place]) is not None]
        if not parts:
            return None
        if len(parts) < len(batch):
            without = next(part.source for row in batch if row[place] is None for part in row if part is not None)
            problem = f"{{value}}: {parts[0].source} has {tensor.name}, and {without} has not"
            raise FieldError("Inputs.path", self.path, problem, "leave {External.batch_size} out")
        shape = parts[0].shape
        for part in parts:
            if part.shape != shape:
                problem = f"{{value}}: {parts[0].source} and {part.source} have other shapes of {tensor.name}"
                raise FieldError("Inputs.path", self.path, problem, "leave {External.batch_size} out")
        whole = (len(parts), *shape) if self.batched else shape
        return Tensor(tensor.name, tensor.datatype, whole), b"".join(part.content for part in parts)

    def _inputs(self) -> Iterator[_Row]:
        slots = [
            _Slot(tensor, own, own if given is None else given, self)
            for tensor, given in zip(self.tensors, self.shapes or (None,) * len(self.tensors), strict=True)
            for own in [tensor.shape[1:] if self.batched else tensor.shape]
        ]
        names = [tensor.name for tensor in self.tensors]
        for file in files_in(self.path, self._suffixes):
            suffix = file.suffix.lower()
            if suffix in text_files.SUFFIXES:
                for entry in entries(file):
                    given = self._given(slots, {slot.name for slot in slots if slot.is_in(entry)})
                    yield tuple(
                        slot.of_entry(entry, [name for name in names if name != slot.name]) if slot in given else None
                        for slot in slots
                    )
            elif suffix in array_files.SUFFIXES and len(slots) == 1:
                yield from ((part,) for part in slots[0].of_arrays(file, alone=True))
            elif suffix in array_files.SUFFIXES:
                given = self._given(slots, array_names(file))
                read = {slot.name: list(islice(slot.of_arrays(file, alone=False), self.most)) for slot in given}
                sizes = sorted({len(column) for column in read.values()})
                if len(sizes) > 1:
                    raise ConfigError(f"{file}: holds {' and '.join(map(str, sizes))} inputs; save as many of each")
                none = [None] * sizes[0]
                yield from zip(*(read.get(slot.name, none) for slot in slots), strict=True)
            else:
                yield (slots[0].of_file(file),)

    def _given(self, slots: Sequence[_Slot], names: Collection[str]) -> Sequence[_Slot]:
        """The tensors of an input: all but missing optional ones; an input must have at least one.

        Args:
            slots: of all tensors.
            names: of those that the input has.
        """
        given = [slot for slot in slots if slot.name in names or slot.name not in self.optional]
        return given or slots

    @property
    def _suffixes(self) -> tuple[str, ...]:
        """Of files that hold such inputs; none for those of any kind."""
        if len(self.tensors) > 1:
            return (".npz", *text_files.OF_NUMBERS)
        if self.tensors[0].datatype == BYTES:
            return ()
        return (*array_files.SUFFIXES, *images.SUFFIXES, *text_files.OF_NUMBERS)


@dataclass(frozen=True, slots=True)
class _Part:
    """One tensor of one input, without the batch.

    Attributes:
        shape: its own.
        content: raw, as on the wire.
        source: file and place in it, for refusals.
    """

    shape: tuple[int, ...]
    content: bytes
    source: str


_Row = tuple[_Part | None, ...]
"""One input: a part of each tensor, None for an optional one that it leaves out."""


@dataclass(frozen=True, slots=True)
class _Slot:
    """A tensor that files fill, without the batch.

    Attributes:
        tensor: as the model has it.
        own: its shape, -1 for a dimension that may vary.
        usual: the shape of an input without one of its own.
        files: the contents to which it belongs.
    """

    tensor: Tensor
    own: tuple[int, ...]
    usual: tuple[int, ...]
    files: FileContents

    @property
    def name(self) -> str:
        """The model's."""
        return self.tensor.name

    @property
    def dtype(self) -> str:
        """NumPy's dtype; BF16 is cut from float32."""
        return number_dtype(self.tensor.datatype)

    def of_arrays(self, file: Path, *, alone: bool) -> Iterator[_Part]:
        """The inputs in arrays of a file: the array of this name, or all where the tensor is the only one."""
        if not alone and self.name not in (names := array_names(file)):
            problem = f"has no array {self.name!r}, which the model takes"
            raise FieldError("Inputs.path", file, problem, f"add it beside {', '.join(names)}")
        arrays = inputs_of_file(file, self.name, self.dtype, (self.usual,), allow_nan=self.files.allow_nan)
        for number, array in enumerate(arrays, start=1):
            yield self._part(array, f"{file}, input {number}")

    def is_in(self, entry: Entry) -> bool:
        """Whether an entry has a member for the tensor; an entry that is not an object is refused later."""
        given = entry.texts if self.dtype == "str" and entry.texts is not None else entry.value
        return not isinstance(given, dict) or given.get(self.name) is not None

    def of_entry(self, entry: Entry, others: Sequence[str]) -> _Part:
        """The input in an entry of a file.

        Args:
            entry: as the file has it.
            others: the names of the other tensors.
        """
        value = entry.value
        if others or not isinstance(value, dict) or self.name in value or not value.keys() <= _OF_PERF_ANALYZER:
            value = member(entry, self.name, self.dtype, others, allow_nan=self.files.allow_nan)
        shape = self.usual
        if isinstance(value, dict):
            shape, value = self._opened(value, entry.source)
        source, allow_nan = f"{entry.source}: {self.name}", self.files.allow_nan
        return self._part(input_of(value, self.dtype, (shape,), source, allow_nan=allow_nan), entry.source)

    def of_file(self, file: Path) -> _Part:
        """A whole file: an image's pixels, or a string."""
        if self.tensor.datatype == BYTES:
            return self._part(input_of(content_of(file), "str", (self.usual,), str(file)), str(file))
        if not is_image(self.own, self.files.image_options):
            raise ConfigError(f"{file}: an image, and {self.tensor.text} does not take images; save its numbers as npy")
        return self._part(image_input(file, self.dtype, (self.usual,), self.files.image_options), str(file))

    def _opened(self, value: dict[str, object], source: str) -> tuple[tuple[int, ...], object]:
        """The shape and the content of an entry with more than a list, as Triton's perf_analyzer reads it."""
        sizes, content = value.get("shape", self.usual), value.get("content", value)
        if not isinstance(sizes, list | tuple) or not all(type(size) is int for size in sizes):
            raise ConfigError(f"{source}: {self.name} has the shape {sizes}; write a list of whole numbers")
        shape = tuple(sizes)
        if not is_of(shape, self.own):
            own, written = "x".join(map(str, self.own)), "x".join(map(str, shape))
            raise ConfigError(f"{source}: {self.name} has the shape {written}, the model takes {own or 'one element'}")
        if not isinstance(content, dict):
            return shape, content
        try:
            raw = base64.b64decode(content["b64"], validate=True)
            if self.tensor.datatype == BYTES:
                return shape, decode_strings(raw)
            return shape, decode_numbers(raw, self.tensor.datatype)
        except KeyError:
            found = ", ".join(map(str, value)) or "nothing"
            remedy = "write a list, or 'content' with 'shape', or 'b64'"
            raise ConfigError(f"{source}: {self.name} is an object with {found}; {remedy}") from None
        except (ValueError, TypeError) as error:
            raise ConfigError(f"{source}: {self.name} has b64 that is not {self.tensor.datatype}: {error}") from None

    def _part(self, array: np.ndarray, source: str) -> _Part:
        if self.tensor.datatype != BYTES:
            return _Part(array.shape, encode_numbers(array, self.tensor.datatype), source)
        strings: list[bytes] = array.ravel().tolist()
        if self.files.as_json:
            for string in strings:
                self._check_utf8(string, source)
        return _Part(array.shape, encode_strings(strings), source)

    def _check_utf8(self, string: bytes, source: str) -> None:
        try:
            string.decode()
        except UnicodeDecodeError:
            problem = f"{source}: not UTF-8, and this server takes no binary tensors over HTTP, only JSON"
            raise ConfigError(f"{problem}; save it as UTF-8, or use oip+grpc://") from None


_OF_PERF_ANALYZER = {"content", "shape", "b64"}


def _left_out(optional: Sequence[str], requests: Sequence[Collection[str]]) -> str:
    """Which optional tensors are missing in requests, in words.

    Args:
        optional: their names.
        requests: the names of what each carries.
    """
    sent = {name: sum(name in request for request in requests) for name in optional}
    said = [
        f"{name} is left out" if not count else f"{name} is in {count} of {len(requests)} requests"
        for name, count in sent.items()
        if count < len(requests)
    ]
    return f"optional inputs: {', '.join(said)}" if said else ""


def seeded_count(tensors: Sequence[Tensor], wanted: int) -> int:
    """How many distinct requests are made: the wanted number, or as many as fit in 1 GiB.

    Args:
        tensors: of one request.
        wanted: distinct requests; at least one is made.
    """
    size_bytes = sum(
        tensor.elements * (68 if tensor.datatype == BYTES else np.dtype(DTYPES[tensor.datatype]).itemsize)
        for tensor in tensors
    )
    return max(1, min(wanted, MAX_POOL_BYTES // max(1, size_bytes)))


@dataclass(frozen=True, slots=True)
class RequestInputs(InputSource):
    """Whole requests, ready to be sent, as their targets want them.

    Attributes:
        contents: what they carry.
        address: of the model.
        access: over HTTP its headers are part of each request.
        outputs: what answers are to carry.
        binary: over HTTP, tensors are bytes behind the JSON; otherwise JSON has them.
        region: where all contents lie one after the other, in shared memory; None where requests carry them.
        parameters: of each request.
    """

    contents: Contents
    address: Address
    access: Access
    outputs: tuple[Tensor, ...]
    binary: bool
    region: str | None = None
    parameters: Parameters = field(default_factory=dict)

    @property
    @override
    def text(self) -> str:
        return self.contents.text

    @property
    @override
    def note(self) -> str:
        return self.contents.note

    @property
    @override
    def payload_bytes(self) -> int:
        """Bytes of one request, headers included."""
        return max(map(len, self._messages(islice(self.contents.each(), 1))))

    @override
    def make(self) -> Pool:
        return request_pool(self._messages(self.contents.each()), self.text)

    def _messages(self, each: Iterator[tuple[Filled, ...]]) -> Iterator[bytes]:
        offset = 0
        for filled in each:
            carried: list[Content] = [content for _, content in filled]
            if self.region is not None:
                for index, (_, content) in enumerate(filled):
                    carried[index] = Shared(self.region, offset, len(content))
                    offset += len(content)
            yield self._message([tensor for tensor, _ in filled], carried)

    def _message(self, tensors: Sequence[Tensor], contents: Sequence[Content]) -> bytes:
        if self.address.protocol.name == "grpc":
            return grpc_request(self.address.model, self.address.version, tensors, contents, self.parameters)
        body, json_bytes = http_request(tensors, contents, self.outputs, binary=self.binary, parameters=self.parameters)
        headers = {HEADER_LENGTH: str(json_bytes)} if json_bytes is not None else {}
        kind = "application/octet-stream" if json_bytes is not None else "application/json"
        return post(self.address, f"{self.address.model_path}/infer", self.access, kind, headers, body)
