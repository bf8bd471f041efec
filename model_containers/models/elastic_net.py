"""Standard scaling, then logistic regression with an elastic-net penalty (Zou and Hastie 2005), as much L1 as L2.

An answer costs 4096 x 10 products: next to nothing.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from model_containers.models._sklearn import FILE, load
from model_containers.models._sklearn import fit as fit_pipeline

__all__ = ["FILE", "fit", "load"]


def fit(inputs: np.ndarray, labels: np.ndarray, seed: int, path: Path) -> None:
    """Fit it and write it; the tolerance is one that is reached in seconds.

    Args:
        inputs: float32 ``(n, features)``.
        labels: int64 ``(n,)``, a class each.
        seed: of the solver.
        path: of the file to write.
    """
    from sklearn.linear_model import LogisticRegression  # noqa: PLC0415 - where it is used
    from sklearn.pipeline import make_pipeline  # noqa: PLC0415
    from sklearn.preprocessing import StandardScaler  # noqa: PLC0415

    regression = LogisticRegression(solver="saga", l1_ratio=0.5, C=0.05, tol=0.02, random_state=seed % 2**32)
    fit_pipeline(make_pipeline(StandardScaler(), regression), inputs, labels, path)
