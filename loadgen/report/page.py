"""Writes the report as one HTML file: the data as JSON, the script that draws it, and a bundle of plotly's JavaScript.

The page asks no network for anything, and its policy forbids it to. What belongs to a run is drawn when it is looked
at, so that hundreds of cells cost no more than their data.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import asdict
from importlib import resources
from pathlib import Path
from typing import Any

import numpy as np

from frontend_launch.histogram import LatencyHistogram
from loadgen.load.worker_use import WorkersUse
from loadgen.report.answers import Answer, answer_text, answers
from loadgen.report.comparison import comparison_rows, described, outcome_text
from loadgen.report.curves import flat, fronts, scaling
from loadgen.report.found import FoundCapacity, FoundComparison
from loadgen.report.reading import Collection
from loadgen.report.report_text import rounds
from loadgen.report.results_text import own_part
from loadgen.report.tables import MARKS, latency_kind, left_out_text, remarks, steady_text, tags_text, whole_text
from loadgen.report.timeline import Curves, budget, hardware, requests_timed, stages, throughput_and_p99
from loadgen.results.cells import Cell, Run, Spread, run_of
from loadgen.results.document import strict

SCRIPTS = ("draw.js", "cells.js", "run.js")
"""One script in this order."""

PLOTLY = "plotly-basic.min.js"
"""Plotly's bundle of scatter, bar and pie; `plotly.sha256` has its checksum."""

DIGITS = 4
"""Significant digits of what is drawn."""

_UNSEEN = re.compile(r"(\\\\)|\\u(?:00ad|061c|180e|200[b-f]|202[89a-e]|206[0-9a-f]|feff|fff[9ab])")
"""In JSON, the characters that reorder a line or have no width, and backslashes, which may be before what looks so."""


def page(collection: Collection, found: Sequence[Answer] | None = None) -> str:
    """The page, as HTML.

    Args:
        collection: what was measured.
        found: what to deploy; None for what the collection says.
    """
    found = answers(collection) if found is None else found
    files = resources.files(__package__) / "html"
    # In JSON, < can only be within a string, where it could end the script element.
    data = json.dumps(strict(page_data(collection, found)), allow_nan=False, separators=(",", ":")).replace(
        "<", "\\u003c"
    )
    data = _UNSEEN.sub(lambda match: match[0] if match[1] else f"\\{match[0]}", data)
    parts = {
        "style": files.joinpath("page.css").read_text("utf-8"),
        "data": data,
        "plotly": files.joinpath(PLOTLY).read_text("utf-8"),
        "script": "".join(files.joinpath(name).read_text("utf-8") for name in SCRIPTS),
    }
    template = files.joinpath("page.html").read_text("utf-8")
    return re.sub(r"\{\{(\w+)\}\}", lambda match: parts[match[1]], template)


def page_data(collection: Collection, found: Sequence[Answer] = ()) -> dict[str, Any]:
    """What the page's script draws, as JSON takes it; numbers to `DIGITS` digits."""
    own = {id(cell) for cell in collection.own_cells}
    valid = [cell for cell in collection.own_cells if cell.invalid is None]
    numbers = {id(cell): number for number, cell in enumerate(collection.cells)}
    environments: dict[str, int] = {}
    runs: list[dict[str, Any]] = []
    cells = [{**_cell(cell, runs, environments), "own": id(cell) in own} for cell in collection.cells]
    return {
        "answers": [asdict(answer) for answer in found],
        "cells": cells,
        "fronts": [
            {"cost": front.cost, "cells": [numbers[id(cell)] for cell in front.cells]}
            for front in fronts(valid, lambda cell: latency_kind(cell.counted) == "rate")
        ],
        "scaling": [
            {"cells": [numbers[id(cell)] for cell in row.cells], "efficiency": _rounded(row.efficiency)}
            for row in scaling(valid)
        ],
        "runs": runs,
        "searches": [_search(found, collection) for found in collection.capacities],
        "comparisons": [_comparison(found, collection) for found in collection.comparisons],
        "pair": _pair(collection),
        "remarks": [*remarks(collection.own_cells), *flat(collection.own_cells)],
        "marks": [MARKS[kind] for kind in ("queue", "window")],
        "environments": [json.loads(text) for text in environments],
        "missing": [asdict(row) for row in collection.missing],
        "unreadable": [*collection.unreadable, *collection.left_out],
    }


