"""What a model answers, checked against what it says of itself. Pure."""

from __future__ import annotations

from typing import Any

import numpy as np

from model_containers.data_types import DataType
from model_containers.model import TensorSpec


def checked(answers: Any, spec: TensorSpec, count: int) -> np.ndarray:
    """A batch's answers as they are sent: an array of the model's dtype; texts as ``(n,)`` of bytes, in UTF-8.

    Args:
        answers: what `predict` returned; texts may be `str` or `bytes`, in a list or an array.
        spec: what the model says of one answer.
        count: of the batch.

    Raises:
        ValueError: they are of another number, shape or dtype.
    """
    if spec.dtype == DataType.STRINGS.dtype:
        return _texts(answers, count)
    array = as_array(answers)
    shape = array.shape[1:] if spec.shape is None else spec.shape
    if array.shape != (count, *shape) or array.dtype != spec.dtype:
        said = f"{spec.dtype} {(count, *(spec.shape or ()))}"
        cast = f"; cast it with astype({spec.dtype!r})" if array.shape == (count, *shape) else ""
        raise ValueError(f"it answers with {array.dtype} {array.shape}, not {said}{cast}")
    return array


def as_array(answers: Any) -> np.ndarray:
    """What `predict` returned as an array: that of an array or of a list, or of what numpy takes for one.

    Raises:
        ValueError: it is not an array of numbers.
    """
    array = np.ascontiguousarray(answers)
    if array.dtype == object:
        raise ValueError(f"it answers with {type(answers).__name__}, not with an array of numbers")
    return array


def _texts(answers: Any, count: int) -> np.ndarray:
    given = np.asarray(answers, dtype=object)
    if not given.ndim or given.size != count:
        found = f"{given.size} texts" if given.ndim else repr(answers)
        raise ValueError(f"it answers with {found}, not with a text for each of a batch of {count}")
    texts = np.empty(count, dtype=object)
    texts[:] = [_utf8(text) for text in given.reshape(-1).tolist()]
    return texts


def _utf8(text: object) -> bytes:
    if isinstance(text, str):
        return text.encode()
    if not isinstance(text, bytes):
        raise ValueError(f"it answers with {text!r:.40}, not with a text")
    text.decode()
    return text
