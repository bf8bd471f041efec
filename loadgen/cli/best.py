"""``loadgen best``: the cheapest measured configuration that carries a rate."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Annotated

import typer

from loadgen.cli import console, exit_codes
from loadgen.errors import ConfigError
from loadgen.experiments.choice import Candidate, Choice, Shown, choose
from loadgen.judging.slo import parse
from loadgen.report.reading import collect

MOST_NAMED = 3
"""Configurations about which nothing is known that are named."""


def best(
    paths: Annotated[
        list[Path], typer.Argument(metavar="PATH...", help="Results files, directories of them, directories of sweeps.")
    ],
    rate: Annotated[float, typer.Option(metavar="N", help="Requests a second to carry.")],
    slo: Annotated[str, typer.Option(metavar="CONDITIONS", help="What must hold, such as p99<250ms,failed<0.1%.")],
) -> None:
    """Name the cheapest configuration that was shown to carry a rate within an objective."""
    with console.one_line_errors():
        if not 0 < rate < math.inf:
            raise ConfigError(f"--rate {rate:g} is not a rate: give requests a second, such as 100")

        objective = console.parsed("--slo", parse, slo)
        collection = collect(paths)
        choice = choose(collection.cells, rate, objective)
    typer.echo(choice_text(choice, f"{rate:g} requests/s with {','.join(map(str, objective))}"))
    for line in collection.unreadable:
        console.fail(line)
    if collection.unreadable:
        raise typer.Exit(exit_codes.CONFIG)
    if choice.best is not None:
        raise typer.Exit(exit_codes.OK)
    raise typer.Exit(exit_codes.UNDECIDED if choice.undecided else exit_codes.THRESHOLD)


def choice_text(choice: Choice, question: str) -> str:
    """The answer, in a few lines.

    Args:
        choice: the answer.
        question: what was asked, for a reader.
    """
    lines = []
    if choice.best is None:
        state = "undecided" if choice.undecided else "not measured"
        lines.append(f"best        {state}: no configuration was shown to carry {question}")
    else:
        lines += [f"best        {_description(choice.best)}", *_explanation(choice.best)]
        if choice.runner_up is None:
            lines.append("runner-up   not measured: no other configuration was shown to carry it")
        else:
            lines += [f"runner-up   {_description(choice.runner_up)}", *_explanation(choice.runner_up)]
    for candidate in choice.unknown[:MOST_NAMED]:
        lines.append(f"{'cheaper?' if choice.best else 'perhaps':<12}{_description(candidate)}: {candidate.text}")
    if len(choice.unknown) > MOST_NAMED:
        lines.append(f"            and {len(choice.unknown) - MOST_NAMED} more that may do")
    for shown, word in ((Shown.INVALID, "invalid"), (Shown.BARRED, "barred")):
        lines += [f"{word:<12}{c.name}: {c.text}" for c in choice.candidates if c.shown == shown]
    ruled_out = [candidate for candidate in choice.candidates if candidate.shown == Shown.NOT]
    if ruled_out:
        lines.append(f"ruled out   {len(ruled_out)} of {len(choice.candidates)} configurations")
        if choice.best is None:
            lines += [f"            {candidate.name}: {candidate.text}" for candidate in ruled_out[-MOST_NAMED:]]
    return "\n".join(lines)


def _description(candidate: Candidate) -> str:
    if candidate.cost is None:
        return f"{candidate.name} (its cores and GPUs are not known)"
    gpus, cores = candidate.cost
    return f"{candidate.name} ({cores} core{'s' * (cores != 1)}, {gpus} GPU{'s' * (gpus != 1)})"


def _explanation(candidate: Candidate) -> list[str]:

    p99 = "" if candidate.p99_ms is None else f"; p99 {candidate.p99_ms:.4g} ms"
    lines = [
        f"  shown by  {candidate.text}{p99}",
        f"  limit     {candidate.limit or 'not measured: no saturating run'}",
    ]
    if candidate.shown == Shown.WINDOW:
        lines.append("  but       for senders that wait for replies; arrivals that do not wait: not measured")
    if candidate.caution is not None:
        lines.append(f"  caution   {candidate.caution}")
    return lines
