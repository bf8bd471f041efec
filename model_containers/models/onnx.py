"""A model from an ONNX file, by ONNX Runtime; shapes and dtypes are those of the file.

`model_containers.models._onnx_graph` chooses what is sent. A value that does not fit the dtype that it is cast to fails
its request. A batch below a fixed batch size is filled up with its last row.
"""

from __future__ import annotations

import contextlib
import mmap
import os
import re
from pathlib import Path
from typing import Any

import numpy as np

from model_containers.artefacts import digest_of_all
from model_containers.data_types import DataType
from model_containers.errors import ModelError
from model_containers.extras import remedy
from model_containers.model import TOLERANCE, Description, LoadOptions, TensorSpec
from model_containers.models._onnx_graph import TOKENS, Graph, Tensor, graph_of, note, tensors_of
from model_containers.own_models import near_file

_HALF_TOLERANCE = 4 * float(np.finfo(np.float16).eps)
"""See `Description.tolerance`: of answers in float16."""

_LOCATION = re.compile(rb"\x0a\x08location\x12([\x80-\xff]?[\x00-\x7f])", re.DOTALL)
"""The entry of protocol buffers that names the file of a tensor's data, up to the length of the name."""

_LFS = b"version https://git-lfs.github.com/spec/"
"""Begins the text that stands for a file in a checkout without Git LFS."""

_CODE = re.compile(r"^\[ONNXRuntimeError\] : \d+ : \w+ : ")
"""Begins the messages of ONNX Runtime."""


class OnnxModel:
    """One session.

    Args:
        description: of the file's model.
        graph: what is sent of it.
        session: of ONNX Runtime; the model owns it.
    """

    def __init__(self, description: Description, graph: Graph, session: Any) -> None:
        self.name, self.input, self.output = description.name, description.input, description.output
        self._graph, self._session = graph, session

    def predict(self, batch: np.ndarray) -> np.ndarray:
        """Answers, in the wire's dtype.

        Raises:
            ValueError: a number does not fit the dtype that it is cast to.
        """
        graph, count = self._graph, len(batch)
        if graph.rows is not None and count != graph.rows:
            if count > graph.rows:
                raise ValueError(f"the file's batches are of {graph.rows}, this one is of {count}")
            batch = np.concatenate([batch, np.repeat(batch[-1:], graph.rows - count, axis=0)])
        feeds, start, flat = {}, 0, batch.reshape(len(batch), -1)
        for tensor, shape in graph.inputs:
            size = flat.shape[1] if shape is None else int(np.prod(shape))
            part = flat if shape is None else flat[:, start : start + size].reshape(len(batch), *shape)
            feeds[tensor.name] = _decoded(part) if tensor.dtype == "str" else _cast(part, tensor.dtype, tensor.name)
            start += size
        for tensor in graph.derived:
            feeds[tensor.name] = _derived(tensor, feeds[TOKENS].shape)
        answers = np.asarray(self._session.run([graph.output.name], feeds)[0])
        if graph.rows is not None:
            answers = answers[:count]
        return answers if self.output.dtype == "str" else _cast(answers, self.output.dtype, graph.output.name)


def describe(file: str, options: LoadOptions) -> Description:
    """What a file holds.

    Args:
        file: the ONNX file's path, and after a # the output that answers, where not the first.
        options: type and shape of its input, where those of the file are not meant.

    Raises:
        ModelError: ONNX Runtime is not installed, or the file cannot be read or cannot be served.
    """
    path, output = _split(file)
    session = _session(path, LoadOptions())
    return _describe(path, graph_of(path, output, session, options), session, options, named=output is not None)


def load(file: str, options: LoadOptions) -> OnnxModel:
    """Load a file.

    Args:
        file: as for `describe`.
        options: GPU, threads, and what `describe` takes.

    Raises:
        ModelError: as `describe`.
    """
    path, output = _split(file)
    session = _session(path, options)
    graph = graph_of(path, output, session, options)
    return OnnxModel(_describe(path, graph, session, options, named=output is not None), graph, session)


def _split(file: str) -> tuple[str, str | None]:
    """A file's path, and the output that was named."""
    file = os.path.expanduser(file)
    path, sign, output = file.rpartition("#")
    return (path, output) if sign and not Path(file).is_file() else (file, None)


