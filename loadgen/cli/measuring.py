"""What the verbs that measure one experiment share: its plan, and the run with what came out."""

from __future__ import annotations

from typing import NoReturn

import typer

from loadgen.cli import console, exit_codes
from loadgen.config import ExperimentConfig
from loadgen.experiments.experiment import run_experiment
from loadgen.plan import prepare
from loadgen.report.text import placement_text, plan_text, results_text


def show_plan(config: ExperimentConfig) -> None:
    """Print what an experiment would run, and where."""
    plan, _ = console.run(lambda _: prepare(config))
    typer.echo(plan_text(plan))
    typer.echo(placement_text(plan.placement))


def measure(config: ExperimentConfig) -> NoReturn:
    """Run an experiment, say what came out, and exit with its code."""
    console.set_up_logging()
    results, received = console.run(lambda stop: run_experiment(config, stop))
    typer.echo(results_text(results))
    if results.error is not None:
        console.fail(results.error)
    for threshold in results.thresholds or ():
        if threshold["crossed"]:
            console.fail(f"--fail-if {threshold['condition']}: {threshold['found']}")
    typer.echo(f"Saved results to {results.path}")
    raise typer.Exit(exit_codes.of_signal(received) if received else exit_codes.of_results(results))
