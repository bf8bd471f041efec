"""Reads results files and sweep directories into runs, with a line for each file that it cannot read."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from loadgen.errors import ConfigError
from loadgen.experiments import ledger
from loadgen.results.cells import Cell, Run, cells_of, run_of
from loadgen.results.files import read


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
class Collection:
    """What was found.

    Attributes:
        cells: runs by configuration and load, smallest configurations first.
        missing: what sweeps could not measure.
        unreadable: one line for each file or directory that could not be read.
    """

    cells: tuple[Cell, ...]
    missing: tuple[Missing, ...]
    unreadable: tuple[str, ...]


def collect(paths: Sequence[Path]) -> Collection:
    """Read results files, directories of them, and directories of sweeps; a file that is named twice counts once.

    Raises:
        ConfigError: there is nothing to report: no file could be read, and no sweep says why.
    """
    runs: dict[Path, Run] = {}
    missing: list[Missing] = []
    unreadable: list[str] = []
    for path in paths:
        try:
            for found in _within(path):
                try:
                    _add(found, runs, missing)
                except ConfigError as error:
                    unreadable.append(str(error))
        except ConfigError as error:
            unreadable.append(str(error))
        except OSError as error:
            unreadable.append(f"{path} cannot be read: {error.strerror or error}")
    if not runs and not missing:
        raise ConfigError("; ".join(unreadable) or "name results files, or directories of them")
    return Collection(cells_of(runs.values()), tuple(missing), tuple(unreadable))


@dataclass(frozen=True, slots=True)
class _Named:
    """A results file, and what a ledger says of it."""

    path: Path
    repeat: int = 0
    anchor: bool = False
    sweep: Path | None = None


def _add(found: _Named | Missing, runs: dict[Path, Run], missing: list[Missing]) -> None:
    if isinstance(found, Missing):
        missing.append(found)
        return
    path = found.path.resolve()
    # What a ledger says of a file counts more than the file alone, whichever was named first.
    if path not in runs or found.sweep is not None:
        runs[path] = run_of(read(found.path), found.path, found.repeat, found.anchor, found.sweep)


def _within(path: Path) -> Iterable[_Named | Missing]:
    if not path.is_dir():
        return [_Named(path)]
    if path.suffix == ".logs" or path.name == "logs":  # beside results, and so what a pattern such as results/* names
        return []
    if (path / ledger.LEDGER).exists() or (path / ledger.HEADER).exists():
        return _of_sweep(path)
    files = sorted(path.glob("results-*.json"))
    if not files:
        sweeps = sorted(sweep.parent.name for sweep in path.glob(f"*/{ledger.LEDGER}"))
        remedy = f"name a sweep in it, such as {path / sweeps[-1]}" if sweeps else "name another"
        raise ConfigError(f"{path} has no results files (results-*.json): {remedy}")
    return [_Named(file) for file in files]


def _of_sweep(directory: Path) -> Iterator[_Named | Missing]:
    """What the ledger names; a file that it does not name belongs to a measurement that was cut off and made again."""
    ledger.read_header(directory)
    entries = list(ledger.read_entries(directory))
    if not entries:
        remedy = "wait for it, or run its command again with {run_sweep.resume}"
        raise ConfigError(f"{directory} holds a sweep without a finished measurement: {remedy}")
    for entry in entries:
        if entry.results is not None:
            sweep = directory.resolve()
            yield _Named(directory / entry.results, entry.repeat, entry.kind == "anchor", sweep)
        else:
            yield Missing(entry.cell, entry.error or "no results")
