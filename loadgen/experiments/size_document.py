"""The answer of the search for the cheapest configuration as the document that is kept beside its runs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from loadgen.experiments.grid import GridCell
from loadgen.experiments.scaling import Estimate
from loadgen.experiments.size_answer import Answer, Fleet, Run
from loadgen.experiments.size_knowledge import Knowledge
from loadgen.experiments.trace_peaks import course
from loadgen.load.arrivals import Trace


def size_document(answer: Answer, model: str, trace: Trace | None, seconds: float, directory: Path) -> dict[str, Any]:
    """What `size.json` holds.

    Args:
        answer: of the search.
        model: that it was for.
        trace: whose peak was the rate, if it was one's.
        seconds: how long it took.
        directory: of its results.
    """
    question = answer.question
    return {
        "schema_version": 1,
        "rate_rps": question.rate_rps,
        "slo": [str(condition) for condition in question.conditions],
        "within_s": question.within_s,
        "model": model,
        "state": "found" if answer.best is not None else "undecided" if answer.undecided else "none",
        "best": None if answer.best is None else _cell(answer.best),
        "capacity_rps": _estimate(answer.capacity),
        "capacity_at_least": answer.at_least,
        "capacity_runs": answer.capacity_runs,
        "capacity_repeated": answer.repeated,
        "headroom": answer.headroom,
        "limit": answer.limit,
        "cost_per_hour": question.hourly(answer.best.size) if answer.best and question.priced else None,
        "cost_per_million_requests": answer.per_million,
        "shown_by": None if answer.shown is None else _run(answer.shown),
        "sizes": [
            {**found.size._asdict(), "name": found.size.name, "state": found.state, "text": found.text}
            for found in answer.findings
        ],
        "beyond": None if answer.beyond is None else {**asdict(answer.beyond), "extrapolated": True},
        "course": [{"at_s": at_s, **asdict(fleet), "extrapolated": True} for at_s, fleet in fleets(answer, trace)],
        "cells": answer.cells,
        "cells_measured": len(answer.measured),
        "runs": [_run(run) for run in answer.runs],
        "ended": answer.ended,
        "seconds": seconds,
        "directory": str(directory),
    }


def fleets(answer: Answer, trace: Trace | None) -> list[tuple[float, Fleet]]:
    """How many replicas of the answer each part of a trace takes, at its share of their throughput.

    Args:
        answer: of the search.
        trace: of the rate; without one there are no parts.
    """
    if trace is None:
        return []
    known = Knowledge.of(answer)
    if answer.best is not None and answer.capacity is not None:
        cell, share = answer.best, min(1.0, answer.question.rate_rps / answer.capacity.value)
    elif answer.beyond is not None:
        cell, share = answer.beyond.cell, answer.beyond.share or 1.0
    else:
        return []
    return [(at_s, known.fleet(cell, rate_rps, share)) for at_s, rate_rps in course(trace) if rate_rps]


def _cell(cell: GridCell) -> Mapping[str, Any]:
    size = cell.size
    return {**size._asdict(), "cores": size.cores, "batch_size": cell.batch_size, "name": cell.name}


def _run(run: Run) -> Mapping[str, Any]:
    told = asdict(run.told)
    del told["measured_s"]
    return {"cell": _cell(run.ask.cell), **told, "duration_s": run.ask.duration_s}


def _estimate(estimate: Estimate | None) -> Mapping[str, float] | None:
    return None if estimate is None else asdict(estimate)
