"""Shared by the image networks: TensorFlow set up for one replica, weights, the forward pass as one graph."""

from __future__ import annotations

import base64
import os
import subprocess
from collections.abc import Callable
from typing import Any

import numpy as np

from model_containers.errors import ModelError
from model_containers.extras import remedy
from model_containers.model import Description, LoadOptions


class Network:
    """One graph with a free batch dimension, from queries to features."""

    def __init__(self, description: Description, graph: Any, tensorflow: Any, *, pad: bool) -> None:
        self.name, self.input, self.output = description.name, description.input, description.output
        self._graph, self._tensorflow, self._pad = graph, tensorflow, pad
        self._pixels = description.pixels

    def predict(self, batch: np.ndarray) -> np.ndarray:
        """Features of images.

        Args:
            batch: pixels, RGB, 0 to 255, ``(n, height, width, 3)``; or base64 of JPEG files, ``(n,)`` bytes objects.

        Returns:
            float32 ``(n, *output.shape)``.
        """
        count = len(batch)
        if self._pad:
            batch = np.concatenate([batch, np.repeat(batch[:1], _next_power_of_two(count) - count, axis=0)])
        if batch.dtype == object:
            given = self._tensorflow.constant([base64.b64decode(text, validate=True) for text in batch])
        else:
            given = self._tensorflow.constant(batch)
        features: np.ndarray = self._graph(given)[0].numpy()[:count]
        return features

    def samples(self, count: int, seed: int) -> np.ndarray:
        """Images of noise, as this network takes them."""
        assert self._pixels is not None
        pixels = np.random.default_rng(seed).integers(0, 256, (count, *self._pixels), dtype=np.uint8)
        if self.input.dtype != "str":
            return pixels.astype(self.input.dtype)
        files = np.empty(count, dtype=object)
        for index, image in enumerate(pixels):
            files[index] = base64.b64encode(self._tensorflow.io.encode_jpeg(image).numpy())
        return files


def load(
    description: Description,
    options: LoadOptions,
    build: Callable[[Any, str | None], Any],
    preprocess: Callable[[Any], Any],
    size: tuple[int, int],
    *,
    fold: bool,
) -> Network:
    """Build a network, give it its weights, and put everything from query to features into one graph.

    Args:
        description: as it shall be loaded.
        options: as it shall be loaded.
        build: `keras.applications` and ``None`` or ``imagenet`` → the network, pixels to features, with no weights or
            with those that Keras downloads; Keras checks their digest.
        preprocess: pixels, 0 to 255 → what the network takes.
        size: height and width that the network takes.
        fold: make the weights constants of the graph, so that batch normalisation is folded into the convolutions:
            about a tenth faster for Inception; for a network without it, only a copy of its weights.

    Raises:
        ModelError: TensorFlow is not installed, there is no GPU, or the weights cannot be had.
    """
    tensorflow, keras = _frameworks(options)
    network = _with_weights(keras, options, build)
    strings = description.input.dtype == "str"
    signature = tensorflow.TensorSpec([None] if strings else [None, None, None, 3], _graph_dtype(description))

    def decode(jpeg: Any) -> Any:
        image = tensorflow.io.decode_jpeg(jpeg, channels=3)
        return tensorflow.image.resize(image, size)

    @tensorflow.function(input_signature=[signature])  # type: ignore[untyped-decorator]
    def features(queries: Any) -> Any:
        if strings:
            pixels = tensorflow.map_fn(decode, queries, fn_output_signature=tensorflow.float32)
        else:
            pixels = tensorflow.cast(queries, tensorflow.float32)
            if description.input.shape is None or description.input.shape[:2] != size or description.input.other_shapes:
                pixels = tensorflow.image.resize(pixels, size)
        pixels = tensorflow.ensure_shape(pixels, [None, *size, 3])
        return [network(preprocess(pixels), training=False)]

    graph = _folded(features) if fold else features.get_concrete_function()
    if not options.xla:
        return Network(description, graph, tensorflow, pad=False)
    compiled = Network(description, tensorflow.function(graph, jit_compile=True), tensorflow, pad=True)
    count = 1
    while count < options.max_batch:  # each size is compiled on its own; the largest is when the replica warms up
        compiled.predict(compiled.samples(count, 0))
        count *= 2
    return compiled


