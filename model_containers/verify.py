"""Checks a loaded model against its description."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from model_containers.answers import as_array, checked
from model_containers.data_types import TEXT_LETTERS, DataType
from model_containers.errors import ModelError
from model_containers.model import Description, Model

BATCHES = (1, 2, 8)


@dataclass(frozen=True, slots=True)
class ModelCheck:
    """One finding."""

    name: str
    ok: bool
    detail: str


def verify(model: Model, description: Description, seed: int) -> list[ModelCheck]:
    """Run seeded batches of 1, 2 and 8 and look at the answers.

    Args:
        model: loaded.
        description: what it should be.
        seed: of the inputs.
    """
    batches = [count for count in BATCHES if count <= (description.max_batch or max(BATCHES))]
    try:
        inputs = samples(model, max(batches), seed)
        outputs = {count: model.predict(inputs[:count]) for count in batches}
        again = model.predict(inputs)
        if model.output.data_type is DataType.STRINGS:
            whole, again = (checked(answers, model.output, len(inputs)) for answers in (outputs[max(batches)], again))
            return _verify_texts(whole, again, reference(model, inputs))
        outputs, again = {count: as_array(answers) for count, answers in outputs.items()}, as_array(again)
        single = np.concatenate([as_array(model.predict(inputs[at : at + 1])) for at in range(len(inputs))])
    except (Exception, SystemExit) as error:  # a model may raise anything
        return [ModelCheck("answers", False, str(error) if isinstance(error, ModelError) else repr(error))]
    whole = outputs[max(batches)]
    scale = float(np.abs(single).max()) or 1.0
    difference = float(np.abs(whole - single).max()) / scale
    shapes = {count: output.shape for count, output in outputs.items()}
    shape = whole.shape[1:] if model.output.shape is None else model.output.shape
    expected = {count: (count, *shape) for count in batches}
    allowed = description.tolerance
    return [
        ModelCheck("shape", shapes == expected, f"{whole.shape} for a batch of {len(whole)}"),
        ModelCheck("dtype", str(whole.dtype) == model.output.dtype, str(whole.dtype)),
        ModelCheck("finite", bool(np.isfinite(whole).all()), f"{int(np.isfinite(whole).sum())} of {whole.size} values"),
        ModelCheck("deterministic", np.array_equal(whole, again), "the same batch twice"),
        ModelCheck("batch equals single", difference <= allowed, f"differs by {difference:.1e}, at most {allowed:.0e}"),
    ]


def _verify_texts(whole: np.ndarray, again: np.ndarray, single: np.ndarray) -> list[ModelCheck]:
    differ = int((whole != single).sum())
    return [
        ModelCheck("text", True, f"{len(whole)} texts for a batch of {len(whole)}"),
        ModelCheck("deterministic", np.array_equal(whole, again), "the same batch twice"),
        ModelCheck("batch equals single", not differ, f"{differ} of {len(whole)} texts differ"),
    ]


def reference(model: Model, inputs: np.ndarray) -> np.ndarray:
    """Answers of single calls, ``(n, *output.shape)``; texts as ``(n,)`` of bytes.

    Args:
        model: loaded.
        inputs: ``(n, *input.shape)`` in the model's dtype.

    Raises:
        ModelError: it fails.
    """
    singles = (inputs[index : index + 1] for index in range(len(inputs)))
    try:
        return np.concatenate([checked(model.predict(one), model.output, 1) for one in singles])
    except (Exception, SystemExit) as error:  # a model may raise anything
        raise ModelError(f"the model cannot answer an input: {error!r}") from None


def read_inputs(path: Path, model: Model) -> np.ndarray:
    """Inputs from an npy file, ``(n, *input.shape)`` of the model's dtype; for strings ``(n,)`` of bytes.

    Args:
        path: of the file.
        model: loaded; says which shape and dtype it takes.

    Raises:
        ModelError: the file cannot be read or holds something else.
    """
    try:
        inputs: np.ndarray = np.load(path, allow_pickle=False)
    except (OSError, ValueError) as error:
        raise ModelError(f"{path}: not an npy file: {error}") from None
    spec = model.input
    if not inputs.ndim:
        raise ModelError(f"{path}: holds one number, not inputs of (n, *{spec.shape})")
    if spec.dtype == "str" and inputs.dtype.kind == "S" and inputs.ndim == 1:
        return inputs.astype(object)
    taken = spec.shape is None or (len(inputs) and inputs[0].shape in (spec.shape, *spec.other_shapes))
    if not len(inputs) or str(inputs.dtype) != spec.dtype or not taken:
        raise ModelError(f"{path}: holds {inputs.dtype} {inputs.shape}, not {spec.dtype} of (n, *{spec.shape})")
    return inputs


def samples(model: Model, count: int, seed: int) -> np.ndarray:
    """Inputs that a model takes, as it wants a batch: its own, else letters, or numbers uniform in [0, 1).

    Whole numbers are 0 and 1, which any vocabulary has, and bytes are those of ASCII.

    Args:
        model: loaded; its own `samples` comes first.
        count: of inputs.
        seed: of what is drawn.
    """
    if hasattr(model, "samples"):
        own: np.ndarray = model.samples(count, seed)
        return own
    generator = np.random.default_rng(seed)
    if model.input.dtype == "str":
        letters = generator.integers(ord("a"), ord("z") + 1, (count, TEXT_LETTERS), dtype=np.uint8)
        texts = np.empty(count, dtype=object)
        texts[:] = [row.tobytes() for row in letters]
        return texts
    shape = (8,) if model.input.shape is None else model.input.shape
    scale = {"floats": 1, "doubles": 1, "integers": 2}.get(model.input.data_type.canonical, 128)
    return (generator.random((count, *shape)) * scale).astype(model.input.dtype)
