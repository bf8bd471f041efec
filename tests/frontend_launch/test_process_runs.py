"""Deployments that are processes, as `loadgen ps` lists them."""

import os
import tempfile
from pathlib import Path

import pytest

from frontend_launch import scratch
from frontend_launch.launch import process_runs
from frontend_launch.launch.process_runs import FILE, Kept, listed


@pytest.fixture(autouse=True)
def alone(monkeypatch, tmp_path):
    """No deployment of another test is there."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))


def test_what_is_up_is_listed():
    """With the process that started it, until it is taken down; whether one of another machine runs is not known."""
    with scratch.directory() as directory:
        kept = Kept(directory)
        kept.add("frontends", os.getpid(), "noop", "0", None, "request 4456")
        kept.add("replica-0", 1 << 30, "noop", "1-2", 0)
        kept.add("replica-0", (1 << 30) + 1, "noop", "1-2", 0)
        kept.add("replica-1", os.getpid(), "noop", "3", None, node="other (10.0.0.2)")
        found = listed()
        rows = [(owner, part.role, part.cores, part.gpu, part.ports, part.running) for owner, part in found]
        assert rows == [
            (os.getpid(), "frontends", "0", "", "request 4456", True),
            (os.getpid(), "replica-0", "1-2", "0", "", False),
            (os.getpid(), "replica-1", "3", "", "", None),
        ]
    assert listed() == []


def test_what_a_killed_program_left_behind_is_not(tmp_path):
    """Nor what is no such file, or of another user."""
    left = tmp_path / "loadgen-left"
    left.mkdir()
    Kept(left).add("frontends", 1, "noop", "0", None)
    assert listed() == []
    (left / scratch.LOCK).touch()
    assert listed() == []
    with scratch.directory() as directory:
        for text in ("{", "[]", '{"pid": 1}', '{"pid": 1, "parts": [{"x": 1}]}'):
            (directory / FILE).write_text(text)
            assert listed() == []


def test_a_full_disk_costs_the_note_only(monkeypatch, tmp_path):
    """Not the deployment."""

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "write_text", full)
    process_runs.Kept(tmp_path).add("frontends", 1, "noop", "0", None)
