"""``loadgen report``: results as a table, CSV, JSON, or a page with plots."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from typing_extensions import override

from loadgen.cli import console, exit_codes, outputs
from loadgen.cli.outputs import by_ending, of
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
    output: Annotated[
        list[str] | None,
        typer.Option(
            "--output",
            "-o",
            metavar="FILE",
            help="Write a file that ends in .json, .csv, .md, .html, or .xml (JUnit); repeatable.",
        ),
    ] = None,
) -> None:
    """Show what was measured: a table, and whatever files are asked for; - is standard output."""
    with console.one_line_errors():
        named = (*of("--html", html, "html"), *of("--csv", csv, "csv"), *of("--json", json, "json"))
        wanted = outputs.Outputs((*named, *by_ending(output or ())))
        collection = collect(paths)
        wanted.write(outputs.of_runs(lambda: collection, "loadgen report"))
    if not wanted.to_standard_output:
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
