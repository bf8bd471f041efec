"""The files that a verb writes beside what it prints: JSON, CSV, Markdown, a page, JUnit's XML."""

from __future__ import annotations

import functools
import json as json_text
import logging
import os
import sys
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer

from loadgen.cli import console, groups, help_format
from loadgen.errors import ConfigError, NotSavedError
from loadgen.report import junit, tables
from loadgen.report.answers import Asked, answers
from loadgen.report.reading import Collection
from loadgen.report.report_text import report_markdown
from loadgen.results.cells import cells_of, run_of
from loadgen.results.document import Results

FORMATS = ("json", "csv", "md", "html", "xml")
"""The endings of ``--output``."""

Documents = Mapping[str, Callable[[], str]]
"""What can be written: the text of each format, made when it is wanted."""


@dataclass(frozen=True, slots=True)
class File:
    """A file to write.

    Attributes:
        option: that names it.
        path: as typed; a dash is standard output.
        format: one of `FORMATS`.
    """

    option: str
    path: str
    format: str


@dataclass(frozen=True, slots=True)
class Outputs:
    """What a verb writes and prints.

    Attributes:
        files: to write.
        quiet: print errors only.

    Raises:
        ConfigError: a file cannot be written, or two formats go to one place.
    """

    files: tuple[File, ...] = ()
    quiet: bool = False

    def __post_init__(self) -> None:
        for file in self.files:
            console.writable(file.option, file.path)
        for path, times in Counter(_place(file.path) for file in self.files).items():
            if times > 1:
                first, second, *_ = (f"{file.option} {file.path}" for file in self.files if _place(file.path) == path)
                dash = path == console.STANDARD_OUTPUT
                what = "both standard output; write one of them" if dash else "the same file; write one of them"
                raise ConfigError(f"{first} and {second}: {what} to {'a' if dash else 'another'} file")

    @property
    def to_standard_output(self) -> bool:
        """A file is standard output, where then nothing else is printed."""
        return any(file.path == console.STANDARD_OUTPUT for file in self.files)

    @property
    def silent(self) -> bool:
        """Standard output gets no text for people."""
        return self.quiet or self.to_standard_output

    def refuse_in_dry_run(self) -> None:
        """Refuse files on standard output, where a dry run prints its plan.

        Raises:
            ConfigError: a file is standard output.
        """
        for file in self.files:
            if file.path == console.STANDARD_OUTPUT:
                remedy = f"leave out {file.option} or --dry-run"
                raise ConfigError(f"{file.option} -: a dry run prints a plan and has no results; {remedy}")

    def set_up_logging(self) -> None:
        """Log to standard output, to standard error where a file is written there, or warnings only."""
        if self.quiet:
            console.set_up_logging(sys.stderr, logging.WARNING)
        elif self.to_standard_output:
            console.set_up_logging(sys.stderr)
        else:
            console.set_up_logging()

    def say(self, text: str) -> None:
        """Print a text for people."""
        if not self.silent:
            typer.echo(text)

    def write(self, documents: Documents) -> None:
        """Write the files.

        Args:
            documents: of all formats that were not refused.

        Raises:
            ConfigError: one cannot be written.
        """
        for file in self.files:
            console.write(file.option, file.path, documents[file.format]())

    def keep(self, documents: Documents) -> None:
        """The same of what was measured: a file that cannot be written ends the program with a code of its own.

        Args:
            documents: of all formats that were not refused.
        """
        with console.one_line_errors():
            try:
                self.write(documents)
            except ConfigError as error:
                raise NotSavedError(str(error)) from None


def _place(path: str) -> str:
    return path if path == console.STANDARD_OUTPUT else os.path.abspath(path)


ByEnding = Annotated[
    list[str] | None,
    typer.Option(
        "--output",
        "-o",
        metavar="FILE",
        help="Write the answer to a file that ends in .json, .csv, .md, .html, or .xml (JUnit); repeatable.",
    ),
]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="Print errors only.")]


@groups.panel(help_format.RESULTS)
def writing(
    context: typer.Context,
    json: Annotated[str | None, typer.Option(metavar="FILE|-", help="Write the answer as JSON.")] = None,
    output: ByEnding = None,
    quiet: Quiet = False,
) -> groups.Settings:
    """What is written and printed."""
    wanted = Outputs((*of("--json", json, "json"), *by_ending(output or ())), quiet)
    if context.params.get("dry_run"):
        wanted.refuse_in_dry_run()
    return {"outputs": wanted}


def of(option: str, path: Path | str | None, form: str) -> tuple[File, ...]:
    """The file of an option for one format; none where the option was not given.

    Args:
        option: its name.
        path: as typed.
        form: one of `FORMATS`.
    """
    return () if path is None else (File(option, str(path), form),)


def by_ending(paths: Sequence[str]) -> tuple[File, ...]:
    """The files of ``--output``.

    Args:
        paths: as typed.

    Raises:
        ConfigError: one has no ending of `FORMATS`.
    """
    files = []
    for path in paths:
        form = Path(path).suffix.removeprefix(".").lower()
        if form not in FORMATS:
            problem = "standard output has no ending" if path == console.STANDARD_OUTPUT else "the format is unknown"
            remedy = f"end it in .{', .'.join(FORMATS[:-1])} or .{FORMATS[-1]}"
            raise ConfigError(f"--output {path}: {problem}; {'use --json -' if path == '-' else remedy}")
        files.append(File("--output", path, form))
    return tuple(files)


def of_runs(
    found: Callable[[], Collection], name: str, allow_invalid: bool = False, asked: Asked | None = None
) -> Documents:
    """What can be written of runs.

    Args:
        found: reads the runs; called where a file is wanted.
        name: of the suite of tests.
        allow_invalid: checks that failed are skipped.
        asked: the question that page, Markdown and JSON answer first; None for what the runs answer.
    """
    collection = functools.cache(found)

    def page() -> str:
        from loadgen.report.page import page  # noqa: PLC0415 - it takes longer to import than a table to print

        return page(collection(), answers(collection(), asked))

    return {
        "json": lambda: tables.json_text(collection(), answers(collection(), asked)),
        "csv": lambda: tables.csv_text(collection()),
        "md": lambda: report_markdown(collection(), answers(collection(), asked)),
        "html": page,
        "xml": lambda: junit.suite(name, junit.of_runs(collection(), allow_invalid)),
    }


def of_results(results: Results, name: str, allow_invalid: bool) -> Documents:
    """What can be written of one run.

    Args:
        results: of the run.
        name: of the suite of tests.
        allow_invalid: checks that failed are skipped.
    """
    run = run_of(results, results.path or Path("not saved"))
    collection = Collection(cells_of([run]), (), ())
    return {
        **of_runs(lambda: collection, name, allow_invalid),
        "json": lambda: json_text.dumps(results.document(), indent=4, allow_nan=False) + "\n",
        "md": lambda: tables.markdown_text(collection),
    }
