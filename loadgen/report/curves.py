"""The curves over cells: the Pareto front and scaling efficiency. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from loadgen.results.cells import Cell


def pareto_front(cells: Sequence[Cell]) -> list[Cell]:
    """Cells such that no other has both more throughput and a lower p99; by rising throughput.

    Cells of different models are compared with each other: give those of one model. Those without a p99 take no part.
    """
    known = [(cell.throughput_rps.median, p99.median, cell) for cell in cells if (p99 := cell.latency_ms("p99"))]
    front: list[Cell] = []
    lowest_ms = float("inf")
    for _, p99_ms, cell in sorted(known, key=lambda row: (-row[0], row[1])):
        if p99_ms < lowest_ms:
            lowest_ms = p99_ms
            front.append(cell)
    return front[::-1]


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
            groups.setdefault(alike, []).append(cell)
    found = []
    for group in groups.values():
        ordered = sorted({cell.configuration.replicas: cell for cell in group}.values(), key=_replicas)
        each_rps = [cell.throughput_rps.median / _replicas(cell) for cell in ordered]
        if len(ordered) > 1 and each_rps[0]:
            found.append(Scaling(tuple(ordered), tuple(each / each_rps[0] for each in each_rps)))
    return found


def _replicas(cell: Cell) -> int:
    return cell.configuration.replicas or 0
