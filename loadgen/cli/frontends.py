"""The options of frontends: their ports, who reaches them, and one that runs already."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from frontend_launch.ports import FRONTEND_PORTS, Ports
from loadgen.cli import groups, help_format


@groups.panel(help_format.PORTS)
def ports(
    context: typer.Context,
    request_port: Annotated[
        int,
        typer.Option(
            metavar="PORT",
            help="Frontend's port for requests; 0 takes any free one. Default ports give way to free ones together "
            "where one is in use.",
        ),
    ] = 4456,
    response_port: Annotated[int, typer.Option(metavar="PORT", help="Frontend's port for responses.")] = 4455,
    replica_port: Annotated[int, typer.Option(metavar="PORT", help="Frontend's port for replicas.")] = 7000,
    metrics_port: Annotated[int, typer.Option(metavar="PORT", help="Frontend's port for metrics.")] = 1337,
    admin_port: Annotated[int, typer.Option(metavar="PORT", help="Management frontend's port.")] = 1338,
    redis_port: Annotated[
        int | None,
        typer.Option(
            metavar="PORT", help="With --runtime docker: publish Redis on this port.  [default: not published]"
        ),
    ] = None,
    local_token: Annotated[
        bool,
        typer.Option("--local-token", help="Require credentials on loopback too."),
    ] = False,
) -> groups.Settings:
    """The ports of the frontends, and who is served."""
    ports = Ports(request_port, response_port, replica_port, metrics_port, admin_port, redis_port)
    named = tuple(name for name in FRONTEND_PORTS if groups.was_given(context, f"{name}_port"))
    return {"ports": ports, "named_ports": named, "local_token": local_token}


@groups.panel(help_format.PORTS)
def publishing(
    publish_address: Annotated[
        str,
        typer.Option(
            "--publish-address",
            "--host",
            metavar="ADDRESS",
            help="Let other machines reach the frontends on this address; peers need the credentials.",
        ),
    ] = "127.0.0.1",
    insecure: Annotated[
        bool,
        typer.Option("--insecure", help="With --publish-address: require no credentials, for peers of 2017."),
    ] = False,
) -> groups.Settings:
    """Who reaches the frontends."""
    return {"publish_address": publish_address, "insecure": insecure}


@groups.panel(help_format.CONNECTION)
def connection(
    connect: Annotated[
        str | None, typer.Option(metavar="HOST", help="Load a frontend that already runs there; start nothing.")
    ] = None,
    app: Annotated[
        str | None,
        typer.Option(
            metavar="NAME",
            help="With --connect: the application to query; without -m any answer counts.  [default: the model's name]",
        ),
    ] = None,
    credentials: Annotated[
        Path | None, typer.Option(metavar="FILE", help="With --connect: credentials of its deployment.")
    ] = None,
) -> groups.Settings:
    """A frontend that runs already, in place of a deployment."""
    return {} if connect is None else {"host": connect, "application": app, "credentials": credentials}
