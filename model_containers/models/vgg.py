"""VGG16 (Simonyan and Zisserman 2014) up to its second fully connected layer: features, by Keras and TensorFlow."""

from __future__ import annotations

from typing import Any

from model_containers.model import Description, LoadOptions
from model_containers.models import _keras

_MEANS_BGR = (103.939, 116.779, 123.68)
"""The means of ImageNet's pixels, which were subtracted when it was trained."""


def load(description: Description, options: LoadOptions) -> _keras.Network:
    """Load it, see `model_containers.models._keras.load`.

    Args:
        description: of this model.
        options: weights, GPU, threads and compilation.
    """
    return _keras.load(description, options, _build, _preprocess, (224, 224), fold=False)


def _build(applications: Any, weights: str | None) -> Any:
    whole = applications.VGG16(include_top=True, weights=weights)
    return type(whole)(whole.input, whole.get_layer("fc2").output)


def _preprocess(pixels: Any) -> Any:
    """From RGB to BGR around 0."""
    return pixels[..., ::-1] - _MEANS_BGR
