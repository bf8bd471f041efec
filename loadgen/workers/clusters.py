"""The ways to start the clients of a run: on this machine, or on the nodes of a cluster, by ``--workers``."""

from __future__ import annotations

import contextlib
import importlib
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from typing import Any, TypeAlias

from frontend_launch.launch.cluster import Node
from frontend_launch.launch.placement import Assignment
from loadgen.config import Client
from loadgen.errors import ConfigError
from loadgen.load.clients import Senders, clients
from loadgen.plan import PlanContext
from loadgen.workers.leader import leading
from loadgen.workers.messages import Worker
from loadgen.workers.spread import Seat, beside, cores_taken
from model_containers.extras import remedy

Workers: TypeAlias = Callable[
    [str, int, Mapping[str, tuple[int, ...]]], AbstractAsyncContextManager[list[tuple[Seat, Worker]]]
]
"""Starts workers, see `loadgen.workers.ray_cluster.workers`."""

CLUSTERS = {"ray": "loadgen.workers.ray_cluster"}
"""The module of each, imported when it is asked for, since it is behind an extra of its name."""


def workers_of(cluster: str) -> Workers:
    """What starts the workers of a cluster.

    Raises:
        ConfigError: its extra is not installed.
    """
    found: Workers = _module(cluster).workers
    return found


async def planned(client: Client, plan: PlanContext, served: Sequence[Assignment]) -> dict[str, int]:
    """How many clients each node of a cluster gets, by its name; nothing is started there.

    Args:
        client: who sends.
        plan: what the plan depends on: of nodes in words, no cluster is asked.
        served: where replicas and frontends of the run are; none where they are not of the run.

    Returns:
        none where all clients are on this machine, or the nodes are not known.

    Raises:
        ConfigError: the extra of a cluster is not installed.
        LaunchError: the cluster does not answer.
    """
    if client.workers is None or (plan.topology.words and plan.cluster is None):
        return {}
    if plan.cluster is not None and plan.topology.words:
        nodes = {node.node: Node(node.node, node.node, "", len(node.cores)) for node in plan.cluster.nodes}
    else:
        nodes = await _module(client.workers).nodes(client.workers)
    seats = beside(nodes, client.processes, cores_taken(served))
    return {name: len(seat.clients) for name, seat in seats.items()}


def _module(cluster: str) -> Any:
    name = cluster.partition(":")[0]
    try:
        return importlib.import_module(CLUSTERS[name])
    except ImportError as error:
        raise ConfigError(f"{{Client.workers}} {cluster}: needs {error.name}; {remedy(name)}") from None


@contextlib.asynccontextmanager
async def senders(client: Client, assignment: Assignment, served: Sequence[Assignment]) -> AsyncIterator[Senders]:
    """The clients of a run, while the context lasts.

    Args:
        client: who sends.
        assignment: the cores of the clients on this machine.
        served: where replicas and frontends of the run are; none where they are not of the run.

    Raises:
        ConfigError: the extra of a cluster is not installed.
        LaunchError: a client or a worker cannot be started.
    """
    if client.workers is None:
        async with clients(client.processes, assignment) as local:
            yield local
        return
    async with (
        workers_of(client.workers)(client.workers, client.processes, cores_taken(served)) as seats,
        leading(client.workers, seats) as elsewhere,
    ):
        yield elsewhere
