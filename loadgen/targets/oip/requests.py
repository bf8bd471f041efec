"""Makes the contents of requests to a model, and whole requests from them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Protocol

import numpy as np
from typing_extensions import override

from loadgen.errors import ConfigError, FieldError
from loadgen.load.input_files import DAMAGED, FileInputs, fitted
from loadgen.load.inputs import MAX_POOL_BYTES, InputSource, Pool, enough_of, request_pool
from loadgen.targets.access import Access
from loadgen.targets.address import Address
from loadgen.targets.http_request import post
from loadgen.targets.oip.messages import HEADER_LENGTH, Content, Shared, grpc_request, http_request
from loadgen.targets.oip.tensors import BYTES, DTYPES, Tensor, draw, encode_numbers, encode_strings
from model_containers.model import TensorSpec


class Contents(Protocol):
    """Where the contents of tensors come from: picklable, and the same each time."""

    __slots__ = ()

    @property
    def text(self) -> str:
        """What they are, in a few words."""
        ...

    @property
    def tensors(self) -> tuple[Tensor, ...]:
        """What they are for, with their shapes."""
        ...

    def each(self) -> Iterator[tuple[bytes, ...]]:
        """The contents of one request after the other, one per tensor.

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
    """

    tensors: tuple[Tensor, ...] = field()  # `field()`, or the base's property would be its default
    count: int
    seed: int

    @property
    @override
    def text(self) -> str:
        return f"{self.count} seeded inputs {', '.join(tensor.text for tensor in self.tensors)}"

    @override
    def each(self) -> Iterator[tuple[bytes, ...]]:
        generator = np.random.default_rng(self.seed)
        for _ in range(self.count):
            yield tuple(draw(generator, tensor) for tensor in self.tensors)


@dataclass(frozen=True, slots=True)
class FileContents(Contents):
    """From a file, or from all files of a directory; a request takes the next inputs, as many as it has rows.

    For one input tensor: npy, npz, images, and for BYTES text files, a string a line, or any other file as one string.
    For several: an npz whose arrays have the tensors' names, each ``(n, *shape)``.

    Attributes:
        path: the file or directory.
        tensors: of one request.
        batched: the first dimension of each tensor is the batch.
        most: take so many inputs at most; None for all.
    """

    path: Path
    tensors: tuple[Tensor, ...] = field()  # `field()`, or the base's property would be its default
    batched: bool
    most: int | None

    @property
    @override
    def text(self) -> str:
        return f"inputs from {self.path}"

    @override
    def each(self) -> Iterator[tuple[bytes, ...]]:
        columns = [self._column(tensor) for tensor in self.tensors]
        sizes = {len(column) for column in columns}
        if len(sizes) > 1:
            raise ConfigError(
                f"{self.path} holds {' and '.join(map(str, sorted(sizes)))} inputs: as many of each are needed"
            )
        count = sizes.pop()
        if not count:
            raise FieldError("Inputs.path", self.path, "holds no input")
        enough_of(self.most, count, self.path)
        rows = self.tensors[0].shape[0] if self.batched else 1
        for first in range(0, count, rows):
            yield tuple(b"".join(column[index % count] for index in range(first, first + rows)) for column in columns)

    def _column(self, tensor: Tensor) -> list[bytes]:
        """One tensor's content for each input, without the batch."""
        shape = tensor.shape[1:] if self.batched else tensor.shape
        if len(self.tensors) > 1:
            arrays = self._named(tensor)
        elif tensor.datatype == BYTES:
            return [encode_strings([string]) for string in islice(self._strings(tensor), self.most)]
        else:
            pixels = shape if len(shape) == 3 else None
            arrays = FileInputs(self.path, TensorSpec(shape, _dtype(tensor)), pixels, self.most).make().arrays
        return [encode_numbers(array, tensor.datatype) for array in arrays]

    def _strings(self, tensor: Tensor) -> Iterator[bytes]:
        if tensor.elements != (tensor.shape[0] if self.batched else 1):
            problem = f"{{value}}: {tensor.text} takes several strings, files give it one"
            raise FieldError("Inputs.path", self.path, problem, "leave it out")
        try:
            for file in sorted(self.path.iterdir()) if self.path.is_dir() else [self.path]:
                yield from file.read_bytes().splitlines() if file.suffix == ".txt" else [file.read_bytes()]
        except OSError as error:
            raise FieldError("Inputs.path", self.path, f"cannot be read: {error.strerror}") from None

    def _named(self, tensor: Tensor) -> Sequence[np.ndarray]:
        shape = tensor.shape[1:] if self.batched else tensor.shape
        if tensor.datatype == BYTES:
            problem = f"{{value}}: {tensor.name} is of BYTES, which no npz holds"
            raise FieldError("Inputs.path", self.path, problem, "leave it out")
        try:
            with self.path.open("rb") as file, np.load(file, allow_pickle=False) as arrays:
                array: np.ndarray = arrays[tensor.name]
        except KeyError:
            raise FieldError("Inputs.path", self.path, f"has no array {tensor.name!r}, which the model takes") from None
        except (OSError, ValueError, EOFError, TypeError, AttributeError, *DAMAGED):
            problem = "is no npz: of several inputs one is needed with an array for each name"
            raise FieldError("Inputs.path", self.path, problem) from None
        if not array.ndim:
            problem = f"{{value}}: {tensor.name} is one number"
            raise FieldError("Inputs.path", self.path, problem, "save an array of inputs")
        source = f"{{Inputs.path}} {self.path}: {tensor.name}"
        return [fitted(one, _dtype(tensor), (shape,), source) for one in array[: self.most]]


def _dtype(tensor: Tensor) -> str:
    """What numpy has for a datatype; BF16 is cut from float32."""
    return "float32" if tensor.datatype == "BF16" else DTYPES[tensor.datatype]


def seeded_count(tensors: Sequence[Tensor], wanted: int) -> int:
    """So many distinct requests, or as many as fit in 1 GiB.

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
    """

    contents: Contents
    address: Address
    access: Access
    outputs: tuple[Tensor, ...]
    binary: bool
    region: str | None = None

    @property
    @override
    def text(self) -> str:
        return self.contents.text

    @property
    @override
    def payload_bytes(self) -> int:
        """Bytes of one request with all that belongs to it."""
        return max(map(len, self._messages(islice(self.contents.each(), 1))))

    @override
    def make(self) -> Pool:
        return request_pool(self._messages(self.contents.each()), self.text)

    def _messages(self, each: Iterator[tuple[bytes, ...]]) -> Iterator[bytes]:
        offset = 0
        for contents in each:
            carried: list[Content] = list(contents)
            if self.region is not None:
                for index, content in enumerate(contents):
                    carried[index] = Shared(self.region, offset, len(content))
                    offset += len(content)
            yield self._message(carried)

    def _message(self, contents: Sequence[Content]) -> bytes:
        tensors = self.contents.tensors
        if self.address.protocol.name == "grpc":
            return grpc_request(self.address.model, self.address.version, tensors, contents)
        body, json_bytes = http_request(tensors, contents, self.outputs, binary=self.binary)
        headers = {HEADER_LENGTH: str(json_bytes)} if json_bytes is not None else {}
        kind = "application/octet-stream" if json_bytes is not None else "application/json"
        return post(self.address, f"{self.address.model_path}/infer", self.access, kind, headers, body)
