"""The errors of the load generator; each message is one line with the value and the remedy.

LoadgenError
 +- ConfigError   an option or a setting that makes no sense
 |   +- FieldError   the same of a field of a configuration
 +- TargetError   the server cannot be reached or does not answer as the protocol says
 +- Interrupted   the user ended it before there was anything to measure
"""

from __future__ import annotations

import re
from collections.abc import Callable


class LoadgenError(Exception):
    """Base of every error this package raises on purpose."""


class ConfigError(LoadgenError, ValueError):
    """An option or a setting that makes no sense.

    A ValueError too, so that a command line parser that calls ours adds the option's name to the message.
    """


class Worded(Exception):  # noqa: N818 - it is a part of errors, not one by itself
    """An error about fields of a configuration, which the command line knows by the names of options."""

    def worded(self, name: Callable[[str], str]) -> str:
        """The message.

        Args:
            name: says what a field, such as ``Saturate.duration_s``, is called.
        """
        raise NotImplementedError

    def __str__(self) -> str:
        return self.worded(field_name)


def field_name(field: str) -> str:
    """What Python calls a field, without its class."""
    return field.rpartition(".")[2]


class FieldError(Worded, ConfigError):
    """A field of a configuration whose value makes no sense.

    The command line says the same of the option that the field comes from.

    Args:
        field: with its class, such as ``Saturate.duration_s``.
        value: of the field.
        problem: what is wrong with it, behind the value or with it as ``{value}``; other fields are written as
            ``{Client.processes}``.
        remedy: what to do about it.
    """

    def __init__(self, field: str, value: object, problem: str, remedy: str = "") -> None:
        self.field, self.value, self.problem, self.remedy = field, value, problem, remedy
        super().__init__(field, value, problem, remedy)

    def worded(self, name: Callable[[str], str]) -> str:
        """The message, of the value, the problem and the remedy."""
        value = f"{self.value:g}" if isinstance(self.value, float) else str(self.value)
        problem = self.problem if "{value}" in self.problem else f"{{value}} {self.problem}"
        problem = re.sub(r"\{([\w.]+)\}", lambda match: value if match[1] == "value" else name(match[1]), problem)
        return f"{name(self.field)} {problem}" + (f": {self.remedy}" if self.remedy else "")


class TargetError(LoadgenError):
    """The server cannot be reached or does not answer as the protocol says."""


class Interrupted(LoadgenError):  # noqa: N818 - it names what the user did, not a fault
    """The user ended it before there was anything to measure."""
