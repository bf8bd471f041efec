"""Requests and answers of the Open Inference Protocol as bytes; pure.

Source: https://github.com/kserve/open-inference-protocol, "Inference"; the binary tensor data extension for tensors
behind the JSON over HTTP; the system shared memory extension for tensors that are somewhere else.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from loadgen.targets.oip import inference_pb2 as pb
from loadgen.targets.oip.tensors import Tensor, as_json, least, zeros

REQUEST_ID = "loadgen"
"""The same for all: an answer belongs to a request by its stream or connection, so no byte of one ever changes."""


@dataclass(frozen=True, slots=True)
class Shared:
    """Content that lies in a region of shared memory.

    Attributes:
        region: the name under which the server knows it.
        offset: where the content begins, bytes.
        size_bytes: its length.
    """

    region: str
    offset: int
    size_bytes: int

    @property
    def parameters(self) -> dict[str, str | int]:
        """In the form of a tensor's parameters."""
        parameters: dict[str, str | int] = {
            "shared_memory_region": self.region,
            "shared_memory_byte_size": self.size_bytes,
        }
        return parameters | ({"shared_memory_offset": self.offset} if self.offset else {})


Content = bytes | Shared


Parameters = Mapping[str, bool | int | float | str]
"""Parameters of a request, by name; the server defines their meaning."""


def grpc_request(
    model: str,
    version: str,
    tensors: Sequence[Tensor],
    contents: Sequence[Content],
    parameters: Parameters | None = None,
) -> bytes:
    """A ``ModelInferRequest`` as a call carries it, see `prefixed`.

    Args:
        model: its name.
        version: empty for the server's choice.
        tensors: the inputs, with their shapes.
        contents: one for each tensor: its bytes, or where they are in shared memory.
        parameters: of the request; None for none.
    """
    request = pb.ModelInferRequest(model_name=model, model_version=version, id=REQUEST_ID)
    for key, value in (parameters or {}).items():
        _set(request.parameters[key], value)
    for tensor, content in zip(tensors, contents, strict=True):
        row = request.inputs.add(name=tensor.name, datatype=tensor.datatype, shape=tensor.shape)
        if isinstance(content, Shared):
            for key, value in content.parameters.items():
                _set(row.parameters[key], value)
        else:
            request.raw_input_contents.append(content)
    return prefixed(request.SerializeToString())


def _set(parameter: pb.InferParameter, value: bool | float | str) -> None:
    """Write a value into the field of its type."""
    if isinstance(value, bool):
        parameter.bool_param = value
    elif isinstance(value, str):
        parameter.string_param = value
    elif not isinstance(value, int):
        parameter.double_param = value
    elif value <= _MOST_INT64:
        parameter.int64_param = value
    else:
        parameter.uint64_param = value


_MOST_INT64 = (1 << 63) - 1


def prefixed(message: bytes) -> bytes:
    """A message as gRPC sends it: after a flag for no compression and its length in four bytes."""
    return b"\0" + len(message).to_bytes(4, "big") + message


def http_request(
    tensors: Sequence[Tensor],
    contents: Sequence[Content],
    outputs: Sequence[Tensor],
    *,
    binary: bool,
    parameters: Parameters | None = None,
) -> tuple[bytes, int | None]:
    """The body of a ``POST …/infer``, and the length of its JSON where binary tensors follow.

    Args:
        tensors: the inputs, with their shapes.
        contents: one for each tensor: its bytes, or where they are in shared memory.
        outputs: what the answer is to carry; none for all there are.
        binary: tensors are bytes behind the JSON, in requests and answers; otherwise JSON has them.
        parameters: of the request; None for none.

    Raises:
        ConfigError: a datatype cannot be written as JSON.
    """
    rows: list[dict[str, Any]] = []
    behind = []
    for tensor, content in zip(tensors, contents, strict=True):
        row: dict[str, Any] = {"name": tensor.name, "shape": list(tensor.shape), "datatype": tensor.datatype}
        if isinstance(content, Shared):
            row["parameters"] = content.parameters
        elif binary:
            row["parameters"] = {"binary_data_size": len(content)}
            behind.append(content)
        else:
            row["data"] = as_json(tensor, content)
        rows.append(row)
    document: dict[str, Any] = {"id": REQUEST_ID, "inputs": rows}
    given = dict(parameters or {}) | ({"binary_data_output": True} if binary and not outputs else {})
    if given:
        document["parameters"] = given
    if binary and outputs:
        document["outputs"] = [{"name": tensor.name, "parameters": {"binary_data": True}} for tensor in outputs]
    head = json.dumps(document, separators=(",", ":")).encode()
    return b"".join([head, *behind]), len(head) if binary else None


def grpc_answer(outputs: Sequence[Tensor]) -> bytes:
    """A ``ModelInferResponse`` with outputs of zeros.

    Args:
        outputs: what it carries; a dimension that may vary is 1.
    """
    response = pb.ModelInferResponse(id=REQUEST_ID)
    for tensor in map(least, outputs):
        response.outputs.add(name=tensor.name, datatype=tensor.datatype, shape=tensor.shape)
        response.raw_output_contents.append(zeros(tensor))
    return response.SerializeToString()


def http_answer(outputs: Sequence[Tensor], *, binary: bool) -> tuple[bytes, int | None]:
    """The same over HTTP: the body, and the length of its JSON where binary tensors follow.

    Args:
        outputs: what it carries; a dimension that may vary is 1.
        binary: tensors are bytes behind the JSON; otherwise JSON has them.
    """
    rows: list[dict[str, Any]] = []
    behind = []
    for tensor in map(least, outputs):
        row: dict[str, Any] = {"name": tensor.name, "datatype": tensor.datatype, "shape": list(tensor.shape)}
        content = zeros(tensor)
        if binary:
            row["parameters"] = {"binary_data_size": len(content)}
            behind.append(content)
        else:
            row["data"] = [0] * tensor.elements if tensor.datatype in ("FP16", "BF16") else as_json(tensor, content)
        rows.append(row)
    head = json.dumps({"id": REQUEST_ID, "outputs": rows}, separators=(",", ":")).encode()
    return b"".join([head, *behind]), len(head) if binary else None
