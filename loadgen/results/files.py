"""Reads and writes results files: written atomically, and never over another."""

from __future__ import annotations

import contextlib
import json
import logging
import os
import secrets
import tempfile
import time
from collections.abc import Mapping
from datetime import datetime
from pathlib import Path
from typing import Any

import msgspec

from frontend_launch.histogram import LatencyHistogram
from loadgen.errors import ConfigError, NotSavedError
from loadgen.files import UnreadableError, read_text
from loadgen.results.document import NOT_WRITTEN, SCHEMA_VERSION, Results, parse
from loadgen.results.files_2017 import is_of_2017, read_2017

log = logging.getLogger(__name__)

MAX_BYTES = 256 << 20
"""Largest results file; a run of a day writes about 50 MB."""


MOST = 1 << 63
"""Above any number of a results file: nanoseconds of 292 years."""

_FREE = ("server_metrics", "clipper_metrics")


RESULTS = "results-*.json"
"""The names of results files."""

SEARCH = "capacity.json"
"""The answer of a search for capacity, in its directory, beside the results of its probes."""


ROOM_BYTES = 1 << 20
"""Bytes that a directory must take before a run; most results files are smaller."""


_OTHERS = {
    "the plan of a sweep": {"command", "cells", "settings"},
    "the plan of a comparison": {"rounds", "metrics", "margin"},
    "the outcome of a comparison": {"outcome", "effects"},
    "the answer of a search": {"slo", "capacity"},
    "the answer of a search for a size": {"slo", "state", "best"},
    "a report": {"answers", "cells", "missing"},
}
"""Other documents that loadgen writes, and members that only these have."""


class _Versioned(msgspec.Struct):
    schema_version: int


def make_directory(directory: Path) -> None:
    """Make the directory for results and try whether a file fits, so that no measurement is lost.

    Raises:
        ConfigError: it cannot be written, or the file system is full.
    """
    try:
        directory.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=directory) as file:
            os.posix_fallocate(file.fileno(), 0, ROOM_BYTES)
    except OSError as error:
        reason = error.strerror or type(error).__name__
        problem = f"not writable: {reason}; name another directory"
        raise ConfigError(f"{{Output.results_dir}} {directory}: {problem}") from None


def try_directory(directory: Path) -> None:
    """Try what `make_directory` does, and leave nothing behind.

    Raises:
        ConfigError: it cannot be written, or the file system is full.
    """
    missing = [path for path in (directory, *directory.parents) if not os.path.exists(path)]
    try:
        make_directory(directory)
    finally:
        for path in missing:
            with contextlib.suppress(OSError):
                path.rmdir()


def _refused(directory: Path, error: OSError) -> str:
    return f"{directory}: results cannot be saved there ({error.strerror or type(error).__name__})"


def new_directory(results_dir: Path, stem: str) -> Path:
    """Make a directory for several results; a number is added to a name that exists.

    Args:
        results_dir: made too where it is missing.
        stem: its name, unless that is taken.

    Raises:
        OSError: it cannot be made.
    """
    number = 1
    while True:
        directory = results_dir / (stem if number == 1 else f"{stem}-{number}")
        with contextlib.suppress(FileExistsError):
            directory.mkdir(parents=True)
            return directory.absolute()
        number += 1


def logs_beside(path: Path) -> Path:
    """The directory for the logs of a run beside its results file; programs that list results by name pass it over."""
    return path.with_name(f"{path.stem.removeprefix('results-')}.logs")


def save(results: Results, directory: Path) -> Path:
    """Write a results file; it never replaces another, and no reader sees it half-written.

    Args:
        results: whole.
        directory: made where it is missing.

    Returns:
        Its absolute path, ``results-%y%m%d_%H%M%S.json``, with a number added to a name that exists. A file that cannot
        be written there goes to the directory for temporary files, so that the measurement is not lost.

    Raises:
        NotSavedError: neither directory can be written.
    """
    stem = time.strftime("results-%y%m%d_%H%M%S")
    text = json.dumps(results.document(), indent=4, allow_nan=False)
    try:
        return _save(text, directory, stem)
    except OSError as error:
        refused = _refused(directory, error)
    try:
        path = _save(text, Path(tempfile.gettempdir()), stem)
    except OSError as error:
        text = f"{refused}, nor to a directory for temporary files ({error.strerror})"
        raise NotSavedError(text) from None
    log.error("%s: they are in %s", refused, path)
    return path


