"""Deployments that loadgen starts: for one run, or to stay."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import AsyncIterator
from dataclasses import replace

from frontend_launch.errors import PlacementError, UnavailableError
from frontend_launch.launch.deployment import Deployment
from frontend_launch.launch.launcher import DeploymentConfig
from frontend_launch.launch.placement import Placement
from frontend_launch.launch.port_choice import chosen, free
from frontend_launch.launch.runtimes import runtime_of
from frontend_launch.ports import Ports
from frontend_launch.quantities import plural
from loadgen.config import ExperimentConfig
from loadgen.load import open_files
from loadgen.plan import Plan, prepare, replica_options
from loadgen.served import Deploy
from model_containers import credentials

log = logging.getLogger(__name__)


OWN_FILES, FILES_OF_REPLICA, FILES_OF_CLIENT = 48, 2, 3
"""Open files of the frontends or of the client (the larger number), and further ones per replica and per client."""


def check_open_files(replicas: int, clients: int) -> None:
    """Refuse a deployment that needs more open files than a process may have, before anything is started.

    Args:
        replicas: how many.
        clients: how many processes send.

    Raises:
        PlacementError: it needs more.
    """
    needed, limit = OWN_FILES + FILES_OF_REPLICA * replicas + FILES_OF_CLIENT * clients, open_files.raise_limit()
    if needed > limit:
        parts = f"{plural(replicas, 'replica')} and {plural(clients, 'client')}"
        raise PlacementError(f"{parts} need {needed} open files, {limit} are allowed; raise the limit (ulimit -n)")


@contextlib.asynccontextmanager
async def deployed(plan: Plan) -> AsyncIterator[Deployment]:
    """The deployment that a plan of a `Deploy` describes, while the context lasts.

    Where another process takes one of the usual ports between the check and the bind, it starts once more on free ones.

    Raises:
        PlacementError: it needs more open files than a process may have.
        FrontendLaunchError: it cannot be started; nothing is left running.
    """
    serve = plan.config.serve
    assert isinstance(serve, Deploy)
    check_open_files(len(plan.placement.replicas), plan.config.client.processes)
    async with contextlib.AsyncExitStack() as stack:
        ports, note = _chosen(serve)
        _tell(note)
        try:
            deployment = await stack.enter_async_context(_deployment(plan, serve, ports))
        except UnavailableError:
            others, note = _chosen(serve)
            if others == ports:
                raise
            _tell(note)
            deployment = await stack.enter_async_context(_deployment(plan, serve, others))
        yield deployment


def _chosen(serve: Deploy) -> tuple[Ports, str]:
    """The ports to bind now, and why they are not the usual ones; empty where there is nothing to say."""
    if serve.on_cluster:  # whose nodes may have other frontends on the usual ports
        return free(serve.ports, serve.named_ports), ""
    return chosen(serve.ports, serve.named_ports, serve.publish_address)


def _tell(note: str) -> None:
    if note:
        log.info("ports: %s", note)


def _deployment(plan: Plan, serve: Deploy, ports: Ports) -> Deployment:
    """A deployment that is not yet up."""
    config = plan.config
    wanted = DeploymentConfig(
        model=plan.model,
        model_name=serve.model,
        placement=plan.placement,
        max_batch=config.serve.batch_size,
        ports=ports,
        replica_options=tuple(replica_options(serve, config.seed)),
        ready_timeout_s=serve.ready_timeout_s,
        image=serve.image,
        payload_bytes=plan.inputs.payload_bytes,
        restart_replicas=serve.restart_replicas,
        address=serve.publish_address,
        credentials=credentials.make() if serve.wants_credentials else None,
        cluster=serve.runtime if serve.on_cluster else "",
    )
    return Deployment(wanted, runtime_of(serve.runtime).launcher(wanted))


@contextlib.asynccontextmanager
async def up(config: ExperimentConfig) -> AsyncIterator[Deployment]:
    """Bring up what a configuration says, without a client.

    Args:
        config: what to bring up, a `Deploy`; its client is not placed.

    Raises:
        ConfigError: the configuration contradicts itself.
        FrontendLaunchError: it cannot be started; nothing is left running.
    """
    plan = await prepare(config)
    rows = plan.placement.started
    for row in rows:
        log.info("%s", plan.placement.text_of(row))
    plan = replace(plan, placement=Placement(rows))
    for note in plan.notes:
        log.info("%s", note)
    async with deployed(plan) as deployment:
        yield deployment
