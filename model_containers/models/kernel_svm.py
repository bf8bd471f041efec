"""Standard scaling, then a support vector machine with an RBF kernel, scikit-learn's defaults.

An answer costs one pass over the support vectors: nearly all of the training vectors, times 4096 features.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from model_containers.models._sklearn import FILE, load
from model_containers.models._sklearn import fit as fit_pipeline

__all__ = ["FILE", "fit", "load"]


def fit(inputs: np.ndarray, labels: np.ndarray, seed: int, path: Path) -> None:
    """Fit it and write it; nothing in it is drawn at random.

    Args:
        inputs: float32 ``(n, features)``.
        labels: int64 ``(n,)``, a class each.
        seed: not used.
        path: of the file to write.
    """
    from sklearn.pipeline import make_pipeline  # noqa: PLC0415 - where it is used
    from sklearn.preprocessing import StandardScaler  # noqa: PLC0415
    from sklearn.svm import SVC  # noqa: PLC0415

    fit_pipeline(make_pipeline(StandardScaler(), SVC()), inputs, labels, path)
