"""What tests of frontends on sockets have in common."""

import contextlib

import pytest
from peers import FrontendThread


@pytest.fixture
def stack():
    """Holds peers until the test has ended."""
    with contextlib.ExitStack() as stack:
        yield stack


@pytest.fixture
def frontend():
    """A query frontend on any free ports."""
    with contextlib.closing(FrontendThread()) as thread:
        yield thread
