"""Models of one's own and ONNX files: what is described, what is refused, and the guide's snippets as they stand."""

import importlib.util
import json
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

GUIDE = (Path(__file__).parents[2] / "docs" / "your-own-model.md").read_text()
LOADGEN = str(Path(sys.executable).with_name("loadgen"))
ANY_PORTS = [f"--{name}-port=0" for name in ("request", "response", "replica", "metrics", "admin")]


def ran(command, directory):
    return subprocess.run(command, cwd=directory, capture_output=True, text=True, timeout=120, check=False)


def describe(name, directory, *flags):
    return ran([sys.executable, "-m", "model_containers", "describe", name, *flags], directory)


@pytest.fixture
def guide(tmp_path):
    """A directory with the guide's Python files; the commands of its shell blocks."""
    for block in re.findall(r"```python\n(.*?)```", GUIDE, re.DOTALL):
        name = re.match(r"# (\S+)", block)
        assert name is not None
        (tmp_path / name[1]).write_text(block)
    return tmp_path


def command_of(model):
    line = re.findall(rf"^loadgen saturate --model {re.escape(model)}.*$", GUIDE, re.MULTILINE)[0]
    words = shlex.split(line)
    words[words.index("--duration") + 1] = "1"
    return [LOADGEN, *words[1:], *ANY_PORTS, "--allow-invalid"]


def results_of(run):
    assert run.returncode == 0, run.stdout + run.stderr
    return json.loads(Path(run.stdout.splitlines()[-1].removeprefix("Saved results to ")).read_text())


@pytest.mark.end_to_end
def test_the_guide_s_object(guide):
    """Typed as it stands there; its answers are right."""
    results = results_of(ran(command_of("linear:Projection"), guide))
    assert results["model"]["name"] == "projection"
    assert results["summary"]["completed"] > results["answers"]["compared"] > 0
    assert (results["summary"]["failed"], results["answers"]["mismatched"]) == (0, 0)


@pytest.mark.skipif(importlib.util.find_spec("torch") is None, reason="torch is not installed: pip install torch")
def test_the_guide_s_pytorch_model(guide):
    """Typed as it stands there."""
    results = results_of(ran(command_of("torch_model:Perceptron"), guide))
    assert results["summary"]["completed"] > results["summary"]["failed"] == 0


def test_the_guide_s_pytorch_model_describes_itself(guide):
    """Without PyTorch: it is imported when the model is loaded."""
    row = json.loads(describe("torch_model:Perceptron", guide).stdout)
    assert (row["name"], row["input"]["shape"], row["output"]["shape"], row["gpu_capable"]) == (
        "perceptron",
        [256],
        [10],
        True,
    )


@pytest.mark.parametrize(
    ("name", "flags", "text"),
    [
        ("nowhere:make", [], "No module named 'nowhere': install it, or run where nowhere is"),
        ("mine:nothing", [], "mine has no 'nothing'"),
        ("mine:fails", [], "the factory failed: RuntimeError('no')"),
        ("mine:Half", [], "without output, predict"),
        ("mine:Tuples", [], "TensorSpec"),
        ("mine:Doubles", [], "output has the dtype 'float64': choose one of float32, int32, str, uint8"),
        ("mine:Empty", [], "input has the shape (0,): write a tuple of whole numbers above 0"),
        ("mine:Good", ["--input-type", "bytes"], "takes inputs of floats, not bytes"),
        ("mine:Good", ["--input-shape", "4"], "takes 3"),
        ("broken:make", [], "broken cannot be imported: ZeroDivisionError"),
    ],
)
def test_what_does_not_fit_is_one_line(tmp_path, name, flags, text):
    """With what is wrong."""
    (tmp_path / "broken.py").write_text("1 / 0\n")
    (tmp_path / "mine.py").write_text(
        "from model_containers.model import TensorSpec\n"
        "def fails(): raise RuntimeError('no')\n"
        "class Half: name, input = 'half', TensorSpec((1,), 'float32')\n"
        "class Tuples(Half):\n"
        "    output = (1,)\n"
        "    def predict(self, batch): return batch\n"
        "class Good(Half):\n"
        "    input, output = TensorSpec((3,), 'float32'), TensorSpec((3,), 'float32')\n"
        "    def predict(self, batch): return batch\n"
        "class Doubles(Good): output = TensorSpec((1,), 'float64')\n"
        "class Empty(Good): input = TensorSpec((0,), 'float32')\n"
    )
    run = describe(name, tmp_path, *flags)
    assert run.returncode == 1
    assert text in run.stderr
    assert len(run.stderr.strip().splitlines()) == 1


