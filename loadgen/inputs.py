"""What to send: a pool of distinct inputs, made before the clock starts and sent over and over."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

PIXEL_RANGE = 255.0


@dataclass(frozen=True, slots=True)
class Pool:
    """Inputs as arrays.

    Attributes:
        arrays: one per input, all of one dtype, C-contiguous.
    """

    arrays: Sequence[np.ndarray]

    def __len__(self) -> int:
        return len(self.arrays)

    @property
    def dtype(self) -> np.dtype:
        """The inputs' dtype."""
        return self.arrays[0].dtype

    def payloads(self) -> list[memoryview]:
        """The inputs' raw bytes, little-endian, without a copy."""
        return [array.reshape(-1).view(np.uint8).data for array in self.arrays]


@dataclass(frozen=True, slots=True)
class SeededInputs:
    """How to draw a pool: the same seed gives the same inputs on every machine.

    Attributes:
        shape: of one input.
        dtype: a floating-point numpy dtype name.
        count: how many distinct inputs.
        seed: of the generator.
    """

    shape: tuple[int, ...]
    dtype: str
    count: int
    seed: int

    @property
    def payload_bytes(self) -> int:
        """Bytes of one input."""
        return int(np.prod(self.shape, dtype=np.int64)) * np.dtype(self.dtype).itemsize

    def make(self) -> Pool:
        """Draw the pool: pixels, uniform in [0, 255), for images (rank 3), else uniform in [0, 1)."""
        generator = np.random.default_rng(self.seed)
        scale = PIXEL_RANGE if len(self.shape) == 3 else 1.0
        little_endian = np.dtype(self.dtype).newbyteorder("<")
        return Pool(
            [
                (generator.random(self.shape, dtype=np.float32) * scale).astype(little_endian, order="C", copy=False)
                for _ in range(self.count)
            ]
        )
