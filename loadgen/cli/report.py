"""``loadgen report``: results as a table, CSV, JSON, or a page with plots."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from typing_extensions import override

from loadgen.cli import console, exit_codes
from loadgen.errors import ConfigError
from loadgen.report import tables
from loadgen.report.reading import Collection, collect
from loadgen.report.tables import terminal_table
from model_containers.printable import unprotected


def report(
    paths: Annotated[
        list[Path], typer.Argument(metavar="PATH...", help="Results files, and directories with results.")
    ],
    html: Annotated[Path | None, typer.Option(metavar="FILE", help="Write a page with plots, in one file.")] = None,
    csv: Annotated[str | None, typer.Option(metavar="FILE|-", help="Write a line per run.")] = None,
    json: Annotated[str | None, typer.Option(metavar="FILE|-", help="Write cells and runs as JSON.")] = None,
) -> None:
    """Show what was measured: a table, and whatever files are asked for; - is standard output."""
    with console.one_line_errors():
        if csv == json == console.STANDARD_OUTPUT:
            raise ConfigError("--csv - and --json - both ask for standard output: write one of them to a file")

        collection = collect(paths)
        if html is not None:
            from loadgen.report.page import page  # noqa: PLC0415 - it takes longer to import than a table to print

            console.write("--html", html, page(collection))
        if csv is not None:
            console.write("--csv", csv, tables.csv_text(collection))
        if json is not None:
            console.write("--json", json, tables.json_text(collection))
    if console.STANDARD_OUTPUT not in (csv, json):
        _show(collection)
    for line in (*collection.left_out, *collection.unreadable):
        console.fail(line)
    raise typer.Exit(exit_codes.CONFIG if collection.unreadable else exit_codes.OK)


class _Terminal(Console):
    """Says when whoever read its output is gone."""

    @override
    def on_broken_pipe(self) -> None:
        raise  # the error that it is called for


def _show(collection: Collection) -> None:

    # It writes escape sequences of its own; the table's text is printable.
    terminal = _Terminal(file=unprotected(sys.stdout), highlight=False, markup=False)
    if not terminal.is_terminal:
        terminal.width = 1000  # a pipe has no width to keep to
    terminal.print(terminal_table(collection))
