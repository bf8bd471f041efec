"""ONNX files as they are exported: what is sent of each, and what is refused with a remedy."""

import importlib.util
from functools import partial

import numpy as np
import pytest

from model_containers import catalog
from model_containers.errors import ModelError
from model_containers.model import LoadOptions
from model_containers.verify import verify

pytest.importorskip("onnxruntime", reason="onnx and onnxruntime are not installed: make install")
exports = pytest.importorskip("onnx_exports", reason="onnx and onnxruntime are not installed: make install")

skl2onnx = pytest.mark.skipif(
    not (importlib.util.find_spec("skl2onnx") and importlib.util.find_spec("sklearn")),
    reason="skl2onnx is not installed: make install",
)


def forest(inputs, classes):
    from sklearn.ensemble import RandomForestClassifier

    return RandomForestClassifier(3, max_depth=3, random_state=0).fit(inputs, classes)


def named_classes(inputs, classes):
    from sklearn.linear_model import LogisticRegression

    return LogisticRegression().fit(inputs, np.array(["setosa", "virginica", "versicolor"])[classes])


def scaled_svm(inputs, classes):
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler
    from sklearn.svm import SVC

    return make_pipeline(StandardScaler(), SVC()).fit(inputs, classes)


def regression(inputs, classes):
    from sklearn.linear_model import LinearRegression

    return LinearRegression().fit(inputs, classes)


def clusters(inputs, classes):
    from sklearn.cluster import KMeans

    return KMeans(3, n_init=1, random_state=0).fit(inputs)


BERT = ("input_ids", "attention_mask", "token_type_ids")


def served(name, write, given, answer, **more):
    """A file that is served: dtype and shape of an input and of an answer.

    Args:
        name: of the case.
        write: makes the file.
        given: dtype and shape of an input.
        answer: of an answer.
        more: `output` that is named, `options`, `note`: words of it.
    """
    marks = skl2onnx if name.startswith("sklearn") else ()
    return pytest.param(write, given, answer, more, id=name, marks=marks)


SERVED = [
    served(
        "sklearn classifier",
        exports.sklearn(forest),
        ("float32", (4,)),
        ("int32", ()),
        note="output_label; output_probability cannot be sent: it is a list of dictionaries; export it with options=",
    ),
    served(
        "sklearn classifier without zipmap",
        exports.sklearn(forest, zipmap=False),
        ("float32", (4,)),
        ("int32", ()),
        note="answers with its output label; onnx:{path}#probabilities chooses another of probabilities",
    ),
    served(
        "sklearn probabilities",
        exports.sklearn(forest, zipmap=False),
        ("float32", (4,)),
        ("float32", (3,)),
        output="probabilities",
    ),
    served(
        "sklearn classifier with columns",
        exports.sklearn(forest, zipmap="columns"),
        ("float32", (4,)),
        ("float32", ()),
        output="i1",
    ),
    served(
        "sklearn names of classes",
        exports.sklearn(named_classes, zipmap=False),
        ("float32", (4,)),
        ("str", ()),
        note="#probabilities",
    ),
    served(
        "sklearn pipeline",
        exports.sklearn(scaled_svm, zipmap=False),
        ("float32", (4,)),
        ("int32", ()),
        note="#probabilities",
    ),
    served("sklearn regression", exports.sklearn(regression), ("float32", (4,)), ("float32", (1,))),
    served(
        "sklearn of doubles",
        exports.sklearn(regression, np.float64),
        ("float64", (4,)),
        ("float32", (1,)),
    ),
    served("sklearn clusters", exports.sklearn(clusters), ("float32", (4,)), ("int32", ()), note="#scores"),
    served("torch free batch", exports.perceptron, ("float32", (8,)), ("float32", (3,))),
    served("torch batch of one", partial(exports.perceptron, batch=1), ("float32", (8,)), ("float32", (3,)), batch=1),
    served("torch batch of four", partial(exports.perceptron, batch=4), ("float32", (8,)), ("float32", (3,)), batch=4),
    served(
        "torch half",
        partial(exports.perceptron, kind=exports.HALF, dtype=np.float16),
        ("float32", (8,)),
        ("float32", (3,)),
    ),
    served(
        "torch double",
        partial(exports.perceptron, kind=exports.DOUBLE, dtype=np.float64),
        ("float64", (8,)),
        ("float32", (3,)),
    ),
    served("torch image", exports.convolution, ("float32", (3, 8, 8)), ("float32", (4,))),
    served(
        "torch image of any size",
        partial(exports.convolution, height="height"),
        ("float32", (3, 10, 12)),
        ("float32", (4,)),
        shape=(3, 10, 12),
    ),
    served("tensorflow image", exports.tensorflow_image, ("uint8", (8, 8, 3)), ("float32", (3,))),
    served(
        "ids and mask",
        exports.transformer,
        ("int32", (16,)),
        ("float32", None),
        shape=(16,),
        note="last_hidden_state; onnx:{path}#pooler_output",
    ),
    served(
        "ids, mask and segments",
        partial(exports.transformer, names=BERT),
        ("int32", (16,)),
        ("float32", (4,)),
        shape=(16,),
        output="pooler_output",
    ),
    served(
        "several outputs",
        exports.detector,
        ("float32", (5,)),
        ("float32", ()),
        note="scores; onnx:{path}#labels chooses another of labels; images cannot be sent: it is a seq(",
    ),
    served("int64 alone", exports.argmax, ("float32", (6,)), ("int32", ())),
    served("bool", exports.threshold, ("float32", (6,)), ("uint8", (6,))),
    served("no shapes", exports.no_shapes, ("float32", (5,)), ("float32", None), shape=(5,)),
    served("weights beside it", exports.external_data, ("float32", (8,)), ("float32", (3,))),
    served("columns of one type", exports.columns, ("float32", (2,)), ("float32", (1,))),
    served("weights among the inputs", exports.defaulted, ("float32", (5,)), ("float32", (2,))),
]