def _save(text: str, directory: Path, stem: str) -> Path:
    directory.mkdir(parents=True, exist_ok=True)
    # The directory may be everybody's, with links of names that somebody else guessed.
    draft = directory / f".{stem}.{secrets.token_hex(8)}.tmp"
    try:
        with draft.open("x") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        return _publish(draft, directory, stem)
    finally:
        with contextlib.suppress(OSError):
            draft.unlink()


def _publish(draft: Path, directory: Path, stem: str) -> Path:
    """Give a finished draft the first free name."""
    number = 1
    while True:
        path = directory / (f"{stem}.json" if number == 1 else f"{stem}-{number}.json")
        with contextlib.suppress(FileExistsError):
            _rename(draft, path)
            return path.absolute()
        number += 1


def _rename(draft: Path, path: Path) -> None:
    """Rename a file, unless the new name is taken.

    Raises:
        FileExistsError: it is.
    """
    try:
        path.hardlink_to(draft)
    except FileExistsError:
        raise
    except OSError:  # a file system without links: take the name, then put the file there
        path.touch(exist_ok=False)
        draft.replace(path)


def read(path: Path) -> Results:
    """Read a results file of any version up to this one, and of the 2017 driver.

    Members that this version does not know are ignored; those that an earlier version did not write have defaults.

    Raises:
        ConfigError: it cannot be read, is no results file, or is of a later version.
    """
    document: Any = None
    try:
        text = read_text(path, MAX_BYTES)
        document = parse(text)  # files of version 1 may hold NaN, for what is null now
        if is_of_2017(document):
            return read_2017(document, path.name, datetime.fromtimestamp(path.stat().st_mtime))
        version = msgspec.convert(document, _Versioned).schema_version
        if version <= SCHEMA_VERSION:
            _check_numbers(document)
            try:
                results = msgspec.convert({**document, **dict.fromkeys(NOT_WRITTEN)}, Results)
            except msgspec.ValidationError:
                _check_numbers(json.loads(text))  # which knows what has been read as null
                raise
            LatencyHistogram.decode(results.histograms.latency)
            return results
    except UnreadableError as error:
        raise ConfigError(f"{path}: cannot be read: {error}") from None
    except (ValueError, RecursionError) as error:  # neither UTF-8, JSON nor such a document
        raise ConfigError(f"{path}: not a results file: {_other(document) or f'{error}; name another'}") from None
    raise ConfigError(
        f"{path}: version {version} is above {SCHEMA_VERSION}, the last that this program reads; update it"
    )


def _other(document: object) -> str | None:
    """Which other document of loadgen it is, with a remedy; None for none that is known."""
    members = set(document) if isinstance(document, dict) else set()
    kind = next((kind for kind, own in _OTHERS.items() if own <= members), None)
    return None if kind is None else f"it is {kind}; name a results file ({RESULTS}) of its runs"


def _check_numbers(document: Mapping[str, Any]) -> None:
    """Refuse numbers that no measurement can have; metrics of an external server may have any.

    Raises:
        ValueError: it has such a number, which the text names.
    """
    waiting: list[tuple[str, Any]] = [item for item in document.items() if item[0] not in _FREE]
    while waiting:
        name, value = waiting.pop()
        if isinstance(value, dict):
            waiting += [(f"{name}.{key}", member) for key, member in value.items()]
        elif isinstance(value, list):
            waiting += [(name, member) for member in value]
        elif isinstance(value, int | float) and not abs(value) < MOST:
            raise ValueError(f"{name} is a number that no measurement comes to")