def _folded(function: Any) -> Any:
    from tensorflow.python.framework.convert_to_constants import (  # noqa: PLC0415
        convert_variables_to_constants_v2,
    )

    return convert_variables_to_constants_v2(function.get_concrete_function())


def _graph_dtype(description: Description) -> str:
    return "string" if description.input.dtype == "str" else description.input.dtype


def _next_power_of_two(count: int) -> int:
    return 1 << (count - 1).bit_length()


def _frameworks(options: LoadOptions) -> tuple[Any, Any]:
    """Import TensorFlow and Keras with as many threads as asked; the variables must be set before."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    os.environ["OMP_NUM_THREADS"] = str(options.threads)
    try:
        import keras  # noqa: PLC0415 - the one file that uses it
        import tensorflow  # noqa: PLC0415
    except ImportError as error:
        raise ModelError(f"TensorFlow is not installed ({error}); {remedy('tensorflow')}") from None
    tensorflow.config.threading.set_intra_op_parallelism_threads(options.threads)
    tensorflow.config.threading.set_inter_op_parallelism_threads(1)
    gpus = tensorflow.config.list_physical_devices("GPU")
    if not options.gpu:
        tensorflow.config.set_visible_devices([], "GPU")
    elif not gpus:
        raise ModelError(f"TensorFlow finds no GPU; leave the GPU out (--gpus none) or {remedy('tensorflow-gpu')}")
    else:
        _limit_memory(tensorflow, gpus[0], options.gpu_memory_fraction)
    return tensorflow, keras


def _limit_memory(tensorflow: Any, gpu: Any, fraction: float) -> None:
    """Let TensorFlow take a share of the GPU's memory, or what it needs where the driver does not tell the whole."""
    query = ["nvidia-smi", "--query-gpu=memory.total", "--format=csv,noheader,nounits"]
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    try:
        answer = subprocess.run(
            [*query, *([f"--id={visible}"] if visible else [])], capture_output=True, text=True, timeout=10, check=True
        )
        total_mib = int(answer.stdout.splitlines()[0])
    except (OSError, subprocess.SubprocessError, ValueError, IndexError):
        tensorflow.config.experimental.set_memory_growth(gpu, True)
        return
    limit = tensorflow.config.LogicalDeviceConfiguration(memory_limit=int(fraction * total_mib))
    tensorflow.config.set_logical_device_configuration(gpu, [limit])


def _with_weights(keras: Any, options: LoadOptions, build: Callable[[Any, str | None], Any]) -> Any:
    try:
        if options.weights == "imagenet":
            return build(keras.applications, "imagenet")
        network = build(keras.applications, None)
        if options.weights == "seeded":
            _seed_weights(network, keras, options.seed)
        else:
            network.load_weights(options.weights)
    except Exception as error:  # Keras raises whatever the network or the file format raises
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise ModelError(f"--weights {options.weights}: cannot be loaded ({reason}); use seeded or a file") from None
    return network


def _seed_weights(network: Any, keras: Any, seed: int) -> None:
    """He initialisation (He et al. 2015), which keeps the signal's size from layer to layer, drawn by numpy.

    Numpy's generator gives the same weights with every version of TensorFlow.
    """
    generator = np.random.default_rng(seed)
    for layer in network.layers:
        if isinstance(layer, keras.layers.Conv2D | keras.layers.Dense):
            shape = layer.kernel.shape
            deviation = np.float32(np.sqrt(2 / np.prod(shape[:-1])))
            layer.kernel.assign(generator.standard_normal(shape, dtype=np.float32) * deviation)
