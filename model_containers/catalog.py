"""The catalogue of models: name → description and loader; imports no framework.

A name is one of the catalogue, ``package.module:factory`` for a model of one's own, or ``onnx:FILE``.
"""

from __future__ import annotations

import importlib
import os
import sys
from collections.abc import Callable, Collection, Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from model_containers.artefacts import digest
from model_containers.data_types import OUTPUT_TYPES, DataType
from model_containers.errors import ModelError, WireError
from model_containers.model import TOLERANCE, Description, LoadOptions, Model, TensorSpec

_IMAGE = TensorSpec((299, 299, 3), "float32")
_FEATURES = TensorSpec((4096,), "float32")
_LABEL = TensorSpec((1,), "float32")
_CLASSES = TensorSpec((10,), "float32")
_IMAGE_TYPES = ("floats", "bytes", "strings")
_FLOATS = ("floats",)

_DESCRIPTIONS = (
    Description(
        name="vgg",
        framework="tensorflow",
        input=replace(_IMAGE, other_shapes=((224, 224, 3),)),
        output=_FEATURES,
        takes=_IMAGE_TYPES,
        pixels=(299, 299, 3),
        image="model-comp/vgg-feats",
        cpus=(6, 7, 14, 15),
        cpus_per_replica=2,
        gpus=(0,),
        gpu_capable=True,
    ),
    Description(
        name="inception",
        framework="tensorflow",
        input=_IMAGE,
        output=TensorSpec((2048,), "float32"),
        takes=_IMAGE_TYPES,
        pixels=(299, 299, 3),
        image="model-comp/inception-feats",
        cpus=(16, 17, 18),
        gpus=(0,),
        gpu_capable=True,
    ),
    Description(
        name="lgbm",
        framework="lightgbm",
        input=TensorSpec((2048,), "float32"),
        output=_CLASSES,
        takes=_FLOATS,
        answer="probabilities",
        image="model-comp/lgbm",
        cpus=(28, 29),
    ),
    Description(
        name="kpca-svm",
        framework="sklearn",
        input=_FEATURES,
        output=_LABEL,
        takes=_FLOATS,
        answer="label",
        tolerance=0.0,
        image="model-comp/kpca-svm",
        cpus=tuple(range(20, 27)),
        cpus_per_replica=2,
    ),
    Description(
        name="kernel-svm",
        framework="sklearn",
        input=_FEATURES,
        output=_LABEL,
        takes=_FLOATS,
        answer="label",
        tolerance=0.0,
        image="model-comp/kernel-svm",
        cpus=tuple(range(20, 27)),
    ),
    Description(
        name="elastic-net",
        framework="sklearn",
        input=_FEATURES,
        output=_CLASSES,
        takes=_FLOATS,
        answer="probabilities",
        image="model-comp/elastic-net",
        cpus=tuple(range(20, 27)),
    ),
    Description(
        name="noop",
        framework="none",
        input=TensorSpec(None, "float32"),
        output=TensorSpec((1,), "float32"),
        takes=("floats", "doubles", "integers", "bytes"),
        answer="number",
        tolerance=0.0,
        image="model-comp/noop",
    ),
)
_CATALOG = {description.name: description for description in _DESCRIPTIONS}

NAMES = tuple(_CATALOG)
"""The catalogue, in the order in which it is listed."""

_TRAINED = frozenset({"lightgbm", "sklearn"})
"""Frameworks whose models are trained on this machine, once; the artefact is kept."""


def describe(name: str, options: LoadOptions = LoadOptions()) -> Description:  # noqa: B008 - frozen
    """What a model is, loaded with these options, without loading it.

    Args:
        name: of the catalogue, ``package.module:factory`` or ``onnx:FILE``.
        options: how it would be loaded.

    Raises:
        ModelError: there is no such model, or it cannot be loaded so.
    """
    if name.startswith("onnx:"):
        return _module("onnx").describe(name.removeprefix("onnx:"), options)  # type: ignore[no-any-return]
    if ":" in name:
        return _describe_own(name, _own(name), options)
    if name not in _CATALOG:
        raise ModelError(
            f"there is no model {name!r}: choose one of {', '.join(NAMES)}; package.module:factory; or onnx:FILE"
        )
    description = _with_input(_CATALOG[name], options)
    if options.xla and description.framework != "tensorflow":
        raise ModelError(f"{name} cannot be compiled with XLA: leave --xla out")
    if options.xla and options.input_type is DataType.STRINGS:
        raise ModelError("XLA cannot compile the decoding of images: leave --xla or --input-type strings out")
    return replace(description, weights=_weights_text(description, options))


def load(name: str, options: LoadOptions = LoadOptions()) -> Model:  # noqa: B008 - frozen
    """Load a model.

    Args:
        name: of the catalogue, ``package.module:factory`` or ``onnx:FILE``.
        options: weights, GPU, threads and the rest.

    Raises:
        ModelError: there is no such model, its framework is not installed, or its weights cannot be had.
    """
    if ":" in name and not name.startswith("onnx:"):
        model = _own(name)
        _describe_own(name, model, options)
        if hasattr(model, "load"):
            model.load(options)
        return model  # type: ignore[no-any-return]
    description = describe(name, options)
    module = "onnx" if name.startswith("onnx:") else name.replace("-", "_")
    factory: Callable[[Description, LoadOptions], Model] = _module(module).load
    return factory(description, options)


