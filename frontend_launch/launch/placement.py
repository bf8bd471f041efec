"""Who runs on which cores and GPU: a topology and a request in, a plan or the reason against it out; pure.

The rules, in the order in which they are applied:

1. A replica that gets no GPU of its own runs on ``cpus_per_replica`` cores that no other process gets, from the cores
   that the user named, in that order; unnamed, from the highest numbers, so that the lowest stay for the others.
2. The client gets the cores that the user named for it. Otherwise frontends and client split the spare cores evenly,
   up to four each; a single spare core is shared, and with none they share the cores of the replicas.
   Cores that were named for replicas count as spare only when there are no others, even while no replica uses them.
3. GPU replicas get cores of their own from what is left: frontends and client take no more than one core each where
   GPU replicas would go short. Where that is not enough, GPU replicas share the cores of frontends and client.
   Two replicas never share a core.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from frontend_launch.errors import PlacementError
from frontend_launch.launch.topology import Topology, core_ranges

__all__ = ["Assignment", "Placement", "PlacementRequest", "core_ranges", "difference", "plan"]

INFRASTRUCTURE_CORES = 4
"""Most cores that the frontends, and that the client, are given."""


@dataclass(frozen=True, slots=True)
class PlacementRequest:
    """What is to be placed on one machine.

    Attributes:
        replicas: how many; 0 only without frontends, when a server that already runs is measured.
        cpus_per_replica: cores of each replica.
        cpus: the cores named for replicas, in order; None leaves the choice to the planner.
        gpus: replica ``i`` gets ``gpus[i]`` while they last.
        client_cpus: the cores named for the client; None leaves the choice to the planner.
        frontends: whether frontends are started here.
    """

    replicas: int = 1
    cpus_per_replica: int = 1
    cpus: tuple[int, ...] | None = None
    gpus: tuple[int, ...] = ()
    client_cpus: tuple[int, ...] | None = None
    frontends: bool = True

    @property
    def gpu_replicas(self) -> int:
        """Replicas with a GPU of their own."""
        return min(self.replicas, len(self.gpus))

    @property
    def cpu_replicas(self) -> int:
        """Replicas that compute on cores."""
        return self.replicas - self.gpu_replicas


@dataclass(frozen=True, slots=True)
class Assignment:
    """Where one process runs.

    Attributes:
        node: the machine's name.
        role: ``client``, ``frontends``, or ``replica-0``, ``replica-1``, …
        cores: its cores, ascending.
        gpu: the number of its GPU, or None.
        shared: whether another process of the plan has one of its cores.
    """

    node: str
    role: str
    cores: tuple[int, ...]
    gpu: int | None
    shared: bool


@dataclass(frozen=True, slots=True)
class Placement:
    """A plan: one assignment per process, the client first, then the frontends, then the replicas in order."""

    assignments: tuple[Assignment, ...]

    def __getitem__(self, role: str) -> Assignment:
        for assignment in self.assignments:
            if assignment.role == role:
                return assignment
        raise KeyError(role)

    @property
    def replicas(self) -> tuple[Assignment, ...]:
        """The replicas' assignments, in order."""
        return tuple(assignment for assignment in self.assignments if assignment.role.startswith("replica-"))


def plan(topology: Topology, request: PlacementRequest) -> Placement:
    """Place client, frontends and replicas.

    Raises:
        PlacementError: the request names what does not exist, contradicts itself, or needs more than there is.
    """
    _check(topology, request)
    cpu_cores = _cpu_replica_cores(topology, request)
    infrastructure = _infrastructure(topology, request, cpu_cores)
    replica_cores = _gpu_replica_cores(topology, request, cpu_cores, infrastructure) + cpu_cores
    each = request.cpus_per_replica
    cores_of = infrastructure | {
        f"replica-{i}": replica_cores[i * each : (i + 1) * each] for i in range(request.replicas)
    }
    gpu_of = {f"replica-{i}": gpu for i, gpu in enumerate(request.gpus)}
    used = Counter(core for cores in cores_of.values() for core in cores)
    return Placement(
        tuple(
            Assignment(
                topology.node,
                role,
                tuple(sorted(cores)),
                gpu_of.get(role),
                shared=any(used[core] > 1 for core in cores),
            )
            for role, cores in cores_of.items()
        )
    )


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


def _cpu_replica_cores(topology: Topology, request: PlacementRequest) -> tuple[int, ...]:
    """The cores of all replicas without a GPU, one replica's after the other's."""
    pool = request.cpus or _without(topology.cores, request.client_cpus or ())
    needed = request.cpu_replicas * request.cpus_per_replica
    if len(pool) < needed:
        raise _cpu_shortage(topology, request, pool)
    return pool[:needed] if request.cpus else pool[len(pool) - needed :]


