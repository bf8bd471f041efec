"""``loadgen help``: what ``--help`` behind a command says."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from loadgen.cli import console
from loadgen.errors import ConfigError


def _offered(context: typer.Context, incomplete: str) -> list[str]:
    """The commands that may come next, for a shell."""
    group = _found(context, context.params.get("words") or ()).command
    return [name for name in getattr(group, "commands", {}) if name.startswith(incomplete)]


def help_(
    context: typer.Context,
    words: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[COMMAND]...", help="Such as saturate, or models verify.  [default: all]", autocompletion=_offered
        ),
    ] = None,
) -> None:
    """Show the help of a command."""
    with console.one_line_errors():
        found = _found(context, words or ())
    typer.echo(found.get_help())


def _found(context: typer.Context, words: Sequence[str]) -> Any:
    """The context of the command that words name.

    Args:
        context: of this verb.
        words: the names of a command and of those above it.

    Raises:
        ConfigError: a command has no others below it.
    """
    found = context.find_root()
    for word in words:
        group = found.command
        if not isinstance(group, TyperGroup):
            raise ConfigError(f"{found.info_name} {word}: {found.info_name} has no commands; leave {word} out")
        name, command, _ = group.resolve_command(found, [word])
        assert command is not None
        found = typer.Context(command, info_name=name, parent=found)
    return found
