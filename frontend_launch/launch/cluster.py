"""Plans a deployment over the nodes of a cluster; pure.

Replicas are dealt to nodes in turn: those with a free GPU first where GPUs are wanted, the client's node last. A
frontend goes to the node that has most of its replicas. Within a node `planner.plan` decides. A node without the
client keeps its first physical core for the processes of the cluster, where replicas leave it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

from frontend_launch.errors import PlacementError
from frontend_launch.integers import core_ranges
from frontend_launch.launch.placement import Assignment, Placement
from frontend_launch.launch.placement_request import PlacementRequest, with_frontends
from frontend_launch.launch.planner import plan
from frontend_launch.launch.topology import Topology
from frontend_launch.quantities import plural


@dataclass(frozen=True, slots=True)
class Node:
    """A machine of a cluster.

    Attributes:
        node_id: as the cluster names it.
        name: of the host.
        address: of the host.
        cpus: cores that the cluster hands out there.
        gpus: GPUs that the cluster hands out there.
    """

    node_id: str
    name: str
    address: str
    cpus: int
    gpus: int = 0


class Bundle(NamedTuple):
    """What the cluster reserves for a part, on one node.

    Attributes:
        cpus: cores.
        gpus: GPUs.
    """

    cpus: int
    gpus: int


class ClusterUse(NamedTuple):
    """What programs use of a cluster.

    Attributes:
        free: by the id of a node: what is left to reserve there.
        users: by the id of a node: other programs that have actors there.
    """

    free: Mapping[str, Bundle]
    users: Mapping[str, Collection[str]]


@dataclass(frozen=True, slots=True)
class ClusterTopology:
    """The machines of a cluster, with the name that a plan gives to each.

    Attributes:
        nodes: that have cores.
        own: the name of the node that this process is on; empty where it is on none of them.
    """

    nodes: tuple[Topology, ...]
    own: str = ""

    def count_gpus(self, numbers: Iterable[int]) -> int:
        """How many GPUs of its nodes have these numbers."""
        wanted = frozenset(numbers)
        return sum(len(wanted & set(node.gpus)) for node in self.nodes)

    def here(self, machine: Topology) -> Topology:
        """The machine of this process, by its name in the cluster.

        Args:
            machine: as this process finds it.
        """
        return replace(machine, node=self.own or machine.node)


def described(machines: Iterable[Topology]) -> ClusterTopology:
    """A cluster in words, whose first node has this process.

    Args:
        machines: its nodes, one at least.
    """
    nodes = tuple(replace(machine, node=f"node-{number}") for number, machine in enumerate(machines))
    return ClusterTopology(nodes, nodes[0].node)


def named(nodes: Iterable[Node]) -> dict[str, Node]:
    """Nodes by the name that a plan gives them: host and address, and a number where several share them."""
    found: dict[str, Node] = {}
    for node in sorted(nodes, key=lambda node: (node.name, node.address, node.node_id)):
        label, number = f"{node.name} ({node.address})", 1
        while label in found:
            number += 1
            label = f"{node.name} ({node.address}) #{number}"
        found[label] = node
    return found


def reservations(rows: Iterable[Assignment]) -> dict[str, Bundle]:
    """What to reserve for each part: cores that no earlier part of its node has, and its GPU; none for parts without.

    Args:
        rows: of all parts.
    """
    counted: dict[str, set[int]] = {}
    found: dict[str, Bundle] = {}
    for row in rows:
        taken = counted.setdefault(row.node, set())
        bundle = Bundle(len(set(row.cores) - taken), 0 if row.gpu is None else 1)
        taken.update(row.cores)
        if any(bundle):
            found[row.role] = bundle
    return found


def shortage(wanted: Iterable[tuple[str, str, Bundle]], use: ClusterUse) -> str | None:
    """What the first node lacks, and what to do; None where each has enough, as far as it is known.

    Args:
        wanted: the name of a node, its id, and what is wanted there; several of one node add up.
        use: of the cluster.
    """
    totals: dict[tuple[str, str], Bundle] = {}
    for name, node_id, bundle in wanted:
        before = totals.get((name, node_id), Bundle(0, 0))
        totals[name, node_id] = Bundle(before.cpus + bundle.cpus, before.gpus + bundle.gpus)
    for (name, node_id), total in totals.items():
        for unit, needed, free in zip(("core", "GPU"), total, use.free.get(node_id, total), strict=True):
            if needed > free:
                users = " and ".join(sorted(use.users.get(node_id, ())))
                remedy = f"end what has actors there: {users}" if users else "end what uses the node (`ray status`)"
                return f"node {name}: {plural(needed, unit)} needed, {free} free; {remedy}"
    return None


def plan_over(here: Topology, nodes: Sequence[Topology], request: PlacementRequest) -> Placement:
    """Place the client here, and replicas and frontends on nodes.

    Args:
        here: the client's machine; a node has the same name where it is one of them.
        nodes: of the cluster, each with a name of its own.
        request: what is asked of them; its GPUs are numbers on each node.

    Raises:
        PlacementError: the request contradicts itself, or needs more than there is.
    """
    if missing := set(request.gpus).difference(*(node.gpus for node in nodes)):
        them = "it" if len(missing) == 1 else "them"
        raise PlacementError(
            f"--gpus {core_ranges(missing)}: no node of the cluster has {them}; choose others, or none"
        )
    ranked = sorted(nodes, key=lambda node: (node.node == here.node, -len(node.cores)))
    homes = _homes(ranked, request)
    frontends = _frontend_homes(ranked, homes, request.infrastructure[-1].processes)
    rows: dict[str, Assignment] = {}
    overlaps: list[str] = []
    for place, node in enumerate(ranked):
        replicas = [number for number, home in enumerate(homes) if home == place]
        carried = [number for number, home in enumerate(frontends) if home == place]
        if not replicas and node.node != here.node:
            continue
        placed = _plan_node(node, node.node == here.node, len(replicas), len(carried), request)
        overlaps += [f"{node.node}: {line}" for line in placed.overlaps]
        if node.node == here.node:
            rows["client"] = placed["client"]
        service = request.infrastructure[-1].role
        for number, row in zip(carried, placed.of(service), strict=True):
            rows[service if len(frontends) == 1 else f"{service}-{number}"] = row
        for number, row in zip(replicas, placed.replicas, strict=True):
            rows[f"replica-{number}"] = row
    if "client" not in rows:
        rows["client"] = _plan_node(here, True, 0, 0, request)["client"]
    roles = ("client", *with_frontends(request.infrastructure, len(frontends))[-1].roles)
    order = (*roles, *(f"replica-{number}" for number in range(len(homes))))
    return Placement(tuple(replace(rows[role], role=role) for role in order), tuple(overlaps))


def _homes(ranked: Sequence[Topology], request: PlacementRequest) -> list[int]:
    """The place of the node of each replica.

    Raises:
        PlacementError: they have too few cores.
    """
    each, wanted = request.cpus_per_replica, request.replicas
    # Frontends and the processes of the cluster have a core of each node, where replicas do not need all.
    for kept in (1, 0):
        room = [wanted if request.allow_overlap else max(0, len(node.cores) - kept) // each for node in ranked]
        if sum(room) >= wanted:
            break
    else:
        nodes, largest = plural(len(ranked), "node"), max(len(node.cores) for node in ranked)
        more = "use fewer replicas or add nodes" if largest >= each else f"use --cpus-per-replica {largest}"
        raise PlacementError(
            f"{plural(wanted, 'replica')} of {plural(each, 'core')}: the {nodes} of the cluster "
            f"{'has' if len(ranked) == 1 else 'have'} room for {sum(room)}; {more}"
        )
    gpus = [min(len(set(request.gpus) & set(node.gpus)), space) for node, space in zip(ranked, room, strict=True)]
    homes = _dealt(gpus, wanted)
    used = Counter(homes)
    left = [space - used[place] for place, space in enumerate(room)]
    return homes + _dealt(left, wanted - len(homes))


def _dealt(room: Sequence[int], count: int) -> list[int]:
    """Places in turn, as long as each has room.

    Args:
        room: of each place.
        count: most of them.
    """
    turns = range(max(room, default=0))
    return [place for turn in turns for place, space in enumerate(room) if turn < space][:count]


def _frontend_homes(ranked: Sequence[Topology], homes: Sequence[int], count: int) -> list[int]:
    """The place of the node of each frontend, which has every `count`-th replica.

    Args:
        ranked: the nodes.
        homes: of replicas.
        count: of frontends.
    """
    found: list[int] = []
    for number in range(count):
        fed = Counter(homes[number::count])
        found.append(max(range(len(ranked)), key=lambda place: (fed[place], -found.count(place), -place)))
    return found


def _plan_node(node: Topology, client: bool, replicas: int, frontends: int, request: PlacementRequest) -> Placement:
    """The plan of one node.

    Args:
        node: the node.
        client: whether the client is on it; otherwise that row has what the cluster's own processes keep.
        replicas: how many.
        frontends: how many.
        request: of the whole deployment.
    """
    first = node.physical(node.cores[0])
    fits = replicas * request.cpus_per_replica + len(first) <= len(node.cores)
    local = replace(
        request,
        replicas=replicas,
        gpus=tuple(gpu for gpu in request.gpus if gpu in node.gpus),
        infrastructure=with_frontends(request.infrastructure, frontends) if frontends else (),
    )
    if not client:
        local = replace(local, client_cpus=first if fits else None, clients=1)
    try:
        return plan(node, local)
    except PlacementError as error:  # an option that names cores means the client's machine
        named = str(error) if str(error).startswith("--") else f"node {node.node}: {error}"
        raise type(error)(named) from None
