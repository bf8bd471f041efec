"""Checks answers under load against those of single calls of the model. Pure.

Numbers agree when they differ by no more than a tolerance, which is relative to the largest number among the
expected answers. A check is worth something only if a wrong answer looks wrong: the answers to any two inputs must
differ by a hundred times as much. Class labels, whole numbers and texts agree when they are the same; there must be two
different ones at least.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from loadgen.errors import ConfigError
from model_containers.data_types import Buffer

_STRIDE = 40503
"""Knuth's multiplicative hash: 65536 times the golden ratio, an odd number."""

DISTINCT = 100
"""Answers to different inputs differ by at least this number of tolerances."""

_ALL_ALIKE = (
    "{Deploy.verify}: all inputs have the same answer, so wrong ones look right; take others ({Inputs.path}, "
    "{Inputs.ranges}) or more ({Inputs.count})"
)


@dataclass(frozen=True, slots=True, eq=False)
class AnswerCheck:
    """What to compare with.

    Attributes:
        every: compare one answer in this number.
        expected: float64 ``(inputs, elements)``, the right answers, by input; texts as ``(inputs,)`` of `bytes`.
        dtype: numpy dtype of an answer's elements; ``str`` for texts.
        tolerance: largest difference of a right answer's elements, absolute.
    """

    every: int
    expected: np.ndarray
    dtype: str
    tolerance: float

    def selects(self, ids: np.ndarray) -> np.ndarray:
        """Which of the requests are compared, as a mask: one of every `every` in a row, in an irregular place.

        A regular place would meet the same inputs again and again, since these go round too.
        """
        groups = ids // self.every
        mask: np.ndarray = ids % self.every == (groups * _STRIDE >> 16) % self.every
        return mask

    def agrees(self, request_id: int, output: Buffer) -> bool:
        """Whether an answer's bytes are right.

        Args:
            request_id: which request it answers; its input is this modulo the number of inputs.
            output: raw little-endian elements; of any length.
        """
        expected: np.ndarray = self.expected[request_id % len(self.expected)]
        if self.dtype == "str":
            return bytes(output) == expected
        if len(output) % np.dtype(self.dtype).itemsize:
            return False
        given = np.frombuffer(output, dtype=self.dtype)
        return given.shape == expected.shape and bool((np.abs(given - expected) <= self.tolerance).all())


def answer_check(every: int, answers: np.ndarray, dtype: str, relative_tolerance: float, labels: bool) -> AnswerCheck:
    """A check against known answers.

    Args:
        every: compare one answer in this number.
        answers: float64 ``(inputs, *shape)``; texts as ``(inputs,)`` of `bytes`.
        dtype: numpy dtype of an answer; ``str`` for texts.
        relative_tolerance: of the model, see `model_containers.model.Description.tolerance`.
        labels: the answers are class labels, which may be alike, as whole numbers may.

    Raises:
        ConfigError: the answers are so much alike that a wrong one would not be noticed.
    """
    if len(answers) < 2:
        raise ConfigError("{Deploy.verify}: with one input every answer looks right; take more {Inputs.count}")
    if dtype == "str":
        if len(set(answers.tolist())) < 2:
            raise ConfigError(_ALL_ALIKE)
        return AnswerCheck(every, answers, dtype, 0.0)
    expected = answers.reshape(len(answers), -1).astype(np.float64)
    if not np.isfinite(expected).all():
        raise ConfigError(
            "{Deploy.verify}: the model's own answers are not all finite, so nothing can be compared with them"
        )
    tolerance = relative_tolerance * float(np.abs(expected).max(initial=0.0))
    if labels or np.dtype(dtype).kind in "iu":
        if len(np.unique(expected, axis=0)) < 2:
            raise ConfigError(_ALL_ALIKE)
    else:
        _refuse_alike(expected, tolerance)
    return AnswerCheck(every, expected, dtype, tolerance)


def _refuse_alike(expected: np.ndarray, tolerance: float) -> None:
    # Answers that are alike are alike in every element, so only neighbours in the one that differs most are compared.
    along = expected[:, int(np.ptp(expected, axis=0).argmax())]
    order = np.argsort(along, kind="stable")
    ends = np.searchsorted(along[order], along[order] + DISTINCT * tolerance, side="right")
    for place, (index, end) in enumerate(zip(order.tolist(), ends.tolist(), strict=True)):
        neighbours = order[place + 1 : end]
        if not len(neighbours):
            continue
        differences = np.abs(expected[neighbours] - expected[index]).max(axis=1)
        least = int(differences.argmin())
        if differences[least] < DISTINCT * tolerance or differences[least] == 0:
            found = f"the answers to inputs {index} and {neighbours[least]} differ by {differences[least]:.2g}"
            problem = f"{found}, less than {DISTINCT} x the tolerance, {tolerance:.2g}"
            remedy = "take other inputs ({ExperimentConfig.seed}, {Inputs.path}) or fewer"
            raise ConfigError(f"{{Deploy.verify}}: {problem}; {remedy}")
