"""Python files in the working directory that are named as modules: a run imports none but the model that it is told."""

import json
import subprocess
import sys
from pathlib import Path

import program
import pytest

PLANTED = ("numpy", "zmq", "uvloop", "typing", "sitecustomize", "usercustomize", "msgspec", "json", "random", "msvcrt")
"""Packages that a run needs, modules of Python, what Python runs when it starts, and a module of another system."""

MODEL = """
import sys
from model_containers.model import TensorSpec
import beside

class Model:
    name, input, output = "mine", TensorSpec((8,), "float32"), TensorSpec((8,), "float32")
    def predict(self, batch): return batch
"""
LOADGEN = [program.LOADGEN]
MODULE = [sys.executable, "-m", "loadgen"]


@pytest.fixture
def directory(tmp_path):
    """A working directory in which each of them leaves a mark when it is run."""
    for name in PLANTED:
        (tmp_path / f"{name}.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'a').write({name!r} + chr(10))\n")
    (tmp_path / "mine.py").write_text(MODEL)
    (tmp_path / "beside.py").write_text("")
    return tmp_path


def ran(directory, *words):
    done = subprocess.run(words, cwd=directory, capture_output=True, text=True, timeout=program.DEADLINE_S, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert not (directory / "ran").exists(), (directory / "ran").read_text()
    return done.stdout


@pytest.mark.parametrize("command", [LOADGEN, MODULE], ids=["loadgen", "python -m loadgen"])
@pytest.mark.parametrize("model", ["noop", "mine:Model"])
def test_a_plan(directory, command, model):
    """Asks the model about itself, in a process of its own."""
    assert ran(directory, *command, "saturate", "-m", model, "--dry-run").startswith(model.split(":")[0])


def test_a_run(directory):
    """Every process that a run starts: frontends, replica, client processes, null server, sampler, reference."""
    short = ("-d", "0.5", *program.BRIEFLY)
    words = ["saturate", "-m", "mine:Model", *short, "--clients", "2", "--verify", "3", "--allow-invalid"]
    said = ran(directory, *LOADGEN, *words, *program.ANY_PORTS)
    results = json.loads(Path(said.splitlines()[-1].removeprefix("Saved results to ")).read_text())
    assert results["summary"]["completed"] > 0
    assert results["answers"]["mismatched"] == 0


@pytest.mark.parametrize(
    "words",
    [
        ["frontend_launch", "serve", "--help"],
        ["model_containers", "catalogue"],
        ["model_containers", "describe", "noop"],
    ],
    ids=" ".join,
)
def test_the_parts_by_themselves(directory, words):
    """As the guide starts them."""
    ran(directory, sys.executable, "-m", *words)
