"""``loadgen best``: the cheapest measured configuration that carries a rate."""

from __future__ import annotations

import math
import shlex
from collections import Counter
from collections.abc import Iterable, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Annotated

import typer

from frontend_launch.quantities import number, plural
from loadgen.cli import console, exit_codes
from loadgen.errors import ConfigError
from loadgen.experiments.choice import Candidate, Choice, Shown, choose
from loadgen.judging.slo import parse
from loadgen.parsing import parse_rate
from loadgen.report.reading import collect
from loadgen.results.cells import Cell

MOST_NAMED = 3
"""Configurations about which nothing is known that are named."""


def best(
    paths: Annotated[
        list[Path], typer.Argument(metavar="PATH...", help="Results files, and directories with results.")
    ],
    rate: Annotated[str, typer.Option(metavar="RATE", help="Requests a second to carry: 100; or 6/m, 360/h.")],
    slo: Annotated[str, typer.Option(metavar="CONDITIONS", help="What must hold, such as p99<250ms,failed<0.1%.")],
) -> None:
    """Name the cheapest configuration that was shown to carry a rate within an objective."""
    with console.one_line_errors():
        rate_rps = console.parsed("--rate", parse_rate, rate)
        if not 0 < rate_rps < math.inf:
            raise ConfigError(f"--rate {rate} is not a rate: give requests a second, such as 100")
        objective = console.parsed("--slo", parse, slo)
        collection = collect(paths)
        choice = choose(collection.cells, rate_rps, objective)
    typer.echo(choice_text(choice, f"{number(rate_rps)} requests/s with {','.join(map(str, objective))}"))
    if choice.best is None and (command := size_command(collection.cells, rate, slo)) is not None:
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
        lines.append(f"best        {state}: {_unshown('', choice.candidates, f'shown to carry {question}')}")
    else:
        lines += [f"best        {_description(choice.best)}", *_explanation(choice.best)]
        if choice.runner_up is None:
            others = [candidate for candidate in choice.candidates if candidate is not choice.best]
            claim = "shown to carry it" + " by an open loop" * (choice.best.shown == Shown.OPEN_LOOP)
            lines.append(f"runner-up   none: {_unshown('other ', others, claim)}")
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
        lines.append(f"ruled out   {len(ruled_out)} of {plural(len(choice.candidates), 'configuration')}")
        if choice.best is None:
            lines += [f"            {candidate.name}: {candidate.text}" for candidate in ruled_out[-MOST_NAMED:]]
    return "\n".join(lines)


_MODEL_FLAGS = ("-m", "--model", "--model_name")


def size_command(cells: Iterable[Cell], rate: str, slo: str) -> str | None:
    """The command that finds out what was not measured; None where nothing that was measured can be started.

    Args:
        cells: what was measured.
        rate: as typed.
        slo: as typed.
    """
    for cell in cells:
        if cell.configuration.cpus_per_replica is None:
            continue
        words = cell.runs[0].results.command
        named = [after for flag, after in pairwise(words) if flag in _MODEL_FLAGS]
        named += [word.partition("=")[2] for word in words if word.startswith("--model=")]
        model = named[0] if named else cell.configuration.model
        return shlex.join(["loadgen", "size", "-m", model, "--rate", rate, "--slo", slo])
    return None


_MISSING = {
    Shown.OPEN_LOOP: "of unknown cores",
    Shown.WINDOW: "by a saturating run only",
    Shown.UNDECIDED: "not known well enough",
    Shown.THROUGHPUT: "without a latency at this rate",
    Shown.NOTHING: "without a run that decides",
    Shown.INVALID: "with an invalid run that would decide",
    Shown.NOT: "ruled out",
    Shown.BARRED: "barred",
}


def _unshown(other: str, candidates: Sequence[Candidate], claim: str) -> str:
    """How many configurations were measured without what was asked for, and what each of them lacks.

    Args:
        other: stands before the noun; empty for all configurations.
        candidates: them.
        claim: what was not shown of them.
    """
    if not candidates:
        return f"no {other}configuration was measured"
    lacking = Counter(
        _MISSING[Shown.OPEN_LOOP if c.shown <= Shown.WINDOW and c.cost is None else c.shown] for c in candidates
    )
    reasons = ", ".join(f"{count} {reason}" for reason, count in lacking.items())
    return f"{plural(len(candidates), f'{other}configuration')} measured, none {claim} ({reasons})"


def _description(candidate: Candidate) -> str:
    if candidate.cost is None:
        return f"{candidate.name} (its cores and GPUs are not known)"
    gpus, cores = candidate.cost
    return f"{candidate.name} ({plural(cores, 'core')}, {plural(gpus, 'GPU')})"


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
