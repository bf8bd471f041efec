"""Kernel PCA (Schölkopf et al. 1998) with an RBF kernel, then a support vector machine with an RBF kernel.

No scaling, as in the original. A batch costs one product with all training vectors, 2000 x 4096, so it hardly depends
on the batch's size. The original computed 2000 x 2000 products for each query and used their diagonal only; the answer
is the same, so that waste is not repeated.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from model_containers.models._sklearn import FILE, load
from model_containers.models._sklearn import fit as fit_pipeline

__all__ = ["FILE", "fit", "load"]

COMPONENTS = 100


def fit(inputs: np.ndarray, labels: np.ndarray, seed: int, path: Path) -> None:
    """Fit it and write it.

    Args:
        inputs: float32 ``(n, features)``.
        labels: int64 ``(n,)``, a class each.
        seed: of the eigensolver.
        path: of the file to write.
    """
    from sklearn.decomposition import KernelPCA  # noqa: PLC0415 - where it is used
    from sklearn.pipeline import make_pipeline  # noqa: PLC0415
    from sklearn.svm import SVC  # noqa: PLC0415

    reduction = KernelPCA(n_components=COMPONENTS, kernel="rbf", random_state=seed % 2**32)
    fit_pipeline(make_pipeline(reduction, SVC()), inputs, labels, path)
