"""Inputs of an HTTP endpoint: values for JSON, or the contents of files; from files or drawn."""

from __future__ import annotations

import base64
import json
import mimetypes
import re
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np

from loadgen.errors import ConfigError
from loadgen.load import array_files, images, text_files
from loadgen.load.array_files import array_names
from loadgen.load.drawing import check_ranges, numbers
from loadgen.load.image_layout import ImageOptions
from loadgen.load.input_files import SUFFIXES, content_of, files_in, inputs_of_arrays
from loadgen.load.inputs import DRAWN_INPUTS, enough_of
from loadgen.load.text_files import Entry, entries
from loadgen.targets.bodies import BINARY, CSV, JSON, TEXT, Item
from loadgen.targets.http_request import json_values
from loadgen.targets.remote import RequestOptions
from model_containers.data_types import TEXT_LETTERS

_ROWS = ".csv"
_JSON_NUMBER = re.compile(r"-?(?:0|[1-9][0-9]*)(?:\.[0-9]+)?(?:e[+-]?[0-9]+)?", re.IGNORECASE)


def endpoint_items(options: RequestOptions, shape: tuple[int, ...] | None, *, values: bool) -> Iterator[Item]:
    """The inputs of all requests, one after the other.

    Args:
        options: what requests shall carry.
        shape: of one input in an array; None for texts, and for files of any.
        values: as JSON has them, images as base64; otherwise files are inputs as they are.

    Raises:
        ConfigError: a file cannot be read, or an option means nothing here.
    """
    if options.allow_nan:
        raise ConfigError("{Inputs.allow_nan}: JSON has none; leave it out")
    if options.image_options != ImageOptions():
        raise ConfigError("{Inputs.resize} and {Inputs.layout}: images are sent as their files; leave them out")
    if options.input is None:
        yield from _drawn(options, shape)
        return
    found, count = _values(options.input, shape) if values else _contents(options.input), 0
    for item in islice(found, options.inputs):
        count += 1
        yield item
    enough_of(options.inputs, count, options.input)


def _drawn(options: RequestOptions, shape: tuple[int, ...] | None) -> Iterator[Item]:
    generator, dtype = np.random.default_rng(options.seed), options.dtype or "float32"
    check_ranges(options.ranges, {"": "str" if shape is None else dtype})
    bounds = options.ranges.get("")
    for _ in range(options.inputs or DRAWN_INPUTS):
        if shape is not None:
            yield Item(json_values(numbers(generator, shape, dtype, bounds, image=False).round(6)), content_type=JSON)
        else:
            letters = generator.integers(ord("a"), ord("z") + 1, TEXT_LETTERS, dtype=np.uint8)
            yield Item(letters.tobytes().decode())


def _contents(path: Path) -> Iterator[Item]:
    """The lines, entries and rows of files that have some, and all other files as they are."""
    for file in files_in(path, ()):
        suffix = file.suffix.lower()
        if suffix not in text_files.SUFFIXES:
            yield Item(content_of(file), file.name, mimetypes.guess_type(file.name)[0] or BINARY)
            continue
        content_type = {text_files.LINES: TEXT, _ROWS: CSV}.get(suffix, JSON)
        for entry in entries(file):
            value = _opened(entry.value)
            yield Item(value, "", content_type, _row(entry), _written(entry, value))


def _row(entry: Entry) -> list[str] | None:
    """The fields of a row as the file writes them."""
    texts = entry.texts
    if isinstance(texts, dict):
        return [str(text) for text in texts.values()]
    return None if texts is None else [str(text) for text in texts] if isinstance(texts, list) else [str(texts)]


def _written(entry: Entry, value: Any) -> str | None:
    """How an input stands inside a text: with its numbers as the file writes them, where that is known.

    Args:
        entry: as the file has it.
        value: the input, which may be a part of it.
    """
    texts = entry.texts
    if isinstance(texts, str):
        return texts
    try:
        if isinstance(texts, dict) and isinstance(value, dict) and value.keys() == texts.keys():
            members = (f"{_json(name)}: {_member(text, value[name])}" for name, text in texts.items())
            return f"{{{', '.join(members)}}}"
        if isinstance(texts, list) and isinstance(value, list):
            return f"[{', '.join(map(_member, texts, value))}]"
    except ValueError:  # a number is infinite
        return None
    return entry.line if value is entry.value else None


def _member(text: str, value: Any) -> str:
    """A field of a row inside a text: a number as the file writes it, if JSON has it so.

    Args:
        text: of the field.
        value: of the field.
    """
    number = isinstance(value, int | float) and not isinstance(value, bool)
    return text.strip() if number and _JSON_NUMBER.fullmatch(text.strip()) else _json(value)


def _json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, allow_nan=False)


def _values(path: Path, shape: tuple[int, ...] | None) -> Iterator[Item]:
    """The inputs of a file or a directory, as JSON has them.

    Args:
        path: of the file or directory.
        shape: of one input in an array; None for any.

    Raises:
        ConfigError: a file cannot be read, or holds what JSON does not have.
    """
    for file in files_in(path, SUFFIXES):
        suffix = file.suffix.lower()
        if suffix in array_files.SUFFIXES:
            for array in inputs_of_arrays(file, array_names(file), None, () if shape is None else (shape,)):
                yield Item(_texts(array.tolist(), str(file)) if array.dtype == object else json_values(array))
        elif suffix in images.SUFFIXES:
            yield Item(base64.b64encode(content_of(file)).decode())
        else:
            for entry in entries(file):
                value = _texts(entry.value, entry.source) if isinstance(entry.value, bytes) else _opened(entry.value)
                if shape is not None:
                    _check_shape(value, shape, entry.source)
                yield Item(value, written=_written(entry, value))


def _texts(value: Any, source: str) -> Any:
    """A value whose texts may be bytes."""
    if isinstance(value, list) and value and isinstance(value[0], list | bytes):
        return [_texts(one, source) for one in value]
    if not isinstance(value, bytes):
        return value
    try:
        return value.decode()
    except UnicodeDecodeError:
        raise ConfigError(f"{source}: not UTF-8, which JSON wants; save it as UTF-8") from None


def _check_shape(value: Any, shape: tuple[int, ...], source: str) -> None:
    """Refuse what is no array of a shape that the user says."""
    found = []
    while isinstance(value, list):
        found.append(len(value))
        value = value[0] if value else None
    if tuple(found) != shape:
        written = "x".join(map(str, shape))
        problem = f"{source}: not an array of {{TargetOptions.shapes}} {written}"
        raise ConfigError(f"{problem}; leave {{TargetOptions.shapes}} out")


def _opened(value: Any) -> Any:
    """A request in the form of Triton's perf_analyzer or of OpenAI's batches as what it holds; others as they are."""
    match value:
        case {"payload": [payload]} if len(value) == 1:
            return payload
        case {"custom_id": str(), "url": str(), "body": dict(body)}:
            return body
    return value
