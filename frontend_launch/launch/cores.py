"""The cores of a machine: which replicas have them, which are best for the next one, and even shares of them; pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Sequence
from itertools import chain, pairwise
from typing import TypeVar

from frontend_launch.launch.placement_request import PlacementRequest
from frontend_launch.launch.topology import Topology

T = TypeVar("T")


Unit = tuple[int, ...]
"""Threads of one physical core that go to one process where there are enough."""


class Cores:
    """The cores of a machine, and which of them replicas have.

    Args:
        topology: the machine.
    """

    def __init__(self, topology: Topology) -> None:
        self.topology = topology
        self.replicas: list[tuple[int, ...]] = []
        own = {core: group for group in topology.siblings for core in group}
        self.physical = {core: own.get(core, (core,)) for core in topology.cores}
        self._nodes = {core: node.number for node in topology.numa_nodes for core in node.cores}

    @property
    def of_replicas(self) -> dict[int, None]:
        """The cores that replicas have, in their order."""
        return dict.fromkeys(chain(*self.replicas))

    def node(self, cores: Sequence[int]) -> int | None:
        """The NUMA node of the first of some cores; None where it is unknown."""
        return self._nodes.get(cores[0])

    def grouped(self, cores: Iterable[int]) -> list[tuple[int, ...]]:
        """Cores by physical core, in their order."""
        groups: dict[tuple[int, ...], list[int]] = {}
        for core in cores:
            groups.setdefault(self.physical[core], []).append(core)
        return [tuple(group) for group in groups.values()]

    def layout(self, request: PlacementRequest) -> set[int]:
        """All threads of the physical cores of the layout, for a thread disturbs another as the core itself would."""
        wanted = (core for service in request.infrastructure_to_place for core in service.layout)
        return {thread for core in wanted for thread in self.physical.get(core, ())}

    def clean(self, busy: Collection[int]) -> list[Unit]:
        """The physical cores of which no thread is busy."""
        return [group for group in dict.fromkeys(self.physical.values()) if set(group).isdisjoint(busy)]

    def spare(self, request: PlacementRequest) -> list[Unit]:
        """What client and infrastructure may have for themselves: physical cores, or else threads beside others."""
        busy, named = {*self.of_replicas, *request.named_for_others}, frozenset(request.cpus or ())
        fewest = sum(service.processes for service in request.infrastructure_to_place) + (request.client_cpus is None)
        clean = self.clean(busy)
        units = [unit for unit in clean if named.isdisjoint(unit)]
        # Beside cores that are named for replicas, whether they need them or not.
        beside = [without(unit, named) for unit in clean if not named.isdisjoint(unit) and not named.issuperset(unit)]
        units += beside[: max(0, fewest - len(units))]
        if not units:
            free: list[Unit] = [(core,) for core in without(self.topology.cores, busy)]
            unnamed = [unit for unit in free if named.isdisjoint(unit)]
            units = unnamed[:fewest] or clean or free[:fewest]
        return units

    def near(self, units: Sequence[Unit], count: int, enough: int, nodes: Sequence[int | None]) -> list[Unit]:
        """Physical cores of one NUMA node, the first that has enough of them; those of several where none has.

        Args:
            units: those to choose from, the preferred ones first.
            count: how many.
            enough: threads.
            nodes: the preferred nodes, the best first.
        """
        here: dict[int | None, list[Unit]] = {node: [] for node in nodes}
        for unit in units:
            here.setdefault(self.node(unit), []).append(unit)
        for members in here.values():
            if sum(map(len, members)) >= enough:
                return members[:count]
        return list(chain(*here.values()))[:count]

    def take(
        self, pool: Sequence[int], count: int, avoided: Collection[int] = (), *disliked: Collection[int]
    ) -> tuple[int, ...]:
        """Cores for the next replica, see `best`, which has them from now on."""
        self.replicas.append(self.best(pool, count, avoided, *disliked))
        return self.replicas[-1]

    def best(
        self, pool: Sequence[int], count: int, avoided: Collection[int] = (), *disliked: Collection[int]
    ) -> tuple[int, ...]:
        """Cores for the next replica, ascending: those of other replicas only when nothing else is left.

        Args:
            pool: the cores that it may have, at least `count`, the preferred ones first.
            count: how many.
            avoided: those that others use; they are taken after all others, and their physical cores late.
            *disliked: those that are taken after the others, but before a physical core of another process.
        """
        avoided = frozenset(avoided)
        dislikes = [frozenset(cores) for cores in disliked]
        others = Counter(chain(*self.replicas))
        beside = {self.physical[core] for core in others}
        beside_avoided = {self.physical[core] for core in avoided}
        mine: list[int] = []
        unshared = {core for core in pool if core not in others and core not in avoided}
        shared = beside | beside_avoided
        apart = (core for core in unshared if self.physical[core] not in shared)
        fits = Counter(self._nodes.get(core) for core in apart)

        def rank(core: int) -> tuple[object, ...]:
            physical = self.physical[core]
            threads = sum(thread in unshared for thread in physical)
            # Taking a part of a physical core would leave the rest to another replica. With one core for each,
            # there is always a rest.
            waste = (threads > count - len(mine), -threads) if count > 1 else ()
            # From what hurts most to what hurts least: to share a core with another replica, then with client or
            # infrastructure, then a physical core with one of them. What follows only chooses among equals:
            # the physical core that it is on, what is disliked, one memory, and the least waste.
            return (
                others[core],
                core in avoided,
                physical in beside,
                physical in beside_avoided,
                not any(thread in mine for thread in physical),
                *(core in cores for cores in dislikes),
                self._nodes.get(core) != self._nodes.get(mine[0]) if mine else fits[self._nodes.get(core)] < count,
                waste,
            )

        while len(mine) < count:
            mine.append(min((core for core in pool if core not in mine), key=rank))
            unshared.discard(mine[-1])
        return tuple(sorted(mine))


def share_out(cores: Iterable[int], count: int, siblings: Iterable[tuple[int, ...]] = ()) -> list[tuple[int, ...]]:
    """Deal cores to processes: each gets its own while they last, and as many as the others.

    Args:
        cores: at least one.
        count: of processes; with more than cores, processes share.
        siblings: those that are threads of one physical core, for each; they are dealt one after the other.
    """
    physical = {core: group for group in siblings for core in group}
    dealt = dict.fromkeys(chain(*(physical.get(core, (core,)) for core in cores)))
    return shares(tuple(dealt), count)


def shares(items: tuple[T, ...], count: int) -> list[tuple[T, ...]]:
    """Even parts of neighbours; with fewer items than parts, an item each, in turn.

    Args:
        items: at least one.
        count: of parts.
    """
    if len(items) < count:
        return [(items[number % len(items)],) for number in range(count)]
    bounds = [number * len(items) // count for number in range(count + 1)]
    return [items[begin:end] for begin, end in pairwise(bounds)]


def without(cores: tuple[int, ...], excluded: Iterable[int]) -> tuple[int, ...]:
    """Cores that are not excluded, in their order."""
    out = frozenset(excluded)
    return tuple(core for core in cores if core not in out)
