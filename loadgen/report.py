"""Plans and results as text for a terminal."""

from __future__ import annotations

from collections.abc import Sequence

from frontend_launch.launch.placement import Placement
from frontend_launch.launch.topology import Topology, core_ranges
from loadgen.config import Plan, model_defaults
from loadgen.results import Results
from model_containers.model import Description, TensorSpec

_COUNTS = ("completed", "defaulted", "timed_out", "failed", "abandoned")


def plan_text(plan: Plan) -> str:
    """What will run, in two lines."""
    config, inputs = plan.config, plan.inputs
    until = f"{config.duration_s:g} s" if config.requests is None else f"{config.requests} requests"
    return (
        f"{plan.model.name} ({plan.model.framework}, weights {plan.model.weights}), "
        f"{len(plan.placement.replicas)} replicas, batches up to {config.batch_size}, for {until}\n"
        f"{inputs.text}, at most {plan.window} in flight ({_bytes(plan.window * inputs.payload_bytes)})"
        + "".join(f"\n{note}" for note in plan.notes)
    )


def placement_text(placement: Placement) -> str:
    """Who runs where: a table, one line per process."""
    rows = [("node", "role", "cores", "gpu", "shared")]
    for a in placement.assignments:
        gpu = "-" if a.gpu is None else str(a.gpu)
        rows.append((a.node, a.role, core_ranges(a.cores), gpu, "yes" if a.shared else "-"))
    return table(rows)


def models_text(models: Sequence[Description], topology: Topology) -> str:
    """The catalogue: a table, and below it where this machine departs from a model's defaults."""
    rows = [("name", "framework", "input", "types", "output", "cores", "each", "gpus")]
    notes: list[str] = []
    for model in models:
        rows.append(
            (
                model.name,
                model.framework,
                _shape(model.input),
                ",".join(model.takes),
                f"{_shape(model.output)} {model.answer}",
                core_ranges(model.cpus),
                str(model.cpus_per_replica),
                core_ranges(model.gpus),
            )
        )
        notes += model_defaults(model, topology).notes
    return "\n".join([table(rows), *(f"here: {note}" for note in notes)])


def table(rows: Sequence[Sequence[str]]) -> str:
    """Rows as aligned columns, without a newline at the end."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows
    )


def _shape(spec: TensorSpec) -> str:
    return "any" if spec.shape is None else "x".join(map(str, spec.shape))


def results_text(results: Results) -> str:
    """What came out, in a few lines."""
    summary = results.summary
    latency = "  ".join(f"{name} {_milliseconds(value)}" for name, value in summary.latency_ms.items())
    counts = ", ".join(f"{getattr(summary, name)} {name}" for name in _COUNTS if getattr(summary, name))
    extras = {
        "late": summary.late or None,
        "unexpected": summary.unexpected or None,
        "left_behind": summary.left_behind,
    }
    lines = [
        f"throughput  {summary.throughput_rps:.2f} requests/s over {summary.measured.duration_s:.1f} s",
        f"latency ms  {latency}",
        f"requests    {summary.sent} sent: {counts or 'none answered'}"
        + "".join(f"; {name}: {count}" for name, count in extras.items() if count is not None),
        *_answers(results),
        *_cores(results),
        f"in flight   {results.window['requests']} at most ({_bytes(results.window['bytes'])})"
        + (
            f", turned over in {results.window['requests'] / summary.throughput_rps:.3g} s"
            if summary.throughput_rps
            else ""
        ),
        f"saturated   {results.verdict.text}",
        *(f"note        {note}" for note in results.notes),
    ]
    return "\n".join(lines)


def _answers(results: Results) -> list[str]:
    answers = results.answers
    if answers is None:
        return []
    return [f"answers     {answers['compared']} compared, {answers['mismatched']} wrong"]


def _cores(results: Results) -> list[str]:
    """How busy each core of the plan was, and whose it is."""
    if results.hardware is None:
        return []
    roles: dict[str, list[str]] = {}
    for row in results.placement:
        for core in row["cores"]:
            roles.setdefault(str(core), []).append(row["role"])
    shares = results.hardware["cores"]
    texts = [f"{core}: {shares[core]['mean']:.0%} ({', '.join(roles[core])})" for core in roles if core in shares]
    return [f"cores       {'  '.join(texts)}"] if texts else []


def _milliseconds(value: float | None) -> str:
    return "-" if value is None else f"{value:.4g}" if value < 1000 else f"{value:.0f}"


def _bytes(count: int) -> str:
    size = float(count)
    for unit in ("B", "KiB", "MiB"):
        if size < 1024:
            return f"{size:.4g} {unit}"
        size /= 1024
    return f"{size:.4g} GiB"
