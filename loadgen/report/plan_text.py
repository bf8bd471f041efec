"""Formats what will run: the plan of a run, how long it takes, what it sends, and where its processes run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from frontend_launch.integers import core_ranges
from frontend_launch.launch.placement import Placement
from frontend_launch.quantities import byte_size, duration, plural
from loadgen.config import OpenLoop, Saturate
from loadgen.experiments.sweep import OVERHEAD_S, START_S
from loadgen.plan import Plan
from loadgen.report.columns import table
from loadgen.served import CataloguedModel, Deploy, External

TRIAL_S = 2.0
"""About how long the client's own ceiling takes to measure."""


def plan_text(plan: Plan) -> str:
    """What will run, in two lines."""
    match plan.config.load:
        case OpenLoop(arrivals):
            load = arrivals.shown
        case Saturate():
            load = f"at most {plan.window:,} in flight ({byte_size(plan.window * plan.inputs.payload_bytes)})"
    return setup_text(plan, load, plan.load.until)


def estimate_text(plan: Plan) -> str:
    """About how long a run takes, and what it sends as far as that is known."""
    config, load = plan.config, plan.load
    around_s = OVERHEAD_S + START_S * isinstance(config.serve, Deploy) + TRIAL_S * config.client.ceiling
    if load.requests is None:
        time = duration(around_s + load.expected_s)
        time_text = f"{'at most' if config.until_steady else 'about'} {time}"
    else:
        time_text = f"as long as {plural(load.requests, 'request')} take, and about {around_s:.0f} s to start and end"
    sent = sent_text([plan])
    return "\n".join([f"time        {time_text}", *([f"sends       {sent}"] if sent else [])])


def sent_text(plans: Sequence[Plan]) -> str:
    """What runs send, warm-ups included; empty where only their answers say.

    Args:
        plans: of the runs.
    """
    counts = [plan.load.expected_requests for plan in plans]
    known = [count for count in counts if count is not None]
    if not known or len(known) < len(counts):
        return ""
    size = sum(count * plan.inputs.payload_bytes for count, plan in zip(known, plans, strict=True))
    scheduled = any(plan.load.arrivals is not None for plan in plans)
    count = sum(known)
    return f"{'about ' * scheduled}{plural(count, 'request')}, {byte_size(size)}"


def setup_text(plan: Plan, load: str, until: str) -> str:
    """What is measured and with which load, in two lines, and the plan's notes.

    Args:
        plan: of the run, or of each run.
        load: how it is sent.
        until: when it ends.
    """
    config, inputs = plan.config, plan.inputs
    notes = "".join(f"\n{note}" for note in plan.notes)
    if config.client.processes > 1:
        load += f", from {config.client.processes} client processes"
    if config.client.workers is not None:
        load += f" on {config.client.workers}"
    match config.serve:
        case External(target):
            what = f"{target.address.text} ({plan.model.framework})"
            return (
                f"{what}, {plural(config.serve.batch_size, 'row')} a request, for {until}\n{inputs.text}, {load}{notes}"
            )
        case CataloguedModel():
            replicas = plural(len(plan.placement.replicas), "replica")
            weights = f"weights {plan.model.weights}{', XLA' * config.serve.xla}"
            return (
                f"{plan.model.name} ({plan.model.framework}, {weights}), "
                f"{replicas}, batches up to {config.serve.batch_size}, for {until}\n"
                f"{inputs.text}, {load}{notes}"
            )


def placement_text(placement: Placement, width: int | None = None) -> str:
    """Who runs where: a table, one line per process.

    Args:
        placement: of all processes.
        width: of the terminal, as in `table`.
    """
    rows = [("node", "role", "cores", "gpu", "shared")]
    for a in placement.assignments:
        gpu = "-" if a.gpu is None else str(a.gpu)
        shared = "yes" if a.shared else "physical core" if a.shares_physical else "-"
        rows.append((a.node, a.role, core_ranges(a.cores), gpu, shared))
    return table(rows, width)


def clients_text(clients: Mapping[str, int]) -> str:
    """Where the clients of a cluster go: how many, by the name of the node."""
    return f"clients     {', '.join(f'{count} on {node}' for node, count in clients.items())}"
