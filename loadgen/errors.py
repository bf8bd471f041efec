"""The errors of the load generator; each message is one line with the value and the remedy.

LoadgenError
 +- ConfigError   an option or a setting that makes no sense
 |   +- FieldError   the same of a field of a configuration
 |   +- NotSavedError   what was measured cannot be saved where it was to be
 +- TargetError   the server cannot be reached or does not answer as the protocol says
 |   +- UnreachableError   no connection can be made, or nothing comes over it
 |   +- MisfitError   it answers, and waiting does not change what is wrong
 |   +- ClientLimitError   it cannot be reached because of a limit of the client itself
 +- Interrupted   the user ended it before there was anything to measure
"""

from __future__ import annotations

import re
from collections.abc import Callable

from frontend_launch.quantities import exact

MOST_LETTERS = 400
"""Longest word that is shown whole."""

_LONG_WORD = re.compile(rf"\S{{{MOST_LETTERS + 1},}}")
_FIELD = re.compile(r"\{([A-Za-z]\w*\.[a-z]\w*)\}")


def one_line(text: str) -> str:
    """A text in one line: control characters as Python writes them, and very long words without their middle.

    The rest of a key or certificate that was given in place of its file is left out.
    """
    text = _PRIVATE_KEY.sub("-----BEGIN …", text)
    plain = "".join(char if char.isprintable() else repr(char)[1:-1] for char in text)
    return _LONG_WORD.sub(lambda word: f"{word[0][: MOST_LETTERS // 2]}…{word[0][-MOST_LETTERS // 4 :]}", plain)


_USER = re.compile(r"^[^/?#@\s:]+:[^/?#@\s]*@|(?<=://)(?:[^/?#\s]*|(?![^/?#\s]*:[0-9]+/)[^?#\s]*)@")
_PARAMETER = re.compile(r"(?<=[?&;#])([^=&;#\s]+)=([^&;#\s]*)")
_SECRET_NAME = re.compile(r"auth|code|cred|jwt|key|pass|pwd|secret|session|sig|token|user", re.IGNORECASE)
_BARE = re.compile(r"(?<=[?&])(?=[^=&;#\s]*[0-9]|[^=&;#\s]{25})[^=&;#\s]+(?=[&;#\s]|$)")
_MEMBER = re.compile(r'("(?:[^"\\]|\\.)*"\s*:\s*)"((?:[^"\\]|\\.)*)"')
_SECRET_MEMBER = re.compile(
    r"api.?key|authori|bearer|credential|jwt|passw|passphrase|pwd|secret|(?:^|[_.-])(?:auth|key|pass|sig|token)$",
    re.IGNORECASE,
)
_PRIVATE_KEY = re.compile(r"-----BEGIN .*", re.DOTALL)
_PLAIN_VALUE = re.compile(r"[0-9][0-9.:-]{0,15}|true|false|")


def without_secrets(url: str) -> str:
    """A URL, or a text with URLs, without possible secrets: users, and values of queries.

    Numbers, dates, booleans and short words of a query stay, unless their name says that they are secret.
    """
    return _BARE.sub("…", _PARAMETER.sub(_parameter, _USER.sub("…@", url)))


def without_secret_members(text: str) -> str:
    """JSON without the texts of members with secret names, except for marks such as ``$input``."""
    return _MEMBER.sub(_member, text)


def _member(found: re.Match[str]) -> str:
    before, value = found.groups()
    plain = value.startswith("$") or not _SECRET_MEMBER.search(before[1:].rpartition('"')[0])
    return found[0] if plain else f'{before}"…"'


def _parameter(found: re.Match[str]) -> str:
    name, value = found.groups()
    plain = _PLAIN_VALUE.fullmatch(value) and not _SECRET_NAME.search(name)
    return found[0] if plain else f"{name}=…"


class Worded(Exception):  # noqa: N818 - it is a part of errors, not one by itself
    """An error about fields of a configuration, which the command line knows by the names of options.

    The message has a field as ``{Saturate.duration_s}``.

    Attributes:
        several_lines: the message has several lines on purpose.
    """

    several_lines = False

    def worded(self, name: Callable[[str], str]) -> str:
        """The message.

        Args:
            name: says what a field, such as ``Saturate.duration_s``, is called.
        """
        return with_names(super().__str__(), name)

    @property
    def unworded(self) -> str:
        """The message with unresolved field names, as a part of another message."""
        return self.worded("{{{}}}".format)

    def __str__(self) -> str:
        return self.worded(field_name)


def field_name(field: str) -> str:
    """What Python calls a field, without its class."""
    return field.rpartition(".")[2]


def with_names(text: str, name: Callable[[str], str] = field_name) -> str:
    """A text with the names of its fields.

    Args:
        text: has a field as ``{Saturate.duration_s}``.
        name: says what a field is called.
    """
    return _FIELD.sub(lambda match: name(match[1]), text)


class LoadgenError(Worded):
    """Base of every error this package raises on purpose."""


class ConfigError(LoadgenError, ValueError):
    """An option or a setting that makes no sense.

    A ValueError too, so that a command line parser that calls a parser of loadgen adds the option's name.
    """


class FieldError(ConfigError):
    """A field of a configuration whose value makes no sense.

    The command line names the option in place of the field.

    Args:
        field: with its class, such as ``Saturate.duration_s``.
        value: of the field.
        problem: what is wrong with the value, or a sentence with the value as ``{value}``; other fields as in `Worded`.
        remedy: what to do about it; other fields likewise.
    """

    def __init__(self, field: str, value: object, problem: str, remedy: str = "") -> None:
        self.field, self.value, self.problem, self.remedy = field, value, problem, remedy
        super().__init__(field, value, problem, remedy)

    def worded(self, name: Callable[[str], str]) -> str:
        """The message: ``<field> <value>: <problem>; <remedy>``."""
        value = exact(self.value) if isinstance(self.value, float) else one_line(str(self.value)) or "''"
        before, found, after = self.problem.partition("{value}")
        problem = f"{before}{value}{after}" if found else f"{value}: {self.problem.removeprefix('is ')}"
        remedy = f"; {self.remedy}" if self.remedy else ""
        return f"{name(self.field)} {with_names(problem + remedy, name)}"


class NotSavedError(ConfigError):
    """The results cannot be saved where they should be."""


class TargetError(LoadgenError):
    """The server cannot be reached or does not answer as the protocol says."""


class UnreachableError(TargetError):
    """No connection to the server can be made, or nothing comes over it."""


class MisfitError(TargetError):
    """The server's answer will not change by waiting, such as a redirect."""


class ClientLimitError(TargetError):
    """The client cannot make a connection because of a limit of its own: files, ports or memory."""


class Interrupted(LoadgenError):  # noqa: N818 - it names what the user did, not a fault
    """The user ended the run before anything was measured."""
