"""A server that answers JSON with JSON: a template makes requests, a path finds the answer."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import cycle, islice
from pathlib import Path
from typing import Any, Self

import numpy as np
from typing_extensions import override

from loadgen.errors import ConfigError, FieldError
from loadgen.load.input_files import FileInputs
from loadgen.load.inputs import DRAWN_INPUTS, InputSource, Pool, enough_of, request_pool
from loadgen.targets.client_limits import unreachable
from loadgen.targets.http1 import HttpSpec, Judge, JudgeSpec
from loadgen.targets.http_request import post
from loadgen.targets.remote import Remote, RequestOptions, TargetOptions
from model_containers.data_types import TEXT_LETTERS
from model_containers.model import Description, TensorSpec

INPUT, INPUTS = "$input", "$inputs"
"""What in the template stands for one input, and for a list of as many as the batch size says."""

CALL_TIMEOUT_S = 5.0
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
        if request_options.batch_size > 1 and not _contains(self.template, INPUTS):
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
    numbers. A JSON file holds a list of inputs of any kind.

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
        return max(map(len, islice(self._requests(), 1)))

    @override
    def make(self) -> Pool:
        return request_pool(self._requests(), self.text)

    def _requests(self) -> Iterator[bytes]:
        inputs = list(self._inputs())
        if not inputs:
            raise FieldError("Inputs.path", self.request_options.input, "holds no input")
        address, rows = self.options.address, self.request_options.batch_size
        endless = cycle(inputs)
        for _ in range(0, len(inputs), rows):
            some = list(islice(endless, rows))
            body = json.dumps(_filled(self.template, some)).encode()
            yield post(address, address.path, self.options.access, "application/json", {}, body)

    def _inputs(self) -> Iterator[Any]:
        request_options, shape = self.request_options, self.options.shapes.get("")
        if request_options.input is not None:
            inputs = list(islice(_from_file(request_options.input), request_options.inputs))
            enough_of(request_options.inputs, len(inputs), request_options.input)
            yield from inputs
            return
        generator = np.random.default_rng(request_options.seed)
        for _ in range(request_options.inputs or DRAWN_INPUTS):
            if shape is not None:
                yield generator.random(shape, dtype=np.float32).round(6).tolist()
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
        template = json.loads(Path(text[1:]).read_text() if text.startswith("@") else text)
    except OSError as error:
        raise FieldError("TargetOptions.body", text, f"cannot be read: {error.strerror}") from None
    except ValueError as error:
        raise ConfigError(f"{{TargetOptions.body}} is no JSON: {error}") from None
    if not _contains(template, INPUT) and not _contains(template, INPUTS):
        raise ConfigError(
            f'{{TargetOptions.body}} has neither "{INPUT}" nor "{INPUTS}": put it where the input belongs'
        )
    return template


def _contains(node: Any, mark: str) -> bool:
    if isinstance(node, dict):
        return any(_contains(value, mark) for value in node.values())
    if isinstance(node, list):
        return any(_contains(value, mark) for value in node)
    return bool(node == mark)


def _filled(node: Any, inputs: list[Any]) -> Any:
    """A template with inputs in place of the marks."""
    if isinstance(node, dict):
        return {key: _filled(value, inputs) for key, value in node.items()}
    if isinstance(node, list):
        return [_filled(value, inputs) for value in node]
    return inputs[0] if node == INPUT else inputs if node == INPUTS else node


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


def _from_file(path: Path) -> Iterator[Any]:
    if path.suffix == ".json":
        try:
            inputs = json.loads(path.read_text())
        except (OSError, ValueError) as error:
            raise FieldError("Inputs.path", path, f"cannot be read: {error}") from None
        if not isinstance(inputs, list):
            raise FieldError("Inputs.path", path, "holds no list of inputs")
        yield from inputs
    elif path.suffix in (".npy", ".npz"):
        yield from (array.tolist() for array in FileInputs(path, TensorSpec(None, "float64"), None, None).make().arrays)
    else:
        strings = FileInputs(path, TensorSpec((), "str"), None, None).make().arrays
        yield from (string.tobytes().decode("utf-8", "replace") for string in strings)
