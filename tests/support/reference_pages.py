"""Writes the reference pages in docs/reference from the program itself: `make docs`."""

from __future__ import annotations

import dataclasses
import enum
import inspect
import json
import re
import sys
import textwrap
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import typer

import loadgen
from loadgen.cli import examples, exit_codes, help_format, verbs
from loadgen.results import schema

ROOT = Path(__file__).parents[2]
DIRECTORY = ROOT / "docs" / "reference"

_MADE = "<!-- Made by `make docs` from {source}: change that, not this page. -->\n"
_HEADINGS = ("Args:", "Attributes:", "Returns:", "Yields:", "Raises:")
_COLUMNS = 4096
"""Wide enough that no line of help is broken."""


def cell(text: str) -> str:
    """A text as a cell of a Markdown table, with its code as code."""
    parts = re.split(r"(`+[^`]+`+)", " ".join(text.split()))
    return "".join(_code(part) if part.startswith("`") else _plain(part) for part in parts)


def _code(span: str) -> str:
    return f"`{span.strip('`')}`".replace("|", "\\|")


def _plain(text: str) -> str:
    return re.sub(r"([|<>*\[\]])", r"\\\1", text)


# Options


def options() -> str:
    """Every command with its options, in the order of its help."""
    lines = [
        "# Options",
        "",
        _MADE.format(source="the command line"),
        "`loadgen COMMAND --help` prints the same.",
        "A list is written as `1 2 4`, `1,2,4` or by repeating the option.",
        "Of any other option that is given again the last value counts, unless its help says that it is repeatable.",
        "[Exit codes](exit-codes.md) has the codes of all commands.",
    ]
    for name in verbs.VERBS:
        command = verbs.verb(name)
        lines += _command(f"loadgen {name}", command)
        for below, nested in getattr(command, "commands", {}).items():
            lines += _command(f"loadgen {name} {below}", nested)
    return "\n".join([*lines, ""])


def _command(path: str, command: Any) -> Iterator[str]:
    context = typer.Context(command, info_name=path, max_content_width=_COLUMNS)
    yield from ("", f"## {path}", "", cell(command.help or ""))
    if lines := examples.EXAMPLES.get(path.removeprefix("loadgen ")):
        yield from ("", "```", *lines, "```")
    panels: dict[str, list[str]] = {title: [] for title in ("Arguments", *help_format.PANELS)}
    for parameter in command.params:
        record = parameter.get_help_record(context)
        if record is None:
            continue
        argument = parameter.param_type_name == "argument"
        names = parameter.metavar if argument else record[0]
        kind = "Arguments" if argument else help_format.COMMON
        panels[getattr(parameter, "rich_help_panel", None) or kind].append(
            f"| {_code(f'`{names}`')} | {cell(record[1])} |"
        )
    for title, rows in panels.items():
        if rows:
            yield from ("", f"| {title} | |", "|---|---|", *rows)


# Exit codes


def codes() -> str:
    """The table in the docstring of the module of exit codes."""
    _, *rest = (exit_codes.__doc__ or "").split("==== ")
    body = [line for part in rest for line in part.splitlines() if not line.startswith("=")]
    rows: list[tuple[str, str]] = []
    after: list[str] = []
    for line in body[1:]:
        if match := re.match(r"(\d+) +(.*)", line):
            rows.append((match[1], match[2]))
        elif line.startswith(" ") and rows and not after:
            rows[-1] = (rows[-1][0], f"{rows[-1][1]} {line.strip()}")
        else:
            after.append(line)
    table = [f"| {code} | {cell(meaning)} |" for code, meaning in rows]
    closing = " ".join(line for line in after if not line.startswith("=")).strip()
    return "\n".join(
        [
            "# Exit codes",
            "",
            _MADE.format(source="`loadgen/cli/exit_codes.py`"),
            "The exit code tells a script how a command ended.",
            "",
            "| code | meaning |",
            "|---|---|",
            *table,
            "",
            closing.replace("``", "`"),
            "",
        ]
    )


# Results


def results() -> str:
    """The members of the results document, section by section."""
    document = schema.schema()
    lines = [
        "# Results file",
        "",
        _MADE.format(source="the schema of the results document"),
        "A results file is one JSON document.",
        "[Reports](../reports.md#the-results-file) says how loadgen reads and keeps it.",
        "[`results.schema.json`](../../loadgen/results/results.schema.json) is the same as a JSON schema.",
        "",
        "## The document",
        "",
        *_members(document),
    ]
    for name, definition in document["$defs"].items():
        lines += ["", f"## {name}", ""]
        if "description" in definition:
            lines += [cell(definition["description"]), ""]
        lines += _members(definition)
    return "\n".join([*lines, ""])


def _members(definition: Mapping[str, Any]) -> list[str]:
    rows = [
        f"| `{name}` | {_type(member)} | {cell(member.get('description', ''))} |"
        for name, member in definition.get("properties", {}).items()
    ]
    return ["| member | type | meaning |", "|---|---|---|", *rows]


def _type(member: Mapping[str, Any]) -> str:
    if "$ref" in member:
        name = member["$ref"].rpartition("/")[2]
        return f"[{name}](#{name.lower()})"
    if "anyOf" in member:
        return " or ".join(dict.fromkeys(_type(choice) for choice in member["anyOf"]))
    if "const" in member:
        return f"`{json.dumps(member['const'])}`"
    if "enum" in member:
        return ", ".join(f"`{json.dumps(value)}`" for value in member["enum"])
    kind = member.get("type", "any")
    if kind == "array":
        items: object = member.get("items") or next(iter(member.get("prefixItems", ())), None)
        return f"list of {_type(items)}" if isinstance(items, dict) and items else "list"
    if kind == "object" and isinstance(member.get("additionalProperties"), dict):
        return f"object of {_type(member['additionalProperties'])}"
    return " or ".join(kind) if isinstance(kind, list) else str(kind)


