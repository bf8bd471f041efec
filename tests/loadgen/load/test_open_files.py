"""The limit of open files goes up as far as it may, and no further."""

import resource

import pytest

from loadgen.load import open_files


@pytest.mark.parametrize(
    ("limits", "refused", "asked", "found"),
    [
        ((256, 4096), False, [(4096, 4096)], 4096),
        ((4096, 4096), False, [], 4096),
        ((256, 4096), True, [(4096, 4096)], 256),
    ],
)
def test_the_soft_limit_becomes_the_hard_one(monkeypatch, limits, refused, asked, found):
    """Where the system lets it."""
    set_to = []

    def setrlimit(_, values):
        set_to.append(values)
        if refused:
            raise ValueError

    monkeypatch.setattr(resource, "getrlimit", lambda _: limits)
    monkeypatch.setattr(resource, "setrlimit", setrlimit)
    assert open_files.raise_limit() == found
    assert set_to == asked


def test_no_limit_is_a_large_one(monkeypatch):
    """The system writes it as a negative number."""
    monkeypatch.setattr(resource, "getrlimit", lambda _: (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
    assert open_files.raise_limit() > 10**9
