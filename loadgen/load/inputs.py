"""What to send: a pool of distinct inputs, made before the run and sent in turn."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Protocol

import numpy as np
from typing_extensions import override

from loadgen.errors import ConfigError, FieldError
from loadgen.load.drawing import Range, numbers
from loadgen.load.images import base64_of, jpeg
from model_containers.data_types import TEXT_LETTERS, DataType
from model_containers.model import TensorSpec

MAX_POOL_BYTES = 1 << 30
"""The most bytes of inputs from files, which are all held in memory."""

DRAWN_INPUTS = 32
"""How many inputs are drawn where the user does not say."""


@dataclass(frozen=True, slots=True)
class Pool:
    """Inputs as arrays.

    Attributes:
        arrays: one per input, all of one dtype, little-endian and C-contiguous; of a string its bytes, uint8.
        data_type: what they are on the wire.
    """

    arrays: Sequence[np.ndarray]
    data_type: DataType

    def __len__(self) -> int:
        return len(self.arrays)

    def payloads(self) -> list[memoryview]:
        """The inputs' raw bytes, little-endian, without a copy."""
        return [array.reshape(-1).view(np.uint8).data for array in self.arrays]

    def stacked(self) -> np.ndarray:
        """All inputs as one array ``(n, *shape)``; strings as ``(n,)`` of numpy's ``S``.

        Raises:
            ConfigError: the inputs have different shapes.
        """
        if self.data_type is DataType.STRINGS:
            return np.array([array.tobytes() for array in self.arrays])
        if len({array.shape for array in self.arrays}) > 1:
            raise ConfigError("{Deploy.verify}: needs inputs of one shape; leave it out, or inputs of other shapes")
        return np.stack(self.arrays)


def request_pool(requests: Iterable[bytes], source: str) -> Pool:
    """Whole requests as a pool.

    Args:
        requests: one after the other.
        source: what they come from, for the refusal.

    Raises:
        ConfigError: they are more than 1 GiB.
    """
    arrays: list[np.ndarray] = []
    total_bytes = 0
    for request in requests:
        total_bytes += len(request)
        if total_bytes > MAX_POOL_BYTES and arrays:
            raise ConfigError(
                f"{source}: more than {MAX_POOL_BYTES >> 30} GiB of requests; take fewer with {{Inputs.count}}"
            )
        arrays.append(np.frombuffer(request, np.uint8))
    return Pool(arrays, DataType.BYTES)


def enough_of(wanted: int | None, found: int, path: Path) -> None:
    """Refuse files with fewer inputs than were asked for.

    Args:
        wanted: how many were asked for; None for all there are.
        found: how many there are.
        path: of the files, for the refusal.

    Raises:
        ConfigError: they are.
    """
    if wanted is not None and found < wanted:
        raise FieldError("Inputs.count", wanted, f"{{value}}: {path} holds {found}", "ask for no more than that")


class InputSource(Protocol):
    """Where inputs come from: picklable, and the same pool each time it is made."""

    __slots__ = ()

    @property
    def text(self) -> str:
        """What they are, in a few words."""
        ...

    @property
    def note(self) -> str:
        """What of them the reader should know; empty for nothing."""
        return ""

    @property
    def payload_bytes(self) -> int:
        """Bytes of the largest input."""
        ...

    def make(self) -> Pool:
        """Make the pool.

        Raises:
            ConfigError: a file cannot be read or does not hold what the model takes.
        """
        ...


@dataclass(frozen=True, slots=True)
class MadeInputs(InputSource):
    """Inputs that are made once for many short runs, which would take longer to make than to send.

    Attributes:
        source: what they were made from.
        pool: the inputs.
    """

    source: InputSource
    pool: Pool

    @property
    @override
    def text(self) -> str:
        return self.source.text

    @property
    @override
    def note(self) -> str:
        return self.source.note

    @property
    @override
    def payload_bytes(self) -> int:
        return self.source.payload_bytes

    @override
    def make(self) -> Pool:
        return self.pool


@dataclass(frozen=True, slots=True)
class SeededInputs(InputSource):
    """How to draw a pool: the same seed gives the same inputs on every machine.

    Attributes:
        spec: of one input, with a shape.
        pixels: the shape of an input that is an image; None for others.
        count: how many distinct inputs.
        seed: of the generator.
        bounds: of the numbers; None for the usual ones.
    """

    spec: TensorSpec
    pixels: tuple[int, int, int] | None
    count: int
    seed: int
    bounds: Range | None = None

    @property
    @override
    def text(self) -> str:
        kind = "JPEG" if self._jpeg else "text" if self.spec.dtype == "str" else self.spec.dtype
        shape = self.pixels if self._jpeg else self.spec.shape or (TEXT_LETTERS,)
        bounds = "" if self.bounds is None else f" in {self.bounds[0]}:{self.bounds[1]}"
        return f"{self.count} seeded inputs {'x'.join(map(str, shape or ()))} {kind}{bounds}"

    @property
    @override
    def payload_bytes(self) -> int:
        """Bytes of an input; of JPEG files, whose sizes differ a little, the first one's."""
        nbytes = self.spec.nbytes
        return len(next(self._draw()).data) if nbytes is None else nbytes

    @property
    def _jpeg(self) -> bool:
        return self.spec.dtype == "str" and self.pixels is not None

    @override
    def make(self) -> Pool:
        """Draw the pool, of images pixels of noise."""
        return Pool(list(islice(self._draw(), self.count)), self.spec.data_type)

    def _draw(self) -> Iterator[np.ndarray]:
        generator, dtype = np.random.default_rng(self.seed), self.spec.dtype
        while True:
            if self._jpeg:
                yield base64_of(jpeg(generator.integers(0, 256, self.pixels, dtype=np.uint8)))
            elif dtype == "str":
                yield generator.integers(ord("a"), ord("z") + 1, TEXT_LETTERS, dtype=np.uint8)
            else:
                assert self.spec.shape is not None
                yield numbers(generator, self.spec.shape, dtype, self.bounds, image=self._image)

    @property
    def _image(self) -> bool:
        """Three dimensions count as an image's where the model does not say."""
        return self.pixels is not None or len(self.spec.shape or ()) == 3
