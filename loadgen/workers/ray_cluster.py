"""Workers on the nodes of a Ray cluster, each an actor that supervises client processes: the one module with Ray in it.

Ray places the actors and reserves cores for them; it sends no request, and restarts nothing.
"""

from __future__ import annotations

import asyncio
import atexit
import contextlib
import logging
import os
import signal
import threading
import warnings
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from typing import Any

import ray
from ray.exceptions import ActorUnavailableError, RayError, RayTaskError
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy
from typing_extensions import override

from frontend_launch.errors import LaunchError
from frontend_launch.tasks import to_completion
from loadgen.errors import one_line
from loadgen.targets.access import grpc_library
from loadgen.workers.cluster_address import CLIENT_SERVER, VARIABLE, ClusterAddress, check_listening, cluster_address
from loadgen.workers.messages import Identity, News, Order, Started, Worker, WorkerLostError
from loadgen.workers.spread import Node, Seat, spread
from loadgen.workers.supervisor import Supervisor, end_process

CONNECT_TIMEOUT_S = 60.0
"""Patience for the cluster to answer, or for one on this machine to start."""

END_TIMEOUT_S = 20.0
"""Patience for the end of a connection, and of a cluster on this machine."""

GIVE_UP_TIMEOUT_S = 1.0
"""Patience for a connection that is being made when the run is cancelled."""

LOCAL_STORE_BYTES = 100 << 20
"""Of the object store of a cluster on this machine: what workers say is small."""


class RayWorker(Worker):
    """A worker that is an actor.

    Args:
        actor: the handle of a `Supervisor`.
        where: its node.
    """

    def __init__(self, actor: Any, where: NodeAffinitySchedulingStrategy) -> None:
        self._actor, self._where = actor, where

    @override
    async def identity(self) -> Identity:
        found: Identity = await _answer(self._actor.identity.remote)
        return found

    @override
    async def clock(self) -> int:
        read_ns: int = await _answer(self._actor.clock.remote)
        return read_ns

    @override
    async def start(self, name: str, clients: tuple[int, ...], cpus: int) -> Started:
        started: Started = await _answer(self._actor.start.remote, name, clients, cpus)
        return started

    @override
    async def tell(self, orders: list[Order]) -> None:
        await _answer(self._actor.tell.remote, orders)

    @override
    async def news(self, wait_s: float) -> list[News]:
        found: list[News] = await _answer(self._actor.news.remote, wait_s)
        return found

    @override
    async def close(self) -> None:
        await _answer(self._actor.close.remote)

    @override
    async def kill(self, pid: int, began_at: int) -> None:
        ending = ray.remote(end_process).options(num_cpus=0, max_retries=0, scheduling_strategy=self._where)
        await _answer(ending.remote, pid, began_at)


async def _answer(call: Callable[..., Awaitable[Any]], *arguments: Any) -> Any:
    """What an actor answers.

    Raises:
        WorkerLostError: it is gone.
        Exception: that it raised.
    """
    answer = asyncio.ensure_future(call(*arguments))
    answer.add_done_callback(lambda done: done.cancelled() or done.exception())  # there may be nothing that waits
    try:
        return await asyncio.shield(answer)  # Ray's client reports an error where an answer was cancelled
    except RayTaskError as error:
        raise error.cause from None
    except (RayError, ConnectionError) as error:
        raise WorkerLostError(_reason(error)) from None


def _reason(error: Exception) -> str:
    """The line that says most: of an error in the process of an actor the last one, of a lost actor the first."""
    if isinstance(error, ActorUnavailableError):
        return "its process, or its node, cannot be reached"
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    raised = [line for line in lines if "Error: " in line and not line.startswith("ray::")]
    first = [lines[0].partition(". ")[0]] if lines else [type(error).__name__]
    return one_line((raised[-1:] or first)[0].rstrip("."))


@contextlib.asynccontextmanager
async def workers(cluster: str, clients: int, host: str | None) -> AsyncIterator[list[tuple[Seat, Worker]]]:
    """Actors on the nodes of a cluster, while the context lasts.

    Args:
        cluster: ``ray``, ``ray://HOST:PORT`` or ``ray:local``.
        clients: client processes in all.
        host: name of the machine that has the replicas; None where it has none.

    Raises:
        LaunchError: the cluster does not answer, or has no node with a core.
    """
    async with _connected(cluster):
        seats = spread(_nodes(), clients, () if host is None else (host,))
        if not seats:
            raise LaunchError(f"cluster {cluster}: no node of the cluster has a core; start nodes with cores")
        actors, found = list[Any](), list[tuple[Seat, Worker]]()
        try:
            for seat in seats:
                where = NodeAffinitySchedulingStrategy(seat.node.node_id, soft=False)
                options = {"num_cpus": seat.cpus, "max_restarts": 0, "scheduling_strategy": where}
                actors.append(ray.remote(Supervisor).options(**options).remote())
                found.append((seat, RayWorker(actors[-1], where)))
            yield found
        finally:
            for actor in actors:
                with contextlib.suppress(RayError, ConnectionError):
                    ray.kill(actor)