def _search(found: FoundCapacity, collection: Collection) -> dict[str, Any]:
    """A search for capacity, with the run of each probe by the number of its cell."""
    files = {
        run.path.name: number
        for number, cell in enumerate(collection.cells)
        for run in cell.runs
        if run.path.resolve().parent == found.directory.resolve()
    }
    capacity = found.capacity
    return {
        "directory": str(found.directory),
        "model": found.model,
        "objective": found.objective,
        "answer": answer_text(found),
        "interval": None if capacity.interval_rps is None else _rounded(capacity.interval_rps),
        "probes": [
            {
                "step": probe.step,
                "rate": _digits(probe.rate_rps),
                "seconds": _digits(probe.duration_s),
                "outcome": probe.outcome,
                "text": probe.text if probe.invalid is None else f"{probe.text} (invalid: {probe.invalid})",
                "cell": files.get(probe.results),
            }
            for probe in capacity.probes
        ],
    }


def _comparison(found: FoundComparison, collection: Collection) -> dict[str, Any]:
    """A comparison, with the latencies of all rounds of each side."""
    pairs = rounds(found, collection)
    spectra = []
    for side, name in enumerate("AB"):
        runs = [run_of(results, Path()) for pair in pairs if (results := pair[side]) is not None]
        latencies = LatencyHistogram()
        for run in runs:
            latencies.add(LatencyHistogram.decode(run.results.histograms.latency))
        spectrum = _spectrum(latencies, sum(run.lost for run in runs))
        if spectrum is not None:
            spectra.append({"name": name, "latencyOf": latency_kind(runs), "spectrum": spectrum})
    return {
        "directory": str(found.directory),
        "outcome": outcome_text(found.comparison),
        "rows": comparison_rows(pairs, found.comparison),
        "leftOut": [*found.left_out, *([f"unfinished: {found.unfinished}"] if found.unfinished else [])],
        "spectra": spectra,
    }


def _pair(collection: Collection) -> dict[str, Any] | None:
    """What two results differ by, where there are two."""
    runs = [run for cell in collection.cells for run in (*cell.runs, *cell.anchors)]
    if len(runs) != 2:
        return None
    found = described(*runs)
    return {
        "figures": [row[:-1] for row in found.figures],
        "differences": found.differences,
        "summary": found.summary,
        "names": [str(run.path) for run in runs],
    }


def _cell(cell: Cell, runs: list[dict[str, Any]], environments: dict[str, int]) -> dict[str, Any]:
    """One cell; its runs are appended to those before."""
    own = [*cell.runs, *cell.anchors]
    first = len(runs)
    latencies, lost = LatencyHistogram(), 0
    for number, run in enumerate(own):
        latency = LatencyHistogram.decode(run.results.histograms.latency)
        if any(run is counted for counted in cell.counted):
            latencies.add(latency)
            lost += run.lost
        runs.append(_run(_title(run, number, own), run, latency, environments))
    c = cell.configuration
    return {
        "name": cell.name,
        "latencyOf": latency_kind(cell.counted),
        "kind": cell.name.replace(c.name, "").strip(),
        "model": c.model,
        "replicas": c.replicas,
        "cpusPerReplica": c.cpus_per_replica,
        "cores": c.cores,
        "gpus": c.gpus,
        "batch": c.batch_size,
        "offered": _spread(cell.offered_rps),
        "throughput": _spread(cell.throughput_rps),
        "p50": _spread(cell.latency_ms("p50")),
        "p99": _spread(cell.latency_ms("p99")),
        "busy": _spread(cell.busy_share),
        "saturated": cell.verdicts("saturated"),
        "limit": cell.verdicts("limit"),
        "invalid": cell.invalid,
        "leftOut": left_out_text(cell) if cell.left_out else None,
        "uncertain": [metric for metric in ("p50", "p99") if cell.uncertain(metric)],
        "spectrum": _spectrum(latencies, lost),
        "repeats": len(cell.counted),
        "runs": list(range(first, len(runs))),
    }


def _title(run: Run, number: int, runs: list[Run]) -> str:
    if run.anchor:
        return "anchor"
    return f"repeat {number + 1}" if sum(not other.anchor for other in runs) > 1 else ""


