"""The interface of launchers: what a deployment consists of, and how its parts start, as processes or containers."""

from __future__ import annotations

import asyncio
import ipaddress
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from frontend_launch.cluster_head import HEAD_LOST
from frontend_launch.launch.placement import Assignment, Placement
from frontend_launch.ports import FRONTEND_PORTS, Ports
from frontend_launch.wire import ipc_addresses
from model_containers.credentials import VARIABLE, Credentials
from model_containers.model import Description

MODEL_VERSION = "1"

LOOPBACK = "127.0.0.1"
CREDENTIALS_FILE = "credentials.json"
"""In the directory of a deployment that has credentials."""

ENGINE_GONE = -1000
"""In place of the exit code of a container whose engine went away: the code is unknown."""

ACTOR_GONE = -1001
"""In place of the exit code of a process on a node of a cluster that cannot be reached any more."""

HEAD_GONE = -1002
"""The same, of a cluster whose head cannot be reached any more."""

UNWATCHED = (ENGINE_GONE, HEAD_GONE)
"""Those of the codes with which a process may still run."""


def ending(code: int) -> str:
    """How a part ended, after its name."""
    if code == ACTOR_GONE:
        return "is lost: the actor that supervises it, or its node, cannot be reached"
    if code == HEAD_GONE:
        return f"cannot be watched any more, since {HEAD_LOST}"
    if code == ENGINE_GONE:
        return "cannot be watched any more, since the Docker engine went away"
    return f"ended with exit code {code}"


@dataclass(frozen=True, slots=True)
class Endpoint:
    """Where a query frontend and its management frontend are reached.

    Attributes:
        host: of their ports.
        ports: the ports.
        directory: where the query frontend's ``ipc`` sockets are; None where it has none, or on another machine.
        local_replicas: whether replicas connect there too.
        credentials: that the frontends want; None for none.
    """

    host: str
    ports: Ports
    directory: Path | None = None
    local_replicas: bool = False
    credentials: Credentials | None = None

    @property
    def token(self) -> str:
        """What its HTTP wants; empty for nothing."""
        return "" if self.credentials is None else self.credentials.token

    def client_addresses(self) -> tuple[str, str]:
        """Where a client connects to for requests and for responses."""
        if self.directory is not None:
            return ipc_addresses(self.directory)[:2]
        return f"tcp://{self.host}:{self.ports.request}", f"tcp://{self.host}:{self.ports.response}"


@dataclass(frozen=True, slots=True)
class DeploymentConfig:
    """What to bring up.

    Attributes:
        model: what the replicas serve.
        model_name: its name in the catalogue.
        placement: where everything runs.
        max_batch: the largest batch a replica is given.
        ports: ports to bind; those of the first frontend, where there are several, and free ones for the others.
        replica_options: further flags of the replica runtime.
        ready_timeout_s: patience for the replicas to load, warm up and register.
        image: of the replicas, where they are containers; empty for the model's own.
        payload_bytes: of one input, by which processes choose between TCP and Unix sockets.
        restart_replicas: replace a replica that died or hangs.
        address: of this machine, IPv4, on which the frontends' ports are bound or published.
        credentials: of those that the frontends serve; None to serve all.
        cluster: on whose nodes everything runs, as ``--runtime`` names it; empty for this machine.
    """

    model: Description
    model_name: str
    placement: Placement
    max_batch: int
    ports: Ports = field(default_factory=Ports)
    replica_options: tuple[str, ...] = ()
    ready_timeout_s: float = 180.0
    image: str = ""
    payload_bytes: int = 0
    restart_replicas: bool = False
    address: str = LOOPBACK
    credentials: Credentials | None = None
    cluster: str = ""

    @property
    def stays(self) -> bool:
        """Until it is taken down: it has no client whose measurement ends."""
        return all(row.role != "client" for row in self.placement.assignments)

    @property
    def host(self) -> str:
        """Where this machine reaches what is bound on the address."""
        return LOOPBACK if ipaddress.ip_address(self.address).is_unspecified else self.address


class Running(Protocol):
    """One part that was started.

    Attributes:
        role: its role in the placement.
        pid: of its first process, as its machine counts.
        here: it is on this machine.
        exited: a task that ends with its exit code, or with `ENGINE_GONE`, `ACTOR_GONE` or `HEAD_GONE`.
    """

    role: str
    pid: int
    here: bool
    exited: asyncio.Task[int]

    async def log_tail(self, lines: int = 15) -> str:
        """The last lines of its log, and of what it wrote to standard error."""
        ...

    async def keep_log(self) -> None:
        """Have its log in the launcher's log directory, whole."""
        ...

    async def stop(self) -> None:
        """End it, and leave nothing of it behind."""
        ...