@pytest.mark.parametrize(("write", "given", "answer", "more"), SERVED)
@pytest.mark.filterwarnings("ignore::FutureWarning:sklearn")  # by attributes that skl2onnx reads
def test_an_export_is_served(tmp_path, write, given, answer, more):
    """With the shapes and dtypes of the wire, a word on what was chosen, and the same answers in a batch."""
    path = tmp_path / "model.onnx"
    write(path)
    name = f"onnx:{path}" + (f"#{more['output']}" if "output" in more else "")
    options = LoadOptions(input_shape=more.get("shape"))
    description = catalog.describe(name, options)
    assert (description.input.dtype, description.input.shape) == given
    assert (description.output.dtype, description.output.shape) == answer
    assert description.max_batch == more.get("batch")
    assert more.get("note", "").format(path=path) in description.note
    assert bool(description.note) == ("note" in more)
    checks = verify(catalog.load(name, options), description, seed=0)
    assert [check for check in checks if not check.ok] == []


@pytest.mark.parametrize(
    ("write", "output", "text"),
    [
        pytest.param(exports.no_shapes, "", "leaves open; name one with --input-shape", id="no shape"),
        pytest.param(
            partial(exports.convolution, height="height"),
            "",
            r"\[3, 'height', 'width'\]; name one with",
            id="free size",
        ),
        pytest.param(exports.argmax, "#nothing", "no output 'nothing'; choose one of class", id="output"),
        pytest.param(exports.detector, "#images", "images cannot be sent: it is a seq", id="sequence"),
        pytest.param(exports.bfloat, "", r"x cannot be sent: it is a tensor\(bfloat16\)", id="bfloat16"),
        pytest.param(exports.flat, "", "no dimension for the batch; export it", id="no batch"),
        pytest.param(
            partial(exports.columns, second=exports.INT64),
            "",
            "a query carries numbers of one type; export it with one input",
            id="columns of two types",
        ),
        pytest.param(
            partial(exports.transformer, names=("input_ids", "attention_mask", "decoder_input_ids")),
            "",
            "some of free size; export it with fixed sizes",
            id="decoder",
        ),
        pytest.param(
            exports.texts,
            "",
            r"x cannot be sent: it has \[2\] texts .*; export it with one, or with numbers",
            id="texts",
        ),
        pytest.param(exports.nothing, "", r"\['n', 0\], which have no elements", id="no elements"),
        pytest.param(
            lambda path: path.write_bytes(b"no model"), "", r"by ONNX Runtime \S+: Load model from", id="damaged"
        ),
    ],
)
def test_what_is_refused_says_what_to_do(tmp_path, write, output, text):
    """In one line."""
    write(tmp_path / "model.onnx")
    with pytest.raises(ModelError, match=text) as refused:
        catalog.describe(f"onnx:{tmp_path}/model.onnx{output}")
    assert "\n" not in str(refused.value)


def test_what_derives_from_ids(tmp_path):
    """Masks are all ones, segments zeros, and positions count."""
    from onnx import helper

    names = ["input_ids", "attention_mask", "token_type_ids", "position_ids"]
    nodes = [helper.make_node("Concat", names, ["y"], axis=1)]
    inputs = [(name, exports.INT64, ["n", 3]) for name in names]
    exports.write(tmp_path / "m.onnx", inputs, [("y", exports.INT64, ["n", 12])], nodes, {})
    answers = catalog.load(f"onnx:{tmp_path}/m.onnx").predict(np.array([[7, 8, 9], [4, 5, 6]], np.int32))
    assert answers.tolist() == [[7, 8, 9, 1, 1, 1, 0, 0, 0, 0, 1, 2], [4, 5, 6, 1, 1, 1, 0, 0, 0, 0, 1, 2]]


