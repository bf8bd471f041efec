"""``loadgen sweep``: every combination of settings, one after the other."""

from __future__ import annotations

import shlex
from typing import Annotated

import typer

from frontend_launch.quantities import exact, plural
from loadgen.cli import console, exit_codes, groups, help_format, measuring, outputs, parameters
from loadgen.cli.frontends import ports
from loadgen.cli.live_outputs import live
from loadgen.cli.outputs import Outputs, writing
from loadgen.cli.target import target
from loadgen.config import Saturate
from loadgen.errors import ConfigError
from loadgen.experiments.sweep import Sweep, SweepConfig, SweepPlan, prepare_sweep, run_sweep
from loadgen.parsing import parse_duration, parse_duration_or_zero, parse_int_list, parse_rates
from loadgen.report.reading import collect
from loadgen.report.sweep_text import sweep_plan_text, sweep_text
from loadgen.served import Deploy


@groups.with_options(
    parameters.model,
    parameters.placement,
    parameters.inputs,
    parameters.window,
    parameters.client,
    parameters.validity,
    parameters.ending,
    target,
    ports,
    writing,
    live,
    parameters.planning,
)
def sweep(
    settings: groups.Settings,
    context: typer.Context,
    batch_sizes: Annotated[
        str | None,
        typer.Option(
            "--batch-sizes",
            "--batch_sizes",
            "--batch-size",
            "-b",
            metavar="SIZES",
            help="Largest batches, or rows of requests, to combine.  [default: 2, with --target 1]",
        ),
    ] = None,
    replicas: Annotated[
        str | None,
        typer.Option(
            "--replicas",
            "--num_replicas",
            "-r",
            metavar="COUNTS",
            help="Replicas to combine.  [default: one per GPU named, else 1]",
        ),
    ] = None,
    cpus_per_replica: Annotated[
        str | None,
        typer.Option(
            "--cpus-per-replica",
            "--cpus_per_replica_nums",
            "-p",
            metavar="COUNTS",
            help="Cores of each replica to combine.  [default: the model's]",
        ),
    ] = None,
    in_flight: Annotated[
        str | None,
        typer.Option("--in-flight", metavar="COUNTS", help="Requests in flight to combine.  [default: as in saturate]"),
    ] = None,
    rates: Annotated[
        str | None, typer.Option(metavar="RATES", help="Rates to combine, 100,200; see `loadgen rate`.")
    ] = None,
    arrivals: Annotated[
        str, typer.Option(metavar="SCHEDULE", help="Arrivals of the rates: constant, poisson, or gamma:cv=2.")
    ] = "constant",
    duration: Annotated[
        str,
        typer.Option("--duration", "--duration_seconds", "-d", metavar="TIME", help="Measured part of each cell."),
    ] = "120s",
    warmup: Annotated[
        str,
        typer.Option(
            metavar="TIME", help="Time before the measured part of each cell.", rich_help_panel=help_format.LOAD
        ),
    ] = "500ms",
    repeat: Annotated[int, typer.Option(metavar="N", help="Measurements per cell; the order is randomised.")] = 1,
    anchor_every: Annotated[
        int | None,
        typer.Option(
            metavar="N",
            help="Measure the first cell again after N cells.  [default: at the end]",
            rich_help_panel=help_format.LOAD,
        ),
    ] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Continue the newest sweep with the same options.")] = False,
    skip_impossible: Annotated[
        bool,
        typer.Option("--skip-impossible", help="Skip combinations that cannot be placed."),
    ] = False,
    runtime: parameters.Runtime = "process",
) -> None:
    """Measure every combination of replicas, cores per replica, batch sizes, requests in flight and rates."""
    dry_run, wanted = settings.pop("dry_run"), settings["outputs"]
    with console.one_line_errors():
        if rates is None and groups.was_given(context, "arrivals"):
            raise ConfigError(f"--arrivals {arrivals}: needs --rates; leave it out, or add --rates 100,200")

        load = Saturate(
            duration_s=console.parsed("--duration", parse_duration, duration),
            max_in_flight=settings["max_in_flight"],
            warmup_s=console.parsed("--warmup", parse_duration_or_zero, warmup),
        )
        config = SweepConfig(
            base=groups.configured(settings | {"runtime": runtime}, load),
            replicas=console.optional("--replicas", parse_int_list, replicas) or (),
            cpus_per_replica=console.optional("--cpus-per-replica", parse_int_list, cpus_per_replica) or (),
            batch_sizes=console.optional("--batch-sizes", parse_int_list, batch_sizes) or (),
            in_flight=console.optional("--in-flight", parse_int_list, in_flight) or (),
            rates_rps=console.optional("--rates", parse_rates, rates) or (),
            cv=parameters.arrivals_cv(arrivals),
            repeat=repeat,
            anchor_every=anchor_every,
        )
    if dry_run:
        _show_plan(config, skip_impossible)
    else:
        _run(config, resume, skip_impossible, wanted)


