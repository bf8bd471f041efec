"""``loadgen up|down|ps|logs|metrics``: deployments that stay, and leftovers of runs that crashed."""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import shlex
import time
from collections.abc import AsyncIterator
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import typer

from frontend_launch.errors import UnavailableError
from frontend_launch.launch import process_runs, runs
from frontend_launch.launch.engine import engine
from frontend_launch.launch.launcher import CREDENTIALS_FILE
from frontend_launch.launch.process_runs import ProcessRun
from frontend_launch.launch.runs import ContainerInfo, uptime_s
from frontend_launch.launch.runtimes import RUNTIMES
from frontend_launch.metrics_client import MetricsClient
from frontend_launch.ports import MAX_PORT, Ports, is_loopback
from loadgen.checks import is_host
from loadgen.cli import console, groups, help_format, parameters
from loadgen.cli.frontends import ports, publishing
from loadgen.config import ExperimentConfig, Saturate
from loadgen.errors import ConfigError
from loadgen.report.columns import table
from loadgen.served import Deploy
from loadgen.servers import deployment as servers
from model_containers import credentials

log = logging.getLogger(__name__)

Run = Annotated[str, typer.Argument(metavar="[RUN]", help="A run, as `loadgen ps` shows it.  [default: the only one]")]
HEADINGS = ("run", "role", "container or pid", "image or model", "cores", "gpu", "state", "up", "ports")

NAMES = {number: name for name, number in asdict(Ports()).items() if number is not None}
"""What the ports inside a container are called."""


@groups.with_options(parameters.model, parameters.size, parameters.placement, ports, publishing)
def up(
    settings: groups.Settings,
    runtime: Annotated[
        str,
        typer.Option(
            help="docker: containers that stay; process, ray: processes, until Ctrl-C.",
            rich_help_panel=help_format.PLACEMENT,
            **help_format.one_of(RUNTIMES),
        ),
    ] = "docker",
) -> None:
    """Bring up a deployment that stays, for `loadgen saturate --connect`."""
    with console.one_line_errors():
        config = groups.configured(settings | {"runtime": runtime}, Saturate())
        if settings["restart_replicas"] and runtime == "docker":
            raise ConfigError("--restart-replicas: no process watches containers that stay; add --runtime process")
    console.set_up_logging()
    console.run(_up(config), console.NOTHING_MEASURED)


async def _up(config: ExperimentConfig) -> None:
    serve = config.serve
    assert isinstance(serve, Deploy)
    if serve.insecure and not is_loopback(serve.publish_address):
        log.warning("--insecure: any peer that reaches %s can load, change and join it", serve.publish_address)
    async with servers.up(config) as deployment:
        shape = "" if serve.input_shape is None else f" --input-shape {'x'.join(map(str, serve.input_shape))}"
        file = deployment.credentials_file
        if file is not None:
            log.info("clients and replicas need a copy of %s, also on other machines; other peers are not served", file)
        secret = "" if file is None else f" --credentials {shlex.quote(str(file))}"
        for endpoint in deployment.endpoints:
            typer.echo(
                f"loadgen saturate --connect {endpoint.host} --model {serve.model} --batch-size {serve.batch_size}"
                f"{shape}{_port_flags(endpoint.ports)}{secret}"
            )
        if serve.runtime == "docker":
            deployment.leave_running()
        else:
            typer.echo("serving until Ctrl-C")
            with contextlib.suppress(asyncio.CancelledError):
                await deployment.failed.wait()
                assert deployment.failure is not None
                raise deployment.failure


def _port_flags(ports: Ports) -> str:
    usual = Ports()
    names = ("request", "response", "metrics", "admin")
    return "".join(
        f" --{name}-port {getattr(ports, name)}" for name in names if getattr(ports, name) != getattr(usual, name)
    )


