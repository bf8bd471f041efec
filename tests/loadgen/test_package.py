"""The package as it is installed: what it publishes beside its modules."""

from __future__ import annotations

from importlib.resources import files

import pytest


@pytest.mark.parametrize("package", ["loadgen", "frontend_launch", "model_containers"])
def test_type_hints_are_published(package):
    """A type checker reads those of an installed package only beside this file (PEP 561)."""
    assert files(package).joinpath("py.typed").is_file()
