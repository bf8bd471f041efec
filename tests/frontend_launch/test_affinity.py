"""The cores of a process, read and set."""

import os

import pytest

from frontend_launch.affinity import affinity, pinned
from frontend_launch.errors import LaunchError

CORE = min(os.sched_getaffinity(0))


def test_pinning_lasts_as_long_as_its_context():
    """And gives the cores back."""
    before = os.sched_getaffinity(0)
    with pinned((CORE,)):
        assert affinity(os.getpid()) == (CORE,)
    assert os.sched_getaffinity(0) == before


def test_pinning_to_a_core_that_is_not_there_is_one_line():
    """It names the core."""
    with pytest.raises(LaunchError, match="4095"), pinned((4095,)):
        pass


def test_a_gone_process_has_no_cores():
    """And raises nothing."""
    assert affinity(2**22 - 1) == ()
