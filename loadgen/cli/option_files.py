"""Options from a TOML file, by their long names."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from loadgen import files
from loadgen.errors import ConfigError


def read(option: str, path: Path) -> dict[str, Any]:
    """What a file says.

    Args:
        option: that names the file, for errors.
        path: of the file.

    Raises:
        ConfigError: it cannot be read.
    """
    try:
        return tomllib.loads(files.read_text(path, files.MAX_SETTING_BYTES))
    except (files.UnreadableError, ValueError) as error:
        raise ConfigError(f"{option} {path} cannot be read: {error}") from None
    except RecursionError:
        raise ConfigError(f"{option} {path} cannot be read: it is nested too deep") from None


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
    flag = "--" + key.replace("_", "-")
    for parameter in command.params:
        if flag in parameter.opts and parameter.name is not None and flag != "--file":
            if any(isinstance(each, Mapping) for each in (value if isinstance(value, list) else [value])):
                raise ConfigError(f"{source} has a table for the key {key!r}: write its value, as of {flag}")
            text = ",".join(map(str, value)) if isinstance(value, list) and not parameter.multiple else value
            return parameter.name, text
    name = command.name
    raise ConfigError(f"{source} has the key {key!r}, which is no option of {name}: see `loadgen {name} --help`")
