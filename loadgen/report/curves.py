"""The curves over cells: the Pareto front, scaling efficiency and flat throughput. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from frontend_launch.quantities import number
from loadgen.judging.verdict import WINDOW_FULL_SHARE
from loadgen.results.cells import Cell, Configuration, Run

FLAT_SHARE = 0.05
"""Within this share, a throughput counts as the same."""


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
            groups.setdefault((alike, cell.sweep), []).append(cell)
    found = []
    for group in groups.values():
        ordered = sorted({cell.configuration.replicas: cell for cell in group}.values(), key=_replicas)
        each_rps = [cell.throughput_rps.median / _replicas(cell) for cell in ordered]
        if len(ordered) > 1 and each_rps[0]:
            found.append(Scaling(tuple(ordered), tuple(each / each_rps[0] for each in each_rps)))
    return found


def flat(cells: Sequence[Cell]) -> list[str]:
    """A sentence for each external server of which twice the window brought no more throughput.

    The replicas of such a server are not seen, so nothing tells its own limit from that of the way to it. The client is
    excluded: it kept both windows full, and its verdicts do not name it.
    """
    groups: dict[tuple[Configuration, Path | None], list[Cell]] = {}
    for cell in cells:
        if cell.load.arrivals is None and all(map(_keeps_window_full, cell.counted)):
            groups.setdefault((cell.configuration, cell.sweep), []).append(cell)
    pairs = [next(_flat_pairs(sorted(group, key=_window)), None) for group in groups.values()]
    return [
        f"{small.name}: throughput flat while the window doubled ({small.load.window} to {large.load.window} requests "
        f"in flight: {number(small.throughput_rps.median)} and {number(large.throughput_rps.median)} requests/s): "
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