def _nodes() -> list[Node]:
    return [
        Node(row["NodeID"], row["NodeManagerHostname"], row["NodeManagerAddress"], int(row["Resources"].get("CPU", 0)))
        for row in ray.nodes()
        if row["Alive"]
    ]


@contextlib.asynccontextmanager
async def _connected(cluster: str) -> AsyncIterator[None]:
    """A connection to a cluster; one that is there already is used, and stays.

    Raises:
        ConfigError: gRPC is not installed, which an address of Ray's client server needs.
        LaunchError: it does not answer.
    """
    if ray.is_initialized():
        yield
        return
    address = cluster_address(cluster, os.environ.get(VARIABLE, ""))
    await check_listening(address)
    logging.getLogger("ray").setLevel(logging.CRITICAL)
    # Standard output may be a document. What Ray says there of a lost worker comes as an error too.
    setattr(ray._private.worker, "print_to_stdstream", lambda *_, **__: None)  # noqa: B010 - it is not public
    if address.text.startswith(CLIENT_SERVER):
        grpc_library()  # Ray's client needs it
        warnings.filterwarnings("ignore", message="Ray Client connection timed out")  # the error says it
    options: dict[str, Any] = {"address": address.text, "log_to_driver": False, "configure_logging": False}
    if cluster == "ray:local":
        os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
        options |= {"include_dashboard": False, "object_store_memory": LOCAL_STORE_BYTES}
    session = _Session(options)
    try:
        await session.connected(CONNECT_TIMEOUT_S)
    except TimeoutError:
        raise LaunchError(f"{address.named}: no answer within {CONNECT_TIMEOUT_S:g} s; {_remedy(address)}") from None
    except (RayError, ConnectionError, OSError, RuntimeError, ValueError) as error:
        raise LaunchError(f"{address.named}: {_reason(error)}; {_remedy(address)}") from None
    finally:
        _keep_termination()
    try:
        yield
    finally:
        await to_completion(session.end(END_TIMEOUT_S))
        _keep_termination()


def _remedy(address: ClusterAddress) -> str:
    """What to do when Ray finds no cluster at an address, or is not let in."""
    if "RAY_AUTH_MODE" in os.environ:
        return address.remedy
    return f"{address.remedy}; a cluster with token authentication needs RAY_AUTH_MODE=token"


def _keep_termination() -> None:
    """Install this program's handler of SIGTERM again.

    While Ray is connected its own one is there, and after that the default, which ends the process at once.
    """
    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGTERM, signal.getsignal(signal.SIGTERM))


class _Session:
    """A connection to a cluster, in a thread of its own.

    Ray blocks while it connects, and a cluster on this machine ends with the thread that started it.

    Args:
        options: of `ray.init`.
    """

    def __init__(self, options: Mapping[str, Any]) -> None:
        self._options, self._loop = options, asyncio.get_running_loop()
        self._connected: asyncio.Future[None] = self._loop.create_future()
        self._ended, self._ending = asyncio.Event(), threading.Event()
        # An exit of this program does not wait for it.
        threading.Thread(target=self._run, name="ray", daemon=True).start()

    async def connected(self, timeout_s: float) -> None:
        """Wait for the connection; one that takes too long, or is not wanted any more, is abandoned.

        Raises:
            TimeoutError: it takes longer.
            Exception: that Ray raised.
        """
        done = set[asyncio.Future[None]]()
        try:
            done, _ = await asyncio.wait({self._connected}, timeout=timeout_s)
        finally:
            if not done:
                await to_completion(self.end(GIVE_UP_TIMEOUT_S))
        if not done:
            raise TimeoutError
        self._connected.result()

    async def end(self, timeout_s: float) -> None:
        """Disconnect.

        Ray's own shutdown at the exit of this program would wait for ever for a connection that is half made: without
        an end in time it is left out, and processes of a cluster on this machine end with this one.
        """
        self._ending.set()
        try:
            async with asyncio.timeout(timeout_s):
                await self._ended.wait()
        except TimeoutError:
            atexit.unregister(ray.shutdown)

    def _run(self) -> None:
        failure: Exception | None = None
        try:
            ray.init(**self._options)
        except Exception as error:
            failure = error
        self._tell(lambda: self._settle(failure))
        if failure is None:
            self._ending.wait()
            ray.shutdown()
        self._tell(self._ended.set)

    def _settle(self, failure: Exception | None) -> None:
        if failure is None:
            self._connected.set_result(None)
        else:
            self._connected.set_exception(failure)
            self._connected.exception()  # there may be nothing that asks for it any more

    def _tell(self, what: Callable[[], object]) -> None:
        with contextlib.suppress(RuntimeError):  # the loop has ended
            self._loop.call_soon_threadsafe(what)
