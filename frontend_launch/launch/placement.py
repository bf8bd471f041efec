"""Plans which process runs on which cores and GPU: topology and request in, plan or refusal out; pure.

``docs/placement.md`` says the rules in words. In the order in which they are applied:

1. A replica without a GPU of its own has ``cpus_per_replica`` cores to itself: those that the user named, in that
   order, otherwise the highest numbers that the infrastructure's layout leaves.
2. GPU replicas have cores of their own among the rest, on the GPU's NUMA node first. Client and infrastructure keep
   one core each.
3. Client and infrastructure get the cores that the user named for them. Otherwise they split the spare physical cores
   evenly, each as many as it can use, from its layout first. They share a single spare core; without one, they share
   the cores of other processes. Cores that were named for replicas count as spare only when there are no others, even
   while no replica uses them. Frontends prefer the NUMA node of the replicas they feed.
4. GPU replicas for which rule 2 left too few cores share those of client and infrastructure.

A physical core goes to one process with all of its threads where there are enough, and the plan says where it does not.
Two replicas never share a core unless overlaps are allowed.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import chain, pairwise
from typing import TypeVar

from frontend_launch.integers import core_ranges
from frontend_launch.launch.placement_request import (
    CONTAINERS,
    FRONTENDS,
    PlacementRequest,
    Service,
    check,
    cpu_shortage,
    gpu_shortage,
    with_frontends,
)
from frontend_launch.launch.topology import Topology

__all__ = [
    "CONTAINERS",
    "FRONTENDS",
    "Assignment",
    "Placement",
    "PlacementRequest",
    "Service",
    "core_ranges",
    "difference",
    "plan",
    "share_out",
    "with_frontends",
]

T = TypeVar("T")

CLIENT_CORES = 4
"""Most cores that the client is given, unless it is of more processes, and as many as it wants."""


@dataclass(frozen=True, slots=True)
class Assignment:
    """Where one process runs.

    Attributes:
        node: the machine's name.
        role: ``client``, a role of the infrastructure, or ``replica-0``, ``replica-1``, …
        cores: its cores, ascending.
        gpu: the number of its GPU, or None.
        shared: whether another process of the plan has one of its cores.
        numa_nodes: the numbers of the memory nodes of its cores, ascending; empty when they are unknown.
        shares_physical: whether another process of the plan has a thread of one of its physical cores.
        siblings: its cores that are threads of one physical core, for each that has several of them.
    """

    node: str
    role: str
    cores: tuple[int, ...]
    gpu: int | None
    shared: bool
    numa_nodes: tuple[int, ...] = ()
    shares_physical: bool = False
    siblings: tuple[tuple[int, ...], ...] = ()

    @property
    def text(self) -> str:
        """Its role and cores, in words."""
        return f"{self.role}: cores {core_ranges(self.cores)}{f' ({self.sharing})' if self.sharing else ''}"

    @property
    def sharing(self) -> str:
        """What it shares with other processes, in words; empty for nothing."""
        return "shared" if self.shared else "physical core shared" if self.shares_physical else ""


COORDINATOR = "coordinator"
"""The role of this process where all clients are workers' on other machines."""

OWN_ROLES = ("client", COORDINATOR)
"""Roles of this process."""


@dataclass(frozen=True, slots=True)
class Placement:
    """A plan.

    Attributes:
        assignments: one per process, the client first, then the infrastructure, then the replicas, all in order.
        overlaps: a line for each overlap that is there because the request allowed it.
    """

    assignments: tuple[Assignment, ...]
    overlaps: tuple[str, ...] = ()

    def __getitem__(self, role: str) -> Assignment:
        for assignment in self.assignments:
            if assignment.role == role:
                return assignment
        raise KeyError(role)

    def of(self, service: str) -> tuple[Assignment, ...]:
        """The assignments of a service's processes, one or several, in order."""
        return tuple(row for row in self.assignments if row.role == service or row.role.startswith(f"{service}-"))

    @property
    def own(self) -> Assignment:
        """The assignment of this process: the client, or the coordinator of clients elsewhere."""
        return self.assignments[0]

    @property
    def started(self) -> tuple[Assignment, ...]:
        """The assignments of what a launcher starts, in order."""
        return tuple(row for row in self.assignments if row.role not in OWN_ROLES)

    def coordinated(self) -> Placement:
        """The same with this process as the coordinator of clients elsewhere, which sends nothing."""
        return replace(self, assignments=(replace(self.own, role=COORDINATOR), *self.assignments[1:]))

    @property
    def here(self) -> tuple[Assignment, ...]:
        """The assignments on the machine of the first, which is that of this process where it has one."""
        return tuple(row for row in self.assignments if row.node == self.assignments[0].node)

    @property
    def replicas(self) -> tuple[Assignment, ...]:
        """The replicas' assignments, in order."""
        return self.of("replica")


