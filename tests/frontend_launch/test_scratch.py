"""Temporary directories: gone at the end, and after a process that was killed."""

from __future__ import annotations

import fcntl
import os
import signal
import subprocess
import sys
import tempfile

import pytest

from frontend_launch import scratch

HOLDS = """
import sys, tempfile
from frontend_launch import scratch
tempfile.tempdir = sys.argv[1]
with scratch.directory() as made:
    (made / "logs").mkdir()
    (made / "logs" / "x.log").write_text("x")
    print(made, flush=True)
    sys.stdin.read()
"""


@pytest.fixture
def temporary(tmp_path, monkeypatch):
    """The directory for temporary files."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    return tmp_path


@pytest.fixture
def other(temporary):
    """Another process with a directory."""
    process = subprocess.Popen(
        [sys.executable, "-c", HOLDS, str(temporary)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    process.stdout.readline()
    yield process
    process.kill()
    process.communicate()


def test_a_directory_is_gone_at_the_end(temporary):
    """With all that is in it."""
    with scratch.directory() as made:
        (made / "file").write_text("x")
        assert list(temporary.iterdir()) == [made]
    assert not list(temporary.iterdir())


def test_that_of_a_killed_process_is_removed(temporary, other):
    """By the next one that makes some."""
    scratch.remove_abandoned()
    assert len(list(temporary.iterdir())) == 1, "its process lives"
    other.send_signal(signal.SIGKILL)
    other.wait()
    scratch._remove_once.cache_clear()
    with scratch.directory() as made:
        assert list(temporary.iterdir()) == [made]


def test_what_is_not_ours_stays(temporary, monkeypatch):
    """Another user's, one without a lock, a file, a link, and another program's."""
    outside = temporary / "outside"
    for name in ("loadgen-1", "loadgen-2", "other-1", "outside"):
        (temporary / name).mkdir()
        if name != "loadgen-1":
            (temporary / name / scratch.LOCK).touch()
    (temporary / "loadgen-3").touch()
    (temporary / "loadgen-4").symlink_to(outside)
    monkeypatch.setattr(os, "geteuid", lambda: os.getuid() + 1)
    before = sorted(temporary.iterdir())
    scratch.remove_abandoned()
    assert sorted(temporary.iterdir()) == before
    monkeypatch.undo()
    monkeypatch.setattr(tempfile, "tempdir", str(temporary))
    scratch.remove_abandoned()
    assert sorted(set(before) - set(temporary.iterdir())) == [temporary / "loadgen-2"]
    assert (outside / scratch.LOCK).exists()


def test_a_file_system_without_locks(temporary, monkeypatch):
    """The directory stays until its own process removes it."""

    def refused(*_):
        raise OSError("no locks available")

    monkeypatch.setattr(fcntl, "flock", refused)
    with scratch.directory() as made:
        scratch.remove_abandoned()
        assert made.exists()
    assert not list(temporary.iterdir())
