"""Words what the parser refuses as the verbs do: one line with the option, its value, the problem and the remedy."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterable, Mapping, Sequence
from datetime import date, time
from difflib import get_close_matches
from pathlib import Path
from typing import Any

import typer

from loadgen.cli import option_sources
from loadgen.cli.option_sources import listed
from loadgen.errors import ConfigError

_PROBLEMS = {
    "int_parsing": "not a whole number; write digits, such as 5",
    "int_from_float": "not a whole number; write digits, such as 5",
    "int_parsing_size": "too large; use a smaller number",
    "float_parsing": "not a number; write such as 0.5",
    "bool_parsing": "neither true nor false; use true or false",
    "string_type": "not text; write it in quotes",
}
"""What is wrong with a value, by the name of what reads it, and the remedy."""

_UNREADABLE = "not usable here; leave it out"
_NO_COMMAND = re.compile(r"No such command '(.*?)'(?:\.|$)", re.DOTALL)
_EXTRA = re.compile(r"Got unexpected extra argument.*? \((.*)\)", re.DOTALL)
_NO_VALUE = re.compile(r"Option '(.*?)' requires an argument", re.DOTALL)
_NEEDLESS_VALUE = re.compile(r"Option '(.*?)' does not take a value", re.DOTALL)
_MOST_NAMED = 2
"""Most commands or options that are named as what was meant."""


def refusal(error: typer.TyperException, argv: Sequence[str]) -> str:
    """What a user reads of an error of the parser.

    Args:
        error: of the parser.
        argv: the words after the program's name.
    """
    context = getattr(error, "ctx", None)
    path, command = _meant(argv) if context is None else (context.command_path, context.command)
    see = f"see `{path} --help`"
    text = error.format_message().rstrip(".")
    kind = type(error).__name__  # typer does not export all of them
    if kind == "NoSuchOption":
        flag, near = getattr(error, "option_name", ""), getattr(error, "possibilities", None) or ()
        return f"{flag}: not an option of {path}; {_remedy(flag, near)}{see}"
    if kind == "MissingParameter":
        return f"{_name(getattr(error, 'param', None), text)}: missing; {see}"
    if kind == "BadParameter":
        return _bad_value(error, text) or f"{text[:1].lower()}{text[1:]}; {see}"
    if found := _NO_COMMAND.match(text):
        return _unknown_command(found[1], getattr(command, "commands", {}), see)
    if found := _EXTRA.match(text):
        return _extra(found[1], argv, command, see)
    if found := _NO_VALUE.match(text):
        return f"{found[1]}: its value is missing; {see}"
    if found := _NEEDLESS_VALUE.match(text):
        return f"{found[1]}: takes no value; write it alone, {see}"
    return f"{text[:1].lower()}{text[1:]}; {see}"


def refuse_blank(parameter: Any, value: object) -> None:
    """Refuse blank text where a file is to be named: it would be the working directory.

    Args:
        parameter: of a command.
        value: as typed, or several such.

    Raises:
        ConfigError: a value is blank.
    """
    metavar, values = str(parameter.metavar), value if isinstance(value, (list, tuple)) else [value]
    if parameter.type_descriptor.annotation not in (Path, list[Path]) and metavar not in _FILES:
        return
    if (blank := next((each for each in values if isinstance(each, str) and not each.strip()), None)) is not None:
        remedy = _FILES.get(metavar, "name a file")
        raise ConfigError(f"{_name(parameter, '')} {blank!r}: blank; {remedy}")


def refuse_type(parameter: Any, value: object, path: str) -> None:
    """Refuse a value of a file that is of another type, where the parser would read true as 1 and 5.0 as 5.

    Args:
        parameter: of a command.
        value: one value, or several.
        path: of the file.

    Raises:
        ConfigError: a value is of such a type.
    """
    name, kind = _name(parameter, ""), parameter.type_descriptor.annotation
    for each in value if isinstance(value, list) else [value]:
        if problem := _wrong_type(each, kind):
            shown = str(each).lower() if isinstance(each, bool) else str(each)
            raise ConfigError(f"{name} {shown}: {problem} ({name} is from {path})")


def _wrong_type(value: object, kind: object) -> str:
    """Why a value of a file is not of an option's type, and the remedy; empty where it may be."""
    if isinstance(value, list):
        return "a list in a list; write one list"
    if isinstance(value, (date, time)):
        return "a date or a time; write text in quotes, and numbers as digits"
    if kind is bool:
        return "" if isinstance(value, (bool, str)) else _PROBLEMS["bool_parsing"]
    if isinstance(value, bool):
        return "true and false are for switches; write a value"
    return _PROBLEMS["int_from_float"] if kind is int and isinstance(value, float) else ""