def test_inputs_of_any_length_are_answered(tmp_path):
    """Where only the length is free, each as it is; what derives from it has its shape."""
    exports.transformer(tmp_path / "m.onnx")
    name = f"onnx:{tmp_path}/m.onnx#pooler_output"
    description, model = catalog.describe(name), catalog.load(name)
    assert (description.input.shape, description.input_names) == (None, ("input_ids",))
    assert [check for check in verify(model, description, seed=0) if not check.ok] == []
    ids = exports.drawn(128, 4)
    for length in (1, 5):
        answer = model.predict(np.arange(length, dtype=np.int32)[np.newaxis])
        assert np.allclose(answer, ids[:length].mean(axis=0), atol=1e-5)


def test_a_small_vocabulary_is_warmed_up_with_what_it_has(tmp_path):
    """Whatever the ids that are sent later."""
    from onnx import helper

    inputs, outputs = [("input_ids", exports.INT64, ["n", 4])], [("y", exports.FLOAT, ["n", 4, 2])]
    node = helper.make_node("Gather", ["embeddings", "input_ids"], ["y"])
    exports.write(tmp_path / "m.onnx", inputs, outputs, [node], {"embeddings": exports.drawn(3, 2)})
    model = catalog.load(f"onnx:{tmp_path}/m.onnx")
    assert all(check.ok for check in verify(model, catalog.describe(f"onnx:{tmp_path}/m.onnx"), seed=0))


def test_columns_lie_in_the_order_of_the_file(tmp_path):
    """One after the other."""
    exports.columns(tmp_path / "m.onnx")
    assert catalog.describe(f"onnx:{tmp_path}/m.onnx").input_names == ("age", "fare")
    batch = np.array([[1, 0], [0, 1]], np.float32)
    answers = catalog.load(f"onnx:{tmp_path}/m.onnx").predict(batch)
    assert np.allclose(answers, exports.drawn(2, 1))


def test_a_batch_below_the_file_s_is_filled_up(tmp_path):
    """Its answers are those of the same rows; one above is refused."""
    exports.perceptron(tmp_path / "m.onnx", batch=4)
    model = catalog.load(f"onnx:{tmp_path}/m.onnx")
    batch = exports.drawn(4, 8)
    assert np.array_equal(model.predict(batch[:3]), model.predict(batch)[:3])
    with pytest.raises(ValueError, match="batches are of 4, this one is of 5"):
        model.predict(exports.drawn(5, 8))


def test_texts_reach_a_file_that_takes_them(tmp_path):
    """And come back."""
    from onnx import TensorProto, helper

    shape = ["n", 1]
    texts = [("t", TensorProto.STRING, shape)], [("u", TensorProto.STRING, shape)]
    exports.write(tmp_path / "m.onnx", *texts, [helper.make_node("Identity", ["t"], ["u"])], {})
    description = catalog.describe(f"onnx:{tmp_path}/m.onnx")
    assert (description.input.dtype, description.output.dtype) == ("str", "str")
    model = catalog.load(f"onnx:{tmp_path}/m.onnx")
    assert all(check.ok for check in verify(model, description, seed=0))
    assert model.predict(np.array(["é".encode(), b"b"], dtype=object)).tolist() == [["é"], ["b"]]


@pytest.mark.parametrize(
    ("kind", "value", "fits"),
    [
        ("INT64", 2**31 - 1, True),
        ("INT64", 2**31, False),
        ("INT64", -(2**31) - 1, False),
        ("DOUBLE", 1e38, True),
        ("DOUBLE", 1e39, False),
    ],
)
def test_an_answer_that_the_wire_cannot_hold_fails(tmp_path, kind, value, fits):
    """And is named."""
    from onnx import TensorProto, helper

    kind = getattr(TensorProto, kind)
    nodes = [helper.make_node("Cast", ["x"], ["cast"], to=kind), helper.make_node("Add", ["cast", "much"], ["y"])]
    much = np.array(value, {TensorProto.INT64: np.int64, TensorProto.DOUBLE: np.float64}[kind])
    exports.write(tmp_path / "m.onnx", [("x", exports.FLOAT, ["n", 2])], [("y", kind, ["n", 2])], nodes, {"much": much})
    model = catalog.load(f"onnx:{tmp_path}/m.onnx")
    if fits:
        assert model.predict(np.zeros((1, 2), np.float32)).tolist() == [[pytest.approx(value)] * 2]
    else:
        with pytest.raises(ValueError, match="y has the number"):
            model.predict(np.zeros((1, 2), np.float32))
