"""Supervises one process of a deployment on a node of a cluster: starts it, says how it is, hands its logs over.

It runs inside a process of the cluster and serves no request: it starts the process that serves on one machine too.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

from frontend_launch import scratch
from frontend_launch.affinity import affinity, pin
from frontend_launch.children import Command, Process, start
from frontend_launch.launch.topology import Topology, discover, first_cores
from frontend_launch.log_files import Added, added, tail
from frontend_launch.supervision import ANSWER_BYTES, LINES_BYTES, Supervision, module_path, own_version


class NodeReport(NamedTuple):
    """A node, as a process on it finds it.

    Attributes:
        topology: its cores and GPUs, as many as the cluster hands out.
        version: of loadgen; empty where its sources are on the module path.
    """

    topology: Topology
    version: str


def node_report(cpus: int, gpus: int) -> NodeReport:
    """The machine that this runs on.

    Args:
        cpus: that the cluster hands out.
        gpus: that the cluster hands out.
    """
    return NodeReport(first_cores(discover(), cpus, gpus), own_version())


class ProcessSupervisor(Supervision):
    """Supervises a process on the machine where it runs."""

    _process: Process | None = None
    _directory = Path()
    _logs: Mapping[str, bytes] = {}

    async def gpus(self) -> str:
        """The GPUs that the cluster reserved, by their numbers."""
        return os.environ.get("CUDA_VISIBLE_DEVICES", "")

    async def start(self, command: Command, read_stdout: bool) -> int:
        """Start the process; returns its id.

        Args:
            command: what to start; its own log, if it keeps one, is in the supervisor's directory.
            read_stdout: keep its standard output for `first_line`.

        Raises:
            LaunchError: it cannot be started.
        """
        machine = discover()
        with contextlib.suppress(OSError):
            pin(os.getpid(), machine.physical(machine.cores[0]))
        self._directory = self._stack.enter_context(scratch.directory())
        log = {"LOADGEN_LOG_FILE": str(self._directory / f"{command.role}.log")}
        environment = {**module_path(), **(command.environment or {}), **log}
        own = replace(_here(command), environment=environment)
        self._process = await start(own, self._directory, read_stdout=read_stdout)
        self._stack.push_async_callback(self._process.stop)
        self._begin()
        return self._process.pid

    async def first_line(self) -> bytes:
        """The first line of its standard output; empty where it ended without one."""
        return await self._started.stdout.readline()

    async def exit_code(self, wait_s: float) -> int | None:
        """Its exit code, as soon as it ends; None where it runs after a time.

        There is no answer once the supervisor ends the process by itself: the launcher finds the supervisor gone.

        Args:
            wait_s: the time.
        """
        self._renew()
        exited = self._started.exited
        await asyncio.wait({exited}, timeout=wait_s)
        if self._ending is not None:
            await asyncio.Event().wait()
        return exited.result() if exited.done() else None

    async def log_tail(self, lines: int) -> str:
        """The last lines of its logs."""
        return await self._started.log_tail(lines)

    async def logs(self) -> dict[str, int]:
        """The bytes of its logs, by the names of their files, from now on in `log_piece`; of long ones the end."""
        self._logs = {path.name: tail(path) for path in sorted(self._directory.glob(f"{self._started.role}.*"))}
        return {name: len(log) for name, log in self._logs.items()}

    async def log_piece(self, name: str, begin: int) -> bytes:
        """A log from a byte on, as far as one answer has room."""
        return self._logs[name][begin : begin + ANSWER_BYTES]

    async def log_added(self, read: dict[int, int]) -> Added:
        """The lines of its logs that were added since the last look, see `frontend_launch.log_files.added`."""
        return added(self._directory, self._started.role, read, LINES_BYTES)

    async def cores(self) -> tuple[int, ...]:
        """Those that the kernel lets it use; empty when it is gone."""
        return affinity(self._started.pid)

    @property
    def _started(self) -> Process:
        assert self._process is not None
        return self._process


def _here(command: Command) -> Command:
    """The same in the directory of this process where this machine does not have that of the command."""
    return command if Path(command.directory).is_dir() else replace(command, directory="")
