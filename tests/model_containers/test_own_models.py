"""Models of one's own and ONNX files: what is described, what is refused, and the guide's snippets as they stand."""

import hashlib
import importlib.util
import json
import os
import random
import re
import shlex
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from program import ANY_PORTS, LOADGEN

from model_containers import catalog
from model_containers.data_types import DataType
from model_containers.errors import ModelError
from model_containers.model import LoadOptions, TensorSpec
from model_containers.models.onnx import weights_text
from model_containers.verify import verify

GUIDE = (Path(__file__).parents[2] / "docs" / "your-own-model.md").read_text()


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


@pytest.fixture
def in_directory(tmp_path, monkeypatch):
    """The working directory is an empty one; modules that are imported from there are forgotten."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path])
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    known = set(sys.modules)
    yield tmp_path
    for name in set(sys.modules) - known:
        if str(getattr(sys.modules[name], "__file__", "")).startswith(str(tmp_path)):
            del sys.modules[name]


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
    ("name", "options", "text"),
    [
        ("nowhere:make", {}, "No module named 'nowhere'; install it, or run where nowhere is"),
        ("mine:nothing", {}, "mine has no 'nothing'"),
        ("mine.py:good", {}, "mine.py has no 'good'; did you mean mine.py:Good?"),
        ("mine:fails", {}, "the factory failed: RuntimeError('no')"),
        ("mine:leaves", {}, "the factory failed: SystemExit('bye')"),
        ("mine:number", {}, "number, of the type int, is not a model; name one, or what makes one"),
        ("mine:", {}, "nothing after the colon; name what makes the model, such as mine:Model"),
        ("mine", {}, "name what makes the model in mine.py, such as mine:Model"),
        ("mine.py", {}, "name what makes the model in mine.py, such as mine.py:Model"),
        ("nowhere.py:Good", {}, "no such file as"),
        ("sub/json.py:Good", {}, "json is a module of Python or of a package"),
        ("inceptoin", {}, "did you mean inception?"),
        ("exits:make", {}, "exits cannot be imported: SystemExit(3)"),
        ("mine:Odd", {}, "answer is 'class'; choose one of features, probabilities, label, number"),
        ("mine:Half", {}, "mine:Half: the object has no output, predict; give its class name = "),
        ("mine:Tuples", {}, "TensorSpec"),
        ("mine:Doubles", {}, "output has the dtype 'float64'; choose one of float32, int32, int8, str, uint8"),
        ("mine:NoDtype", {}, "input has the dtype 'floaty'; choose one of float32, float64, int32, int8, str, uint8"),
        ("mine:AnyDtype", {}, "input has the dtype None; choose one of"),
        ("", {}, "'': no such model; choose one of"),
        ("~nobody/forest", {}, "~nobody/forest: no such model; choose one of"),
        ("mine.Good", {}, "did you mean mine:Good?"),
        ("sub/made.py.Good", {}, "did you mean sub/made.py:Good?"),
        ("forest", {}, "did you mean onnx:forest.onnx?"),
        ("forest.pkl", {}, "the file forest.pkl is neither ONNX nor Python; export it to ONNX, or load it in a model"),
        ("v:2.onnx", {}, "v:2.onnx: cannot be loaded"),
        ("FOREST.ONNX", {}, "FOREST.ONNX: no such file"),
        ("onnx:forest", {}, "forest: no such file; did you mean onnx:forest.onnx?"),
        ("onnx:forset.onnx", {}, "forset.onnx: no such file; did you mean onnx:forest.onnx?"),
        ("sub/maed.py:Good", {}, "no such file as sub/maed.py; did you mean sub/made.py:Good?"),
        ("brokne:make", {}, "No module named 'brokne'; did you mean broken.py:make?"),
        ("onxx:forest.onnx", {}, "No module named 'onxx'; did you mean onnx:forest.onnx?"),
        ("nowhere/x.py:Good", {}, "no such file as nowhere/x.py; name one that is there"),
        ("onnx:", {}, "'': no such file; name an ONNX file, onnx:FILE"),
        ("a#2.onnx", {}, "a#2.onnx: cannot be loaded"),
        ("onnx:a#2.onnx", {}, "a#2.onnx: cannot be loaded"),
        ("a#2.onnx#y", {}, "a#2.onnx: cannot be loaded"),
        ("pointer.onnx", {}, "pointer.onnx: a pointer of Git LFS, not the file; fetch it (git lfs pull)"),
        ("mine:Empty", {}, "input has the shape (0,); write a tuple of whole numbers above 0"),
        ("mine:Good", {"input_type": DataType.BYTES}, "--input-type bytes: half takes floats; use that"),
        ("mine:Good", {"input_shape": (4,)}, "takes 3"),
        ("broken:make", {}, "broken cannot be imported: ZeroDivisionError"),
    ],
)
def test_what_does_not_fit_is_one_line(in_directory, name, options, text):
    """With what is wrong."""
    (in_directory / "broken.py").write_text("1 / 0\n")
    (in_directory / "exits.py").write_text("raise SystemExit(3)\n")
    (in_directory / "sub").mkdir()
    (in_directory / "sub" / "json.py").write_text("")
    (in_directory / "sub" / "made.py").write_text("")
    for file in ("forest.onnx", "forest.pkl", "v:2.onnx", "a#2.onnx"):
        (in_directory / file).write_text("no model")
    (in_directory / "pointer.onnx").write_text("version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 1\n")
    (in_directory / "mine.py").write_text(
        "from model_containers.model import TensorSpec\n"
        "def fails(): raise RuntimeError('no')\n"
        "def leaves(): raise SystemExit('bye')\n"
        "number = 3\n"
        "class Half: name, input = 'half', TensorSpec((1,), 'float32')\n"
        "class Tuples(Half):\n"
        "    output = (1,)\n"
        "    def predict(self, batch): return batch\n"
        "class Good(Half):\n"
        "    input, output = TensorSpec((3,), 'float32'), TensorSpec((3,), 'float32')\n"
        "    def predict(self, batch): return batch\n"
        "class Doubles(Good): output = TensorSpec((1,), 'float64')\n"
        "class NoDtype(Good): input = TensorSpec((1,), 'floaty')\n"
        "class AnyDtype(Good): input = TensorSpec((1,), None)\n"
        "class Odd(Good): answer = 'class'\n"
        "class Empty(Good): input = TensorSpec((0,), 'float32')\n"
    )
    with pytest.raises(ModelError, match=re.escape(text)) as refused:
        catalog.describe(name, LoadOptions(**options))
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize("name", ["mine:Base", "mine:ready", "mine.py:Base", "sub/other-model.py:made"])
def test_a_model_s_names(in_directory, name):
    """A class, an object, and a file, whose name may be none that Python knows; dtypes and shapes as numpy has them."""
    source = (
        "import numpy as np\n"
        "from model_containers.model import TensorSpec\n"
        "class Base:\n"
        "    name, input, output = 'base', TensorSpec([np.int64(3)], np.float32), TensorSpec((3,), np.dtype('int8'))\n"
        "    def predict(self, batch): return batch.astype(np.int8)\n"
        "    def __call__(self): raise RuntimeError('an object is not called')\n"
        "ready = Base()\n"
        "def made(): return Base()\n"
    )
    (in_directory / "sub").mkdir()
    (in_directory / "mine.py").write_text(source)
    (in_directory / "sub" / "other-model.py").write_text(source)
    found = catalog.describe(name)
    assert (found.input, found.output) == (TensorSpec((3,), "float32"), TensorSpec((3,), "int8"))


@pytest.mark.parametrize("error", ["RuntimeError('no weights')", "SystemExit(2)"])
def test_a_model_that_cannot_load_is_one_line(in_directory, error):
    """With its own words; a model without such a method has nothing to load."""
    source = (
        "from model_containers.model import TensorSpec\n"
        "class Light:\n"
        "    name, input, output = 'light', TensorSpec((3,), 'float32'), TensorSpec((3,), 'float32')\n"
        "    def predict(self, batch): return batch\n"
        "class Heavy(Light):\n"
        f"    def load(self, options): raise {error}\n"
    )
    (in_directory / "mine.py").write_text(source)
    assert catalog.load("mine:Light").name == "light"
    with pytest.raises(ModelError, match=re.escape(f"mine:Heavy: load failed: {error}")):
        catalog.load("mine:Heavy")


def test_what_is_no_array_is_a_finding(in_directory):
    """Lists of numbers are one, of the dtype that numpy gives them; whatever else is named."""
    (in_directory / "lists.py").write_text(
        "import numpy as np\n"
        "from model_containers.model import TensorSpec\n"
        "class Rows:\n"
        "    name, input, output = 'rows', TensorSpec((3,), 'float32'), TensorSpec((3,), 'float32')\n"
        "    def predict(self, batch): return list(batch)\n"
        "class Floats(Rows):\n"
        "    def predict(self, batch): return batch.tolist()\n"
        "class Nothing(Rows):\n"
        "    def predict(self, batch): pass\n"
    )
    bad = {}
    for name in ("Rows", "Floats", "Nothing"):
        checks = verify(catalog.load(f"lists:{name}"), catalog.describe(f"lists:{name}"), seed=0)
        bad[name] = [(check.name, check.detail) for check in checks if not check.ok]
    answer = "ValueError('it answers with NoneType, not with an array of numbers')"
    assert bad == {"Rows": [], "Floats": [("dtype", "float64")], "Nothing": [("answers", answer)]}


@pytest.mark.parametrize("dtype", ["U10", np.str_, str, np.dtype("U")])
def test_texts_of_numpy_s_dtype_are_texts(dtype):
    """Of whatever length."""
    assert TensorSpec((), dtype) == TensorSpec((), "str")


def text_model(tmp_path):
    (tmp_path / "shout.py").write_text(
        "from model_containers.model import TensorSpec\n"
        "class Shout:\n"
        "    name, input, output = 'shout', TensorSpec((), 'str'), TensorSpec((), str)\n"
        "    def predict(self, batch): return [text.decode().upper() + 'é' for text in batch]\n"
        "class Counts(Shout):\n"
        "    def predict(self, batch): return [str(len(batch))] * len(batch)\n"
        "class Leaves(Shout):\n"
        "    def predict(self, batch): raise SystemExit('enough')\n"
    )


@pytest.mark.parametrize(
    ("name", "bad"),
    [("shout:Shout", []), ("shout:Counts", ["batch equals single"]), ("shout:Leaves", ["answers"])],
)
def test_a_model_that_answers_with_text_is_checked(in_directory, name, bad):
    """Like the others."""
    text_model(in_directory)
    checks = verify(catalog.load(name), catalog.describe(name), seed=0)
    assert [check.name for check in checks if not check.ok] == bad
    assert [check.detail for check in checks if check.name == "answers"] in ([], ["SystemExit('enough')"])


@pytest.mark.end_to_end
def test_answers_of_text_are_compared(tmp_path):
    """Under load, with those of single calls."""
    text_model(tmp_path)
    command = [
        LOADGEN,
        "saturate",
        "-m",
        "shout.py:Shout",
        "-d",
        "1",
        "--verify",
        "2",
        "--allow-invalid",
        "--no-ceiling",
    ]
    results = results_of(ran([*command, *ANY_PORTS], tmp_path))
    assert results["answers"]["compared"] > results["answers"]["mismatched"] == 0
    assert results["summary"]["completed"] > results["summary"]["failed"] == 0


def test_a_file_named_as_a_module_of_python_is_named(tmp_path):
    """The working directory comes last, so Python's module is found; the message says which."""
    (tmp_path / "random.py").write_text("make = None\n")
    (tmp_path / "sys.py").write_text("make = None\n")
    for name, where in (("random", f"({random.__file__})"), ("sys", "(built in)")):
        run = describe(f"{name}:make", tmp_path)
        assert run.returncode == 1
        assert run.stderr == (
            f"{name}:make: {name} is a module of Python or of a package {where}, not {name}.py; rename that file\n"
        )


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


