"""Reads what directories of results hold beside their runs: the answers of searches, and comparisons."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import msgspec

from frontend_launch.quantities import plural
from loadgen.errors import ConfigError
from loadgen.experiments.compare import FOUND, Made
from loadgen.experiments.compare import HEADER as COMPARE
from loadgen.experiments.compare import LEDGER as ROUNDS
from loadgen.experiments.search import Capacity
from loadgen.experiments.size import SIZE
from loadgen.files import UnreadableError, read_bytes, read_text
from loadgen.judging.comparison import MAX_ROUNDS, METRICS, Comparison, paired
from loadgen.results.document import parse
from loadgen.results.files import MAX_BYTES, SEARCH, read

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
        unfinished: how far it is, where it was killed or still runs; empty otherwise.
    """

    directory: Path
    comparison: Comparison
    rounds: tuple[tuple[str | None, str], ...]
    left_out: tuple[str, ...]
    unfinished: str = ""


@dataclass(frozen=True, slots=True)
class _Compare:
    """What a comparison was to measure, as far as `report` needs it."""

    rounds: int
    metrics: tuple[str, ...]
    margin: float
    baseline: tuple[str, ...] = ()
    allow_unpaired: bool = False


def is_comparison(directory: Path) -> bool:
    """Whether a directory is that of a comparison, finished or not."""
    return (directory / COMPARE).exists() and ((directory / FOUND).exists() or (directory / ROUNDS).exists())


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


def read_comparison(directory: Path) -> FoundComparison | None:
    """What a comparison found; None for a description, or before its first whole round.

    Of a comparison that was killed, or still runs, the whole rounds are judged.

    Raises:
        ConfigError: it cannot be read.
    """
    rounds, left_out = _rounds(directory / ROUNDS)
    if not (directory / FOUND).exists():
        return _unfinished(directory, rounds, left_out)
    found = _read(directory / FOUND, Comparison)
    for effect in found.effects:
        if not 1 / MOST_MARGIN <= effect.margin <= MOST_MARGIN:
            problem = f"a margin of {effect.margin:g} of {effect.metric}"
            raise ConfigError(f"{directory / FOUND}: cannot be read: {problem}")
    return FoundComparison(directory, found, rounds, left_out)


def unfinished_text(directory: Path) -> str | None:
    """What is missing of a comparison that `read_comparison` has no answer of; None for a description.

    Args:
        directory: of the comparison.

    Raises:
        ConfigError: it cannot be read.
    """
    header = _read(directory / COMPARE, _Compare)
    if not header.baseline:
        return "a comparison without a finished round"
    return "an unfinished comparison with a baseline" if header.allow_unpaired else None


def _unfinished(
    directory: Path, rounds: Sequence[tuple[str | None, str]], left_out: tuple[str, ...]
) -> FoundComparison | None:
    """The answer of the whole rounds of a comparison that has not come to its end.

    Args:
        directory: of the comparison.
        rounds: the names of both results files of each.
        left_out: a line for each run that does not count.
    """
    header = _read(directory / COMPARE, _Compare)
    pairs = [(first, second) for first, second in rounds if first is not None]
    if header.baseline or not pairs:
        return None
    if not 0 < header.margin <= 1 or not set(header.metrics) <= set(METRICS) or len(pairs) > MAX_ROUNDS:
        problem = f"a comparison of {plural(len(pairs), 'round')} by {', '.join(header.metrics)}"
        raise ConfigError(f"{directory / COMPARE}: cannot be read: {problem} within {header.margin:g}")
    summaries = [(read(directory / first).summary, read(directory / second).summary) for first, second in pairs]
    found = paired(summaries, header.metrics, header.margin)
    unfinished = f"{len(pairs)} of {plural(header.rounds, 'round')} measured: it was killed, or still runs"
    return FoundComparison(directory, found, tuple(pairs), left_out, unfinished)


def _rounds(path: Path) -> tuple[tuple[tuple[str | None, str], ...], tuple[str, ...]]:
    """The whole rounds of a comparison, and a line for each run that does not count; a torn last line is ignored."""
    try:
        lines = read_bytes(path, MAX_BYTES).splitlines(keepends=True)
        runs = [msgspec.json.decode(line, type=Made) for line in lines if line.endswith(b"\n")]
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
    return rounds, left_out


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
