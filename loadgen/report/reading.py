"""Reads results files and sweep directories into runs, with a line for each file that it cannot read."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence, Set
from dataclasses import dataclass
from pathlib import Path

from frontend_launch.integers import plural
from loadgen.errors import ConfigError
from loadgen.experiments import ledger
from loadgen.results.cells import Cell, Run, cells_of, run_of
from loadgen.results.files import SEARCH, read

RESULTS = "results-*.json"


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
        left_out: one line for each directory that has others with results in it, which were not named.
    """

    cells: tuple[Cell, ...]
    missing: tuple[Missing, ...]
    unreadable: tuple[str, ...]
    left_out: tuple[str, ...] = ()


def collect(paths: Sequence[Path]) -> Collection:
    """Read results files, directories of them, and directories of sweeps; a file that is named twice counts once.

    Raises:
        ConfigError: there is nothing to report: no file could be read, and no sweep says why.
    """
    runs: dict[Path, Run] = {}
    missing: list[Missing] = []
    unreadable: list[str] = []
    named = {path.resolve() for path in paths}
    left_out = dict.fromkeys(line for path in paths if (line := _left_out(path, named)) is not None)
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
    return Collection(cells_of(runs.values()), tuple(missing), tuple(unreadable), tuple(left_out))


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
    if _is_logs(path):
        return []
    if _is_sweep(path):
        return _of_sweep(path)
    files = sorted(path.glob(RESULTS))
    if not files:
        found = _inside(path)
        what = "sweep" if found and _is_sweep(found[-1]) else "directory"
        remedy = f"name a {what} in it, such as {found[-1]}" if found else "name another"
        raise ConfigError(f"{path} has no results files ({RESULTS}): {remedy}")
    return [_Named(file) for file in files]


def _left_out(path: Path, named: Set[Path]) -> str | None:
    """That a directory of results has others in it, which are not reported with it; None where it has none."""
    if not path.is_dir() or _is_sweep(path) or not any(path.glob(RESULTS)):
        return None
    inside = [directory for directory in _inside(path) if directory.resolve() not in named]
    if not inside:
        return None
    sweeps = sum(map(_is_sweep, inside))
    searches = sum((directory / SEARCH).exists() for directory in inside)
    kinds = ((sweeps, "sweep", "sweeps"), (searches, "search", "searches"))
    others = (len(inside) - sweeps - searches, "directory of results", "directories of results")
    what = [plural(count, one, several) for count, one, several in (*kinds, others) if count]
    return f"{path}: {' and '.join(what)} in it left out: name what you want, such as {inside[-1]}"


def _inside(path: Path) -> list[Path]:
    """Directories with results in a directory."""
    try:
        directories = [each for each in sorted(path.iterdir()) if each.is_dir() and not _is_logs(each)]
    except OSError:  # which reading it will say
        return []
    return [each for each in directories if _is_sweep(each) or any(each.glob(RESULTS))]


def _is_sweep(directory: Path) -> bool:
    return (directory / ledger.LEDGER).exists() or (directory / ledger.HEADER).exists()


def _is_logs(path: Path) -> bool:
    """Whether a directory lies beside results, and so is what a pattern such as results/* names."""
    return path.suffix == ".logs" or path.name == "logs"


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
