"""``loadgen size``: the cheapest configuration that carries a rate within an objective."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import typer

from frontend_launch.quantities import exact, number
from loadgen.cli import console, exit_codes, groups, measuring, outputs, parameters
from loadgen.cli.frontends import connection, ports
from loadgen.cli.live_outputs import live
from loadgen.cli.outputs import Documents, Outputs, writing
from loadgen.cli.target import target
from loadgen.config import ExperimentConfig, Saturate
from loadgen.errors import ConfigError, FieldError
from loadgen.experiments.capacity import CapacityConfig, find_capacity
from loadgen.experiments.probes import samples
from loadgen.experiments.search import MAX_STRETCH, NO_TIME, Capacity, Limits
from loadgen.experiments.size import SizeConfig, Sized, find_size, prepare_size
from loadgen.experiments.size_answer import LEAST_CONFIRM_S, LEAST_RUN_S
from loadgen.experiments.trace_peaks import peak_rps
from loadgen.judging.slo import Condition, parse
from loadgen.load.arrivals import Trace, parse_arrivals
from loadgen.parsing import parse_duration, parse_int_list, parse_rate
from loadgen.report import junit
from loadgen.report.capacity_text import capacity_plan_text, capacity_text
from loadgen.report.reading import collect
from loadgen.report.size_text import carries_json, size_plan_text, size_text
from loadgen.served import Deploy

_OF_DEPLOYMENTS = ("batch_sizes", "core_cost", "gpu_cost", "resume")
"""Parameters that mean nothing for a server that runs already; those of groups refuse themselves."""


@groups.with_options(
    parameters.model,
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
def size(
    settings: groups.Settings,
    context: typer.Context,
    slo: Annotated[
        list[str],
        typer.Option(metavar="CONDITIONS", help="Objective: 'p99<1s,goodput(latency<100ms)>99%'; repeatable."),
    ],
    rate: Annotated[
        str | None,
        typer.Option(metavar="RATE", help="Requests a second: 100; or 6/m, 360/h.  [required unless --trace]"),
    ] = None,
    trace: Annotated[
        str | None,
        typer.Option(metavar="FILE", help="Arrival times in seconds; their busiest 10 s are the rate."),
    ] = None,
    within: Annotated[
        str,
        typer.Option(
            metavar="TIME",
            help="Time limit of the search.",
        ),
    ] = "10m",
    batch_sizes: Annotated[
        str | None,
        typer.Option(
            "--batch-sizes",
            "--batch-size",
            "-b",
            metavar="SIZES",
            help="Largest batches to choose from.  [default: 1 2 4 8 16 32]",
        ),
    ] = None,
    replicas: Annotated[
        str | None,
        typer.Option("--replicas", "-r", metavar="COUNTS", help="Replicas to choose from.  [default: all that fit]"),
    ] = None,
    cpus_per_replica: Annotated[
        str | None,
        typer.Option(
            "--cpus-per-replica",
            "-p",
            metavar="COUNTS",
            help="Cores of each replica to choose from.  [default: 1 2 4 8 …]",
        ),
    ] = None,
    core_cost: Annotated[
        float, typer.Option(metavar="COST", help="Cost of a core for an hour, in any currency.")
    ] = 0.0,
    gpu_cost: Annotated[float, typer.Option(metavar="COST", help="Cost of a GPU for an hour.")] = 0.0,
    resume: Annotated[
        bool, typer.Option("--resume", help="Continue the newest search of this model and objective.")
    ] = False,
    runtime: parameters.Runtime = "process",
) -> None:
    """Find the cheapest configuration that carries a rate within an objective."""
    dry_run, wanted = settings.pop("dry_run"), settings["outputs"]
    with console.one_line_errors():
        if (rate is None) == (trace is None):
            given = f"--rate {rate} and --trace {trace}: two rates; leave one of them out"
            raise ConfigError(given if rate is not None else "--rate and --trace: both missing; name one")
        conditions = tuple(condition for text in slo for condition in console.parsed("--slo", parse, text))
        within_s = console.parsed("--within", parse_duration, within)
        rate_rps = console.optional("--rate", parse_rate, rate)
        recorded = None if trace is None else console.parsed("--trace", _recorded, trace)
        base = groups.configured(settings | {"runtime": runtime}, Saturate(max_in_flight=settings["max_in_flight"]))
        if not isinstance(base.serve, Deploy):
            wanted_rps = rate_rps if recorded is None else peak_rps(recorded)
            assert wanted_rps is not None
            if stray := next((name for name in _OF_DEPLOYMENTS if groups.was_given(context, name)), None):
                given = groups.as_given(context, stray)
                raise ConfigError(f"{given}: belongs to a deployment, and this server runs already; leave it out")
            search = _of_server(base, conditions, wanted_rps, within_s)
            if dry_run:
                measuring.show_plan(base, lambda plan: capacity_plan_text(plan, search))
                return
            raise typer.Exit(_carries(search, wanted_rps, wanted))
        config = SizeConfig(
            base=base,
            conditions=conditions,
            rate_rps=rate_rps,
            trace=recorded,
            within_s=within_s,
            replicas=console.optional("--replicas", parse_int_list, replicas) or (),
            cpus_per_replica=console.optional("--cpus-per-replica", parse_int_list, cpus_per_replica) or (),
            batch_sizes=console.optional("--batch-sizes", parse_int_list, batch_sizes) or (),
            core_cost=core_cost,
            gpu_cost=gpu_cost,
        )
    if dry_run:
        plan, _ = console.run(prepare_size(config))
        typer.echo(size_plan_text(plan, console.columns()))
        measuring.show_ports(config.base)
    else:
        _run(config, resume, wanted)


def _of_server(
    base: ExperimentConfig, conditions: tuple[Condition, ...], rate_rps: float, within_s: float
) -> CapacityConfig:
    """A search that decides whether a server that runs already carries a rate, and then finds its capacity.

    Args:
        base: of the probes.
        conditions: that have to hold.
        rate_rps: the rate.
        within_s: time for the search.

    Raises:
        FieldError: the time is too short for the probe that decides.
    """
    needed_s = samples(conditions) / rate_rps
    confirm_s = max(LEAST_CONFIRM_S, within_s / 10, needed_s / MAX_STRETCH)
    limits = Limits(tolerance=0.05, duration_s=max(LEAST_RUN_S, within_s / 40), confirm_s=min(confirm_s, within_s))
    config = CapacityConfig(base, conditions, start_rps=rate_rps, limits=limits, asked=True, within_s=within_s)
    least_s = max(LEAST_CONFIRM_S, needed_s) + config.warmup_s
    if least_s > within_s:
        wanted = f"{number(least_s)} s of {number(rate_rps)} requests/s tell {','.join(map(str, conditions))}"
        remedy = f"use {math.ceil(2 * least_s)}s or more"
        raise FieldError("SizeConfig.within_s", f"{exact(within_s)}s", f"is too short: {wanted}", remedy)
    return config


def _carries(config: CapacityConfig, rate_rps: float, wanted: Outputs) -> int:
    """Say whether a server that runs already carries a rate, and what else; returns the exit code.

    Args:
        config: of the search of its capacity.
        rate_rps: the rate.
        wanted: what is written and printed.
    """
    wanted.set_up_logging()
    found, _ = console.run(find_capacity(config), console.NOTHING_MEASURED)
    carried = carries(found.capacity, rate_rps)
    with console.kept("the search is in", found.directory):
        state = {True: "yes", False: "no", None: "undecided"}[carried]
        question = f"{number(rate_rps)} requests/s with {','.join(map(str, config.conditions))}"
        wanted.say(f"carries     {question}: {state}")
        wanted.say(capacity_text(found, console.columns()))
        if found.capacity.ended == NO_TIME:
            wanted.say("not known   its capacity: the next probe did not fit into --within; a longer one finds it")
        wanted.say(f"Saved the search to {found.directory}")
        case = junit.Case("loadgen.size", f"carries {question}", junit.decided(carried), found.capacity.bracket)
        wanted.keep(_documents(found.directory, case, lambda: carries_json(found, config, rate_rps, carried)))
    not_saved = [*found.rows_not_saved, *([] if found.not_saved is None else [found.not_saved])]
    for text in not_saved:
        console.fail(text)
    if not_saved:
        return exit_codes.NOT_SAVED
    return {True: exit_codes.OK, False: exit_codes.THRESHOLD, None: exit_codes.UNDECIDED}[carried]


def carries(capacity: Capacity, rate_rps: float) -> bool | None:
    """Whether probes that decide show that a rate holds, or that it does not; None where they show neither.

    Args:
        capacity: what was found.
        rate_rps: the rate.
    """
    decided = [probe for probe in capacity.probes if probe.step in ("confirm", "above")]
    if any(probe.outcome == "fail" and probe.rate_rps <= rate_rps for probe in decided):
        return False
    return True if any(probe.outcome == "pass" and probe.rate_rps >= rate_rps for probe in decided) else None


def _recorded(path: str) -> Trace:
    trace = parse_arrivals(f"trace:{path}", None, None, 0)
    assert isinstance(trace, Trace)
    return trace


def _run(config: SizeConfig, resume: bool, wanted: Outputs) -> None:
    wanted.set_up_logging()

    async def act() -> Sized:
        return await find_size(await prepare_size(config), resume=resume)

    sized, _ = console.run(act(), console.NOTHING_MEASURED)
    with console.kept("the search is in", sized.directory):
        wanted.say(size_text(sized, console.columns()))
        wanted.say(f"Saved the search to {sized.directory}")
        answer, asked = sized.answer, sized.answer.question
        outcome = True if answer.best is not None else None if answer.undecided else False
        question = f"{number(asked.rate_rps)} requests/s with {','.join(map(str, asked.conditions))}"
        text = answer.ended if answer.best is None else answer.best.name
        case = junit.Case("loadgen.size", f"carries {question}", junit.decided(outcome), text)
        wanted.keep(_documents(sized.directory, case, lambda: sized.json))
    for text in sized.not_saved:
        console.fail(text)
    raise typer.Exit(exit_codes.NOT_SAVED if sized.not_saved else exit_codes.of_size(sized.answer))


def _documents(directory: Path, case: junit.Case, answer: Callable[[], str]) -> Documents:
    """What can be written: the answer, and tables and page of the runs.

    Args:
        directory: of the runs.
        case: whether the rate is carried.
        answer: makes the JSON.
    """
    return {
        **outputs.of_runs(lambda: collect([directory]), "loadgen size"),
        "json": answer,
        "xml": lambda: junit.suite("loadgen size", [case]),
    }
