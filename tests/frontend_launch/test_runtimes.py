"""The ways to start a deployment."""

import pkgutil

import pytest

from frontend_launch.launch.launcher import Launcher
from frontend_launch.launch.runtimes import RUNTIMES


@pytest.mark.parametrize("name", RUNTIMES)
def test_each_runtime_names_a_launcher(name):
    """A name that does not resolve would be found by the first user only."""
    assert Launcher in pkgutil.resolve_name(RUNTIMES[name].launcher_class).__mro__
