"""Nodes, actors, tasks and reservations of a Ray cluster: the one module with Ray in it.

Ray places actors and reserves cores and GPUs for them; it sends no request, and restarts nothing.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import inspect
import logging
import os
import warnings
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from typing import Any, TypeVar

import ray
from ray._private import state
from ray.exceptions import ActorUnavailableError, AuthenticationError, RayError, RayTaskError
from ray.runtime_env import RuntimeEnv, RuntimeEnvConfig
from ray.util.placement_group import PlacementGroup, placement_group, remove_placement_group
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy, PlacementGroupSchedulingStrategy

from frontend_launch.cluster_address import (
    AUTO,
    CLIENT_SERVER,
    ENVIRONMENT,
    LOCAL,
    PLUGINS,
    REACH_TIMEOUT_S,
    VARIABLE,
    ClusterAddress,
    check_fields,
    check_here,
    check_listening,
    cluster_address,
    is_client_server,
    remedy_for,
    runtime_environment,
    token_problem,
)
from frontend_launch.cluster_head import HEAD_LOST, Head
from frontend_launch.cluster_session import Session
from frontend_launch.errors import ActorLostError, HeadLostError, LaunchError, RequestError, UnavailableError
from frontend_launch.launch.cluster import Bundle, ClusterUse, Node, shortage
from frontend_launch.quantities import plural
from frontend_launch.supervision import own_version
from frontend_launch.tasks import gather_all, in_daemon, to_completion
from model_containers.printable import printable

log = logging.getLogger(__name__)

CONNECT_TIMEOUT_S = 60.0
"""Patience for the cluster to answer, or for one on this machine to start."""

PREPARE_TIMEOUT_S = 600.0
"""Patience for the nodes to have the runtime environment; Ray's own is as long."""

FREE_TIMEOUT_S = 10.0
"""Patience for nodes to have cores and GPUs free: what has them may be ending."""

SOON_FREE_S = 1.0
"""The same before it is said: the last run of a search needs less."""

FREE_EVERY_S = 0.2
"""Between two looks whether they have."""

GIVE_BACK_TIMEOUT_S = 5.0
"""Patience for the end of an actor, and of a reservation."""

LOCAL_STORE_BYTES = 100 << 20
"""Of the object store of a cluster on this machine: what workers say is small."""

INSTALL = f"install this version there, or name a runtime environment with it in {ENVIRONMENT}"
"""The remedy for a node without loadgen, or with another version."""

T = TypeVar("T")

_head: Head
"""Of the cluster that this process is connected to."""

_watching: asyncio.Task[None] | None = None
"""Asks it; None where no context is connected."""

_NO_MODULE = "ModuleNotFoundError: "
_NODE_LABEL = "ray.io/node-id"
_NAMESPACE = "loadgen"


def head_lost() -> bool:
    """Whether the head of the cluster does not answer any more; Ray ends this process a minute later."""
    return _head.lost


async def nodes() -> list[Node]:
    """The nodes that are alive, of the cluster that this process is connected to.

    Raises:
        HeadLostError: its head does not say.
    """
    return [
        Node(
            row["NodeID"],
            row["NodeManagerHostname"],
            row["NodeManagerAddress"],
            int(row["Resources"].get("CPU", 0)),
            int(row["Resources"].get("GPU", 0)),
        )
        for row in await _asked(ray.nodes)
        if row["Alive"]
    ]


async def _asked(work: Callable[[], T]) -> T:
    """What a call returns that may wait for the head of the cluster, as long as that takes.

    Raises:
        HeadLostError: the head is lost meanwhile.
        Exception: that the call raised.
    """
    found: T = await answer(in_daemon, work)
    return found


def own_node(cluster: str) -> str:
    """The id of the node that this process is on; empty where it is on none."""
    by_client_server = is_client_server(cluster, os.environ.get(VARIABLE, ""))
    return "" if by_client_server else str(ray.get_runtime_context().get_node_id())


def address(cluster: str) -> str:
    """Of the cluster that this process is connected to, for other processes of this machine.

    Args:
        cluster: as this process names it.
    """
    variable = os.environ.get(VARIABLE, "")
    if is_client_server(cluster, variable):
        return cluster_address(cluster, variable).text
    return str(ray.get_runtime_context().gcs_address)


