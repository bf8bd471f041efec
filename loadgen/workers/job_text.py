"""A job as text for another machine, by the registry of target specs. Pure.

JSON has texts, finite numbers, truth values, None and lists as they are. All else is an object with one member, whose
name says what it is: bytes, a path, a tuple, a mapping, an array, a data type, or a registered type with its fields.
"""

from __future__ import annotations

import base64
import dataclasses
import io
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from loadgen.errors import ConfigError
from loadgen.load.job import Job
from loadgen.targets import specs
from model_containers.data_types import DataType


def encode(job: Job) -> str:
    """The text of a job.

    Raises:
        ConfigError: it has a value that cannot leave this machine.
    """
    return json.dumps(_encoded(job), separators=(",", ":"), allow_nan=False)


def decode(text: str, file: Callable[[str], Path] = Path) -> Job:
    """The job of a text.

    Args:
        text: of the job.
        file: finds a file that the job names.

    Raises:
        ConfigError: the text is no job.
        Exception: that `file` raised.
    """
    try:
        job = _decoded(json.loads(text), file)
    except (KeyError, TypeError, ValueError) as error:
        raise ConfigError(f"a job for this worker cannot be read: {type(error).__name__}: {error}") from None
    if not isinstance(job, Job):
        raise ConfigError(f"a job for this worker cannot be read: it is a {type(job).__name__}")
    return job


def _encoded(value: Any) -> Any:
    match value:
        case np.generic():
            return _encoded(value.item())
        case None | bool() | str():
            return value
        case DataType():  # an int too
            return {"data-type": value.name}
        case int():
            return int(value)
        case float():
            return value if np.isfinite(value) else {"float": str(value)}
        case bytes():
            return {"bytes": base64.b64encode(value).decode()}
        case Path():
            return {"path": str(value)}
        case list():
            return [_encoded(each) for each in value]
        case tuple():
            return {"tuple": [_encoded(each) for each in value]}
        case Mapping():
            return {"map": [[_encoded(key), _encoded(each)] for key, each in value.items()]}
        case np.ndarray():
            return {"array": base64.b64encode(_saved(value)).decode()}
    name = specs.name_of(type(value))
    if name is None:
        raise ConfigError(f"{{Client.workers}}: a {type(value).__qualname__} cannot be sent to workers; leave it out")
    return {name: {field.name: _encoded(getattr(value, field.name)) for field in dataclasses.fields(value)}}


def _saved(array: np.ndarray) -> bytes:
    file = io.BytesIO()
    np.save(file, array, allow_pickle=False)
    return file.getvalue()


def _decoded(value: Any, file: Callable[[str], Path]) -> Any:
    if isinstance(value, list):
        return [_decoded(each, file) for each in value]
    if not isinstance(value, dict):
        return value
    ((name, content),) = value.items()
    match name:
        case "bytes":
            return base64.b64decode(content, validate=True)
        case "path":
            return file(content)
        case "tuple":
            return tuple(_decoded(each, file) for each in content)
        case "map":
            return {_decoded(key, file): _decoded(each, file) for key, each in content}
        case "array":
            return np.load(io.BytesIO(base64.b64decode(content, validate=True)), allow_pickle=False)
        case "data-type":
            return DataType[content]
        case "float":
            return float(content)
    return specs.type_of(name)(**{field: _decoded(each, file) for field, each in content.items()})
