"""The verbs: each with its module, which is imported when it is called, and its line of help."""

from __future__ import annotations

import contextlib
import errno
import functools
import os
import signal
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from importlib import import_module
from typing import Annotated, Any, NoReturn

import typer
from typer.core import TyperCommand

from loadgen.cli import exit_codes, usage
from loadgen.cli.argv import list_options, normalise_argv
from loadgen.cli.help_format import Command, Group
from loadgen.errors import one_line
from model_containers import printable

VERBS = {
    "size": ("size:size", "Find the cheapest configuration that carries a rate within an objective."),
    "saturate": ("saturate:saturate", "Load a deployment to saturation, and name its limit."),
    "rate": ("rate:rate", "Offer load at a rate, and measure the latency of its users."),
    "sweep": (
        "sweep:sweep",
        "Measure every combination of replicas, cores per replica, batch sizes, requests in flight and rates.",
    ),
    "capacity": ("capacity:capacity", "Find the highest rate that holds an objective."),
    "report": (
        "report:report",
        "Show what to deploy and a table of results, and write them to files; - is standard output.",
    ),
    "compare": (
        "compare:compare",
        "Compare two results, or measure two configurations in turns and say whether one is worse.",
    ),
    "best": ("best:best", "Name the cheapest configuration that was shown to carry a rate within an objective."),
    "up": ("deployments:up", "Bring up a deployment that stays, for `loadgen saturate --connect`."),
    "down": (
        "deployments:down",
        "Take down a run: its containers, network and directory, or its processes; others stay untouched.",
    ),
    "ps": ("deployments:ps", "List the containers and processes of all deployments."),
    "logs": ("deployments:logs", "Print the logs of a run, each line with its role."),
    "metrics": ("deployments:metrics", "Print the metrics of a query frontend as JSON."),
    "doctor": ("doctor:doctor", "Show what works on this machine, and the remedy for the rest."),
    "models": ("models:app", "List the models, or check them."),
    "images": ("images:app", "Build container images, or list them."),
    "help": ("help:help_", "Show the help of a command."),
}
"""Each verb with the module and the name in it that it is made of, and its line of help.

The module is imported when its verb is called, so that the list of all verbs is quick.
"""


PANELS = {
    "Measure": ("size", "saturate", "rate", "sweep", "capacity"),
    "Look at results": ("report", "compare", "best"),
    "Deployments": ("up", "down", "ps", "logs", "metrics"),
    "This installation": ("doctor", "models", "images", "help"),
}
"""The verbs in help, by the titles of their panels."""


class Verbs(Group):
    """The verbs, by their lines of help until one is called."""

    def __init__(self, **attributes: Any) -> None:
        lines = {name: TyperCommand(name, help=line) for name, (_, line) in VERBS.items()}
        super().__init__(**{**attributes, "commands": lines})

    def panels(self) -> Mapping[str, Iterable[str]]:
        """The verbs, by what they are for."""
        return PANELS

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        """The verb that the words ask for, with the rest of them."""
        name, line, rest = super().resolve_command(ctx, args)
        return name, verb(name) if line is not None and name is not None else line, rest

    def invoke(self, ctx: Any) -> Any:
        """Run a verb; what the operating system refused is said here: typer ends without a word when a pipe breaks."""
        try:
            return super().invoke(ctx)
        except OSError as error:
            raise typer.Exit(_failed(error)) from None


@functools.cache
def verb(name: str) -> Any:
    """The command of a verb, from its module.

    Args:
        name: one of `VERBS`.
    """
    module, _, attribute = VERBS[name][0].partition(":")
    found = getattr(import_module(f"loadgen.cli.{module}"), attribute)
    if isinstance(found, typer.Typer):
        return typer.main.get_command(found)
    return command(name, found)


def commands(names: Iterable[str] = VERBS) -> Iterator[tuple[str, Any]]:
    """Each verb and its command, with those below it.

    Args:
        names: of the verbs.
    """
    for name in names:
        found = verb(name)
        yield name, found
        for below, nested in getattr(found, "commands", {}).items():
            yield f"{name} {below}", nested


