"""Inception V3 without its classifier: an image's pooled features, by Keras and TensorFlow."""

from __future__ import annotations

import os
import subprocess
from typing import Any

import numpy as np

from model_containers.errors import ModelError
from model_containers.model import Description, LoadOptions


class Inception:
    """One graph with a free batch dimension, its weights constants in it."""

    def __init__(self, description: Description, graph: Any, tensorflow: Any) -> None:
        self.input, self.output = description.input, description.output
        self._graph, self._constant = graph, tensorflow.constant

    def predict(self, batch: np.ndarray) -> np.ndarray:
        """Features of pixels.

        Args:
            batch: float32 ``(n, 299, 299, 3)``, RGB, 0 to 255.

        Returns:
            float32 ``(n, 2048)``.
        """
        features: np.ndarray = self._graph(self._constant(batch))[0].numpy()
        return features


def load(description: Description, options: LoadOptions) -> Inception:
    """Build the network, give it its weights, and freeze it into one graph.

    Raises:
        ModelError: TensorFlow is not installed, there is no GPU, or the weights cannot be had.
    """
    tensorflow, keras = _frameworks(options)
    network = keras.applications.InceptionV3(
        include_top=False, weights=None, pooling="avg", input_shape=description.input.shape
    )
    _set_weights(network, keras, options)

    shape = description.input.shape or ()

    @tensorflow.function(  # type: ignore[untyped-decorator]
        input_signature=[tensorflow.TensorSpec([None, *shape], "float32")]
    )
    def features(pixels: Any) -> Any:
        return network(pixels * (1 / 127.5) - 1.0, training=False)

    # As constants the weights can be folded into the convolutions: about a tenth faster.
    from tensorflow.python.framework.convert_to_constants import (  # noqa: PLC0415
        convert_variables_to_constants_v2,
    )

    graph = convert_variables_to_constants_v2(features.get_concrete_function())
    return Inception(description, graph, tensorflow)


def _frameworks(options: LoadOptions) -> tuple[Any, Any]:
    """Import TensorFlow and Keras with as many threads as asked; the variables must be set before."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    os.environ["OMP_NUM_THREADS"] = str(options.threads)
    try:
        import keras  # noqa: PLC0415 - the one file that uses it
        import tensorflow  # noqa: PLC0415
    except ImportError as error:
        raise ModelError(f"TensorFlow is not installed ({error}): pip install 'loadgen[models]'") from None
    tensorflow.config.threading.set_intra_op_parallelism_threads(options.threads)
    tensorflow.config.threading.set_inter_op_parallelism_threads(1)
    gpus = tensorflow.config.list_physical_devices("GPU")
    if not options.gpu:
        tensorflow.config.set_visible_devices([], "GPU")
    elif not gpus:
        raise ModelError("TensorFlow finds no GPU: leave the GPU out (--gpus none) or install its GPU build")
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


def _set_weights(network: Any, keras: Any, options: LoadOptions) -> None:
    if options.weights == "seeded":
        _seed_weights(network, keras, options.seed)
        return
    try:
        if options.weights == "imagenet":
            pretrained = keras.applications.InceptionV3(include_top=False, weights="imagenet", pooling="avg")
            network.set_weights(pretrained.get_weights())
        else:
            network.load_weights(options.weights)
    except Exception as error:  # Keras raises whatever the network or the file format raises
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise ModelError(f"weights {options.weights} cannot be had ({reason}): use seeded or a file") from None


def _seed_weights(network: Any, keras: Any, seed: int) -> None:
    """He initialisation (He et al. 2015), which keeps the signal's size from layer to layer, drawn by numpy.

    Numpy's generator gives the same weights with every version of TensorFlow.
    """
    generator = np.random.default_rng(seed)
    for layer in network.layers:
        if isinstance(layer, keras.layers.Conv2D):
            shape = layer.kernel.shape
            deviation = np.float32(np.sqrt(2 / np.prod(shape[:3])))
            layer.kernel.assign(generator.standard_normal(shape, dtype=np.float32) * deviation)
