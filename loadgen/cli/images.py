"""``loadgen images``: container images of the models and of the frontends."""

from __future__ import annotations

import re
import shlex
from datetime import UTC, datetime
from typing import Annotated

import typer

from frontend_launch.launch import images
from frontend_launch.launch.images import State
from loadgen.cli import console
from loadgen.cli.help_format import Command, Group
from loadgen.errors import ConfigError
from loadgen.report.columns import table

app = typer.Typer(
    cls=Group,
    help="Build container images, or list them.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
)

INTERRUPTED = "interrupted before all images were built: those that were stay"
_IMAGE = re.compile(r"[A-Za-z0-9][A-Za-z0-9._/:@-]{0,500}")
HEADINGS = ("image", "size", "age", "state")


@app.command(
    cls=Command, help="Build the images of models, and always those of the frontends, from what is installed here."
)
def build(
    names: Annotated[
        list[str] | None,
        typer.Argument(metavar="[NAME]...", help="Models of the catalogue.  [default: all]"),
    ] = None,
    base: Annotated[
        str, typer.Option(metavar="IMAGE", help="What images start from: one with Python, pip and apt.")
    ] = "python:3.11-slim-bookworm",
    gpu: Annotated[bool, typer.Option("--gpu", help="Build vgg and inception for GPUs, with the tag gpu.")] = False,
) -> None:
    """Build the images of models, and always those of the frontends, from what is installed here."""
    with console.one_line_errors():
        if _IMAGE.fullmatch(base) is None:
            raise ConfigError(
                f"--base {shlex.quote(base)}: not the name of an image; write it as python:3.11-slim-bookworm"
            )
    console.run(images.build(names or (), base=base, gpu=gpu, say=typer.echo), INTERRUPTED)


@app.command(
    name="list",
    cls=Command,
    help="List the images that there should be, and say which are missing or older than what is installed here.",
)
def list_() -> None:
    """List the images that there should be, and say which are missing or older than what is installed here."""
    states, _ = console.run(images.states())
    now = datetime.now(UTC)
    typer.echo(table([HEADINGS, *(_row(state, now) for state in states)], console.columns()))
    redis, *built = states
    if any(state.state not in ("current", "present") for state in built):
        typer.echo("-> loadgen images build")
    if redis.state == "missing":
        typer.echo(f"-> docker pull {redis.tag}")


def _row(state: State, now: datetime) -> tuple[str, str, str, str]:
    size = "-" if state.size_bytes is None else f"{state.size_bytes / 1e6:.0f} MB"
    age = "-" if state.created is None else _age((now - state.created).total_seconds())
    return state.tag, size, age, state.state


def _age(seconds: float) -> str:
    for unit, length_s in (("d", 86_400), ("h", 3600), ("min", 60)):
        if seconds >= length_s:
            return f"{seconds // length_s:.0f} {unit}"
    return f"{max(seconds, 0):.0f} s"
