"""The ways to start the parts of a deployment, by the names of ``--runtime``."""

from __future__ import annotations

import contextlib
import pkgutil
import re
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from frontend_launch.launch.placement_request import CONTAINERS, FRONTENDS, Service

if TYPE_CHECKING:
    from frontend_launch.launch.cluster import ClusterTopology
    from frontend_launch.launch.launcher import DeploymentConfig, Launcher


@dataclass(frozen=True, slots=True)
class Runtime:
    """One way.

    Attributes:
        infrastructure: what it starts beside replicas and client, for one query frontend.
        launcher_class: ``MODULE:CLASS``, imported when a deployment starts, since some are behind an extra.
        survey: ``MODULE:FUNCTION`` that finds the machines of a cluster; empty for a runtime of this machine.
        connection: ``MODULE:FUNCTION`` that is connected to a cluster while a context lasts; empty likewise.
    """

    infrastructure: tuple[Service, ...]
    launcher_class: str
    survey: str = ""
    connection: str = ""

    def launcher(self, config: DeploymentConfig) -> Launcher:
        """Make the launcher of one deployment."""
        launcher: Launcher = pkgutil.resolve_name(self.launcher_class)(config)
        return launcher

    async def cluster(self, name: str) -> ClusterTopology | None:
        """The machines of its cluster; None for a runtime of this machine.

        Args:
            name: of the runtime, with the cluster.

        Raises:
            LaunchError: the cluster does not answer.
        """
        if not self.survey:
            return None
        found: ClusterTopology = await pkgutil.resolve_name(self.survey)(name)
        return found

    def connected(self, name: str) -> AbstractAsyncContextManager[None]:
        """A connection to its cluster while the context lasts, which all that happens in it uses; of this machine none.

        Args:
            name: of the runtime, with the cluster.

        Raises:
            LaunchError: the cluster does not answer.
        """
        if not self.connection:
            return contextlib.nullcontext()
        connection: AbstractAsyncContextManager[None] = pkgutil.resolve_name(self.connection)(name)
        return connection


RUNTIMES = {
    "process": Runtime(FRONTENDS, "frontend_launch.launch.process:ProcessLauncher"),
    "docker": Runtime(CONTAINERS, "frontend_launch.launch.docker:DockerLauncher"),
    "ray": Runtime(
        FRONTENDS,
        "frontend_launch.launch.ray:RayLauncher",
        "frontend_launch.launch.ray:survey",
        "frontend_launch.ray_cluster:connected",
    ),
}

CLUSTER = re.compile(r"ray|ray:local|ray://[^/\s]+:(?P<port>[0-9]+)")
"""The name of a cluster: the one of this machine or of ``RAY_ADDRESS``, one for the run, or a Ray client server's."""


def known(name: str) -> bool:
    """Whether it is the name of a runtime, with a cluster where it has one."""
    return name in RUNTIMES or CLUSTER.fullmatch(name) is not None


def runtime_of(name: str) -> Runtime:
    """The runtime of a name, which may have a cluster after it."""
    return RUNTIMES[name.partition(":")[0]]
