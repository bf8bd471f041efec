"""Starts the parts of a deployment as containers, in the layout of the original.

Names, labels, ports and variables are the original's, so that its components find ours. What is made carries a label
with the run's id; what is removed is found by it, and nothing else is.
"""

from __future__ import annotations

import contextlib
import logging
import os
import random
import secrets
import shutil
import socket
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path
from typing import TypeVar

from typing_extensions import override

from frontend_launch import cgroups
from frontend_launch.affinity import affinity
from frontend_launch.errors import LaunchError, UnavailableError
from frontend_launch.integers import core_ranges
from frontend_launch.launch import runs
from frontend_launch.launch.container import (
    CLIPPER_LABEL,
    DIRECTORY_LABEL,
    RUN_LABEL,
    Container,
    RunningContainer,
    network,
)
from frontend_launch.launch.engine import NameTaken, call, engine
from frontend_launch.launch.launcher import (
    MODEL_VERSION,
    DeploymentConfig,
    Endpoint,
    Launcher,
    Running,
    clients_credentials,
    frontend_environment,
    keep_credentials,
    model_environment,
    ports_of,
    replica_environment,
    shard_flags,
)
from frontend_launch.launch.placement import Assignment
from frontend_launch.launch.readiness import answers, until_ready
from frontend_launch.ports import Ports
from frontend_launch.tasks import gather_all, to_completion

log = logging.getLogger(__name__)

REDIS_IMAGE = "redis:7-bookworm"
QUERY_IMAGE = "clipper/zmq_frontend:develop"
MANAGEMENT_IMAGE = "clipper/management_frontend:develop"

USER = 65532
"""Who the images' processes are."""

_HTTP = (b"GET / HTTP/1.0\r\n\r\n", b"HTTP/1.")

_REDIS_PORT = 6380
_INSIDE = Ports(redis=_REDIS_PORT)
"""The ports inside containers never change; those outside do."""

_REDIS = f"""exec redis-server - --port {_REDIS_PORT} --save "" --dir /tmp <<EOF
requirepass $REDISCLI_AUTH
EOF
"""
"""Redis reads its password from standard input: a list of processes shows their arguments."""

_REDIS_READY = "Ready to accept connections"
"""What Redis logs; its port need not be published."""

_SOCKETS = "/run/loadgen"
_MIB = 1 << 20
_QUERY_MEMORY_BYTES = 4096 * _MIB
"""A query frontend queues up to 2 GiB of payloads."""

_LEAST_REPLICA_MEMORY_BYTES = 4096 * _MIB

T = TypeVar("T")


