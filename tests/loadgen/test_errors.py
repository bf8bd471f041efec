"""Errors name fields, which the command line alone knows by the names of options."""

import ast
import dataclasses
import functools
import pickle
import re
from pathlib import Path

import pytest
import typer

import loadgen
from frontend_launch.ports import Ports
from loadgen.cli import console, verbs
from loadgen.errors import ConfigError, FieldError, TargetError
from loadgen.experiments.sweep import run_sweep
from loadgen.load.arrivals import Renewal, Trace
from loadgen.report.answers import Asked
from loadgen.targets.access import Access
from loadgen.targets.address import Address
from loadgen.targets.remote import TargetOptions

PACKAGE = Path(loadgen.__file__).parent
OPTION = re.compile(r"--[a-z][a-z-]*")
FIELD = re.compile(r"\b[A-Z]\w+\.[a-z]\w+|run_sweep\.\w+")

LINES = "a line in the results or the log of a run, for the user who started it"
ANOTHER = "options of another program"
REPEATED = {
    *("--answer", "--batch-size", "--body", "--confirm-for", "--content-type", "--form", "--input", "--input-range"),
    *("--input-shape", "--input-type", "--method", "--metrics-url", "--model", "--parameter", "--rate", "--resume"),
    *("--slo", "--target", "--tls-ca", "--tls-cert", "--tls-key", "--tls-server-name", "--token-file"),
    *("--clients", "--unix-socket", "--within", "--workers"),
}
"""What a command that a report suggests takes over from the one that made its results, or adds."""

ALLOWED = {
    "experiments/document.py": (LINES, {"--clients", "--stall", "--max-in-flight"}),
    "experiments/experiment.py": (LINES, {"--requests-log"}),
    "experiments/ledger.py": (LINES, {"--resume"}),
    "hardware/sampler.py": (ANOTHER, {"--out", "--every", "--watch", "--frontend"}),
    "hardware/watch.py": (ANOTHER, {"--out", "--every", "--watch", "--frontend"}),
    "judging/remarks.py": (LINES, {"--duration", "--max-in-flight", "--until-steady", "--warmup"}),
    "judging/validity.py": (LINES, {"--client-cpus"}),
    "judging/verdict.py": (LINES, {"--clients", "--max-in-flight"}),
    "plan.py": (
        f"{LINES}; {ANOTHER}",
        {"--connections", "--gpus", "--model", "--weights", "--seed", "--input-shape", "--input-type", "--xla"},
    ),
    "live/process.py": (ANOTHER, {"--channel", "--prometheus", "--terminal", "--web"}),
    "report/answers.py": (LINES, REPEATED),
    "report/comparison.py": (LINES, {"--rounds"}),
    "report/tables.py": (LINES, {"--csv"}),
    "report/size_text.py": (LINES, {"--allow-invalid", "--within", "--resume"}),
    "report/capacity_text.py": (LINES, {"--fail-if", "--probes", "--within"}),
    "results/cells.py": (LINES, {"--repeat"}),
    "results/environment.py": (ANOTHER, {"--header", "--porcelain", "--untracked-files"}),
    "servers/remote.py": (LINES, {"--connections"}),
    "servers/remote_readings.py": (LINES, {"--metrics-url"}),
}
"""The options that a module outside `loadgen.cli` names, with the reason; no error is among them."""


def modules():
    return [path for path in sorted(PACKAGE.rglob("*.py")) if "cli" not in path.relative_to(PACKAGE).parts]


def texts(tree):
    """The strings of a node that are no docstrings."""
    alone = set()
    for node in ast.walk(tree):  # a statement comes before its parts
        if isinstance(node, ast.Expr):
            alone.add(id(node.value))
        elif isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in alone:
            yield node.value


@functools.cache
def read(path):
    """A module, and its strings that are no docstrings."""
    tree = ast.parse(path.read_text())
    return tree, tuple(texts(tree))


def named(pattern):
    """What the strings of modules outside the command line name."""
    for path in modules():
        found = {name for text in read(path)[1] for name in pattern.findall(text)}
        if found:
            yield path.relative_to(PACKAGE).as_posix(), found


def test_no_error_outside_the_command_line_names_an_option():
    """Python users know fields."""
    assert dict(named(OPTION)) == {path: options for path, (_, options) in ALLOWED.items()}


def test_no_raise_names_an_option():
    """Not even in a module that may name some."""
    for path in modules():
        raised = [node for node in ast.walk(read(path)[0]) if isinstance(node, ast.Raise)]
        assert [text for node in raised for text in texts(node) if OPTION.search(text)] == [], path


KNOWN = {kind.__name__: kind for kind in (Access, Address, Asked, Ports, Renewal, TargetOptions, Trace)}


def exists(field):
    """Whether an error's name of a field is that of one."""
    owner, _, name = field.partition(".")
    if owner == "run_sweep":
        return name in (run_sweep.__kwdefaults__ or {})
    kind = KNOWN.get(owner) or getattr(loadgen, owner)
    return name in {each.name for each in dataclasses.fields(kind)}


def test_fields_that_errors_name_exist_and_have_an_option():
    """Both readers can find them."""
    fields = sorted(set().union(*(found for _, found in named(FIELD))))
    assert fields
    assert [field for field in fields if not exists(field)] == []
    known = every_option()
    assert [field for field in fields if console.worded(ConfigError(f"{{{field}}}")) not in known] == []


def every_option():
    """The options of all verbs."""
    commands = [verbs.verb(name) for name in verbs.VERBS]
    return {flag for command in commands for parameter in command.params for flag in parameter.opts}


@pytest.mark.parametrize("kind", [ConfigError, TargetError])
def test_an_error_has_the_names_of_its_reader(kind):
    """Braces that hold no field stay."""
    error = pickle.loads(pickle.dumps(kind('{"a": {Client.processes}} {0} {value}: raise {Inputs.count}')))
    assert str(error) == '{"a": processes} {0} {value}: raise count'
    assert console.worded(error) == '{"a": --clients} {0} {value}: raise --inputs'


def test_a_remedy_has_them_too():
    """Of an error about one field."""
    error = FieldError("Deploy.verify", 3, "{value}: one input", "raise {Inputs.count}")
    assert str(error) == "verify 3: one input; raise count"
    assert console.worded(error) == "--verify 3: one input; raise --inputs"


def test_an_error_behind_an_option_has_them(capsys):
    """The parser of an option's text may refuse by fields; the value of another field is that of its own option."""

    def parse(text):
        raise ConfigError(f"{text}: odd beside {{Inputs.count}}")

    def parse_another(text):
        raise FieldError("Inputs.count", text, "is odd")

    for read in (parse, parse_another):
        with pytest.raises(typer.Exit), console.one_line_errors():
            console.parsed("--some", read, "x")
    assert capsys.readouterr().err == "loadgen: --some x: odd beside --inputs\nloadgen: --inputs x: odd\n"


def test_an_error_can_be_sent_to_another_process():
    """With all that it has."""
    error = FieldError("Saturate.duration_s", -1.0, "is not positive", "leave it out")
    assert vars(pickle.loads(pickle.dumps(error))) == vars(error)
    assert str(error) == "duration_s -1: not positive; leave it out"