class Launcher(Protocol):
    """Starts the parts of one deployment; an async context manager, for what they share.

    Attributes:
        log_directory: the logs of all parts.
        credentials_file: what clients need, where the deployment has credentials; written on the way in.
        stays: leave everything running on the way out.
    """

    log_directory: Path
    credentials_file: Path | None
    stays: bool

    async def __aenter__(self) -> Launcher:
        """Prepare."""
        ...

    async def __aexit__(self, *error: object) -> None:
        """Leave nothing behind."""
        ...

    async def start_frontends(self, started: Callable[[Running], None]) -> list[Endpoint]:
        """Start what stands between clients and replicas, telling of each part; ready when this returns.

        Returns:
            Where each query frontend of the placement is reached, and the management frontend that it belongs to.

        Raises:
            LaunchError: it cannot be started, or is not ready in time.
        """
        ...

    async def start_replica(self, assignment: Assignment, endpoint: Endpoint) -> Running:
        """Start a replica; it registers when it is loaded and warm.

        Args:
            assignment: its role, cores and GPU.
            endpoint: the query frontend to register with, one that `start_frontends` gave.

        Raises:
            LaunchError: it cannot be started.
        """
        ...

    async def cores_of(self, running: Running) -> tuple[int, ...]:
        """The cores that a part may use, as the kernel says; empty when it is gone.

        Raises:
            LaunchError: another process that should know says something else.
        """
        ...


def keep_credentials(config: DeploymentConfig, directory: Path) -> Path | None:
    """Write what clients need to a file; None where the deployment has no credentials.

    Args:
        config: of the deployment.
        directory: of the deployment.
    """
    found = clients_credentials(config)
    if found is None:
        return None
    path = directory / CREDENTIALS_FILE
    found.write(path)
    return path


def clients_credentials(config: DeploymentConfig) -> Credentials | None:
    """Those of clients and replicas; None where the deployment has none."""
    return None if config.credentials is None else config.credentials.for_clients()


def frontend_arguments(config: DeploymentConfig, number: int, host: str) -> list[str]:
    """The command line of a process of both frontends.

    Args:
        config: of the deployment.
        number: of the process, from 0.
        host: the address that it binds.
    """
    ports, count = ports_of(config, number), len(config.placement.of("frontends"))
    arguments = ["-m", "frontend_launch", "serve", *shard_flags(number, count), "--host", host]
    if config.credentials is None:
        arguments.append("--insecure")  # who asked for that has been told
    for name in FRONTEND_PORTS:
        arguments += [f"--{name}-port", str(getattr(ports, name))]
    return arguments


def replica_arguments(config: DeploymentConfig) -> list[str]:
    """The command line of a replica that is a process."""
    return ["-m", "model_containers", "serve", config.model_name, *config.replica_options]


def frontend_environment(config: DeploymentConfig) -> dict[str, str]:
    """The variables that all frontends of a deployment share; empty ones hide what a process would inherit."""
    return {VARIABLE: "" if config.credentials is None else config.credentials.to_json()}


def ports_of(config: DeploymentConfig, number: int) -> Ports:
    """The ports that a query frontend is to bind.

    Args:
        config: whose ports are those of the first frontend.
        number: of the frontend, from 0; all but the first take free ports.
    """
    return config.ports if number == 0 else Ports(request=0, response=0, replica=0, metrics=0, admin=0)


def shard_flags(number: int, of: int) -> list[str]:
    """What tells a query frontend that it is one of several.

    Args:
        number: of the frontend, from 0.
        of: how many there are.
    """
    return ["--shard", f"{number}/{of}"] if of > 1 else []


def replica_environment(config: DeploymentConfig, assignment: Assignment) -> dict[str, str]:
    """The variables that say to a replica which one of a deployment it is, and what its frontend wants and reads.

    Args:
        config: of the deployment.
        assignment: of the replica.
    """
    found = clients_credentials(config)
    return {
        VARIABLE: "" if found is None else found.to_json(),
        "LOADGEN_ROLE": assignment.role,
        "CLIPPER_MODEL_NAME": config.model.name,
        "CLIPPER_MODEL_VERSION": MODEL_VERSION,
        "LOADGEN_REPLY_TIMES": "1",
        "LOADGEN_REPLY_FAILURES": "1",
        "LOADGEN_MAX_BATCH": str(config.max_batch),
    }


def model_environment(model: Description, assignment: Assignment) -> dict[str, str]:
    """The variables that make a model compute where it is placed.

    Args:
        model: what is served.
        assignment: its cores, and its GPU if it has one.
    """
    return {
        "CLIPPER_INPUT_TYPE": model.input.data_type.canonical,
        "LOADGEN_THREADS": str(len(assignment.cores)),
        "LOADGEN_GPU": "0" if assignment.gpu is None else "1",
        # A replica sees its own GPU and no other, by the number that the driver gives it.
        "CUDA_DEVICE_ORDER": "PCI_BUS_ID",
        "CUDA_VISIBLE_DEVICES": "" if assignment.gpu is None else str(assignment.gpu),
    }
