"""What is sent of an ONNX file's inputs and outputs. Pure.

A query carries one array of a dtype of the wire, and so does its answer. What a file has beyond that:

* Several inputs: those that belong to ``input_ids`` are made from its shape (`_DERIVED`). The others lie back to back
  in a query, in the file's order, where they have one type and fixed shapes.
* Several outputs: the one that was named, else the first that can be sent.
* Other dtypes: sent as one of the wire (`_CARRIERS`).
* A fixed batch size: `Graph.rows`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from model_containers.errors import ModelError
from model_containers.model import LoadOptions

_CARRIERS = {
    "tensor(float)": ("float32", "float32"),
    "tensor(float16)": ("float16", "float32"),
    "tensor(double)": ("float64", "float64"),
    "tensor(int64)": ("int64", "int32"),
    "tensor(int32)": ("int32", "int32"),
    "tensor(int16)": ("int16", "int32"),
    "tensor(uint16)": ("uint16", "int32"),
    "tensor(uint32)": ("uint32", "int32"),
    "tensor(uint64)": ("uint64", "int32"),
    "tensor(uint8)": ("uint8", "uint8"),
    "tensor(int8)": ("int8", "int8"),
    "tensor(bool)": ("bool", "uint8"),
    "tensor(string)": ("str", "str"),
}
"""Types of ONNX: the dtype of their arrays, and the dtype of the wire that carries them."""

TOKENS = "input_ids"
_DERIVED = ("attention_mask", "token_type_ids", "position_ids")
"""Inputs of the shape of `TOKENS` that follow from it: all ones, all zeros, and 0, 1, 2 …"""


class Tensor(NamedTuple):
    """An input or output as the file declares it; no dimensions where it declares none."""

    name: str
    type: str
    dims: Sequence[int | str | None]

    @property
    def dtype(self) -> str:
        """Of its arrays."""
        return _CARRIERS[self.type][0]

    @property
    def wire_dtype(self) -> str:
        """Of the wire's arrays that carry it."""
        return _CARRIERS[self.type][1]

    @property
    def shape(self) -> tuple[int, ...] | None:
        """Of one query; None where a dimension is free, or none is declared."""
        sizes = tuple(size for size in self.dims[1:] if isinstance(size, int))
        return sizes if self.dims and len(sizes) == len(self.dims) - 1 else None

    @property
    def sendable(self) -> bool:
        """Whether the wire can carry it: a string is one text for each query."""
        single = all(size == 1 or not isinstance(size, int) for size in self.dims[1:])
        return self.type in _CARRIERS and (self.type != "tensor(string)" or single)


@dataclass(frozen=True, slots=True)
class Graph:
    """What is sent of a file's inputs and outputs.

    Attributes:
        inputs: that a query carries, each with the shape of one query; None for one of any length.
        derived: that follow from the first of them.
        output: that answers.
        rows: the fixed batch size; None for any.
    """

    inputs: tuple[tuple[Tensor, tuple[int, ...] | None], ...]
    derived: tuple[Tensor, ...]
    output: Tensor
    rows: int | None


def note(path: str, chosen: Tensor, outputs: Sequence[Tensor]) -> str:
    """A line on the outputs that were not chosen; empty where there are none.

    Args:
        path: of the file.
        chosen: the one that answers.
        outputs: all of them.
    """
    said = [f"{tensor.name} cannot be sent: {_why_not(tensor)}" for tensor in outputs if not tensor.sendable]
    others = [tensor.name for tensor in outputs if tensor.sendable and tensor != chosen]
    if others:
        said.insert(0, f"onnx:{path}#{others[0]} chooses another of {', '.join(others)}")
    return f"{path} answers with its output {chosen.name}; {'; '.join(said)}" if said else ""


def _why_not(tensor: Tensor) -> str:
    if tensor.type.startswith("seq(map("):
        return "it is a list of dictionaries; export it with options={'zipmap': False}"
    if tensor.type == "tensor(string)":
        texts = list(tensor.dims[1:])
        return f"it has {texts} texts for each query, and one can be sent; export it with one, or with numbers"
    return f"it is a {tensor.type}; {', '.join(_CARRIERS)} can"


def tensors_of(declared: Sequence[Any]) -> list[Tensor]:
    """Inputs or outputs as ONNX Runtime describes them."""
    return [Tensor(tensor.name, tensor.type, tensor.shape) for tensor in declared]


