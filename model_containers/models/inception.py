"""Inception V3 (Szegedy et al. 2015) without its classifier: an image's pooled features, by Keras and TensorFlow."""

from __future__ import annotations

from typing import Any

from model_containers.model import Description, LoadOptions
from model_containers.models import _keras


def load(description: Description, options: LoadOptions) -> _keras.Network:
    """Load it, see `model_containers.models._keras.load`.

    Args:
        description: of this model.
        options: weights, GPU, threads and compilation.
    """
    return _keras.load(description, options, _build, _preprocess, (299, 299), fold=True)


def _build(applications: Any, weights: str | None) -> Any:
    return applications.InceptionV3(include_top=False, weights=weights, pooling="avg", input_shape=(299, 299, 3))


def _preprocess(pixels: Any) -> Any:
    """To -1 to 1, as it was trained."""
    return pixels * (1 / 127.5) - 1.0
