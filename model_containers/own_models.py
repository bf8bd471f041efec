"""Models of one's own: imports what ``package.module:factory`` or ``file.py:factory`` names, and describes it."""

from __future__ import annotations

import importlib
import os
import sys
from collections.abc import Collection
from dataclasses import replace
from difflib import get_close_matches
from pathlib import Path
from types import ModuleType
from typing import Any, get_args

import numpy as np

from model_containers.data_types import DTYPES, OUTPUT_TYPES, DataType
from model_containers.errors import ModelError, WireError
from model_containers.model import TOLERANCE, Answer, Description, LoadOptions, TensorSpec


def make(name: str) -> Any:
    """The model that a name stands for: what its factory makes, or the object itself where it is a model.

    Args:
        name: ``package.module:factory`` or ``path/file.py:factory``; the factory is called without arguments.

    Raises:
        ModelError: it cannot be imported, or the factory fails.
    """
    module_name, _, factory_name = name.partition(":")
    if not factory_name:
        raise ModelError(f"{name}: nothing after the colon; name what makes the model, such as {module_name}:Model")
    module, file = _module(name, module_name)
    other = _other(module, file)
    factory = getattr(module, factory_name, None)
    if other and (factory is None or module_name.endswith(".py")):
        where = f"{module.__name__} is a module of Python or of a package ({other})"
        raise ModelError(f"{name}: {where}, not {file}; rename that file")
    if factory is None:
        close = get_close_matches(factory_name.lower(), names := {one.lower(): one for one in vars(module)}, n=1)
        said = f"; did you mean {module_name}:{names[close[0]]}?" if close else ""
        raise ModelError(f"{name}: {module_name} has no {factory_name!r}{said}")
    if hasattr(factory, "predict") and not isinstance(factory, type):
        return factory
    if not callable(factory):
        kind = type(factory).__name__
        raise ModelError(f"{name}: {factory_name}, of the type {kind}, is not a model; name one, or what makes one")
    try:
        return factory()
    except (Exception, SystemExit) as error:  # a factory may raise anything
        raise ModelError(f"{name}: the factory failed: {error!r}") from None


def _module(name: str, module_name: str) -> tuple[ModuleType, Path]:
    """Import a module; also the file that was meant, which need not exist where a module was named.

    Its directory, the working directory for a module, is the last place to look, and is one from now on: another file
    there must not take the place of a module that this process needs.
    """
    called, file = module_name, Path(f"{module_name.replace('.', '/')}.py")
    directory = os.getcwd()
    if module_name.endswith(".py"):
        file = Path(os.path.expanduser(module_name))
        if not file.is_file():
            attribute = name.partition(":")[2]
            meant = near_file(file)
            remedy = "name one that is there" if meant is None else f"did you mean {meant}:{attribute}?"
            raise ModelError(f"{name}: no such file as {file}; {remedy}")
        called, directory = file.stem, str(file.parent.resolve())
    if directory not in sys.path:
        sys.path.append(directory)
    try:
        return importlib.import_module(called), file
    except ModuleNotFoundError as error:
        raise ModelError(f"{name}: {error}; {_meant(name, file)}") from None
    except (Exception, SystemExit) as error:  # a module may raise anything when it is imported
        raise ModelError(f"{name}: {module_name} cannot be imported: {error!r}") from None


def _meant(name: str, file: Path) -> str:
    """What to name in place of a module that cannot be imported.

    Args:
        name: as it was named.
        file: that the module could be in.
    """
    module, _, attribute = name.partition(":")
    if attribute.endswith(".onnx"):
        return f"did you mean onnx:{attribute}?"
    meant = None if file.exists() else near_file(file)
    if meant is not None:
        return f"did you mean {meant}:{attribute}?"
    return f"install it, or run where {module.partition('.')[0]} is"


def _other(module: ModuleType, file: Path) -> str:
    """Where a module comes from, if not from the file that was meant; empty where it does, or that does not exist."""
    found = getattr(module, "__file__", None)
    return "" if not file.is_file() or (found is not None and file.samefile(found)) else found or "built in"


_PROTOCOL = (
    "give its class name = 'mine', input = TensorSpec((4,), 'float32'), output = TensorSpec((1,), 'float32') "
    "and predict(self, batch), as docs/your-own-model.md shows"
)
"""What a model needs."""


