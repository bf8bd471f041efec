"""Reads what directories of results hold beside their runs: the answers of searches, and comparisons."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import msgspec

from loadgen.errors import ConfigError
from loadgen.experiments.compare import FOUND, Made
from loadgen.experiments.compare import HEADER as COMPARE
from loadgen.experiments.compare import LEDGER as ROUNDS
from loadgen.experiments.search import Capacity
from loadgen.experiments.size import SIZE
from loadgen.files import UnreadableError, read_bytes, read_text
from loadgen.judging.comparison import Comparison
from loadgen.results.document import parse
from loadgen.results.files import MAX_BYTES, SEARCH

MOST_MARGIN = 1e3
"""No comparison tolerates a larger ratio."""

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class FoundCapacity:
    """The answer of a search for capacity.

    Attributes:
        directory: of the search.
        model: that was probed.
        slo: the conditions.
        capacity: the answer and the probes.
        tolerance: how exact the answer was to be; None where not known.
        command: that searched.
    """

    directory: Path
    model: str
    slo: tuple[str, ...]
    capacity: Capacity
    tolerance: float | None = None
    command: tuple[str, ...] = ()

    @property
    def objective(self) -> str:
        """All conditions."""
        return ",".join(self.slo)


@dataclass(frozen=True, slots=True)
class SizedCell:
    """A configuration of a search.

    Attributes:
        name: such as ``r2-c1-b8``.
        replicas: how many.
        cpus_per_replica: cores of each.
        gpus: GPUs of all.
        cores: of all replicas.
        batch_size: largest batch.
    """

    name: str
    replicas: int
    cpus_per_replica: int
    gpus: int
    cores: int
    batch_size: int


@dataclass(frozen=True, slots=True)
class SizedCapacity:
    """A throughput with what it is known to lie between."""

    value: float
    low: float
    high: float


@dataclass(frozen=True, slots=True)
class SizedShown:
    """The open loop that shows an answer.

    Attributes:
        duration_s: its length.
        text: what was found of the objective.
    """

    duration_s: float
    text: str = ""


@dataclass(frozen=True, slots=True)
class FoundSize:
    """The answer of a search of the cheapest configuration.

    Attributes:
        directory: of the search.
        command: that searched.

    The other members are those that `loadgen.experiments.size_document.size_document` writes.
    """

    rate_rps: float
    slo: tuple[str, ...]
    model: str
    state: str
    best: SizedCell | None
    ended: str
    within_s: float | None = None
    capacity_rps: SizedCapacity | None = None
    capacity_at_least: bool = False
    headroom: float | None = None
    limit: str = ""
    cost_per_hour: float | None = None
    cost_per_million_requests: float | None = None
    shown_by: SizedShown | None = None
    command: tuple[str, ...] = ()
    directory: Path = field(default_factory=Path)

    @property
    def objective(self) -> str:
        """All conditions."""
        return ",".join(self.slo)


@dataclass(frozen=True, slots=True)
class FoundComparison:
    """What rounds of two configurations show.

    Attributes:
        directory: of the comparison.
        comparison: what was found.
        rounds: the names of both results files of each round that counts, A first; None for a baseline.
        left_out: a line for each run that does not count.
    """

    directory: Path
    comparison: Comparison
    rounds: tuple[tuple[str | None, str], ...]
    left_out: tuple[str, ...]


def is_comparison(directory: Path) -> bool:
    """Whether a directory is that of a comparison that was finished."""
    return (directory / COMPARE).exists() and (directory / FOUND).exists()


def is_capacity(directory: Path) -> bool:
    """Whether a directory is that of a search for capacity with a probe at least."""
    return (directory / SEARCH).exists()


def read_capacity(directory: Path) -> FoundCapacity:
    """The answer of a search for capacity.

    Raises:
        ConfigError: it cannot be read.
    """
    return _read(directory / SEARCH, FoundCapacity, {"directory": directory})


def read_size(directory: Path, header: Mapping[str, Any]) -> FoundSize | None:
    """The answer of a search of the cheapest configuration; None where it has none yet.

    Args:
        directory: of the search.
        header: of its ledger, which has the command.

    Raises:
        ConfigError: it cannot be read.
    """
    command = header.get("command")
    members = {"directory": directory, "command": command if isinstance(command, list) else []}
    return _read(directory / SIZE, FoundSize, members) if (directory / SIZE).exists() else None


def read_comparison(directory: Path) -> FoundComparison:
    """What a comparison found.

    Raises:
        ConfigError: it cannot be read.
    """
    found = _read(directory / FOUND, Comparison)
    for effect in found.effects:
        if not 1 / MOST_MARGIN <= effect.margin <= MOST_MARGIN:
            problem = f"a margin of {effect.margin:g} of {effect.metric}"
            raise ConfigError(f"{directory / FOUND}: cannot be read: {problem}")
    path = directory / ROUNDS
    try:
        runs = [msgspec.json.decode(line, type=Made) for line in read_bytes(path, MAX_BYTES).splitlines()]
    except (UnreadableError, ValueError, OverflowError, RecursionError) as error:
        raise ConfigError(f"{path}: cannot be read: {error}") from None
    sides: dict[int, dict[str, str]] = {}
    for run in runs:
        if run.results is not None and run.left_out is None:
            sides.setdefault(run.round, {})[run.side] = run.results
    has_a = any(run.side == "A" for run in runs)
    whole = [pair for _, pair in sorted(sides.items()) if "B" in pair and ("A" in pair or not has_a)]
    rounds = tuple((pair.get("A"), pair["B"]) for pair in whole)
    left_out = tuple(f"round {run.round + 1}, {run.side}: {run.left_out}" for run in runs if run.left_out is not None)
    return FoundComparison(directory, found, rounds, left_out)


def _read(path: Path, kind: type[T], members: Mapping[str, object] | None = None) -> T:
    """A document as a type; members that the type does not have are ignored.

    Args:
        path: of the file.
        kind: what it is.
        members: further ones.
    """
    try:
        document: Mapping[str, Any] = msgspec.convert(parse(read_text(path, MAX_BYTES)), dict[str, Any])
        return msgspec.convert({**document, **(members or {})}, kind)
    except (UnreadableError, ValueError, OverflowError, RecursionError) as error:
        raise ConfigError(f"{path}: cannot be read: {error}") from None
