"""Plans which process runs on which cores and GPU: topology and request in, plan or refusal out; pure.

``docs/placement.md`` says the rules in words. In the order in which they are applied:

1. A replica that gets no GPU of its own runs on ``cpus_per_replica`` cores that no other process gets, from the cores
   that the user named, in that order; unnamed, from the highest numbers that the infrastructure's layout leaves.
2. Client and infrastructure get the cores that the user named for them. Otherwise they split the spare cores evenly,
   as far as each has a use for them, and each takes the cores of its layout first; with a single spare core they share
   it, and with none they share the cores of others. Cores that were named for replicas count as spare only when there
   are no others, even while no replica uses them.
3. GPU replicas get cores of their own from what is left, on the GPU's NUMA node first: client and infrastructure take
   no more than one core each where GPU replicas would go short. Where that is not enough, GPU replicas share theirs.
4. A physical core goes to one replica with all of its threads where there are enough.
   Two replicas never share a core unless overlaps are allowed.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from itertools import chain, pairwise

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
    """

    node: str
    role: str
    cores: tuple[int, ...]
    gpu: int | None
    shared: bool
    numa_nodes: tuple[int, ...] = ()


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
    cpu_replicas = _cpu_replicas(topology, request)
    others = _client_and_infrastructure(topology, request, tuple(chain(*cpu_replicas)))
    replicas = [*_gpu_replicas(topology, request, cpu_replicas, others), *cpu_replicas]
    processes = {"client": ("client",)} | {service.role: service.roles for service in request.infrastructure}
    cores_of = {
        role: cores
        for service, all_cores in others.items()
        for role, cores in zip(processes[service], share_out(all_cores, len(processes[service])), strict=True)
    } | {f"replica-{i}": cores for i, cores in enumerate(replicas)}
    gpu_of = {f"replica-{i}": gpu for i, gpu in enumerate(request.gpus)}
    used = Counter(chain(*cores_of.values()))
    twice = [core for core, times in Counter(chain(*replicas)).items() if times > 1]
    if twice:
        overlaps += (f"replicas share core{'' if len(twice) == 1 else 's'} {core_ranges(twice)}",)
    return Placement(
        tuple(
            Assignment(
                topology.node,
                role,
                tuple(sorted(cores)),
                gpu_of.get(role),
                shared=any(used[core] > 1 for core in cores),
                numa_nodes=topology.memory_of(cores),
            )
            for role, cores in cores_of.items()
        ),
        overlaps,
    )


