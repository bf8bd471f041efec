"""Right and wrong answers, and checks that would notice nothing."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from loadgen.errors import ConfigError
from loadgen.load.answers import DISTINCT, answer_check

FEATURES = np.array([[1.0, 0.0], [0.0, 1.0], [-2.0, 0.0]])


@pytest.mark.parametrize(
    ("request_id", "answer", "agrees"),
    [
        pytest.param(0, [1.0, 0.0], True, id="exact"),
        pytest.param(3, [1.0, 0.0], True, id="the pool goes round"),
        pytest.param(0, [1.0015, 0.0], True, id="within the tolerance, which is of the largest answer"),
        pytest.param(0, [1.01, 0.0], False, id="beyond it"),
        pytest.param(1, [1.0, 0.0], False, id="another input's answer"),
        pytest.param(0, [1.0], False, id="of another size"),
        pytest.param(0, [], False, id="of no size"),
        pytest.param(0, [float("nan"), 0.0], False, id="not a number"),
    ],
)
def test_an_answer_agrees_or_not(request_id, answer, agrees):
    """With the answer to the input that the request carried."""
    check = answer_check(1, FEATURES, "float32", 0.001, labels=False)
    assert check.agrees(request_id, np.array(answer, np.float32).tobytes()) is agrees


@pytest.mark.parametrize("every", [1, 2, 3, 10, 31, 32, 33, 64, 1000])
def test_every_so_many_th(every):
    """One of each group of `every`, and in time every input of a pool of 32."""
    mask = answer_check(every, FEATURES, "float32", 0.001, labels=False).selects(np.arange(2000 * every))
    assert mask.reshape(-1, every).sum(axis=1).tolist() == [1] * 2000
    assert set(np.flatnonzero(mask) % 32) == set(range(32))


@pytest.mark.parametrize(
    ("answers", "tolerance", "labels", "text"),
    [
        pytest.param([[1.0], [1.0], [1.0]], 0.0, True, "all inputs have the same answer", id="labels of one class"),
        pytest.param([[1.0], [2.0], [1.0]], 0.0, False, "inputs 0 and 2", id="two exact answers alike"),
        pytest.param([[1.0]], 0.0, False, "with one input", id="one input"),
        pytest.param([[1.0], [float("nan")]], 0.0, False, "not all finite", id="no number"),
        pytest.param([[1.0], [1.05], [0.0]], 0.001, False, "inputs 0 and 1 differ by 0.05", id="nearly alike"),
    ],
)
def test_a_check_that_would_notice_nothing_is_refused(answers, tolerance, labels, text):
    """Before anything is measured for nothing."""
    with pytest.raises(ConfigError, match=text):
        answer_check(1, np.array(answers), "float32", tolerance, labels)


def test_labels_may_be_alike():
    """As long as there are two."""
    assert answer_check(1, np.array([[1.0], [2.0], [1.0]]), "float32", 0.0, labels=True).agrees(0, b"\0\0\x80?")


@pytest.mark.parametrize("dtype", ["int32", "int8", "uint8"])
def test_whole_numbers_may_be_alike(dtype):
    """Several labels for each input, or a mask."""
    several = np.array([[1, 0], [0, 1], [1, 0]])
    check = answer_check(1, several, dtype, 0.0, labels=False)
    assert check.agrees(2, several[0].astype(dtype).tobytes())
    assert not check.agrees(2, several[1].astype(dtype).tobytes())
    with pytest.raises(ConfigError, match="all inputs have the same answer"):
        answer_check(1, several[::2], dtype, 0.0, labels=False)


@given(st.lists(st.lists(st.floats(-1e3, 1e3, width=32), min_size=2, max_size=2), min_size=2, max_size=6))
def test_a_swap_of_two_answers_never_agrees(rows):
    """Whatever the answers, if they pass as distinguishable."""
    answers = np.array(rows)
    try:
        check = answer_check(1, answers, "float32", 1e-5, labels=False)
    except ConfigError:
        gaps = [np.abs(answers[i] - answers[j]).max() for i in range(len(answers)) for j in range(i)]
        assert min(gaps) <= DISTINCT * 1e-5 * np.abs(answers).max()
        return
    outputs = [row.astype(np.float32).tobytes() for row in answers]
    assert all(check.agrees(i, outputs[i]) for i in range(len(outputs)))
    assert not any(check.agrees(i, outputs[j]) for i in range(len(outputs)) for j in range(len(outputs)) if i != j)


def test_texts_agree_when_they_are_the_same():
    """To the byte; they may be alike, as long as there are two."""
    texts = np.array([b"cat", b"dog", b"cat"], dtype=object)
    check = answer_check(1, texts, "str", 0.0, labels=False)
    assert [check.agrees(index, b"cat") for index in range(5)] == [True, False, True, True, False]
    assert check.agrees(1, memoryview(b"dog"))
    assert not check.agrees(0, b"")
    with pytest.raises(ConfigError, match="all inputs have the same answer"):
        answer_check(1, texts[::2], "str", 0.0, labels=False)
