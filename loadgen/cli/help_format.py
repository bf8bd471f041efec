"""How help looks: options in panels, the common ones first, then two examples.

It is plain text: Rich would double the time that ``loadgen --help`` takes.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from typer.core import TyperCommand, TyperGroup

from loadgen.cli import option_sources, usage
from loadgen.cli.examples import EXAMPLES

COMMON = "Common options"
MODEL = "Model"
PLACEMENT = "Replicas and placement"
INPUTS = "Inputs"
LOAD = "Load"
VALIDITY = "Conditions and validity"
CLIENT = "Client"
RESULTS = "Results"
TARGET = "External server"
CONNECTION = "Running frontend"
PORTS = "Ports and access"

PANELS = (COMMON, LOAD, MODEL, PLACEMENT, INPUTS, VALIDITY, CLIENT, RESULTS, TARGET, CONNECTION, PORTS)
"""The panels of options, in the order in which help shows them."""

FIRST = ("model", "target", "rate", "slo")
"""Parameters that come before the others of their panel."""


class Command(TyperCommand):
    """A command that shows its help so, with options from a file and the environment too."""

    def __init__(self, *arguments: Any, **attributes: Any) -> None:
        super().__init__(*arguments, **attributes)
        option_sources.add(self)

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Read the words; the names of files are looked at first, as text."""
        from loadgen.cli import console  # noqa: PLC0415 - completion does without it

        named, _, _ = self.make_parser(ctx).parse_args(args=list(args))
        if not ctx.resilient_parsing:
            with console.one_line_errors():
                for parameter in self.get_params(ctx):
                    usage.refuse_blank(parameter, named.get(parameter.name))
        return super().parse_args(ctx, args)

    def invoke(self, ctx: Any) -> Any:
        """Run the command."""
        return option_sources.invoked(ctx, lambda: TyperCommand.invoke(self, ctx))

    def collect_usage_pieces(self, ctx: Any) -> list[str]:
        """The words of the line of usage; those for arguments say themselves what may be left out, and repeated."""
        arguments = [each.metavar or "" for each in self.get_params(ctx) if each.param_type_name == "argument"]
        return [self.options_metavar or "", *arguments]

    def format_options(self, ctx: Any, formatter: Any) -> None:
        """Write the panels."""
        _write_panels(self, ctx, formatter)

    def format_epilog(self, ctx: Any, formatter: Any) -> None:
        """Write the examples."""
        _write_examples(ctx, formatter)


class Group(TyperGroup):
    """Commands that show their help so."""

    def format_options(self, ctx: Any, formatter: Any) -> None:
        """Write the panels, and the commands with their whole lines."""
        _write_panels(self, ctx, formatter)
        for title, names in self.panels().items():
            with formatter.section(title):
                formatter.write_dl([(name, self.commands[name].help or "") for name in names])

    def format_epilog(self, ctx: Any, formatter: Any) -> None:
        """Write the examples."""
        _write_examples(ctx, formatter)

    def panels(self) -> Mapping[str, Iterable[str]]:
        """The names of the commands by the title of their panel."""
        return {"Commands": self.commands}


def one_of(choices: Iterable[str]) -> dict[str, Any]:
    """Arguments of an option that takes one of several words: help shows them, and shells complete them.

    Args:
        choices: the words.
    """
    known = tuple(choices)

    def complete(incomplete: str) -> list[str]:
        return [choice for choice in known if choice.startswith(incomplete)]

    return {"metavar": "|".join(known), "autocompletion": complete}


def _write_panels(command: TyperCommand | TyperGroup, ctx: Any, formatter: Any) -> None:
    for title, rows in _panels(command.get_params(ctx), ctx):
        with formatter.section(title):
            formatter.write_dl(rows)


def _panels(parameters: Iterable[Any], ctx: Any) -> Iterator[tuple[str, list[tuple[str, str]]]]:
    """The titles of panels with the lines of their parameters.

    Args:
        parameters: of a command, its option for help last.
        ctx: its context.
    """
    panels: dict[str, list[Any]] = {"Arguments": [], **{title: [] for title in PANELS}}
    for parameter in parameters:
        kind = "Arguments" if parameter.param_type_name == "argument" else COMMON
        panels[getattr(parameter, "rich_help_panel", None) or kind].append(parameter)
    several = sum(map(bool, panels.values())) - bool(panels["Arguments"]) > 1
    for title, members in panels.items():
        members.sort(key=lambda each: FIRST.index(each.name) if each.name in FIRST else len(FIRST))
        rows = [row for each in members if (row := _row(each, ctx)) is not None]
        if rows:
            yield title if several or title != COMMON else "Options", rows


def _row(parameter: Any, ctx: Any) -> tuple[str, str] | None:
    """What to write, and what it means; None of a parameter that is hidden.

    Args:
        parameter: an option or an argument.
        ctx: of its command.
    """
    row: tuple[str, str] | None = parameter.get_help_record(ctx)
    if row is None or parameter.param_type_name != "argument":
        return row
    return parameter.metavar, row[1]  # Typer adds the type, as Python has it


def _write_examples(ctx: Any, formatter: Any) -> None:
    examples = EXAMPLES.get(ctx.command_path.partition(" ")[2])
    if examples is not None:
        with formatter.section("Examples"):
            for line in examples:
                formatter.write(f"{'':>{formatter.current_indent}}{line}\n")
