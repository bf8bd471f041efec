"""How the program says what it can do: help, and completion of what is typed."""

import re
import shlex
import subprocess
import sys

import pytest
import typer
from program import LOADGEN, asked
from typer import completion

from loadgen.cli import help_format, measuring, sweep, verbs
from loadgen.cli import size as sizing
from loadgen.cli.argv import list_options, normalise_argv
from loadgen.cli.examples import EXAMPLES
from loadgen.cli.verbs import PANELS, VERBS, commands

COMMANDS = {"": None, **dict(commands())}
MEASURING = ("size", "saturate", "rate", "sweep", "capacity")


@pytest.mark.parametrize("words", [[], ["saturate"], ["models"], ["models", "verify"]], ids=str)
def test_help_is_asked_for_in_three_ways(words):
    """With a long and a short option, and with a verb."""
    said = asked([LOADGEN, *words, "--help"])
    assert (said.returncode, said.stderr) == (0, "")
    assert said.stdout.startswith(f"Usage: {' '.join(['loadgen', *words])} ")
    assert "  -h, --help " in said.stdout
    assert asked([LOADGEN, *words, "-h"]).stdout == said.stdout
    assert asked([LOADGEN, "help", *words]).stdout == said.stdout


@pytest.mark.parametrize(
    ("words", "text"),
    [
        (["sature"], "sature: no such command; did you mean saturate or rate? see `loadgen --help`"),
        (["models", "x"], "x: no such command; see `loadgen models --help`"),
        (["saturate", "x"], "saturate x: saturate has no commands; leave x out"),
    ],
)
def test_help_of_what_is_no_verb(words, text):
    """Is one line, as without help."""
    said = asked([LOADGEN, "help", *words])
    assert (said.returncode, said.stdout, said.stderr) == (2, "", f"loadgen: {text}\n")


@pytest.fixture
def completed(monkeypatch):
    """What bash offers after a line."""

    def complete(line):
        words = line.split(" ")
        monkeypatch.setenv("_LOADGEN_COMPLETE", "complete_bash")
        monkeypatch.setenv("COMP_WORDS", line)
        monkeypatch.setenv("COMP_CWORD", str(len(words) - 1))
        said = asked([LOADGEN])
        assert (said.returncode, said.stderr) == (0, "")
        return said.stdout.split()

    return complete


@pytest.mark.parametrize(
    ("line", "offered"),
    [
        ("loadgen sa", ["saturate"]),
        ("loadgen help ", list(VERBS)),
        ("loadgen help si", ["size"]),
        ("loadgen help models v", ["verify"]),
        ("loadgen models v", ["verify"]),
        ("loadgen saturate -m noop --batch-s", ["--batch-sizes", "--batch-size"]),
        ("loadgen saturate --dry", ["--dry-run"]),
        ("loadgen sweep --file /nowhere/at/all --dry", ["--dry-run"]),
        ("loadgen --version sa", ["saturate"]),
        ("loadgen nonsense --x", []),
        ("loadgen saturate --runtime d", ["docker"]),
        ("loadgen up --runtime ", ["process", "docker", "ray"]),
        ("loadgen rate --resize bi", ["bilinear", "bicubic"]),
        ("loadgen size --input-layout NH", ["NHWC"]),
    ],
)
def test_completion(completed, line, offered):
    """Of verbs and options; no file is read and nothing refused while a line is typed."""
    assert set(completed(line)) <= set(offered)
    assert set(completed(line)) or not offered


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_the_script_of_a_shell(shell, monkeypatch):
    """Is printed for the shell that the program was started in."""
    monkeypatch.setattr(completion, "_get_shell_name", lambda: shell)
    said = asked([LOADGEN, "--show-completion"])
    assert (said.returncode, said.stderr) == (0, "")
    assert f"_LOADGEN_COMPLETE=complete_{shell}" in said.stdout


@pytest.mark.parametrize("option", ["--show-completion", "--install-completion"])
def test_a_shell_that_is_not_detected(option, monkeypatch):
    """Such as none, in a container: one line says how to print the script all the same."""
    monkeypatch.setattr(completion, "_get_shell_name", lambda: None)
    remedy = "print the script of one with _LOADGEN_COMPLETE=source_bash loadgen (or source_zsh, source_fish)"
    said = asked([LOADGEN, option])
    assert (said.returncode, said.stdout) == (2, "")
    assert said.stderr == f"loadgen: {option}: no shell is detected; {remedy}\n"
    monkeypatch.setenv("_LOADGEN_COMPLETE", "source_bash")
    assert "_LOADGEN_COMPLETE=complete_bash" in asked([LOADGEN]).stdout


def test_help_is_instant():
    """The list of all verbs loads none of the libraries that take longer than itself."""
    program = "import atexit, sys; atexit.register(lambda: print(*sys.modules)); from loadgen.cli import main; main()"
    done = subprocess.run([sys.executable, "-c", program, "-h"], capture_output=True, text=True, check=True)
    loaded = done.stdout.split()
    assert "loadgen.cli.verbs" in loaded
    assert not {"numpy", "zmq", "uvloop", "aiohttp", "rich"} & set(loaded)


def test_each_verb_is_in_one_panel():
    """In the order of the table."""
    assert [name for names in PANELS.values() for name in names] == list(VERBS)


def panels(words):
    """The lines of help by the headings that they are below."""
    found: dict[str, list[str]] = {}
    for line in asked([LOADGEN, *words, "-h"]).stdout.splitlines():
        if line.endswith(":") and not line.startswith(" "):
            lines = found[line[:-1]] = []
        elif line and found:
            lines.append(line)
    return found


