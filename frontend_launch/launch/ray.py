"""Starts the parts of a deployment on the nodes of a Ray cluster.

Each part is the process that runs on one machine too, pinned to its planned cores. An actor in a bundle of a placement
group supervises it. Sockets between nodes are those of the deployment: TCP, with its credentials.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import json
import logging
import os
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import replace
from typing import Any

from typing_extensions import override

from frontend_launch import ray_cluster, scratch
from frontend_launch.children import Command
from frontend_launch.cluster_address import ENVIRONMENT, cluster_of_run, working_directory
from frontend_launch.errors import ActorLostError, HeadLostError, LaunchError, PlacementError, UnavailableError
from frontend_launch.integers import core_ranges
from frontend_launch.launch.cluster import Bundle, ClusterTopology, Node, named, reservations
from frontend_launch.launch.launcher import (
    ACTOR_GONE,
    HEAD_GONE,
    DeploymentConfig,
    Endpoint,
    Launcher,
    Running,
    clients_credentials,
    frontend_arguments,
    frontend_environment,
    keep_credentials,
    model_environment,
    replica_arguments,
    replica_environment,
)
from frontend_launch.launch.placement import Assignment
from frontend_launch.launch.process import FRONTENDS_TIMEOUT_S
from frontend_launch.launch.process_runs import LOGS, Kept, Part, Reader
from frontend_launch.launch.supervisor import NodeReport, ProcessSupervisor, node_report
from frontend_launch.launch.topology import Topology
from frontend_launch.log_files import Added
from frontend_launch.ports import Ports
from frontend_launch.supervision import ANSWER_BYTES, own_version
from frontend_launch.tasks import gather_all

log = logging.getLogger(__name__)

SURVEY_TIMEOUT_S = 60.0
"""Patience for the nodes to say what they have."""

RESERVE_TIMEOUT_S = 30.0
"""Patience for the cluster to reserve cores and GPUs."""

START_TIMEOUT_S = 60.0
"""Patience for an actor and its process to start."""

ANSWER_TIMEOUT_S = 10.0
"""Patience for any other answer of an actor."""

STOP_TIMEOUT_S = 5.0
"""Patience for an actor to end its process, before the actor is ended, which ends both."""

ASK_EVERY_S = 2.0
"""Between two questions whether a process runs."""


async def survey(cluster: str) -> ClusterTopology:
    """The nodes of a cluster that have cores.

    Args:
        cluster: ``ray``, ``ray://HOST:PORT`` or ``ray:local``.

    Raises:
        LaunchError: the cluster does not answer.
        PlacementError: no node has a core.
    """
    async with ray_cluster.connected(cluster):
        usable = await _usable()
        if not usable:
            raise PlacementError(f"cluster {cluster}: no node of the cluster has a core; start nodes with cores")
        found = await gather_all(*(_surveyed(label, node) for label, node in usable.items()))
        own = ray_cluster.own_node(cluster)
        return ClusterTopology(tuple(found), next((label for label in usable if usable[label].node_id == own), ""))


async def _usable() -> dict[str, Node]:
    return {label: node for label, node in named(await ray_cluster.nodes()).items() if node.cpus}


async def _surveyed(label: str, node: Node) -> Topology:
    try:
        async with asyncio.timeout(SURVEY_TIMEOUT_S):
            report: NodeReport = await ray_cluster.run_on(node.node_id, node_report, node.cpus, node.gpus)
    except HeadLostError:
        raise
    except (ActorLostError, TimeoutError) as error:
        reason = str(error) or f"no answer within {SURVEY_TIMEOUT_S:g} s"
        raise LaunchError(f"node {label}: {reason}; check it with `ray status`") from None
    except ImportError as error:
        raise LaunchError(f"node {label}: {error}; {ray_cluster.INSTALL}") from None
    own = own_version()
    if report.version != own:
        raise LaunchError(
            f"node {label}: has loadgen {report.version or 'from sources'}, this machine {own or 'from sources'}; "
            f"{ray_cluster.INSTALL}"
        )
    return replace(report.topology, node=label)


class ActorPart(Running):
    """A process on a node, with the actor that supervises it.

    Args:
        role: its role in the placement.
        pid: of the process, on its node.
        here: the node is this machine.
        actor: the name of its `ProcessSupervisor` in the cluster.
        handle: of that actor.
        launcher: that started it.
    """

    def __init__(self, role: str, pid: int, here: bool, actor: str, handle: Any, launcher: RayLauncher) -> None:
        self.role, self.pid, self.here, self.actor = role, pid, here, actor
        self._actor, self._launcher = handle, launcher
        self.exited: asyncio.Task[int] = asyncio.create_task(self._until_exit(), name=f"{role} exited")

    async def _until_exit(self) -> int:
        while not ray_cluster.head_lost():
            try:
                async with asyncio.timeout(ASK_EVERY_S + ANSWER_TIMEOUT_S):
                    code: int | None = await ray_cluster.answer(self._actor.exit_code.remote, ASK_EVERY_S)
            except HeadLostError:
                return HEAD_GONE
            except (ActorLostError, TimeoutError) as error:
                node, reason = self._launcher.node_of(self.role), str(error) or "it does not answer"
                log.warning("%s on %s is lost: %s", self.role, node, reason)
                await ray_cluster.kill(self._actor)
                return ACTOR_GONE
            if code is not None:
                await self.keep_log()  # its actor, which nothing asks any more, ends soon
                return code
        return HEAD_GONE

    @override
    async def log_tail(self, lines: int = 15) -> str:
        with contextlib.suppress(ActorLostError, TimeoutError):
            async with asyncio.timeout(ANSWER_TIMEOUT_S):
                tail: str = await ray_cluster.answer(self._actor.log_tail.remote, lines)
                return tail
        return ""

    @override
    async def keep_log(self) -> None:
        with contextlib.suppress(ActorLostError, TimeoutError, OSError):
            async with asyncio.timeout(ANSWER_TIMEOUT_S):
                logs: Mapping[str, int] = await ray_cluster.answer(self._actor.logs.remote)
                for name, size in logs.items():
                    pieces = [
                        await ray_cluster.answer(self._actor.log_piece.remote, name, begin)
                        for begin in range(0, size, ANSWER_BYTES)
                    ]
                    (self._launcher.log_directory / name).write_bytes(b"".join(pieces))

    @override
    async def stop(self) -> None:
        self.exited.cancel()
        try:
            with contextlib.suppress(ActorLostError, TimeoutError):
                async with asyncio.timeout(STOP_TIMEOUT_S):
                    await ray_cluster.answer(self._actor.close.remote)
        finally:
            await ray_cluster.kill(self._actor)

    async def first_line(self) -> bytes:
        """The first line of its standard output; empty where it ended without one."""
        line: bytes = await ray_cluster.answer(self._actor.first_line.remote)
        return line

    async def cores(self) -> tuple[int, ...]:
        """Those that the kernel of its node lets it use."""
        async with asyncio.timeout(ANSWER_TIMEOUT_S):
            found: tuple[int, ...] = await ray_cluster.answer(self._actor.cores.remote)
            return found


class RayLauncher(Launcher):
    """The `Launcher` of processes on the nodes of a cluster: both frontends in one, as on one machine.

    Args:
        config: what to bring up; the nodes of its placement have the names that `survey` gave them.
    """

    def __init__(self, config: DeploymentConfig) -> None:
        self._config, self.stays = config, False
        self._stack = contextlib.AsyncExitStack()
        self._directory = self._stack.enter_context(scratch.directory())
        self.log_directory = self._directory / LOGS
        self.log_directory.mkdir()
        self._kept = Kept(self._directory, config.stays)
        self.credentials_file = keep_credentials(config, self._directory)
        self._nodes: dict[str, Node] = {}
        self._own = ""
        self._bundles: dict[str, tuple[int, Bundle]] = {}
        """By role, with the place in the placement group."""
        self._actors: dict[str, Any] = {}
        self._numbers = itertools.count()

    @override
    async def __aenter__(self) -> RayLauncher:
        async with contextlib.AsyncExitStack() as stack:
            await stack.enter_async_context(ray_cluster.connected(self._config.cluster))
            stack.push_async_callback(self._end_actors)
            self._nodes, self._own = await _usable(), ray_cluster.own_node(self._config.cluster)
            self._kept.cluster = ray_cluster.address(self._config.cluster)
            rows = self._config.placement.started
            if gone := sorted({row.node for row in rows} - self._nodes.keys()):
                raise LaunchError(f"node {gone[0]} has left the cluster; try again")
            bundles = list[tuple[str, Bundle]]()
            for role, bundle in reservations(rows).items():
                self._bundles[role] = len(bundles), bundle
                bundles.append((self._nodes[self.node_of(role)].node_id, bundle))
            wanted = [(self.node_of(role), *bundles[place]) for role, (place, _) in self._bundles.items()]
            await ray_cluster.until_free(self._config.cluster, wanted)
            self._group = await stack.enter_async_context(ray_cluster.reserved(bundles, RESERVE_TIMEOUT_S))
            self._stack.push_async_exit(stack.pop_all())
        return self

    @override
    async def __aexit__(self, *error: object) -> None:
        await self._stack.aclose()

    def node_of(self, role: str) -> str:
        """The name of the node of a part."""
        return self._config.placement[role].node

    @override
    async def start_frontends(self, started: Callable[[Running], None]) -> list[Endpoint]:
        rows = self._config.placement.of("frontends")
        return await gather_all(*(self._start_frontends(number, row, started) for number, row in enumerate(rows)))

    async def _start_frontends(self, number: int, row: Assignment, started: Callable[[Running], None]) -> Endpoint:
        config, address = self._config, self._nodes[row.node].address
        arguments = frontend_arguments(config, number, address)
        part = await self._start(Command(row.role, arguments, row.cores, frontend_environment(config)), True)
        started(part)
        try:
            async with asyncio.timeout(FRONTENDS_TIMEOUT_S):
                bound = json.loads(await part.first_line())
        except TimeoutError:
            text = f"{row.role} on {row.node} said nothing within {FRONTENDS_TIMEOUT_S:.0f} s"
            raise LaunchError(text, await part.log_tail()) from None
        except ActorLostError as error:
            raise LaunchError(f"{row.role} on {row.node}: {error}") from None
        except ValueError:  # they ended without a line of JSON; the last of their log is one clear line
            said = await part.log_tail(lines=1) or f"{row.role} ended at once"
            raise UnavailableError(f"{row.node}: {said}") from None
        taken = Ports(**bound)
        self._keep(row, part, f"{address}: {taken.text}", f"http://{address}:{taken.metrics}")
        return Endpoint(address, taken, credentials=clients_credentials(config))

    @override
    async def start_replica(self, assignment: Assignment, endpoint: Endpoint) -> Running:
        config = self._config
        environment = {
            **replica_environment(config, assignment),
            **model_environment(config.model, assignment),
            "CLIPPER_IP": endpoint.host,
            "CLIPPER_PORT": str(endpoint.ports.replica),
        }
        command = Command(assignment.role, replica_arguments(config), assignment.cores, environment)
        part = await self._start(command, False)
        self._keep(assignment, part)
        return part

    async def _start(self, command: Command, read_stdout: bool) -> ActorPart:
        role, node = command.role, self.node_of(command.role)
        name = f"{self._directory.name}/{role}/{next(self._numbers)}"
        try:
            async with asyncio.timeout(START_TIMEOUT_S):
                actor = await self._actor(role, name)
                await self._check_gpu(role, actor)
                placed = replace(command, directory=working_directory(os.environ.get(ENVIRONMENT, "")))
                pid: int = await ray_cluster.answer(actor.start.remote, placed, read_stdout)
        except TimeoutError:
            raise LaunchError(f"{role} on {node}: no actor within {START_TIMEOUT_S:g} s; see `ray status`") from None
        except ActorLostError as error:
            raise LaunchError(f"{role} on {node} cannot be started: {error}") from None
        return ActorPart(role, pid, self._nodes[node].node_id == self._own, name, actor, self)

    async def _check_gpu(self, role: str, actor: Any) -> None:
        """Compare the GPU that the cluster reserved with those of the plan; replicas of a node may swap them.

        Args:
            role: of the part.
            actor: its actor.

        Raises:
            LaunchError: the plan has not that one.
        """
        replicas, node = self._config.placement.replicas, self.node_of(role)
        if self._config.placement[role].gpu is None:
            return
        planned = {str(row.gpu) for row in replicas if row.node == node and row.gpu is not None}
        given = await ray_cluster.answer(actor.gpus.remote)
        if given not in planned:
            text = f"{role} on {node}: Ray reserved GPU {given}, the plan has {', '.join(sorted(planned))}"
            raise LaunchError(f"{text}; end what has GPUs there, or name others with --gpus")

    async def _actor(self, role: str, name: str) -> Any:
        """A new actor on the node of a part, in its bundle where it has one.

        Args:
            role: of the part.
            name: of the actor.
        """
        if role in self._bundles:
            place, bundle = self._bundles[role]
            handle = await ray_cluster.actor_in(self._group, place, ProcessSupervisor, bundle, name)
        else:
            handle = await ray_cluster.actor(ProcessSupervisor, self._nodes[self.node_of(role)].node_id, 0, name)
        self._actors[role] = handle
        return handle

    async def _end_actors(self) -> None:
        await gather_all(*(ray_cluster.kill(actor) for actor in self._actors.values()))

    def _keep(self, row: Assignment, running: ActorPart, ports: str = "", metrics: str = "") -> None:
        """Have `loadgen ps` list a process.

        Args:
            row: of the process.
            running: the process.
            ports: that it listens on.
            metrics: the URL of its metrics.
        """
        gpu, node = "" if row.gpu is None else str(row.gpu), "" if running.here else row.node
        name, cores = self._config.model_name, core_ranges(row.cores)
        part = Part(row.role, running.pid, name, cores, gpu, ports, metrics, node, running.actor)
        self._kept.add(part)

        def note(exited: asyncio.Task[int]) -> None:
            if not exited.cancelled():
                self._kept.ended(part)

        running.exited.add_done_callback(note)

    @override
    async def cores_of(self, running: Running) -> tuple[int, ...]:
        assert isinstance(running, ActorPart)
        with contextlib.suppress(ActorLostError, TimeoutError):
            return await running.cores()
        return ()


@contextlib.asynccontextmanager
async def reader(run: str, cluster: str) -> AsyncIterator[Reader]:
    """Reads logs of processes on the nodes of a cluster, while the context lasts.

    Args:
        run: the name of the deployment.
        cluster: its address, as `ray_cluster.address` has it.

    Raises:
        LaunchError: it does not answer, or its head is lost meanwhile.
    """
    silent = set[str]()

    async def read(part: Part, known: dict[int, int]) -> Added:
        try:
            async with asyncio.timeout(ANSWER_TIMEOUT_S):
                actor = await ray_cluster.found(part.actor)
                found: Added = await ray_cluster.answer(actor.log_added.remote, known)
                return found
        except HeadLostError:
            raise
        except (ActorLostError, TimeoutError) as error:
            if part.actor not in silent:  # `--follow` asks on
                log.warning("%s on %s: %s", part.role, part.node or "this machine", str(error) or "it does not answer")
            silent.add(part.actor)
            return Added([], known)

    async with ray_cluster.connected("ray", cluster_of_run(run, cluster)):
        yield read
