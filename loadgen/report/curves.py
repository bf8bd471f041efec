"""The curves over cells: the Pareto front, scaling efficiency and flat throughput. Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from frontend_launch.quantities import number
from loadgen.judging.verdict import WINDOW_FULL_SHARE
from loadgen.results.cells import Cell, Configuration, Run

FLAT_SHARE = 0.05
"""Within this share, a throughput counts as the same."""


def pareto_front(cells: Sequence[Cell], cost: Callable[[Cell], float | None]) -> list[Cell]:
    """Cells such that no other has both more throughput and a lower cost; by rising throughput.

    Cells of different models are compared with each other: give those of one model.

    Args:
        cells: of one model.
        cost: of a cell, such as its cores; None where not known: such cells take no part.
    """
    known = [(cell.throughput_rps.median, own, cell) for cell in cells if (own := cost(cell)) is not None]
    front: list[Cell] = []
    lowest = float("inf")
    for _, own, cell in sorted(known, key=lambda row: (-row[0], row[1])):
        if own < lowest:
            lowest = own
            front.append(cell)
    return front[::-1]


@dataclass(frozen=True, slots=True)
class Front:
    """The cells of a model that no other beats.

    Attributes:
        cost: what throughput is set against: ``cores``, ``gpus`` or ``p99``.
        cells: by rising throughput.
    """

    cost: str
    cells: tuple[Cell, ...]


def fronts(cells: Sequence[Cell], at_a_rate: Callable[[Cell], bool]) -> list[Front]:
    """Of each model, saturating cells by cores or GPUs, and open loops by their p99; fronts of one cell too.

    Args:
        cells: valid ones.
        at_a_rate: whether the latency of a cell is that of users at a rate, and not a queue's.
    """
    groups: dict[tuple[str, str], list[Cell]] = {}
    for cell in cells:
        own = "gpus" if cell.configuration.gpus else "cores"
        cost = "p99" if at_a_rate(cell) else own if cell.load.arrivals is None else None
        if cost is not None:
            groups.setdefault((cell.configuration.model, cost), []).append(cell)
    found = (Front(cost, tuple(pareto_front(group, COSTS[cost]))) for (_, cost), group in groups.items())
    return [front for front in found if front.cells]


def _p99_ms(cell: Cell) -> float | None:
    p99 = cell.latency_ms("p99")
    return None if p99 is None else p99.median


COSTS: Mapping[str, Callable[[Cell], float | None]] = {
    "cores": lambda cell: cell.configuration.cores,
    "gpus": lambda cell: cell.configuration.gpus,
    "p99": _p99_ms,
}
"""What a front sets throughput against."""


@dataclass(frozen=True, slots=True)
class Scaling:
    """How throughput grows with replicas, all else being equal.

    Attributes:
        cells: by rising number of replicas, one for each, two at least.
        efficiency: throughput per replica ÷ that of the first cell.
    """

    cells: tuple[Cell, ...]
    efficiency: tuple[float, ...]


def scaling(cells: Sequence[Cell]) -> list[Scaling]:
    """Saturating cells that differ in their replicas only, with what these have in cores and GPUs."""
    groups: dict[object, list[Cell]] = {}
    for cell in cells:
        c = cell.configuration
        if c.replicas and cell.load.arrivals is None:
            # The default window follows the replicas, so it is no part of what is equal.
            alike = replace(c, replicas=None, cores=None, gpus=bool(c.gpus))
            groups.setdefault((alike, cell.sweep), []).append(cell)
    found = []
    for group in groups.values():
        ordered = sorted({cell.configuration.replicas: cell for cell in group}.values(), key=_replicas)
        each_rps = [cell.throughput_rps.median / _replicas(cell) for cell in ordered]
        if len(ordered) > 1 and each_rps[0]:
            found.append(Scaling(tuple(ordered), tuple(each / each_rps[0] for each in each_rps)))
    return found


def flat(cells: Sequence[Cell]) -> list[str]:
    """A sentence for each external server whose throughput did not rise when the window doubled.

    The client does not see the replicas of such a server, so the limit may be the server or the network. The client is
    excluded: it kept both windows full, and its verdicts do not name it.
    """
    groups: dict[tuple[Configuration, Path | None], list[Cell]] = {}
    for cell in cells:
        if cell.load.arrivals is None and all(map(_keeps_window_full, cell.counted)):
            groups.setdefault((cell.configuration, cell.sweep), []).append(cell)
    pairs = [next(_flat_pairs(sorted(group, key=_window)), None) for group in groups.values()]
    return [
        f"{small.name}: throughput flat while the window doubled "
        f"({small.load.window:,} to {large.load.window:,} requests in flight: "
        f"{number(small.throughput_rps.median)} and {number(large.throughput_rps.median)} requests/s): "
        "the limit is the server or the way to it"
        for small, large in filter(None, pairs)
    ]


def _keeps_window_full(run: Run) -> bool:
    """Whether a valid run on a server whose replicas are not seen says that the client was not its limit."""
    verdict = run.results.verdict
    full = verdict.evidence.in_flight_mean >= WINDOW_FULL_SHARE * verdict.evidence.window
    valid = run.invalid is None and run.results.error is None and bool(run.results.certificate)
    return valid and full and verdict.limit != "client" and verdict.evidence.replicas is None


def _flat_pairs(cells: Sequence[Cell]) -> Iterator[tuple[Cell, Cell]]:
    """Windows, and the next that is twice as large or more, where that has the same throughput; by rising window."""
    for small in cells:
        large = next((cell for cell in cells if _window(cell) >= 2 * _window(small)), None)
        before = small.throughput_rps.median
        if large is not None and abs(large.throughput_rps.median - before) <= FLAT_SHARE * before > 0:
            yield small, large


def _window(cell: Cell) -> int:
    return cell.load.window or 0


def _replicas(cell: Cell) -> int:
    return cell.configuration.replicas or 0
