"""``loadgen saturate``: a deployment under full load."""

from __future__ import annotations

from typing import Annotated

import typer

from loadgen.cli import console, groups, help_format, measuring, parameters
from loadgen.cli.frontends import connection, ports
from loadgen.cli.live_outputs import live
from loadgen.cli.outputs import writing
from loadgen.cli.target import target
from loadgen.config import ExperimentConfig, Saturate
from loadgen.errors import ConfigError
from loadgen.parsing import parse_duration, parse_duration_or_zero


@groups.with_options(
    parameters.model,
    parameters.size,
    parameters.placement,
    parameters.inputs,
    parameters.window,
    parameters.client,
    parameters.validity,
    parameters.ending,
    connection,
    target,
    ports,
    writing,
    live,
    parameters.planning,
)
def described(
    settings: groups.Settings,
    context: typer.Context,
    duration: Annotated[
        str,
        typer.Option(
            "--duration",
            "--duration_seconds",
            "-d",
            metavar="TIME",
            help="Length of the measured part: 120, 2m or 1m30s.",
        ),
    ] = "120s",
    warmup: Annotated[
        str | None,
        typer.Option(
            metavar="TIME",
            help="Time before the measured part.  [default: 1s; 0 with --requests]",
            rich_help_panel=help_format.LOAD,
        ),
    ] = None,
    requests: Annotated[
        int | None,
        typer.Option(
            metavar="N", help="Stop after N requests instead of after a time.", rich_help_panel=help_format.LOAD
        ),
    ] = None,
    runtime: parameters.Runtime = "process",
) -> ExperimentConfig:
    """Load a deployment to saturation, and name its limit."""
    with console.one_line_errors():
        if requests is not None and groups.was_given(context, "duration"):
            given = f"--requests {requests} and --duration {duration}"
            raise ConfigError(f"{given}: one ends by count, the other by time; leave one of them out")

        load = Saturate(
            duration_s=console.parsed("--duration", parse_duration, duration) if requests is None else None,
            requests=requests,
            max_in_flight=settings["max_in_flight"],
            warmup_s=console.optional("--warmup", parse_duration_or_zero, warmup),
        )
        return groups.configured(settings | {"runtime": runtime}, load)
    raise AssertionError("unreachable")


saturate = measuring.one_experiment(described)
