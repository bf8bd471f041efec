"""The ways to start the parts of a deployment, by the names of ``--runtime``."""

from __future__ import annotations

import pkgutil
from dataclasses import dataclass
from typing import TYPE_CHECKING

from frontend_launch.launch.placement_request import CONTAINERS, FRONTENDS, Service

if TYPE_CHECKING:
    from frontend_launch.launch.launcher import DeploymentConfig, Launcher


@dataclass(frozen=True, slots=True)
class Runtime:
    """One way.

    Attributes:
        infrastructure: what it starts beside replicas and client, for one query frontend.
        launcher_class: ``MODULE:CLASS``, imported when a deployment starts, since some are behind an extra.
    """

    infrastructure: tuple[Service, ...]
    launcher_class: str

    def launcher(self, config: DeploymentConfig) -> Launcher:
        """Make the launcher of one deployment."""
        launcher: Launcher = pkgutil.resolve_name(self.launcher_class)(config)
        return launcher


RUNTIMES = {
    "process": Runtime(FRONTENDS, "frontend_launch.launch.process:ProcessLauncher"),
    "docker": Runtime(CONTAINERS, "frontend_launch.launch.docker:DockerLauncher"),
}
