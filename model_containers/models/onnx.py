"""A model from an ONNX file, by ONNX Runtime; shapes and dtypes are those of the file."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np

from model_containers.artefacts import digest
from model_containers.data_types import DataType
from model_containers.errors import ModelError
from model_containers.model import Description, LoadOptions, TensorSpec

_DTYPES = {
    "tensor(float)": "float32",
    "tensor(double)": "float64",
    "tensor(int32)": "int32",
    "tensor(uint8)": "uint8",
    "tensor(int8)": "int8",
}
"""ONNX types that the wire can carry."""


class OnnxModel:
    """One session; the first of the file's outputs answers.

    Args:
        description: of the file's model.
        session: of ONNX Runtime; the model owns it.
    """

    def __init__(self, description: Description, session: Any) -> None:
        self.name, self.input, self.output = description.name, description.input, description.output
        self._session = session
        self._feed, self._fetch = session.get_inputs()[0].name, [session.get_outputs()[0].name]

    def predict(self, batch: np.ndarray) -> np.ndarray:
        """Answers, as the file declares them."""
        shape = (len(batch), *(self.input.shape or batch.shape[1:]))
        answers: np.ndarray = self._session.run(self._fetch, {self._feed: batch.reshape(shape)})[0]
        return answers


def describe(path: str, options: LoadOptions) -> Description:
    """What a file holds.

    Args:
        path: of the ONNX file.
        options: type and shape of its input, where those of the file are not meant.

    Raises:
        ModelError: ONNX Runtime is not installed, or the file cannot be read or cannot be served.
    """
    return _describe(path, _session(path, LoadOptions()), options)


def load(description: Description, options: LoadOptions) -> OnnxModel:
    """Load the file that a description names.

    Args:
        description: as `describe` gave it.
        options: GPU and threads.

    Raises:
        ModelError: as `describe`.
    """
    return OnnxModel(description, _session(description.framework.removeprefix("onnx:"), options))


def _describe(path: str, session: Any, options: LoadOptions) -> Description:
    inputs, outputs = session.get_inputs(), session.get_outputs()
    if len(inputs) != 1:
        names = ", ".join(tensor.name for tensor in inputs)
        raise ModelError(f"{path} has {len(inputs)} inputs ({names}); a query carries one: export it with one")
    given, answer = _spec(path, inputs[0]), _spec(path, outputs[0])
    if answer.data_type is DataType.DOUBLES:
        raise ModelError(f"{path} answers with doubles, which no answer can carry: export it with float outputs")
    if options.input_type not in (None, given.data_type):
        raise ModelError(f"{path} takes {given.data_type.canonical}: leave --input-type out")
    if options.input_shape is not None:
        declared = inputs[0].shape[1:]
        if len(declared) != len(options.input_shape) or any(
            isinstance(size, int) and size != wanted for size, wanted in zip(declared, options.input_shape, strict=True)
        ):
            raise ModelError(f"--input-shape: {path} takes {declared}")
        given = TensorSpec(options.input_shape, given.dtype)
    elif given.shape is None:
        raise ModelError(f"{path} takes inputs of {inputs[0].shape[1:]}: say which with --input-shape")
    return Description(
        name=re.sub(r"[^A-Za-z0-9_.-]", "-", Path(path).stem),
        framework=f"onnx:{path}",
        input=given,
        output=answer,
        takes=(given.data_type.canonical,),
        weights=f"file:{path} sha256:{digest(Path(path))}",
        gpu_capable=True,
    )


def _spec(path: str, tensor: Any) -> TensorSpec:
    """One tensor without its batch dimension; a shape of None where a further dimension is free."""
    if tensor.type not in _DTYPES:
        raise ModelError(f"{path}: {tensor.name} is a {tensor.type}, which cannot be sent: {', '.join(_DTYPES)} can")
    if not tensor.shape or isinstance(tensor.shape[0], int):
        raise ModelError(f"{path}: {tensor.name} has the shape {tensor.shape}: export it with a free first dimension")
    shape = tuple(tensor.shape[1:])
    return TensorSpec(shape if all(isinstance(size, int) for size in shape) else None, _DTYPES[tensor.type])


def _session(path: str, options: LoadOptions) -> Any:
    try:
        import onnxruntime  # noqa: PLC0415 - the one file that uses it
    except ImportError as error:
        raise ModelError(f"ONNX Runtime is not installed ({error}): pip install 'loadgen[onnx]'") from None
    if not Path(path).is_file():
        raise ModelError(f"there is no file {path}: name an ONNX file, onnx:FILE")
    settings = onnxruntime.SessionOptions()
    settings.intra_op_num_threads, settings.inter_op_num_threads = options.threads, 1
    settings.log_severity_level = 3
    if options.gpu and "CUDAExecutionProvider" not in onnxruntime.get_available_providers():
        raise ModelError("ONNX Runtime finds no GPU: leave the GPU out (--gpus none) or pip install onnxruntime-gpu")
    providers = ["CUDAExecutionProvider"] * options.gpu + ["CPUExecutionProvider"]
    try:
        return onnxruntime.InferenceSession(path, settings, providers=providers)
    except Exception as error:  # ONNX Runtime raises its own, undocumented types
        raise ModelError(f"{path} cannot be loaded: {str(error).splitlines()[0]}") from None
