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
from itertools import chain

from frontend_launch.integers import core_ranges
from frontend_launch.launch.cores import Cores, Unit, share_out, shares, without
from frontend_launch.launch.placement import Assignment, Placement
from frontend_launch.launch.placement_request import PlacementRequest, Service, check, cpu_shortage, gpu_shortage
from frontend_launch.launch.topology import Topology

CLIENT_CORES = 4
"""Most cores that the client is given, unless it is of more processes, and as many as it wants."""


def plan(topology: Topology, request: PlacementRequest) -> Placement:
    """Place client, infrastructure and replicas.

    Args:
        topology: the machine.
        request: what is asked of it.

    Raises:
        PlacementError: the request names what does not exist, contradicts itself, or needs more than there is.
    """
    overlaps = check(topology, request)
    cores = Cores(topology)
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


def _cpu_replicas(cores: Cores, request: PlacementRequest) -> list[tuple[int, ...]]:
    """The cores of each replica without a GPU."""
    topology = cores.topology
    each, needed = request.cpus_per_replica, request.cpu_replicas * request.cpus_per_replica
    named = request.named_for_others
    pool = request.cpus or without(topology.cores, named)
    if len(pool) < needed and request.allow_overlap:
        pool = request.cpus or topology.cores
    if len(pool) < (min(each, needed) if request.allow_overlap else needed):
        raise cpu_shortage(topology, request, pool)
    if request.cpus:
        return [cores.take(pool, each, named) for _ in range(request.cpu_replicas)]
    layout = cores.layout(request)
    chosen = [cores.take(pool[::-1], each, named, layout) for _ in range(request.cpu_replicas)]
    return chosen[::-1]


def _gpu_replicas(cores: Cores, request: PlacementRequest) -> list[tuple[int, ...]]:
    """The cores of the first replicas with a GPU: as many as leave a core each to client and infrastructure."""
    each, named = request.cpus_per_replica, request.named_for_others
    placed: list[tuple[int, ...]] = []
    for gpu in request.gpus[: request.gpu_replicas]:
        busy = {*cores.of_replicas, *named, *(request.cpus or ())}
        pool = without(cores.topology.cores, busy)[::-1]
        if len(pool) < each:
            break
        far = without(cores.topology.cores, cores.topology.near(gpu))
        chosen = cores.best(pool, each, named, far, cores.layout(request))
        left = cores.clean({*busy, *chosen})
        if sum(map(len, left)) < len(request.infrastructure_to_place) + (request.client_cpus is None):
            break
        cores.replicas.append(chosen)
        placed.append(chosen)
    return placed


def _sharing_gpu_replicas(
    cores: Cores, request: PlacementRequest, others: Mapping[str, tuple[int, ...]], gpus: Sequence[int]
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
    unclaimed = without(topology.cores, (*taken, *occupied, *named))
    # In order of preference: unused, named for replicas but not needed by them, shared with the others.
    preferred = (*unclaimed[::-1], *without(named, (*taken, *occupied)), *without(occupied, taken))
    pool = tuple(dict.fromkeys(preferred))
    needed = len(gpus) * each
    if len(pool) < needed and request.allow_overlap:
        pool = tuple(dict.fromkeys((*pool, *topology.cores)))
    if len(pool) < (min(each, needed) if request.allow_overlap else needed):
        raise gpu_shortage(request, tuple(sorted({*pool, *chain(*cores.replicas[request.cpu_replicas :])})))
    avoided = {*occupied, *taken}
    return [cores.take(pool, each, avoided, without(topology.cores, topology.near(gpu))) for gpu in gpus]


def _client_and_infrastructure(
    cores: Cores,
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
    unneeded = without(request.cpus or (), cores.of_replicas)
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
    cores: Cores,
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
    cores: Cores, service: Service, pool: list[Unit], count: int, nodes: Sequence[Sequence[int]]
) -> dict[str, list[Unit]]:
    """The physical cores of a service's processes: each its own while they last.

    Args:
        cores: of the machine.
        service: with one process or several.
        pool: the physical cores to choose from, the best first.
        count: how many it gets, at least 1 and no more than there are.
        nodes: the NUMA nodes of what each process feeds; empty for a service that feeds no process.
    """
    sizes = [len(share) for share in shares(tuple(range(count)), service.processes)]
    if count < service.processes or not nodes:
        return dict(zip(service.roles, map(list, shares(tuple(pool[:count]), service.processes)), strict=True))
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
                mine = shares(unit, len(together))[place]
            else:  # the first ones, which have the least to do, share one
                mine = (unit[max(0, place - (len(together) - len(unit)))],)
            threads.setdefault(role, []).append(mine)
    dealt = {}
    for role, of_units in threads.items():
        rounds = [mine[turn] for turn in range(max(map(len, of_units))) for mine in of_units if turn < len(mine)]
        dealt[role] = tuple(rounds[: wants.get(role, 1)])
    return dealt