def plan(topology: Topology, request: PlacementRequest) -> Placement:
    """Place client, infrastructure and replicas.

    Args:
        topology: the machine.
        request: what is asked of it.

    Raises:
        PlacementError: the request names what does not exist, contradicts itself, or needs more than there is.
    """
    overlaps = check(topology, request)
    cores = _Cores(topology)
    cpu_replicas = _cpu_replicas(cores, request)
    gpu_replicas = _gpu_replicas(cores, request)
    others = _client_and_infrastructure(cores, request, cpu_replicas, gpu_replicas)
    gpu_replicas += _sharing_gpu_replicas(cores, request, others, request.gpus[len(gpu_replicas) : request.replicas])
    replicas = [*gpu_replicas, *cpu_replicas]
    cores_of = others | {f"replica-{i}": taken for i, taken in enumerate(replicas)}
    gpu_of = {f"replica-{i}": gpu for i, gpu in enumerate(request.gpus)}
    used = Counter(chain(*cores_of.values()))
    on_physical = Counter(chain(*({cores.physical[core] for core in taken} for taken in cores_of.values())))
    twice = [core for core, times in Counter(chain(*replicas)).items() if times > 1]
    if twice:
        overlaps += (f"replicas share core{'' if len(twice) == 1 else 's'} {core_ranges(twice)}",)
    return Placement(
        tuple(
            Assignment(
                topology.node,
                role,
                tuple(sorted(taken)),
                gpu_of.get(role),
                shared=any(used[core] > 1 for core in taken),
                numa_nodes=topology.memory_of(taken),
                shares_physical=any(on_physical[cores.physical[core]] > 1 for core in taken),
                siblings=tuple(group for group in cores.grouped(sorted(taken)) if len(group) > 1),
            )
            for role, taken in cores_of.items()
        ),
        overlaps,
    )


def share_out(cores: Iterable[int], count: int, siblings: Iterable[tuple[int, ...]] = ()) -> list[tuple[int, ...]]:
    """Deal cores to processes: each gets its own while they last, and as many as the others.

    Args:
        cores: at least one.
        count: of processes; with more than cores, processes share.
        siblings: those that are threads of one physical core, for each; they are dealt one after the other.
    """
    physical = {core: group for group in siblings for core in group}
    dealt = dict.fromkeys(chain(*(physical.get(core, (core,)) for core in cores)))
    return _shares(tuple(dealt), count)