def graph_of(path: str, output: str | None, session: Any, options: LoadOptions) -> Graph:
    """What is sent of a file.

    Args:
        path: of the file.
        output: the one that answers; None for the first that can.
        session: of ONNX Runtime.
        options: the shape of its input, where the file leaves it open.

    Raises:
        ModelError: the wire cannot carry it.
    """
    inputs = tensors_of(session.get_inputs())
    for tensor in inputs:
        if not tensor.sendable:
            raise ModelError(f"{path}: the input {tensor.name} cannot be sent: {_why_not(tensor)}")
    tokens = next((tensor for tensor in inputs if tensor.name == TOKENS), None)
    derived = tuple(
        tensor
        for tensor in inputs
        if tokens is not None and tensor.name in _DERIVED and len(tensor.dims) == len(tokens.dims)
    )
    carried = [tensor for tensor in inputs if tensor not in derived]
    if not carried:
        raise ModelError(f"{path}: has no input; export it with one")
    shapes = _shapes(path, carried, options)
    return Graph(
        tuple(zip(carried, shapes, strict=True)),
        derived,
        _output(path, output, tensors_of(session.get_outputs())),
        _rows(path, inputs),
    )


def _shapes(path: str, carried: Sequence[Tensor], options: LoadOptions) -> list[tuple[int, ...] | None]:
    """The shape of one query's part of each input; None for an input of any length."""
    if len(carried) > 1:
        what = ", ".join(f"{tensor.name}: {tensor.type} {list(tensor.dims)}" for tensor in carried)
        problem = f"{path}: has {len(carried)} inputs ({what})"
        if len({tensor.wire_dtype for tensor in carried}) > 1 or carried[0].dtype == "str":
            raise ModelError(f"{problem}, and a query carries numbers of one type; export it with one input")
        if any(tensor.shape is None for tensor in carried):
            raise ModelError(f"{problem}, some of free size; export it with fixed sizes, or with one input")
        if options.input_shape is not None:
            raise ModelError(f"{problem}, whose shapes are those of the file; leave --input-shape out")
        return [tensor.shape or () for tensor in carried]
    (tensor,) = carried
    if 0 in tensor.dims:
        raise ModelError(f"{path}: takes inputs of {list(tensor.dims)}, which have no elements; export it with others")
    if tensor.dtype == "str":
        return [(1,) * (len(tensor.dims) - 1)]
    wanted, declared = options.input_shape, tensor.dims[1:]
    if wanted is None:
        if tensor.shape is None and len(declared) != 1:
            size = f"inputs of {list(declared)}" if tensor.dims else "inputs of a size that the file leaves open"
            raise ModelError(f"{path}: takes {size}; name one with --input-shape")
        return [tensor.shape]
    fits = len(wanted) == len(declared) and all(
        size == asked for size, asked in zip(declared, wanted, strict=True) if isinstance(size, int)
    )
    if tensor.dims and not fits:
        raise ModelError(f"--input-shape {'x'.join(map(str, wanted))}: {path} takes {list(declared)}; use that")
    return [wanted]


def _output(path: str, named: str | None, outputs: Sequence[Tensor]) -> Tensor:
    """The output that answers."""
    if named is None:
        chosen = next((tensor for tensor in outputs if tensor.sendable), outputs[0])
    else:
        found = next((tensor for tensor in outputs if tensor.name == named), None)
        if found is None:
            names = ", ".join(tensor.name for tensor in outputs)
            raise ModelError(f"{path}: has no output {named!r}; choose one of {names}")
        chosen = found
    if not chosen.sendable:
        raise ModelError(f"{path}: the output {chosen.name} cannot be sent: {_why_not(chosen)}")
    return chosen


def _rows(path: str, inputs: Sequence[Tensor]) -> int | None:
    """The batch size that the inputs have; None for any."""
    rows = {tensor.dims[0] for tensor in inputs if tensor.dims and isinstance(tensor.dims[0], int)}
    flat = next((tensor for tensor in inputs if len(tensor.dims) == 1 and tensor.dims[0] in rows - {1}), None)
    if len(rows) > 1 or flat is not None:
        name = (flat or inputs[0]).name
        raise ModelError(f"{path}: the input {name} has no dimension for the batch; export it with a free first one")
    return next((size for size in rows if isinstance(size, int)), None)