@pytest.mark.parametrize("verb", [*MEASURING, "up"])
def test_options_are_in_panels_the_common_ones_first(verb):
    """What a user needs comes before what few need."""
    found = panels([verb])
    titles = list(found)
    assert titles[-1] == "Examples"
    assert titles[:-1] == [title for title in help_format.PANELS if title in titles]
    assert titles[0] == help_format.COMMON
    assert "-m, --model, --model_name NAME" in found[help_format.COMMON][0]
    assert any("--runtime process|docker" in line for line in found[help_format.PLACEMENT])


@pytest.mark.parametrize(
    ("words", "option"),
    [
        (["saturate"], "--model_name"),
        (["rate"], "--rate"),
        (["size"], "--rate"),
        (["size"], "--slo"),
        (["capacity"], "--slo"),
        (["best"], "--slo"),
        (["report"], "PATH..."),
    ],
    ids=" ".join,
)
def test_what_is_required_says_so(words, option):
    """Also where something else may stand in its place."""
    lines = [line for panel in panels(words).values() for line in panel]
    start = next(place for place, line in enumerate(lines) if option in line)
    assert "[required" in " ".join(lines[start : start + 3])


@pytest.mark.parametrize(
    ("words", "arguments"),
    [
        (["report"], "PATH..."),
        (["best"], "PATH..."),
        (["compare"], "[A.json B.json]"),
        (["logs"], "[RUN]"),
        (["models", "verify"], "[NAME]..."),
        (["images", "build"], "[NAME]..."),
        (["help"], "[COMMAND]..."),
    ],
    ids=str,
)
def test_arguments_are_written_as_they_are_meant(words, arguments):
    """Without brackets around brackets, and without the types of Python."""
    said = asked([LOADGEN, *words, "-h"]).stdout
    assert said.startswith(f"Usage: loadgen {' '.join(words)} [OPTIONS] {arguments}\n")
    assert f"\nArguments:\n  {arguments}  " in said


def test_options_have_no_types_of_python():
    """But words for what to write."""
    found = {name: asked([LOADGEN, *name.split(), "-h"]).stdout for name in COMMANDS}
    assert {name: re.findall(r"<\w+.*", text) for name, text in found.items() if re.search(r"<\w+[\[>]", text)} == {}


@pytest.mark.parametrize("name", sorted(COMMANDS.keys() - {""}))
def test_help_names_only_options_of_its_verb(name):
    """`up` takes no `--target`, and `sweep` no `--connect`."""
    parameters = COMMANDS[name].params
    flags = {flag for each in parameters for flag in each.opts}
    named = {flag for each in parameters for flag in re.findall(r"(?<![\w`-])--?[a-z][a-z-]*", each.help or "")}
    assert named <= flags


@pytest.mark.parametrize(
    ("verb", "option", "text"),
    [
        ("up", "-b", "Largest batch of a replica.  [default: 2]"),
        ("rate", "-b", "Largest batch of a replica; with --target rows of a request.  [default: 2, with --target 1]"),
        ("up", "--input-shape", "Shape of one input, where a model takes several: 299x299x3."),
        ("sweep", "--drain", "Wait for outstanding requests at the end.  [default: 5s with --target, else none]"),
        ("saturate", "--drain", "[default: 5s with --connect and --target, else none]"),
    ],
)
def test_help_fits_the_verb(verb, option, text):
    """Of options that verbs share."""
    (found,) = (each for each in COMMANDS[verb].params if option in each.opts)
    assert found.help.endswith(text)


@pytest.mark.parametrize("columns", [80, 120])
def test_help_fits_the_terminal(monkeypatch, columns):
    """But for examples, which can be copied."""
    monkeypatch.setenv("COLUMNS", str(columns))
    for name in VERBS:
        lines = [line for title, panel in panels([name]).items() if title != "Examples" for line in panel]
        assert max(map(len, lines)) <= columns


def test_each_command_has_two_examples():
    """Of itself."""
    assert set(EXAMPLES) == set(COMMANDS)
    for name, examples in EXAMPLES.items():
        assert len(set(examples)) == 2
        for line in examples:
            assert line.startswith(f"loadgen {name}".rstrip())
            assert len(line) <= 110
        assert panels(name.split())["Examples"] == [f"  {line}" for line in examples]


def words_of(example):
    """What the parser gets."""
    words = shlex.split(example.split(" | ")[0])[1:]
    return normalise_argv(words, list_options(words))


@pytest.mark.parametrize("example", [line for examples in EXAMPLES.values() for line in examples])
def test_examples_can_be_parsed(example):
    """With the types of their values."""
    words = words_of(example)
    name = max((name for name in COMMANDS if words[: len(name.split())] == name.split()), key=len)
    with typer.Context(verbs.verb("doctor"), info_name="loadgen") as root:
        COMMANDS[name].make_context(name, words[len(name.split()) :], parent=root)


@pytest.mark.parametrize(
    "example", [line for name, examples in EXAMPLES.items() if name in MEASURING for line in examples]
)
def test_examples_are_configurations(example, monkeypatch, tmp_path):
    """Which could be planned where their model or server is."""

    def planned(*_):
        raise typer.Exit(77)

    for module, name in ((measuring, "show_plan"), (sweep, "_show_plan"), (sizing, "prepare_size")):
        monkeypatch.setattr(module, name, planned)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "arrivals.txt").write_text("0\n1\n2\n")
    said = asked([LOADGEN, *words_of(example), "--dry-run"])
    assert (said.returncode, said.stderr) == (77, "")