def describe(name: str, model: Any, options: LoadOptions) -> Description:
    """What a model of one's own says of itself.

    Args:
        name: as it was named.
        model: as `make` gave it.
        options: how it would be loaded.

    Raises:
        ModelError: it lacks a part, says what the wire does not carry, or cannot be loaded so.
    """
    missing = [part for part in ("name", "input", "output", "predict") if not hasattr(model, part)]
    if missing:
        raise ModelError(f"{name}: the object has no {', '.join(missing)}; {_PROTOCOL}")
    specs = (model.input, model.output)
    if not all(isinstance(spec, TensorSpec) for spec in specs):
        raise ModelError(
            f"{name}: input or output is not a TensorSpec; make both with model_containers.model.TensorSpec"
        )
    for side, spec, allowed in (("input", model.input, frozenset(DataType)), ("output", model.output, OUTPUT_TYPES)):
        _check_spec(name, side, spec, allowed)
    if not isinstance(model.name, str) or not model.name or set(model.name) & set(":,"):
        raise ModelError(f"{name}: the name {model.name!r} is not allowed; use a text without colons and commas")
    answer: Answer = getattr(model, "answer", "features")
    if answer not in get_args(Answer):
        raise ModelError(f"{name}: answer is {answer!r}; choose one of {', '.join(get_args(Answer))}")
    input_type = model.input.data_type.canonical
    check_type(model.name, (input_type,), options)
    if options.input_shape not in (None, model.input.shape) and model.input.shape is not None:
        shape = "x".join(map(str, options.input_shape or ()))
        raise ModelError(f"--input-shape {shape}: {name} takes {'x'.join(map(str, model.input.shape))}; use that")
    exact = model.output.dtype == "str" or np.dtype(model.output.dtype).kind in "iu"
    return Description(
        name=model.name,
        framework=name,
        input=replace(model.input, shape=options.input_shape or model.input.shape),
        output=model.output,
        takes=(input_type,),
        answer=answer,
        tolerance=getattr(model, "tolerance", 0.0 if exact else TOLERANCE),
        weights="none" if options.weights == "seeded" else options.weights,
        gpu_capable=True,
    )


def load(name: str, model: Any, options: LoadOptions) -> None:
    """Let a model load what it needs, where it has a method for it.

    Args:
        name: as it was named.
        model: as `make` gave it.
        options: weights, GPU, threads and the rest.

    Raises:
        ModelError: it fails.
    """
    if not hasattr(model, "load"):
        return
    try:
        model.load(options)
    except ModelError:
        raise
    except (Exception, SystemExit) as error:  # a model may raise anything
        raise ModelError(f"{name}: load failed: {error!r}") from None


def check_type(name: str, takes: Collection[str], options: LoadOptions) -> None:
    """Refuse a type of input that a model does not take.

    Args:
        name: of the model.
        takes: the types that it takes.
        options: with the type that was asked for, if any.

    Raises:
        ModelError: it is not one of them.
    """
    if options.input_type is not None and options.input_type.canonical not in takes:
        raise ModelError(
            f"--input-type {options.input_type.canonical}: {name} takes {' or '.join(takes)}; use that, or leave it out"
        )


def _check_spec(name: str, side: str, spec: TensorSpec, allowed: Collection[DataType]) -> None:
    """Refuse an invalid shape, and a dtype that the wire does not carry."""
    try:
        fits = spec.dtype is not None and spec.data_type in allowed
    except (TypeError, WireError):
        fits = False
    if not fits:
        names = sorted(dtype for dtype, data_type in DTYPES.items() if data_type in allowed)
        raise ModelError(f"{name}: {side} has the dtype {spec.dtype!r}; choose one of {', '.join(names)}")
    shape = spec.shape
    if shape is not None and not (isinstance(shape, tuple) and all(isinstance(n, int) and n > 0 for n in shape)):
        raise ModelError(
            f"{name}: {side} has the shape {shape!r}; write a tuple of whole numbers above 0, such as (299, 299, 3)"
        )


def near_file(path: Path) -> Path | None:
    """The file of the same directory and ending with the nearest name to one that is not there; None without one.

    Args:
        path: of the file that is not there.
    """
    try:
        names = [each.name for each in path.parent.iterdir() if each.suffix == path.suffix]
    except OSError:
        return None
    close = get_close_matches(path.name, names, n=1)
    return path.parent / close[0] if close else None
