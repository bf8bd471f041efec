"""What the verbs that measure one experiment share: its plan, and the run with what came out."""

from __future__ import annotations

import contextlib
import functools
import shutil
import sys
from collections.abc import Callable
from typing import Any, NoReturn

import typer

from frontend_launch.launch.port_choice import chosen
from loadgen.cli import console, exit_codes, outputs
from loadgen.cli.next_step import next_step
from loadgen.cli.outputs import Outputs
from loadgen.config import ExperimentConfig
from loadgen.experiments.experiment import ExperimentInterrupted, run_experiment
from loadgen.plan import Plan, plan_on, survey
from loadgen.prerequisites import connected
from loadgen.report.plan_text import clients_text, estimate_text, placement_text, plan_text
from loadgen.report.results_text import results_text
from loadgen.results.document import Results
from loadgen.served import Deploy
from loadgen.workers.clusters import planned


def one_experiment(described: Callable[..., ExperimentConfig]) -> Callable[..., None]:
    """A verb that measures what its options describe, or shows the plan of it.

    Args:
        described: makes the configuration of its options, ``--dry-run`` among them.
    """

    @functools.wraps(described)
    def verb(**given: Any) -> None:
        config = described(**given)
        if given["dry_run"]:
            show_plan(config)
        else:
            wanted = outputs.writing(given["context"], given["json"], given["output"], given["quiet"])
            measure(config, wanted["outputs"])

    return verb


def show_plan(config: ExperimentConfig, described: Callable[[Plan], str] | None = None) -> None:
    """Print what an experiment would run, and where.

    Args:
        config: of the experiment.
        described: what would run and for how long, in words; None for one run.
    """

    async def act() -> tuple[Plan, dict[str, int]]:
        in_words = isinstance(config.serve, Deploy) and config.serve.described
        async with contextlib.nullcontext() if in_words else connected(config):
            context = await survey(config)
            plan = plan_on(config, context)
            return plan, await planned(config.client, context, plan.placement.started)

    (plan, clients), _ = console.run(act())
    typer.echo(f"{plan_text(plan)}\n{estimate_text(plan)}" if described is None else described(plan))
    typer.echo(placement_text(plan.placement, console.columns()))
    if clients:
        typer.echo(clients_text(clients))
    show_ports(config)


def show_ports(config: ExperimentConfig) -> None:
    """Print which ports a deployment on this machine takes."""
    serve = config.serve
    if isinstance(serve, Deploy) and serve.topology is None and not serve.on_cluster:
        ports, note = chosen(serve.ports, serve.named_ports, serve.publish_address)
        typer.echo(f"ports       {note or ports.text}")


def measure(config: ExperimentConfig, wanted: Outputs) -> NoReturn:
    """Run an experiment, say what came out, and exit with its code.

    Args:
        config: of the experiment.
        wanted: what is written and printed.
    """
    wanted.set_up_logging()

    async def act() -> Results:
        try:
            return await run_experiment(config)
        except ExperimentInterrupted as error:
            return error.results

    results, received = console.run(act(), console.NOTHING_MEASURED)
    with console.kept("the results are in", results.path):
        _show(results, wanted)
        wanted.keep(outputs.of_results(results, "loadgen", config.allow_invalid))
    directory = config.output.results_dir
    saved = results.path is not None and results.path.parent == directory.absolute()
    if not saved:
        elsewhere = "the summary is all there is" if results.path is None else f"they are in {results.path}"
        console.fail(f"the results could not be saved to {directory}: {elsewhere}")
    if results.rows_not_saved is not None:
        console.fail(results.rows_not_saved)
    if not saved or results.rows_not_saved is not None:
        raise typer.Exit(exit_codes.NOT_SAVED)
    raise typer.Exit(
        exit_codes.of_signal(received) if received else exit_codes.of_results(results, config.allow_invalid)
    )


def _show(results: Results, wanted: Outputs) -> None:
    """Print what came out, and what is wrong with it."""
    wanted.say(results_text(results, console.columns()))
    if results.error is not None:
        console.fail(results.error)
    for threshold in results.thresholds or ():
        if threshold.crossed:
            console.fail(f"--fail-if {threshold.condition}: {threshold.found}")
        elif threshold.crossed is None and results.invalid is None:
            console.fail(f"--fail-if {threshold.condition} is undecided: {threshold.found}")
    if results.invalid is not None and results.error is None:
        console.fail(f"the run is invalid: {results.invalid.reason}; {results.invalid.remedy}")
    if (line := next_step(results, _program())) is not None:
        wanted.say(line)
    if results.path is not None:
        wanted.say(f"Saved results to {results.path}")


def _program() -> str:
    """What to type to run this program again."""
    path = sys.argv[0]
    if path.endswith("__main__.py"):
        return "python -m loadgen"
    return "loadgen" if shutil.which("loadgen") == path else path
