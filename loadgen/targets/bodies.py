"""What requests to an HTTP endpoint carry: templates of JSON and of text, whole contents, and forms; pure."""

from __future__ import annotations

import csv
import hashlib
import io
import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Protocol
from urllib.parse import quote

from typing_extensions import override

from loadgen.errors import ConfigError

INPUT, INPUTS = "$input", "$inputs"
"""What in a template stands for one input, also inside a text, and for as many as the batch size says."""

_YES = ("true", "1", "yes", "on", "t", "y")

MAX_DEPTH = 100
"""Of a template."""

JSON, TEXT, CSV, BINARY = "application/json", "text/plain", "text/csv", "application/octet-stream"

INPUT_IN_TEXT = re.compile(r"\$input(?!\w)")
_EITHER_IN_TEXT = re.compile(r"\$inputs?(?!\w)")
_INPUTS_IN_TEXT = re.compile(r"\$inputs(?!\w)")


@dataclass(frozen=True, slots=True)
class Item:
    """One input.

    Attributes:
        value: as JSON has it; the bytes of a file that is an input as a whole.
        name: of that file.
        content_type: what a body that is this input alone is.
        row: of a table, its fields as the file writes them.
        written: how it stands inside a text; None for JSON as it is usually written.
    """

    value: Any
    name: str = ""
    content_type: str = TEXT
    row: Sequence[str] | None = None
    written: str | None = None

    def text(self, content_type: str) -> bytes:
        """It inside a text, or as the whole of a body.

        Args:
            content_type: of the body.
        """
        if isinstance(self.value, bytes):
            return self.value
        if essence(content_type) == CSV:
            return _csv_line(self.value if self.row is None else self.row).encode()
        return self.in_text().encode()

    def in_text(self) -> str:
        """It inside a text: a text as it is, anything else as its file writes it, or as JSON."""
        if isinstance(self.value, str):
            return self.value
        return json.dumps(self.value, ensure_ascii=False, allow_nan=False) if self.written is None else self.written

    def alone(self, content_type: str) -> bytes:
        """It as the whole of a body.

        Args:
            content_type: of the body.
        """
        if is_json(content_type) and not isinstance(self.value, bytes):
            return json.dumps(self.value, allow_nan=False).encode()
        return self.text(content_type)


class Body(Protocol):
    """What a request carries."""

    __slots__ = ()

    @property
    def marked(self) -> bool:
        """Whether inputs have a place in it."""
        ...

    @property
    def lists(self) -> bool:
        """Whether several have."""
        ...

    @property
    def values(self) -> bool:
        """Whether inputs are values of JSON, and images base64; otherwise files are inputs as they are."""
        ...

    def made(self, items: Sequence[Item]) -> tuple[str | None, bytes]:
        """The content type, if any, and the body.

        Args:
            items: as many as the batch size says.

        Raises:
            ConfigError: it asks for a stream.
            ValueError: JSON has no such number.
        """
        ...


@dataclass(frozen=True, slots=True)
class NoBody(Body):
    """Nothing, as with GET."""

    marked = lists = values = False

    @override
    def made(self, items: Sequence[Item]) -> tuple[str | None, bytes]:
        return None, b""


@dataclass(frozen=True, slots=True)
class JsonBody(Body):
    """JSON.

    Attributes:
        template: with marks, as JSON has it.
        content_type: of requests.
    """

    template: Any
    content_type: str = JSON

    @property
    @override
    def marked(self) -> bool:
        return any(map(_EITHER_IN_TEXT.search, texts_of(self.template)))

    @property
    @override
    def lists(self) -> bool:
        return INPUTS in texts_of(self.template)

    @property
    @override
    def values(self) -> bool:
        return True

    @override
    def made(self, items: Sequence[Item]) -> tuple[str | None, bytes]:
        document = _filled(self.template, items)
        refuse_streams(document)
        return self.content_type, json.dumps(document, allow_nan=False).encode()

    def check(self) -> None:
        """Refuse a template that no input can be put into, or that asks for an answer in parts.

        Raises:
            ConfigError: it is one.
        """
        refuse_streams(self.template)
        if any(text != INPUTS and _INPUTS_IN_TEXT.search(text) for text in texts_of(self.template)):
            problem = f'{{TargetOptions.body}}: has "{INPUTS}" inside a text, but it is a list'
            raise ConfigError(f'{problem}; let it stand alone, or write "{INPUT}"')


@dataclass(frozen=True, slots=True)
class TextBody(Body):
    """Any bytes; in a text, marks stand for inputs, several of them a line each.

    Attributes:
        content: with marks, if it is a text.
        content_type: of requests.
    """

    content: bytes
    content_type: str

    @property
    def _text(self) -> str | None:
        try:
            return self.content.decode()
        except UnicodeDecodeError:
            return None

    @property
    @override
    def marked(self) -> bool:
        return self._text is not None and _EITHER_IN_TEXT.search(self._text) is not None

    @property
    @override
    def lists(self) -> bool:
        return self._text is not None and _INPUTS_IN_TEXT.search(self._text) is not None

    @property
    @override
    def values(self) -> bool:
        return False

    @override
    def made(self, items: Sequence[Item]) -> tuple[str | None, bytes]:
        if not self.marked or not items:
            return self.content_type, self.content
        texts = [item.text(self.content_type) for item in items]
        content = re.sub(rb"\$inputs(?!\w)", lambda _: b"\n".join(texts), self.content)
        return self.content_type, re.sub(rb"\$input(?!\w)", lambda _: texts[0], content)


