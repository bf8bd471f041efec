"""Reads results files and directories of them into runs and answers, with a line for each that it cannot read."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import msgspec

from frontend_launch.quantities import plural
from loadgen.errors import ConfigError
from loadgen.experiments import ledger
from loadgen.report.found import (
    FoundCapacity,
    FoundComparison,
    FoundSize,
    is_capacity,
    is_comparison,
    read_capacity,
    read_comparison,
    read_size,
    unfinished_text,
)
from loadgen.results.cells import Cell, Run, cells_of, run_of
from loadgen.results.files import RESULTS, read

MAX_DEPTH = 4
"""Levels of directories below a named one that are read."""

MOST_NAMED = 3
"""Skipped directories that are named."""


@dataclass(frozen=True, slots=True)
class Missing:
    """A measurement that a sweep could not make.

    Attributes:
        cell: its name.
        reason: one line.
    """

    cell: str
    reason: str


@dataclass(frozen=True, slots=True)
class UnfinishedSize:
    """A search of the cheapest configuration without an answer: it was interrupted, or is under way.

    Attributes:
        directory: of the search.
        model: that it measures.
        rate_rps: requests a second to carry.
        objective: all conditions.
        command: that searches.
    """

    directory: Path
    model: str
    rate_rps: float
    objective: str
    command: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Collection:
    """What was found.

    Attributes:
        cells: runs by configuration and load, smallest configurations first.
        missing: what sweeps could not measure.
        unreadable: one line for each file or directory that could not be read.
        left_out: one line for each directory in which something was skipped.
        sizes: answers of searches of the cheapest configuration, the oldest first.
        capacities: answers of searches for capacity, likewise.
        comparisons: what comparisons show, likewise.
        unfinished: searches of the cheapest configuration without an answer, likewise.
    """

    cells: tuple[Cell, ...]
    missing: tuple[Missing, ...]
    unreadable: tuple[str, ...]
    left_out: tuple[str, ...] = ()
    sizes: tuple[FoundSize, ...] = ()
    capacities: tuple[FoundCapacity, ...] = ()
    comparisons: tuple[FoundComparison, ...] = ()
    unfinished: tuple[UnfinishedSize, ...] = ()

    @property
    def own_cells(self) -> tuple[Cell, ...]:
        """Cells of runs alone and of sweeps: probes and rounds of comparisons have tables of their own."""
        directories = [*(one.directory for one in self.capacities), *(one.directory for one in self.comparisons)]
        inside = {directory.resolve() for directory in directories}
        return tuple(cell for cell in self.cells if inside.isdisjoint(cell.runs[0].path.resolve().parents))


def collect(paths: Sequence[Path]) -> Collection:
    """Read results files, and directories with all that is inside; a file that is named twice counts once.

    Raises:
        ConfigError: there is nothing to report: no file could be read, and no sweep says why.
    """
    reader = _Reader()
    for path in paths:
        try:
            reader.named(path)
        except ConfigError as error:
            reader.unreadable.append(str(error))
        except OSError as error:
            reader.unreadable.append(f"{path}: cannot be read: {error.strerror or error}")
    found = reader.found
    if not found.cells and not found.missing:
        raise ConfigError("; ".join(found.unreadable) or "name results files, or directories of them")
    return found


class _Reader:
    """Reads what paths name.

    Attributes:
        unreadable: as in `Collection`.
    """

    def __init__(self) -> None:
        self._runs: dict[Path, Run] = {}
        self._missing: dict[Path, list[Missing]] = {}
        self._sizes: dict[Path, FoundSize] = {}
        self._capacities: dict[Path, FoundCapacity] = {}
        self._comparisons: dict[Path, FoundComparison] = {}
        self._unfinished: dict[Path, UnfinishedSize] = {}
        self._skipped: list[str] = []
        self._left_out: dict[str, None] = {}
        self.unreadable: list[str] = []

    @property
    def found(self) -> Collection:
        """What was read so far."""
        return Collection(
            cells_of(self._runs.values()),
            tuple(row for rows in self._missing.values() for row in rows),
            tuple(dict.fromkeys(self.unreadable)),
            tuple(self._left_out),
            _by_name(self._sizes),
            _by_name(self._capacities),
            _by_name(self._comparisons),
            _by_name(self._unfinished),
        )

    def named(self, path: Path) -> None:
        """Read what a user named.

        Raises:
            ConfigError: there is nothing in it.
        """
        if not path.is_dir():
            self._add(_Named(path))
            return
        if _is_logs(path):
            return
        self._skipped = []
        if not self._directory(path, 0):
            inside = f": {_some(self._skipped)}" if self._skipped else ""
            raise ConfigError(f"{path}: has no results files ({RESULTS}){inside}; name another")
        if self._skipped:
            self._left_out[f"{path}: skipped {_some(self._skipped)}"] = None

    def _directory(self, path: Path, depth: int) -> bool:
        """Read a directory; whether there was something in it.

        Args:
            path: of it.
            depth: how far below the named one it is.
        """
        if _is_sweep(path):
            return self._sweep(path, depth)
        files = sorted(path.glob(RESULTS))
        try:
            if is_comparison(path):
                self._comparison(path)
            elif is_capacity(path):
                self._capacities[path.resolve()] = read_capacity(path)
            else:
                others = sorted({*path.glob("*.json")} - {*files})
                self._skipped += [f"{file} (its name is not {RESULTS})" for file in others]
        except ConfigError as error:
            self.unreadable.append(str(error))
        for file in files:
            self._tried(_Named(file))
        directories = [each for each in sorted(path.iterdir()) if each.is_dir() and not _is_logs(each)]
        inside = [self._inside(each, depth + 1) for each in directories]
        return bool(files) or any(inside)

    def _comparison(self, path: Path) -> None:
        if (found := read_comparison(path)) is not None:
            self._comparisons[path.resolve()] = found
        elif (missing := unfinished_text(path)) is not None:
            self._skipped.append(f"{path} ({missing})")

    def _inside(self, path: Path, depth: int) -> bool:
        """Read a directory that was not named itself: what is wrong with it is said, and the rest is read."""
        if path.name.startswith(".") or path.is_symlink():
            return False
        if depth > MAX_DEPTH:
            self._skipped.append(f"{path} (more than {plural(MAX_DEPTH, 'level')} below)")
            return False
        try:
            return self._directory(path, depth)
        except ConfigError as error:
            self.unreadable.append(str(error))
        except OSError as error:
            self.unreadable.append(f"{path}: cannot be read: {error.strerror or error}")
        return True

    def _sweep(self, path: Path, depth: int) -> bool:
        """Read what the ledger names; other files belong to measurements that were cut off and made again."""
        header = ledger.read_header(path)
        entries = list(ledger.read_entries(path))
        if not entries and depth:
            self._skipped.append(f"{path} (no finished measurement)")
            return False
        if not entries:
            problem = "holds no finished measurement"
            raise ConfigError(f"{path}: {problem}; wait for it, or run its command again")
        sweep = path.resolve()
        self._missing[sweep] = [
            Missing(entry.cell, entry.error or "no results") for entry in entries if not entry.results
        ]
        try:
            if (size := read_size(path, header)) is not None:
                self._sizes[sweep] = size
            elif (unfinished := _unfinished(path, header)) is not None:
                self._unfinished[sweep] = unfinished
        except ConfigError as error:
            self.unreadable.append(str(error))
        for entry in entries:
            if entry.results is not None:
                self._tried(_Named(path / entry.results, entry.repeat, entry.kind == "anchor", sweep))
        return True

    def _tried(self, found: _Named) -> None:
        try:
            self._add(found)
        except ConfigError as error:
            self.unreadable.append(str(error))

    def _add(self, found: _Named) -> None:
        path = found.path.resolve()
        # What a ledger says of a file counts more than the file alone, whichever was named first.
        if path not in self._runs or found.sweep is not None:
            self._runs[path] = run_of(read(found.path), found.path, found.repeat, found.anchor, found.sweep)


@dataclass(frozen=True, slots=True)
class _Named:
    """A results file, and what a ledger says of it."""

    path: Path
    repeat: int = 0
    anchor: bool = False
    sweep: Path | None = None


T = TypeVar("T")


def _by_name(found: Mapping[Path, T]) -> tuple[T, ...]:
    """Names of directories hold their time."""
    return tuple(found[path] for path in sorted(found, key=lambda path: path.name.partition("-")[2]))


def _some(texts: Sequence[str]) -> str:
    """The first few."""
    rest = len(texts) - MOST_NAMED
    return ", ".join(texts[:MOST_NAMED]) + (f" and {rest} more" if rest > 0 else "")


def _unfinished(path: Path, header: Mapping[str, Any]) -> UnfinishedSize | None:
    """A search of the cheapest configuration without an answer; None of a sweep.

    Args:
        path: of its directory.
        header: of its ledger.
    """
    settings = header.get("settings")
    slo = settings.get("slo") if isinstance(settings, dict) else None
    members = {"model": header.get("model"), "rate_rps": header.get("rate_rps"), "command": header.get("command")}
    if not isinstance(slo, list):
        return None
    objective = ",".join(map(str, slo))
    try:
        return msgspec.convert({**members, "objective": objective, "directory": path}, UnfinishedSize)
    except msgspec.ValidationError:
        return None


def _is_sweep(directory: Path) -> bool:
    return (directory / ledger.LEDGER).exists() or (directory / ledger.HEADER).exists()


def _is_logs(path: Path) -> bool:
    """Whether a directory lies beside results, and so is what a pattern such as results/* names."""
    return path.suffix == ".logs" or path.name == "logs"
