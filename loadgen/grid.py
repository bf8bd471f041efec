"""A grid of settings, and the order in which its cells are measured; pure."""

from __future__ import annotations

import random
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import groupby, product
from typing import Literal, NamedTuple

Kind = Literal["cell", "anchor"]


class Size(NamedTuple):
    """A size of deployment; cells of one size can be measured without starting anything anew.

    Attributes:
        replicas: how many.
        cpus_per_replica: cores of each.
    """

    replicas: int
    cpus_per_replica: int

    @property
    def name(self) -> str:
        """Such as ``r2-c1``."""
        return f"r{self.replicas}-c{self.cpus_per_replica}"


@dataclass(frozen=True, slots=True, order=True)
class Cell:
    """One combination of settings.

    Attributes:
        size: of the deployment.
        batch_size: largest batch a replica is given.
    """

    size: Size
    batch_size: int

    @property
    def name(self) -> str:
        """Such as ``r2-c1-b8``."""
        return f"{self.size.name}-b{self.batch_size}"


@dataclass(frozen=True, slots=True)
class Measurement:
    """One cell, once.

    Attributes:
        cell: which.
        repeat: how often it was measured before, as this kind.
        kind: ``anchor`` for the cell that is measured again and again to expose drift.
    """

    cell: Cell
    repeat: int = 0
    kind: Kind = "cell"


def cells(replicas: Sequence[int], cpus_per_replica: Sequence[int], batch_sizes: Sequence[int]) -> tuple[Cell, ...]:
    """All combinations, each once; replicas change slowest and batch sizes fastest, as in the original's driver."""
    axes = (dict.fromkeys(axis) for axis in (replicas, cpus_per_replica, batch_sizes))
    return tuple(Cell(Size(count, each), batch_size) for count, each, batch_size in product(*axes))


def schedule(grid: Sequence[Cell], repeat: int, seed: int, anchor_every: int | None) -> tuple[Measurement, ...]:
    """The order of measuring.

    Each round measures every cell once. With several rounds their order is drawn, so that what changes with time does
    not look like an effect of the settings; cells of one size stay together, since changing it means starting anew.
    The first cell that is measured is the anchor: it is measured again after every `anchor_every` cells, and at
    the end.

    Args:
        grid: the cells.
        repeat: rounds.
        seed: of the order.
        anchor_every: cells between two measurements of the anchor; None for the end only.
    """
    generator = random.Random(seed)
    order: list[Measurement] = []
    for number in range(repeat):
        sizes = [list(members) for _, members in groupby(sorted(grid), key=lambda cell: cell.size)]
        if repeat > 1:
            generator.shuffle(sizes)
            for members in sizes:
                generator.shuffle(members)
        order += [Measurement(cell, number) for members in sizes for cell in members]
    return tuple(_anchored(order, anchor_every)) if len(order) > 1 else tuple(order)


def _anchored(order: Sequence[Measurement], every: int | None) -> Iterable[Measurement]:
    anchor, repeat = order[0].cell, 0
    for done, measurement in enumerate(order, start=1):
        yield measurement
        if done == len(order) or (every is not None and done % every == 0):
            yield Measurement(anchor, repeat, "anchor")
            repeat += 1


def by_size(measurements: Iterable[Measurement]) -> Iterable[tuple[Size, list[Measurement]]]:
    """Runs of measurements that need the same deployment."""
    for size, members in groupby(measurements, key=lambda measurement: measurement.cell.size):
        yield size, list(members)