def _describe(path: str, graph: Graph, session: Any, options: LoadOptions, *, named: bool) -> Description:
    output, (first, shape) = graph.output, graph.inputs[0]
    if len(graph.inputs) > 1:
        shape = (sum(int(np.prod(part or ())) for _, part in graph.inputs),)
    given = TensorSpec((1,) if shape == () else shape, first.wire_dtype)
    if options.input_type not in (None, given.data_type):
        raise ModelError(f"{path}: takes inputs of {given.data_type.canonical}; leave --input-type out")
    dtype = "float32" if output.wire_dtype == "float64" else output.wire_dtype
    answer = TensorSpec(output.shape, dtype)
    exact = answer.data_type is DataType.STRINGS or np.dtype(dtype).kind in "iu"
    return Description(
        name=re.sub(r"[^A-Za-z0-9_.-]", "-", Path(path).stem),
        framework=f"onnx:{path}",
        input=given,
        output=answer,
        takes=(given.data_type.canonical,),
        answer="label" if exact and answer.shape in ((), (1,)) else "features",
        tolerance=0.0 if exact else _HALF_TOLERANCE if output.dtype == "float16" else TOLERANCE,
        weights=weights_text(path),
        gpu_capable=True,
        max_batch=graph.rows,
        input_names=tuple(tensor.name for tensor, _ in graph.inputs),
        note="" if named else note(path, output, tensors_of(session.get_outputs())),
    )


def _cast(array: np.ndarray, dtype: str, name: str) -> np.ndarray:
    """An array in another dtype; numbers are rounded to a shorter float, but not to another whole number.

    Args:
        array: numbers.
        dtype: to cast them to.
        name: what they are, for the error.

    Raises:
        ValueError: one does not fit.
    """
    if array.dtype == dtype:
        return array
    with np.errstate(over="ignore", invalid="ignore"):
        cast = array.astype(dtype)
    if cast.dtype.kind == "f":
        fits = np.isfinite(cast) | ~np.isfinite(array)
    else:
        fits = np.ones(1, bool) if cast.dtype.kind == "b" or array.dtype.kind == "b" else cast == array
    if not fits.all():
        raise ValueError(f"{name} has the number {array[~fits].reshape(-1)[0]}, which {dtype} does not hold")
    return cast


def _decoded(texts: np.ndarray) -> np.ndarray:
    decoded = np.empty(texts.shape, dtype=object)
    decoded.reshape(-1)[:] = [text.decode() for text in texts.reshape(-1)]
    return decoded


def _derived(tensor: Tensor, shape: tuple[int, ...]) -> np.ndarray:
    match tensor.name:
        case "attention_mask":
            return np.ones(shape, tensor.dtype)
        case "token_type_ids":
            return np.zeros(shape, tensor.dtype)
        case _:
            return np.broadcast_to(np.arange(shape[-1], dtype=tensor.dtype), shape)


def weights_text(path: str) -> str:
    """Which weights exactly, for the results: the file, and the digest of it and of its external data."""
    return f"file:{path} sha256:{digest_of_all(Path(path), _external_files(Path(path)))}"


def _external_files(path: Path) -> set[Path]:
    """The files beside an ONNX file that hold tensors of it, in whichever part of the model these are."""
    files = set[Path]()
    with path.open("rb") as stream, mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ) as content:
        for found in _LOCATION.finditer(content):
            length = found[1][0] & 0x7F | (found[1][1] << 7 if len(found[1]) > 1 else 0)
            name = content[found.end() : found.end() + length].decode("utf-8", "replace")
            with contextlib.suppress(OSError, ValueError):  # another text that looks like it, which names no file
                if (path.parent / name).is_file():
                    files.add(path.parent / name)
    return files


def _is_pointer(path: str) -> bool:
    with open(path, "rb") as stream:
        return stream.read(len(_LFS)) == _LFS


def _session(path: str, options: LoadOptions) -> Any:
    try:
        import onnxruntime  # noqa: PLC0415 - the one file that uses it
    except ImportError as error:
        raise ModelError(f"ONNX Runtime is not installed ({error}); {remedy('onnx')}") from None
    if not Path(path).is_file():
        other = Path(f"{path}.onnx")
        meant = other if other.is_file() else near_file(Path(path))
        hint = "name an ONNX file, onnx:FILE" if meant is None else f"did you mean onnx:{meant}?"
        raise ModelError(f"{path or repr(path)}: no such file; {hint}")
    settings = onnxruntime.SessionOptions()
    settings.intra_op_num_threads, settings.inter_op_num_threads = options.threads, 1
    settings.log_severity_level = 4  # what fails is raised as well
    if options.gpu and "CUDAExecutionProvider" not in onnxruntime.get_available_providers():
        raise ModelError("ONNX Runtime finds no GPU; leave the GPU out (--gpus none) or pip install onnxruntime-gpu")
    providers = ["CUDAExecutionProvider"] * options.gpu + ["CPUExecutionProvider"]
    try:
        return onnxruntime.InferenceSession(path, settings, providers=providers)
    except Exception as error:  # ONNX Runtime raises its own, undocumented types
        if _is_pointer(path):
            raise ModelError(f"{path}: a pointer of Git LFS, not the file; fetch it (git lfs pull)") from None
        reason = _CODE.sub("", str(error).splitlines()[0])
        raise ModelError(f"{path}: cannot be loaded by ONNX Runtime {onnxruntime.__version__}: {reason}") from None
