"""``python -m model_containers`` and the catalogue behind it."""

import json
import os
import re
import subprocess
import sys

import numpy as np
import pytest

from model_containers import catalog, extras
from model_containers.errors import ModelError
from model_containers.model import LoadOptions
from model_containers.verify import verify


def ran(*arguments, **environment):
    return subprocess.run(
        [sys.executable, "-m", "model_containers", *arguments],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
        env={**os.environ, **environment},
    )


def test_describe_is_json_with_shapes_types_and_weights():
    """All that others may know of a model."""
    row = json.loads(ran("describe", "inception", "--seed", "3").stdout)
    assert row["input"] == {
        "shape": [299, 299, 3],
        "dtype": "float32",
        "other_shapes": [],
        "type": "floats",
        "nbytes": 1_072_812,
    }
    assert (row["output"]["shape"], row["output"]["nbytes"]) == ([2048], 8192)
    assert (row["weights"], row["image"], row["gpus"]) == ("seeded:3", "model-comp/inception-feats", [0])


def test_noop_takes_the_shape_it_is_given():
    """And any without."""
    assert json.loads(ran("describe", "noop", "--input-shape", "8x8").stdout)["input"]["shape"] == [8, 8]
    assert json.loads(ran("describe", "noop").stdout)["input"]["shape"] is None


def test_describing_imports_no_framework():
    """It answers at once."""
    code = "import sys, model_containers.catalog as c; c.describe('inception'); print('tensorflow' in sys.modules)"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    assert run.stdout == "False\n"


@pytest.mark.parametrize(
    ("arguments", "code", "text"),
    [
        (["describe", "resnet"], 1, "resnet: no such model; choose one of"),
        (["serve", "inception", "--input-type", "doubles"], 1, "inception takes floats or bytes or strings; use that"),
        (["serve", "noop", "--port", "x"], 2, "--port x: must be a whole number from 1 to 65535"),
        (["describe", "inception", "--weights", "/no/such.h5"], 1, "/no/such.h5"),
        (["describe", "inception", "--input-shape", "2x2"], 1, "--input-shape"),
        (["reference", "noop", "--input", "/no/such.npy"], 1, "/no/such.npy"),
    ],
)
def test_errors_are_one_line(arguments, code, text):
    """With an exit code and without a traceback."""
    run = ran(*arguments)
    assert run.returncode == code
    assert text in run.stderr
    assert len(run.stderr.strip().splitlines()) == 1


def test_verify_noop():
    """Every check is there and holds."""
    report = json.loads(ran("verify", "noop").stdout)
    assert report["ok"]
    assert {check["name"] for check in report["checks"]} == {
        "shape",
        "dtype",
        "finite",
        "deterministic",
        "batch equals single",
    }


def test_verify_finds_a_model_that_is_not_what_it_says():
    """A check that cannot fail is worthless."""
    model = catalog.load("noop", LoadOptions(input_shape=(4,)))

    class Odd:
        name, input, output, calls = model.name, model.input, model.output, 0

        def predict(self, batch):
            Odd.calls += 1
            return np.full((len(batch), 2), np.nan if len(batch) == 8 else len(batch) + Odd.calls, np.float64)

    assert [check.name for check in verify(Odd(), catalog.describe("noop"), 0) if not check.ok] == [
        "shape",
        "dtype",
        "finite",
        "deterministic",
        "batch equals single",
    ]


def test_reference_answers_the_inputs_of_a_file(tmp_path):
    """One by one, as JSON."""
    np.save(tmp_path / "in.npy", np.zeros((3, 8), np.float32))
    run = ran("reference", "noop", "--input", str(tmp_path / "in.npy"))
    assert json.loads(run.stdout) == {"outputs": [[0.0]] * 3}


def test_reference_refuses_inputs_of_another_shape(tmp_path):
    """In one line."""
    np.save(tmp_path / "in.npy", np.zeros((3, 9), np.float32))
    run = ran("reference", "noop", "--input-shape", "8", "--input", str(tmp_path / "in.npy"))
    assert run.returncode == 1
    assert "float32 (3, 9)" in run.stderr


def test_a_missing_framework_is_one_line(monkeypatch):
    """With what to install."""
    monkeypatch.setitem(sys.modules, "tensorflow", None)
    with pytest.raises(ModelError, match=re.escape(extras.remedy("tensorflow"))):
        catalog.load("inception")
