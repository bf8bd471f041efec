"""Trains the classifiers on seeded synthetic data and keeps their artefacts.

The data sets and trained files of the original are lost; what is known is that its kernel models cost what some 2000
training vectors cost, so that is how many there are here. Inputs are uniform in [0, 1), as the queries are. An
input's class is the one of ten random directions along which it lies farthest. So classes are of like size, and
queries fall into several of them.
"""

from __future__ import annotations

import hashlib
import importlib
import json
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import numpy as np

from model_containers import artefacts
from model_containers.errors import ModelError
from model_containers.extras import remedy
from model_containers.model import Description

CLASSES = 10
VECTORS = {"lgbm": 2000, "kpca-svm": 2000, "kernel-svm": 2000, "elastic-net": 1000}
"""Training vectors: what a kernel model's answer costs is in proportion to them, the others do not depend on them."""

_LIBRARIES = {"lightgbm": "lightgbm", "sklearn": "scikit-learn"}
_FORMAT = 1
"""Counted up when the data, a model's parameters or its file change."""


def artefact(description: Description, seed: int) -> Path:
    """The file that a classifier is loaded from, made now if it is not there.

    Args:
        description: of a classifier of the catalogue.
        seed: of data and training; each has a file of its own.

    Raises:
        ModelError: the library is not installed, or the file cannot be kept or is not what was written.
    """
    library = _LIBRARIES[description.framework]
    try:
        recipe = {"format": _FORMAT, "vectors": VECTORS[description.name], "library": f"{library} {version(library)}"}
    except PackageNotFoundError:
        raise ModelError(f"{library} is not installed; {remedy(description.framework)}") from None
    key = hashlib.sha256(json.dumps(recipe, sort_keys=True).encode()).hexdigest()[:12]
    module: Any = importlib.import_module(f"model_containers.models.{description.name.replace('-', '_')}")

    def make(path: Path) -> None:
        inputs, labels = training_data(description, seed)
        module.fit(inputs, labels, seed, path)

    return artefacts.get(f"{description.name}-seed{seed}-{key}", module.FILE, make)


def training_data(description: Description, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Inputs, float32 ``(vectors, features)`` in [0, 1), and their classes, int64 ``(vectors,)`` of 0 to 9.

    Args:
        description: of a classifier, whose input has one dimension.
        seed: the same seed gives the same on every machine.
    """
    assert description.input.shape is not None
    (features,) = description.input.shape
    generator = np.random.default_rng([seed, 1])  # another stream than that of the queries
    inputs = generator.random((VECTORS[description.name], features), dtype=np.float32)
    directions = generator.standard_normal((features, CLASSES), dtype=np.float32)
    return inputs, np.argmax((inputs - 0.5) @ directions, axis=1)
