"""Formats cells as a table for a terminal and as Markdown, and runs as CSV and JSON."""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from frontend_launch.quantities import number, plural
from loadgen.judging.verdict import carried
from loadgen.load.summary import FEW, Summary
from loadgen.report.curves import flat
from loadgen.results.cells import Cell, Configuration, Run, Spread, apart, transports
from loadgen.results.document import strict
from model_containers.printable import printable_line

if TYPE_CHECKING:
    from rich.console import JustifyMethod, RenderableType
    from rich.table import Table

    from loadgen.report.answers import Answer
    from loadgen.report.reading import Collection

_FORMULA = re.compile(r"(^|[;\t])(?=[ \t]*[=+\-@＝＋－＠]|\t|\\r|\\n)")
"""Where a formula begins, in the forms that spreadsheets read as well: at the start of a cell, and after a mark that
ends cells where a comma is part of numbers. Ends of lines are escapes by then."""

PERCENTILES = ("p50", "p95", "p99", "p99.9")


@dataclass(frozen=True, slots=True)
class Column:
    """A column of the table for a terminal.

    Attributes:
        heading: above it.
        text: of a cell.
        number: right-justified, never broken.
        wanted: whether a collection needs it.
        leave: on a narrow terminal, the column with the highest number is left out first; 0 stays.
    """

    heading: str
    text: Callable[[Cell], str]
    number: bool = True
    wanted: Callable[[Collection], bool] = lambda _: True
    leave: int = 0


def _open_loop(collection: Collection) -> bool:
    return any(cell.load.arrivals is not None for cell in collection.own_cells)


def _repeated(collection: Collection) -> bool:
    return any(len(cell.counted) > 1 for cell in collection.own_cells)


COLUMNS = (
    Column("cores", lambda cell: _count(cell.configuration.cores), leave=2),
    Column("gpus", lambda cell: _count(cell.configuration.gpus), leave=8),
    Column("batch", lambda cell: _count(cell.configuration.batch_size), leave=7),
    Column("offered/s", lambda cell: number(_median(cell.offered_rps)), wanted=_open_loop, leave=1),
    Column("requests/s", lambda cell: number(cell.throughput_rps.median)),
    Column("±", lambda cell: half_width(cell.throughput_rps), wanted=_repeated, leave=5),
    Column("p50 ms", lambda cell: latency_text(cell, "p50"), leave=3),
    Column("p99 ms", lambda cell: latency_text(cell, "p99")),
    Column("p99 ±", lambda cell: half_width(cell.latency_ms("p99")), wanted=_repeated, leave=6),
    Column("busy", lambda cell: "-" if cell.busy_share is None else f"{cell.busy_share.median:.0%}", leave=4),
    Column("saturated", lambda cell: _state(cell) or cell.verdicts("saturated"), number=False),
    Column("limit", lambda cell: "-" if _reason(cell) else cell.verdicts("limit"), number=False),
)
"""What stands beside the name of a cell; the name has cores, GPUs and batch too."""

QUEUED = ("yes", "near")
"""Verdicts of runs whose latency is the queue's."""

LATENCY_OF = {
    "queue": "a saturated run: this latency is its queue's, not what users wait at a lower rate",
    "window": "a closed loop: this latency is that of its requests in flight, not of a rate",
    "rate": "",
}
"""What a latency is of, where it is not that of users at a rate."""

MARKS = {kind: (kind[0], f"{kind[0]} {text}") if text else ("", "") for kind, text in LATENCY_OF.items()}
"""By what a latency is of: its mark, and what that means."""


def latency_kind(runs: Sequence[Run]) -> str:
    """What the latencies of some runs of one load are of: ``queue``, ``window`` or ``rate``, as `MARKS` has them."""
    if runs[0].load.arrivals is None:
        return "queue" if any(run.results.verdict.saturated in QUEUED for run in runs) else "window"
    return "rate" if all(map(_carried, runs)) else "queue"


def _carried(run: Run) -> bool:
    """Whether the rate of an open loop was answered, so that no queue grew."""
    summary = run.results.summary
    return carried(summary.throughput_rps, summary.offered_rps or 0.0, summary.measured.duration_s)


