"""Models that take a known time, and some that misbehave, for replicas that a test starts: ``faulty_models:Sleep5``.

What a test has to tell a model, it tells by a file in the directory of the run.
"""

from __future__ import annotations

import time
from pathlib import Path

import numpy as np

from model_containers.model import LoadOptions, TensorSpec

SLOWER = Path("slower")
"""Once it is there, batches of `Changing` take twice as long."""

SLOW_ONE = Path("slow-one")
"""Made by the one replica of `OneSlow` that is slower than its peers."""


class Sleep5:
    """Sleeps for a time that grows with the batch."""

    name = "sleep5"
    input = TensorSpec((1,), "float32")
    output = TensorSpec((1,), "float32")
    batch_s = 0.005
    query_s = 0.0

    def predict(self, batch: np.ndarray) -> np.ndarray:
        time.sleep(self.batch_s + self.query_s * len(batch))
        return np.zeros((len(batch), 1), np.float32)


class Sleep2(Sleep5):
    name = "sleep2"
    batch_s = 0.002


class Quick(Sleep5):
    name = "quick"
    batch_s = 0.0005


class Flat20(Sleep5):
    name = "flat20"
    batch_s = 0.02


class Linear(Sleep5):
    name = "lin"
    batch_s = 0.004
    query_s = 0.001


class Even(Sleep5):
    name = "even"
    batch_s = 0.009


class OneSlow(Sleep5):
    """The first replica that loads it is 30% slower than the others."""

    name = "strag"
    batch_s = 0.009

    def load(self, options: LoadOptions) -> None:
        try:
            SLOW_ONE.touch(exist_ok=False)
        except FileExistsError:
            return
        self.batch_s *= 1.3


class Spin5(Sleep5):
    """Computes: 5 ms of CPU time a batch, which last longer on a core that others use."""

    name = "spin5"

    def predict(self, batch: np.ndarray) -> np.ndarray:
        until_s = time.thread_time() + 0.005
        while time.thread_time() < until_s:
            pass
        return np.zeros((len(batch), 1), np.float32)


class Changing(Sleep5):
    name = "changing"

    def predict(self, batch: np.ndarray) -> np.ndarray:
        if SLOWER.exists():
            time.sleep(self.batch_s)
        return super().predict(batch)


class Refusing(Sleep5):
    """Fails on batches, after those of its warm-up, and answers single queries."""

    name = "refusing"

    def __init__(self) -> None:
        self._calls = 0

    def predict(self, batch: np.ndarray) -> np.ndarray:
        self._calls += 1
        if self._calls > 10 and len(batch) > 1:
            raise ValueError("one at a time")
        return super().predict(batch)


class Hesitating(Sleep5):
    """Takes 60 ms for one batch in ten."""

    name = "hesitating"

    def __init__(self) -> None:
        self._batches = 0

    def predict(self, batch: np.ndarray) -> np.ndarray:
        self._batches += 1
        if self._batches % 10 == 0:
            time.sleep(0.06)
        return super().predict(batch)
