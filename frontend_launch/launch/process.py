"""Starts the parts of a deployment as processes on this machine."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
from collections.abc import Callable
from pathlib import Path

import zmq
from typing_extensions import override

from frontend_launch import scratch
from frontend_launch.affinity import affinity
from frontend_launch.children import Command, start
from frontend_launch.errors import LaunchError, UnavailableError
from frontend_launch.integers import core_ranges
from frontend_launch.launch.launcher import (
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
from frontend_launch.launch.process_runs import LOGS, Kept, Part
from frontend_launch.ports import Ports
from frontend_launch.tasks import gather_all
from frontend_launch.wire import ipc_addresses

FRONTENDS_TIMEOUT_S = 30.0

SMALL_BATCH_BYTES = 131_072
LARGE_INPUT_BYTES = 262_144
"""Unix sockets cost both sides less where the largest batch is below the first, or an input reaches the second. Between
them either may be faster, TCP by more than twice for a full stream of 64 KiB inputs: ``docs/performance.md``."""


def unix_sockets_pay(input_bytes: int, max_batch: int) -> bool:
    """Whether Unix sockets are faster than TCP for inputs of this size in batches of up to `max_batch`."""
    return input_bytes >= LARGE_INPUT_BYTES or input_bytes * max_batch < SMALL_BATCH_BYTES


class ProcessLauncher(Launcher):
    """Starts processes on this machine: both frontends in one, over a store in its memory.

    Several such processes know nothing of each other: each has its own replicas, and its own management frontend.
    """

    def __init__(self, config: DeploymentConfig) -> None:
        self._config, self.stays = config, False
        self._stack = contextlib.ExitStack()
        self._directory = self._stack.enter_context(scratch.directory())
        self.log_directory = self._directory / LOGS
        self.log_directory.mkdir()
        self._kept = Kept(self._directory, config.stays)
        self.credentials_file: Path | None = None

    @override
    async def __aenter__(self) -> ProcessLauncher:
        self.credentials_file = keep_credentials(self._config, self._directory)
        return self

    @override
    async def __aexit__(self, *error: object) -> None:
        self._stack.close()

    @override
    async def start_frontends(self, started: Callable[[Running], None]) -> list[Endpoint]:
        count = len(self._config.placement.of("frontends"))
        return await gather_all(*(self._start_frontends(number, started) for number in range(count)))

    async def _start_frontends(self, number: int, started: Callable[[Running], None]) -> Endpoint:
        assignment = self._config.placement.of("frontends")[number]
        arguments = frontend_arguments(self._config, number, self._config.address)
        sockets = self._sockets(assignment.role)
        if sockets is not None:
            arguments += ["--ipc-directory", str(sockets)]
        command = Command(assignment.role, arguments, assignment.cores, frontend_environment(self._config))
        process = await start(command, self.log_directory, read_stdout=True)
        started(process)
        try:
            async with asyncio.timeout(FRONTENDS_TIMEOUT_S):
                line = await process.stdout.readline()
            bound = json.loads(line)
        except TimeoutError:
            text = f"{assignment.role} said nothing within {FRONTENDS_TIMEOUT_S:.0f} s"
            raise LaunchError(text, await process.log_tail()) from None
        except ValueError:  # they ended without a line of JSON; the last of their log is one clear line
            raise UnavailableError(await process.log_tail(lines=1) or f"{assignment.role} ended at once") from None
        taken = Ports(**bound)
        host = self._config.host
        self._keep(assignment, process, taken.text, f"http://{host}:{taken.metrics}")
        return Endpoint(host, taken, sockets, sockets is not None, clients_credentials(self._config))

    def _keep(self, row: Assignment, process: Running, ports: str = "", metrics: str = "") -> None:
        """Have `loadgen ps` list a process.

        Args:
            row: of the process.
            process: that runs.
            ports: that it listens on.
            metrics: the URL of its metrics.
        """
        gpu = "" if row.gpu is None else str(row.gpu)
        name, cores = self._config.model_name, core_ranges(row.cores)
        self._kept.add(Part(row.role, process.pid, name, cores, gpu, ports, metrics))

    def _sockets(self, role: str) -> Path | None:
        """A directory for a frontend's Unix sockets, where they pay and the system takes so long a path."""
        directory = self._directory / f"{role}.sockets"
        longest = max(len(os.fsencode(address)) for address in ipc_addresses(directory)) - len("ipc://")
        pay = unix_sockets_pay(self._config.payload_bytes, self._config.max_batch)
        if not pay or longest > zmq.IPC_PATH_MAX_LEN:
            return None
        directory.mkdir()
        return directory

    @override
    async def start_replica(self, assignment: Assignment, endpoint: Endpoint) -> Running:
        config = self._config
        arguments = replica_arguments(config)
        environment = {
            **replica_environment(config, assignment),
            **model_environment(config.model, assignment),
            "CLIPPER_IP": endpoint.host,
            "CLIPPER_PORT": str(endpoint.ports.replica),
            "LOADGEN_LOG_FILE": str(self.log_directory / f"{assignment.role}.log"),
        }
        if endpoint.local_replicas and endpoint.directory is not None:
            environment["LOADGEN_FRONTEND_ADDRESS"] = ipc_addresses(endpoint.directory).replica
        process = await start(Command(assignment.role, arguments, assignment.cores, environment), self.log_directory)
        self._keep(assignment, process)
        return process

    @override
    async def cores_of(self, running: Running) -> tuple[int, ...]:
        return affinity(running.pid)
