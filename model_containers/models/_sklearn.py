"""Shared by the scikit-learn classifiers: their file in skops' format, which runs no code when it is read."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from model_containers import train
from model_containers.errors import ModelError
from model_containers.extras import remedy
from model_containers.model import Description, LoadOptions

FILE = "model.skops"


class Classifier:
    """A fitted pipeline that answers a batch with one call."""

    def __init__(self, description: Description, pipeline: Any) -> None:
        self.name, self.input, self.output = description.name, description.input, description.output
        self._answer: Callable[[np.ndarray], np.ndarray] = (
            pipeline.predict if description.answer == "label" else pipeline.predict_proba
        )

    def predict(self, batch: np.ndarray) -> np.ndarray:
        """Class labels, float32 ``(n, 1)``, or class probabilities, float32 ``(n, classes)``.

        Args:
            batch: float32 ``(n, features)``.
        """
        return self._answer(batch).astype(np.float32).reshape(len(batch), -1)


def fit(pipeline: Any, inputs: np.ndarray, labels: np.ndarray, path: Path) -> None:
    """Fit a pipeline and write it.

    Raises:
        ModelError: scikit-learn is not installed.
    """
    _, skops_io, _ = _libraries()
    skops_io.dump(pipeline.fit(inputs, labels), path)


def load(description: Description, options: LoadOptions) -> Classifier:
    """Read a fitted pipeline: a given file, or the artefact of a seed.

    Raises:
        ModelError: scikit-learn is not installed, or the file cannot be read or holds something else.
    """
    sklearn, skops_io, threadpoolctl = _libraries()
    threadpoolctl.threadpool_limits(options.threads)
    path = train.artefact(description, options.seed) if options.weights == "seeded" else Path(options.weights)
    try:
        pipeline = skops_io.load(path)
    except Exception as error:  # a file may be broken in any way, or hold types that skops does not trust
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise ModelError(f"{path}: cannot be loaded ({reason}); use seeded, or a file that skops wrote") from None
    wanted = description.input.shape
    if not isinstance(pipeline, sklearn.base.ClassifierMixin | sklearn.pipeline.Pipeline) or wanted != (
        getattr(pipeline, "n_features_in_", None),
    ):
        raise ModelError(f"{path}: holds no classifier of {wanted} features; use seeded, or another file")
    return Classifier(description, pipeline)


def _libraries() -> tuple[Any, Any, Any]:
    try:
        import sklearn.base  # noqa: PLC0415 - the one file that uses them
        import sklearn.pipeline  # noqa: PLC0415
        import skops.io  # noqa: PLC0415
        import threadpoolctl  # noqa: PLC0415
    except ImportError as error:
        raise ModelError(f"scikit-learn is not installed ({error}); {remedy('sklearn')}") from None
    return sklearn, skops.io, threadpoolctl