def down(
    run: Run = "",
    all_: Annotated[bool, typer.Option("--all", help="All runs, and leftovers of runs that crashed.")] = False,
) -> None:
    """Take down a run: its containers, network and directory, or its processes; others stay untouched."""

    async def act() -> list[str]:
        if not all_:
            chosen = await _chosen(run)
            if isinstance(chosen, ProcessRun):
                return [await process_runs.remove(chosen)]
            async with engine() as docker:
                return await runs.remove(docker, chosen)
        removed = [await process_runs.remove(one) for one in process_runs.listed() if one.idle]
        try:
            async with engine() as docker:
                return removed + await runs.remove(docker)
        except UnavailableError as error:
            problem = f"--all: containers are not removed: {error}"
            if not removed:
                raise UnavailableError(problem) from None
            console.fail(problem)
            return removed

    if run and all_:
        with console.one_line_errors():
            raise ConfigError(f"{run}: one run, and --all takes down all; leave one of them out")
    removed, _ = console.run(act())
    for what in removed:
        typer.echo(f"removed {what}")
    if not removed:
        typer.echo("nothing to remove")


def ps() -> None:
    """List the containers and processes of all deployments."""

    async def act() -> list[ContainerInfo]:
        try:
            async with engine() as docker:
                return await runs.containers(docker)
        except UnavailableError as error:
            console.fail(f"containers are not listed: {error}")
            return []

    found, _ = console.run(act())
    rows = [*map(_row, found), *(_process_row(run, part) for run in process_runs.listed() for part in run.parts)]
    typer.echo(table([HEADINGS, *rows], console.columns()))


def _row(found: ContainerInfo) -> tuple[str, ...]:
    ports = ", ".join(f"{NAMES[inside]} {outside}" for inside, outside in found.ports.items() if inside in NAMES)
    what = (found.run, found.role, found.name, found.image, found.cores or "-", found.gpu or "-", found.state)
    return (*what, _time(uptime_s(found)), ports or "-")


def _process_row(run: ProcessRun, part: process_runs.Part) -> tuple[str, ...]:
    where = f"{part.pid} on {part.node}" if part.node else str(part.pid)
    what = (run.name, part.role, where, part.model, part.cores or "-", part.gpu or "-", run.state(part))
    return (*what, _time(time.monotonic() - part.started_s), part.ports or "-")


def _time(up_s: float | None) -> str:
    return "-" if up_s is None else f"{up_s:.0f} s" if up_s < 600 else f"{up_s / 60:.0f} min"


def logs(
    run: Run = "",
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Print new lines as they come.")] = False,
    role: Annotated[str, typer.Option(metavar="ROLE", help="Only this role, such as query or replica-0.")] = "",
) -> None:
    """Print the logs of a run, each line with its role."""

    async def act() -> None:
        chosen = await _chosen(run)
        if isinstance(chosen, ProcessRun):
            roles = _roles(chosen.name, role, {part.role: part.role for part in chosen.parts})
            with contextlib.suppress(asyncio.CancelledError):
                await _print(process_runs.logs(chosen, roles, follow=follow), roles)
            return
        async with engine() as docker:
            found = await runs.containers(docker, chosen)
            roles = _roles(chosen, role, {one.name: one.role for one in found})
            with contextlib.suppress(asyncio.CancelledError):
                await _print(runs.logs(docker, list(roles), follow=follow), roles)

    console.run(act())


def _roles(run: str, role: str, found: dict[str, str]) -> dict[str, str]:
    """Those to print, by the names of their parts.

    Args:
        run: the name of the run.
        role: the only one; empty for all.
        found: all parts of the run.
    """
    wanted = {name: of for name, of in found.items() if role in ("", of)}
    if not wanted:
        raise ConfigError(f"--role {role}: not a role of the run {run}; choose one that `loadgen ps` shows")
    return wanted


async def _print(lines: AsyncIterator[tuple[str, str]], roles: dict[str, str]) -> None:
    width = max(map(len, roles.values()))
    async for name, line in lines:
        typer.echo(f"{roles[name].ljust(width)}  {line}")