def _run(title: str, run: Run, latency: LatencyHistogram, environments: dict[str, int]) -> dict[str, Any]:
    results, summary = run.results, run.results.summary
    throughput, p99 = throughput_and_p99(results)
    curves = {"throughput": throughput, "p99": p99, **hardware(results)}
    watched = results.hardware
    environment = json.dumps(asdict(results.environment), sort_keys=True)
    return {
        "title": title,
        "latencyOf": latency_kind([run]),
        "file": run.path.name,
        "command": results.command,
        "startedAt": results.started_at,
        "ended": results.ended,
        "error": results.error,
        "invalid": run.invalid,
        "certificate": [asdict(check) for check in results.certificate],
        "workers": None if results.workers is None else _workers(results.workers),
        "model": asdict(results.model),
        "inputs": None if results.inputs is None else results.inputs.source,
        "arrivals": run.load.arrivals,
        "window": run.load.window,
        "seconds": _digits(summary.measured.duration_s),
        "steady": steady_text(summary.measured.steady_window_s),
        "throughput": _digits(summary.throughput_rps),
        "latency": {name: None if ms is None else _digits(ms) for name, ms in summary.latency_ms.items()},
        "uncertain": summary.uncertain,
        "counts": {
            name: getattr(summary, name)
            for name in (
                *("sent", "completed", "defaulted", "timed_out", "failed", "abandoned"),
                *("late", "unexpected", "resent"),
            )
        },
        "verdict": {"saturated": results.verdict.saturated, "text": results.verdict.text},
        "notes": [*([f"tags: {tags_text(results.tags)}"] if results.tags else []), *results.notes],
        "ownPart": own_part(results),
        "curves": {name: _curves(group) for name, group in curves.items()},
        "spectrum": _spectrum(latency, run.lost),
        "timed": requests_timed(results),
        "stages": [asdict(stage) for stage in stages(results)],
        "whole": whole_text(summary.measured.steady_window_s),
        "budget": [asdict(stage) for stage in budget(results)],
        "placement": [
            {name: getattr(row, name) for name in ("node", "role", "cores", "gpu", "shared", "shares_physical")}
            for row in results.placement
        ],
        "coreShares": {} if watched is None else {core: _digits(row.mean) for core, row in watched.cores.items()},
        "processes": {}
        if watched is None
        else {
            role: {"cpu": _digits(row.cpu_mean), "bytes": row.rss_max_bytes} for role, row in watched.processes.items()
        },
        "environment": environments.setdefault(environment, len(environments)),
    }


def _workers(used: WorkersUse) -> dict[str, Any]:
    return {
        "cluster": used.cluster,
        "skewMs": None if used.start_skew_ms is None else _digits(used.start_skew_ms),
        "errorMs": None if used.start_skew_error_ms is None else _digits(used.start_skew_error_ms),
        "rows": [
            {
                **{name: getattr(row, name) for name in ("name", "node", "address", "clients", "sent", "completed")},
                "throughput": _digits(row.throughput_rps),
                **{f"p{each}": None if (ms := row.percentile_ms(each)) is None else _digits(ms) for each in (50, 99)},
                "cpu": _digits(row.cpu_share),
                "lateMs": None if row.start_late_ms is None else _digits(row.start_late_ms),
                "clockErrorMs": _digits(row.clock_error_ms),
                "faults": row.faults,
            }
            for row in used.workers
        ],
    }


def _curves(curves: Curves) -> dict[str, Any]:
    return {"at": _rounded(curves.at_s), "lines": {name: _rounded(values) for name, values in curves.lines.items()}}


def _spectrum(latency: LatencyHistogram, lost: int) -> dict[str, Any] | None:
    """The spectrum, as far as requests were answered; None without answers."""
    one_in, latency_ns = latency.spectrum(lost)
    if not len(one_in):
        return None
    milliseconds = latency_ns / 1e6
    # Flat stretches need their ends only.
    kept = np.ones(len(one_in), dtype=bool)
    kept[1:-1] = (milliseconds[1:-1] != milliseconds[:-2]) | (milliseconds[1:-1] != milliseconds[2:])
    return {"oneIn": _rounded(one_in[kept].tolist()), "ms": _rounded(milliseconds[kept].tolist())}


def _spread(spread: Spread | None) -> list[float] | None:
    return None if spread is None else [_digits(spread.median), _digits(spread.low), _digits(spread.high)]


def _rounded(values: Any) -> list[float | None]:
    return [None if value is None else _digits(value) for value in values]


def _digits(value: float) -> float:
    return float(f"{value:.{DIGITS}g}")
