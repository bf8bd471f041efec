"""What a model's process says of itself."""

from frontend_launch.models import reason


def test_a_warning_behind_an_error_is_not_the_reason():
    """Python warns when it ends, of a model whose `predict` is a coroutine."""
    error = b"the model cannot answer\nsys:1: RuntimeWarning: coroutine 'f' was never awaited\nRuntimeWarning: Enable\n"
    assert reason(error) == "the model cannot answer"
    assert reason(b"/a b.py:3: UserWarning: x\n") == reason(b"") == ""
