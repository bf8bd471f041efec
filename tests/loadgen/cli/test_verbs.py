"""The table of verbs, which stands for their modules until one is called."""

import inspect
from importlib import import_module

import pytest
import typer

from loadgen.cli.verbs import VERBS, verb


@pytest.mark.parametrize("name", VERBS)
def test_the_line_of_a_verb_is_what_it_says_of_itself(name):
    """In the list of all verbs and in its own help."""
    place, line = VERBS[name]
    module, _, attribute = place.partition(":")
    found = getattr(import_module(f"loadgen.cli.{module}"), attribute)
    assert verb(name).help == line
    assert not inspect.isfunction(found) or found.__doc__ == line


@pytest.mark.parametrize("name", VERBS)
def test_help_without_docstrings(name, monkeypatch):
    """`python -OO` takes them away."""
    place, line = VERBS[name]
    module, _, attribute = place.partition(":")
    found = getattr(import_module(f"loadgen.cli.{module}"), attribute)
    if isinstance(found, typer.Typer):
        assert all(command.help for command in found.registered_commands)
    else:
        monkeypatch.setattr(found, "__doc__", None)
    assert verb(name).help == line
