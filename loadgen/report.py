"""Plans and results as text for a terminal."""

from __future__ import annotations

from loadgen.config import Plan
from loadgen.results import Results

_COUNTS = ("completed", "defaulted", "timed_out", "failed", "abandoned")


def plan_text(plan: Plan) -> str:
    """What will run, in two lines."""
    config, inputs = plan.config, plan.inputs
    shape = "x".join(map(str, inputs.shape))
    until = f"{config.duration_s:g} s" if config.requests is None else f"{config.requests} requests"
    return (
        f"{plan.model.name} ({plan.model.framework}, weights {plan.model.weights}), "
        f"{len(plan.placement.replicas)} replicas, batches up to {config.batch_size}, for {until}\n"
        f"{inputs.count} inputs {shape} {inputs.dtype}, at most {plan.window} in flight "
        f"({_bytes(plan.window * inputs.payload_bytes)})"
    )


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


def _milliseconds(value: float | None) -> str:
    return "-" if value is None else f"{value:.4g}" if value < 1000 else f"{value:.0f}"


def _bytes(count: int) -> str:
    size = float(count)
    for unit in ("B", "KiB", "MiB"):
        if size < 1024:
            return f"{size:.4g} {unit}"
        size /= 1024
    return f"{size:.4g} GiB"
