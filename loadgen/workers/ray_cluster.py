"""Workers on the nodes of a Ray cluster, each an actor that supervises client processes."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping
from typing import Any

from typing_extensions import override

from frontend_launch import ray_cluster
from frontend_launch.cluster_head import HEAD_LOST
from frontend_launch.errors import ActorLostError, LaunchError
from frontend_launch.launch.cluster import Bundle, Node, named
from frontend_launch.tasks import gather_all, to_completion
from loadgen.workers.messages import Identity, News, Order, Started, Worker, WorkerLostError
from loadgen.workers.spread import Seat, beside
from loadgen.workers.supervisor import Supervisor, end_process


class RayWorker(Worker):
    """A worker that is an actor.

    Args:
        actor: the handle of a `Supervisor`.
        node_id: of its node.
    """

    def __init__(self, actor: Any, node_id: str) -> None:
        self._actor, self._node_id = actor, node_id
        self._client = 0
        self._cut_off = False

    @override
    async def identity(self) -> Identity:
        found: Identity = await _answer(self._actor.identity.remote)
        return found

    @override
    async def clock(self) -> int:
        read_ns: int = await _answer(self._actor.clock.remote)
        return read_ns

    @override
    async def start(self, name: str, clients: tuple[int, ...], cpus: int, taken: tuple[int, ...] = ()) -> Started:
        self._client = clients[0]
        started: Started = await _answer(self._actor.start.remote, name, clients, cpus, taken)
        return started

    @override
    async def tell(self, orders: list[Order]) -> None:
        await _answer(self._actor.tell.remote, orders)

    @override
    async def news(self, wait_s: float) -> list[News]:
        if ray_cluster.head_lost() and not self._cut_off:
            self._cut_off = True
            return [News(self._client, "cut off", text=HEAD_LOST)]
        found: list[News] = await _answer(self._actor.news.remote, wait_s)
        return found

    @override
    async def close(self) -> None:
        await _answer(self._actor.close.remote)

    @override
    async def kill(self, pid: int, began_at: int) -> None:
        with _lost():
            await ray_cluster.run_on(self._node_id, end_process, pid, began_at)


async def _answer(call: Callable[..., Awaitable[Any]], *arguments: Any) -> Any:
    """What an actor answers.

    Raises:
        WorkerLostError: it is gone.
        Exception: that it raised.
    """
    with _lost():
        return await ray_cluster.answer(call, *arguments)


@contextlib.contextmanager
def _lost() -> Iterator[None]:
    """A lost actor is a lost worker.

    Raises:
        WorkerLostError: it is.
    """
    try:
        yield
    except ActorLostError as error:
        raise WorkerLostError(str(error)) from None
    except ImportError as error:
        raise WorkerLostError(f"{error}; {ray_cluster.INSTALL}") from None


async def nodes(cluster: str) -> dict[str, Node]:
    """The nodes of a cluster, by the names that a plan over it gives them.

    Args:
        cluster: ``ray``, ``ray://HOST:PORT`` or ``ray:local``.

    Raises:
        LaunchError: the cluster does not answer.
    """
    async with ray_cluster.connected(cluster):
        return named(await ray_cluster.nodes())


@contextlib.asynccontextmanager
async def workers(
    cluster: str, clients: int, taken: Mapping[str, tuple[int, ...]]
) -> AsyncIterator[list[tuple[Seat, Worker]]]:
    """Actors on the nodes of a cluster, while the context lasts.

    Args:
        cluster: ``ray``, ``ray://HOST:PORT`` or ``ray:local``.
        clients: client processes in all.
        taken: cores of replicas and frontends, see `loadgen.workers.spread.cores_taken`.

    Raises:
        LaunchError: the cluster does not answer, or has no node with a core.
    """
    async with ray_cluster.connected(cluster):
        seats = beside(named(await ray_cluster.nodes()), clients, taken)
        if not seats:
            raise LaunchError(f"cluster {cluster}: no node of the cluster has a core; start nodes with cores")
        wanted = [(label, seat.node.node_id, Bundle(seat.cpus, 0)) for label, seat in seats.items()]
        await ray_cluster.until_free(cluster, wanted)
        actors, found = list[Any](), list[tuple[Seat, Worker]]()
        try:
            for seat in seats.values():
                actors.append(await ray_cluster.actor(Supervisor, seat.node.node_id, seat.cpus))
                found.append((seat, RayWorker(actors[-1], seat.node.node_id)))
            yield found
        finally:
            await to_completion(gather_all(*(ray_cluster.kill(actor) for actor in actors)))
