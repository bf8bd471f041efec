"""Options from a TOML file and from the environment, by their long names.

The command line comes before the environment, the environment before a file, and a file before the default.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextvars import ContextVar
from difflib import get_close_matches
from pathlib import Path
from typing import Annotated, Any, TypeVar

import typer

from loadgen import files
from loadgen.errors import ConfigError

T = TypeVar("T")

PREFIX = "LOADGEN_"
"""Of environment variables: ``LOADGEN_DURATION`` is ``--duration``."""

_INTERNAL = frozenset(
    (
        *("LOADGEN_FRONTEND_ADDRESS", "LOADGEN_FRONTEND_KIND", "LOADGEN_LOG_FILE", "LOADGEN_PARENT_FD"),
        *("LOADGEN_REDIS_PASSWORD", "LOADGEN_REPLY_FAILURES", "LOADGEN_REPLY_TIMES", "LOADGEN_ROLE"),
    )
)
"""Variables that loadgen sets for the processes that it starts; none is a misspelt option."""

CONFIG = "--config"
_NEAR = 0.8
"""Similarity from which on the name of a variable counts as a misspelt one."""

_ALIKE = 0.65
"""Similarity from which on it may be one, or may be of another program."""

_PATH = "loadgen.config"
"""What the parser's context calls the file."""

_used: ContextVar[Mapping[str, str] | None] = ContextVar("used", default=None)
"""Options that are not from the command line, and where each is from."""


_unused_lines: ContextVar[Sequence[str]] = ContextVar("unused_lines", default=())
"""Lines on variables that are no options of the command."""


def add(command: Any) -> None:
    """Let the options of a command come from a file and from the environment.

    Args:
        command: of the parser; one without options stays as it is.
    """
    options = [each for each in command.params if each.param_type_name == "option"]
    if not options:
        return
    (config,) = typer.main.get_command(_HOLDER).params
    if command.name == "sweep":
        config.opts.append("--file")
    command.params.append(config)
    for option in (config, *options):
        names = [name.removeprefix("--") for name in option.opts if name.startswith("--")]
        option.envvar = list(dict.fromkeys(PREFIX + name.upper().replace("-", "_") for name in names))
        option.show_envvar = False  # help would say it of each option
        option.envvar_list_splitter = "\n"  # a header has spaces


def _names(option: Any) -> list[str]:
    """The long names of an option, without those of 2017."""
    return [flag[2:] for flag in option.opts if flag.startswith("--") and "_" not in flag]


def _take_file(context: typer.Context, path: Path | None) -> Path | None:
    """Take what a file says for the defaults of all other options."""
    from loadgen.cli import console  # noqa: PLC0415 - help does without it

    if path is not None and not context.resilient_parsing:
        with console.one_line_errors():
            context.meta[_PATH] = str(path)
            context.default_map = defaults(f"{CONFIG} {path}", read(CONFIG, path), context.command)
    return path


_HOLDER = typer.Typer(add_completion=False, rich_markup_mode=None)


@_HOLDER.command()
def _config(
    path: Annotated[
        Path | None,
        typer.Option(
            CONFIG,
            metavar="FILE",
            is_eager=True,
            callback=_take_file,
            expose_value=False,
            help="Options from a TOML file, by their long names. Command line and environment (LOADGEN_…) override it.",
        ),
    ] = None,
) -> None:
    """Hold the option."""


def read(option: str, path: Path) -> dict[str, Any]:
    """What a file says.

    Args:
        option: that names the file, for errors.
        path: of the file.

    Raises:
        ConfigError: it cannot be read.
    """
    import tomllib  # noqa: PLC0415 - most commands read no file

    try:
        return tomllib.loads(files.read_text(path, files.MAX_SETTING_BYTES))
    except files.UnreadableError as error:
        raise ConfigError(f"{option} {path}: cannot be read: {error}") from None
    except ValueError as error:
        raise ConfigError(f"{option} {path}: not TOML: {error}; write lines such as duration = '30s'") from None
    except RecursionError:
        raise ConfigError(f"{option} {path}: nested too deep; write a value for each option") from None


def defaults(source: str, table: Mapping[str, Any], command: Any) -> dict[str, Any]:
    """What a file says, as the defaults of a command's parameters.

    Args:
        source: the option and the file, for errors.
        table: of the file.
        command: whose options it has.

    Raises:
        ConfigError: it has a key that is no option.
    """
    return dict(_default(source, command, key, value) for key, value in table.items())


def _default(source: str, command: Any, key: str, value: Any) -> tuple[str, Any]:
    from loadgen.cli import usage  # noqa: PLC0415 - it imports this module

    name, known = key.replace("_", "-"), dict(_known(command))
    if (option := known.get(name)) is None:
        remedy = _taken(name) or _meant(name, known) or f"see `loadgen {command.name} --help`"
        raise ConfigError(f"{source}: the key {key!r} is not an option of {command.name}; {remedy}")
    usage.refuse_blank(option, value)
    values = value if isinstance(value, list) else [value]
    if any(isinstance(each, Mapping) for each in values):
        raise ConfigError(f"{source}: the key {key!r} has a table; write its value, as of --{name}")
    usage.refuse_type(option, value, source.partition(" ")[2])
    if option.multiple:
        return option.name, values
    return option.name, ",".join(map(str, value)) if isinstance(value, list) else value