def write_onnx(path, batch="n", width=4):
    """Y = 2 x."""
    from onnx import helper
    from onnx_exports import FLOAT, write

    node = helper.make_node("Mul", ["x", "two"], ["y"])
    write(
        path, [("x", FLOAT, [batch, width])], [("y", FLOAT, [batch, width])], [node], {"two": np.array([2], np.float32)}
    )


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
def test_tensors_beside_an_onnx_file(tmp_path):
    """Belong to the digest of the weights, by their names and content; without any it is the file's own."""
    from onnx import external_data_helper, load, numpy_helper, save

    def own():
        return f"file:{path} sha256:{hashlib.sha256(path.read_bytes()).hexdigest()}"

    path = tmp_path / "model.onnx"
    write_onnx(path)
    assert weights_text(str(path)) == own()
    model = load(path)
    model.graph.initializer[0].CopyFrom(numpy_helper.from_array(np.array([2], np.float32), "two"))
    name = f"{'weights' * 30}.bin"  # its length takes two bytes
    external_data_helper.convert_model_to_external_data(model, location=name, size_threshold=0)
    model.metadata_props.add(key="location", value="nowhere")
    save(model, path)
    first = weights_text(str(path))
    assert (len(first), first != own()) == (len(own()), True)
    (tmp_path / name).write_bytes(np.float32(3).tobytes())
    second = weights_text(str(path))
    assert second != first
    (tmp_path / "other.bin").write_bytes(b"x")
    assert weights_text(str(path)) == second