# Python


def python() -> str:
    """The public names of the package, each with its signature and its docstring."""
    lines = [
        "# Python API",
        "",
        _MADE.format(source="`loadgen.__all__`"),
        "One call does what one command does.",
        "All names are imported from `loadgen`, which imports each at its first use.",
        "[`tests/typing/api.py`](../../tests/typing/api.py) shows typed calls.",
        "",
        "```python",
        "import uvloop",
        "from loadgen import Deploy, ExperimentConfig, Saturate, run_experiment",
        "",
        'results = uvloop.run(run_experiment(ExperimentConfig(Deploy("noop"), Saturate(duration_s=5))))',
        "print(results.summary.throughput_rps, results.verdict.text)",
        "```",
    ]
    public = {name: getattr(loadgen, name) for name in loadgen.__all__ if name != "__version__"}
    groups: dict[str, Callable[[Any], bool]] = {
        "Functions": lambda value: not inspect.isclass(value),
        "Errors": lambda value: inspect.isclass(value) and issubclass(value, Exception),
        "Types": lambda value: inspect.isclass(value) and not issubclass(value, Exception),
    }
    for title, belongs in groups.items():
        lines += ["", f"## {title}"]
        for name, value in public.items():
            if belongs(value):
                lines += ["", f"### {name}", "", *_public(name, value)]
    return "\n".join([*lines, ""])


def _public(name: str, value: Any) -> Iterator[str]:
    if (signature := _signature(name, value)) is not None:
        yield from ("```python", signature, "```", "")
    yield from _docstring(value)


def _signature(name: str, value: Any) -> str | None:
    """The call of a function or a class, a parameter a line where it is long; None of what is not called."""
    if inspect.isclass(value) and (issubclass(value, enum.Enum) or getattr(value, "_is_protocol", False)):
        return None
    if inspect.isclass(value) and not dataclasses.is_dataclass(value) and value.__init__ is object.__init__:
        return None
    try:
        signature = inspect.signature(value)
    except (TypeError, ValueError):
        return None
    parameters = [_parameter(each) for each in _own(signature)]
    returns = "" if inspect.isclass(value) else f" -> {_annotation(signature.return_annotation)}"
    prefix = "async " if inspect.iscoroutinefunction(value) else ""
    line = f"{prefix}{name}({', '.join(parameters)}){returns}"
    if len(line) <= 88:
        return line
    return "\n".join([f"{prefix}{name}(", *(f"    {each}," for each in parameters), f"){returns}"])


def _parameter(parameter: inspect.Parameter) -> str:
    """A parameter without what differs from one process or platform to the next."""
    text = re.sub(r"<[\w.]+ object at 0x\w+>|<factory>", "...", str(parameter))
    return text.replace("PosixPath(", "Path(")


def _own(signature: inspect.Signature) -> Iterator[inspect.Parameter]:
    for parameter in signature.parameters.values():
        yield parameter.replace(annotation=_Text(_annotation(parameter.annotation)))


class _Text(str):
    """An annotation that `str(Parameter)` shows as it is."""

    __slots__ = ()

    def __repr__(self) -> str:
        return str(self)


def _annotation(annotation: Any) -> str:
    text = annotation if isinstance(annotation, str) else inspect.formatannotation(annotation)
    return re.sub(r"\b(?:[a-z_0-9]+\.)+(?=\w)", "", text)


def _docstring(value: Any) -> Iterator[str]:
    text = inspect.getdoc(value) or ""
    if dataclasses.is_dataclass(value) and text.startswith(f"{getattr(value, '__name__', '')}("):
        text = ""  # made by dataclass
    for block in re.split(r"\n\s*\n", text.replace("``", "`")):
        heading, _, rest = block.partition("\n")
        if heading not in _HEADINGS:
            yield from (*_paragraph(block), "")
            continue
        yield from (f"**{heading}**", "")
        yield from _entries(textwrap.dedent(rest))
        yield ""


def _paragraph(block: str) -> Iterable[str]:
    return [re.sub(r"(?<![`\w])<(?=\w)", r"\\<", line) for line in block.splitlines()]


def _entries(text: str) -> Iterator[str]:
    entry = ""
    for line in [*text.splitlines(), "end"]:
        if not line.startswith(" ") and entry:
            name, colon, meaning = entry.partition(": ")
            known = colon and re.fullmatch(r"[\w`*., ]+", name) and " " not in name.replace(", ", "")
            yield f"- `{name}`: {meaning}" if known else f"- {entry}"
            entry = ""
        entry = f"{entry} {line.strip()}".strip()


PAGES: Mapping[str, Callable[[], str]] = {
    "options": options,
    "exit-codes": codes,
    "results": results,
    "python": python,
}
"""The pages with what makes them."""


def page(name: str) -> str:
    """The text of a page."""
    return re.sub(r"\n{3,}", "\n\n", PAGES[name]())


def path(name: str) -> Path:
    """Where a page is kept."""
    return DIRECTORY / f"{name}.md"


if __name__ == "__main__":
    for name in sys.argv[1:] or PAGES:
        path(name).write_text(page(name))
