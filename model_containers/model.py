"""The interface of a model, and its description."""

from __future__ import annotations

import math
import operator
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass, fields
from typing import Any, Literal, Protocol

import numpy as np

from model_containers.data_types import DataType
from model_containers.errors import ModelError

Answer = Literal["features", "probabilities", "label", "number"]
"""What a model answers with: an image's features, class probabilities, one class label, or one number."""

TOLERANCE = 2e-5
"""By how much answers of a batch may differ from those of single calls, see `Description.tolerance`."""


@dataclass(frozen=True, slots=True)
class TensorSpec:
    """Shape and dtype of one query's input or output, without the batch dimension.

    Attributes:
        shape: the dimensions; None where any shape will do; ``()`` for a string.
        dtype: a numpy dtype name, such as ``float32``; ``str`` for strings, which are bytes of any length. A numpy type
            such as ``np.float32`` becomes its name.
        other_shapes: shapes that are taken as well, each of another size.
    """

    shape: tuple[int, ...] | None
    dtype: str
    other_shapes: tuple[tuple[int, ...], ...] = ()

    def __post_init__(self) -> None:
        with suppress(TypeError, ValueError):  # an invalid dtype is refused where its owner is known
            known = np.dtype(self.dtype or "none")  # numpy would take None for float64
            object.__setattr__(self, "dtype", "str" if known.kind == "U" else known.name)
        with suppress(TypeError):
            whole = None if self.shape is None else tuple(map(operator.index, self.shape))
            object.__setattr__(self, "shape", () if self.dtype == "str" else whole)

    @property
    def data_type(self) -> DataType:
        """The wire's code for this dtype."""
        return DataType.of_dtype(np.dtype(self.dtype))

    @property
    def nbytes(self) -> int | None:
        """Bytes of one query's tensor; None where they vary."""
        if self.shape is None or self.data_type is DataType.STRINGS:
            return None
        return self._bytes_of(self.shape)

    def shape_of(self, size_bytes: int) -> tuple[int, ...] | None:
        """The shape of a numeric tensor of `size_bytes`; None where the model takes none of this size."""
        if self.shape is None:
            elements, rest = divmod(size_bytes, np.dtype(self.dtype).itemsize)
            return (elements,) if elements and not rest else None
        return next((shape for shape in (self.shape, *self.other_shapes) if self._bytes_of(shape) == size_bytes), None)

    def _bytes_of(self, shape: tuple[int, ...]) -> int:
        return math.prod(shape) * np.dtype(self.dtype).itemsize


@dataclass(frozen=True, slots=True)
class LoadOptions:
    """How a replica wants its model loaded.

    Attributes:
        weights: ``seeded``, ``imagenet``, or the path of a file.
        seed: of everything drawn at random.
        threads: the framework's threads, as many as the replica has cores.
        max_batch: the largest batch it will be given.
        gpu: use the one visible GPU; False hides GPUs from the framework.
        gpu_memory_fraction: share of the GPU's memory that the framework may take.
        xla: compile with XLA, for a model that can.
        input_shape: of one input, for a model that takes several; None for its usual one.
        input_type: what its queries are made of, for a model that takes several types; None for its usual one.
    """

    weights: str = "seeded"
    seed: int = 0
    threads: int = 1
    max_batch: int = 1
    gpu: bool = False
    gpu_memory_fraction: float = 0.9
    xla: bool = False
    input_shape: tuple[int, ...] | None = None
    input_type: DataType | None = None


class Model(Protocol):
    """One model, batch-native: a forward pass is one call per batch.

    Two methods are optional: ``load(options: LoadOptions) -> None`` is called once, in the replica's process, before
    anything is predicted, and ``samples(count: int, seed: int) -> np.ndarray`` makes a batch of inputs to warm up and
    to check with, for a model that refuses random ones.
    """

    @property
    def name(self) -> str:
        """What it is called on the wire."""
        ...

    @property
    def input(self) -> TensorSpec:
        """One query's input."""
        ...

    @property
    def output(self) -> TensorSpec:
        """One query's output."""
        ...

    def predict(self, batch: np.ndarray) -> np.ndarray:
        """Answer a batch.

        Args:
            batch: ``(n, *input.shape)`` of ``input.dtype``, read-only; for an input of any shape ``(n, elements)``;
                for strings ``(n,)`` of `bytes` objects.

        Returns:
            ``(n, *output.shape)`` of ``output.dtype``; texts as ``(n,)`` of `str`, or of `bytes` in UTF-8.
        """
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Description:
    """What the other packages may know of a model without loading it.

    Attributes:
        name: what it is called on the wire: of the application and of the model.
        framework: the library that computes it.
        input: one query's input.
        output: one query's output.
        takes: the types of input that it can be loaded for.
        answer: what its output means.
        tolerance: an answer may differ from a single call's by this, relative to the largest number among the
            answers: libraries sum in another order in a batch. 0 where answers are exact.
        pixels: the shape of the image that an input is, whatever its type; None where inputs are no images.
        weights: the weights it is loaded with; ``none`` for a model without.
        image: the tag of the container image that carries it; empty for a model without one.
        cpus: default cores of all replicas together; empty to leave them to the planner.
        cpus_per_replica: default cores of a replica.
        gpus: default GPUs.
        gpu_capable: it has GPU code.
        max_batch: the largest batch that it takes; None for any.
        input_names: what its inputs are called in files of them, in the order of a query; empty where they have none.
        note: what was chosen for it that its user may want otherwise, a line; empty where nothing was.
    """

    name: str
    framework: str
    input: TensorSpec
    output: TensorSpec
    takes: tuple[str, ...]
    answer: Answer = "features"
    tolerance: float = TOLERANCE
    pixels: tuple[int, int, int] | None = None
    weights: str = "none"
    image: str = ""
    cpus: tuple[int, ...] = ()
    cpus_per_replica: int = 1
    gpus: tuple[int, ...] = ()
    gpu_capable: bool = False
    max_batch: int | None = None
    input_names: tuple[str, ...] = ()
    note: str = ""

    def to_row(self) -> dict[str, Any]:
        """As JSON takes it, with the wire types and sizes of input and output beside their dtypes."""
        row = asdict(self)
        for side, spec in (("input", self.input), ("output", self.output)):
            row[side] |= {"type": spec.data_type.canonical, "nbytes": spec.nbytes}
        return row

    @classmethod
    def from_row(cls, row: Mapping[str, Any]) -> Description:
        """Read what `to_row` made, also after JSON turned its tuples into lists.

        Raises:
            ModelError: it is not a description.
        """
        try:
            values = {field.name: _tuples(row[field.name]) for field in fields(cls)}
            for side in ("input", "output"):
                values[side] = TensorSpec(
                    **{field.name: _tuples(row[side][field.name]) for field in fields(TensorSpec)}
                )
        except (KeyError, TypeError) as error:
            raise ModelError(f"a model's description cannot be read: {error!r}") from None
        return cls(**values)


def _tuples(value: Any) -> Any:
    return tuple(_tuples(item) for item in value) if isinstance(value, list) else value