async def actor(kind: type, node_id: str, cpus: float, name: str | None = None) -> Any:
    """The handle of a new actor on a node.

    Args:
        kind: its class, which the nodes have too.
        node_id: of the node.
        cpus: cores to reserve.
        name: by which other programs find it; None for none.

    Raises:
        HeadLostError: the head of the cluster is lost.
    """
    where = NodeAffinitySchedulingStrategy(node_id, soft=False)
    named = {"name": name, "namespace": _NAMESPACE, "max_restarts": 0, "scheduling_strategy": where}
    return await _asked(ray.remote(kind).options(num_cpus=cpus, **named).remote)


async def found(name: str) -> Any:
    """The handle of an actor that another program started.

    Args:
        name: of the actor.

    Raises:
        ActorLostError: it is gone, or the head of the cluster.
    """
    try:
        return await _asked(lambda: ray.get_actor(name, _NAMESPACE))
    except ValueError:
        raise ActorLostError("the actor that supervises it is gone") from None


async def actor_in(group: PlacementGroup, place: int, kind: type, bundle: Bundle, name: str) -> Any:
    """The handle of a new actor in a bundle of a placement group.

    Args:
        group: the placement group.
        place: of the bundle.
        kind: its class, which the nodes have too.
        bundle: what it has.
        name: by which other programs find it.

    Raises:
        HeadLostError: the head of the cluster is lost.
    """
    where = PlacementGroupSchedulingStrategy(group, placement_group_bundle_index=place)
    named = {"name": name, "namespace": _NAMESPACE, "max_restarts": 0, "scheduling_strategy": where}
    return await _asked(ray.remote(kind).options(num_cpus=bundle.cpus, num_gpus=bundle.gpus, **named).remote)


async def kill(handle: Any) -> None:
    """End an actor, and with it its processes; one that is gone stays so."""
    await _give_back(lambda: ray.kill(handle))


async def until_free(cluster: str, wanted: Sequence[tuple[str, str, Bundle]]) -> None:
    """Wait until nodes have what is wanted there, as far as the cluster says what they have; others may be ending.

    Args:
        cluster: as this process names it.
        wanted: see `shortage`.

    Raises:
        LaunchError: a node has less.
    """
    lack, told, clock = None, False, asyncio.get_running_loop().time
    began_s = clock()
    try:
        async with asyncio.timeout(FREE_TIMEOUT_S):
            while lack := shortage(wanted, await _use_of(cluster, wanted)):
                if not told and clock() - began_s >= SOON_FREE_S:
                    log.info("waiting up to %g s: %s", FREE_TIMEOUT_S, lack)
                    told = True
                await asyncio.sleep(FREE_EVERY_S)
    except TimeoutError:
        if not await _head.answers():
            raise HeadLostError(HEAD_LOST) from None
        if lack is not None:
            raise LaunchError(lack) from None
    except HeadLostError:
        raise
    except Exception as error:  # what cannot be started there says so itself
        log.debug("what the nodes have free is unknown: %r", error)


async def _use_of(cluster: str, wanted: Sequence[tuple[str, str, Bundle]]) -> ClusterUse:
    if is_client_server(cluster, os.environ.get(VARIABLE, "")):
        found: ClusterUse = await run_on(wanted[0][1], use)
        return found
    return await _asked(use)


def use() -> ClusterUse:
    """What programs use of the cluster, as a process on a node of it finds out."""
    own = ray.get_runtime_context().get_job_id()
    free = {
        node_id: Bundle(int(row.get("CPU", 0)), int(row.get("GPU", 0)))
        for node_id, row in state.available_resources_per_node().items()
    }
    others = {
        row["JobID"]: f"process {row['DriverPid']} on {row['DriverIPAddress']}"
        for row in state.jobs()
        if row["JobID"] != own and not row["IsDead"]  # whose actors may go on
    }
    users: dict[str, set[str]] = {}
    for row in state.actors().values():
        if row["State"] == "ALIVE" and row["JobID"] in others:
            users.setdefault(row["Address"]["NodeID"], set()).add(others[row["JobID"]])
    return ClusterUse(free, users)


async def run_on(node_id: str, function: Callable[..., Any], *arguments: Any) -> Any:
    """What a function returns on a node.

    Args:
        node_id: of the node.
        function: that the nodes have too.
        *arguments: of it.

    Raises:
        ActorLostError: the node is gone.
        Exception: that the function raised.
    """
    where = NodeAffinitySchedulingStrategy(node_id, soft=False)
    task = ray.remote(function).options(num_cpus=0, max_retries=0, scheduling_strategy=where)
    # The first task of a function hands it to the head, and blocks meanwhile.
    reference = await answer(in_daemon, functools.partial(task.remote, *arguments))
    return await answer(lambda: reference)