def command(name: str, function: Callable[..., Any], kind: type[TyperCommand] = Command) -> Any:
    """A command with the options of a function.

    Args:
        name: one of `VERBS`, whose line of help it has: `python -OO` takes docstrings away.
        function: what it does.
        kind: of command.
    """
    alone = typer.Typer(add_completion=False, rich_markup_mode=None)
    alone.command(name, cls=kind, help=VERBS[name][1])(function)
    return typer.main.get_command(alone)


app = typer.Typer(
    cls=Verbs,
    help="Size an ML serving deployment by experiment.",
    no_args_is_help=True,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)


def _version(context: typer.Context, wanted: bool) -> None:
    if wanted and not context.resilient_parsing:
        from importlib.metadata import version  # noqa: PLC0415 - it is slow

        typer.echo(f"loadgen {version('loadgen')}")
        raise typer.Exit


@app.callback()
def _root(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Show the version and exit.")
    ] = False,
) -> None:
    """Size an ML serving deployment by experiment."""
    printable.protect()  # also where another program runs the app


def run(argv: list[str]) -> NoReturn:
    """Do what the words after the program's name say, and exit with its code."""
    printable.protect()
    if argv[:1] in (["--show-completion"], ["--install-completion"]):
        _need_shell(argv[0])
    try:
        code = app(args=normalise_argv(argv, list_options(argv)), prog_name="loadgen", standalone_mode=False)
        sys.stdout.flush()
    except typer.Abort:
        sys.exit(exit_codes.of_signal(signal.SIGINT))
    except typer.TyperException as error:
        _refuse(error, argv)
    except OSError as error:
        sys.exit(_failed(error))
    except MemoryError:
        sys.exit(_said("not enough memory; free some, or ask for less", exit_codes.PLACEMENT))
    sys.exit(code)


def _need_shell(option: str) -> None:
    """End the program where the shell that started it is not known, which typer says without a remedy.

    Args:
        option: that wants it.
    """
    from typer import completion  # noqa: PLC0415 - most commands do without it

    if completion._get_shell_name() is None:  # type: ignore[attr-defined]  # typer asks it too
        remedy = "print the script of one with _LOADGEN_COMPLETE=source_bash loadgen (or source_zsh, source_fish)"
        sys.exit(_said(f"{option}: no shell is detected; {remedy}", exit_codes.CONFIG))


def _refuse(error: typer.TyperException, argv: list[str]) -> NoReturn:
    """Say in one line what the parser does not like; or a verb's help, where the verb alone says nothing.

    Args:
        error: of the parser.
        argv: the words after the program's name.
    """
    if type(error).__name__ == "NoArgsIsHelpError":  # typer does not export it
        typer.echo(error.format_message().rstrip("."), err=True)
    else:
        _said(usage.refusal(error, argv), exit_codes.CONFIG)
    sys.exit(exit_codes.CONFIG)


_OUTPUT = (errno.EPIPE, errno.EIO, errno.EBADF, errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
"""How writing to a stream fails: its reader is gone, or the disk is full."""

_LIMITS = (errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.EAGAIN)
"""How the machine says that it has no more files, memory or processes."""


def _failed(error: OSError) -> int:
    """Say in one line what the operating system refused; returns the exit code."""
    reason = error.strerror or str(error)
    if error.filename is not None:
        return _said(f"{os.fsdecode(error.filename)}: cannot be used: {reason}; name another file", exit_codes.CONFIG)
    if error.errno in _LIMITS:
        return _said(f"{reason}; raise the limit, or ask for less", exit_codes.PLACEMENT)
    if error.errno not in _OUTPUT:
        return _said(reason, exit_codes.FAULT)
    with open(os.devnull, "w") as nothing:  # what is still buffered must not fail again
        os.dup2(nothing.fileno(), sys.stdout.fileno())
    kept = getattr(error, "__notes__", [])
    return _said("; ".join([f"the output cannot be written: {reason}", *kept]), exit_codes.FAULT)


def _said(text: str, code: int) -> int:
    with contextlib.suppress(OSError):  # nor can standard error be written
        typer.echo(f"loadgen: {one_line(text)}", err=True)
    return code
