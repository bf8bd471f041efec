"""``loadgen saturate``: as much load as the deployment takes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from loadgen.cli import console, exit_codes, parameters
from loadgen.errors import ConfigError
from loadgen.options import parse_duration

if TYPE_CHECKING:
    from loadgen.config import ExperimentConfig


@parameters.takes(
    parameters.model,
    parameters.size,
    parameters.placement,
    parameters.inputs,
    parameters.window,
    parameters.client,
    parameters.connection,
    parameters.ports,
    parameters.planning,
)
def saturate(
    settings: parameters.Settings,
    context: typer.Context,
    duration: Annotated[
        str, typer.Option("--duration", "-d", metavar="TIME", help="Length of the measured part: 120, 120s or 2m.")
    ] = "120s",
    warmup: Annotated[
        str | None,
        typer.Option(metavar="TIME", help="Time before the measured part.  [default: 1s; 0 with --requests]"),
    ] = None,
    requests: Annotated[int | None, typer.Option(help="Send so many requests instead of stopping by time.")] = None,
    runtime: Annotated[str, typer.Option(help="Run as processes, or as containers: process, docker.")] = "process",
) -> None:
    """Load a deployment as much as it takes, and say what limits it."""
    dry_run = settings.pop("dry_run")
    with console.one_line_errors():
        if requests is not None and parameters.was_given(context, "duration"):
            raise ConfigError("--requests stops by count and --duration by time: leave one of them out")
        from loadgen.config import ExperimentConfig  # noqa: PLC0415 - `--help` does without

        config = ExperimentConfig(
            **settings,
            duration_s=console.parsed("--duration", parse_duration, duration),
            warmup_s=0.0 if warmup == "0" else console.optional("--warmup", parse_duration, warmup),
            requests=requests,
            runtime=runtime,
        )
    if dry_run:
        _show_plan(config)
    else:
        _run(config)


def _show_plan(config: ExperimentConfig) -> None:
    from loadgen.config import prepare  # noqa: PLC0415
    from loadgen.report import placement_text, plan_text  # noqa: PLC0415

    plan, _ = console.run(lambda _: prepare(config))
    typer.echo(plan_text(plan))
    typer.echo(placement_text(plan.placement))


def _run(config: ExperimentConfig) -> None:
    from loadgen.experiment import run_experiment  # noqa: PLC0415
    from loadgen.report import results_text  # noqa: PLC0415

    console.set_up_logging()
    results, received = console.run(lambda stop: run_experiment(config, stop))
    typer.echo(results_text(results))
    if results.error is not None:
        console.fail(results.error)
    typer.echo(f"Saved results to {results.path}")
    wrong = results.answers["mismatched"] if results.answers else 0
    raise typer.Exit(
        exit_codes.of_signal(received)
        if received
        else exit_codes.of_ending(results.ended, wrong, results.summary.completed)
    )