@contextlib.asynccontextmanager
async def reserved(bundles: Sequence[tuple[str, Bundle]], timeout_s: float) -> AsyncIterator[PlacementGroup]:
    """A placement group, while the context lasts: all bundles or none.

    Args:
        bundles: each with the id of its node.
        timeout_s: patience for the nodes to have them free.

    Raises:
        LaunchError: they have not.
    """
    wanted = [{name: n for name, n in (("CPU", one.cpus), ("GPU", one.gpus)) if n} for _, one in bundles]
    where = [{_NODE_LABEL: node_id} for node_id, _ in bundles]
    group = await _asked(lambda: placement_group(wanted, strategy="PACK", bundle_label_selector=where))
    try:
        try:
            async with asyncio.timeout(timeout_s):
                await answer(group.ready)
        except TimeoutError:
            cpus, gpus = (sum(each) for each in zip(*(one for _, one in bundles), strict=True))
            total = plural(cpus, "core") + (f" and {plural(gpus, 'GPU')}" if gpus else "")
            text = f"the cluster has not reserved {total} within {timeout_s:g} s"
            raise LaunchError(f"{text}; end what uses its nodes (`ray status`), or use fewer replicas") from None
        except HeadLostError:
            raise
        except ActorLostError as error:
            raise LaunchError(f"the cluster reserves no cores: {error}") from None
        yield group
    finally:
        await to_completion(_give_back(lambda: remove_placement_group(group)))


async def _give_back(work: Callable[[], object]) -> None:
    """Do something at the end that waits for the head, or needs what may be gone, within a limit.

    Without a head nothing is reserved, and nodes end what they have by themselves.

    Args:
        work: what to do.
    """
    if _head.lost:
        return
    with contextlib.suppress(Exception):  # of a broken connection Ray's client raises anything
        async with asyncio.timeout(GIVE_BACK_TIMEOUT_S):
            await _head.result_of(asyncio.ensure_future(in_daemon(work)))


async def answer(call: Callable[..., Awaitable[Any]], *arguments: Any) -> Any:
    """What an actor or a task answers.

    Args:
        call: the remote method.
        *arguments: of it.

    Raises:
        ActorLostError: it is gone, or the head of the cluster.
        ImportError: its node has not the modules.
        Exception: that it raised.
    """
    try:
        # Ray's client reports an error where an answer was cancelled: the future is not.
        return await _head.result_of(asyncio.ensure_future(call(*arguments)))
    except HeadLostError:
        raise
    except Exception as error:  # Ray's client gives a broken connection up, and raises anything after that
        broken = isinstance(error, ConnectionError) and not isinstance(error, RayTaskError)  # which the work raised
        if broken or not ray.is_initialized():
            raise HeadLostError(HEAD_LOST) from None
        if not isinstance(error, RayError):
            raise
        reason = _reason(error)
        if reason.startswith(_NO_MODULE):
            raise ImportError(reason.removeprefix(_NO_MODULE)) from None
        if isinstance(error, RayTaskError):
            raise error.cause from None
        raise ActorLostError(reason) from None


def _reason(error: Exception) -> str:
    """The line that says most: of an error in the process of an actor the last one, of a lost actor the first."""
    if isinstance(error, ActorUnavailableError):
        return "its process, or its node, cannot be reached"
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    raised = [line for line in lines if "Error: " in line and not line.startswith("ray::")]
    first = [lines[0].partition(". ")[0]] if lines else [type(error).__name__]
    return printable(" ".join((raised[-1:] or first)[0].rstrip(".").split()))