def terminal_table(collection: Collection, width: int | None = None) -> RenderableType:
    """A line per cell: medians of its runs, and how far these are apart where there are several.

    What takes a sentence stands below, where it makes no column wide.

    Args:
        collection: what was measured.
        width: of the terminal; columns that do not fit are left out, and named below. None for any.
    """
    from rich.console import Console, Group  # noqa: PLC0415 - the one table that needs it
    from rich.text import Text  # noqa: PLC0415 - likewise

    columns = _columns(collection)
    table, hidden = _table(collection, columns), []
    wide = Console(width=10_000)
    while width is not None and wide.measure(table).maximum > width:
        column = max(columns, key=lambda column: column.leave)
        if not column.leave:
            break
        columns.remove(column)
        hidden.append(column)
        table = _table(collection, columns)
    lines = _below(collection)
    if hidden:
        names = ", ".join(column.heading for column in COLUMNS if column in hidden)
        lines.append(f"not shown in {width} columns: {names}; --csv - has them")
    return Group(table, *(Text(printable_line(line)) for line in lines))


def _columns(collection: Collection) -> list[Column]:
    return [column for column in COLUMNS if column.wanted(collection)]


def _below(collection: Collection) -> list[str]:
    """What takes a sentence."""
    cells = collection.own_cells
    lines = _reasons(collection)
    lines += remarks(cells)
    lines += [left_out_text(cell) for cell in cells if cell.left_out]
    lines += flat(cells)
    if any(cell.uncertain(metric) for cell in cells for metric in ("p50", "p99")):
        lines.append("~ too few independent answers for an interval")
    shown = [cell for cell in cells if any(latency_text(cell, metric) != "-" for metric in ("p50", "p99"))]
    lines += dict.fromkeys(text for cell in shown if (text := MARKS[latency_kind(cell.counted)][1]))
    return lines


def markdown_text(collection: Collection) -> str:
    """The table for a terminal and the sentences below it, as Markdown."""
    columns = _columns(collection)
    rows = [["cell", *(column.heading for column in columns)]]
    rows += [[cell.name, *(column.text(cell) for column in columns)] for cell in collection.own_cells]
    rows += [[missing.cell, *[""] * (len(columns) - 2), "not measured", "-"] for missing in collection.missing]
    lines = [f"* {printable_line(line)}" for line in _below(collection)]
    return "\n".join([markdown_table(rows), *([""] if lines else []), *lines]) + "\n"


def markdown_table(rows: Sequence[Sequence[str]]) -> str:
    """A table of Markdown, whose first row is its head; empty without rows."""
    lines = ["| " + " | ".join(printable_line(cell).replace("|", "\\|") for cell in row) + " |" for row in rows]
    return "\n".join([lines[0], "|" + "---|" * len(rows[0]), *lines[1:]]) if lines else ""


def _table(collection: Collection, columns: Sequence[Column]) -> Table:
    from rich import box  # noqa: PLC0415 - the one table that needs it
    from rich.table import Table  # noqa: PLC0415 - likewise

    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, show_edge=False)
    table.add_column("cell", overflow="fold")
    rows = [[printable_line(column.text(cell)) for column in columns] for cell in collection.own_cells]
    for place, column in enumerate(columns):
        widest = max((len(row[place]) for row in rows), default=0)
        justify: JustifyMethod = "right" if column.number else "left"
        # A word may be broken no further, so that only names are folded.
        least = max(map(len, " ".join([column.heading, *(row[place] for row in rows)]).split()))
        least = widest if column.number else least
        table.add_column(column.heading, justify=justify, no_wrap=column.number, min_width=least)
    for cell, row in zip(collection.own_cells, rows, strict=True):
        table.add_row(printable_line(cell.name), *row)
    for missing in collection.missing:
        empty = [""] * (len(columns) - 2)
        table.add_row(printable_line(missing.cell), *empty, "not measured", "-", style="red")
    return table


