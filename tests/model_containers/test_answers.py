"""What a model may answer, and what it may not."""

import numpy as np
import pytest

from model_containers.answers import checked
from model_containers.model import TensorSpec

TEXT = TensorSpec((), "str")


@pytest.mark.parametrize(
    "answers",
    [
        ["é", "b"],
        [b"\xc3\xa9", b"b"],
        np.array(["é", "b"]),
        np.array([["é"], ["b"]], dtype=object),
        np.array([b"\xc3\xa9", b"b"]),
        ("é", b"b"),
    ],
)
def test_texts(answers):
    """Of any kind."""
    assert checked(answers, TEXT, 2).tolist() == [b"\xc3\xa9", b"b"]


@pytest.mark.parametrize(
    ("answers", "text"),
    [
        (["a"], "1 texts, not with a text for each of a batch of 2"),
        ("ab", "'ab', not with a text for each"),
        ([["a", "b"], ["c", "d"]], "4 texts"),
        ([1, 2], "answers with 1, not with a text"),
        ([b"\xff", b"a"], "utf-8"),
    ],
)
def test_no_texts(answers, text):
    """Are refused, and said."""
    with pytest.raises(ValueError, match=text):
        checked(answers, TEXT, 2)


@pytest.mark.parametrize(
    ("answers", "shape", "fits"),
    [
        (np.zeros((2, 3), np.float32), (3,), True),
        (np.zeros((2, 3), np.float32)[:, ::-1], (3,), True),
        (np.zeros((2, 3), np.float32), None, True),
        (np.zeros(2, np.float32), (), True),
        (np.zeros((2, 3)), (3,), False),
        (np.zeros((1, 3), np.float32), (3,), False),
        (np.zeros((2, 3), np.float32), (), False),
        ([[0.0], [0.0]], (1,), False),
    ],
)
def test_numbers(answers, shape, fits):
    """Of the dtype and shape that the model has said."""
    if fits:
        assert checked(answers, TensorSpec(shape, "float32"), 2).flags.c_contiguous
        return
    with pytest.raises(ValueError, match="it answers with float"):
        checked(answers, TensorSpec(shape, "float32"), 2)
