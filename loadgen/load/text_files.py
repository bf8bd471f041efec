"""Entries of text files, one for each request: lines, JSON, JSON Lines and CSV."""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from frontend_launch.quantities import plural
from loadgen import files
from loadgen.errors import ConfigError

_NUMBER = re.compile(
    r"(?!\+[0-9]{7,}$)[+-]?(?:(?:0|[1-9][0-9]{0,300})(?:\.[0-9]*)?|\.[0-9]+)(?:e[+-]?[0-9]+)?", re.IGNORECASE
)
"""A number in a CSV; one with leading zeros is a text, such as a postal code, as is a number of a telephone."""

_INFINITE = re.compile(r"[+-]?inf(?:inity)?", re.IGNORECASE)
"""A number, in a column with others."""

_QUOTED_LATE = re.compile(r'\s+".*"\s*', re.DOTALL)
"""A field whose quotes count as text, since a space stands before them."""

_TRUTH = {"true": True, "false": False}
_MISSING = ("", "na", "n/a", "nan", "null", "none", r"\n")


@dataclass(frozen=True, slots=True)
class Entry:
    """What a file has for one request.

    Attributes:
        value: as JSON has it; of a line of text its bytes.
        source: file and line, for refusals.
        texts: the same as the file writes it, where that is text for each value; None otherwise.
        names: of the members of the file's first object, in its order.
        line: the whole entry as the file writes it, where it has a line of its own in JSON.
    """

    value: object
    source: str
    texts: object = None
    names: tuple[str, ...] = ()
    line: str | None = None


def entries(file: Path) -> Iterator[Entry]:
    """The entries of a file, by the end of its name; lines without content are left out.

    Raises:
        ConfigError: it cannot be read, or is not what its name says.
    """
    names: tuple[str, ...] = ()
    try:
        for entry in _READERS[file.suffix.lower()](file):
            if isinstance(entry.value, dict):
                names = names or tuple(entry.value)
                entry = replace(entry, names=names)
            yield entry
    except files.UnreadableError as error:
        raise ConfigError(f"{file}: cannot be read: {error}") from None


def _lines(file: Path) -> Iterator[Entry]:
    content = files.read_bytes(file)
    files.refuse_other_encodings(content)
    for number, line in enumerate(content.removeprefix(b"\xef\xbb\xbf").splitlines(), start=1):
        if line:
            yield Entry(line, f"{file}, line {number}")


def _json_lines(file: Path) -> Iterator[Entry]:
    for number, line in enumerate(files.read_text(file).split("\n"), start=1):
        if line.strip():
            source = f"{file}, line {number}"
            yield Entry(_json(line, source, "write a value a line"), source, line=line.strip())


def _json_list(file: Path) -> Iterator[Entry]:
    document = _json(files.read_text(file), str(file), "a file with a value a line is named .jsonl")
    if isinstance(document, dict) and {"data"} <= document.keys() <= {"data", "validation_data"}:
        document = document["data"]  # as Triton's perf_analyzer reads it
        match document:
            case [[{}, *_], *_]:
                raise ConfigError(f"{file}: holds sequences, which are not sent; write their steps in one list")
    if not isinstance(document, list):
        remedy = "write [input, …], as pandas does with orient='records'"
        raise ConfigError(f"{file}: holds no list of inputs; {remedy}")
    for number, value in enumerate(document, start=1):
        yield Entry(value, f"{file}, entry {number}")


def _json(text: str, source: str, remedy: str) -> object:
    try:
        value: object = files.parse_json(text)
    except json.JSONDecodeError as error:
        at = f"line {error.lineno}, column {error.colno}" if "\n" in text.strip() else f"column {error.colno}"
        raise ConfigError(f"{source}: not JSON: {error.msg} at {at}; {remedy}") from None
    except ValueError as error:
        raise ConfigError(f"{source}: not JSON: {error}") from None
    return value


