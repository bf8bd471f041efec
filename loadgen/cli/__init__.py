"""The command line: one module per verb turns options into one call and the result into text and an exit code."""

from __future__ import annotations

import os
import signal
import sys
from typing import Annotated, NoReturn

import typer

from loadgen.cli import (
    best,
    capacity,
    console,
    deployments,
    doctor,
    exit_codes,
    images,
    models,
    rate,
    report,
    saturate,
    sweep,
)
from loadgen.cli.argv import normalise_argv

LIST_OPTIONS = {
    "--cpus": "cpus",
    "--model_cpus": "cpus",
    "-c": "cpus",
    "--gpus": "gpus",
    "--model_gpus": "gpus",
    "-g": "gpus",
    "--client-cpus": "client_cpus",
    "--frontends-cpus": "frontends_cpus",
    "--redis-cpus": "redis_cpus",
    "--management-cpus": "management_cpus",
    "--query-cpus": "query_cpus",
}
"""Options whose value is a list of integers, by all of their spellings; `sweep` has more of them."""

app = typer.Typer(
    help="Size an ML serving deployment by experiment.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)
app.command()(saturate.saturate)
app.command()(rate.rate)
app.command()(sweep.sweep)
app.command()(capacity.capacity)
app.command()(report.report)
app.command()(best.best)
for verb in (deployments.up, deployments.down, deployments.ps, deployments.logs, deployments.metrics):
    app.command()(verb)
app.add_typer(models.app, name="models")
app.add_typer(images.app, name="images")
app.command()(doctor.doctor)


def _version(wanted: bool) -> None:
    if wanted:
        from importlib.metadata import version  # noqa: PLC0415 - costs --help nothing

        typer.echo(f"loadgen {version('loadgen')}")
        raise typer.Exit


@app.callback()
def _root(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Show the version and exit.")
    ] = False,
) -> None:
    """Size an ML serving deployment by experiment."""


def main() -> None:
    """Entry point of ``loadgen``."""
    argv = sys.argv[1:]
    lists = {**LIST_OPTIONS, **sweep.LIST_OPTIONS} if argv[:1] == ["sweep"] else LIST_OPTIONS
    try:
        code = app(args=normalise_argv(argv, lists), prog_name="loadgen", standalone_mode=False)
        sys.stdout.flush()
    except typer.Abort:
        sys.exit(exit_codes.of_signal(signal.SIGINT))
    except typer.TyperException as error:
        _refuse(error)
    except OSError as error:  # whoever read the output is gone, or the disk is full
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(f"loadgen: the output cannot be written: {error.strerror}")
    sys.exit(code)


def _refuse(error: typer.TyperException) -> NoReturn:
    """Say in one line what the parser does not like; or a verb's help, where the verb alone says nothing."""
    text = error.format_message().rstrip(".")
    if "\n" in text:
        typer.echo(text, err=True)
    else:
        context = getattr(error, "ctx", None)
        path = "loadgen" if context is None else context.command_path
        # Behind a value of the wrong type is an error of what reads types, which knows the value.
        details = getattr(error.__cause__, "errors", list)
        values = [detail["input"] for detail in details()]
        given = f"{', '.join(map(repr, values))} is given, " if values else ""
        console.fail(f"{text[:1].lower()}{text[1:]}: {given}see `{path} --help`")
    sys.exit(exit_codes.CONFIG)
