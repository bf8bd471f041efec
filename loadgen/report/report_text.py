"""Composes what `report` prints, also as Markdown: what to deploy, searches and comparisons, and the table of cells."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from loadgen.report.answers import Answer
from loadgen.report.capacity_text import capacity_lines, found_lines, probe_rows
from loadgen.report.columns import table
from loadgen.report.comparison import comparison_rows, outcome_text, setup_lines
from loadgen.report.found import FoundCapacity, FoundComparison
from loadgen.report.reading import Collection
from loadgen.report.tables import markdown_table, markdown_text, terminal_table
from loadgen.results.document import Results
from model_containers.printable import printable_line

if TYPE_CHECKING:
    from rich.console import RenderableType


def report_text(collection: Collection, answers: Sequence[Answer], width: int) -> RenderableType:
    """What a terminal shows of a collection.

    Args:
        collection: what was measured.
        answers: what to deploy.
        width: of the terminal, in columns.
    """
    from rich.console import Group  # noqa: PLC0415 - takes longer to import than a file to read
    from rich.text import Text  # noqa: PLC0415 - likewise

    blocks = [[line for answer in answers for line in answer.lines]]
    blocks += [_capacity(found, width) for found in collection.capacities]
    blocks += [_comparison(found, collection, width) for found in collection.comparisons]
    parts: list[RenderableType] = []
    for block in filter(None, blocks):
        parts += [*(Text(printable_line(line)) for line in block), Text("")]
    if collection.own_cells or collection.missing:
        return Group(*parts, terminal_table(collection, width))
    return Group(*parts[:-1])


def report_markdown(collection: Collection, answers: Sequence[Answer]) -> str:
    """The same as Markdown.

    Args:
        collection: what was measured.
        answers: what to deploy.
    """
    parts = [_answer(answer) for answer in answers]
    for search in collection.capacities:
        head, lines = _head(search), found_lines(search.capacity)
        parts += ["\n".join(map(_bullet, head)), markdown_table(probe_rows(search.capacity))]
        parts.append("\n".join(map(_bullet, lines)))
    for comparison in collection.comparisons:
        pairs = rounds(comparison, collection)
        parts.append(_bullet(f"comparison  {comparison.directory}"))
        parts.append(markdown_table(comparison_rows(pairs, comparison.comparison)))
        parts.append("\n".join(map(_bullet, _outcome(comparison, pairs))))
    if collection.own_cells or collection.missing:
        parts.append(markdown_text(collection).rstrip("\n"))
    return "\n\n".join(parts) + "\n"


def _answer(answer: Answer) -> str:
    """What to deploy as a list, with the command as code."""
    lines = [_bullet(line) for line in replace(answer, command=None).lines]
    command = [] if answer.command is None else [f"* find out: `{printable_line(answer.command)}`"]
    return "\n".join([*lines, *command])


def _bullet(line: str) -> str:
    """A line of a list for one that begins with a name, in a column of its own."""
    name, text = line[:_COLUMN].rstrip(), line[_COLUMN:]
    return printable_line(f"* {name}: {text}")


_COLUMN = 12
"""Where the text of a line begins, after its name."""


def _capacity(found: FoundCapacity, width: int) -> list[str]:
    return [*_head(found), *capacity_lines(found.capacity, width)]


def _head(found: FoundCapacity) -> list[str]:
    """Which search, and what was asked."""
    return [f"search      {found.directory}", f"objective   {found.objective}, for {found.model}"]


def _comparison(found: FoundComparison, collection: Collection, width: int) -> list[str]:
    pairs = rounds(found, collection)
    return [
        f"comparison  {found.directory}",
        *table(comparison_rows(pairs, found.comparison), width).splitlines(),
        *_outcome(found, pairs),
    ]


def _outcome(found: FoundComparison, pairs: Sequence[tuple[Results | None, Results]]) -> list[str]:
    """What the sides do not share, what does not count, and what was decided.

    Args:
        found: the comparison.
        pairs: the results of its rounds.
    """
    return [
        *setup_lines(pairs),
        *(f"left out    {line}" for line in found.left_out),
        *([f"unfinished  {found.unfinished}"] if found.unfinished else []),
        f"outcome     {outcome_text(found.comparison)}",
    ]


def rounds(found: FoundComparison, collection: Collection) -> list[tuple[Results | None, Results]]:
    """The results of both sides of each round of a comparison, as far as they could be read.

    Args:
        found: the comparison.
        collection: that it was read with.
    """
    runs = {run.path.resolve(): run.results for cell in collection.cells for run in (*cell.runs, *cell.anchors)}
    pairs = []
    for names in found.rounds:
        a, b = (None if name is None else runs.get((found.directory / name).resolve()) for name in names)
        if b is not None:
            pairs.append((a, b))
    return pairs
