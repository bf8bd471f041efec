"""Keeps files made on this machine: one process makes each, whole or not at all, and a digest checks it.

They live below ``LOADGEN_CACHE``, else below the user's cache directory (``XDG_CACHE_HOME``, ``~/.cache``).
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import os
import shutil
import tempfile
from collections.abc import Callable, Iterable
from pathlib import Path

from model_containers.errors import ModelError

_DIGEST = "sha256"
"""The file beside the artefact that holds its digest, in hexadecimal."""

_UNFINISHED = ".unfinished-"
"""Begins the name of a directory in which an artefact is made; its key and a random part follow."""


def root() -> Path:
    """The directory below which artefacts are kept."""
    given = os.environ.get("LOADGEN_CACHE")
    if given:
        return Path(given)
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "loadgen"


def get(key: str, file_name: str, make: Callable[[Path], None]) -> Path:
    """An artefact, made now if it is not there; processes that want the same one wait for the one that makes it.

    Args:
        key: everything that it depends on, as a file name.
        file_name: its name in a directory of its own.
        make: writes it to the path that it is given.

    Raises:
        ModelError: it cannot be kept, or is not what was written.
    """
    directory = root() / "artefacts" / key
    try:
        if not directory.exists():
            directory.parent.mkdir(parents=True, exist_ok=True)
            with _lock(directory).open("w") as lock:
                fcntl.flock(lock, fcntl.LOCK_EX)  # the kernel lets go of it when its holder dies
                if not directory.exists():
                    _remove_abandoned(directory)
                    _make(directory, file_name, make)
        path = directory / file_name
        wanted = (directory / _DIGEST).read_text().strip()
        found = digest(path)
    except OSError as error:
        raise ModelError(
            f"{directory}: cannot be kept ({error.strerror}); name another directory in LOADGEN_CACHE"
        ) from None
    if found != wanted:
        raise ModelError(f"{path}: not what was written (its SHA-256 differs); remove {directory} to make it anew")
    return path


def digest(path: Path) -> str:
    """The SHA-256 of a file, in hexadecimal.

    Raises:
        OSError: it cannot be read.
    """
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def digest_of_all(first: Path, others: Iterable[Path]) -> str:
    """The SHA-256 of a file; where others belong to it, that of their names and digests, a line each.

    Args:
        first: the file.
        others: those that belong to it, in any order.

    Raises:
        OSError: one cannot be read.
    """
    paths = sorted(others)
    if not paths:
        return digest(first)
    lines = (f"{digest(path)}  {os.path.relpath(path, first.parent)}\n" for path in (first, *paths))
    return hashlib.sha256("".join(lines).encode()).hexdigest()


def _lock(directory: Path) -> Path:
    """The file that is locked by the process that makes an artefact."""
    return directory.with_suffix(".lock")


def _remove_abandoned(directory: Path) -> None:
    """Remove what processes left behind that were killed while they made an artefact: no process holds its lock.

    Args:
        directory: of the artefact whose lock this process holds.
    """
    for path in directory.parent.glob(f"{_UNFINISHED}*.*"):
        lock = _lock(directory.parent / path.name.removeprefix(_UNFINISHED).rpartition(".")[0])
        with contextlib.suppress(OSError), lock.open("r+") as file:  # in use, or another user's
            if lock != _lock(directory):
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            shutil.rmtree(path, ignore_errors=True)


def _make(directory: Path, file_name: str, make: Callable[[Path], None]) -> None:
    unfinished = Path(tempfile.mkdtemp(dir=directory.parent, prefix=f"{_UNFINISHED}{directory.name}."))
    try:
        path = unfinished / file_name
        make(path)
        (unfinished / _DIGEST).write_text(digest(path) + "\n")
        for made in (path, unfinished / _DIGEST):
            with made.open("rb") as file:
                os.fsync(file.fileno())
        unfinished.chmod(0o755)
        unfinished.rename(directory)
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)
