"""How the program says what it can do: help, and completion of what is typed."""

import pytest
from program import LOADGEN, asked
from typer import completion

from loadgen.cli.verbs import VERBS


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
        (["sature"], "no such command 'sature'. Did you mean 'saturate', 'rate'?: see `loadgen --help`"),
        (["models", "x"], "no such command 'x': see `loadgen models --help`"),
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