@pytest.mark.end_to_end
def test_what_a_model_prints_does_no_harm(tmp_path):
    """Its description is read all the same."""
    (tmp_path / "noisy.py").write_text(
        "from model_containers.model import TensorSpec\n"
        "print('noise')\n"
        "class Noisy:\n"
        "    name, input, output = 'noisy', TensorSpec((9,), 'float32'), TensorSpec((9,), 'float32')\n"
        "    def load(self, options): print('more noise')\n"
        "    def predict(self, batch): return batch\n"
    )
    results = results_of(
        ran(
            [
                LOADGEN,
                "saturate",
                "-m",
                "noisy:Noisy",
                "-d",
                "1",
                "--verify",
                "3",
                "--allow-invalid",
                "--no-ceiling",
                *ANY_PORTS,
            ],
            tmp_path,
        )
    )
    assert results["answers"]["compared"] > 0


onnx = pytest.mark.skipif(
    not (importlib.util.find_spec("onnx") and importlib.util.find_spec("onnxruntime")),
    reason="onnx and onnxruntime are not installed: make install",
)


def write_onnx(path, batch="n", inputs=("x",), width=4, type_name="FLOAT"):
    """Y = 2 x for each of the inputs."""
    from onnx import TensorProto, helper, save

    kind = getattr(TensorProto, type_name)
    dtype = np.float64 if type_name == "DOUBLE" else np.float32
    given = [helper.make_tensor_value_info(name, kind, [batch, width]) for name in inputs]
    answer = helper.make_tensor_value_info("y", kind, [batch, width])
    two = helper.make_tensor("two", kind, [1], np.array([2], dtype))
    graph = helper.make_graph([helper.make_node("Mul", [inputs[0], "two"], ["y"])], "double", given, [answer], [two])
    save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), path)


@onnx
@pytest.mark.end_to_end
def test_an_onnx_file_is_served(tmp_path):
    """As the guide says, with the file's shapes, and right answers."""
    write_onnx(tmp_path / "model.onnx")
    row = json.loads(describe("onnx:model.onnx", tmp_path).stdout)
    assert (row["name"], row["input"]["shape"], row["output"]["dtype"]) == ("model", [4], "float32")
    results = results_of(ran([*command_of("onnx:model.onnx"), "--verify", "1"], tmp_path))
    assert results["model"]["weights"].startswith("file:model.onnx sha256:")
    assert results["answers"]["compared"] > results["answers"]["mismatched"] == 0


@onnx
def test_a_free_dimension_is_chosen(tmp_path):
    """By --input-shape, and only such that fit."""
    write_onnx(tmp_path / "free.onnx", width="width")
    assert "--input-shape" in describe("onnx:free.onnx", tmp_path).stderr
    assert json.loads(describe("onnx:free.onnx", tmp_path, "--input-shape", "7").stdout)["input"]["shape"] == [7]
    assert "takes ['width']" in describe("onnx:free.onnx", tmp_path, "--input-shape", "7x7").stderr


@onnx
@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"batch": 1}, "free first dimension"),
        ({"inputs": ("x", "z")}, "has 2 inputs (x, z)"),
        ({"type_name": "DOUBLE"}, "answers with doubles"),
        ({"type_name": "FLOAT16"}, "tensor(float16), which cannot be sent"),
    ],
)
def test_an_onnx_file_that_cannot_be_served_is_one_line(tmp_path, changes, text):
    """With what to change."""
    write_onnx(tmp_path / "odd.onnx", **changes)
    run = describe("onnx:odd.onnx", tmp_path)
    assert run.returncode == 1
    assert text in run.stderr
    assert len(run.stderr.strip().splitlines()) == 1


def test_a_missing_onnx_file(tmp_path):
    """Named."""
    run = describe("onnx:nowhere.onnx", tmp_path)
    assert run.returncode == 1
    assert "nowhere.onnx" in run.stderr or "not installed" in run.stderr
    assert os.listdir(tmp_path) == []