@contextlib.asynccontextmanager
async def connected(cluster: str, where: ClusterAddress | None = None) -> AsyncIterator[None]:
    """A connection to a cluster; one that is there already is used, and stays.

    Args:
        cluster: ``ray``, ``ray://HOST:PORT`` or ``ray:local``.
        where: it is, for a program that starts nothing there, so that no runtime environment is prepared; None for
            what its name and the environment say.

    Raises:
        LaunchError: it does not answer.
        RequestError: a variable of the environment makes no sense.
    """
    starts = where is None
    given = os.environ.get(ENVIRONMENT, "") if starts else ""
    where = where or cluster_address(cluster, os.environ.get(VARIABLE, ""))
    if ray.is_initialized():  # by a context around this one, or by the program that calls
        async with contextlib.nullcontext() if _watching else _watched():
            with _available(where):
                yield
        return
    logging.getLogger("ray").setLevel(logging.CRITICAL)
    # Standard output may be a document. What Ray says there of a lost worker comes as an error too.
    setattr(ray._private.worker, "print_to_stdstream", lambda *_, **__: None)  # noqa: B010 - it is not public
    setattr(ray._private.auto_init_hook, "enable_auto_connect", False)  # noqa: B010 - a lost connection stays lost
    os.environ.setdefault("RAY_CLIENT_RECONNECT_GRACE_PERIOD", "0")  # it would block, for longer than actors wait
    warnings.filterwarnings("ignore", message="Ray Client connection timed out")  # the error says it
    environment = _environment(given)
    await check_listening(where)
    options: dict[str, Any] = {"address": where.text, "log_to_driver": False, "configure_logging": False}
    options["runtime_env"] = environment if starts else {}  # None would be the value of the variable for Ray's client
    if cluster == "ray:local":
        os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
        options |= {"include_dashboard": False, "object_store_memory": LOCAL_STORE_BYTES}
    try:
        await _check_answers(where)
        session = Session(functools.partial(ray.init, **options), ray.shutdown)
        await session.connected(CONNECT_TIMEOUT_S)
        logging.getLogger("ray").setLevel(logging.CRITICAL)  # Ray's client sets it
    except TimeoutError:
        raise LaunchError(_refusal(where, f"no answer within {CONNECT_TIMEOUT_S:g} s")) from None
    except (RayError, ConnectionError, OSError, RuntimeError, ValueError) as error:
        if environment and isinstance(error, ValueError):
            raise RequestError(f"{ENVIRONMENT} {given}: {_reason(error)}; correct it") from None
        raise LaunchError(_refusal(where, _reason(error))) from None
    try:
        async with _watched():
            with _available(where):
                # A job of Ray has an environment from the cluster.
                if starts and (environment or ray.get_runtime_context().runtime_env):
                    await gather_all(*(_prepared(node, given) for node in await nodes() if node.cpus))
                yield
    finally:
        await to_completion(session.end(_head))


@contextlib.asynccontextmanager
async def _watched() -> AsyncIterator[None]:
    """Ask the head of the cluster all the time, while the context lasts."""
    global _head, _watching
    _head = Head(ray.nodes)
    _watching = asyncio.create_task(_head.watch(), name="watching the head of the cluster")
    try:
        yield
    finally:
        _watching.cancel()
        _watching = None


@contextlib.contextmanager
def _available(where: ClusterAddress) -> Iterator[None]:
    """A cluster whose head is lost, now or in the context, is not there.

    Args:
        where: it is.

    Raises:
        UnavailableError: it is not there.
    """
    try:
        if _head.lost:
            raise HeadLostError(HEAD_LOST)
        yield
    except HeadLostError as error:
        raise UnavailableError(f"{where.named}: {error}; check that its head runs") from None


def _environment(given: str) -> dict[str, Any] | None:
    """Ray's runtime environment for the nodes, as far as can be checked here; None for none.

    Args:
        given: as the user wrote it; empty for none.

    Raises:
        RequestError: Ray does not take it.
    """
    found = runtime_environment(given)
    if found is None:
        return None
    if PLUGINS not in os.environ:
        fields = {*RuntimeEnv.known_fields, *inspect.signature(RuntimeEnv).parameters} - {"_validate", "kwargs"}
        check_fields(given, found, fields)
    if isinstance(config := found.get("config"), dict):
        check_fields(given, config, RuntimeEnvConfig.known_fields, "config")
    try:
        RuntimeEnv(**found)
    except Exception as error:  # Ray checks each field in its own way, and raises what that comes to
        raise RequestError(f"{ENVIRONMENT} {given}: {_reason(error)}; correct it") from None
    return found