def latency_text(cell: Cell, metric: str) -> str:
    """A median latency as a table shows it, marked where it is uncertain.

    Args:
        cell: whose.
        metric: such as ``p99``.
    """
    median = _median(cell.latency_ms(metric))
    mark = MARKS[latency_kind(cell.counted)][0]
    return "-" if median is None else f"{'~' if cell.uncertain(metric) else ''}{number(median)}{mark}"


def remarks(cells: Sequence[Cell]) -> list[str]:
    """Sentences on cells: how anchors compare, which are one configuration, what transports differ, few requests."""
    lines = [f"{cell.name} measured again: {cell.drift.text}" for cell in cells if cell.drift is not None]
    lines += apart(cells)
    lines += transports(cells)
    for metric in ("p50", "p99"):
        if names := [cell.name for cell in cells if cell.few(metric)]:
            lines.append(f"{', '.join(names)}: too few requests for a {metric}; fewer than {FEW} are slower")
    if names := [cell.name for cell in cells if any("p99" not in run.results.summary.latency_ms for run in cell.runs)]:
        lines.append(f"{', '.join(names)}: of 2017, with a p99 of every 50 answers and no percentiles of all")
    return lines


def _reasons(collection: Collection) -> list[str]:
    """Why cells failed, are invalid or were not measured: a line for each reason, with its cells."""
    names: dict[str, dict[str, None]] = {}
    for cell in collection.own_cells:
        if reason := _reason(cell):
            names.setdefault(f"{_state(cell)}: {reason}", {})[cell.name] = None
    for missing in collection.missing:
        names.setdefault(f"not measured: {missing.reason}", {})[missing.cell] = None
    return [f"{', '.join(cells)}: {reason}" for reason, cells in names.items()]


def left_out_text(cell: Cell) -> str:
    """How many invalid runs of a cell its figures do not rest on, and why they are invalid."""
    runs = (*cell.runs, *cell.anchors)
    reasons = dict.fromkeys(run.invalid for run in cell.left_out if run.invalid is not None)
    return f"{cell.name}: {len(cell.left_out)} of {plural(len(runs), 'run')} invalid and left out: {'; '.join(reasons)}"


def _failure(cell: Cell) -> str | None:
    return next((run.results.error for run in cell.counted if run.results.error is not None), None)


def _reason(cell: Cell) -> str | None:
    """Why the figures of a cell are not those of a valid run that ended as asked; None where they are."""
    return _failure(cell) or cell.invalid


def _state(cell: Cell) -> str | None:
    return "failed" if _failure(cell) is not None else None if cell.invalid is None else "invalid"


def csv_text(collection: Collection) -> str:
    """A line per run, after a line of names; empty where a file does not tell. Names end in their units."""
    rows = [run_row(cell, run) for cell in collection.cells for run in (*cell.runs, *cell.anchors)]
    text = io.StringIO()
    if rows:
        writer = csv.DictWriter(text, rows[0], lineterminator="\n")
        writer.writeheader()
        writer.writerows({name: _cell(value) for name, value in row.items()} for row in rows)
    return text.getvalue()


def _cell(value: object) -> object:
    """A value for a spreadsheet, which runs text that begins so as a formula unless an apostrophe is before it."""
    if not isinstance(value, str):
        return value
    return _FORMULA.sub(r"\1'", printable_line(value))


def json_text(collection: Collection, answers: Sequence[Answer] = ()) -> str:
    """What to deploy, cells with their spreads and their runs, and what was not measured.

    Args:
        collection: what was measured.
        answers: what to deploy.
    """
    cells = [
        {
            "cell": cell.name,
            **asdict(cell.configuration),
            **asdict(cell.load),
            "offered_rps": _dict(cell.offered_rps),
            "throughput_rps": asdict(cell.throughput_rps),
            **{f"{metric}_ms": _dict(cell.latency_ms(metric)) for metric in ("mean", *PERCENTILES)},
            "busy_share": _dict(cell.busy_share),
            "mean_batch": _dict(cell.mean_batch),
            "uncertain": [metric for metric in ("mean", *PERCENTILES) if cell.uncertain(metric)],
            "drift": None if cell.drift is None else asdict(cell.drift),
            "invalid": cell.invalid,
            "latency_of": latency_kind(cell.counted),
            "runs": [run_row(cell, run) for run in (*cell.runs, *cell.anchors)],
        }
        for cell in collection.cells
    ]
    missing = [asdict(row) for row in collection.missing]
    said = {"unreadable": collection.unreadable, "left_out": collection.left_out}
    document = strict({"answers": [asdict(answer) for answer in answers], "cells": cells, "missing": missing, **said})
    return json.dumps(document, indent=2, allow_nan=False) + "\n"


