"""What a model is to everything around it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np

from model_containers.wire import DataType


@dataclass(frozen=True, slots=True)
class TensorSpec:
    """Shape and dtype of one query's input or output, without the batch dimension.

    Attributes:
        shape: the dimensions; None where any shape will do.
        dtype: a numpy dtype name, such as ``float32``.
    """

    shape: tuple[int, ...] | None
    dtype: str

    @property
    def data_type(self) -> DataType:
        """The wire's code for this dtype."""
        return DataType.of_dtype(np.dtype(self.dtype))

    @property
    def nbytes(self) -> int | None:
        """Bytes of one query's tensor; None where any shape will do."""
        if self.shape is None:
            return None
        return int(np.prod(self.shape, dtype=np.int64)) * np.dtype(self.dtype).itemsize


@dataclass(frozen=True, slots=True)
class LoadOptions:
    """How a replica wants its model loaded.

    Attributes:
        weights: ``seeded``, ``imagenet``, or the path of a weights file.
        seed: of everything drawn at random.
        threads: the framework's threads, as many as the replica has cores.
        gpu: use the one visible GPU; False hides GPUs from the framework.
        gpu_memory_fraction: share of the GPU's memory that the framework may take.
        input_shape: of one input, for a model that takes any; None leaves it open.
    """

    weights: str = "seeded"
    seed: int = 0
    threads: int = 1
    gpu: bool = False
    gpu_memory_fraction: float = 0.9
    input_shape: tuple[int, ...] | None = None


class Model(Protocol):
    """One loaded model, batch-native: a forward pass is one call per batch."""

    input: TensorSpec
    output: TensorSpec

    def predict(self, batch: np.ndarray) -> np.ndarray:
        """Answer a batch.

        Args:
            batch: ``(n, *input.shape)`` of ``input.dtype``, read-only; for an input of any shape, ``(n, elements)``.

        Returns:
            ``(n, *output.shape)`` of ``output.dtype``.
        """
        ...


@dataclass(frozen=True, slots=True)
class Description:
    """What the other packages may know of a model without loading it.

    Attributes:
        name: the name in the catalogue, also the default application and model name on the wire.
        framework: the library that computes it.
        input: one query's input.
        output: one query's output.
        weights: the weights it is loaded with.
        image: the tag of the container image that carries it.
        cpus_per_replica: default cores of a replica.
        gpus: default GPUs; empty for a model without GPU code.
    """

    name: str
    framework: str
    input: TensorSpec
    output: TensorSpec
    weights: str
    image: str
    cpus_per_replica: int = 1
    gpus: tuple[int, ...] = ()
