"""Temporary directories of a process; those of processes that were killed are removed by the next one that makes some.

Each has a file that its process holds locked; the kernel lets go of the lock when the process ends, however that is.
"""

from __future__ import annotations

import contextlib
import fcntl
import functools
import os
import shutil
import stat
import tempfile
from collections.abc import Iterator
from pathlib import Path

PREFIX = "loadgen-"
LOCK = ".lock"
"""In each directory; it is locked before it gets this name."""


@contextlib.contextmanager
def directory() -> Iterator[Path]:
    """A temporary directory, while the context lasts."""
    _remove_once()
    with tempfile.TemporaryDirectory(prefix=PREFIX) as name:
        made = Path(name)
        with (made / f"{LOCK}.new").open("w") as lock:
            with contextlib.suppress(OSError):  # a file system without locks: no other process removes it
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                Path(lock.name).rename(made / LOCK)
            yield made


def remove_abandoned() -> None:
    """Remove the directories that processes of this user left behind when they were killed."""
    for path in Path(tempfile.gettempdir()).glob(f"{PREFIX}*"):
        with contextlib.suppress(OSError):  # it has just gone, belongs to another user, or is in use
            found = path.lstat()
            if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.geteuid():
                continue
            lock = os.open(path / LOCK, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                shutil.rmtree(path, ignore_errors=True)
            finally:
                os.close(lock)


@functools.cache
def _remove_once() -> None:
    remove_abandoned()
