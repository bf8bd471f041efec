"""``loadgen rate``: load on a schedule that does not wait for answers."""

from __future__ import annotations

from typing import Annotated

import typer

from loadgen.cli import console, groups, help_format, measuring, parameters
from loadgen.cli.frontends import connection, ports
from loadgen.cli.live_outputs import live
from loadgen.cli.outputs import writing
from loadgen.cli.target import target
from loadgen.config import ExperimentConfig, OpenLoop
from loadgen.load.arrivals import parse_arrivals
from loadgen.parsing import parse_duration, parse_duration_or_zero, parse_rate


@groups.with_options(
    parameters.model,
    parameters.size,
    parameters.placement,
    parameters.inputs,
    parameters.patience,
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
    rate: Annotated[
        str | None,
        typer.Option(
            "--rate",
            metavar="RATE",
            help="Requests a second: 100; or 6/m, 360/h.  [required unless --arrivals has rates]",
        ),
    ] = None,
    arrivals: Annotated[
        str,
        typer.Option(
            metavar="SCHEDULE",
            help="constant, poisson, gamma:cv=2, ramp:50..500, steps:50x30s,100x30s, or trace:FILE.",
        ),
    ] = "constant",
    duration: Annotated[
        str | None,
        typer.Option("--duration", "-d", metavar="TIME", help="Length of the measured part.  [default: 120s]"),
    ] = None,
    time_scale: Annotated[
        float,
        typer.Option(
            metavar="FACTOR", help="Stretch the timestamps of a trace by this factor.", rich_help_panel=help_format.LOAD
        ),
    ] = 1.0,
    warmup: Annotated[
        str,
        typer.Option(
            metavar="TIME", help="Time before the measured part, at its first rate.", rich_help_panel=help_format.LOAD
        ),
    ] = "1s",
    runtime: parameters.Runtime = "process",
) -> ExperimentConfig:
    """Offer load at a rate, and measure the latency of its users."""
    with console.one_line_errors():
        duration_s = console.optional("--duration", parse_duration, duration)
        rate_rps = console.optional("--rate", parse_rate, rate)
        schedule = console.parsed(
            "--arrivals",
            lambda text: parse_arrivals(text, rate_rps, duration_s, settings["seed"], time_scale),
            arrivals,
        )
        warmup_s = console.parsed("--warmup", parse_duration_or_zero, warmup)
        load = OpenLoop(schedule, settings["max_in_flight"], warmup_s)
        return groups.configured(settings | {"runtime": runtime}, load)
    raise AssertionError("unreachable")


rate = measuring.one_experiment(described)
