"""Servers that the benchmarks run against."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def null_peer() -> Iterator[tuple[int, int]]:
    """The ports of a frontend that does nothing, for requests and for responses."""
    script = str(Path(__file__).with_name("null_peer.py"))
    with subprocess.Popen([sys.executable, script], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        ports = json.loads(process.stdout.readline())
        yield ports["request"], ports["response"]
        process.kill()
