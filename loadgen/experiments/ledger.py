"""The ledger of a sweep: a directory with a header and a line per measurement, on disk before the next one.

The ledger is only appended to, and each line is synced at once. So a sweep that is killed at any moment loses only the
measurement under way.
"""

from __future__ import annotations

import contextlib
import datetime
import fcntl
import json
import logging
import os
import time
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, TextIO

import msgspec

from loadgen.errors import ConfigError, NotSavedError
from loadgen.experiments.grid import GridCell, Measurement, Size
from loadgen.files import UnreadableError, read_bytes, read_text
from loadgen.results.files import MAX_BYTES, make_directory, new_directory

log = logging.getLogger(__name__)

SCHEMA_VERSION = 1
HEADER = "sweep.json"
LEDGER = "ledger.jsonl"


@dataclass(frozen=True, slots=True)
class Entry:
    """One finished measurement, successful or failed.

    Attributes:
        cell: its name.
        replicas: how many.
        cpus_per_replica: cores of each.
        batch_size: largest batch a replica is given.
        repeat: earlier measurements of the cell of this kind.
        kind: ``cell``, or ``anchor``.
        results: name of its results file in the directory; None without.
        error: one line where it did not end as asked.
        throughput_rps: answers a second; None without results.
        p99_ms: 99th percentile of the latency; None without answers.
        saturated: the verdict; None without results.
        finished_at: wall-clock time, ISO 8601 with offset.
        in_flight: most requests in flight; 0 where that is not part of the cell.
        rate_rps: requests a second; likewise.
        crossed: conditions of ``--fail-if`` that came true, each with its value; none of an invalid run.
        invalid: why the run is invalid; None for a valid one, and in ledgers from before it was recorded.
        undecided: conditions of ``--fail-if`` that are undecided, each with what was found; none of an invalid run.
        p99_uncertain: the p99 has no interval, since there were too few independent answers.
        rows_not_saved: why the rows of requests are not where they were to be, and where they are; None without reason.
        gpus: replicas that have one, where that is part of the cell.
        outcome: what an open loop of `loadgen size` came to; empty elsewhere.
        found: why, in words.
    """

    cell: str
    replicas: int
    cpus_per_replica: int
    batch_size: int
    repeat: int
    kind: str
    results: str | None
    error: str | None
    throughput_rps: float | None
    p99_ms: float | None
    saturated: str | None
    finished_at: str
    in_flight: int = 0
    rate_rps: float = 0.0
    crossed: list[str] = field(default_factory=list)
    invalid: str | None = None
    undecided: list[str] = field(default_factory=list)
    p99_uncertain: bool = False
    rows_not_saved: str | None = None
    gpus: int = 0
    outcome: str = ""
    found: str = ""

    @property
    def elsewhere(self) -> bool:
        """Its results had to be saved outside the directory."""
        return self.results is not None and Path(self.results).is_absolute()

    @property
    def measurement(self) -> Measurement:
        """What was measured."""
        size = Size(self.replicas, self.cpus_per_replica, self.gpus)
        cell = GridCell(size, self.batch_size, self.in_flight, self.rate_rps)
        return Measurement(cell, self.repeat, "anchor" if self.kind == "anchor" else "cell")


class Ledger:
    """The ledger of one sweep, held by one process at a time; made by `begin` or `resume`.

    Args:
        directory: of the sweep; what is in it already is read.
        file: of the entries, open for appending and locked; closed by the caller.

    Attributes:
        directory: of the sweep.
        entries: what was finished, in that order.
    """

    def __init__(self, directory: Path, file: TextIO) -> None:
        self.directory, self._file = directory, file
        self.entries: list[Entry] = list(read_entries(directory))

    @property
    def not_saved(self) -> Iterator[str]:
        """For each run whose results or rows could not be saved as asked: the reason, or where they are."""
        for entry in self.entries:
            if entry.elsewhere:
                yield f"{entry.cell}: its results are in {entry.results}"
            if entry.rows_not_saved is not None:
                yield f"{entry.cell}: {entry.rows_not_saved}"

    def add(self, entry: Entry) -> None:
        """Append an entry; it is on disk when this returns.

        Raises:
            ConfigError: it cannot be written.
        """
        try:
            self._file.write(json.dumps(asdict(entry)) + "\n")
            self._file.flush()
            os.fsync(self._file.fileno())
        except OSError as error:
            remedy = "free some space and go on with {run_sweep.resume}"
            raise NotSavedError(f"{self.directory / LEDGER}: cannot be written ({error.strerror}); {remedy}") from None
        self.entries.append(entry)


