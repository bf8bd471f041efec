"""Checks answers of the Open Inference Protocol against the model's metadata."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from loadgen.targets.oip import inference_pb2 as pb
from loadgen.targets.oip.tensors import Tensor, count_fits, size_fits

_MOST_KNOWN = 16
"""Beginnings of answers that are remembered."""


class AnswerJudge:
    """Finds faults in answers; an answer that begins like one that was read is not read again.

    Args:
        outputs: what an answer carries, -1 for a dimension that may vary.
    """

    def __init__(self, outputs: Sequence[Tensor]) -> None:
        self._outputs = tuple(outputs)
        self._known: dict[int, bytes] = {}

    def grpc(self, answer: bytes) -> str | None:
        """What is wrong with a ``ModelInferResponse``, if anything is."""
        known = self._known.get(len(answer))
        if known is not None and answer.startswith(known):
            return None
        try:
            response = pb.ModelInferResponse.FromString(answer)
        except Exception:  # the library's own class of error has no stable home
            return "the answer is not a ModelInferResponse"
        tensors = [Tensor(row.name, row.datatype, tuple(row.shape)) for row in response.outputs]
        raw = list(response.raw_output_contents)
        wrong = self._wrong(tensors)
        if wrong is None:
            wrong = self._wrong_sizes(tensors, raw) if raw else _wrong_counts(tensors, response.outputs)
        if wrong is None and raw and not any(tensor.datatype == "BYTES" for tensor in tensors):
            del response.raw_output_contents[:]
            self._remember(len(answer), answer, response.SerializeToString())
        return wrong

    def http(self, answer: bytes, json_bytes: int | None) -> str | None:
        """What is wrong with the body of an answer over HTTP, if anything is.

        Args:
            answer: the body.
            json_bytes: the length of its JSON, where binary tensors follow.
        """
        known = self._known.get(len(answer))
        if known is not None and json_bytes == len(known) and answer.startswith(known):
            return None
        head = answer if json_bytes is None else answer[:json_bytes]
        try:
            rows = json.loads(head)["outputs"]
            tensors = [_tensor(row) for row in rows]
            sizes = [_binary_size(row) for row in rows]
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
            return "the answer is not an inference response"
        if (wrong := self._wrong(tensors)) is not None:
            return wrong
        at, raw = len(head), []
        for tensor, size, row in zip(tensors, sizes, rows, strict=True):
            if size is None:
                if not isinstance(row.get("data"), list):
                    return f"the answer has no data for {tensor.name}"
                if not count_fits(tensor, row["data"]):
                    return f"the answer's {tensor.text} has other data"
                continue
            raw.append((tensor, answer[at : at + size]))
            at += size
        wrong = self._wrong_sizes([tensor for tensor, _ in raw], [content for _, content in raw])
        if wrong is None and json_bytes is not None and not any(tensor.datatype == "BYTES" for tensor in tensors):
            self._remember(len(answer), answer, head)
        return wrong

    def _remember(self, size: int, answer: bytes, head: bytes) -> None:
        if answer.startswith(head) and len(self._known) < _MOST_KNOWN:
            self._known[size] = head

    def _wrong(self, tensors: Sequence[Tensor]) -> str | None:
        found = {tensor.name: tensor for tensor in tensors}
        for wanted in self._outputs:
            tensor = found.get(wanted.name)
            if tensor is None:
                return f"the answer has no {wanted.name}"
            if tensor.datatype != wanted.datatype or not _alike(tensor.shape, wanted.shape):
                return f"the answer has {tensor.text}, the model says {wanted.text}"
        return None

    def _wrong_sizes(self, tensors: Sequence[Tensor], contents: Sequence[bytes]) -> str | None:
        if len(tensors) != len(contents):
            return f"the answer has {len(contents)} contents for {len(tensors)} tensors"
        for tensor, content in zip(tensors, contents, strict=True):
            if not size_fits(tensor, content):
                return f"the answer's {tensor.text} has {len(content)} bytes"
        return None


def _wrong_counts(tensors: Sequence[Tensor], rows: Sequence[Any]) -> str | None:
    """The same for contents in the typed fields of ``InferOutputTensor``."""
    for tensor, row in zip(tensors, rows, strict=True):
        count = sum(len(values) for _, values in row.contents.ListFields())
        if count != tensor.elements:
            return f"the answer's {tensor.text} has {count} elements"
    return None


def _tensor(row: Mapping[str, Any]) -> Tensor:
    """An output's name, datatype and shape.

    Raises:
        KeyError, TypeError, ValueError: the output does not have them.
    """
    name, datatype, shape = row["name"], row["datatype"], tuple(row["shape"])
    if not isinstance(name, str) or not isinstance(datatype, str) or any(type(size) is not int for size in shape):
        raise ValueError(row)
    return Tensor(name, datatype, shape)


def _binary_size(row: Mapping[str, Any]) -> int | None:
    """The size of a tensor behind the JSON; None for a tensor within it.

    Raises:
        ValueError: it is not a size in bytes.
    """
    size = (row.get("parameters") or {}).get("binary_data_size")
    if size is not None and (type(size) is not int or size < 0):
        raise ValueError(size)
    return size


def _alike(shape: Sequence[int], wanted: Sequence[int]) -> bool:
    return len(shape) == len(wanted) and all(size in (-1, found) for size, found in zip(wanted, shape, strict=True))
