"""Deals client processes to the nodes of a cluster. Pure."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from frontend_launch.launch.cluster import Node
from frontend_launch.launch.placement import Assignment


@dataclass(frozen=True, slots=True)
class Seat:
    """A node with the clients of a worker.

    Attributes:
        node: where the worker runs.
        clients: numbers of its client processes.
        taken: cores that replicas and frontends of the run have there.
    """

    node: Node
    clients: tuple[int, ...]
    taken: tuple[int, ...] = ()

    @property
    def cpus(self) -> int:
        """Cores to reserve: one for each client and one for the worker, as far as the node has them."""
        return min(len(self.clients) + 1, self.node.cpus)


def spread(nodes: Sequence[Node], clients: int, replicas: Collection[str] = ()) -> list[Seat]:
    """Deal clients to nodes in turn: first nodes without replicas, of these first those with most cores.

    Args:
        nodes: of the cluster; those without cores get nothing.
        clients: client processes in all.
        replicas: names of hosts, or ids of nodes, that have replicas.

    Returns:
        The nodes that have a client; none where no node has a core.
    """
    usable = [node for node in nodes if node.cpus > 0]
    ranked = sorted(usable, key=lambda node: (_among(node, replicas), -node.cpus, node.name, node.node_id))
    return [Seat(node, tuple(range(place, clients, len(ranked)))) for place, node in enumerate(ranked[:clients])]


def cores_taken(served: Iterable[Assignment]) -> dict[str, tuple[int, ...]]:
    """The cores that replicas and frontends of a run have, by the name of their host, or of their node in a cluster."""
    taken = dict[str, tuple[int, ...]]()
    for row in served:
        taken[row.node] = tuple(dict.fromkeys((*taken.get(row.node, ()), *row.cores)))
    return taken


def beside(nodes: Mapping[str, Node], clients: int, taken: Mapping[str, tuple[int, ...]]) -> dict[str, Seat]:
    """Deal clients to nodes beside replicas and frontends, as `spread` does.

    Args:
        nodes: of the cluster, by the names that a plan over it gives them.
        clients: client processes in all.
        taken: as `cores_taken` has it.

    Returns:
        The nodes that have a client, by their names; none where no node has a core.
    """
    labels = {node.node_id: label for label, node in nodes.items()}
    cores = {node.node_id: taken.get(label, taken.get(node.name, ())) for label, node in nodes.items()}
    # What a plan over the cluster has there, it has reserved; where that is all, clients share it.
    left = [replace(node, cpus=node.cpus - len(taken.get(label, ()))) for label, node in nodes.items()]
    seats = spread(left, clients, [node_id for node_id in cores if cores[node_id]]) or [
        replace(seat, node=replace(seat.node, cpus=0)) for seat in spread([*nodes.values()], clients)
    ]
    return {labels[seat.node.node_id]: replace(seat, taken=cores[seat.node.node_id]) for seat in seats}


def _among(node: Node, replicas: Collection[str]) -> bool:
    return node.name in replicas or node.node_id in replicas
