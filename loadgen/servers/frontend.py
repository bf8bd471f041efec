"""A query frontend as what is measured: one of a deployment, or one that runs already."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import shutil
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TypeVar

from typing_extensions import override

from frontend_launch.admin import NO_CONTAINER, AdminClient
from frontend_launch.errors import AdminError, LaunchError
from frontend_launch.launch.deployment import DEFAULT_OUTPUT, Deployment
from frontend_launch.launch.launcher import Endpoint
from frontend_launch.rest import ApplicationReply
from loadgen.errors import ConfigError, TargetError
from loadgen.plan import Plan
from loadgen.results.sections import NodeConfig
from loadgen.served import Frontend
from loadgen.servers.frontend_readings import FrontendReadings
from loadgen.servers.server import Server, ServerFacts, Workload
from loadgen.targets.application import read_credentials
from loadgen.targets.balanced import BalancedSpec
from loadgen.targets.clipper import ClipperSpec
from loadgen.targets.same_frontend import same_frontend
from model_containers.model import Description

log = logging.getLogger(__name__)
T = TypeVar("T")

LOOPBACK = ("127.0.0.1", "localhost")
PROXIED = "requests go through the Docker engine's proxy process, which is measured with the rest"
RESOLVE_TIMEOUT_S = 10.0


@dataclass(frozen=True, slots=True)
class FrontendServer(Server):
    """Query frontends that are up, one or several.

    Attributes:
        endpoints: where it is reached; several are frontends that the client loads evenly.
        application: the application to ask.
        default_output: the bytes of the application's default output.
        deployment: None for an external frontend.
        proxied: requests go through the Docker engine's proxy process.
        notes: facts that could not be read.
        node: the model as an external frontend describes it; None for a frontend of a deployment.
    """

    endpoints: tuple[Endpoint, ...]
    application: str
    default_output: bytes
    deployment: Deployment | None = None
    proxied: bool = False
    notes: tuple[str, ...] = ()
    node: NodeConfig | None = None

    @property
    @override
    def facts(self) -> ServerFacts:
        return ServerFacts(
            deployment=self.deployment,
            notes=(PROXIED, *self.notes) if self.proxied else self.notes,
            metrics_addresses=self._metrics_addresses,
            transport=self._transport,
            no_answer_hint=f"is {self.application!r} linked to a model that takes such inputs, and has it a replica?",
            proxied=self.proxied,
            token=self.endpoints[0].token,
            node=self.node,
        )

    @property
    def _metrics_addresses(self) -> tuple[str, ...]:
        return tuple(f"{endpoint.host}:{endpoint.ports.metrics}" for endpoint in self.endpoints)

    @property
    def _transport(self) -> Mapping[str, str]:
        endpoint = self.endpoints[0]
        client = {"client": "tcp" if endpoint.directory is None else "ipc"}
        return client if self.deployment is None else client | {"replicas": "ipc" if endpoint.local_replicas else "tcp"}

    @contextlib.asynccontextmanager
    @override
    async def load(self, plan: Plan, keep_outputs: bool) -> AsyncIterator[Workload]:
        output, serve = plan.model.output, plan.config.serve
        any_answer = isinstance(serve, Frontend) and not serve.model
        specs = [
            ClipperSpec(
                *endpoint.client_addresses(),
                application=self.application,
                output_type=None if any_answer else output.data_type,
                output_bytes=output.nbytes,
                default_output=self.default_output,
                keep_outputs=keep_outputs,
                credentials=endpoint.credentials,
                own_replicas=self.deployment is not None,
            )
            for endpoint in self.endpoints
        ]
        yield Workload(plan.inputs, specs[0] if len(specs) == 1 else BalancedSpec(tuple(specs)))

    @override
    def readings(self) -> FrontendReadings:
        external = () if self.deployment is not None else [one.client_addresses()[1] for one in self.endpoints]
        token = self.endpoints[0].token
        return FrontendReadings(self.application, self._metrics_addresses, self.deployment, token, external)

    @override
    async def keep_logs(self, directory: Path) -> None:
        """Copy the logs of what this program started."""
        if self.deployment is not None:
            await self.deployment.keep_logs()
            try:
                shutil.copytree(self.deployment.log_directory, directory, dirs_exist_ok=True)
            except OSError as error:  # the results are saved; they are not worth less without the logs
                log.warning("the logs cannot be kept in %s: %s", directory, error)


async def connect(frontend: Frontend, model: Description) -> FrontendServer:
    """Ask the management frontend for the application; the run goes on where it does not answer.

    Args:
        frontend: its host and ports, and the application, if one is named.
        model: whose name is that of the application where none is named.

    Raises:
        ConfigError: it answers, and has no such application; or its credentials cannot be read.
        TargetError: the host has no address.
    """
    await _resolve(frontend.host)
    name = frontend.application or model.name
    node = NodeConfig(model.name, model.input.data_type.canonical, "", [], 0, 0, 0, [], 0, runtime=None)
    known = None if frontend.credentials is None else read_credentials(frontend.credentials)
    endpoint, proxied = await _neighbour(Endpoint(frontend.host, frontend.ports, credentials=known))
    try:
        async with AdminClient(f"http://{frontend.host}:{frontend.ports.admin}", token=endpoint.token) as admin:
            application = await admin.application(name)
            if application is not None:
                node = await _described(admin, application, node)
    except AdminError as error:
        note = f"the default output is taken to be {DEFAULT_OUTPUT}: {error}"
        log.warning("%s", note)
        return FrontendServer((endpoint,), name, DEFAULT_OUTPUT.encode(), proxied=proxied, notes=(note,), node=node)
    if application is None:
        raise ConfigError(
            f"application {name!r}: {frontend.host} has none of that name; name one with {{Frontend.application}}"
        )
    return FrontendServer((endpoint,), name, application.default_output.encode(), proxied=proxied, node=node)


async def _described(admin: AdminClient, application: ApplicationReply, node: NodeConfig) -> NodeConfig:
    """A node with what the management frontend knows of an application and of the model that it is linked to."""
    node = replace(node, slo=max(0, application.latency_slo_micros), input_type=application.input_type.canonical)
    try:
        linked = [model for model in await admin.current_models() if model.model_name in application.linked_models]
        if not linked:
            return node
        model = linked[0]
        replicas = await admin.replicas(model.model_name, model.model_version)
    except AdminError as error:
        log.info("what serves %s is not known: %s", application.name, error)
        return node
    image = "" if model.container_name == NO_CONTAINER else model.container_name
    return replace(node, name=model.model_name, model_image=image, num_replicas=len(replicas))


async def _resolve(host: str) -> None:
    """Refuse a host without an address at once, not after a timeout.

    Raises:
        TargetError: it has no address.
    """
    try:
        async with asyncio.timeout(RESOLVE_TIMEOUT_S):
            await asyncio.get_running_loop().getaddrinfo(host, None)
    except (OSError, UnicodeError, TimeoutError) as error:
        reason = (error.strerror if isinstance(error, OSError) else None) or type(error).__name__
        raise TargetError(f"{{Frontend.host}} {host}: {reason}; name a host that has an address") from None


async def _neighbour(endpoint: Endpoint) -> tuple[Endpoint, bool]:
    """The best way to reach a frontend, which may be a container on this machine: its Unix sockets, if any.

    Returns:
        The endpoint, and whether requests go through the proxy process that publishes a container's ports.
    """
    if endpoint.host not in LOOPBACK:
        return endpoint, False
    try:
        from frontend_launch.launch import runs  # noqa: PLC0415 - behind an extra
        from frontend_launch.launch.engine import engine  # noqa: PLC0415

        async with engine() as docker:
            found = await runs.publishing(docker, endpoint.ports.request)
    except LaunchError:
        return endpoint, False
    if found is None:
        return endpoint, False
    directory = runs.sockets(found)
    if directory is None:
        return endpoint, True
    direct = replace(endpoint, directory=directory)
    if not await same_frontend(endpoint.client_addresses()[1], direct.client_addresses()[1]):
        log.info("container %s publishes port %d, but is another frontend", found.name, endpoint.ports.request)
        return endpoint, False
    log.info("requests go to the sockets of container %s, which is the frontend at %s", found.name, endpoint.host)
    return direct, False