def metrics(
    context: typer.Context,
    run: Run = "",
    ours: Annotated[bool, typer.Option("--counters", help="Print loadgen's own counters, which only grow.")] = False,
    host: Annotated[
        str, typer.Option(metavar="HOST", help="Query a frontend of this host instead of a run of this machine.")
    ] = "",
    port: Annotated[
        int, typer.Option("--metrics-port", metavar="PORT", help="With --host: its port for metrics.")
    ] = 1337,
    file: Annotated[
        Path | None, typer.Option("--credentials", metavar="FILE", help="With --host: credentials of its deployment.")
    ] = None,
) -> None:
    """Print the metrics of a query frontend as JSON."""
    if run and host:
        with console.one_line_errors():
            raise ConfigError(f"--host {host}: a frontend beside the run {run}; leave one of them out")
    with console.one_line_errors():
        if not host and (given := [name for name in ("host", "port", "file") if groups.was_given(context, name)]):
            blank = "host" in given
            raise ConfigError(
                "--host '': blank; name one" if blank else f"{groups.as_given(context, given[0])}: needs --host; add it"
            )
        if host and not is_host(host):
            raise ConfigError(f"--host {host}: not a host; write its name or number")
        if not 0 < port <= MAX_PORT:
            raise ConfigError(f"--metrics-port {port}: not a port; use 1 to {MAX_PORT}")

    async def act() -> Any:
        at = f"http://{f'[{host}]' if ':' in host and host[0] != '[' else host}:{port}"
        address, kept = (at, file) if host else await _metrics_address(run)
        token = "" if kept is None else console.parsed("--credentials", _token, str(kept))
        async with MetricsClient(address, token) as client:
            return json.loads((await client.counters()).to_json()) if ours else await client.metrics()

    answer, _ = console.run(act())
    typer.echo(json.dumps(answer, indent=4))


def _token(path: str) -> str:
    try:
        return credentials.read(Path(path)).token
    except ValueError as error:
        raise ConfigError(f"{path}: {error}") from None


async def _metrics_address(run: str) -> tuple[str, Path | None]:
    """Where a run's metrics are, and the file with the credentials that they want, if they want some."""
    chosen = await _chosen(run)
    if isinstance(chosen, ProcessRun):
        url = next((part.metrics for part in chosen.parts if part.metrics), "")
        if url and chosen.held:
            return url, _kept(str(chosen.directory))
        raise ConfigError(f"{chosen.name}: the run has no query frontend that runs; see `loadgen ps`")
    async with engine() as docker:
        found = await runs.containers(docker, chosen)
    for one in found:
        if Ports().metrics in one.ports:
            return f"http://{one.host}:{one.ports[Ports().metrics]}", _kept(one.directory)
    raise ConfigError(f"{chosen}: the run has no query frontend that runs; see `loadgen ps`")


def _kept(directory: str) -> Path | None:
    """The credentials in the directory of a run, if it has some."""
    path = Path(directory, CREDENTIALS_FILE)
    return path if directory and path.exists() else None


async def _chosen(run: str) -> ProcessRun | str:
    """The run that is meant: one of processes, or the id of one of containers.

    A measurement under way is meant only where it is named.
    """
    processes = {one.name: one for one in process_runs.listed() if run or one.idle}
    if run in processes:
        return processes[run]
    containers = set[str]()
    try:
        async with engine() as docker:
            containers = {one.run for one in await runs.containers(docker)}
    except UnavailableError as error:
        if run or not processes:
            named = f"{run}: no such run" if run else "RUN: no deployment"
            raise UnavailableError(f"{named} of processes; containers are not listed: {error}") from None
    known = sorted(containers | processes.keys())
    if run in known or (not run and len(known) == 1):
        return run or processes.get(known[0], known[0])
    if not known:
        named = f"{run}: no such run" if run else "RUN: no deployment is up"
        raise ConfigError(f"{named}; bring one up with `loadgen up --model NAME`")
    raise ConfigError(f"{f'{run}: no such run' if run else 'RUN: missing'}; name one of {', '.join(known)}")
