"""What the planner may be asked, and the refusals of requests that contradict themselves or the machine; pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from itertools import chain, combinations

from frontend_launch.errors import PlacementError, RequestError
from frontend_launch.integers import core_ranges
from frontend_launch.launch.topology import Topology
from frontend_launch.quantities import plural


@dataclass(frozen=True, slots=True)
class Service:
    """A part of the infrastructure, and the cores it wants where the machine has them.

    Attributes:
        role: its name in the plan; its cores are named with ``--ROLE-cpus``.
        most_cores: more than these it is not given.
        layout: which they are, at best; empty where any will do.
        processes: how many share its cores out; each has a line of the plan, the role with its number, if several.
    """

    role: str
    most_cores: int
    layout: tuple[int, ...] = ()
    processes: int = 1

    @property
    def roles(self) -> tuple[str, ...]:
        """Of its processes."""
        if self.processes == 1:
            return (self.role,)
        return tuple(f"{self.role}-{number}" for number in range(self.processes))


FRONTENDS = (Service("frontends", 4),)
"""Both frontends in one process."""

CONTAINERS = (
    Service("redis", 1, (0,)),
    Service("management", 1, (8,)),
    Service("query", 10, (1, 2, 3, 4, 5, 9, 10, 11, 12, 13)),
)
"""A container each, on the cores of the original; the busiest comes last, see `planner`."""

_RUNTIMES = {"process": FRONTENDS, "docker": CONTAINERS}
"""What each runtime starts, for remedies."""


def with_frontends(infrastructure: tuple[Service, ...], frontends: int) -> tuple[Service, ...]:
    """The services with this number of query frontends, of which each uses two cores: its loop's and its sockets'.

    Args:
        infrastructure: the query frontend last.
        frontends: how many, at least 1.
    """
    *others, last = infrastructure
    return (*others, replace(last, processes=frontends, most_cores=max(last.most_cores, 2 * frontends)))


@dataclass(frozen=True, slots=True)
class PlacementRequest:
    """What is to be placed on one machine.

    Attributes:
        replicas: how many; 0 only without infrastructure, when a server that already runs is measured.
        cpus_per_replica: cores of each replica.
        cpus: the cores named for replicas, in order; None leaves the choice to the planner.
        gpus: replica ``i`` gets ``gpus[i]`` while they last.
        client_cpus: the cores named for the client; None leaves the choice to the planner.
        infrastructure: what is started here beside the replicas, the busiest last.
        infrastructure_cpus: the cores named for some of it, by role; the planner chooses for the others.
        allow_overlap: whether what the user named may overlap, and replicas share cores when there are too few.
        clients: client processes, each of which has a use for a core of its own.
        client_named_by: what named the client's cores, in refusals.
    """

    replicas: int = 1
    cpus_per_replica: int = 1
    cpus: tuple[int, ...] | None = None
    gpus: tuple[int, ...] = ()
    client_cpus: tuple[int, ...] | None = None
    infrastructure: tuple[Service, ...] = FRONTENDS
    infrastructure_cpus: Mapping[str, tuple[int, ...]] = field(default_factory=dict)
    allow_overlap: bool = False
    clients: int = 1
    client_named_by: str = "--client-cpus"

    @property
    def gpu_replicas(self) -> int:
        """Replicas with a GPU of their own."""
        return min(self.replicas, len(self.gpus))

    @property
    def cpu_replicas(self) -> int:
        """Replicas that compute on cores."""
        return self.replicas - self.gpu_replicas

    @property
    def infrastructure_to_place(self) -> list[Service]:
        """The infrastructure whose cores the planner chooses."""
        return [service for service in self.infrastructure if service.role not in self.infrastructure_cpus]

    @property
    def named_for_others(self) -> tuple[int, ...]:
        """The cores that the user named for the client and the infrastructure."""
        return tuple(dict.fromkeys(chain(self.client_cpus or (), *self.infrastructure_cpus.values())))


def check(topology: Topology, request: PlacementRequest) -> tuple[str, ...]:
    """Refuse what contradicts itself or names what does not exist.

    Args:
        topology: the machine.
        request: what is asked of it.

    Returns:
        a line for each overlap of what the user named, which is empty unless the request allows them.

    Raises:
        PlacementError: it does.
    """
    fewest = 1 if request.infrastructure else 0
    if request.replicas < fewest:
        raise RequestError(f"--replicas {request.replicas}: too few; use at least {fewest}")
    if request.cpus_per_replica < 1:
        raise RequestError(f"--cpus-per-replica {request.cpus_per_replica}: too few; use at least 1")
    strangers = sorted(request.infrastructure_cpus.keys() - {service.role for service in request.infrastructure})
    if strangers:
        role, started = strangers[0], ", ".join(service.role for service in request.infrastructure)
        only = f", only {started}" if started else ""
        other = {service.role: runtime for runtime, services in _RUNTIMES.items() for service in services}.get(role)
        remedy = f"use --{request.infrastructure[-1].role}-cpus" if started else "leave it out"
        remedy += f", or --runtime {other}" if started and other else ""
        option = f"--{role}-cpus {core_ranges(request.infrastructure_cpus[role])}"
        raise RequestError(f"{option}: this runtime has no process {role!r}{only}; {remedy}")
    services = {f"--{role}-cpus": cores for role, cores in request.infrastructure_cpus.items()}
    named = {"--cpus": request.cpus, request.client_named_by: request.client_cpus, **services}
    note = f" ({topology.note})" if topology.note else ""
    for option, cores in named.items():
        if cores is not None and not cores:
            raise RequestError(f"{option}: names no core; name at least one, or leave it out")
        _check_list(option, "core", cores or (), topology.cores, note)
    _check_list("--gpus", "GPU", request.gpus, topology.gpus, "")
    overlaps = []
    for one, other in combinations(named, 2):
        both = set(named[one] or ()) & set(named[other] or ())
        # Services may share among themselves: that slows no replica, and no client that takes the time.
        if both and one not in services:
            overlaps.append(f"{one} and {other} both name {_named('core', both)}")
    if overlaps and not request.allow_overlap:
        raise RequestError(f"{'; '.join(overlaps)}; name different cores or add --allow-overlap")
    return tuple(overlaps)


def _check_list(option: str, noun: str, numbers: tuple[int, ...], existing: tuple[int, ...], note: str) -> None:
    unknown = set(numbers) - set(existing)
    if unknown:
        none = f"this machine has no {noun}s; use {option} none"
        remedy = f"choose from {core_ranges(existing)}{note}" if existing else none
        raise PlacementError(f"{option} {core_ranges(unknown)}: not usable here; {remedy}")
    repeated = [number for number, times in Counter(numbers).items() if times > 1]
    if repeated:
        raise RequestError(f"{option} {core_ranges(repeated)}: named more than once; name each once")


def cpu_shortage(topology: Topology, request: PlacementRequest, pool: tuple[int, ...]) -> PlacementError:
    """The refusal when the replicas without a GPU need more cores than there are in their pool.

    Args:
        topology: the machine.
        request: what is asked of it.
        pool: the cores that there are for them.
    """
    if request.cpus:
        have, remedy = f"--cpus names {_counted(pool)}", "name more cores" if len(pool) < len(topology.cores) else ""
    elif request.named_for_others:
        options = [f"--{role}-cpus" for role in request.infrastructure_cpus]
        options = [request.client_named_by, *options] if request.client_cpus else options
        have = f"{' and '.join(options)} leave{'' if len(options) > 1 else 's'} {_counted(pool)}"
        remedy = f"name fewer {' or '.join(options)}"
    else:
        have, remedy = f"this machine offers {_counted(pool)}{f' ({topology.note})' if topology.note else ''}", ""
    kind = "CPU replica" if request.gpu_replicas else "replica"
    return _shortage(request, request.cpu_replicas, kind, pool, have, remedy)


def gpu_shortage(request: PlacementRequest, pool: tuple[int, ...]) -> PlacementError:
    """The refusal when the replicas with a GPU need more cores than the others leave or share.

    Args:
        request: what is asked of the machine.
        pool: the cores that there are for them.
    """
    return _shortage(request, request.gpu_replicas, "GPU replica", pool, f"the others leave {_counted(pool)}")


def _shortage(
    request: PlacementRequest, replicas: int, kind: str, pool: tuple[int, ...], have: str, remedy: str = ""
) -> PlacementError:
    each = request.cpus_per_replica
    remedies = []
    if request.replicas > 1:
        remedies.append("use fewer replicas")
    if each > 1 and len(pool) >= replicas:
        remedies.append(f"{'' if remedies else 'use '}--cpus-per-replica {len(pool) // replicas}")
    if remedy:
        remedies.append(remedy)
    *first, last = remedies
    advice = f"{', '.join(first)} or {last}" if first else last
    need = f"{plural(replicas, kind)} of {plural(each, 'core')} need{'s' if replicas == 1 else ''}"
    return PlacementError(f"{need} {plural(replicas * each, 'core')} and {have}; {advice}")


def _named(noun: str, numbers: Iterable[int]) -> str:
    listed = set(numbers)
    return f"{noun}{'' if len(listed) == 1 else 's'} {core_ranges(listed)}"


def _counted(pool: tuple[int, ...]) -> str:
    """How many cores and which: ``4 (6,7,14,15)``."""
    return f"{len(pool)} ({core_ranges(pool)})" if pool else "none"