def _show_plan(config: SweepConfig, skip_impossible: bool) -> None:
    plan, _ = console.run(prepare_sweep(config, skip_impossible=skip_impossible))
    typer.echo(sweep_plan_text(plan, console.columns()))
    measuring.show_ports(config.base)
    _show_skipped(plan, Outputs())


def _show_skipped(plan: SweepPlan, wanted: Outputs) -> None:
    if plan.refusal is not None:
        wanted.say(console.worded(plan.refusal))


def _run(config: SweepConfig, resume: bool, skip_impossible: bool, wanted: Outputs) -> None:
    wanted.set_up_logging()

    async def act() -> Sweep:
        plan = await prepare_sweep(config, skip_impossible=skip_impossible)
        _show_skipped(plan, wanted)
        return await run_sweep(plan, resume=resume)

    done, _ = console.run(act(), console.NOTHING_MEASURED)
    with console.kept("the sweep is in", done.directory):
        _show(done, config, wanted)
        allow_invalid = config.base.allow_invalid
        wanted.keep(outputs.of_runs(lambda: collect([done.directory]), "loadgen sweep", allow_invalid))
    raise typer.Exit(exit_codes.of_sweep(done, config.base))


def _show(done: Sweep, config: SweepConfig, wanted: Outputs) -> None:
    """Print what was measured, and what is wrong with it."""
    wanted.say(sweep_text(done, console.columns()))
    failed = [entry for entry in done.entries if entry.error is not None]
    if failed:
        console.fail(
            f"{len(failed)} of {plural(len(done.entries), 'measurement')} did not end as asked; the ledger says why"
        )
    for entry in done.entries:
        if entry.invalid is not None:
            undecided = "".join(f"; --fail-if {condition} is undecided" for condition in config.base.fail_if)
            anchor = ", anchor" * (entry.kind == "anchor")
            console.fail(f"{entry.cell}{anchor}: the run is invalid: {entry.invalid}{undecided}")
        for text in entry.crossed:
            console.fail(f"{entry.cell}: --fail-if {text}")
        for text in entry.undecided:
            console.fail(f"{entry.cell}: --fail-if is undecided: {text}")
        if entry.rows_not_saved is not None:
            console.fail(f"{entry.cell}: {entry.rows_not_saved}")
    if (command := size_command(done, config)) is not None:
        wanted.say(f"The cheapest size for a rate: {command}")
    wanted.say(f"Saved the sweep to {done.directory}")


def size_command(done: Sweep, config: SweepConfig) -> str | None:
    """The command that answers what a sweep over rates left open; None where it left nothing open.

    Args:
        done: the sweep.
        config: of it.
    """
    entries = [entry for entry in done.entries if entry.rate_rps]
    left_open = [entry for entry in entries if entry.invalid or entry.undecided or entry.error]
    if not left_open or not isinstance(config.base.serve, Deploy):
        return None
    objective = ",".join(str(condition.opposite) for condition in config.base.fail_if) or "p99<100ms"
    rate = exact(left_open[0].rate_rps)
    return shlex.join(["loadgen", "size", "-m", config.base.serve.model, "--rate", rate, "--slo", objective])