@contextlib.contextmanager
def begin(results_dir: Path, header: Mapping[str, Any], kind: str = "sweep") -> Iterator[Ledger]:
    """A new sweep, in a directory of its own.

    Args:
        results_dir: where to make the directory, ``sweep-%y%m%d_%H%M%S``.
        header: the settings of the sweep.
        kind: the first word of the directory's name.

    Raises:
        ConfigError: the directory cannot be written.
    """
    stem = time.strftime(f"{kind}-%y%m%d_%H%M%S")
    text = json.dumps({"schema_version": SCHEMA_VERSION, **header}, indent=4)
    make_directory(results_dir)
    try:
        directory = new_directory(results_dir, stem)
        draft = directory / f".{HEADER}"
        with draft.open("w") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        draft.rename(directory / HEADER)
    except OSError as error:
        raise ConfigError(f"{results_dir}: a sweep cannot be kept there ({error.strerror}); choose another") from None
    with _held(directory) as ledger:
        yield ledger


@contextlib.contextmanager
def resume(results_dir: Path, header: Mapping[str, Any], kind: str = "sweep") -> Iterator[Ledger]:
    """The newest sweep with the header's settings; a new one if none was written before the last process was killed.

    Args:
        results_dir: where sweeps are.
        header: of the sweep to go on with; its ``settings`` must be equal to those of the header found.
        kind: the first word of the directory's name.

    Raises:
        ConfigError: another process writes to it, or a new one cannot be written.
    """
    settings = json.loads(json.dumps(header["settings"]))
    for path in sorted(results_dir.glob(f"{kind}-*/{HEADER}"), key=lambda path: path.stat().st_mtime, reverse=True):
        with contextlib.suppress(ConfigError):
            if read_header(path.parent).get("settings") == settings:
                opened = _held(path.parent)
                break
    else:
        log.warning("--resume: %s has no %s with these settings; this is a new one", results_dir, kind)
        opened = begin(results_dir, header, kind)
    with opened as ledger:
        yield ledger


def read_header(directory: Path) -> dict[str, Any]:
    """The header of a sweep.

    Raises:
        ConfigError: it is no sweep's directory, or of a later version.
    """
    try:
        header = msgspec.convert(json.loads(read_text(directory / HEADER, MAX_BYTES)), dict[str, Any])
        version = msgspec.convert(header["schema_version"], int)
    except (UnreadableError, ValueError, KeyError, RecursionError) as error:
        raise ConfigError(f"{directory}: not the directory of a sweep: {error!r}") from None
    if version > SCHEMA_VERSION:
        problem = f"version {version} is above {SCHEMA_VERSION}, the last that this program reads"
        raise ConfigError(f"{directory}: {problem}; update it")
    return header


def read_entries(directory: Path) -> Iterator[Entry]:
    """The finished measurements of a sweep; a last line that a killed writer cut off is skipped.

    Members that this version does not know are ignored.

    Raises:
        ConfigError: it cannot be read.
    """
    path = directory / LEDGER
    if not path.exists():
        return
    try:
        lines = read_bytes(path, MAX_BYTES).splitlines()
    except UnreadableError as error:
        raise ConfigError(f"{path}: cannot be read: {error}") from None
    for line in lines:
        with contextlib.suppress(ValueError, RecursionError):
            yield msgspec.json.decode(line, type=Entry)


@contextlib.contextmanager
def _held(directory: Path) -> Iterator[Ledger]:
    path = directory / LEDGER
    with path.open("a+") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise ConfigError(f"{directory}: another process writes to it; wait for it, or end it") from None
        file.seek(0)
        if not (text := file.read()).endswith("\n") and text:
            file.write("\n")  # what was cut off becomes a line of its own, which readers pass over
        yield Ledger(directory, file)


def place(path: Path | None, directory: Path) -> str | None:
    """A file's name in the ledger: below the directory, or the whole path where it had to be saved elsewhere.

    Args:
        path: of the file; None without one.
        directory: of the ledger.
    """
    if path is None:
        return None
    whole = directory.absolute()
    return str(path.relative_to(whole) if path.is_relative_to(whole) else path)


def now() -> str:
    """The wall-clock time, ISO 8601 with offset."""
    return datetime.datetime.now().astimezone().isoformat(timespec="seconds")