def _shares(items: tuple[T, ...], count: int) -> list[tuple[T, ...]]:
    if len(items) < count:
        return [(items[number % len(items)],) for number in range(count)]
    bounds = [number * len(items) // count for number in range(count + 1)]
    return [items[begin:end] for begin, end in pairwise(bounds)]


def difference(placement: Placement, observed: Mapping[str, tuple[int, ...]]) -> list[str]:
    """Where the kernel's affinity is not the plan's: a line for each role that differs; empty when all agree.

    Args:
        placement: the plan.
        observed: the cores that the kernel reports for each role that was looked at; none for one that does not run.
    """
    lines = []
    for role, cores in observed.items():
        planned = placement[role].cores
        if set(cores) != set(planned):
            found = f"may run on {core_ranges(cores)}" if cores else "does not run"
            lines.append(f"{role} is planned on {core_ranges(planned)} and {found}")
    return lines


def _cpu_replicas(cores: _Cores, request: PlacementRequest) -> list[tuple[int, ...]]:
    """The cores of each replica without a GPU."""
    topology = cores.topology
    each, needed = request.cpus_per_replica, request.cpu_replicas * request.cpus_per_replica
    named = request.named_for_others
    pool = request.cpus or _without(topology.cores, named)
    if len(pool) < needed and request.allow_overlap:
        pool = request.cpus or topology.cores
    if len(pool) < (min(each, needed) if request.allow_overlap else needed):
        raise cpu_shortage(topology, request, pool)
    if request.cpus:
        return [cores.take(pool, each, named) for _ in range(request.cpu_replicas)]
    layout = cores.layout(request)
    chosen = [cores.take(pool[::-1], each, named, layout) for _ in range(request.cpu_replicas)]
    return chosen[::-1]


def _gpu_replicas(cores: _Cores, request: PlacementRequest) -> list[tuple[int, ...]]:
    """The cores of the first replicas with a GPU: as many as leave a core each to client and infrastructure."""
    each, named = request.cpus_per_replica, request.named_for_others
    placed: list[tuple[int, ...]] = []
    for gpu in request.gpus[: request.gpu_replicas]:
        busy = {*cores.of_replicas, *named, *(request.cpus or ())}
        pool = _without(cores.topology.cores, busy)[::-1]
        if len(pool) < each:
            break
        far = _without(cores.topology.cores, cores.topology.near(gpu))
        chosen = cores.best(pool, each, named, far, cores.layout(request))
        left = cores.clean({*busy, *chosen})
        if sum(map(len, left)) < len(request.infrastructure_to_place) + (request.client_cpus is None):
            break
        cores.replicas.append(chosen)
        placed.append(chosen)
    return placed


def _sharing_gpu_replicas(
    cores: _Cores, request: PlacementRequest, others: Mapping[str, tuple[int, ...]], gpus: Sequence[int]
) -> list[tuple[int, ...]]:
    """The cores of the replicas with a GPU that have to share them.

    Args:
        cores: of the machine, with what replicas have of them.
        request: what is asked of it.
        others: the cores of client and infrastructure, by role.
        gpus: of these replicas.
    """
    each, taken, named = request.cpus_per_replica, cores.of_replicas, request.cpus or ()
    topology = cores.topology
    occupied = tuple(chain(*(taken for role, taken in others.items() if role != "client"), others["client"]))
    unclaimed = _without(topology.cores, (*taken, *occupied, *named))
    # In order of preference: unused, named for replicas but not needed by them, shared with the others.
    preferred = (*unclaimed[::-1], *_without(named, (*taken, *occupied)), *_without(occupied, taken))
    pool = tuple(dict.fromkeys(preferred))
    needed = len(gpus) * each
    if len(pool) < needed and request.allow_overlap:
        pool = tuple(dict.fromkeys((*pool, *topology.cores)))
    if len(pool) < (min(each, needed) if request.allow_overlap else needed):
        raise gpu_shortage(request, tuple(sorted({*pool, *chain(*cores.replicas[request.cpu_replicas :])})))
    avoided = {*occupied, *taken}
    return [cores.take(pool, each, avoided, _without(topology.cores, topology.near(gpu))) for gpu in gpus]


Unit = tuple[int, ...]
"""Threads of one physical core that go to one process where there are enough."""


def _client_and_infrastructure(
    cores: _Cores,
    request: PlacementRequest,
    cpu_replicas: Sequence[tuple[int, ...]],
    gpu_replicas: Sequence[tuple[int, ...]],
) -> dict[str, tuple[int, ...]]:
    """The cores of client and infrastructure, by role of the process.

    Args:
        cores: of the machine, with what replicas have of them.
        request: what is asked of it.
        cpu_replicas: the cores of those without a GPU.
        gpu_replicas: the cores of those with one that do not share them.
    """
    services, named = request.infrastructure_to_place, request.infrastructure_cpus
    client_wants = 0 if request.client_cpus else max(CLIENT_CORES, request.clients)
    units = cores.spare(request)
    # GPU replicas that found too little get what is left here, unless cores that were named for replicas are enough.
    unneeded = _without(request.cpus or (), cores.of_replicas)
    short = (request.gpu_replicas - len(gpu_replicas)) * request.cpus_per_replica > len(unneeded)
    for_services, for_client = _split(services, client_wants, units, short)

    instead = request.client_cpus or tuple(chain(*named.values())) or tuple(sorted(cores.of_replicas))
    picked: dict[str, list[Unit]] = {}
    layouts: dict[str, tuple[int, ...]] = {}
    if for_services:
        counts = _counts(services, for_services)
        feeds = _feeds(cores, request, cpu_replicas, gpu_replicas)
        for service, count in counts.items():
            free = [unit for unit in units if unit not in chain(*picked.values())]
            other_layouts = {core for other in counts if other is not service for core in other.layout}
            nodes = feeds if service is request.infrastructure[-1] and not service.layout else []
            picked |= _pick_for(cores, service, _by_layout(free, service.layout, other_layouts), count, nodes)
        first = next(iter(counts))
        picked = {service.role: picked[first.roles[0]] for service in services if service not in counts} | picked
        layouts = {role: service.layout for service in services for role in service.roles}
    if client_wants and units:
        free = [unit for unit in units if unit not in chain(*picked.values())]
        in_layout = {core for service in services for core in service.layout}
        beside = Counter(cores.node(unit) for role in _frontends(request) for unit in picked.get(role, ()))
        pool = _by_layout(free, (), in_layout)
        enough = min(client_wants, sum(map(len, pool[:for_client])))
        nearest = [node for node, _ in beside.most_common()]
        picked["client"] = cores.near(pool, for_client, enough, nearest) if for_client else units[:1]

    chosen = _threads(picked, layouts, {} if short else _wants(services, client_wants))
    cores_of = {"client": request.client_cpus or chosen.get("client") or instead}
    for service in request.infrastructure:
        elsewhere = () if service.roles[0] in chosen else named.get(service.role) or instead
        dealt = share_out(elsewhere, service.processes, cores.grouped(elsewhere)) if elsewhere else ()
        cores_of |= dict(zip(service.roles, dealt or [chosen[role] for role in service.roles], strict=True))
    return cores_of


def _split(services: Sequence[Service], client_wants: int, units: Sequence[Unit], short: bool) -> tuple[int, int]:
    """How many of the spare physical cores go to the services and to the client.

    Args:
        services: those whose cores the planner chooses.
        client_wants: cores that the client has a use for; 0 when its own are named.
        units: the spare physical cores.
        short: each gets one at most, since replicas need the rest.
    """
    count = min(len(units), len(services) + (client_wants > 0)) if short else len(units)
    threads = max(map(len, units), default=1)
    wanted = sum(-(-service.most_cores // threads) for service in services)
    client_needs = -(-client_wants // threads)
    # An even split, the odd one to the services, and what the client has no use for; but each process gets one.
    processes = min(sum(service.processes for service in services), count - (client_wants > 0))
    for_services = min(wanted, max((count + 1) // 2, count - client_needs)) if services else 0
    for_services = max(for_services, processes)
    for_client = min(client_needs, count - for_services)
    # What is left makes one thread of each physical core enough.
    more = min(count - for_services - for_client, sum(service.most_cores for service in services) - for_services)
    for_services += max(0, more)
    return for_services, min(client_wants, count - for_services)


def _counts(services: list[Service], count: int) -> dict[Service, int]:
    """How many physical cores each service gets; with fewer than services, the first ones share another one's."""
    owners = services[max(0, len(services) - count) :]
    counts = dict.fromkeys(owners, 1)
    for _ in range(count - len(owners)):
        hungry = max(owners, key=lambda service: service.most_cores - counts[service])
        counts[hungry] += 1
    return counts


def _feeds(
    cores: _Cores,
    request: PlacementRequest,
    cpu_replicas: Sequence[tuple[int, ...]],
    gpu_replicas: Sequence[tuple[int, ...]],
) -> list[list[int]]:
    """The NUMA nodes of the replicas of each frontend, those with the most replicas first.

    Args:
        cores: of the machine.
        request: what is asked of it.
        cpu_replicas: the cores of those without a GPU.
        gpu_replicas: the cores of those with one; the others will be near theirs.
    """
    near = [cores.topology.near(gpu)[:1] for gpu in request.gpus[len(gpu_replicas) : request.gpu_replicas]]
    nodes = [cores.topology.memory_of(taken) for taken in (*gpu_replicas, *near, *cpu_replicas)]
    count = request.infrastructure[-1].processes if request.infrastructure else 1
    return [[node for node, _ in Counter(chain(*nodes[number::count])).most_common()] for number in range(count)]


def _frontends(request: PlacementRequest) -> tuple[str, ...]:
    return request.infrastructure[-1].roles if request.infrastructure else ()


def _by_layout(units: Iterable[Unit], layout: tuple[int, ...], others: Collection[int]) -> list[Unit]:
    """Physical cores in the order in which a service wants them: its layout, what no layout wants, the rest."""
    places = {core: place for place, core in enumerate(layout)}
    last = len(places)

    def wish(unit: Unit) -> tuple[int, bool]:
        return min(places.get(core, last) for core in unit), not set(unit).isdisjoint(others)

    return sorted(units, key=wish)


def _pick_for(
    cores: _Cores, service: Service, pool: list[Unit], count: int, nodes: Sequence[Sequence[int]]
) -> dict[str, list[Unit]]:
    """The physical cores of a service's processes: each its own while they last.

    Args:
        cores: of the machine.
        service: with one process or several.
        pool: the physical cores to choose from, the best first.
        count: how many it gets, at least 1 and no more than there are.
        nodes: the NUMA nodes of what each process feeds; empty for a service that feeds no process.
    """
    sizes = [len(share) for share in _shares(tuple(range(count)), service.processes)]
    if count < service.processes or not nodes:
        return dict(zip(service.roles, map(list, _shares(tuple(pool[:count]), service.processes)), strict=True))
    picked: dict[str, list[Unit]] = {}
    enough = min(2, -(-service.most_cores // service.processes))  # its loop's and its sockets'
    for role, size, near in zip(service.roles, sizes, nodes, strict=True):
        free = [unit for unit in pool if unit not in chain(*picked.values())]
        picked[role] = cores.near(free, size, enough, near)
    return picked


def _wants(services: Iterable[Service], client_wants: int) -> dict[str, int]:
    """The most cores of each process of services and client."""
    each = {role: -(-service.most_cores // service.processes) for service in services for role in service.roles}
    return {"client": client_wants} | each


def _threads(
    picked: Mapping[str, Sequence[Unit]], layouts: Mapping[str, tuple[int, ...]], wants: Mapping[str, int]
) -> dict[str, tuple[int, ...]]:
    """The threads that each process gets of its physical cores: one of each before a second of any.

    Args:
        picked: the physical cores of each process; several processes may have one.
        layouts: the threads that a process prefers.
        wants: the most threads of each process; 1 where it is missing.
    """
    users: dict[Unit, list[str]] = {}
    for role, units in sorted(picked.items(), key=lambda item: item[0] == "client"):
        for unit in units:
            users.setdefault(unit, []).append(role)
    threads: dict[str, list[tuple[int, ...]]] = {}
    for role, units in picked.items():
        preferred = layouts.get(role, ())
        for unit in units:
            together, place = users[unit], users[unit].index(role)
            if len(together) == 1:
                mine = tuple(sorted(unit, key=lambda core: core not in preferred))
            elif len(together) <= len(unit):
                mine = _shares(unit, len(together))[place]
            else:  # the first ones, which have the least to do, share one
                mine = (unit[max(0, place - (len(together) - len(unit)))],)
            threads.setdefault(role, []).append(mine)
    dealt = {}
    for role, of_units in threads.items():
        rounds = [mine[turn] for turn in range(max(map(len, of_units))) for mine in of_units if turn < len(mine)]
        dealt[role] = tuple(rounds[: wants.get(role, 1)])
    return dealt


class _Cores:
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
        beside = [_without(unit, named) for unit in clean if not named.isdisjoint(unit) and not named.issuperset(unit)]
        units += beside[: max(0, fewest - len(units))]
        if not units:
            free: list[Unit] = [(core,) for core in _without(self.topology.cores, busy)]
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


def _without(cores: tuple[int, ...], excluded: Iterable[int]) -> tuple[int, ...]:
    out = frozenset(excluded)
    return tuple(core for core in cores if core not in out)
