"""Formats the search of the cheapest configuration: its plan, its answer first, and how it was found."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict

from frontend_launch.quantities import duration, number, plural
from loadgen.experiments.capacity import CapacityConfig, FoundCapacity
from loadgen.experiments.grid import GridCell
from loadgen.experiments.size import Sized, SizePlan
from loadgen.experiments.size_answer import TIME_IS_UP, Answer, Finding, Fleet
from loadgen.experiments.size_document import fleets as fleets_of
from loadgen.experiments.size_knowledge import MOST_REPLICAS
from loadgen.experiments.sizing import OVERHEAD_S, STARTING_S
from loadgen.experiments.trace_peaks import window_s
from loadgen.report.columns import table
from loadgen.results.document import strict

MOST_NAMED = 3
"""Sizes that are cheaper and were not shown to do that are named."""

_SKIPPED = {
    "dearer": "cost as much as the answer or more",
    "ruled out": "predicted to do less than is asked, or too slowly",
    "fails": "of sizes that failed, at other batches",
    "holds": "of the answer's size, at other batches",
    "undecided": "of sizes that are undecided, at other batches",
    "not started": "of sizes that could not be started",
    "not tried": "not reached in the time",
}


def size_plan_text(plan: SizePlan, width: int | None = None) -> str:
    """What a search chooses from, and how long it takes.

    Args:
        plan: of the search.
        width: of the terminal, as in `table`.
    """
    question = plan.question
    cells = len(question.sizes) * len(question.batch_sizes)
    first = duration(STARTING_S + 3 * (question.run_s + OVERHEAD_S) + question.confirm_s)
    named = plan.context.cluster is not None
    rows: list[tuple[str, ...]] = [("size", "replicas", "cores each", "cores", "gpus", *["nodes"] * named)]
    for size in sorted(question.sizes, key=question.rank):
        counts = [size.replicas, size.cpus_per_replica, size.cores, size.gpus]
        if named:
            counts.append(len({row.node for row in plan.plan(GridCell(size, 1)).placement.replicas}))
        rows.append((size.name, *map(str, counts)))
    batches = " ".join(map(str, question.batch_sizes))
    return "\n".join(
        [
            f"search for the cheapest configuration that carries {_asked(plan)}",
            table(rows, width),
            f"batches     {batches}: {plural(cells, 'cell')}, of which few are measured, the cheapest sizes first",
            f"runs        {question.run_s:.0f} s each at full speed, {question.confirm_s:.0f} s each that decides",
            f"time        about {first} where the cheapest size does, at most {duration(question.within_s)} (--within)",
            *plan.notes,
        ]
    )


def size_text(sized: Sized, width: int | None = None) -> str:
    """What a search found, in one screen: the answer, what is not known, and how it was found.

    Args:
        sized: what was found.
        width: of the terminal, as in `table`.
    """
    answer = sized.answer
    lines = [*_answer(sized), *_cheaper(answer), *_unknown(sized), *_beyond(sized), *_course(sized)]
    return "\n".join([*lines, *_found(sized, width)])


def carries_json(found: FoundCapacity, config: CapacityConfig, rate_rps: float, carried: bool | None) -> str:
    """Whether a server that runs already carries a rate, for machines.

    Args:
        found: by the search of its capacity.
        config: of that search.
        rate_rps: the rate.
        carried: what the probes show; None where they show neither.
    """
    state = {True: "carried", False: "not carried", None: "undecided"}[carried]
    return _capacity(found, config, rate_rps=rate_rps, state=state)


def capacity_json(found: FoundCapacity, config: CapacityConfig) -> str:
    """What a search for the capacity found, for machines.

    Args:
        found: by the search.
        config: of it.
    """
    capacity = found.capacity
    return _capacity(
        found, config, state="found" if capacity.confirmed else "undecided" if capacity.undecided else "none"
    )


def _capacity(found: FoundCapacity, config: CapacityConfig, **members: object) -> str:
    document = {
        "schema_version": 1,
        **members,
        "slo": [str(condition) for condition in config.conditions],
        "capacity": asdict(found.capacity),
        "interval_rps": found.capacity.interval_rps,
        "seconds": found.seconds,
        "directory": str(found.directory),
    }
    return json.dumps(strict(document), indent=2, allow_nan=False) + "\n"


def _asked(plan: SizePlan) -> str:
    question = plan.question
    objective = ",".join(map(str, question.conditions))
    trace = plan.config.trace
    peak = "" if trace is None else f", the peak of {number(window_s(trace), 3)} s of the trace,"
    return f"{number(question.rate_rps)} requests/s{peak} with {objective}"


def _answer(sized: Sized) -> list[str]:
    answer = sized.answer
    question, best = answer.question, answer.best
    if best is None:
        state = "undecided" if answer.undecided else "none"
        why = "was shown to carry" if answer.undecided else f"of {sized.plan.context.where} carries"
        return [f"size        {state}: no configuration {why} {_asked(sized.plan)}"]
    lines = [f"size        {_described(best)}", f"carries     {_asked(sized.plan)}"]
    if answer.shown is not None:
        ask = answer.shown.ask
        lines.append(f"shown by    Poisson arrivals for {ask.duration_s:.0f} s: {answer.shown.told.text}")
    if answer.capacity is None:
        lines.append("capacity    not known: no valid saturating run")
    else:
        ends = f"{number(answer.capacity.low)} to {number(answer.capacity.high)}"
        runs = plural(answer.capacity_runs, "run")
        how = "95% confidence" if answer.repeated else f"{runs}, trusted to {answer.capacity.width:.0%}"
        least = "at least " * answer.at_least
        lines.append(
            f"capacity    {least}{number(answer.capacity.value)} requests/s ({ends}, {how}) at full speed; "
            f"head-room {number(answer.headroom or 0.0, 3)} times the rate"
        )
    lines.append(f"limit       {answer.limit}")
    if question.priced:
        per_million = (
            f"{number(answer.per_million or 0.0)} per million requests at {number(question.rate_rps)} requests/s"
        )
        lines.append(f"cost        {number(question.hourly(best.size))} an hour, {per_million}")
    return lines


def _described(cell: GridCell) -> str:
    size = cell.size
    gpus = f", {plural(size.gpus, 'GPU')}" if size.gpus else ""
    return (
        f"{cell.name}: {plural(size.replicas, 'replica')} x {plural(size.cpus_per_replica, 'core')}, "
        f"batches up to {cell.batch_size} ({plural(size.cores, 'core')}{gpus})"
    )


def _cheaper(answer: Answer) -> list[str]:
    """The sizes that cost less, the dearest of them first: why not these."""
    known = [found for found in reversed(answer.cheaper) if found not in answer.unknown]
    if answer.best is not None and not answer.cheaper:
        less = "costs less" if answer.question.priced else "has fewer cores or GPUs"
        return [f"cheaper     none: no size {less}"]
    word = "cheaper" if answer.best is not None else "tried"
    lines = [f"{word:<12}{_reason(found)}" for found in known[:MOST_NAMED]]
    rest = len(known) - MOST_NAMED
    return [*lines, f"            and {plural(rest, 'more size')}"] if rest > 0 else lines


def _reason(found: Finding) -> str:
    named = found.text.startswith(found.size.name)
    return found.text if named else f"{found.size.name}: {found.text}"


def _unknown(sized: Sized) -> list[str]:
    answer = sized.answer
    lines = [f"{_reason(found)} ({found.state})" for found in answer.unknown[:MOST_NAMED]]
    if len(answer.unknown) > MOST_NAMED:
        lines.append(f"{plural(len(answer.unknown) - MOST_NAMED, 'more size')} that may do")
    if answer.best is not None and answer.shown is not None:
        lines.append(f"what happens after more than {answer.shown.ask.duration_s:.0f} s, or with burstier arrivals")
    if sized.shares:
        lines.append("how much more replicas do that do not share cores with client or frontends, as these do")
    if answer.ended == TIME_IS_UP:
        within = duration(answer.question.within_s)
        lines.append(f"more: the next run did not fit into {within}; go on with --resume and a longer --within")
    shown = [f"{'not known' if not place else '':<12}{line}" for place, line in enumerate(lines)]
    invalid = [run.told.invalid for run in answer.runs if run.told.invalid is not None]
    if invalid:
        shown.append(f"invalid     {len(invalid)} of {plural(len(answer.runs), 'run')}; the last: {invalid[-1]}")
    if sized.taken:
        shown.append(
            f"invalid     {sized.taken} of {plural(len(answer.runs), 'run')}, taken as they are (--allow-invalid)"
        )
    return shown


def _beyond(sized: Sized) -> list[str]:
    beyond = sized.answer.beyond
    if beyond is None:
        return []
    cell, counts = beyond.cell, ", ".join(map(str, beyond.measured))
    if beyond.share is None:
        used = "their latency is not known: the objective held at no share of their throughput that was tried"
    else:
        used = f"each at {beyond.share:.0%} of its throughput, where it held the objective"
    number = "at least " * (beyond.share is None) + plural(beyond.deployments, "deployment")
    if beyond.fleet.low is None:
        one = f"no number of replicas of one deployment, up to {MOST_REPLICAS:,}, carries it"
    else:
        one = f"or one deployment of {_count(beyond.fleet)} replicas"
    return [
        f"larger      {number} as {cell.name} side by side, {used}",
        f"            {one}; extrapolated by the law of {counts} replicas, not measured",
    ]


def _count(fleet: Fleet) -> str:
    low, high = fleet.low, fleet.high
    if low is None:
        return f"none up to {MOST_REPLICAS:,}"
    if high is None:
        return f"{low} or more"
    most = str(fleet.replicas) if fleet.replicas is not None else "unknown"
    return most if low == high else f"{most} ({low} to {high} with 95% confidence)"


def _course(sized: Sized) -> list[str]:
    fleets = fleets_of(sized.answer, sized.plan.config.trace)
    if not fleets:
        return []
    rows = [("  from", "requests/s", "replicas")]
    rows += [(f"  {duration(at_s)}", number(fleet.rate_rps), _count(fleet)) for at_s, fleet in fleets]
    return [
        "over time   by the law, at the same use of each replica; extrapolated, not measured",
        *table(rows).splitlines(),
    ]


def _found(sized: Sized, width: int | None) -> list[str]:
    answer = sized.answer
    rows: list[Sequence[str]] = [("  cell", "run", "s", "requests/s", "found")]
    for run in answer.runs:
        told, rate_rps = run.told, run.ask.cell.rate_rps
        found = told.failed or (told.invalid and f"invalid: {told.invalid.partition(';')[0]}")
        found = found or (f"{told.outcome}: {told.text}" if told.outcome else f"limit: {told.limit}")
        answered = number(told.throughput_rps)
        cell = GridCell(run.ask.cell.size, run.ask.cell.batch_size).name
        kind = f"at {number(rate_rps)}" if rate_rps else "full speed"
        rows.append((f"  {cell}", kind, f"{run.ask.duration_s:.0f}", answered, found))
    measured = f"{len(answer.measured)} of {plural(answer.cells, 'cell')} measured in {duration(sized.seconds)}"
    left_out = [f"  {plural(count, 'cell')} left out: {_SKIPPED[state]}" for state, count in answer.skipped.items()]
    return [f"found by    {measured}", *table(rows, width).splitlines(), *left_out]
