"""A server that answers JSON with JSON: a template makes requests, a path finds the answer."""

from __future__ import annotations

import asyncio
import base64
import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import cycle, islice
from pathlib import Path
from typing import Any, Self

import numpy as np
from typing_extensions import override

from loadgen import files
from loadgen.errors import ConfigError, FieldError
from loadgen.load import array_files, images
from loadgen.load.array_files import array_names
from loadgen.load.drawing import check_ranges, numbers
from loadgen.load.image_layout import ImageOptions
from loadgen.load.input_files import SUFFIXES, content_of, files_in, inputs_of_arrays
from loadgen.load.inputs import DRAWN_INPUTS, InputSource, Pool, enough_of, request_pool
from loadgen.load.records import entries
from loadgen.targets.client_limits import unreachable
from loadgen.targets.http1 import HttpSpec, Judge, JudgeSpec
from loadgen.targets.http_request import json_values, post
from loadgen.targets.remote import Remote, RequestOptions, TargetOptions
from model_containers.data_types import TEXT_LETTERS
from model_containers.model import Description, TensorSpec

INPUT, INPUTS = "$input", "$inputs"
"""What in the template stands for one input, also inside a text, and for a list of as many as the batch size says."""

MAX_DEPTH = 100
"""Of a template."""

CALL_TIMEOUT_S = 5.0
_INPUT_IN_TEXT = re.compile(r"\$input(?!\w)")
_INPUTS_IN_TEXT = re.compile(r"\$inputs(?!\w)")
_STEP = re.compile(r"\.?([^.\[\]]+)|\[(\d+)\]")


@dataclass(frozen=True, slots=True)
class JsonEndpoint(Remote):
    """Any model that answers JSON over HTTP.

    Attributes:
        options: where, and how to get in.
        template: of a request.
        answer: the steps to the answer.
    """

    options: TargetOptions = field()  # `field()`, or the base's property would be its default
    template: Any
    answer: tuple[str | int, ...]

    @classmethod
    @override
    async def at(cls, options: TargetOptions) -> Self:
        """Reads the options only, since any request would cost the server work.

        Raises:
            ConfigError: they do not say what to send, or contradict each other.
        """
        if options.body is None:
            raise ConfigError(
                f'{options.address.text} needs {{TargetOptions.body}}, such as \'{{"prompt": "{INPUT}"}}\''
            )
        if options.shared_memory:
            raise ConfigError("{TargetOptions.shared_memory} means nothing with http+json://: leave it out")
        if any(options.shapes):
            raise FieldError(
                "TargetOptions.shapes", next(iter(options.shapes)), "{value}: inputs of http+json:// have no names"
            )
        return cls(options, _template(options.body), _steps(options.answer or ""))

    @property
    @override
    def description(self) -> Description:
        text = TensorSpec((), "str")
        return Description(
            name=self.options.address.model, framework="http+json", input=text, output=text, takes=("JSON",)
        )

    @property
    @override
    def places(self) -> int:
        return 1

    @override
    def inputs(self, request_options: RequestOptions, region: str | None = None) -> JsonInputs:
        if request_options.batch_size > 1 and INPUTS not in _texts_of(self.template):
            problem = f'wants "{INPUTS}" in {{TargetOptions.body}}, which becomes a list'
            raise FieldError("External.batch_size", request_options.batch_size, problem)
        return JsonInputs(self.options, self.template, request_options)

    @override
    def spec(self, batch_size: int, connections: int, timeout_s: float | None) -> HttpSpec:
        return HttpSpec(self.options.address, self.options.access, JsonAnswers(self.answer), connections, timeout_s)

    @override
    async def check_available(self) -> None:
        """Connects only, since any request would cost the server work."""
        try:
            async with asyncio.timeout(CALL_TIMEOUT_S):
                _, writer = await asyncio.open_connection(self.options.address.host, self.options.address.port)
            writer.close()
        except OSError as error:
            reason = error.strerror or "no answer"
            raise unreachable(f"{self.options.address.text} cannot be reached: {reason}", error) from None


