"""A LightGBM classifier (Ke et al. 2017) on features of Inception: 100 trees for each class, LightGBM's defaults.

Training looks at a twentieth of the features per tree, so that it takes seconds; an answer walks the same trees.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np

from model_containers import train
from model_containers.errors import ModelError
from model_containers.extras import remedy
from model_containers.model import Description, LoadOptions

FILE = "model.txt"
"""LightGBM's own text format, which runs no code when it is read."""

TREES = 100
"""Per class."""


class Trees:
    """A booster that answers a batch with one call.

    Args:
        description: of this model.
        booster: loaded; the model owns it.
        threads: for one prediction.
    """

    def __init__(self, description: Description, booster: Any, threads: int) -> None:
        self.name, self.input, self.output = description.name, description.input, description.output
        self._booster, self._threads = booster, threads

    def predict(self, batch: np.ndarray) -> np.ndarray:
        """Class probabilities, float32 ``(n, 10)``, of float32 ``(n, 2048)``."""
        answers: np.ndarray = self._booster.predict(batch, num_threads=self._threads)
        return answers.astype(np.float32).reshape(len(batch), -1)


def fit(inputs: np.ndarray, labels: np.ndarray, seed: int, path: Path) -> None:
    """Fit it and write it.

    Args:
        inputs: float32 ``(n, features)``.
        labels: int64 ``(n,)``, a class each.
        seed: of the training.
        path: of the file to write.

    Raises:
        ModelError: LightGBM is not installed.
    """
    lightgbm = _library()
    parameters = {
        "objective": "multiclass",
        "num_class": train.CLASSES,
        "feature_fraction": 0.05,
        "max_bin": 63,
        "seed": seed % 2**31,
        "deterministic": True,
        "force_row_wise": True,
        "num_threads": len(os.sched_getaffinity(0)),
        "verbose": -1,
    }
    lightgbm.train(parameters, lightgbm.Dataset(inputs, labels), num_boost_round=TREES).save_model(path)


def load(description: Description, options: LoadOptions) -> Trees:
    """Read the trees: a given file, or the artefact of a seed.

    Args:
        description: of this model.
        options: weights, their seed, and threads.

    Raises:
        ModelError: LightGBM is not installed, or the file cannot be read or holds something else.
    """
    lightgbm = _library()
    path = train.artefact(description, options.seed) if options.weights == "seeded" else Path(options.weights)
    try:
        booster = lightgbm.Booster(model_file=path)
    except (lightgbm.basic.LightGBMError, OSError) as error:
        raise ModelError(f"{path}: cannot be loaded ({error}); use seeded, or LightGBM's text format") from None
    assert description.input.shape is not None
    features, classes = booster.num_feature(), booster.num_model_per_iteration()
    if (features,) != description.input.shape or (classes,) != description.output.shape:
        raise ModelError(f"{path}: has {features} features and {classes} classes, not 2048 and 10; use another file")
    return Trees(description, booster, options.threads)


def _library() -> Any:
    try:
        import lightgbm  # noqa: PLC0415 - the one file that uses it
    except (ImportError, OSError) as error:  # OSError: libgomp is missing
        raise ModelError(
            f"LightGBM cannot be loaded ({error}); {remedy('lightgbm')}; it needs libgomp1 of the system"
        ) from None
    return lightgbm