def train(name: str, seed: int) -> Path | None:
    """Make a model's artefact, unless it is there; None for a model that has none.

    Args:
        name: as for `describe`.
        seed: of data and training.

    Raises:
        ModelError: there is no such model, its framework is not installed, or the artefact cannot be kept.
    """
    description = describe(name)
    if description.framework not in _TRAINED:
        return None
    from model_containers.train import artefact  # noqa: PLC0415 - only here

    return artefact(description, seed)


def _module(name: str) -> Any:
    return importlib.import_module(f"model_containers.models.{name}")


def _with_input(description: Description, options: LoadOptions) -> Description:
    """The description with the input's type and shape as asked."""
    spec, wanted = description.input, options.input_shape
    _check_type(description.name, description.takes, options)
    data_type = spec.data_type if options.input_type is None else options.input_type
    shapes = () if spec.shape is None else (spec.shape, *spec.other_shapes)
    if wanted is not None and shapes and wanted not in shapes:
        texts = " or ".join("x".join(map(str, shape)) for shape in shapes)
        raise ModelError(f"--input-shape {'x'.join(map(str, wanted))}: {description.name} takes {texts}")
    shape = wanted or spec.shape
    pixels = (shape[0], shape[1], shape[2]) if description.pixels and shape else None
    if data_type is DataType.STRINGS:
        return replace(description, input=TensorSpec((), data_type.dtype), pixels=pixels)
    others = tuple(other for other in shapes if other != shape)
    return replace(description, input=TensorSpec(shape, data_type.dtype, others), pixels=pixels)


def _check_type(name: str, takes: Iterable[str], options: LoadOptions) -> None:
    if options.input_type is not None and options.input_type.canonical not in takes:
        raise ModelError(f"{name} takes inputs of {' or '.join(takes)}, not {options.input_type.canonical}")


def _weights_text(description: Description, options: LoadOptions) -> str:
    """Which weights exactly, for the results."""
    if description.framework == "none":
        if options.weights != "seeded":
            raise ModelError(f"{description.name} has no weights: leave --weights out")
        return "none"
    if options.weights == "seeded":
        return f"seeded:{options.seed}"
    if options.weights == "imagenet":
        if description.framework in _TRAINED:
            raise ModelError(f"there are no ImageNet weights for {description.name}: use seeded or a file")
        return "imagenet"
    try:
        return f"file:{options.weights} sha256:{digest(Path(options.weights))}"
    except OSError as error:
        raise ModelError(
            f"weights {options.weights} cannot be read ({error.strerror}): use seeded, imagenet or a file"
        ) from None


# Models of one's own -----------------------------------------------------------------------------------------


def _own(name: str) -> Any:
    """Call the factory that ``package.module:factory`` names."""
    module_name, _, factory_name = name.partition(":")
    if os.getcwd() not in sys.path:
        sys.path.insert(0, os.getcwd())
    try:
        factory = getattr(importlib.import_module(module_name), factory_name)
    except ModuleNotFoundError as error:
        raise ModelError(f"{name}: {error}: install it, or run where {module_name.partition('.')[0]} is") from None
    except AttributeError:
        raise ModelError(f"{name}: {module_name} has no {factory_name!r}") from None
    except Exception as error:  # a module may raise anything when it is imported
        raise ModelError(f"{name}: {module_name} cannot be imported: {error!r}") from None
    try:
        return factory()
    except Exception as error:  # and so may a factory
        raise ModelError(f"{name}: the factory failed: {error!r}") from None


def _check_spec(what: str, spec: TensorSpec, allowed: Collection[DataType]) -> None:
    """Refuse a shape that is none, and a dtype that the wire does not carry."""
    names = sorted(data_type.dtype for data_type in allowed)
    try:
        fits = spec.data_type in allowed
    except (TypeError, WireError):
        fits = False
    if not fits:
        raise ModelError(f"{what} has the dtype {spec.dtype!r}: choose one of {', '.join(names)}")
    shape = spec.shape
    if shape is not None and not (isinstance(shape, tuple) and all(isinstance(n, int) and n > 0 for n in shape)):
        raise ModelError(
            f"{what} has the shape {shape!r}: write a tuple of whole numbers above 0, such as (299, 299, 3)"
        )


def _describe_own(name: str, model: Any, options: LoadOptions) -> Description:
    missing = [part for part in ("name", "input", "output", "predict") if not hasattr(model, part)]
    if missing:
        raise ModelError(f"{name} made something without {', '.join(missing)}: see the protocol Model")
    specs = (model.input, model.output)
    if not all(isinstance(spec, TensorSpec) for spec in specs):
        raise ModelError(f"{name}: input and output must be of the class TensorSpec of model_containers.model")
    for side, spec, allowed in (("input", model.input, frozenset(DataType)), ("output", model.output, OUTPUT_TYPES)):
        _check_spec(f"{name}: {side}", spec, allowed)
    if not isinstance(model.name, str) or not model.name or set(model.name) & set(":,"):
        raise ModelError(f"{name}: the name {model.name!r} must be a text without colons and commas")
    input_type = model.input.data_type.canonical
    _check_type(model.name, (input_type,), options)
    if options.input_shape not in (None, model.input.shape) and model.input.shape is not None:
        raise ModelError(f"--input-shape: {name} takes {'x'.join(map(str, model.input.shape))}")
    return Description(
        name=model.name,
        framework=name,
        input=replace(model.input, shape=options.input_shape or model.input.shape),
        output=model.output,
        takes=(input_type,),
        answer=getattr(model, "answer", "features"),
        tolerance=getattr(model, "tolerance", 0.0 if np.dtype(model.output.dtype).kind in "iu" else TOLERANCE),
        weights="none" if options.weights == "seeded" else options.weights,
        gpu_capable=True,
    )
