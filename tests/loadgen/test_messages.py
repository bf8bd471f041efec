"""The form of errors: ``<option or file> <value>: <problem>; <remedy>``."""

import ast
import re
from functools import cache
from pathlib import Path

import pytest

pytestmark = pytest.mark.no_cover  # they read the source, and take no branch of it

ROOT = Path(__file__).parents[2]

OF_VALUES = {"ConfigError", "ModelError", "NotSavedError", "PlacementError", "RequestError"}
"""Errors about a value, which comes first."""

PROTOCOL = {"RestError", "WireError"}
"""Errors whose texts 2017 peers know."""

WORD = r"\w+"
VERBS = (
    "add|allow|bind|change|check|choose|convert|cut|did you|export|fill|free|give|install|leave|lower|make|measure|"
    "name|pass|pip|put|quote|raise|remove|rename|resize|run|save|say|separate|set|shorten|start|stretch|take|"
    "transpose|unpack|use|wait|write"
)
REMEDY_AFTER_COLON = re.compile(rf": (?:{VERBS})\b|: <\w*remedy")

NOT_A = re.compile(r"(?<!there )\b(?:is|are) no \w")
"""Says what a value is not: *is not a port*; *is no port* reads as if there were none."""

VALUE_WITHOUT_COLON = re.compile(
    r"^(?:<\w+>|\{[\w.]+\})(?: <\w+>)? (?!is not installed)(?:are|begins|belong|cannot|does|exclude|has|have|holds?|is|"
    r"lasts|makes?|names?|needs|takes?|wants?)\b"
)


def text(node):
    """A literal, or an f-string with the names of what it holds; None for other nodes."""
    match node:
        case ast.Constant(value=str(literal)):
            return literal
        case ast.JoinedStr(values=values):
            return "".join(text(part) or f"<{'_'.join(re.findall(WORD, ast.unparse(part)))}>" for part in values)
    return None


@cache
def raised():
    """Each raise of an error with a literal message: its place, the error and the message."""
    return list(found())


def found():
    for package in ("loadgen", "frontend_launch", "model_containers"):
        for path in sorted((ROOT / package).rglob("*.py")):
            for node in ast.walk(ast.parse(path.read_text())):
                match node:
                    case ast.Raise(exc=ast.Call(func=ast.Name(id=name), args=arguments)) if name not in PROTOCOL:
                        for message in filter(None, map(text, arguments)):
                            yield f"{path.relative_to(ROOT)}:{node.lineno}", name, message


def test_the_remedy_comes_after_a_semicolon():
    """In each error."""
    assert [each for each in raised() if REMEDY_AFTER_COLON.search(each[2])] == []


def test_a_colon_comes_after_the_value():
    """In each error about one: a file, an option or a text."""
    assert [each for each in raised() if each[1] in OF_VALUES and VALUE_WITHOUT_COLON.search(each[2])] == []


def test_a_value_is_not_something():
    """In each error about one, as in `--web 70000: not a port`."""
    assert [each for each in raised() if each[1] in {*OF_VALUES, "FieldError"} and NOT_A.search(each[2])] == []


@pytest.mark.parametrize(
    ("message", "after_colon", "without_colon"),
    [
        ("<file>: empty; remove it", False, False),
        ("<file> is empty: remove it", True, True),
        ("{Deploy.verify} <every> wants inputs; add some", False, True),
        ("<library> is not installed; <remedy_name>", False, False),
    ],
)
def test_what_the_checks_find(message, after_colon, without_colon):
    """The form before, and now."""
    assert bool(REMEDY_AFTER_COLON.search(message)) is after_colon
    assert bool(VALUE_WITHOUT_COLON.search(message)) is without_colon
