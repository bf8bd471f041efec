"""Checks that a loaded model is what it says it is."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from model_containers.errors import ModelError
from model_containers.model import Model

BATCHES = (1, 2, 8)
TOLERANCE = 1e-4
"""A batch may differ from single calls by this, relative to the largest output: libraries sum in another order."""


@dataclass(frozen=True, slots=True)
class Check:
    """One finding."""

    name: str
    ok: bool
    detail: str


def verify(model: Model, seed: int) -> list[Check]:
    """Run seeded batches of 1, 2 and 8 and look at the answers."""
    inputs = _inputs(model, max(BATCHES), seed)
    outputs = {count: model.predict(inputs[:count]) for count in BATCHES}
    whole = outputs[max(BATCHES)]
    single = reference(model, inputs)
    scale = float(np.abs(single).max()) or 1.0
    difference = float(np.abs(whole - single).max()) / scale
    shapes = {count: output.shape for count, output in outputs.items()}
    expected = {count: (count, *(model.output.shape or whole.shape[1:])) for count in BATCHES}
    return [
        Check("shape", shapes == expected, f"{whole.shape} for a batch of {len(whole)}"),
        Check("dtype", str(whole.dtype) == model.output.dtype, str(whole.dtype)),
        Check("finite", bool(np.isfinite(whole).all()), f"{int(np.isfinite(whole).sum())} of {whole.size} values"),
        Check("deterministic", np.array_equal(whole, model.predict(inputs)), "the same batch twice"),
        Check("batch equals single", difference <= TOLERANCE, f"differs by {difference:.1e}, at most {TOLERANCE:.0e}"),
    ]


def reference(model: Model, inputs: np.ndarray) -> np.ndarray:
    """Answers of single calls, ``(n, *output.shape)``."""
    return np.concatenate([model.predict(inputs[index : index + 1]) for index in range(len(inputs))])


def read_inputs(path: Path, model: Model) -> np.ndarray:
    """Inputs from an npy file, ``(n, *input.shape)`` of the model's dtype.

    Raises:
        ModelError: the file cannot be read or holds something else.
    """
    try:
        inputs: np.ndarray = np.load(path, allow_pickle=False)
    except (OSError, ValueError) as error:
        raise ModelError(f"{path} is not an npy file: {error}") from None
    shape = model.input.shape
    if not len(inputs) or str(inputs.dtype) != model.input.dtype or (shape and inputs.shape[1:] != shape):
        raise ModelError(f"{path} holds {inputs.dtype} {inputs.shape}, not {model.input.dtype} of (n, *{shape})")
    return inputs


def _inputs(model: Model, count: int, seed: int) -> np.ndarray:
    """Pixels for images, else uniform in [0, 1)."""
    shape = model.input.shape or (8,)
    scale = 255.0 if len(shape) == 3 else 1.0
    return (np.random.default_rng(seed).random((count, *shape)) * scale).astype(model.input.dtype)
