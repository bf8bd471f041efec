"""What works here, and what is said of an extra that is missing."""

import pytest
from program import LOADGEN, asked

from loadgen.cli.doctor import WITHOUT, examine
from model_containers import extras


def test_each_extra_is_looked_at(monkeypatch):
    """With what does not work without it, and how to install it."""
    assert set(WITHOUT) == set(extras.MODULES)
    monkeypatch.setattr(extras, "missing", lambda name: ("a", "b") if name == "onnx" else ())
    found = {check.name: check for check in examine()}
    assert {f"extra {name}" for name in WITHOUT} <= set(found)
    check = found["extra onnx"]
    assert (check.ok, check.found) == (False, "not installed: a, b")
    assert check.remedy == f"without it ONNX files cannot be served: {extras.remedy('onnx')}"
    assert found["extra oip"].ok


def test_an_engine_that_does_not_answer_has_a_remedy(monkeypatch, tmp_path):
    """What to do about it is no part of what was found."""
    monkeypatch.setenv("DOCKER_HOST", f"unix://{tmp_path}/no-engine")
    (check,) = (check for check in examine() if check.name == "docker")
    assert (check.ok, check.found.partition(":")[0]) == (False, "no Docker engine answers")
    assert check.remedy == "start one, or name it in DOCKER_HOST, or use --runtime process"


@pytest.mark.parametrize("verb", [["saturate"], ["up", "--runtime", "process"], ["sweep"], ["saturate", "--dry-run"]])
def test_a_missing_framework_is_said_before_anything_starts(monkeypatch, tmp_path, verb):
    """With the extra, by each verb that deploys; a plan for another machine goes on."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(extras, "missing", lambda name: ("tensorflow",) if name == "tensorflow" else ())
    done = asked([LOADGEN, *verb, "-m", "inception"])
    text = f"--model inception: needs tensorflow, not installed here; {extras.remedy('tensorflow')}"
    assert (done.returncode, done.stdout, done.stderr) == (2, "", f"loadgen: {text}\n")
    assert asked([LOADGEN, "saturate", "-m", "inception", "--dry-run", "--topology", "cpus=0-31"]).returncode == 0
