"""A deployment that needs more than a process may have is refused before anything starts."""

from __future__ import annotations

import sys

import pytest

from frontend_launch.errors import PlacementError
from loadgen.load import open_files
from loadgen.servers.deployment import check_open_files


def test_a_limit_of_open_files(monkeypatch):
    """The line says how many are needed, and what to do."""
    for limit in (77, sys.maxsize):
        monkeypatch.setattr(open_files, "raise_limit", lambda limit=limit: limit)
        check_open_files(10, 3)
    monkeypatch.setattr(open_files, "raise_limit", lambda: 64)
    check_open_files(1, 1)
    with pytest.raises(
        PlacementError, match=r"^10 replicas and 3 clients need 77 open files, 64 are allowed; raise the"
    ):
        check_open_files(10, 3)
