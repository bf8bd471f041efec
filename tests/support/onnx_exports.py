"""ONNX files as scikit-learn, PyTorch, TensorFlow and Transformers export them, made here: small, with seeded weights.

Those of scikit-learn are made by skl2onnx. The others are written by hand with the names, dtypes and shapes that the
exporters give.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from onnx import TensorProto, helper, numpy_helper, save

FLOAT, HALF, DOUBLE, INT64 = TensorProto.FLOAT, TensorProto.FLOAT16, TensorProto.DOUBLE, TensorProto.INT64
_Info = tuple[str, int, list[Any] | None]


def write(path: Path, inputs: list[_Info], outputs: list[_Info], nodes: list[Any], weights: dict[str, Any]) -> None:
    """Write a graph.

    Args:
        path: of the file.
        inputs: name, type and shape of each; no shape for None.
        outputs: likewise.
        nodes: of `onnx.helper`.
        weights: arrays, by name.
    """
    given, answers = ([helper.make_tensor_value_info(*info) for info in infos] for infos in (inputs, outputs))
    constants = [numpy_helper.from_array(np.asarray(array), name) for name, array in weights.items()]
    graph = helper.make_graph(nodes, "main_graph", given, answers, constants)
    save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), path)


def drawn(*shape: int, dtype: Any = np.float32) -> np.ndarray:
    """Weights."""
    return np.random.default_rng(0).standard_normal(shape).astype(dtype)


def perceptron(path: Path, batch: Any = "batch", kind: int = FLOAT, dtype: Any = np.float32) -> None:
    """`torch.onnx.export` of a linear layer, with a free or a fixed batch."""
    node = helper.make_node("Gemm", ["input", "fc.weight", "fc.bias"], ["output"], transB=1)
    weights = {"fc.weight": drawn(3, 8, dtype=dtype), "fc.bias": drawn(3, dtype=dtype)}
    write(path, [("input", kind, [batch, 8])], [("output", kind, [batch, 3])], [node], weights)


def convolution(path: Path, height: Any = 8) -> None:
    """An image model of PyTorch: channels first; height and width free or fixed."""
    nodes = [
        helper.make_node("Conv", ["images", "weight"], ["features"]),
        helper.make_node("GlobalAveragePool", ["features"], ["pooled"]),
        helper.make_node("Flatten", ["pooled"], ["logits"]),
    ]
    image = ["batch", 3, height, 8 if isinstance(height, int) else "width"]
    write(path, [("images", FLOAT, image)], [("logits", FLOAT, ["batch", 4])], nodes, {"weight": drawn(4, 3, 3, 3)})


def tensorflow_image(path: Path) -> None:
    """A tf2onnx model of bytes: channels last, and a name for the free batch that it made up."""
    nodes = [
        helper.make_node("Cast", ["input_1"], ["floats"], to=FLOAT),
        helper.make_node("ReduceMean", ["floats"], ["dense"], axes=[1, 2], keepdims=0),
    ]
    write(
        path,
        [("input_1", TensorProto.UINT8, ["unk__7", 8, 8, 3])],
        [("dense", FLOAT, ["unk__8", 3])],
        nodes,
        {},
    )


def transformer(path: Path, names: tuple[str, ...] = ("input_ids", "attention_mask"), rank: int = 2) -> None:
    """A Transformers encoder: ids and what goes with them, a hidden state for each token, and a pooled one."""
    nodes = [
        helper.make_node("Gather", ["embeddings", "input_ids"], ["embedded"]),
        helper.make_node("Cast", ["attention_mask"], ["mask"], to=FLOAT),
        helper.make_node("Unsqueeze", ["mask", "last"], ["column"]),
        helper.make_node("Mul", ["embedded", "column"], ["last_hidden_state"]),
        helper.make_node("ReduceMean", ["last_hidden_state"], ["pooler_output"], axes=[1], keepdims=0),
    ]
    shape = ["batch_size", "sequence_length"][:rank]
    write(
        path,
        [(name, FLOAT if name == "pixel_values" else INT64, shape) for name in names],
        [
            ("last_hidden_state", FLOAT, ["batch_size", "sequence_length", 4]),
            ("pooler_output", FLOAT, ["batch_size", 4]),
        ],
        nodes,
        {"embeddings": drawn(128, 4), "last": np.array([-1])},
    )


def detector(path: Path) -> None:
    """Several outputs, of which the first is no tensor that the wire carries."""
    nodes = [
        helper.make_node("SequenceConstruct", ["image"], ["images"]),
        helper.make_node("ReduceMax", ["image"], ["scores"], axes=[1], keepdims=0),
        helper.make_node("ArgMax", ["image"], ["labels"], axis=1, keepdims=0),
    ]
    outputs: list[_Info] = [("scores", FLOAT, ["batch"]), ("labels", INT64, ["batch"])]
    write(path, [("image", FLOAT, ["batch", 5])], outputs, nodes, {})
    import onnx

    model = onnx.load(path)
    images = helper.make_tensor_sequence_value_info("images", FLOAT, None)
    model.graph.output.insert(0, images)
    save(model, path)


def argmax(path: Path) -> None:
    """A class as int64, of a model that answers with nothing else."""
    nodes = [helper.make_node("ArgMax", ["x"], ["class"], axis=1, keepdims=0)]
    write(path, [("x", FLOAT, ["N", 6])], [("class", INT64, ["N"])], nodes, {})


def threshold(path: Path) -> None:
    """A mask of bool."""
    nodes = [helper.make_node("Greater", ["x", "half"], ["mask"])]
    write(path, [("x", FLOAT, ["N", 6])], [("mask", TensorProto.BOOL, ["N", 6])], nodes, {"half": np.float32(0.5)})


def no_shapes(path: Path) -> None:
    """Exported without shapes."""
    nodes = [helper.make_node("MatMul", ["x", "w"], ["y"])]
    write(path, [("x", FLOAT, None)], [("y", FLOAT, None)], nodes, {"w": drawn(5, 2)})


def external_data(path: Path) -> None:
    """Weights in a file of their own."""
    perceptron(path)
    import onnx

    save(
        onnx.load(path),
        path,
        save_as_external_data=True,
        all_tensors_to_one_file=True,
        location=f"{path.name}.data",
        size_threshold=0,
    )


def columns(path: Path, second: int = FLOAT) -> None:
    """One input for each column of a table."""
    nodes = [
        helper.make_node("Cast", ["fare"], ["fare_f"], to=FLOAT),
        helper.make_node("Concat", ["age", "fare_f"], ["table"], axis=1),
        helper.make_node("MatMul", ["table", "w"], ["variable"]),
    ]
    inputs: list[_Info] = [("age", FLOAT, [None, 1]), ("fare", second, [None, 1])]
    write(path, inputs, [("variable", FLOAT, [None, 1])], nodes, {"w": drawn(2, 1)})


def defaulted(path: Path) -> None:
    """Weights among the inputs, as exporters of 2019 wrote them."""
    nodes = [helper.make_node("MatMul", ["x", "w"], ["y"])]
    write(path, [("x", FLOAT, ["n", 5]), ("w", FLOAT, [5, 2])], [("y", FLOAT, ["n", 2])], nodes, {"w": drawn(5, 2)})


def bfloat(path: Path) -> None:
    """A type that no array of numpy has."""
    kind = TensorProto.BFLOAT16
    write(path, [("x", kind, ["n", 5])], [("y", kind, ["n", 5])], [helper.make_node("Identity", ["x"], ["y"])], {})


def flat(path: Path) -> None:
    """Without a dimension for the batch."""
    write(path, [("x", FLOAT, [5])], [("y", FLOAT, [5])], [helper.make_node("Relu", ["x"], ["y"])], {})


def texts(path: Path) -> None:
    """Several columns of texts in one input."""
    nodes = [helper.make_node("Identity", ["x"], ["y"])]
    write(path, [("x", TensorProto.STRING, ["n", 2])], [("y", TensorProto.STRING, ["n", 2])], nodes, {})


def nothing(path: Path) -> None:
    """Inputs without elements."""
    write(path, [("x", FLOAT, ["n", 0])], [("y", FLOAT, ["n", 0])], [helper.make_node("Relu", ["x"], ["y"])], {})


def sklearn(
    make: Callable[[np.ndarray, np.ndarray], Any], dtype: Any = np.float32, **options: Any
) -> Callable[[Path], None]:
    """What skl2onnx makes of an estimator.

    Args:
        make: of inputs ``(n, 4)`` and classes 0, 1 and 2, fits it.
        dtype: of its inputs.
        options: of the conversion.
    """

    def write_it(path: Path) -> None:
        from skl2onnx import to_onnx

        inputs = np.random.default_rng(0).random((60, 4)).astype(dtype)
        classes = np.arange(60) % 3
        inputs[:, 0] += classes
        model = to_onnx(make(inputs, classes), inputs[:1], options=options or None, target_opset=17)
        path.write_bytes(model.SerializeToString())

    return write_it
