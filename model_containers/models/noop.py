"""The model that does nothing, and so measures everything else."""

from __future__ import annotations

import numpy as np

from model_containers.model import Description, LoadOptions


class Noop:
    """Answers 0 to any input."""

    def __init__(self, description: Description) -> None:
        self.input, self.output = description.input, description.output

    def predict(self, batch: np.ndarray) -> np.ndarray:
        """Zeros, float32 ``(n, 1)``."""
        return np.zeros((len(batch), 1), dtype=np.float32)


def load(description: Description, options: LoadOptions) -> Noop:
    """Make it."""
    return Noop(description)