@dataclass(frozen=True, slots=True)
class WholeBody(Body):
    """An input is a body.

    Attributes:
        content_type: of requests; None for that of each input.
    """

    content_type: str | None = None
    marked = True
    lists = values = False

    @override
    def made(self, items: Sequence[Item]) -> tuple[str | None, bytes]:
        content_type = self.content_type or items[0].content_type
        refuse_streams(items[0].value, "{Inputs.path} has an entry that")
        return content_type, items[0].alone(content_type)


@dataclass(frozen=True, slots=True)
class Part:
    """One field of a form.

    Attributes:
        name: of the field.
        content: its value, or the file's content; `INPUT` in it stands for the input.
        filename: of a file; empty for a plain value.
        content_type: of a file; empty for that of the input.
        input_file: the input is the file, whatever `content` is.
    """

    name: str
    content: bytes = b""
    filename: str = ""
    content_type: str = ""
    input_file: bool = False


@dataclass(frozen=True, slots=True)
class FormBody(Body):
    """``multipart/form-data`` (RFC 7578), as web forms with files send it.

    Attributes:
        parts: its fields.
    """

    parts: tuple[Part, ...]
    lists = values = False

    @property
    @override
    def marked(self) -> bool:
        return any(part.input_file or _in_bytes(part) for part in self.parts)

    @override
    def made(self, items: Sequence[Item]) -> tuple[str | None, bytes]:
        fields = [self._field(part, items) for part in self.parts]
        # The same for the same contents, and in none of them: who could write it would have broken SHA-256.
        boundary = f"loadgen-{hashlib.sha256(b''.join(fields)).hexdigest()[:32]}"
        mark = f"--{boundary}".encode()
        body = b"".join(mark + b"\r\n" + field + b"\r\n" for field in fields)
        return f"multipart/form-data; boundary={boundary}", body + mark + b"--\r\n"

    def _field(self, part: Part, items: Sequence[Item]) -> bytes:
        content, filename, content_type = part.content, part.filename, part.content_type
        if part.input_file:
            item = items[0]
            filename, content_type = item.name or filename or "input", content_type or item.content_type
            content = item.alone(content_type)
        elif _in_bytes(part):
            content = re.sub(rb"\$input(?!\w)", lambda _: items[0].text(TEXT), content)
        head = f'Content-Disposition: form-data; name="{_quoted(part.name)}"'
        if filename:
            head += f'; filename="{_quoted(filename)}"\r\nContent-Type: {content_type}'
        elif content_type:
            head += f"\r\nContent-Type: {content_type}"
        return f"{head}\r\n\r\n".encode() + content


def _in_bytes(part: Part) -> bool:
    """Whether the input stands in a plain value."""
    return not part.filename and re.search(rb"\$input(?!\w)", part.content) is not None


def _quoted(name: str) -> str:
    """A name inside quotes, as browsers write it (HTML, "multipart/form-data")."""
    return name.replace('"', "%22").replace("\r", "%0D").replace("\n", "%0A")


def essence(content_type: str) -> str:
    """A content type without its parameters, in lower case."""
    return content_type.partition(";")[0].strip().lower()


def is_json(content_type: str) -> bool:
    """Whether a content type is one of JSON."""
    return essence(content_type) in (JSON, "text/json") or essence(content_type).endswith("+json")


def with_input(path: str, item: Item) -> str:
    """A path and query with an input in place of the marks.

    Args:
        path: as it is sent.
        item: percent-encoded.
    """
    return INPUT_IN_TEXT.sub(lambda _: quote(item.text(TEXT), safe=""), path)


def refuse_streams(document: Any, what: str = "{TargetOptions.body}") -> None:
    """Refuse a request for an answer in parts, as OpenAI, Ollama, Triton and servers like them take it.

    Args:
        document: the request.
        what: it is, for the refusal.

    Raises:
        ConfigError: it is one.
    """
    if isinstance(document, dict):
        for asked in (document, document.get("parameters"), document.get("options")):
            if isinstance(asked, dict) and _means_yes(asked.get("stream")):
                raise ConfigError(f'{what}: asks for a stream, and answers have to be whole; set "stream" to false')


def _means_yes(value: Any) -> bool:
    """Whether a server may read a value as true, as those with pydantic do."""
    return value.strip().lower() in _YES if isinstance(value, str) else value == 1


def texts_of(node: Any, depth: int = 0) -> Iterator[str]:
    """All texts in a template, but for keys.

    Args:
        node: of the template.
        depth: where it lies.

    Raises:
        ConfigError: it is too deep.
    """
    if isinstance(node, str):
        yield node
    elif isinstance(node, dict | list):
        if depth == MAX_DEPTH:
            raise ConfigError(f"{{TargetOptions.body}}: nested deeper than {MAX_DEPTH}; use a flatter one")
        for value in node.values() if isinstance(node, dict) else node:
            yield from texts_of(value, depth + 1)


def _filled(node: Any, inputs: Sequence[Item]) -> Any:
    """A template with inputs in place of the marks."""
    if isinstance(node, dict):
        return {key: _filled(value, inputs) for key, value in node.items()}
    if isinstance(node, list):
        return [_filled(value, inputs) for value in node]
    if node == INPUT and inputs:
        return inputs[0].value
    if node == INPUTS:
        return [item.value for item in inputs]
    if isinstance(node, str) and inputs:
        return INPUT_IN_TEXT.sub(lambda _: inputs[0].in_text(), node)
    return node


def _csv_line(value: Any) -> str:
    """A row without its end."""
    fields = list(value.values()) if isinstance(value, dict) else value if isinstance(value, list | tuple) else [value]
    line = io.StringIO()
    csv.writer(line, lineterminator="").writerow(fields)
    return line.getvalue()
