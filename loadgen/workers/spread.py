"""Deals client processes to the nodes of a cluster. Pure."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass

from frontend_launch.launch.cluster import Node


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


def _among(node: Node, replicas: Collection[str]) -> bool:
    return node.name in replicas or node.node_id in replicas