async def _prepared(node: Node, environment: str) -> None:
    """Wait until a node has the runtime environment, which may take minutes.

    Args:
        node: the node.
        environment: as the user wrote it; empty where a job of Ray has it.

    Raises:
        HeadLostError: the head of the cluster is lost.
        LaunchError: the node cannot have it.
    """
    try:
        async with asyncio.timeout(PREPARE_TIMEOUT_S):
            await run_on(node.node_id, own_version)
    except HeadLostError:
        raise
    except (ActorLostError, TimeoutError, ImportError) as error:
        reason = str(error) or f"no answer within {PREPARE_TIMEOUT_S:g} s"
        named = f"{ENVIRONMENT} {environment}" if environment else "runtime environment of the job"
        raise LaunchError(f"{named}: node {node.name} ({node.address}): {reason}; correct it") from None


async def _check_answers(where: ClusterAddress) -> None:
    """Refuse what does not answer as a cluster does, or refuses the token, by Ray's own interface between processes.

    Ray itself asks on for up to a minute, with a line on standard error each time. What is imported here is not public:
    a version of Ray without it asks by itself.

    Args:
        where: it is.

    Raises:
        LaunchError: it refuses the token, what its TLS needs is missing, or this machine is not one of its nodes.
        ConnectionError: it does not answer, or not as Ray does.
    """
    if where.text == LOCAL:
        return
    # Processes are started, never forks that go on with gRPC; it would warn of them, and log what it raises.
    os.environ.setdefault("GRPC_ENABLE_FORK_SUPPORT", "0")
    os.environ.setdefault("GRPC_VERBOSITY", "NONE")
    try:
        # Here, since gRPC reads these variables, and a Ray without the names that are not public is still used.
        import grpc  # noqa: PLC0415
        from ray._private.authentication import authentication_token_setup  # noqa: PLC0415
        from ray._private.grpc_utils import init_grpc_channel  # noqa: PLC0415
        from ray._private.ray_constants import GLOBAL_GRPC_OPTIONS  # noqa: PLC0415
        from ray._private.services import canonicalize_bootstrap_address  # noqa: PLC0415
        from ray.core.generated import (  # noqa: PLC0415
            gcs_pb2,
            gcs_service_pb2,
            gcs_service_pb2_grpc,
            ray_client_pb2,
            ray_client_pb2_grpc,
        )
    except ImportError:
        return
    place = where.text.removeprefix(CLIENT_SERVER)
    if where.text == AUTO:
        place = canonicalize_bootstrap_address(AUTO)
        # As Ray does for a cluster that it finds.
        authentication_token_setup.maybe_enable_token_auth_if_token_available(warn_if_disabled=False)
    try:
        channel = init_grpc_channel(place, GLOBAL_GRPC_OPTIONS, asynchronous=True)
    except (OSError, RuntimeError):
        needed = "RAY_TLS_SERVER_CERT, RAY_TLS_SERVER_KEY and RAY_TLS_CA_CERT"
        text = f"RAY_USE_TLS {os.environ.get('RAY_USE_TLS')}: needs files in {needed} that can be read; name them"
        raise LaunchError(text) from None
    try:
        async with channel:
            if where.text.startswith(CLIENT_SERVER):
                ping = ray_client_pb2.ClusterInfoRequest(type=ray_client_pb2.ClusterInfoType.PING)
                await ray_client_pb2_grpc.RayletDriverStub(channel).ClusterInfo(ping, timeout=REACH_TIMEOUT_S)
            else:
                asked = gcs_service_pb2.GetAllNodeInfoRequest()
                stub = gcs_service_pb2_grpc.NodeInfoGcsServiceStub(channel)
                found = await stub.GetAllNodeInfo(asked, timeout=REACH_TIMEOUT_S)
                alive = [node for node in found.node_info_list if node.state == gcs_pb2.GcsNodeInfo.ALIVE]
                check_here(where, place, [node.node_manager_address for node in alive])
    except AuthenticationError:
        raise LaunchError(f"{where.named}: {token_problem(os.environ, found=False)}") from None
    except grpc.RpcError as error:
        code = error.code()
        if code is grpc.StatusCode.UNAUTHENTICATED:
            raise LaunchError(f"{where.named}: {token_problem(os.environ)}") from None
        if code is grpc.StatusCode.DEADLINE_EXCEEDED:
            raise ConnectionError(f"no answer within {REACH_TIMEOUT_S:g} s") from None
        raise ConnectionError(f"does not answer as Ray does ({code.name})") from None


def _refusal(address: ClusterAddress, reason: str) -> str:
    """That Ray finds no cluster at an address, and what to do."""
    return f"{address.named}: {reason}; {remedy_for(address, reason)}"