_FILES = {
    "DIR": "name a directory, such as results or .",
    "FILE": "name a file",
    "FILE|-": "name a file, or - for standard output",
}
"""What to write, by how help shows the value."""


def _meant(argv: Sequence[str]) -> tuple[str, Any]:
    """What is typed for the command that words ask for, and the command; None where they ask for none."""
    from loadgen.cli.verbs import VERBS, verb  # noqa: PLC0415 - it imports this module

    if not argv or argv[0] not in VERBS:
        return "loadgen", None
    path, command = f"loadgen {argv[0]}", verb(argv[0])
    for word in argv[1:]:
        if (nested := getattr(command, "commands", {}).get(word)) is not None:
            return f"{path} {word}", nested
    return path, command


def _remedy(flag: str, near: Sequence[str]) -> str:
    others = option_sources.takers(flag)
    if not others:
        return _question(near)
    meant = [name for name in near if name == f"{flag}s"]
    it = flag if meant else "it"
    return f"{_question(meant)}{listed(others)} take{'s' * (len(others) == 1)} {it}, "


def _unknown_command(word: str, commands: Iterable[str], see: str) -> str:
    near = [name for name in commands if word and name.startswith(word)]
    near = near or get_close_matches(word, list(commands), _MOST_NAMED)
    return f"{word or repr(word)}: no such command; {_question(near)}{see}"


def _question(near: Sequence[str]) -> str:
    return f"did you mean {listed(near[:_MOST_NAMED], 'or')}? " if near else ""


def _extra(words: str, argv: Sequence[str], command: Any, see: str) -> str:
    """Words that are neither options nor values.

    Args:
        words: as the parser quotes them.
        argv: the words after the program's name.
        command: that was asked for.
        see: where its help is.
    """
    from loadgen.results.environment import SECRET_OPTIONS  # noqa: PLC0415 - it takes longer than most commands

    if any(word.partition("=")[0] in SECRET_OPTIONS for word in argv):
        return f"unexpected words, which may be of a header; write --header 'NAME: VALUE' in quotes, {see}"
    arguments = [each for each in command.params if each.param_type_name == "argument"]
    if arguments:
        return f"{words}: more than {command.name} takes; {see}"
    flags: list[str] = next((each.opts for each in command.params if each.name == "model"), [])
    named = any(word.partition("=")[0] in flags for word in argv)
    remedy = "name a model with -m, " if flags and not named and " " not in words else ""
    return f"{words}: {command.name} takes only options; {remedy}{see}"


def _name(parameter: Any, otherwise: str) -> str:
    """What a parameter is called on the command line."""
    if parameter is None:
        return otherwise
    if parameter.param_type_name == "argument":
        return str(parameter.metavar or parameter.name).strip("[].")
    return option_sources.flag(parameter)


def _bad_value(error: typer.TyperException, text: str) -> str:
    """Why a parameter cannot have its value; empty where the error is not of what reads types.

    Args:
        error: of the parser.
        text: of the error.
    """
    parameter, context = getattr(error, "param", None), getattr(error, "ctx", None)
    details: Sequence[Mapping[str, Any]] = getattr(error.__cause__, "errors", list)()
    if parameter is None or not details:
        return ""
    name, detail = _name(parameter, text), details[0]
    where = "" if context is None else option_sources.where_from(context, parameter)
    problem = _PROBLEMS.get(detail["type"], _UNREADABLE)
    return f"{name} {shlex.quote(str(detail['input']))}: {problem}{f' ({name} is from {where})' if where else ''}"
