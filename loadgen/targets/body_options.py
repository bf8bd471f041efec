"""Reads what the user says of requests to an HTTP endpoint: method, body, content type and form."""

from __future__ import annotations

import json
import mimetypes
from pathlib import Path
from typing import Any

from loadgen import files
from loadgen.errors import ConfigError, FieldError
from loadgen.targets.bodies import (
    BINARY,
    INPUT,
    INPUTS,
    JSON,
    TEXT,
    Body,
    FormBody,
    JsonBody,
    NoBody,
    Part,
    TextBody,
    is_json,
    refuse_streams,
)
from loadgen.targets.remote import TargetOptions

BARE = ("GET", "HEAD", "DELETE", "OPTIONS")
"""Methods whose requests mostly carry nothing."""


def method_of(options: TargetOptions, body: Body) -> str:
    """The method of requests.

    Args:
        options: name it, or leave it to the body.
        body: of requests.
    """
    return options.method or ("GET" if isinstance(body, NoBody) else "POST")


def body_of(options: TargetOptions) -> Body | None:
    """The body that options name; None where each input is one, if there are inputs.

    Raises:
        ConfigError: they contradict each other, a file cannot be read, or no input can be put into it.
    """
    strict = options.address.protocol.name == "json"
    if strict and options.content_type is not None and not is_json(options.content_type):
        problem, remedy = "is not JSON, which http+json:// sends", "use http://"
        raise FieldError("TargetOptions.content_type", options.content_type, problem, remedy)
    if options.form:
        if options.body is not None or options.content_type is not None:
            what = "body" if options.body is not None else "content_type"
            raise ConfigError(f"{{TargetOptions.form}} and {{TargetOptions.{what}}}: exclude each other; leave one out")
        return FormBody(tuple(map(_part, options.form)))
    if options.body is None:
        if not strict:
            return None
        if options.method in BARE:
            return NoBody()
        raise ConfigError(f'{{TargetOptions.body}}: missing; write such as \'{{"prompt": "{INPUT}"}}\'')
    content, kind = _content(options.body, strict)
    content_type = options.content_type or dict(options.access.headers).get("content-type") or kind
    if strict or is_json(content_type):
        return _json_body(content, content_type if is_json(content_type) else JSON, strict=strict)
    return TextBody(content, content_type)


def _content(text: str, strict: bool) -> tuple[bytes, str]:
    """The body as it was written, or as its file holds it, and of which type it seems to be."""
    if not text.startswith("@"):
        content = text.encode("utf-8", "surrogateescape")
        return content, JSON if strict or text.lstrip()[:1] in ("{", "[") or _is_mark(text) else TEXT
    path = Path(text[1:])
    try:
        content = files.read_bytes(path, files.MAX_SETTING_BYTES)
    except files.UnreadableError as error:
        raise FieldError("TargetOptions.body", text, f"cannot be read: {error}") from None
    guessed = mimetypes.guess_type(path.name)[0]
    if guessed is None and _parsed(content) is not None:
        guessed = JSON
    return content, guessed or BINARY


def _is_mark(text: str) -> bool:
    return text.strip() in (json.dumps(INPUT), json.dumps(INPUTS))


def _parsed(content: bytes) -> dict[str, Any] | list[Any] | None:
    """An object or a list of JSON; None of anything else."""
    try:
        document = json.loads(content)
    except (ValueError, RecursionError):
        return None
    return document if isinstance(document, dict | list) else None


def _json_body(content: bytes, content_type: str, *, strict: bool) -> Body:
    """A template of JSON; one without a place for inputs is sent as it was written.

    Args:
        content: as it was written.
        content_type: of requests.
        strict: it has to have such a place.

    Raises:
        ConfigError: it is no JSON, or has no place where that is needed.
    """
    try:
        template = files.parse_json(files.decoded(content))
    except files.UnreadableError as error:
        raise ConfigError(f"{{TargetOptions.body}}: cannot be read: {error}") from None
    except ValueError as error:
        remedy = "" if strict else "; to send it as it is, name its type with {TargetOptions.content_type}"
        raise ConfigError(f"{{TargetOptions.body}}: not JSON: {error}{remedy}") from None
    body = JsonBody(template, content_type)
    body.check()
    if body.marked:
        return body
    if strict:
        raise ConfigError(
            f'{{TargetOptions.body}}: has neither "{INPUT}" nor "{INPUTS}"; put it where the input belongs'
        )
    return TextBody(content, content_type)


def _part(text: str) -> Part:
    """A field of a form as curl has it: ``NAME=VALUE``, or ``NAME=@FILE[;type=TYPE]``."""
    name, equals, value = text.partition("=")
    if not equals or not name:
        remedy = f"write NAME=VALUE, NAME=@FILE, or NAME=@{INPUT} for the file of {{Inputs.path}}"
        raise FieldError("TargetOptions.form", text, "is not a field", remedy)
    if not value.startswith("@"):
        refuse_streams({name: value}, "{TargetOptions.form}")
        return Part(name, value.encode("utf-8", "surrogateescape"))
    place, _, content_type = value[1:].partition(";type=")
    if place == INPUT:
        return Part(name, content_type=content_type, input_file=True)
    path = Path(place)
    try:
        content = files.read_bytes(path, files.MAX_SETTING_BYTES)
    except files.UnreadableError as error:
        raise FieldError("TargetOptions.form", text, f"cannot be read: {error}") from None
    return Part(name, content, path.name, content_type or mimetypes.guess_type(path.name)[0] or BINARY)