@onnx
def test_a_free_dimension_is_chosen(tmp_path):
    """By --input-shape, and only such that fit."""
    write_onnx(tmp_path / "free.onnx", width="width")
    assert json.loads(describe("onnx:free.onnx", tmp_path).stdout)["input"]["shape"] is None
    assert json.loads(describe("onnx:free.onnx", tmp_path, "--input-shape", "7").stdout)["input"]["shape"] == [7]
    assert "takes ['width']" in describe("onnx:free.onnx", tmp_path, "--input-shape", "7x7").stderr


@onnx
@pytest.mark.end_to_end
def test_an_onnx_file_of_a_fixed_batch_wants_that_batch(tmp_path):
    """The plan says so, before anything starts; the prefix may be left out."""
    write_onnx(tmp_path / "fixed.onnx", batch=1)
    run = ran([LOADGEN, "saturate", "-m", "fixed.onnx", "-d", "1", "--dry-run"], tmp_path)
    assert run.returncode == 2
    assert "--batch-size 2: fixed takes batches of at most 1; take --batch-size 1" in run.stderr


@onnx
def test_a_home_directory_and_an_output_are_found(tmp_path, monkeypatch):
    """In the name of an ONNX file."""
    write_onnx(tmp_path / "double.onnx")
    monkeypatch.setenv("HOME", str(tmp_path))
    row = json.loads(describe("onnx:~/double.onnx#y", tmp_path).stdout)
    assert (row["framework"], row["note"]) == (f"onnx:{tmp_path}/double.onnx", "")


@onnx
@pytest.mark.end_to_end
def test_a_file_of_free_shape_is_checked_with_the_one_that_is_said(tmp_path):
    """By the command too."""
    write_onnx(tmp_path / "free.onnx", width="width")
    run = ran([LOADGEN, "models", "verify", "free.onnx", "--input-shape", "7"], tmp_path)
    assert run.returncode == 0, run.stdout + run.stderr
    assert "shape: (8, 7) for a batch of 8" in run.stdout


def test_a_missing_onnx_file(tmp_path):
    """Named."""
    run = describe("onnx:nowhere.onnx", tmp_path)
    assert run.returncode == 1
    assert "nowhere.onnx" in run.stderr or "not installed" in run.stderr
    assert os.listdir(tmp_path) == []
