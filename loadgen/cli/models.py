"""``loadgen models``: the catalogue, and checks of its models against their descriptions."""

from __future__ import annotations

import asyncio
from typing import Annotated

import typer

from frontend_launch import models as known
from frontend_launch.errors import DescribeError
from frontend_launch.launch.topology import discover
from loadgen.cli import console
from loadgen.cli.help_format import Command, Group
from loadgen.cli.parameters import A_MODEL
from loadgen.errors import ConfigError, without_secrets
from loadgen.parsing import parse_duration, parse_shape
from loadgen.report.models_text import models_text
from model_containers.model import Description

app = typer.Typer(
    cls=Group,
    help="List the models, or check them.",
    invoke_without_command=True,
    add_completion=False,
    rich_markup_mode=None,
)


@app.callback()
def models(context: typer.Context) -> None:
    """List the models there are, with what they take, what they give, and where they run by default."""
    if context.invoked_subcommand is not None:
        return

    async def ask() -> list[Description]:
        return list(await asyncio.gather(*(known.describe(name) for name in await known.catalogue())))

    descriptions, _ = console.run(ask())
    typer.echo(models_text(descriptions, discover(), console.columns()))


@app.command(cls=Command, help="Load models, run batches of 1, 2 and 8, and check their answers.")
def verify(
    names: Annotated[list[str] | None, typer.Argument(metavar="[NAME]...", help="Models.  [default: all]")] = None,
    timeout: Annotated[str, typer.Option(metavar="TIME", help="Time limit for one model.")] = "5m",
    input_shape: Annotated[
        str | None, typer.Option(metavar="SHAPE", help="Shape of one input, for models that take several: 299x299x3.")
    ] = None,
) -> None:
    """Load models, run batches of 1, 2 and 8, and check their answers."""
    with console.one_line_errors():
        timeout_s = console.parsed("--timeout", parse_duration, timeout)
        shape = console.optional("--input-shape", parse_shape, input_shape)
        if (url := next((name for name in names or () if "://" in name), None)) is not None:
            raise ConfigError(f"{without_secrets(url)}: a URL; {A_MODEL}")
    options = () if shape is None else ("--input-shape", "x".join(map(str, shape)))

    async def check() -> bool:
        for name in names or ():  # that there is no such model is no finding of a check
            await known.describe(name, options)
        good = True
        for name in names or await known.catalogue():
            try:
                report = await known.verify(name, timeout_s, options)
            except DescribeError as error:  # the others are looked at all the same
                report = {"ok": False, "checks": [{"ok": False, "name": "load", "detail": str(error)}]}
            good &= report["ok"]
            typer.echo(f"{name}: {'ok' if report['ok'] else 'NOT OK'}")
            for finding in report["checks"]:
                typer.echo(f"  {'ok ' if finding['ok'] else 'BAD'} {finding['name']}: {finding['detail']}")
        return good

    good, _ = console.run(check(), "interrupted before all models were checked")
    if not good:
        console.fail("a model does not match its description")
        raise typer.Exit(1)
