"""The ways to start the clients of a run: on this machine, or on the nodes of a cluster, by ``--workers``."""

from __future__ import annotations

import contextlib
import pkgutil
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from typing import TypeAlias

from frontend_launch.launch.placement import Assignment
from loadgen.config import Client
from loadgen.errors import ConfigError
from loadgen.load.clients import Senders, clients
from loadgen.workers.leader import leading
from loadgen.workers.messages import Worker
from loadgen.workers.spread import Seat
from model_containers.extras import remedy

Workers: TypeAlias = Callable[
    [str, int, Mapping[str, tuple[int, ...]]], AbstractAsyncContextManager[list[tuple[Seat, Worker]]]
]
"""Starts workers, see `loadgen.workers.ray_cluster.workers`."""

CLUSTERS = {"ray": "loadgen.workers.ray_cluster:workers"}
"""``MODULE:FUNCTION``, imported when it is asked for, since each is behind an extra of its name."""


def workers_of(cluster: str) -> Workers:
    """What starts the workers of a cluster.

    Raises:
        ConfigError: its extra is not installed.
    """
    name = cluster.partition(":")[0]
    try:
        found: Workers = pkgutil.resolve_name(CLUSTERS[name])
    except ImportError as error:
        raise ConfigError(f"{{Client.workers}} {cluster}: needs {error.name}; {remedy(name)}") from None
    return found


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
    taken = dict[str, tuple[int, ...]]()
    for row in served:
        taken[row.node] = tuple(dict.fromkeys((*taken.get(row.node, ()), *row.cores)))
    async with (
        workers_of(client.workers)(client.workers, client.processes, taken) as seats,
        leading(client.workers, seats) as elsewhere,
    ):
        yield elsewhere