def share_out(cores: tuple[int, ...], count: int) -> list[tuple[int, ...]]:
    """Deal cores to processes: each gets its own while they last, and as many as the others.

    Args:
        cores: at least one.
        count: of processes; with more than cores, processes share.
    """
    if len(cores) < count:
        return [(cores[number % len(cores)],) for number in range(count)]
    bounds = [number * len(cores) // count for number in range(count + 1)]
    return [cores[begin:end] for begin, end in pairwise(bounds)]


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


def _cpu_replicas(topology: Topology, request: PlacementRequest) -> list[tuple[int, ...]]:
    """The cores of each replica without a GPU."""
    each, needed = request.cpus_per_replica, request.cpu_replicas * request.cpus_per_replica
    named = request.named_for_others
    pool = request.cpus or _without(topology.cores, named)
    if len(pool) < needed and request.allow_overlap:
        pool = request.cpus or topology.cores
    if len(pool) < (min(each, needed) if request.allow_overlap else needed):
        raise cpu_shortage(topology, request, pool)
    choice = _CoreChoice(topology)
    if request.cpus:
        return [choice.take(pool, each, named) for _ in range(request.cpu_replicas)]
    # A thread of a core of the layout disturbs it as the core itself would.
    layout = {thread for service in _chosen(request) for core in service.layout for thread in topology.physical(core)}
    chosen = [choice.take(pool[::-1], each, named, layout) for _ in range(request.cpu_replicas)]
    return chosen[::-1]


def _chosen(request: PlacementRequest) -> list[Service]:
    """The infrastructure whose cores the planner chooses."""
    return [service for service in request.infrastructure if service.role not in request.infrastructure_cpus]


def _client_and_infrastructure(
    topology: Topology, request: PlacementRequest, taken: tuple[int, ...]
) -> dict[str, tuple[int, ...]]:
    """The cores of client and infrastructure, by role, beside the cores that CPU replicas have taken."""
    services, named = _chosen(request), request.infrastructure_cpus
    client_wants = 0 if request.client_cpus else max(CLIENT_CORES, request.clients)
    spare = _spare(topology, request, taken)
    # GPU replicas come after this and take what is left, so theirs are set aside here; but client and each service
    # keep a core, even where GPU replicas then have to share.
    count = max(len(services) + (client_wants > 0), len(spare) - request.gpu_replicas * request.cpus_per_replica)
    count = min(count, len(spare))
    wanted = sum(service.most_cores for service in services)
    # An even split, the odd core to the services, and what the client has no use for.
    for_services = min(wanted, max((count + 1) // 2, count - client_wants)) if services else 0
    for_client = min(client_wants, count - for_services)

    if for_services:
        cores_of = _share_out(services, spare, for_services)
    else:
        instead = request.client_cpus or tuple(chain(*named.values())) or taken
        cores_of = {service.role: instead for service in services}
    elsewhere = _without(spare, chain(*cores_of.values()))
    layout = {core for service in services for core in service.layout}
    preferred = (*_without(elsewhere, layout), *elsewhere)
    if request.gpu_replicas:  # they come next, and get whole physical cores when the client sits beside a service
        beside = {t for core in chain(*cores_of.values(), *named.values()) for t in topology.physical(core)}
        preferred = tuple(sorted(preferred, key=lambda core: (core in layout, core not in beside)))
    client = request.client_cpus or tuple(dict.fromkeys(preferred))[:for_client]
    client = client or spare or tuple(dict.fromkeys(chain(*named.values()))) or taken
    return {"client": client} | {s.role: named.get(s.role) or cores_of[s.role] for s in request.infrastructure}


def _spare(topology: Topology, request: PlacementRequest, taken: tuple[int, ...]) -> tuple[int, ...]:
    """The cores that client and infrastructure may have for themselves, those on a replica's physical core last."""
    free = _without(topology.cores, (*taken, *request.named_for_others))
    spare = _without(free, request.cpus or ()) or free
    beside = {thread for core in taken for thread in topology.physical(core)}
    return tuple(sorted(spare, key=lambda core: core in beside))


def _share_out(services: list[Service], spare: tuple[int, ...], count: int) -> dict[str, tuple[int, ...]]:
    """Deal so many of the spare cores out, at least one: each service its layout first, then what no layout wants.

    With fewer cores than services, the first ones, which have the least to do, share one.
    """
    sharing = max(0, len(services) - count)
    owners = services[sharing:]
    counts = dict.fromkeys(owners, 1)
    for _ in range(count - len(owners)):
        hungry = max(owners, key=lambda service: service.most_cores - counts[service])
        counts[hungry] += 1
    cores_of: dict[str, tuple[int, ...]] = {}
    for service, cores in counts.items():
        free = _without(spare, chain(*cores_of.values()))
        others = {core for other in owners if other is not service for core in other.layout}
        own = tuple(core for core in service.layout if core in free)
        cores_of[service.role] = tuple(dict.fromkeys((*own, *_without(free, others), *free)))[:cores]
    return {service.role: cores_of[owners[0].role] for service in services[:sharing]} | cores_of


def _gpu_replicas(
    topology: Topology,
    request: PlacementRequest,
    cpu_replicas: list[tuple[int, ...]],
    others: Mapping[str, tuple[int, ...]],
) -> list[tuple[int, ...]]:
    """The cores of each replica with a GPU."""
    each, taken, named = request.cpus_per_replica, set(chain(*cpu_replicas)), request.cpus or ()
    occupied = tuple(chain(*(cores for role, cores in others.items() if role != "client"), others["client"]))
    unclaimed = _without(topology.cores, (*taken, *occupied, *named))
    # In order of preference: nobody's, named for replicas but not needed by them, shared with the others.
    preferred = (*unclaimed[::-1], *_without(named, (*taken, *occupied)), *_without(occupied, taken))
    pool = tuple(dict.fromkeys(preferred))
    needed = request.gpu_replicas * each
    if len(pool) < needed and request.allow_overlap:
        pool = tuple(dict.fromkeys((*pool, *topology.cores)))
    if len(pool) < (min(each, needed) if request.allow_overlap else needed):
        raise gpu_shortage(request, pool)
    choice = _CoreChoice(topology, [*cpu_replicas])
    return [
        choice.take(
            pool,
            each,
            avoided={*occupied, *taken},
            disliked=_without(topology.cores, topology.near(gpu)),
        )
        for gpu in request.gpus[: request.gpu_replicas]
    ]


@dataclass(slots=True)
class _CoreChoice:
    """Chooses cores for one replica after the other, so that they share no physical core where it can be helped."""

    topology: Topology
    replicas: list[tuple[int, ...]] = field(default_factory=list)

    def take(
        self,
        pool: tuple[int, ...],
        count: int,
        avoided: Collection[int] = (),
        disliked: Collection[int] = (),
    ) -> tuple[int, ...]:
        """Cores for the next replica, ascending: those of other replicas only when nothing else is left.

        Args:
            pool: the cores that it may have, at least `count`, the preferred ones first.
            count: how many.
            avoided: those of the pool that others use and that are taken after all others.
            disliked: those that are taken after the others, but before a physical core of another replica.
        """
        avoided, disliked = frozenset(avoided), frozenset(disliked)
        others = Counter(chain(*self.replicas))
        beside = {thread for core in others for thread in self.topology.physical(core)}
        physical = {core: frozenset(self.topology.physical(core)) for core in pool}
        memory = {core: self.topology.memory_of((core,)) for core in pool}
        mine: list[int] = []
        while len(mine) < count:
            unshared = {core for core in pool if core not in others and core not in avoided and core not in mine}

            def rank(core: int, unshared: Collection[int] = frozenset(unshared)) -> tuple[object, ...]:
                threads = len(physical[core].intersection(unshared))
                # Taking a part of a physical core would leave the rest to another replica. With one core for each,
                # there is always a rest; then a core is better whose other threads nobody uses.
                waste = (
                    (threads > count - len(mine), -threads) if count > 1 else (not physical[core].isdisjoint(avoided),)
                )
                # From what hurts most to what hurts least: to share a core with another replica, then with client or
                # infrastructure, then a physical core with another replica. What follows only chooses among equals:
                # the physical core that it is on, the GPU's node, one memory, and the least waste.
                return (
                    others[core],
                    core in avoided,
                    core in beside,
                    physical[core].isdisjoint(mine),
                    core in disliked,
                    bool(mine) and memory[core] != memory[mine[0]],
                    waste,
                )

            mine.append(min((core for core in pool if core not in mine), key=rank))
        self.replicas.append(tuple(sorted(mine)))
        return self.replicas[-1]


def _without(cores: tuple[int, ...], excluded: Iterable[int]) -> tuple[int, ...]:
    out = frozenset(excluded)
    return tuple(core for core in cores if core not in out)
