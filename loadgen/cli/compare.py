"""``loadgen compare``: two results described, or two configurations measured in turns and judged."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer
from typer.core import TyperCommand

from frontend_launch.quantities import plural, times
from loadgen.cli import console, exit_codes, groups, option_sources, outputs, parameters, rate, saturate, usage
from loadgen.cli.outputs import Outputs, by_ending, of
from loadgen.cli.verbs import command
from loadgen.config import ExperimentConfig
from loadgen.errors import ConfigError
from loadgen.experiments.compare import LEDGER as RUNS
from loadgen.experiments.compare import CompareConfig, Compared, prepare_comparison, run_comparison
from loadgen.parsing import parse_int_list, parse_share
from loadgen.report import comparison
from loadgen.report.reading import collect
from loadgen.results.cells import Run, run_of
from loadgen.results.document import Results
from loadgen.results.files import read, try_directory

_VERBS = {"saturate": saturate.described, "rate": rate.described}

_MEASURING = (
    *("rounds", "margin", "metrics", "baseline", "allow_unpaired", "results_dir", "junit", "dry_run"),
    "no_live",
)
"""Parameters that mean nothing of two results."""

_OWN = ("dry-run", "topology", "results-dir", "requests-log", "fail-if", "abort-on-fail", "json", "output", "quiet")
"""Options that mean nothing of one side."""


def compare(
    context: typer.Context,
    paths: Annotated[
        list[Path] | None, typer.Argument(metavar="[A.json B.json]", help="Two results to describe.")
    ] = None,
    runs: Annotated[
        list[Path] | None,
        typer.Option(
            "--run",
            metavar="FILE",
            help="A TOML file with options of saturate, or of rate. Give it twice: for A, then for B.",
        ),
    ] = None,
    rounds: Annotated[
        str, typer.Option(metavar="auto|N", help="Rounds to measure; auto is the fewest that can show anything.")
    ] = "auto",
    margin: Annotated[str, typer.Option(metavar="SHARE", help="How much worse B may be, as a share.")] = "5%",
    metrics: Annotated[
        str | None,
        typer.Option(
            metavar="NAMES",
            help="throughput, mean, p50, … to judge.  [default: throughput, of a rate with p50, p95 and p99]",
        ),
    ] = None,
    baseline: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE|DIR", help="Earlier results in place of A. B is measured and described beside them."
        ),
    ] = None,
    allow_unpaired: Annotated[
        bool, typer.Option("--allow-unpaired", help="Judge B against the spread of the baseline's runs.")
    ] = False,
    results_dir: Annotated[str, typer.Option(metavar="DIR", help="Directory for the results.")] = "results",
    junit: Annotated[Path | None, typer.Option(metavar="FILE", help="Write the verdicts as JUnit's XML.")] = None,
    markdown: Annotated[str | None, typer.Option(metavar="FILE|-", help="Write the tables as Markdown.")] = None,
    json: Annotated[str | None, typer.Option(metavar="FILE|-", help="Write the answer as JSON.")] = None,
    output: outputs.ByEnding = None,
    quiet: outputs.Quiet = False,
    no_live: Annotated[bool, typer.Option("--no-live", help="On a terminal: show no live view.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Print the plan, start nothing.")] = False,
) -> None:
    """Compare two results, or measure two configurations in turns and say whether one is worse."""
    with console.one_line_errors(typed={"CompareConfig.margin": margin, "CompareConfig.rounds": rounds}):
        if not runs:
            for name in _MEASURING:
                if groups.was_given(context, name):
                    given = groups.as_given(context, name)
                    raise ConfigError(f"{given}: needs --run; name the configurations to measure, or leave it out")
            named = (*of("--markdown", markdown, "md"), *of("--json", json, "json"), *by_ending(output or ()))
            _describe(paths or [], Outputs(named, quiet))
            return
        if paths:
            raise ConfigError(f"{paths[0]}: measured already, and --run measures; leave one of them out")
        sides_wanted = 1 if baseline is not None else 2
        if len(runs) != sides_wanted:
            needed = "once" if baseline is not None else "twice, for A and for B, or once with --baseline"
            raise ConfigError(f"--run {runs[-1]}: given {times(len(runs))}; give it {needed}")
        if allow_unpaired and baseline is None:
            raise ConfigError("--allow-unpaired: needs --baseline; leave it out")
        named = (*of("--junit", junit, "xml"), *of("--markdown", markdown, "md"), *of("--json", json, "json"))
        wanted = Outputs((*named, *by_ending(output or ())), quiet)
        sides = [_configuration(path) for path in runs]
        if no_live or wanted.silent:
            sides = [replace(side, live=replace(side.live, terminal=False)) for side in sides]
        config = CompareConfig(
            b=sides[-1],
            a=None if baseline is not None else sides[0],
            baseline=() if baseline is None else _baseline(baseline),
            margin=console.parsed("--margin", parse_share, margin),
            rounds=None if rounds == "auto" else console.parsed("--rounds", _count, rounds),
            metrics=() if metrics is None else tuple(name.strip() for name in metrics.split(",")),
            allow_unpaired=allow_unpaired,
            results_dir=parameters.directory(results_dir),
        )
        if not config.gates:
            _refuse_verdicts(wanted)
        if dry_run:
            wanted.refuse_in_dry_run()
            try_directory(config.results_dir)
    if dry_run:
        plan, _ = console.run(prepare_comparison(config))
        typer.echo(comparison.compare_plan_text(plan))
        return
    _measure(config, wanted)


def _refuse_verdicts(wanted: Outputs) -> None:
    for file in wanted.files:
        if file.format == "xml":
            raise ConfigError(f"{file.option} {file.path}: a description has no verdicts; leave it out")


def _count(text: str) -> int:
    numbers = parse_int_list(text)
    if len(numbers) != 1:
        raise ConfigError(f"{text!r}: several numbers; give one, or auto")
    return numbers[0]


def _configuration(path: Path) -> ExperimentConfig:
    """The experiment that a file describes with the options of ``saturate``, or of ``rate`` where it has a rate."""
    source = f"--run {path}"
    table = option_sources.read("--run", path)
    for key in table:
        if key.replace("_", "-") in _OWN:
            raise ConfigError(f"{source}: the key {key!r} means nothing for one side; leave it out")
    name = "rate" if table.keys() & {"rate", "arrivals"} else "saturate"
    verb = command(name, _VERBS[name], TyperCommand)  # neither --config nor the environment is of one side
    defaults = option_sources.defaults(source, table, verb)
    with console.about(source):
        try:
            with verb.make_context(name, [], default_map=defaults) as context:
                config = verb.invoke(context)
        except typer.TyperException as error:
            raise ConfigError(f"{source}: {usage.refusal(error, [name])}") from None
    assert isinstance(config, ExperimentConfig)
    return config


def _baseline(path: Path) -> tuple[Results, ...]:
    """The valid runs of a file or a directory, which are of one configuration."""
    collection = collect([path])
    runs = [run for cell in collection.cells for run in cell.runs]
    if collection.unreadable:
        raise ConfigError("; ".join(collection.unreadable))
    if len({(run.configuration, run.load) for run in runs}) > 1:
        raise ConfigError(f"--baseline {path}: holds runs of several configurations; name a file of one")
    if len(transports := {run.transport for run in runs if run.transport is not None}) > 1:
        found = "; ".join(sorted(transports))
        raise ConfigError(f"--baseline {path}: holds runs of several transports ({found}); name a file of one")
    valid = [run for run in runs if run.invalid is None and run.results.error is None]
    if not valid:
        raise ConfigError(f"--baseline {path}: holds no valid run that ended as asked; name another")
    return tuple(replace(run.results, path=run.path) for run in valid)


def _describe(paths: list[Path], wanted: Outputs) -> None:
    if len(paths) != 2:
        given = (
            f"{' '.join(map(str, paths))}: {plural(len(paths), 'results file')}" if paths else "A.json B.json: missing"
        )
        raise ConfigError(f"{given}; name two, or measure with --run twice")
    _refuse_verdicts(wanted)
    a, b = (_run(path) for path in paths)
    found = comparison.described(a, b)
    wanted.write({**outputs.of_runs(lambda: collect(paths), "loadgen compare"), "md": lambda: found.markdown})
    wanted.say(f"A           {a.path}\nB           {b.path}\n\n{found.text(console.columns())}\n{found.summary}")


def _run(path: Path) -> Run:
    if path.is_dir():
        raise ConfigError(f"{path}: a directory; name a results file")
    return run_of(read(path), path)


def _measure(config: CompareConfig, wanted: Outputs) -> None:
    wanted.set_up_logging()

    async def act() -> Compared:
        plan = await prepare_comparison(config)
        wanted.say(comparison.compare_plan_text(plan))
        return await run_comparison(plan)

    compared, received = console.run(act(), console.NOTHING_MEASURED)
    with console.kept("the comparison is in", compared.directory):
        markdown = _show_baseline(compared, wanted) if compared.comparison is None else _show(compared, wanted)
        if compared.elsewhere:
            console.fail(f"results could not be saved to {compared.directory}: {RUNS} in it says where they are")
        wanted.say(f"Saved the comparison to {compared.directory}")
        measured = [results.path for pair in compared.rounds for results in pair if results.path is not None]
        wanted.keep(
            {
                **outputs.of_runs(lambda: collect(measured), "loadgen compare"),
                "json": lambda: comparison.compared_json(compared),
                "md": lambda: markdown,
                "xml": lambda: comparison.junit(compared),
            }
        )
    raise typer.Exit(exit_codes.of_signal(received) if received else exit_codes.of_compared(compared))


def _show(compared: Compared, wanted: Outputs) -> str:
    """Print the verdicts; returns them as Markdown."""
    wanted.say(comparison.compared_text(compared, console.columns()))
    return comparison.compared_markdown(compared)


def _show_baseline(compared: Compared, wanted: Outputs) -> str:
    """Describe what was measured beside its baseline, and warn; returns the description as Markdown."""
    for line in compared.left_out:
        wanted.say(f"left out    {line}")
    for a, b in compared.rounds[:1]:
        sides = (run_of(results, results.saved_at) for results in (a, b))
        found = comparison.described(*sides, baseline=compared.plan.config.baseline)
        wanted.say(f"{found.text(console.columns())}\n{found.summary}")
        console.fail("a baseline of another time decides nothing; measure both sides with --run, or --allow-unpaired")
        return found.markdown
    return ""
