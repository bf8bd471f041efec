"""Puts options that verbs share into groups: functions from options as typed to values of a configuration.

A verb names its groups and gets their options beside its own::

    @with_options(parameters.model, parameters.size)
    def up(settings: Settings, runtime: Annotated[str, typer.Option()] = "docker") -> None: ...

`settings` then holds what the groups returned, and `configured` makes an `ExperimentConfig` of them.
"""

from __future__ import annotations

import copy
import inspect
import re
from collections import Counter
from collections.abc import Callable, Container, Iterator, Mapping
from dataclasses import fields, replace
from typing import Annotated, Any, TypeVar, get_args

import typer
from typer.models import ParameterInfo

from loadgen.cli import console, option_sources
from loadgen.config import ExperimentConfig, Load
from loadgen.errors import one_line, without_secret_members, without_secrets
from loadgen.served import Deploy, External, Frontend

T = TypeVar("T")

Settings = dict[str, Any]
"""Fields of a configuration, and of what is served, by name."""

Group = Callable[..., Settings]

_PANELS: dict[Group, str] = {}
"""The panel of help that a group's options are in, unless they name one of their own."""


def panel(title: str) -> Callable[[Group], Group]:
    """Put the options of a group into a panel of help.

    Args:
        title: of the panel.
    """

    def decorate(group: Group) -> Group:
        _PANELS[group] = title
        return group

    return decorate


def with_options(*groups: Group) -> Callable[[Callable[..., T]], Callable[..., T]]:
    """Give a verb the options of groups; it receives what they return, as one dictionary, before its own options.

    Raises:
        ValueError: a group is named twice, or an option is defined twice.
    """

    def decorate(verb: Callable[..., T]) -> Callable[..., T]:
        own = _parameters(verb)
        own.pop("settings")
        shared = [_parameters(group) for group in groups]
        defined = Counter(spelling for members in (own, *shared) for spelling in _spellings(members))
        if twice := [spelling for spelling, times in defined.items() if times > 1]:
            raise ValueError(f"{verb.__name__} and its groups define {', '.join(twice)} more than once")
        panels = [None, *map(_PANELS.get, groups)]
        everything = {
            name: _shown(parameter, title, defined)
            for title, members in zip(panels, (own, *shared), strict=True)
            for name, parameter in members.items()
        }

        def command(**given: Any) -> T:
            settings: Settings = {}
            with console.one_line_errors():
                for group, members in zip(groups, shared, strict=True):
                    settings |= group(**{name: given[name] for name in members})
            return verb(settings, **{name: given[name] for name in own})

        command.__name__, command.__doc__ = verb.__name__, verb.__doc__
        # The parser of the command line looks at these two.
        command.__signature__ = inspect.Signature(list(everything.values()))  # type: ignore[attr-defined]
        command.__annotations__ = {name: parameter.annotation for name, parameter in everything.items()}
        return command

    return decorate


def _parameters(function: Callable[..., Any]) -> dict[str, inspect.Parameter]:
    parameters = inspect.signature(function, eval_str=True).parameters
    return {name: parameter.replace(kind=parameter.KEYWORD_ONLY) for name, parameter in parameters.items()}


def _shown(parameter: inspect.Parameter, title: str | None, defined: Container[str]) -> inspect.Parameter:
    """A parameter as the help of one verb shows it; groups keep theirs.

    Args:
        parameter: of the verb or a group.
        title: of its panel, unless it names one.
        defined: the spellings of all options of the verb.
    """
    for _, option in _options({parameter.name: parameter}):
        shown = copy.copy(option)
        shown.rich_help_panel = option.rich_help_panel or title
        shown.help = None if option.help is None else _fitting(option.help, defined)
        return parameter.replace(annotation=Annotated[get_args(parameter.annotation)[0], shown])
    return parameter


_OF_TARGET = re.compile(r"[;,] with --target .*?(?=\.  \[|\.$|\])")
"""A part of help on external servers: up to the end of its sentence, or of the default."""


def _fitting(text: str, defined: Container[str]) -> str:
    """Help without what it says of options that the verb does not have.

    Args:
        text: of a group.
        defined: the spellings of all options of the verb.
    """
    if "--target" not in defined:
        text = _OF_TARGET.sub("", text).replace("[required to deploy]", "[required]")
    return text if "--connect" in defined else text.replace("--connect and --target", "--target")


def _spellings(parameters: Mapping[str, inspect.Parameter]) -> Iterator[str]:
    """What the options among parameters are called: their names and their flags; the context belongs to all."""
    for name, option in _options(parameters):
        # In an annotation, where it has no other use, the first flag lies in the place of the default.
        flags = [str(flag) for flag in (option.default, *(option.param_decls or ())) if flag not in (None, ...)]
        yield from (name, *(flags or ["--" + name.replace("_", "-")]))


def _options(parameters: Mapping[str, inspect.Parameter]) -> Iterator[tuple[str, ParameterInfo]]:
    for name, parameter in parameters.items():
        option = next(iter(getattr(parameter.annotation, "__metadata__", ())), None)
        if isinstance(option, ParameterInfo):
            yield name, option


def configured(settings: Settings, load: Load) -> ExperimentConfig:
    """The configuration that the options of groups make.

    Args:
        settings: what the groups returned.
        load: what the verb makes of its own options.
    """
    kind = External if "target" in settings else Frontend if "host" in settings else Deploy
    if "outputs" in settings and settings["outputs"].silent:
        settings = settings | {"live": replace(settings["live"], terminal=False)}
    serve = kind(**_fields(kind, settings))
    return ExperimentConfig(serve=serve, load=load, **_fields(ExperimentConfig, settings))


def _fields(kind: type, settings: Settings) -> Settings:
    return {field.name: settings[field.name] for field in fields(kind) if field.name in settings}


def as_given(context: typer.Context, name: str) -> str:
    """An option as it was written: its flag, and its value unless that may be secret or says nothing.

    Args:
        context: of the verb.
        name: of the parameter in Python, not the option's.
    """
    option = next(each for each in context.command.params if each.name == name)
    flag, value = option_sources.flag(option), context.params[name]
    if isinstance(value, (bool, list)):  # a list may be of headers
        return flag
    shown = without_secret_members(without_secrets(one_line(str(value))))
    return f"{flag} {shown or repr('')}"


def was_given(context: typer.Context, name: str) -> bool:
    """Whether an option was written, on the command line or in a file.

    Args:
        context: of the verb.
        name: of the parameter in Python, not the option's.
    """
    source = context.get_parameter_source(name)
    return source is not None and source.name != "DEFAULT"
