"""Formats sweeps: the grid with the cores of each cell, and a line per measurement."""

from __future__ import annotations

from frontend_launch.integers import core_ranges
from frontend_launch.launch.placement import Assignment, Placement
from frontend_launch.quantities import duration, number, plural
from loadgen.experiments.grid import NOWHERE
from loadgen.experiments.ledger import Entry
from loadgen.experiments.sweep import Sweep, SweepPlan
from loadgen.report.columns import table
from loadgen.report.plan_text import sent_text
from loadgen.report.tables import MARKS, QUEUED
from loadgen.served import Deploy


def sweep_plan_text(plan: SweepPlan, width: int | None = None) -> str:
    """The grid with the cores and GPUs of each cell's replicas, and about how long it takes.

    On a cluster each node that has some is named, on a line of its own.

    Args:
        plan: of the sweep.
        width: of the terminal, as in `table`.
    """
    serve = plan.config.base.serve
    named = isinstance(serve, Deploy) and serve.on_cluster
    own = next(iter(plan.plans.values())).placement.own.role
    rows: list[tuple[str, ...]] = [
        ("cell", "replicas", "cores each", "batch", *["node"] * named, "cores of the replicas", "gpus", own)
    ]
    for cell, planned in plan.plans.items():
        client = core_ranges(planned.placement.own.cores)
        size = cell.size
        sizes = ("-", "-") if size == NOWHERE else (str(size.replicas), str(size.cpus_per_replica))
        head: tuple[str, ...] = (cell.name, *sizes, str(cell.batch_size))
        for node, cores, gpus in _replicas_by_node(planned.placement):
            rows.append((*head, *[node] * named, cores, gpus, client))
            head, client = ("",) * len(head), ""
    repeats = len(plan.order) - len(plan.plans)
    extra = f", {repeats} of them again" if repeats else ""
    expected = duration(plan.expected_s)
    measurements = plural(len(plan.order), "measurement")
    notes = dict.fromkeys(note for planned in plan.plans.values() for note in planned.notes)
    total = [plural(len(plan.plans), "iteration"), f"{measurements}{extra}: about {expected}"]
    if sent := sent_text([plan.plans[measurement.cell] for measurement in plan.order]):
        total.append(f"sends       {sent}")
    return "\n".join([table(rows, width), *notes, *total])


def _replicas_by_node(placement: Placement) -> list[tuple[str, str, str]]:
    """Each node that has replicas, with their cores and GPUs; dashes where none has any."""
    nodes: dict[str, list[Assignment]] = {}
    for row in placement.replicas:
        nodes.setdefault(row.node, []).append(row)
    return [
        (
            node,
            " ".join(core_ranges(row.cores) for row in rows),
            core_ranges([row.gpu for row in rows if row.gpu is not None]) or "-",
        )
        for node, rows in nodes.items()
    ] or [("-", "-", "-")]


def sweep_text(sweep: Sweep, width: int | None = None) -> str:
    """What a sweep measured: a table, one line per measurement, and how far the machine drifted.

    Args:
        sweep: what was measured.
        width: of the terminal, as in `table`.
    """
    rows = [("cell", "requests/s", "p99 ms", "saturated", "")]
    for entry in sweep.entries:
        throughput = number(entry.throughput_rps)
        remarks = ["anchor"] if entry.kind == "anchor" else []
        remarks += [remark for remark in (entry.error or entry.invalid,) if remark is not None]
        saturated = entry.saturated if entry.invalid is None else "invalid"
        kind = _entry_kind(entry)
        p99 = f"{'~' if entry.p99_uncertain else ''}{number(entry.p99_ms)}{MARKS[kind][0]}"
        rows.append((entry.cell, throughput, p99, saturated or "-", ", ".join(remarks)))
    lines = [table(rows, width)]
    if any(entry.p99_uncertain for entry in sweep.entries):
        lines.append("~ too few independent answers for an interval")
    lines += dict.fromkeys(text for entry in sweep.entries if (text := MARKS[_entry_kind(entry)][1]))
    if sweep.drift is not None:
        lines.append(f"drift: the first cell again, {sweep.drift.text}")
    return "\n".join(lines)


def _entry_kind(entry: Entry) -> str:
    """What the latency of a measurement of a sweep is of; of open loops that of a rate."""
    if entry.rate_rps or entry.p99_ms is None:
        return "rate"
    return "queue" if entry.saturated in QUEUED else "window"
