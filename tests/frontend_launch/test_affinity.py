"""The cores of a process, read and set."""

import os

import pytest

from frontend_launch.affinity import affinity, pinned, reachable
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


def test_a_process_reaches_beyond_its_own_affinity():
    """As far as its cpuset; asking changes nothing."""
    before = reachable()
    assert set(before) >= os.sched_getaffinity(0)
    with pinned((CORE,)):
        assert (reachable(), os.sched_getaffinity(0)) == (before, {CORE})


def test_where_an_affinity_cannot_be_widened(monkeypatch):
    """What there is counts."""

    def refuse(pid, cores):
        raise PermissionError

    monkeypatch.setattr(os, "sched_setaffinity", refuse)
    assert set(reachable()) == os.sched_getaffinity(0)