def _csv_rows(file: Path) -> Iterator[Entry]:
    """An object for each row below a heading, or its value where there is one column; without a heading a list."""
    csv.field_size_limit(files.MAX_BYTES)
    reader = csv.reader(io.StringIO(files.read_text(file), newline=""), strict=True)
    try:
        rows = [(reader.line_num, row) for row in reader if any(field.strip() for field in row)]
    except csv.Error as error:
        raise ConfigError(f"{file}, line {reader.line_num}: not CSV: {error}") from None
    if not rows:
        return
    names = _heading(rows[0][1], f"{file}, line {rows[0][0]}")
    for number, row in rows:
        if len(row) != len(rows[0][1]):
            problem = f"{file}, line {number}: has {plural(len(row), 'field')}, the first row {len(rows[0][1])}"
            raise ConfigError(f"{problem}; quote texts that hold commas, and write decimals with a point")
        if any(map(_QUOTED_LATE.fullmatch, row)):
            raise ConfigError(f"{file}, line {number}: has a space before a quote; remove it, or write JSON Lines")
    body = rows[names is not None :]
    columns = {name: [row[at] for _, row in body] for at, name in enumerate(names or map(str, range(len(rows[0][1]))))}
    if names is not None and names[0] == "" and len(names) > 1:
        del columns[""]  # the index that pandas writes
    typed = {name: _typed(column) for name, column in columns.items()}
    for at, (number, _) in enumerate(body):
        values: list[object] = [column[at] for column in typed.values()]
        texts: list[object] = [column[at] for column in columns.values()]
        source = f"{file}, line {number}"
        if len(columns) == 1:
            yield Entry(values[0], source, texts[0])
        elif names is None:
            yield Entry(values, source, texts)
        else:
            yield Entry(dict(zip(columns, values, strict=True)), source, dict(zip(columns, texts, strict=True)))


def _heading(first: Sequence[str], source: str) -> list[str] | None:
    """The names of the columns; None where the first row has numbers.

    Args:
        first: its fields.
        source: file and line, for refusals.

    Raises:
        ConfigError: it may be a heading or not, or names a column twice.
    """
    names = [field.strip() for field in first]
    if any(sign in name for name in names for sign in ";\t"):
        raise ConfigError(f"{source}: has semicolons or tabs; separate columns by commas, decimals by points")
    if all(map(_NUMBER.fullmatch, names)):
        if len(names) > 1 and names == [str(at) for at in range(len(names))]:
            problem = f"{source}: may be a heading or numbers"
            raise ConfigError(f"{problem}; name the columns, or put a heading with names above it")
        return None
    if _NUMBER.fullmatch(names[0]):
        raise ConfigError(f"{source}: neither a heading nor a row of numbers; put a heading with names above it")
    if len(set(names)) < len(names) or "" in names[1:]:
        raise ConfigError(f"{source}: does not name all columns differently; name each, once")
    return names


def _typed(column: Sequence[str]) -> Sequence[object]:
    """A column's numbers or truth values, with None for missing ones; its texts where it has others."""
    fields = ["" if field.strip().lower() in _MISSING else field.strip() for field in column]
    filled = [field for field in fields if field]
    if not filled:
        return column if any(column) else [None] * len(column)
    finite = [field for field in filled if not _INFINITE.fullmatch(field)]
    if finite and all(map(_NUMBER.fullmatch, finite)):
        return [_number(field) if field else None for field in fields]
    if all(field.lower() in _TRUTH for field in filled):
        return [_TRUTH.get(field.lower()) for field in fields]
    return column


def _number(text: str) -> int | float:
    return int(text) if text.lstrip("+-").isdigit() else float(text)


LINES = ".txt"
_READERS: dict[str, Callable[[Path], Iterator[Entry]]] = {
    LINES: _lines,
    ".jsonl": _json_lines,
    ".ndjson": _json_lines,
    ".json": _json_list,
    ".csv": _csv_rows,
}
SUFFIXES = tuple(_READERS)
OF_NUMBERS = tuple(suffix for suffix in SUFFIXES if suffix != LINES)
"""Those that may hold numbers."""
