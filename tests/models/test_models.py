"""The models for real: their frameworks, their files, their answers."""

import json
import os
import pickle
import subprocess
import sys
import zipfile

import numpy as np
import pytest

from model_containers import catalog
from model_containers.data_types import DataType
from model_containers.errors import ModelError
from model_containers.model import LoadOptions

CLASSIFIERS = ("lgbm", "kpca-svm", "kernel-svm", "elastic-net")


RUNTIME = """
import contextlib, functools, io, json, sys
from model_containers import catalog
from model_containers.__main__ import main
catalog.load = functools.lru_cache(4)(catalog.load)
for line in sys.stdin:
    out, err = io.StringIO(), io.StringIO()
    sys.argv = ["model_containers", *json.loads(line)]
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        try:
            main()
            code = 0
        except SystemExit as error:
            code = error.code or 0
    print(json.dumps([code, out.getvalue(), err.getvalue()]), file=sys.__stdout__, flush=True)
"""


@pytest.fixture(scope="module")
def ran():
    """`python -m model_containers` with these words, in one process for all: frameworks take seconds to load.

    So do networks: those that were just asked stay.
    """
    process = subprocess.Popen(
        [sys.executable, "-c", RUNTIME],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3"},
    )

    stdin, stdout = process.stdin, process.stdout
    assert stdin is not None
    assert stdout is not None

    def run(*arguments):
        print(json.dumps(arguments), file=stdin, flush=True)
        code, out, err = json.loads(stdout.readline())
        assert code == 0, err
        return json.loads(out)

    with process:
        yield run
        stdin.close()


COMPILED = ("--seed", "1", "--max-batch", "8", "--xla", "1")


def test_inceptions_seeded_weights_tell_inputs_apart(ran, tmp_path):
    """Answers to different inputs differ far more than rounding, and another seed gives other answers."""
    images = np.random.default_rng(0).uniform(0, 255, (2, 299, 299, 3)).astype(np.float32)
    np.save(tmp_path / "in.npy", images)
    outputs = [
        np.array(ran("reference", "inception", *flags, "--input", str(tmp_path / "in.npy"))["outputs"])
        for flags in (COMPILED, ("--seed", "0"))
    ]
    other, first = outputs
    assert np.abs(first[0] - first[1]).max() > 1e-2
    assert np.abs(first - other).max() > 1e-2


def test_a_compiled_network(ran):
    """For batches that are powers of two; the seeds have loaded it."""
    assert ran("verify", "inception", *COMPILED)["ok"]


def test_pixels_are_pixels_in_whatever_type(ran, tmp_path):
    """Bytes and floats of one image have the same features, and VGG takes the size that it computes with."""
    pixels = np.random.default_rng(0).integers(0, 256, (2, 224, 224, 3), dtype=np.uint8)
    answers = []
    for flags, inputs in ((("--input-type", "bytes"), pixels), ((), pixels.astype(np.float32))):
        path = tmp_path / f"{inputs.dtype}.npy"
        np.save(path, inputs)
        answers.append(ran("reference", "vgg", "--input", str(path), *flags)["outputs"])
    assert np.shape(answers) == (2, 2, 4096)
    assert np.array_equal(answers[0], answers[1])


@pytest.mark.parametrize("name", catalog.NAMES)
def test_it_is_what_it_says(ran, name):
    """Shapes, dtypes, finite, deterministic, and a batch gives what single calls give."""
    assert ran("verify", name)["ok"]


def test_files_as_text(ran):
    """Which the network decodes."""
    assert ran("verify", "inception", "--max-batch", "8", "--input-type", "strings")["ok"]


@pytest.mark.parametrize("name", CLASSIFIERS)
def test_queries_fall_into_several_classes(name):
    """The inputs that are drawn are told apart by what was trained on other ones."""
    model = catalog.load(name, LoadOptions())
    assert model.input.shape is not None
    inputs = np.random.default_rng(0).random((32, *model.input.shape), dtype=np.float32)
    answers = model.predict(inputs)
    classes = answers[:, 0] if answers.shape[1] == 1 else answers.argmax(axis=1)
    assert len(np.unique(classes)) >= 2
    if answers.shape[1] > 1:
        assert np.allclose(answers.sum(axis=1), 1, atol=1e-5)


def test_another_seed_is_another_model():
    """Of the same shape."""
    first, second = (catalog.load("elastic-net", LoadOptions(seed=seed)) for seed in (0, 1))
    inputs = np.random.default_rng(0).random((4, 4096), dtype=np.float32)
    assert not np.allclose(first.predict(inputs), second.predict(inputs))


class Evil:
    def __reduce__(self):
        return (os.system, ("touch /tmp/loadgen-evil",))


@pytest.mark.parametrize("name", CLASSIFIERS)
def test_a_pickle_is_no_model_file(name, tmp_path):
    """It is refused, and nothing in it is run."""
    path = tmp_path / "model.pkl"
    path.write_bytes(pickle.dumps(Evil()))
    with pytest.raises(ModelError, match="cannot be loaded"):
        catalog.load(name, LoadOptions(weights=str(path)))
    assert not os.path.exists("/tmp/loadgen-evil")


def test_a_file_of_another_type_is_refused(tmp_path, monkeypatch):
    """Skops loads only what it trusts; the file is trained here, whatever other tests have kept."""
    monkeypatch.setenv("LOADGEN_CACHE", str(tmp_path / "cache"))
    source = catalog.train("elastic-net", 0)
    assert source is not None
    path = tmp_path / "model.skops"
    with zipfile.ZipFile(source) as given, zipfile.ZipFile(path, "w") as changed:
        for entry in given.namelist():
            content = given.read(entry)
            if entry == "schema.json":
                content = content.replace(b"StandardScaler", b"StandardSmuggler")
            changed.writestr(entry, content)
    with pytest.raises(ModelError, match="cannot be loaded"):
        catalog.load("elastic-net", LoadOptions(weights=str(path)))


def test_a_classifier_of_other_features_is_refused(tmp_path):
    """It would fail at every query."""
    import lightgbm
    import skops.io
    from sklearn.linear_model import LogisticRegression

    inputs, labels = np.random.default_rng(0).random((50, 4)), np.arange(50) % 2
    trees, pipeline = tmp_path / "model.txt", tmp_path / "model.skops"
    lightgbm.train({"objective": "binary", "verbose": -1}, lightgbm.Dataset(inputs, labels), 1).save_model(trees)
    skops.io.dump(LogisticRegression().fit(inputs, labels), pipeline)
    with pytest.raises(ModelError, match="4 features and 1 classes, not 2048 and 10"):
        catalog.load("lgbm", LoadOptions(weights=str(trees)))
    with pytest.raises(ModelError, match=r"no classifier of \(4096,\) features"):
        catalog.load("elastic-net", LoadOptions(weights=str(pipeline)))


def test_only_networks_take_other_types():
    """And only they are compiled."""
    with pytest.raises(ModelError, match="--input-type bytes: lgbm takes floats"):
        catalog.describe("lgbm", LoadOptions(input_type=DataType.BYTES))
    with pytest.raises(ModelError, match="--xla"):
        catalog.describe("lgbm", LoadOptions(xla=True))
    with pytest.raises(ModelError, match="--weights imagenet: lgbm has none of ImageNet; use seeded"):
        catalog.describe("lgbm", LoadOptions(weights="imagenet"))