def run_row(cell: Cell, run: Run) -> dict[str, Any]:
    """One run, flat.

    Args:
        cell: that the run belongs to.
        run: one of its runs or anchors.
    """
    results, summary = run.results, run.results.summary
    evidence, ceiling, window_s = results.verdict.evidence, results.client_ceiling, summary.measured.steady_window_s
    return {
        "cell": cell.name,
        "repeat": run.repeat,
        "anchor": run.anchor,
        **{name: getattr(run.configuration, name) for name in Configuration.__dataclass_fields__},
        "arrivals": run.load.arrivals,
        "offered_rps": summary.offered_rps,
        "window": run.load.window,
        "started_at": results.started_at,
        "duration_s": summary.measured.duration_s,
        "steady_from_s": None if window_s is None else window_s[0],
        "throughput_rps": summary.throughput_rps,
        **{f"{metric}_ms": summary.latency_ms.get(metric) for metric in ("mean", "min", *PERCENTILES, "max")},
        **_ends(summary),
        **{
            name: getattr(summary, name)
            for name in ("sent", "completed", "defaulted", "timed_out", "failed", "abandoned", "resent")
        },
        "busy_share": evidence.busy_share,
        "mean_batch": evidence.mean_batch,
        "client_ceiling_rps": None if ceiling is None else ceiling.ceiling_rps,
        "client_ceiling_used": None if ceiling is None else ceiling.used_share,
        **{
            f"client_floor_{name}_ms": None if ceiling is None else ceiling.floor_ms.get(name)
            for name in ("p50", "p99")
        },
        "saturated": results.verdict.saturated,
        "limit": results.verdict.limit,
        "invalid": run.invalid,
        "ended": results.ended,
        "error": results.error,
        "tags": tags_text(results.tags),
        "file": str(run.path),
    }


def tags_text(tags: Mapping[str, str]) -> str:
    """Tags in one line."""
    return ", ".join(f"{name}={value}" for name, value in tags.items())


def steady_text(window_s: tuple[float, float] | None) -> str:
    """That a measured part is limited to the time in which the run was steady; nothing where it is not."""
    return "" if window_s is None else f", steady from {window_s[0]:.1f} to {window_s[1]:.1f} s after the warm-up"


def whole_text(window_s: tuple[float, float] | None) -> str:
    """That figures are not limited to the time in which the run was steady; nothing where there is no such time."""
    return "" if window_s is None else f", of all {window_s[1]:.1f} s after the warm-up"


def _ends(summary: Summary) -> dict[str, float | None]:
    """Between which values latencies are known to be; None where that is not known."""
    ends: dict[str, float | None] = {}
    for metric in ("mean", *PERCENTILES):
        known = (summary.intervals_ms or {}).get(metric) or (summary.bounds_ms or {}).get(metric) or (None, None)
        above_ms = (summary.latency_above_ms or {}).get(metric)
        low, high = known if above_ms is None else (above_ms, None)
        ends |= {f"{metric}_low_ms": low, f"{metric}_high_ms": high}
    return ends


def _dict(spread: Spread | None) -> dict[str, float] | None:
    return None if spread is None else asdict(spread)


def _median(spread: Spread | None) -> float | None:
    return None if spread is None else spread.median


def _count(value: int | None) -> str:
    return "-" if value is None else str(value)


def half_width(spread: Spread | None) -> str:
    """Half of what lies between the least and the most, as a share of the median; a dash where both are one."""
    if spread is None or spread.low == spread.high:
        return "-"
    return f"{(spread.high - spread.low) / 2 / spread.median:.1%}" if spread.median else "-"
