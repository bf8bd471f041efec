"""The models there are: name → description and loader; imports no framework."""

from __future__ import annotations

import hashlib
import importlib
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

from model_containers.errors import ModelError
from model_containers.model import Description, LoadOptions, Model, TensorSpec


@dataclass(frozen=True, slots=True)
class _Entry:
    """A model's module in `model_containers.models`, and what it says of itself."""

    module: str
    description: Description
    any_shape: bool = False
    has_weights: bool = True


_CATALOG = {
    entry.description.name: entry
    for entry in (
        _Entry(
            "inception",
            Description(
                name="inception",
                framework="tensorflow",
                input=TensorSpec((299, 299, 3), "float32"),
                output=TensorSpec((2048,), "float32"),
                weights="",
                image="model-comp/inception-feats",
                gpus=(0,),
            ),
        ),
        _Entry(
            "noop",
            Description(
                name="noop",
                framework="none",
                input=TensorSpec(None, "float32"),
                output=TensorSpec((1,), "float32"),
                weights="",
                image="model-comp/noop",
            ),
            any_shape=True,
            has_weights=False,
        ),
    )
}


def describe(name: str, options: LoadOptions = LoadOptions()) -> Description:  # noqa: B008 - frozen
    """What a model is, loaded with these options, without loading it.

    Raises:
        ModelError: there is no such model, or it cannot be loaded so.
    """
    entry = _entry(name)
    description = entry.description
    if options.input_shape is not None:
        if not entry.any_shape and options.input_shape != description.input.shape:
            raise ModelError(f"{name} takes inputs of one shape only: leave --input-shape out")
        description = replace(description, input=replace(description.input, shape=options.input_shape))
    return replace(description, weights=_weights_text(options) if entry.has_weights else "none")


def load(name: str, options: LoadOptions = LoadOptions()) -> Model:  # noqa: B008 - frozen
    """Load a model.

    Raises:
        ModelError: there is no such model, its framework is not installed, or its weights cannot be had.
    """
    description = describe(name, options)
    module = importlib.import_module(f"model_containers.models.{_entry(name).module}")
    factory: Callable[[Description, LoadOptions], Model] = module.load
    return factory(description, options)


def _entry(name: str) -> _Entry:
    try:
        return _CATALOG[name]
    except KeyError:
        raise ModelError(f"there is no model {name!r}: choose one of {', '.join(_CATALOG)}") from None


def _weights_text(options: LoadOptions) -> str:
    """Which weights exactly, for the results."""
    if options.weights == "seeded":
        return f"seeded:{options.seed}"
    if options.weights == "imagenet":
        return "imagenet"
    path = Path(options.weights)
    try:
        with path.open("rb") as file:
            return f"file:{path} sha256:{hashlib.file_digest(file, 'sha256').hexdigest()}"
    except OSError as error:
        raise ModelError(f"weights {path} cannot be read ({error.strerror}): use seeded, imagenet or a file") from None
