"""Servers that the benchmarks run against, and the tables that they end with."""

from __future__ import annotations

import json
import os
import platform
import re
import subprocess
import sys
from collections import defaultdict
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from model_containers.data_types import DataType

BENCHMARKS = pytest.StashKey[list[dict[str, Any]]]()


@pytest.hookimpl(tryfirst=True)
def pytest_benchmark_group_stats(config: pytest.Config, benchmarks: list[dict[str, Any]]) -> list[object] | None:
    """Keep what was measured for tables of our own; a comparison with saved runs has the plugin's."""
    if config.getoption("benchmark_compare"):
        return None
    config.stash[BENCHMARKS] = benchmarks
    return []


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    """A table for each file, or for each value of the first parameter where there are two; a line for the history."""
    if config.getoption("benchmark_autosave") and BENCHMARKS in config.stash:
        remember(config.rootpath / ".benchmarks" / "history.jsonl", config.stash[BENCHMARKS])
    tables: defaultdict[str, dict[str, dict[str, Any]]] = defaultdict(dict)
    for benchmark in config.stash.get(BENCHMARKS, []):
        title, label = place(benchmark)
        wall = {} if "wall_us_per_request" in benchmark["extra_info"] else {"wall_us_per_call": benchmark["min"] * 1e6}
        tables[title][label] = wall | benchmark["extra_info"]
    for title, rows in tables.items():
        terminalreporter.write_line("")
        for line in table(title, rows):
            terminalreporter.write_line(line)


def remember(path: Path, benchmarks: list[dict[str, Any]]) -> None:
    """Add a line to the history: when, of which revision, and the figures of each benchmark.

    Args:
        path: of JSON lines.
        benchmarks: as the plugin has them.
    """
    revision = ["git", "-C", str(Path(__file__).parent), "describe", "--always", "--dirty"]
    figures = {each["fullname"]: {"least_us": each["min"] * 1e6, **each["extra_info"]} for each in benchmarks}
    line = {
        "at": datetime.now(UTC).isoformat(timespec="seconds"),
        "revision": subprocess.run(revision, capture_output=True, text=True, check=False).stdout.strip(),
        "python": platform.python_version(),
        "machine": platform.processor() or platform.machine(),
        "cores": len(os.sched_getaffinity(0)),
        "figures": figures,
    }
    path.parent.mkdir(exist_ok=True)
    with path.open("a") as file:
        file.write(json.dumps(line) + "\n")


def place(benchmark: dict[str, Any]) -> tuple[str, str]:
    """The table of a benchmark, and its row there."""
    file, _, name = benchmark["fullname"].rpartition("/")[2].partition("::")
    *first, last = (benchmark["params"] or {"": ""}).items()
    if not first:
        return file, name.removeprefix("test_")
    return ", ".join([file, *(f"{name} {value}" for name, value in first)]), f"{last[0]} {last[1]}"


def table(title: str, rows: dict[str, dict[str, Any]]) -> list[str]:
    """Lines of a table; a column for whatever is known of any row."""
    columns = list(dict.fromkeys(name for row in rows.values() for name in row))
    heading = [title, *(re.sub(r"\bus\b", "µs", name.replace("_", " ")) for name in columns)]
    cells = [heading, *([label, *(text(row.get(name)) for name in columns)] for label, row in rows.items())]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    lines = []
    for label, *values in cells:
        padded = [value.rjust(width) for value, width in zip(values, widths[1:], strict=True)]
        lines.append("   ".join([label.ljust(widths[0]), *padded]).rstrip())
    return lines


def text(value: object) -> str:
    """A value for a reader: numbers with four significant digits."""
    match value:
        case None:
            return ""
        case list() | tuple():
            return " ".join(map(text, value))
        case int() | float():
            return f"{value:.4g}" if abs(value) < 1000 else f"{value:,.0f}"
        case _:
            return str(value)


@pytest.fixture(scope="session")
def null_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    """The addresses of a frontend that does nothing, for requests and for responses; it answers with one float."""
    answer = tmp_path_factory.mktemp("null-server") / "answer"
    answer.write_bytes(bytes(4))
    command = [
        sys.executable,
        "-m",
        "loadgen.servers.null_server",
        "clipper-tcp",
        str(answer),
        str(int(DataType.FLOATS)),
    ]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        yield json.loads(process.stdout.readline())
        process.kill()
