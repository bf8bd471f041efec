"""``loadgen best``: the cheapest measured configuration that carries a rate."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from frontend_launch.quantities import number, plural
from loadgen.cli import console, exit_codes
from loadgen.cli.report import question
from loadgen.experiments.choice import Candidate, Choice, Shown, choose
from loadgen.report.answers import MOST_NAMED, command_for, described, unshown
from loadgen.report.reading import collect


def best(
    paths: Annotated[
        list[Path], typer.Argument(metavar="PATH...", help="Results files, and directories with results.")
    ],
    rate: Annotated[str, typer.Option(metavar="RATE", help="Requests a second to carry: 100; or 6/m, 360/h.")],
    slo: Annotated[str, typer.Option(metavar="CONDITIONS", help="Objective, such as p99<250ms,failed<0.1%.")],
) -> None:
    """Name the cheapest configuration that was shown to carry a rate within an objective."""
    with console.one_line_errors():
        asked = question(rate, slo)
        assert asked is not None
        collection = collect(paths)
        choice = choose(collection.cells, asked.rate_rps, asked.objective)
    typer.echo(choice_text(choice, asked.text))
    if choice.best is None and (command := command_for(collection, asked)) is not None:
        typer.echo(f"find out    {command}")
    for line in (*collection.left_out, *collection.unreadable):
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
        state = "undecided" if choice.undecided else "none"
        lines.append(f"best        {state}: {unshown('', choice.candidates, f'shown to carry {question}')}")
    else:
        lines += [f"best        {described(choice.best)}", *_explanation(choice.best)]
        if choice.runner_up is None:
            others = [candidate for candidate in choice.candidates if candidate is not choice.best]
            claim = "shown to carry it" + " by an open loop" * (choice.best.shown == Shown.OPEN_LOOP)
            lines.append(f"runner-up   none: {unshown('other ', others, claim)}")
        else:
            lines += [f"runner-up   {described(choice.runner_up)}", *_explanation(choice.runner_up)]
    for candidate in choice.unknown[:MOST_NAMED]:
        lines.append(f"{'cheaper?' if choice.best else 'perhaps':<12}{described(candidate)}: {candidate.text}")
    if len(choice.unknown) > MOST_NAMED:
        lines.append(f"            and {len(choice.unknown) - MOST_NAMED} more that may do")
    for shown, word in ((Shown.INVALID, "invalid"), (Shown.BARRED, "barred")):
        lines += [f"{word:<12}{c.name}: {c.text}" for c in choice.candidates if c.shown == shown]
    ruled_out = [candidate for candidate in choice.candidates if candidate.shown == Shown.NOT]
    if ruled_out:
        lines.append(f"ruled out   {len(ruled_out)} of {plural(len(choice.candidates), 'configuration')}")
        if choice.best is None:
            lines += [f"            {candidate.name}: {candidate.text}" for candidate in ruled_out[-MOST_NAMED:]]
    return "\n".join(lines)


def _explanation(candidate: Candidate) -> list[str]:

    mark = "~" if candidate.p99_uncertain else ""
    p99 = "" if candidate.p99_ms is None else f"; p99 {mark}{number(candidate.p99_ms)} ms"
    lines = [
        f"  shown by  {candidate.text}{p99}",
        f"  limit     {candidate.limit or 'not measured: no saturating run'}",
    ]
    if candidate.shown == Shown.WINDOW:
        lines.append("  but       for senders that wait for replies; arrivals that do not wait: not measured")
    if candidate.caution is not None:
        lines.append(f"  caution   {candidate.caution}")
    return lines
