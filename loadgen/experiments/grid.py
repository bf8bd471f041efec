"""A grid of settings, and the order in which its cells are measured; pure."""

from __future__ import annotations

import random
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from itertools import groupby, product
from typing import Literal, NamedTuple

Kind = Literal["cell", "anchor"]


class Size(NamedTuple):
    """A size of deployment; cells of one size share a deployment.

    Attributes:
        replicas: how many.
        cpus_per_replica: cores of each.
        gpus: how many of them have one, where that is part of the size.
    """

    replicas: int
    cpus_per_replica: int
    gpus: int = 0

    @property
    def name(self) -> str:
        """Such as ``r2-c1``, with ``g2`` where GPUs are part of it."""
        return f"r{self.replicas}-c{self.cpus_per_replica}" + (f"-g{self.gpus}" if self.gpus else "")

    @property
    def cores(self) -> int:
        """Of all replicas."""
        return self.replicas * self.cpus_per_replica


NOWHERE = Size(0, 0)
"""Of an external server."""


@dataclass(frozen=True, slots=True, order=True)
class GridCell:
    """One combination of settings.

    Attributes:
        size: of the deployment; without meaning for an external server.
        batch_size: largest batch a replica is given; with such a server the rows of a request.
        in_flight: most requests in flight; 0 for as many as a single run would have.
        rate_rps: requests a second; 0 for as many as the server takes.
    """

    size: Size
    batch_size: int
    in_flight: int = 0
    rate_rps: float = 0.0

    @property
    def name(self) -> str:
        """Such as ``r2-c1-b8``, with ``i16`` for requests in flight and ``q100`` for a rate where they belong."""
        parts = [self.size.name] if self.size != NOWHERE else []
        parts.append(f"b{self.batch_size}")
        parts += [f"i{self.in_flight}"] if self.in_flight else []
        parts += [f"q{self.rate_rps:g}"] if self.rate_rps else []
        return "-".join(parts)


@dataclass(frozen=True, slots=True)
class Measurement:
    """One cell, once.

    Attributes:
        cell: which.
        repeat: earlier measurements of the cell of this kind.
        kind: ``anchor`` for the cell that is measured repeatedly to expose drift.
    """

    cell: GridCell
    repeat: int = 0
    kind: Kind = "cell"


def cells(replicas: Sequence[int], cpus_per_replica: Sequence[int], batch_sizes: Sequence[int]) -> tuple[GridCell, ...]:
    """All combinations, each once; replicas change slowest and batch sizes fastest, as in the original's driver.

    Args:
        replicas: how many; repeated numbers count once.
        cpus_per_replica: cores of each replica.
        batch_sizes: largest batches, in queries.
    """
    axes = (dict.fromkeys(axis) for axis in (replicas, cpus_per_replica, batch_sizes))
    return tuple(GridCell(Size(count, each), batch_size) for count, each, batch_size in product(*axes))


def with_loads(grid: Iterable[GridCell], in_flight: Sequence[int], rates_rps: Sequence[float]) -> tuple[GridCell, ...]:
    """Each cell under each load: a number of requests in flight, or a rate; with neither, the load of a single run.

    Args:
        grid: the cells without a load.
        in_flight: most requests in flight; empty for none of these loads.
        rates_rps: requests a second; empty for none of these loads.
    """
    loads = [(count, 0.0) for count in dict.fromkeys(in_flight)] + [(0, rate) for rate in dict.fromkeys(rates_rps)]
    return tuple(replace(cell, in_flight=count, rate_rps=rate) for cell in grid for count, rate in loads or [(0, 0.0)])


def schedule(grid: Sequence[GridCell], repeat: int, seed: int, anchor_every: int | None) -> tuple[Measurement, ...]:
    """The order of measuring.

    Each round measures every cell once. With several rounds the order of cells is random, so that changes over time do
    not look like effects of the settings. Cells of one size stay together, since another size needs another deployment.
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
