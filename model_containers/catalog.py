"""The catalogue of models: name → description and loader; imports no framework.

A name is one of the catalogue, ``package.module:factory`` or ``file.py:factory`` for a model of one's own, or
``onnx:FILE``.
"""

from __future__ import annotations

import importlib
import os
from collections.abc import Callable
from dataclasses import replace
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from model_containers import own_models
from model_containers.artefacts import digest
from model_containers.data_types import DataType
from model_containers.errors import ModelError
from model_containers.model import Description, LoadOptions, Model, TensorSpec

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
        name: of the catalogue, ``package.module:factory``, ``file.py:factory`` or ``onnx:FILE#OUTPUT``.
        options: how it would be loaded.

    Raises:
        ModelError: there is no such model, or it cannot be loaded so.
    """
    if (file := _onnx_file(name)) is not None:
        return _module("onnx").describe(file, options)  # type: ignore[no-any-return]
    if ":" in name:
        return own_models.describe(name, own_models.make(name), options)
    if name not in _CATALOG:
        raise ModelError(f"{name or repr(name)}: no such model; {_remedy(name)}")
    description = _with_input(_CATALOG[name], options)
    if options.xla and description.framework != "tensorflow":
        raise ModelError(f"--xla: {name} cannot be compiled with XLA; leave it out")
    if options.xla and options.input_type is DataType.STRINGS:
        raise ModelError("--xla: the decoding of images cannot be compiled; leave --xla or --input-type strings out")
    return replace(description, weights=_weights_text(description, options))


def load(name: str, options: LoadOptions = LoadOptions()) -> Model:  # noqa: B008 - frozen
    """Load a model.

    Args:
        name: of the catalogue, ``package.module:factory``, ``file.py:factory`` or ``onnx:FILE#OUTPUT``.
        options: weights, GPU, threads and the rest.

    Raises:
        ModelError: there is no such model, its framework is not installed, or its weights cannot be had.
    """
    if (file := _onnx_file(name)) is not None:
        return _module("onnx").load(file, options)  # type: ignore[no-any-return]
    if ":" in name:
        model = own_models.make(name)
        own_models.describe(name, model, options)
        own_models.load(name, model, options)
        return model  # type: ignore[no-any-return]
    factory: Callable[[Description, LoadOptions], Model] = _module(name.replace("-", "_")).load
    return factory(describe(name, options), options)


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


def _onnx_file(name: str) -> str | None:
    """The file, and after a # the output, of ``onnx:FILE`` or of a name that ends as ONNX files do; else None."""
    if name.startswith("onnx:"):
        return name.removeprefix("onnx:")
    file = name if Path(os.path.expanduser(name)).is_file() else name.rpartition("#")[0] or name
    onnx = file.lower().endswith(".onnx") and (":" not in file or Path(os.path.expanduser(file)).is_file())
    return name if onnx else None


def _remedy(name: str) -> str:
    """What to name in place of a model that there is not."""
    path, file = (Path(os.path.expanduser(text)) for text in (name, name if name.endswith(".py") else f"{name}.py"))
    if file.is_file():
        return f"name what makes the model in {file}, such as {name}:Model"
    module, _, attribute = name.rpartition(".")
    if module and Path(f"{module.removesuffix('.py').replace('.', '/')}.py").is_file():
        return f"did you mean {module}:{attribute}?"
    if Path(f"{path}.onnx").is_file():
        return f"did you mean onnx:{name}.onnx?"
    if path.is_file():
        return f"the file {name} is neither ONNX nor Python; export it to ONNX, or load it in a model of your own"
    close = get_close_matches(name, NAMES, n=1)
    said = f"did you mean {close[0]}? " if close else ""
    return f"{said}choose one of {', '.join(NAMES)}; package.module:factory; or onnx:FILE"


def _with_input(description: Description, options: LoadOptions) -> Description:
    """The description with the input's type and shape as asked."""
    spec, wanted = description.input, options.input_shape
    own_models.check_type(description.name, description.takes, options)
    data_type = spec.data_type if options.input_type is None else options.input_type
    shapes = () if spec.shape is None else (spec.shape, *spec.other_shapes)
    if wanted is not None and shapes and wanted not in shapes:
        texts = " or ".join("x".join(map(str, shape)) for shape in shapes)
        raise ModelError(f"--input-shape {'x'.join(map(str, wanted))}: {description.name} takes {texts}; use that")
    shape = wanted or spec.shape
    pixels = (shape[0], shape[1], shape[2]) if description.pixels and shape else None
    if data_type is DataType.STRINGS:
        return replace(description, input=TensorSpec((), data_type.dtype), pixels=pixels)
    others = tuple(other for other in shapes if other != shape)
    return replace(description, input=TensorSpec(shape, data_type.dtype, others), pixels=pixels)


def _weights_text(description: Description, options: LoadOptions) -> str:
    """Which weights exactly, for the results."""
    if description.framework == "none":
        if options.weights != "seeded":
            raise ModelError(f"--weights {options.weights}: {description.name} has no weights; leave it out")
        return "none"
    if options.weights == "seeded":
        return f"seeded:{options.seed}"
    if options.weights == "imagenet":
        if description.framework in _TRAINED:
            raise ModelError(f"--weights imagenet: {description.name} has none of ImageNet; use seeded or a file")
        return "imagenet"
    try:
        return f"file:{options.weights} sha256:{digest(Path(options.weights))}"
    except OSError as error:
        raise ModelError(
            f"--weights {options.weights}: cannot be read ({error.strerror}); use seeded, imagenet or a file"
        ) from None