class DockerLauncher(Launcher):
    """The `Launcher` of containers: Redis, both frontends, replicas.

    loadgen's client talks to the query frontend through sockets in a directory that both see; published ports, which go
    through a proxy process of the engine, are for other clients and for the checks of readiness.

    Args:
        config: what to bring up.

    Attributes:
        run: the id in the label of everything that is made.
    """

    def __init__(self, config: DeploymentConfig) -> None:
        self.run = secrets.token_hex(4)
        self._redis_password = secrets.token_urlsafe()
        self.stays = False
        self._config = config
        self._directory = Path(tempfile.mkdtemp(prefix=f"loadgen-{self.run}-"))
        self.log_directory, self._sockets = self._directory / "logs", self._directory / "sockets"
        self.credentials_file: Path | None = None
        self._stack = contextlib.AsyncExitStack()
        self._query_names: dict[Endpoint, str] = {}

    @override
    async def __aenter__(self) -> DockerLauncher:
        async with contextlib.AsyncExitStack() as stack:
            stack.callback(self._remove_directory)
            for directory in (self.log_directory, self._sockets):
                directory.mkdir(parents=True, exist_ok=True)
            self.credentials_file = keep_credentials(self._config, self._directory)
            try:
                self._docker = await stack.enter_async_context(engine())
            except UnavailableError as error:
                raise UnavailableError(f"--runtime docker: {error}") from None
            await self._check_images()
            stack.push_async_callback(lambda: to_completion(self._remove()))
            name, labels = network(self.run), {CLIPPER_LABEL: "", RUN_LABEL: self.run}
            await call(
                "network", self._docker.networks.create({"Name": name, "Labels": labels, "CheckDuplicate": True})
            )
            self._stack = stack.pop_all()
        return self

    @override
    async def __aexit__(self, *error: object) -> None:
        await self._stack.aclose()

    def _remove_directory(self) -> None:
        if not self.stays:
            shutil.rmtree(self._directory, ignore_errors=True)

    async def _remove(self) -> None:
        if self.stays:
            return
        try:
            await runs.remove(self._docker, self.run)
        except LaunchError as error:  # what was measured is worth no less
            log.error("run %s is not removed (%s): `loadgen down --all` does it when that is over", self.run, error)

    @override
    async def start_frontends(self, started: Callable[[Running], None]) -> list[Endpoint]:
        """The query frontends share a store and the management frontend."""
        began_s, config = time.monotonic(), self._config
        queries = config.placement.of("query")
        redis_name = f"redis-{self.run}"
        # Within the run's network, of which the engine publishes what it is told.
        arguments = ["--host", "0.0.0.0", "--insecure", "--allow-host", socket.gethostname()]  # noqa: S104
        arguments += [f"--redis_ip={redis_name}", f"--redis_port={_REDIS_PORT}"]

        async def start(container: Container, name: str | None = None) -> RunningContainer:
            running = await self._start(container, name)
            started(running)
            return running

        redis, management, *frontends = await gather_all(
            start(self._redis(), redis_name),
            start(replace(self._management(), command=arguments)),
            *(
                start(
                    replace(
                        self._query(number, assignment),
                        command=[*arguments, "--ipc-directory", _SOCKETS, *shard_flags(number, len(queries))],
                    )
                )
                for number, assignment in enumerate(queries)
            ),
        )
        shared = {**await redis.ports(), **await management.ports()}
        endpoints = [
            Endpoint(
                config.host,
                _outside({**shared, **await query.ports()}),
                self._sockets / query.role,
                credentials=clients_credentials(config),
            )
            for query in frontends
        ]
        ports = endpoints[0].ports
        await gather_all(
            until_ready(redis, began_s, lambda: _says(redis, _REDIS_READY)),
            until_ready(management, began_s, lambda: answers(ports.admin, *_HTTP, config.host)),
            *(
                until_ready(query, began_s, partial(answers, endpoint.ports.metrics, *_HTTP, config.host))
                for query, endpoint in zip(frontends, endpoints, strict=True)
            ),
        )
        self._query_names = {endpoint: query.name for query, endpoint in zip(frontends, endpoints, strict=True)}
        return endpoints

    def _redis(self) -> Container:
        published = self._config.ports.redis
        return Container(
            role="redis",
            image=REDIS_IMAGE,
            name="redis",
            command=["sh", "-c", _REDIS],
            labels={},
            environment={"REDISCLI_AUTH": self._redis_password},  # the name that redis-cli knows
            ports={} if published is None else {_REDIS_PORT: published},
            memory_bytes=512 * _MIB,
            assignment=self._config.placement["redis"],
            user=f"{USER}:{USER}",
        )

    def _management(self) -> Container:
        return Container(
            role="management",
            image=MANAGEMENT_IMAGE,
            name="mgmt_frontend",
            command=None,
            labels={"ai.clipper.management_frontend.label": ""},
            environment={"LOADGEN_REDIS_PASSWORD": self._redis_password, **frontend_environment(self._config)},
            address=self._config.address,
            ports={_INSIDE.admin: self._config.ports.admin},
            memory_bytes=512 * _MIB,
            assignment=self._config.placement["management"],
        )

    def _query(self, number: int, assignment: Assignment) -> Container:
        sockets = self._sockets / assignment.role
        outside = ports_of(self._config, number)
        return Container(
            role=assignment.role,
            image=QUERY_IMAGE,
            name="query_frontend",
            command=None,
            labels={"ai.clipper.query_frontend.label": "", DIRECTORY_LABEL: str(self._directory)},
            environment={"LOADGEN_REDIS_PASSWORD": self._redis_password, **frontend_environment(self._config)},
            address=self._config.address,
            ports={
                _INSIDE.metrics: outside.metrics,
                _INSIDE.response: outside.response,
                _INSIDE.request: outside.request,
                _INSIDE.replica: outside.replica,
            },
            memory_bytes=_QUERY_MEMORY_BYTES,
            assignment=assignment,
            binds=[f"{sockets}:{_SOCKETS}"],
            user=self._prepare(sockets),
        )

    def _prepare(self, sockets: Path) -> str:
        """Let a query frontend make sockets that only this user can connect to; returns the user that must run it."""
        sockets.mkdir()
        self._directory.chmod(0o711)
        if os.getuid() == 0:  # root may connect to the sockets of any user
            os.chown(sockets, USER, USER)
            return f"{USER}:{USER}"
        return f"{os.getuid()}:{os.getgid()}"

    @override
    async def start_replica(self, assignment: Assignment, endpoint: Endpoint) -> Running:
        config = self._config
        options, binds = _with_files(config.replica_options)
        environment = {
            **replica_environment(config, assignment),
            **model_environment(config.model, assignment),
            "CLIPPER_IP": self._query_names[endpoint],
        }
        if assignment.gpu is not None:
            del environment["CUDA_VISIBLE_DEVICES"]  # the container sees this GPU only, under another number
        if config.model.weights not in ("none", "seeded:0"):
            environment["LOADGEN_CACHE"] = "/tmp"  # noqa: S108 - the image holds what seed 0 makes, and cannot be written
        container = Container(
            role=assignment.role,
            image=self._image(assignment),
            name=None,
            command=["python", "-m", "model_containers", "serve", config.model_name, *options],
            labels={"ai.clipper.model_container.label": f"{config.model.name}_{MODEL_VERSION}"},
            environment=environment,
            ports={},
            memory_bytes=self._replica_memory_bytes(),
            assignment=assignment,
            binds=binds,
        )
        return await self._start(container)

    def _image(self, assignment: Assignment) -> str:
        image = self._config.image or self._config.model.image
        return f"{image}:gpu" if assignment.gpu is not None and ":" not in image else image

    def _replica_memory_bytes(self) -> int:
        """An equal share of four fifths of the memory, but never less than a large network needs."""
        memory = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
        return max(_LEAST_REPLICA_MEMORY_BYTES, memory * 4 // 5 // len(self._config.placement.replicas))

    @override
    async def cores_of(self, running: Running) -> tuple[int, ...]:
        """The engine and the cgroup must say what the kernel says."""
        assert isinstance(running, RunningContainer)
        kernel = affinity(running.pid)
        others = {"the engine": await running.cores(), "the cgroup": cgroups.cores(running.pid)}
        for who, cores in others.items():
            if kernel and cores is not None and set(cores) != set(kernel):
                raise LaunchError(
                    f"{running.role} may run on {core_ranges(kernel)}, but {who} says {core_ranges(cores)}"
                )
        return kernel

    # The engine ----------------------------------------------------------------------------------------

    async def _check_images(self) -> None:
        """Say before anything is started which image is missing.

        Raises:
            UnavailableError: one is.
        """
        if not self._config.image and not self._config.model.image:
            raise UnavailableError(
                f"model {self._config.model_name}: no image carries it; build one and name it with --image"
            )
        images = {self._image(assignment) for assignment in self._config.placement.replicas}
        for image in (REDIS_IMAGE, MANAGEMENT_IMAGE, QUERY_IMAGE, *sorted(images)):
            await call(f"image {image}", self._docker.images.inspect(image))

    async def _start(self, container: Container, name: str | None = None) -> RunningContainer:
        request = container.to_engine(self.run)
        created = None
        while created is None:
            chosen = name or (f"{container.name}-{random.randrange(100_000)}" if container.name else None)
            if chosen is not None:
                request["Hostname"] = chosen  # requests from its network address a frontend by this name
            try:
                created = await call(container.role, self._docker.containers.create(request, name=chosen))
            except NameTaken:
                if name is not None:
                    raise
        await call(container.role, created.start())
        shown = await call(container.role, created.show())
        running = RunningContainer(
            container.role, shown["Name"].lstrip("/"), shown["State"]["Pid"], created, self.log_directory
        )
        log.info("%s: container %s from %s", container.role, running.name, container.image)
        return running


def _outside(ports: Mapping[int, int]) -> Ports:
    """What the ports inside containers are outside; that of Redis may be none."""
    return Ports(**{name: ports[inside] for name, inside in asdict(_INSIDE).items() if inside in ports})


async def _says(container: RunningContainer, text: str) -> bool:
    """Whether a text is in the last lines of a container's log."""
    return text in await container.log_tail()


def _with_files(options: Sequence[str]) -> tuple[list[str], list[str]]:
    """Options whose value is a file of the host: the file is bound into the container, and named as it is there."""
    changed, binds = list(options), []
    for index in _file_values(options):
        path = Path(options[index]).absolute()
        inside = f"/weights/{path.name}"
        binds.append(f"{path}:{inside}:ro")
        changed[index] = inside
    return changed, binds


def _file_values(options: Sequence[str]) -> Iterator[int]:
    for index, option in enumerate(options[:-1]):
        if option == "--weights" and options[index + 1] not in ("seeded", "imagenet"):
            yield index + 1
