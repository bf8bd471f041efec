"""One container: the request to the engine, and the handle on what runs."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from typing_extensions import override

from frontend_launch.errors import LaunchError
from frontend_launch.integers import expand_ranges
from frontend_launch.launch.engine import call, one_line
from frontend_launch.launch.launcher import ENGINE_GONE, LOOPBACK, Running
from frontend_launch.launch.placement import Assignment
from model_containers.printable import printable

if TYPE_CHECKING:
    from aiodocker.containers import DockerContainer

log = logging.getLogger(__name__)

NETWORK = "clipper_network"
"""How the name of a run's network begins; its id follows."""

CLIPPER_LABEL = "ai.clipper.container.label"
"""What every container of the original carries, with no value."""

RUN_LABEL = "loadgen.run"
ROLE_LABEL = "loadgen.role"
GPU_LABEL = "loadgen.gpu"
DIRECTORY_LABEL = "loadgen.directory"

STOP_TIMEOUT_S = 2
"""Time a container has between SIGTERM and SIGKILL."""

_PIDS = 512


@dataclass(frozen=True, slots=True)
class Container:
    """What to start.

    Attributes:
        role: its role in the placement.
        image: its tag.
        name: how its name begins; None leaves it to the engine.
        command: instead of the image's; None for the image's.
        labels: besides those that all have.
        environment: its variables.
        ports: inside → outside; 0 for any free one.
        address: of this machine, on which they are published.
        binds: directories and files of the host, as ``HOST:INSIDE[:ro]``.
        memory_bytes: its limit.
        assignment: its cores and GPU.
        user: ``UID:GID``; empty for the image's.
    """

    role: str
    image: str
    name: str | None
    command: Sequence[str] | None
    labels: Mapping[str, str]
    environment: Mapping[str, str]
    ports: Mapping[int, int]
    memory_bytes: int
    assignment: Assignment
    binds: Sequence[str] = ()
    user: str = ""
    address: str = LOOPBACK

    def to_engine(self, run: str) -> dict[str, Any]:
        """The request to create it, as the engine's API (1.40 and later) has it."""
        assignment = self.assignment
        host: dict[str, Any] = {
            "NetworkMode": network(run),
            "PortBindings": {
                f"{inside}/tcp": [{"HostIp": self.address, "HostPort": str(outside or "")}]
                for inside, outside in self.ports.items()
            },
            "Binds": list(self.binds),
            "CpusetCpus": ",".join(map(str, assignment.cores)),
            "Memory": self.memory_bytes,
            "MemorySwap": self.memory_bytes,  # of both together: no swap, which would be measured as the model
            "PidsLimit": _PIDS,
            "ReadonlyRootfs": True,
            "Tmpfs": {"/tmp": "rw,nosuid,nodev,size=1g", "/data": "rw,nosuid,nodev,size=64m"},  # noqa: S108
            "CapDrop": ["ALL"],
            "SecurityOpt": ["no-new-privileges"],
            "LogConfig": {"Type": "json-file", "Config": {"max-size": "10m", "max-file": "2"}},
        }
        if assignment.numa_nodes:
            host["CpusetMems"] = ",".join(map(str, assignment.numa_nodes))
        if assignment.gpu is not None:
            host["DeviceRequests"] = [
                {"Driver": "nvidia", "DeviceIDs": [str(assignment.gpu)], "Capabilities": [["gpu"]]}
            ]
        labels = {CLIPPER_LABEL: "", RUN_LABEL: run, ROLE_LABEL: self.role, **self.labels}
        if assignment.gpu is not None:
            labels[GPU_LABEL] = str(assignment.gpu)
        request = {
            "Image": self.image,
            "Env": [f"{name}={value}" for name, value in self.environment.items()],
            "Labels": labels,
            "ExposedPorts": {f"{inside}/tcp": {} for inside in self.ports},
            "HostConfig": host,
        }
        if self.command is not None:
            request["Cmd"] = list(self.command)
        if self.user:
            request["User"] = self.user
        return request


def network(run: str) -> str:
    """The name of a run's network: containers of other runs are in others.

    Args:
        run: its id.
    """
    return f"{NETWORK}-{run}"


class RunningContainer(Running):
    """One container of a deployment.

    Args:
        role: its role in the placement.
        name: as the engine has it, without the leading slash.
        pid: of its first process, as this machine counts.
        container: the engine's handle of it.
        log_directory: where `keep_log` writes ``ROLE.log``.
    """

    here = True

    def __init__(self, role: str, name: str, pid: int, container: DockerContainer, log_directory: Path) -> None:
        self.role, self.name, self.pid = role, name, pid
        self.exited: asyncio.Task[int] = asyncio.create_task(self._wait(), name=f"{role} exited")
        self._container, self._log = container, log_directory / f"{role}.log"

    async def _wait(self) -> int:
        """The engine tells; it goes away before its containers do, and then it is the culprit."""
        try:
            return int((await self._container.wait())["StatusCode"])
        except Exception as error:  # whatever the client raises when the other side is gone
            log.debug("%s: %s", self.role, one_line(error))
            return ENGINE_GONE

    @override
    async def log_tail(self, lines: int = 15) -> str:
        with contextlib.suppress(LaunchError):
            written = await call("log", self._container.log(stdout=True, stderr=True, tail=lines))
            return "".join(written).rstrip()
        return ""

    @override
    async def keep_log(self) -> None:
        with contextlib.suppress(LaunchError):
            written = await call("log", self._container.log(stdout=True, stderr=True))
            await asyncio.to_thread(self._log.write_text, printable("".join(written)))

    async def ports(self) -> dict[int, int]:
        """Inside → outside, as the engine bound them."""
        shown = await call("inspect", self._container.show())
        bound: dict[str, list[dict[str, str]] | None] = shown["NetworkSettings"]["Ports"]
        return {int(inside.partition("/")[0]): int(where[0]["HostPort"]) for inside, where in bound.items() if where}

    async def cores(self) -> tuple[int, ...]:
        """The cores that the engine says it may use."""
        shown = await call("inspect", self._container.show())
        return expand_ranges(shown["HostConfig"]["CpusetCpus"].split(","))

    @override
    async def stop(self) -> None:
        with contextlib.suppress(LaunchError):
            await call("stop", self._container.stop(t=STOP_TIMEOUT_S))
        with contextlib.suppress(LaunchError):
            await call("remove", self._container.delete(force=True, v=True))
        self.exited.cancel()
