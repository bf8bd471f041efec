"""What answers of an HTTP endpoint should be; pure."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from typing import Protocol

from typing_extensions import override

from loadgen.errors import FieldError

_STREAMS = (
    b"text/event-stream",
    b"application/x-ndjson",
    b"application/ndjson",
    b"application/json-seq",
    b"application/stream+json",
    b"application/vnd.amazon.eventstream",
)
"""Content types of answers in parts; not JSON Lines, with which servers answer batches in one piece."""

_EVENT = re.compile(rb"\s*(?:data|event):")
_STEP = re.compile(r"\.?([^.\[\]]+)|\[(\d+)\]")


class Judge(Protocol):
    """Says what is wrong with an answer."""

    __slots__ = ()

    def http(self, answer: bytes, json_bytes: int | None) -> str | None:
        """What is wrong with a body, if anything is; `json_bytes` of it are JSON where binary tensors follow.

        Args:
            answer: the whole body.
            json_bytes: how many of its first bytes are JSON; None for all.
        """
        ...


class JudgeSpec(Protocol):
    """What answers should be: picklable."""

    __slots__ = ()

    def make(self) -> Judge:
        """Make the judge."""
        ...


@dataclass(frozen=True, slots=True)
class AnyAnswers(JudgeSpec, Judge):
    """Whatever a server answers is good, if its status says so."""

    @override
    def make(self) -> AnyAnswers:
        return self

    @override
    def http(self, answer: bytes, json_bytes: int | None) -> str | None:
        return None


@dataclass(frozen=True, slots=True)
class JsonAnswers(JudgeSpec, Judge):
    """What answers should be; judges them too.

    Attributes:
        path: the steps to what an answer has to have; without any it has to be JSON, or JSON with NaN and infinity,
            as TensorFlow Serving and Python's own encoder write it.
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
            kind = _stream_in(answer)
            return "the answer is not JSON" if kind is None else stream_text(kind)
        for step in self.path:
            try:
                found = found[step]
            except (KeyError, IndexError, TypeError):
                return f"the answer has no {_written(self.path)}"
        return None if found is not None else f"the answer's {_written(self.path)} is null"


def stream_type(content_type: bytes) -> str | None:
    """The content type of an answer in parts; None of any other."""
    found = content_type.partition(b";")[0].strip().lower()
    return found.decode() if found in _STREAMS else None


def stream_text(kind: str) -> str:
    """What is wrong with an answer in parts.

    Args:
        kind: of the stream.
    """
    return f'the answer is a stream ({kind}), and answers have to be whole; set "stream" to false'


def _stream_in(answer: bytes) -> str | None:
    """Which stream other than JSON it is; None for no stream."""
    if _EVENT.match(answer):
        return "text/event-stream"
    first, _, others = answer.strip().partition(b"\n")
    second, _, _ = others.strip().partition(b"\n")
    try:
        json.loads(first)
        json.loads(second)
    except (ValueError, RecursionError):
        return None
    return "newline-delimited JSON"


def steps(path: str) -> tuple[str | int, ...]:
    """Read `TargetOptions.answer`, such as ``choices[0].text``; a leading ``$`` is the response itself.

    Raises:
        FieldError: it is no path.
    """
    rest, found_steps, at = path.removeprefix("$"), list[str | int](), 0
    while at < len(rest):
        found = _STEP.match(rest, at)
        if found is None:
            raise FieldError("TargetOptions.answer", path, "is not a path", "write it as in choices[0].text")
        found_steps.append(found[1] if found[1] is not None else int(found[2]))
        at = found.end()
    return tuple(found_steps)


def _written(path: tuple[str | int, ...]) -> str:
    return "".join(f"[{step}]" if isinstance(step, int) else f".{step}" for step in path).removeprefix(".")