def _infrastructure(
    topology: Topology, request: PlacementRequest, taken: tuple[int, ...]
) -> dict[str, tuple[int, ...]]:
    """The cores of client and frontends, by role, beside the cores that CPU replicas have taken."""
    spare, most = _spare(topology, request, taken), INFRASTRUCTURE_CORES
    if request.client_cpus:
        client, frontends = request.client_cpus, spare[:most] or request.client_cpus
    elif not request.frontends:
        client, frontends = spare[:most] or taken, ()
    elif len(spare) < 2:
        client = frontends = spare or taken
    else:
        split = min(most, (len(spare) + 1) // 2)
        client, frontends = spare[split : split + most], spare[:split]
    return {"client": client} | ({"frontends": frontends} if request.frontends else {})


def _spare(topology: Topology, request: PlacementRequest, taken: tuple[int, ...]) -> tuple[int, ...]:
    """The cores that frontends and client may have for themselves, as far as the planner chooses them."""
    free = _without(topology.cores, (*taken, *(request.client_cpus or ())))
    spare = _without(free, request.cpus or ()) or free
    processes = int(request.frontends) + int(request.client_cpus is None)
    return spare[: max(processes, len(spare) - request.gpu_replicas * request.cpus_per_replica)]


def _gpu_replica_cores(
    topology: Topology, request: PlacementRequest, taken: tuple[int, ...], infrastructure: Mapping[str, tuple[int, ...]]
) -> tuple[int, ...]:
    """The cores of all replicas with a GPU, one replica's after the other's."""
    occupied = (*infrastructure.get("frontends", ()), *infrastructure["client"])
    named = request.cpus or ()
    unclaimed = _without(topology.cores, (*taken, *occupied, *named))
    # In order of preference: nobody's, named for replicas but not needed by them, shared with the infrastructure.
    preferred = (*reversed(unclaimed), *_without(named, (*taken, *occupied)), *_without(occupied, taken))
    pool = tuple(dict.fromkeys(preferred))
    needed = request.gpu_replicas * request.cpus_per_replica
    if len(pool) < needed:
        raise _shortage(request, request.gpu_replicas, "GPU replica", pool, f"the others leave {_counted(pool)}")
    return pool[:needed]


def _without(cores: tuple[int, ...], excluded: Iterable[int]) -> tuple[int, ...]:
    out = frozenset(excluded)
    return tuple(core for core in cores if core not in out)


def _check(topology: Topology, request: PlacementRequest) -> None:
    fewest = 1 if request.frontends else 0
    if request.replicas < fewest:
        raise PlacementError(f"--replicas {request.replicas} is too few: use at least {fewest}")
    if request.cpus_per_replica < 1:
        raise PlacementError(f"--cpus-per-replica {request.cpus_per_replica} is too few: use at least 1")
    note = f" ({topology.note})" if topology.note else ""
    for option, cores in (("--cpus", request.cpus), ("--client-cpus", request.client_cpus)):
        if cores is not None and not cores:
            raise PlacementError(f"{option} names no core: name at least one or leave it out")
        _check_list(option, "core", cores or (), topology.cores, note)
    _check_list("--gpus", "GPU", request.gpus, topology.gpus, "")
    both = set(request.cpus or ()) & set(request.client_cpus or ())
    if both:
        raise PlacementError(f"--cpus and --client-cpus both name {_named('core', both)}: name different cores")


def _check_list(option: str, noun: str, numbers: tuple[int, ...], existing: tuple[int, ...], note: str) -> None:
    unknown = set(numbers) - set(existing)
    if unknown:
        remedy = f"choose from {core_ranges(existing)}{note}" if existing else f"there is none, use {option} none"
        raise PlacementError(f"{option} names {_named(noun, unknown)}, not usable here: {remedy}")
    repeated = [number for number, times in Counter(numbers).items() if times > 1]
    if repeated:
        raise PlacementError(f"{option} names {_named(noun, repeated)} more than once: name each once")


def _cpu_shortage(topology: Topology, request: PlacementRequest, pool: tuple[int, ...]) -> PlacementError:
    if request.cpus:
        have, remedy = f"--cpus names {_counted(pool)}", "name more cores" if len(pool) < len(topology.cores) else ""
    elif request.client_cpus:
        have, remedy = f"--client-cpus leaves {_counted(pool)}", "name fewer --client-cpus"
    else:
        have, remedy = f"this machine offers {_counted(pool)}{f'; {topology.note}' if topology.note else ''}", ""
    kind = "CPU replica" if request.gpu_replicas else "replica"
    return _shortage(request, request.cpu_replicas, kind, pool, have, remedy)


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
    need = f"{_plural(replicas, kind)} of {_plural(each, 'core')} need{'s' if replicas == 1 else ''}"
    return PlacementError(f"{need} {_plural(replicas * each, 'core')} and {have}: {advice}")


def _plural(count: int, noun: str) -> str:
    return f"{count} {noun}{'' if count == 1 else 's'}"


def _named(noun: str, numbers: Iterable[int]) -> str:
    listed = set(numbers)
    return f"{noun}{'' if len(listed) == 1 else 's'} {core_ranges(listed)}"


def _counted(pool: tuple[int, ...]) -> str:
    """How many cores and which: ``4 (6,7,14,15)``."""
    return f"{len(pool)} ({core_ranges(pool)})" if pool else "none"