@dataclass(frozen=True, slots=True)
class JsonInputs(InputSource):
    """Whole requests.

    Inputs are strings: drawn, or the lines of text files; with a shape, or from npy files, they are (nested) lists of
    numbers, or the strings of such files. An image is the base64 of its file. JSON, JSON Lines and CSV hold inputs of
    any kind, one an entry; a row of several named columns is an object.

    Attributes:
        options: where, and how to get in.
        template: of a request.
        request_options: what requests shall carry.
    """

    options: TargetOptions
    template: Any
    request_options: RequestOptions

    @property
    @override
    def text(self) -> str:
        if self.request_options.input is not None:
            return f"inputs from {self.request_options.input}"
        shape = self.options.shapes.get("")
        kind = "text" if shape is None else "x".join(map(str, shape)) + " numbers"
        return f"{self.request_options.inputs or DRAWN_INPUTS} seeded inputs of {kind}"

    @property
    @override
    def payload_bytes(self) -> int:
        """Bytes of the first request; all inputs are looked at."""
        batches = self._batches()
        size_bytes = len(self._request(next(batches)))
        for _ in batches:
            pass
        return size_bytes

    @override
    def make(self) -> Pool:
        return request_pool(map(self._request, self._batches()), self.text)

    def _request(self, inputs: Sequence[Any]) -> bytes:
        document = _filled(self.template, inputs)
        _refuse_streams(document)
        try:
            body = json.dumps(document, allow_nan=False).encode()
        except ValueError:
            raise ConfigError(f"{self.text}: JSON has no number so large: write it as a text") from None
        address = self.options.address
        return post(address, address.path, self.options.access, "application/json", {}, body)

    def _batches(self) -> Iterator[Sequence[Any]]:
        """The inputs of each request; the last is filled up with the first ones."""
        rows, inputs = self.request_options.batch_size, self._inputs()
        some = first = list(islice(inputs, rows))
        if not first:
            raise FieldError("Inputs.path", self.request_options.input, "holds no input")
        while some:
            yield [*some, *islice(cycle(first), rows - len(some))]
            some = list(islice(inputs, rows))

    def _inputs(self) -> Iterator[Any]:
        request_options, shape = self.request_options, self.options.shapes.get("")
        if request_options.allow_nan:
            raise ConfigError("{Inputs.allow_nan}: JSON has none: leave it out")
        if request_options.image_options != ImageOptions():
            raise ConfigError("{Inputs.resize} and {Inputs.layout}: images are sent as their files: leave them out")
        if request_options.input is not None:
            count = 0
            for value in islice(_from_files(request_options.input, shape), request_options.inputs):
                count += 1
                yield value
            enough_of(request_options.inputs, count, request_options.input)
            return
        generator, dtype = np.random.default_rng(request_options.seed), request_options.dtype or "float32"
        check_ranges(request_options.ranges, {"": "str" if shape is None else dtype})
        bounds = request_options.ranges.get("")
        for _ in range(request_options.inputs or DRAWN_INPUTS):
            if shape is not None:
                yield json_values(numbers(generator, shape, dtype, bounds, image=False).round(6))
            else:
                yield generator.integers(ord("a"), ord("z") + 1, TEXT_LETTERS, dtype=np.uint8).tobytes().decode()


@dataclass(frozen=True, slots=True)
class JsonAnswers(JudgeSpec, Judge):
    """What answers should be; judges them too.

    Attributes:
        path: the steps to what an answer has to have; without any it has to be JSON.
    """

    path: tuple[str | int, ...]

    @override
    def make(self) -> JsonAnswers:
        return self

    @override
    def http(self, answer: bytes, json_bytes: int | None) -> str | None:
        try:
            found = json.loads(answer)
        except (ValueError, RecursionError):
            return "the answer is no JSON"
        for step in self.path:
            try:
                found = found[step]
            except (KeyError, IndexError, TypeError):
                return f"the answer has no {_written(self.path)}"
        return None if found is not None else f"the answer's {_written(self.path)} is null"


def _template(text: str) -> Any:
    """Read `TargetOptions.body`."""
    try:
        if text.startswith("@"):
            text = files.read_text(Path(text[1:]), files.MAX_SETTING_BYTES)
        template = files.parse_json(text)
    except files.UnreadableError as error:
        raise FieldError("TargetOptions.body", text, f"cannot be read: {error}") from None
    except ValueError as error:
        raise ConfigError(f"{{TargetOptions.body}} is no JSON: {error}") from None
    _refuse_streams(template)
    texts = list(_texts_of(template))
    if any(text != INPUTS and _INPUTS_IN_TEXT.search(text) for text in texts):
        problem = f'{{TargetOptions.body}} has "{INPUTS}" inside a text, but it is a list'
        raise ConfigError(f'{problem}: let it stand alone, or write "{INPUT}"')
    if INPUTS not in texts and not any(map(_INPUT_IN_TEXT.search, texts)):
        raise ConfigError(
            f'{{TargetOptions.body}} has neither "{INPUT}" nor "{INPUTS}": put it where the input belongs'
        )
    return template


