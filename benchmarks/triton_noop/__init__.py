"""A Triton backend in C that does nothing, with two models: what a client costs beside as little server as can be."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

HERE = Path(__file__).parent


class UnavailableError(Exception):
    """The backend cannot be built here; says what is missing."""


def build(directory: Path) -> Path:
    """Make a model repository of ``small`` (8 KB a request) and ``image`` (1 072 812 bytes); returns where it is.

    Each model directory gets the backend's library, where Triton looks for it first.

    Raises:
        UnavailableError: there is no compiler, or it refuses.
    """
    compiler = shutil.which("cc")
    if compiler is None:
        raise UnavailableError("cc is not there (Debian: apt-get install gcc libc6-dev)")
    repository = directory / "models"
    shutil.copytree(HERE / "models", repository)
    library = directory / "libtriton_noop.so"
    command = [compiler, "-shared", "-fPIC", "-O2", "-Wall", "-Werror", "-o", str(library), str(HERE / "backend.c")]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        raise UnavailableError(f"backend.c cannot be built: {done.stderr.strip()}")
    for model in repository.iterdir():
        shutil.copy(library, model)
        (model / "1").mkdir()  # Triton wants a version, and the backend has nothing to put there
    return repository
