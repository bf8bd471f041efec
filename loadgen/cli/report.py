"""``loadgen report``: results as a table, CSV, JSON, or a page with plots."""

from __future__ import annotations

import math
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from typing_extensions import override

from loadgen.cli import console, exit_codes, outputs
from loadgen.cli.outputs import by_ending, of
from loadgen.errors import ConfigError
from loadgen.judging.slo import parse
from loadgen.parsing import parse_rate
from loadgen.report.answers import Answer, Asked, answers
from loadgen.report.reading import Collection, collect
from loadgen.report.report_text import report_text
from model_containers.printable import unprotected


def report(
    paths: Annotated[
        list[Path], typer.Argument(metavar="PATH...", help="Results files, and directories with results.")
    ],
    rate: Annotated[
        str | None, typer.Option(metavar="RATE", help="Say what to deploy for this rate: 100; or 6/m. With --slo.")
    ] = None,
    slo: Annotated[
        str | None, typer.Option(metavar="CONDITIONS", help="What must hold at the rate, such as p99<250ms.")
    ] = None,
    html: Annotated[Path | None, typer.Option(metavar="FILE", help="Write a page with plots to one file.")] = None,
    csv: Annotated[str | None, typer.Option(metavar="FILE|-", help="Write CSV, a line per run.")] = None,
    json: Annotated[str | None, typer.Option(metavar="FILE|-", help="Write cells and runs as JSON.")] = None,
    output: outputs.ByEnding = None,
) -> None:
    """Show what to deploy and a table of results, and write them to files; - is standard output."""
    with console.one_line_errors():
        named = (*of("--html", html, "html"), *of("--csv", csv, "csv"), *of("--json", json, "json"))
        wanted = outputs.Outputs((*named, *by_ending(output or ())))
        asked = question(rate, slo)
        collection = collect(paths)
        wanted.write(outputs.of_runs(lambda: collection, "loadgen report", asked=asked))
    if not wanted.to_standard_output:
        _show(collection, answers(collection, asked))
    for line in (*collection.left_out, *collection.unreadable):
        console.fail(line)
    raise typer.Exit(exit_codes.CONFIG if collection.unreadable else exit_codes.OK)


class _Terminal(Console):
    """Raises an error when the reader of its output has gone."""

    @override
    def on_broken_pipe(self) -> None:
        raise  # the error that it is called for


def _show(collection: Collection, found: Sequence[Answer]) -> None:
    # It writes escape sequences of its own; the table's text is printable.
    terminal = _Terminal(file=unprotected(sys.stdout), highlight=False, markup=False)
    if not terminal.is_terminal:
        terminal.width = 1000  # a pipe has no width to keep to
    terminal.print(report_text(collection, found, terminal.width))


def question(rate: str | None, slo: str | None) -> Asked | None:
    """What a user asked about what was measured.

    Args:
        rate: as typed.
        slo: as typed.

    Raises:
        ConfigError: one is missing or malformed.
    """
    if rate is None and slo is None:
        return None
    if rate is None or slo is None:
        given, missing = ("--rate", "--slo") if slo is None else ("--slo", "--rate")
        raise ConfigError(f"{given} {rate or slo}: {missing} is missing; name both")
    rate_rps = console.parsed("--rate", parse_rate, rate)
    if not 0 < rate_rps < math.inf:
        raise ConfigError(f"--rate {rate}: not {'finite' if rate_rps > 0 else 'positive'}; use a number above 0")
    return Asked(rate, rate_rps, slo, tuple(console.parsed("--slo", parse, slo)))
