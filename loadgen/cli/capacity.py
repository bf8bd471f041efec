"""``loadgen capacity``: the highest rate that holds an objective."""

from __future__ import annotations

from typing import Annotated

import typer

from loadgen.cli import console, exit_codes, groups, help_format, measuring, outputs, parameters
from loadgen.cli.frontends import connection, ports
from loadgen.cli.live_outputs import live
from loadgen.cli.outputs import Documents, Outputs, writing
from loadgen.cli.target import target
from loadgen.config import Saturate
from loadgen.experiments.capacity import CapacityConfig, FoundCapacity, find_capacity
from loadgen.experiments.search import Limits
from loadgen.judging.slo import parse
from loadgen.parsing import parse_duration, parse_duration_or_zero, parse_rate, parse_share
from loadgen.report import junit
from loadgen.report.capacity_text import capacity_plan_text, capacity_text
from loadgen.report.reading import collect
from loadgen.report.size_text import capacity_json


@groups.with_options(
    parameters.model,
    parameters.size,
    parameters.placement,
    parameters.inputs,
    parameters.patience,
    parameters.client,
    parameters.validity,
    connection,
    target,
    ports,
    writing,
    live,
    parameters.planning,
)
def capacity(
    settings: groups.Settings,
    slo: Annotated[
        list[str],
        typer.Option(metavar="CONDITIONS", help="Objective: 'p99<1s,goodput(latency<100ms)>99%'; repeatable."),
    ],
    tolerance: Annotated[
        str,
        typer.Option(metavar="SHARE", help="Precision of the answer: a quarter of its interval."),
    ] = "2%",
    duration: Annotated[
        str, typer.Option("--duration", "-d", metavar="TIME", help="Measured part of a probe that looks for a rate.")
    ] = "30s",
    confirm_for: Annotated[
        str,
        typer.Option(metavar="TIME", help="Measured part of a probe that decides."),
    ] = "5m",
    warmup: Annotated[
        str,
        typer.Option(
            metavar="TIME", help="Time before the measured part, at its rate.", rich_help_panel=help_format.LOAD
        ),
    ] = "1s",
    arrivals: Annotated[
        str,
        typer.Option(metavar="SCHEDULE", help="poisson, constant, or gamma:cv=2.", rich_help_panel=help_format.LOAD),
    ] = "poisson",
    start: Annotated[
        str | None,
        typer.Option(
            metavar="RATE",
            help="First rate to probe.  [default: from a short run at full speed]",
            rich_help_panel=help_format.LOAD,
        ),
    ] = None,
    probes: Annotated[
        int, typer.Option(metavar="N", help="Most probes, repeated ones included.", rich_help_panel=help_format.LOAD)
    ] = 60,
    runtime: parameters.Runtime = "process",
) -> None:
    """Find the highest rate that holds an objective."""
    dry_run, wanted = settings.pop("dry_run"), settings["outputs"]
    with console.one_line_errors(typed={"Limits.tolerance": tolerance}):
        load = Saturate(
            max_in_flight=settings["max_in_flight"],
            warmup_s=console.parsed("--warmup", parse_duration_or_zero, warmup),
        )
        base = groups.configured(settings | {"runtime": runtime}, load)
        config = CapacityConfig(
            base=base,
            conditions=tuple(condition for text in slo for condition in console.parsed("--slo", parse, text)),
            cv=parameters.arrivals_cv(arrivals),
            start_rps=console.optional("--start", parse_rate, start),
            limits=Limits(
                tolerance=console.parsed("--tolerance", parse_share, tolerance),
                duration_s=console.parsed("--duration", parse_duration, duration),
                probes=probes,
                confirm_s=console.parsed("--confirm-for", parse_duration, confirm_for),
            ),
        )
    if dry_run:
        measuring.show_plan(base, lambda plan: capacity_plan_text(plan, config))
    else:
        _run(config, wanted)


def _run(config: CapacityConfig, wanted: Outputs) -> None:
    wanted.set_up_logging()
    found, _ = console.run(find_capacity(config), console.NOTHING_MEASURED)
    with console.kept("the search is in", found.directory):
        wanted.say(capacity_text(found, console.columns()))
        if not found.capacity.confirmed:
            console.fail(f"no capacity was confirmed: {found.capacity.ended}")
        if found.not_saved is None:
            wanted.say(f"Saved the search to {found.directory}")
        wanted.keep(_documents(found, config))
        not_saved = [*found.rows_not_saved, *([] if found.not_saved is None else [found.not_saved])]
        for text in not_saved:
            console.fail(text)
        if not_saved:
            raise typer.Exit(exit_codes.NOT_SAVED)
    raise typer.Exit(exit_codes.of_capacity(found.capacity))


def _documents(found: FoundCapacity, config: CapacityConfig) -> Documents:
    """What can be written: the answer, and tables and page of its probes."""
    objective = ",".join(map(str, config.conditions))
    capacity = found.capacity
    outcome = True if capacity.confirmed else None if capacity.undecided else False
    text = f"{capacity.rate_rps:.4g} requests/s" if capacity.confirmed else capacity.ended
    case = junit.Case("loadgen.capacity", f"capacity with {objective}", junit.decided(outcome), text)
    return {
        **outputs.of_runs(lambda: collect([found.directory]), "loadgen capacity"),
        "json": lambda: capacity_json(found, config),
        "xml": lambda: junit.suite("loadgen capacity", [case]),
    }
