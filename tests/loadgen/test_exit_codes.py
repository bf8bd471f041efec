"""Each error that ends the program has the code that the table says."""

import signal

import pytest

from frontend_launch.errors import AdminError, DescribeError, LaunchError, PlacementError, RequestError, RestError
from loadgen.cli import exit_codes
from loadgen.errors import ConfigError, TargetError


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (ConfigError(), 2),
        (DescribeError(), 2),
        (PlacementError(), 3),
        (RequestError(), 2),
        (LaunchError(""), 4),
        (AdminError(), 4),
        (RestError(), 4),
        (TargetError(), 5),
        (ValueError(), 1),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, Exception) else str(value),
)
def test_errors(error, code):
    """By class, the most special first."""
    assert exit_codes.of_error(error) == code


@pytest.mark.parametrize(
    ("ended", "code"), [("duration", 0), ("requests", 0), ("stalled", 6), ("server_lost", 6), ("no_answer", 5)]
)
def test_endings(ended, code):
    """A run with results says by its code how it ended."""
    assert exit_codes.of_ending(ended) == code


def test_signals():
    """As a shell reports them."""
    assert (exit_codes.of_signal(signal.SIGINT), exit_codes.of_signal(signal.SIGTERM)) == (130, 143)
