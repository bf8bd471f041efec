"""The schema of the results document, made from its classes: ``python -m loadgen.results.schema`` writes it."""

from __future__ import annotations

import inspect
import json
import re
from collections.abc import Iterator
from dataclasses import fields, is_dataclass
from typing import Any, get_args, get_type_hints

import msgspec

from loadgen.results.document import NOT_WRITTEN, SCHEMA_PATH, SCHEMA_VERSION, Results

_UNITS = "Units end names: _s seconds, _ms milliseconds, _ns nanoseconds, _rps requests a second."


def schema() -> dict[str, Any]:
    """What this version writes: all members are there, and no others."""
    classes = {kind.__name__: kind for kind in _classes(Results)}
    _, components = msgspec.json.schema_components([Results], schema_hook=lambda _: {"type": "string"})
    definitions = {name: _strict(components[name], kind) for name, kind in sorted(classes.items())}
    document = definitions.pop("Results")
    for name in NOT_WRITTEN:
        del document["properties"][name]
    members = {"schema_version": {"const": SCHEMA_VERSION}, **document["properties"]}
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": f"loadgen results, version {SCHEMA_VERSION}",
        **document,
        "description": f"{document['description']} {_UNITS}",
        "properties": members,
        "required": list(members),
        "$defs": definitions,
    }


def schema_text() -> str:
    """The file's text."""
    return json.dumps(schema(), indent=2, ensure_ascii=False) + "\n"


def _strict(component: dict[str, Any], kind: type) -> dict[str, Any]:
    """A class's schema with what its docstring says of the members."""
    said = _attributes(kind)
    members = {}
    for name, member in component["properties"].items():
        plain = {key: value for key, value in member.items() if key != "default"}
        members[name] = {"description": said[name], **plain}
    return {
        "description": _as_of_json((inspect.getdoc(kind) or "").partition("\n")[0]),
        "type": "object",
        "properties": members,
        "required": list(members),
        "additionalProperties": False,
    }


def _attributes(kind: type) -> dict[str, str]:
    """The section Attributes of a docstring, a line for each member."""
    section = (inspect.getdoc(kind) or "").partition("\nAttributes:\n")[2].partition("\n\n")[0]
    return {
        name: _as_of_json(" ".join(text.split()))
        for name, text in re.findall(r"^ {4}(\w+): (.*(?:\n {8,}.*)*)", section, re.MULTILINE)
    }


def _as_of_json(text: str) -> str:
    return re.sub(r"\bNone\b", "null", text).replace("``", "`")


def _classes(hint: Any) -> Iterator[type]:
    """The dataclasses that a type is made of."""
    if is_dataclass(hint) and isinstance(hint, type):
        yield hint
        hints = get_type_hints(hint)
        for item in fields(hint):
            yield from _classes(hints[item.name])
    for part in get_args(hint):
        yield from _classes(part)


if __name__ == "__main__":
    SCHEMA_PATH.write_text(schema_text(), encoding="utf-8")
