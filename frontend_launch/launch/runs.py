"""Finds this project's containers by label: runs that stay, and leftovers of runs that crashed."""

from __future__ import annotations

import asyncio
import contextlib
import shutil
import time
from collections.abc import AsyncIterator, Collection
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from frontend_launch.errors import LaunchError
from frontend_launch.launch.container import DIRECTORY_LABEL, GPU_LABEL, ROLE_LABEL, RUN_LABEL
from frontend_launch.launch.engine import call
from frontend_launch.launch.launcher import LOOPBACK

if TYPE_CHECKING:
    import aiodocker


@dataclass(frozen=True, slots=True)
class ContainerInfo:
    """A container of this project.

    Attributes:
        run: the id of the run it belongs to.
        role: its role in the placement.
        name: its name.
        image: its image's tag.
        cores: as the engine writes them.
        gpu: its GPU; empty for none.
        state: ``running``, ``exited``, …
        started: when, by the engine's clock; None when it never was.
        ports: inside → outside.
        host: where this machine reaches them.
        directory: of its run's sockets and logs; empty where it does not know it.
    """

    run: str
    role: str
    name: str
    image: str
    cores: str
    gpu: str
    state: str
    started: datetime | None
    ports: dict[int, int]
    directory: str
    host: str


async def containers(docker: aiodocker.Docker, run: str = "") -> list[ContainerInfo]:
    """Our containers, of one run or of all, by run and role.

    Args:
        docker: the client of the engine.
        run: id of the run; None for all runs.
    """
    listed = await call("list", docker.containers.list(all=True, filters={"label": [_label(run)]}))
    shown = []
    for container in listed:
        with contextlib.suppress(LaunchError):  # it is gone by now
            shown.append(_info(await call("inspect", container.show())))
    return sorted(shown, key=lambda found: (found.run, found.role))


_LOOPBACK = ("", "0.0.0.0", "127.0.0.1", "::", "::1")  # noqa: S104 - as Docker writes them
"""Addresses of this machine on which a published port is reached as localhost."""


async def publishing(docker: aiodocker.Docker, port: int) -> ContainerInfo | None:
    """The running container, ours or not, that publishes a port on this machine's loopback addresses.

    Args:
        docker: the client of the engine.
        port: on this machine.
    """
    for container in await call("list", docker.containers.list(filters={"publish": [f"{port}"]})):
        with contextlib.suppress(LaunchError):
            shown = await call("inspect", container.show())
            if _publishes(shown, port):
                return _info(shown)
    return None


def _publishes(shown: dict[str, Any], port: int) -> bool:
    bound: dict[str, list[dict[str, str]] | None] = shown["NetworkSettings"]["Ports"] or {}
    return any(
        int(where["HostPort"]) == port and where["HostIp"] in _LOOPBACK for one in bound.values() for where in one or ()
    )


def _info(shown: dict[str, Any]) -> ContainerInfo:
    labels, host = shown["Config"]["Labels"], shown["HostConfig"]
    bound: dict[str, list[dict[str, str]] | None] = shown["NetworkSettings"]["Ports"] or {}
    started = shown["State"]["StartedAt"]
    return ContainerInfo(
        run=labels.get(RUN_LABEL, ""),
        role=labels.get(ROLE_LABEL, ""),
        name=shown["Name"].lstrip("/"),
        image=shown["Config"]["Image"],
        cores=host["CpusetCpus"],
        gpu=labels.get(GPU_LABEL, ""),
        state=shown["State"]["Status"],
        # Nanoseconds, which Python does not read.
        started=None if started.startswith("0001-") else datetime.fromisoformat(started[:19] + "+00:00"),
        ports={int(inside.partition("/")[0]): int(where[0]["HostPort"]) for inside, where in bound.items() if where},
        directory=labels.get(DIRECTORY_LABEL, ""),
        host=_host({row["HostIp"] for where in bound.values() for row in where or ()}),
    )


def _host(addresses: set[str]) -> str:
    """Where this machine reaches ports that are published on these addresses."""
    return LOOPBACK if addresses & {"", "0.0.0.0", "::", LOOPBACK} or not addresses else min(addresses)  # noqa: S104


async def remove(docker: aiodocker.Docker, run: str = "") -> list[str]:
    """Remove what carries the label of a run, or of any, whatever its state, and its directory.

    Args:
        docker: the client of the engine.
        run: id of the run; None for all runs.

    Returns:
        What was removed.
    """
    removed, directories = [], set[str]()
    listed = await call("list", docker.containers.list(all=True, filters={"label": [_label(run)]}))
    for container in listed:
        with contextlib.suppress(LaunchError):
            found = _info(await call("inspect", container.show()))
            await call("remove", container.delete(force=True, v=True))
            removed.append(f"container {found.name}")
            directories.add(found.directory)
    for directory in sorted(directories - {""}):
        await asyncio.to_thread(shutil.rmtree, directory, ignore_errors=True)
        removed.append(f"directory {directory}")
    for network in await call("list", docker.networks.list(filters={"label": [_label(run)]})):
        with contextlib.suppress(LaunchError):  # somebody else's container is in it
            await call("remove", (await docker.networks.get(network["Id"])).delete())
            removed.append(f"network {network['Name']}")
    return removed


async def logs(docker: aiodocker.Docker, names: Collection[str], *, follow: bool) -> AsyncIterator[tuple[str, str]]:
    """Lines of containers' logs with the container's name: one's after the other's, or as they come.

    With `follow` it ends when the containers do.

    Args:
        docker: the client of the engine.
        names: of containers.
        follow: go on until the containers end.
    """
    if not follow:
        for name in names:
            container = await call(name, docker.containers.get(name))
            for line in await call(name, container.log(stdout=True, stderr=True)):
                yield name, line.rstrip("\n")
        return
    lines: asyncio.Queue[tuple[str, str] | None] = asyncio.Queue(maxsize=1000)

    async def read(name: str) -> None:
        try:
            container = await call(name, docker.containers.get(name))
            async for line in container.log(stdout=True, stderr=True, follow=True):
                await lines.put((name, line.rstrip("\n")))
        finally:
            await lines.put(None)

    tasks = [asyncio.create_task(read(name)) for name in names]
    try:
        left = len(tasks)
        while left:
            item = await lines.get()
            if item is None:
                left -= 1
            else:
                yield item
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


def uptime_s(found: ContainerInfo) -> float | None:
    """Seconds since it was started; None unless it runs."""
    return time.time() - found.started.timestamp() if found.started and found.state == "running" else None


def sockets(found: ContainerInfo) -> Path | None:
    """The directory of a query frontend's sockets, if this process can see it."""
    directory = Path(found.directory) / "sockets" / found.role
    return directory if found.directory and directory.is_dir() else None


def _label(run: str) -> str:
    return f"{RUN_LABEL}={run}" if run else RUN_LABEL