def _refuse_streams(document: Any) -> None:
    """Refuse a request for an answer in parts.

    Raises:
        ConfigError: it is one.
    """
    if isinstance(document, dict):
        for asked in (document, document.get("parameters")):
            if isinstance(asked, dict) and asked.get("stream") is True:
                raise ConfigError(
                    '{TargetOptions.body} asks for a stream, and answers have to be whole: set "stream" to false'
                )


def _texts_of(node: Any, depth: int = 0) -> Iterator[str]:
    """All texts in a template, but for keys.

    Raises:
        ConfigError: it is too deep.
    """
    if isinstance(node, str):
        yield node
    elif isinstance(node, dict | list):
        if depth == MAX_DEPTH:
            raise ConfigError(f"{{TargetOptions.body}} is nested deeper than {MAX_DEPTH}: use a flatter one")
        for value in node.values() if isinstance(node, dict) else node:
            yield from _texts_of(value, depth + 1)


def _filled(node: Any, inputs: Sequence[Any]) -> Any:
    """A template with inputs in place of the marks."""
    if isinstance(node, dict):
        return {key: _filled(value, inputs) for key, value in node.items()}
    if isinstance(node, list):
        return [_filled(value, inputs) for value in node]
    if node == INPUT:
        return inputs[0]
    if node == INPUTS:
        return inputs
    if isinstance(node, str):
        return _INPUT_IN_TEXT.sub(lambda _: _in_text(inputs[0]), node)
    return node


def _in_text(value: Any) -> str:
    """An input inside a text: a text as it is, anything else as JSON."""
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def _steps(path: str) -> tuple[str | int, ...]:
    """Read `TargetOptions.answer`, such as ``choices[0].text``; a leading ``$`` is the response itself."""
    rest, steps, at = path.removeprefix("$"), list[str | int](), 0
    while at < len(rest):
        found = _STEP.match(rest, at)
        if found is None:
            raise FieldError("TargetOptions.answer", path, "is no path", "write it as in choices[0].text")
        steps.append(found[1] if found[1] is not None else int(found[2]))
        at = found.end()
    return tuple(steps)


def _written(path: tuple[str | int, ...]) -> str:
    return "".join(f"[{step}]" if isinstance(step, int) else f".{step}" for step in path).removeprefix(".")


def _from_files(path: Path, shape: tuple[int, ...] | None) -> Iterator[Any]:
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
                yield _texts(array.tolist(), str(file)) if array.dtype == object else json_values(array)
        elif suffix in images.SUFFIXES:
            yield base64.b64encode(content_of(file)).decode()
        else:
            for entry in entries(file):
                value = _texts(entry.value, entry.source) if isinstance(entry.value, bytes) else _opened(entry.value)
                if shape is not None:
                    _check_shape(value, shape, entry.source)
                yield value


def _texts(value: Any, source: str) -> Any:
    """A value whose texts may be bytes."""
    if isinstance(value, list) and value and isinstance(value[0], list | bytes):
        return [_texts(one, source) for one in value]
    if not isinstance(value, bytes):
        return value
    try:
        return value.decode()
    except UnicodeDecodeError:
        raise ConfigError(f"{source} is not UTF-8, which JSON wants: save it as UTF-8") from None


def _check_shape(value: Any, shape: tuple[int, ...], source: str) -> None:
    """Refuse what is no array of a shape that the user says."""
    found = []
    while isinstance(value, list):
        found.append(len(value))
        value = value[0] if value else None
    if tuple(found) != shape:
        written = "x".join(map(str, shape))
        problem = f"{source} is no array of {{TargetOptions.shapes}} {written}"
        raise ConfigError(f"{problem}: leave {{TargetOptions.shapes}} out")


def _opened(value: Any) -> Any:
    """A request in the form of Triton's perf_analyzer or of OpenAI's batches as what it holds; others as they are."""
    match value:
        case {"payload": [payload]} if len(value) == 1:
            return payload
        case {"custom_id": str(), "url": str(), "body": dict(body)}:
            return body
    return value