def _taken(name: str) -> str:
    others = takers(f"--{name}") if f"--{name}" != CONFIG else ()
    return f"{listed(others)} take{'s' * (len(others) == 1)} it" if others else ""


def _known(command: Any) -> Iterator[tuple[str, Any]]:
    """The options that a file may have, by each of their long names."""
    for option in command.params:
        if option.param_type_name == "option" and CONFIG not in option.opts:
            yield from ((flag[2:].replace("_", "-"), option) for flag in option.opts if flag.startswith("--"))


def takers(flag: str) -> list[str]:
    """The commands that take an option.

    Args:
        flag: with its dashes.
    """
    from loadgen.cli.verbs import commands  # noqa: PLC0415 - it imports all verbs

    return [name for name, command in commands() if any(flag in option.opts for option in command.params)]


def listed(words: Sequence[str], last: str = "and") -> str:
    """Words in a sentence: ``a``, ``a and b``, ``a, b and c``.

    Args:
        words: one at least.
        last: what stands before the last of several.
    """
    *others, final = words
    return f"{', '.join(others)} {last} {final}" if others else final


def flag(option: Any) -> str:
    """What an option is called in messages.

    Args:
        option: of the parser.
    """
    names = _names(option)
    return f"--{names[0]}" if names else str(option.opts[0])


def _meant(name: str, known: Iterable[str], cutoff: float = 0.6) -> str:
    """The question for the name that is nearest; empty where none is near."""
    near = get_close_matches(name, list(known), 1, cutoff)
    return f"did you mean {near[0]!r}?" if near else ""


def unused(context: Any) -> list[str]:
    """Lines on variables that look like options and are none of the command; other programs may have such names too.

    Args:
        context: of the command.

    Raises:
        ConfigError: a variable's name is nearly that of an option of the command, and that of no other command.
    """
    own = {name for option in context.command.params for name in _variables(option)}
    strangers = [name for name in sorted(os.environ) if name.startswith(PREFIX) and name not in own]
    return [line for name in strangers if (line := _unused(name, own, context.command.name))]


def _unused(variable: str, own: Iterable[str], command: str) -> str:
    """A line on a variable; empty where it resembles no option.

    Args:
        variable: its name.
        own: the variables of the command.
        command: its name.
    """
    from loadgen.cli.verbs import PANELS, commands  # noqa: PLC0415 - it imports verbs
    from loadgen.results.environment import VARIABLES  # noqa: PLC0415 - most commands do without it

    name, known = variable.removeprefix(PREFIX), sorted(each.removeprefix(PREFIX) for each in own)
    swapped = [each for each in known if sorted(each) == sorted(name)]
    near = swapped or get_close_matches(name, known, 1, _NEAR)
    meant = near or get_close_matches(name, known, 1, _ALIKE)
    question = f"; did you mean {PREFIX}{meant[0]}?" if meant else ""
    if variable in VARIABLES or variable in _INTERNAL:
        return ""
    measuring = commands(PANELS["Measure"])  # modules of the others import more libraries
    if takers := [taker for taker, found in measuring if any(variable in _variables(each) for each in found.params)]:
        return f"{variable}: not an option of {command}, but of {listed(takers)}{question}"
    if near:
        raise ConfigError(f"{variable}: no option has this name{question}")
    return f"{variable}: not an option of {command}{question}" if meant else ""


def _variables(option: Any) -> Sequence[str]:
    """The variables that an option may come from."""
    return getattr(option, "envvar", None) or ()


def invoked(context: Any, act: Callable[[], T]) -> T:
    """Run a command; what it says of options has where they are from, and so does its plan.

    Args:
        context: of the command, with its options read.
        act: runs it.
    """
    from loadgen.cli import console  # noqa: PLC0415 - help does without it

    with console.one_line_errors():
        notes = unused(context)
    before, noted = _used.set(dict(_found(context))), _unused_lines.set(notes)
    try:
        done = act()
        if context.params.get("dry_run"):
            typer.echo("\n".join(used()), nl=bool(used()))
    finally:
        _used.reset(before)
        _unused_lines.reset(noted)
    return done


def _found(context: Any) -> Iterator[tuple[str, str]]:
    for option in context.command.params:
        if option.param_type_name == "option" and (where := where_from(context, option)):
            yield flag(option), where


def where_from(context: Any, option: Any) -> str:
    """The variable or the file that an option is from; empty for all else.

    Args:
        context: of the command.
        option: of the parser.
    """
    source = context.get_parameter_source(option.name)
    if source is not None and source.name == "ENVIRONMENT":
        names: list[str] = option.envvar
        return next(name for name in names if os.environ.get(name))
    if source is not None and source.name == "DEFAULT_MAP":
        path: str = context.meta.get(_PATH, "")
        return path
    return ""


def used() -> list[str]:
    """Where options are from that are not from the command line, a line for each place; then variables without use."""
    places: dict[str, list[str]] = {}
    for flag, place in (_used.get() or {}).items():
        places.setdefault(place, []).append(flag)
    return [*(f"{', '.join(flags)}: from {place}" for place, flags in places.items()), *_unused_lines.get()]


def traced(text: str) -> str:
    """A message with where the options that it names are from, other than the command line.

    Args:
        text: of the message.
    """
    named = [
        f"{flag} is from {where}" for flag, where in (_used.get() or {}).items() if re.search(rf"{flag}(?![\w-])", text)
    ]
    return f"{text} ({', '.join(named)})" if named else text
