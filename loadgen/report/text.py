"""Formats plans and results as text for a terminal."""

from __future__ import annotations

import math
import re
import textwrap
from collections.abc import Mapping, Sequence
from itertools import zip_longest
from pathlib import Path

from frontend_launch.integers import core_ranges
from frontend_launch.launch.placement import Assignment, Placement
from frontend_launch.launch.topology import Topology
from frontend_launch.quantities import byte_size, duration, number, plural
from loadgen.config import OpenLoop, Saturate
from loadgen.experiments.capacity import CapacityConfig, FoundCapacity
from loadgen.experiments.grid import NOWHERE
from loadgen.experiments.ledger import Entry
from loadgen.experiments.search import MAX_STRETCH, MOST_CONFIRMING, STEP, Capacity
from loadgen.experiments.sweep import OVERHEAD_S, START_S, Sweep, SweepPlan
from loadgen.hardware.energy import energy_text
from loadgen.hardware.readings import SAMPLER
from loadgen.hardware.summary import CoreUse, GpuUse, ProcessUse
from loadgen.load.summary import Summary
from loadgen.model_defaults import model_defaults
from loadgen.plan import Plan
from loadgen.report.tables import LATENCY_OF, MARKS, QUEUED, latency_kind, steady_text, tags_text, whole_text
from loadgen.report.timeline import REQUEST_STAGES, SERVER_STAGES
from loadgen.results.cells import run_of
from loadgen.results.document import Results
from loadgen.results.sections import PlacementRow, RequestStage, Threshold, Transport
from loadgen.served import CataloguedModel, Deploy, External
from model_containers.model import Description, TensorSpec
from model_containers.printable import printable_line

TRIAL_S = 2.0
"""About how long the client's own ceiling takes to measure."""

LEAST_FLOOR_SHARE = 0.01
"""In a closed loop, a floor below this share of the p50 is not shown."""

_COUNTS = {
    "completed": "completed",
    "defaulted": "defaulted",
    "timed_out": "timed out",
    "failed": "failed",
    "abandoned": "abandoned",
}
_EXTRAS = {
    "late": "late replies",
    "unexpected": "unexpected replies",
    "left_behind": "left behind",
    "resent": "sent once more",
}


def plan_text(plan: Plan) -> str:
    """What will run, in two lines."""
    match plan.config.load:
        case OpenLoop(arrivals):
            load = arrivals.shown
        case Saturate():
            load = f"at most {plan.window:,} in flight ({byte_size(plan.window * plan.inputs.payload_bytes)})"
    return _plan_text(plan, load, plan.load.until)


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


def capacity_plan_text(plan: Plan, config: CapacityConfig) -> str:
    """What a search will run, how many probes it makes, and how long they take.

    Args:
        plan: of its probes.
        config: of the search.
    """
    limits, effort = config.sized, config.effort
    arrivals = {0.0: "constant arrivals", 1.0: "Poisson arrivals"}.get(config.cv, f"arrivals of cv {config.cv:g}")
    each = f"{limits.duration_s:g} s a probe, {limits.confirm_s:g} s each that decides"
    least, most = (duration(math.ceil(seconds)) for seconds in effort.measured_s)
    fewest, largest = effort.probes
    deciding = min(MOST_CONFIRMING, largest)
    if config.asked and config.within_s is not None:
        return "\n".join([_plan_text(plan, arrivals, each), *_asked_text(config, config.within_s)])
    lines = [
        _plan_text(plan, arrivals, each),
        f"search for the highest rate with {', '.join(map(str, config.conditions))}",
        f"probes      {fewest} at least, {largest} at most, {deciding} of them that decide",
        f"time        {least} at least, {most} at most, and some seconds for each probe until the server is idle",
        f"            below {number(effort.stretched_below_rps, 3)} requests/s a probe is longer, "
        f"up to {MAX_STRETCH:g} times, to have {plural(limits.samples, 'request')}",
    ]
    if largest < fewest:
        lines.append(f"--probes {largest}: fewer than confirm an answer; use {fewest} or more")
    return "\n".join(lines)


def _asked_text(config: CapacityConfig, within_s: float) -> list[str]:
    """What a search does that is asked about a rate.

    Args:
        config: of the search.
        within_s: its time.
    """
    rate, rate_rps = number(config.start_rps), config.start_rps or 0.0
    first = duration(math.ceil(config.warmup_s + config.sized.length_s(rate_rps, confirms=True)))
    return [
        f"first       {rate} requests/s for {first}: do they hold {', '.join(map(str, config.conditions))}?",
        f"then        if they do, the highest rate that does, in steps of {STEP:g} times: this overloads the server;",
        f"            if not, lower rates. To send {rate} requests/s only, use `loadgen rate` with --fail-if",
        f"time        {first} at least, {duration(math.ceil(within_s))} at most (--within)",
    ]


def _plan_text(plan: Plan, load: str, until: str) -> str:
    config, inputs = plan.config, plan.inputs
    notes = "".join(f"\n{note}" for note in plan.notes)
    if config.client.processes > 1:
        load += f", from {config.client.processes} client processes"
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


def capacity_text(found: FoundCapacity, width: int | None = None) -> str:
    """What a search found: all of its probes, the answer with its interval, and what it took.

    Args:
        found: by the search.
        width: of the terminal, as in `table`.
    """
    probes = plural(len(found.capacity.probes), "probe")
    search = f"search      {probes} in {duration(found.seconds)}"
    return "\n".join([*capacity_lines(found.capacity, width), search])


def capacity_lines(capacity: Capacity, width: int | None = None) -> list[str]:
    """The probes of a search, and its answer with its interval.

    Args:
        capacity: what was found.
        width: of the terminal, as in `table`.
    """
    return [*table(probe_rows(capacity), width).splitlines(), *found_lines(capacity)]


def probe_rows(capacity: Capacity) -> list[tuple[str, ...]]:
    """The probes of a search, a row each, after one of headings."""
    rows: list[tuple[str, ...]] = [("probe", "requests/s", "s", "outcome", "")]
    for probe in capacity.probes:
        text = probe.text if probe.invalid is None else f"{probe.text} (invalid: {probe.invalid})"
        rows.append((probe.step, number(probe.rate_rps), f"{probe.duration_s:.0f}", probe.outcome, text))
    return rows


def found_lines(capacity: Capacity) -> list[str]:
    """The answer of a search with its interval."""
    lines = []
    if capacity.confirmed and capacity.failed_rps is not None:
        held, failed = number(capacity.rate_rps), number(capacity.failed_rps)
        known = " with 95% confidence"
        if unsure := capacity.without_interval:
            known = f", as measured: {', '.join(unsure)} {'has' if len(unsure) == 1 else 'have'} no interval"
        lines.append(f"capacity    {held} requests/s ({held} to {failed}{known})")
        lines.append(
            f"confirmed   by runs of {capacity.confirm_s:g} s: "
            f"the objective held at {held} requests/s, and did not at {failed}"
        )
    else:
        lines.append(f"capacity    {capacity.state}; {capacity.bracket}")
    if capacity.invalid:
        probes = plural(len(capacity.probes), "probe")
        lines.append(f"invalid     {len(capacity.invalid)} of {probes}; the answer rests on them")
    return lines


def models_text(models: Sequence[Description], topology: Topology, width: int | None = None) -> str:
    """The catalogue: a table, and below it where this machine departs from a model's defaults.

    Args:
        models: of the catalogue, in the order of the table.
        topology: of this machine.
        width: of the terminal, as in `table`.
    """
    rows = [("name", "framework", "input", "types", "output", "cores", "each", "gpus")]
    notes: list[str] = []
    for model in models:
        rows.append(
            (
                model.name,
                model.framework,
                _shape(model.input),
                ", ".join(model.takes),
                f"{_shape(model.output)} {model.answer}",
                core_ranges(model.cpus),
                str(model.cpus_per_replica),
                core_ranges(model.gpus),
            )
        )
        notes += model_defaults(model, topology).notes
    return "\n".join([table(rows, width), *(f"here: {note}" for note in notes)])


def table(rows: Sequence[Sequence[str]], width: int | None = None) -> str:
    """Rows as aligned columns, without a newline at the end.

    Args:
        rows: of texts, as many in each.
        width: of the terminal; where the columns are wider, the widest have their texts on several lines, and no word
            is broken. None for any.
    """
    columns = list(zip(*rows, strict=True))
    widths = [max(map(len, column)) for column in columns]
    if width is not None:
        least = [max(len(word) for cell in column for word in _words(cell)) for column in columns]
        while sum(widths) + len(_GAP) * (len(widths) - 1) > width and widths != least:
            widths[max(range(len(widths)), key=lambda at: (widths[at] > least[at], widths[at]))] -= 1
    lines = []
    for row in rows:
        cells = [_wrapped(cell, room) for cell, room in zip(row, widths, strict=True)]
        for parts in zip_longest(*cells, fillvalue=""):
            lines.append(_GAP.join(part.ljust(room) for part, room in zip(parts, widths, strict=True)).rstrip())
    return "\n".join(lines)


_GAP = "  "
"""Between two columns."""


def _words(cell: str) -> list[str]:
    """The words of a cell, the first with its indent; one at least."""
    return re.findall(r"^\s*\S+|\S+", cell) or [cell]


def _wrapped(cell: str, width: int) -> list[str]:
    """The lines of a cell."""
    if len(cell) <= width:
        return [cell]
    indent = cell[: len(cell) - len(cell.lstrip())]
    return textwrap.wrap(cell, width, subsequent_indent=indent, break_long_words=False, break_on_hyphens=False)


def _shape(spec: TensorSpec) -> str:
    return "any" if spec.shape is None else "x".join(map(str, spec.shape))


def results_text(results: Results, width: int | None = None) -> str:
    """The results of a run, in a few lines.

    Args:
        results: of the run.
        width: of the terminal, as in `table`.
    """
    summary = results.summary
    latency = "  ".join(f"{name} {_latency(name, summary)}" for name in summary.latency_ms)
    counts = ", ".join(f"{count:,} {words}" for name, words in _COUNTS.items() if (count := getattr(summary, name)))
    extras = "".join(f"; {words} {count:,}" for name, words in _EXTRAS.items() if (count := getattr(summary, name)))
    lines = [
        f"throughput  {number(summary.throughput_rps)}{_interval(summary.throughput_interval_rps)} requests/s"
        f" over {summary.measured.duration_s:.1f} s{steady_text(summary.measured.steady_window_s)}",
        f"latency ms  {latency}",
        *_queued(results),
        *_client(results),
        *_open_loop(results),
        *_request_stages(results),
        f"requests    {summary.sent:,} sent: {counts or 'none answered'}{extras}",
        *_answers(results),
        *_server(results),
        *_hardware(results),
        *_window(results),
        *_transport(results),
        *_workers(results, width),
        f"saturated   {results.verdict.text}{_of_servers(results)}",
        *(f"condition   {row.condition}: {_decided(row, results)}, {row.found}" for row in results.thresholds or ()),
        *_certificate(results, width),
        *([f"tags        {tags_text(results.tags)}"] if results.tags else []),
        *(f"note        {note}" for note in results.notes),
    ]
    return "\n".join(map(printable_line, lines))


def _queued(results: Results) -> list[str]:
    """Says that latencies are those of a queue, where they are and there are any."""
    kind = latency_kind([run_of(results, Path())])
    return [f"{'':<12}{LATENCY_OF[kind]}"] if kind == "queue" and results.summary.measured.completed else []


def _latency(name: str, summary: Summary) -> str:
    """A latency with its interval or its lower bound, and the marks that the notes explain."""
    if (above_ms := (summary.latency_above_ms or {}).get(name)) is not None:
        return f"above {number(above_ms)}"
    value, mark = number(summary.latency_ms[name]), "*" if name in summary.marked else ""
    bounds = (summary.bounds_ms or {}).get(name)
    if name in summary.few and bounds is not None:
        least = number(bounds[0])
        return f"at least {value}{mark}" if least == value else f"~{value}{mark} (at least {least})"
    uncertain = "~" if name in summary.uncertain else ""
    return f"{uncertain}{value}{mark}{_interval((summary.intervals_ms or {}).get(name))}"


def _decided(threshold: Threshold, results: Results) -> str:
    """Whether a condition came true."""
    if threshold.crossed is None:
        return "undecided: the run is invalid" if results.invalid else "undecided"
    return "came true" if threshold.crossed else "did not come true"


def _interval(interval: tuple[float, float] | None) -> str:
    """The ends in parentheses; nothing where they look the same."""
    if interval is None:
        return ""
    low, high = (number(end) for end in interval)
    return f" ({low} to {high})" if low != high else ""


def _certificate(results: Results, width: int | None) -> list[str]:
    """The checks that were made, those that could not be, and what to do about those that failed."""
    if not results.certificate:
        return []
    failed, checks = results.invalid, results.certificate
    rows = [("  check", "verdict", "measured", "limit")]
    rows += [(f"  {row.name}", row.verdict, row.measured, row.limit) for row in checks if row.verdict != "unknown"]
    unknown = [row.name for row in checks if row.verdict == "unknown"]
    head = "valid" if failed is None else f"invalid: {failed.name}"
    head += f"; {len(unknown)} of {len(checks)} checks could not be made" if unknown else ""
    remedies = dict.fromkeys(f"remedy      {row.remedy}" for row in checks if row.verdict == "failed")
    left_out = [f"  not checked: {', '.join(unknown)}"] if unknown else []
    return [f"certificate {head}", *table(rows, width).splitlines(), *left_out, *remedies]


def _client(results: Results) -> list[str]:
    """What the client can do by itself, and how much of that the run used."""
    ceiling = results.client_ceiling
    if ceiling is None:
        return []
    least, used = "at least " if ceiling.at_least else "", ""
    if ceiling.used_share is not None:
        share = f"{ceiling.used_share:.0%}" if ceiling.used_share >= 0.01 else "less than 1%"
        used = f"; this run used {'up to ' if least and ceiling.used_share >= 0.01 else ''}{share}"
    lines = [f"client      {least}{number(ceiling.ceiling_rps, 3)} requests/s by itself, against a null server{used}"]
    return [*lines, f"  own part  {own}"] if (own := own_part(results)) else lines


def own_part(results: Results) -> str:
    """The client's part of the latencies, as measured against a null server; empty where that is not known."""
    ceiling, latency_ms = results.client_ceiling, results.summary.latency_ms
    if ceiling is None:
        return ""
    if results.summary.planned is None and (ceiling.floor_share.get("p50") or 0.0) < LEAST_FLOOR_SHARE:
        return ""  # one request in flight tells nothing of a large window
    own = [
        f"{name} {number(floor_ms)} of {number(whole_ms)} ms"
        for name, floor_ms in ceiling.floor_ms.items()
        if floor_ms is not None and (whole_ms := latency_ms.get(name)) is not None and floor_ms <= whole_ms
    ]
    if not own:
        return ""
    bound, why = ("at most ", "; other load disturbed this trial") if ceiling.floor_disturbed else ("", "")
    return f"{bound}{', '.join(own)}, at {ceiling.floor_load}{why}"


def _server(results: Results) -> list[str]:
    """What an external server counted, and where its time went."""
    counted = results.server_statistics
    if counted is None:
        return []
    means = [
        f"{name.removeprefix('compute_')} {number(stage.time_ms['mean'])}"
        for times in (results.stages or {}).values()
        for name in SERVER_STAGES
        if (stage := getattr(times, name)) is not None
    ]
    batch = "" if counted.mean_batch is None else f", batches {number(counted.mean_batch, 3)} on average"
    seen = "" if counted.client_replies is None else f"; the client saw {counted.client_replies:,}"
    whole = whole_text(results.summary.measured.steady_window_s)
    lines = [f"server      {counted.succeeded:,} answered, {counted.failed:,} failed{batch}{seen}{whole}"]
    return [*lines, f"  mean ms   {'  '.join(means)}"] if means else lines


def _of_servers(results: Results) -> str:
    """Says that the server's counts behind the verdict are not limited to a steady time."""
    counted = results.frontend_counters is not None or results.server_statistics is not None
    whole = whole_text(results.summary.measured.steady_window_s)
    return f"; the server's counts are{whole.removeprefix(',')}" if counted and whole else ""


def _window(results: Results) -> list[str]:
    """How much was kept in flight, where that says when to send."""
    window, throughput_rps = results.window, results.summary.throughput_rps
    if results.summary.planned is not None:
        return []
    turned_over = f", turned over in {number(window.requests / throughput_rps, 3)} s" if throughput_rps else ""
    together = f", replies read every {number(reading_ms, 3)} ms" if (reading_ms := results.summary.reading_ms) else ""
    return [f"in flight   {window.requests:,} at most ({byte_size(window.bytes)}){turned_over}{together}"]


def _transport(results: Results) -> list[str]:
    """How requests travelled, as far as it is known."""
    transport = results.transport or Transport()
    known = {"client": transport.client, "replicas": transport.replicas}
    ways = [f"{who} {how}" for who, how in known.items() if how is not None]
    if results.connections is not None:
        ways.append(f"{plural(results.connections, 'connection')} at most")
    if sent := sum(results.addresses.values()):
        ways += [f"{count / sent:.0%} of requests to {address}" for address, count in results.addresses.items()]
    return [f"transport   {', '.join(ways)}"] if ways else []


def _workers(results: Results, width: int | None) -> list[str]:
    """What the workers on other machines did, a row each."""
    used = results.workers
    if used is None:
        return []
    rows: list[tuple[str, ...]] = [
        ("  worker", "node", "clients", "sent", "requests/s", "p50 ms", "p99 ms", "CPU", "late ms", "clock ± ms")
    ]
    rows += [
        (
            f"  {row.name}",
            f"{row.node} ({row.address})",
            str(len(row.clients)),
            f"{row.sent:,}",
            number(row.throughput_rps),
            number(row.latency_ms.get("p50")),
            number(row.latency_ms.get("p99")),
            f"{row.cpu_share:.0%}",
            number(row.start_late_ms),
            number(row.clock_error_ms),
        )
        for row in used.workers
    ]
    skew = "not all began"
    if used.start_skew_ms is not None and used.start_skew_error_ms is not None:
        skew = f"start skew {number(used.start_skew_ms)} ms (± {number(used.start_skew_error_ms)} ms)"
    head = f"workers     {len(used.workers)} on {used.cluster}, {skew}"
    return [head, *table(rows, width).splitlines()]


def _open_loop(results: Results) -> list[str]:
    """What was offered, and the two other latencies, where a schedule says when to send."""
    summary = results.summary
    measured = summary.measured
    if summary.planned is None or not measured.duration_s:
        return []
    sent = f"{measured.sent:,} of {summary.planned:,} planned were sent"
    lines = [f"offered     {number(summary.offered_rps)} requests/s: {sent}"]
    for name, latencies in (("service ms", summary.service_ms), ("lag ms", summary.lag_ms)):
        shown = {name: value for name, value in (latencies or {}).items() if name in ("p50", "p99", "max")}
        lines.append(f"{name:<12}" + "  ".join(f"{key} {number(value)}" for key, value in shown.items()))
    return lines


def _request_stages(results: Results) -> list[str]:
    """A table of where the time of requests went."""
    timed = results.request_stages
    if timed is None:
        return []
    rows: list[tuple[str, ...]] = [("", "mean ms", "p50 ms", "p99 ms", "share")]
    for name, title in REQUEST_STAGES.items():
        stage: RequestStage | None = getattr(timed, name)
        if stage is not None:
            times = (number(value) for value in (stage.mean_ms, stage.p50_ms, stage.p99_ms))
            rows.append((title, *times, f"{stage.share:.1%}"))
    lines = table(rows).splitlines()
    whole = whole_text(results.summary.measured.steady_window_s)
    head = f"stages      {timed.timed:,} of {timed.requests:,} requests timed{whole}"
    return [head, *(f"  {line}" for line in lines)]


def _answers(results: Results) -> list[str]:
    answers = results.answers
    if answers is None:
        return []
    return [f"answers     {answers.compared:,} compared, {answers.mismatched:,} wrong"]


def _hardware(results: Results) -> list[str]:
    """What was watched, a line each for cores, processes and GPUs."""
    if results.hardware is None:
        return []
    found = {
        "cores": _cores(results.hardware.cores, results.placement),
        "processes": _processes(results.hardware.processes),
        "gpus": _gpus(results.hardware.gpus),
        "energy": [text] if (text := energy_text(results.hardware.energy)) else [],
    }
    return [f"{name:<12}{'  '.join(texts)}" for name, texts in found.items() if texts]


def _cores(shares: Mapping[str, CoreUse], placement: Sequence[PlacementRow]) -> list[str]:
    """How busy the cores of the plan were on the average; those of the same roles are taken together."""
    roles: dict[int, list[str]] = {}
    for row in placement:
        if row.node != placement[0].node:  # the first is the client's; no other machine is watched
            continue
        for core in row.cores:
            roles.setdefault(core, []).append(row.role)
    cores: dict[tuple[str, ...], list[int]] = {}
    for core in sorted(roles):
        if str(core) in shares:
            cores.setdefault(tuple(roles[core]), []).append(core)
    means = {names: sum(shares[str(core)].mean for core in group) / len(group) for names, group in cores.items()}
    return [f"{core_ranges(group)}: {means[names]:.0%} ({', '.join(names)})" for names, group in cores.items()]


def _processes(processes: Mapping[str, ProcessUse]) -> list[str]:
    """CPU share (1 is one core) and memory; replicas, which are alike, as the least and the most."""
    replicas = [row for role, row in processes.items() if role.startswith("replica")]
    texts = [
        f"{role} {row.cpu_mean:.0%} {byte_size(row.rss_max_bytes)}"
        for role, row in processes.items()
        if role != SAMPLER and (len(replicas) == 1 or row not in replicas)
    ]
    if len(replicas) > 1:
        shares = [row.cpu_mean for row in replicas]
        memory = max(row.rss_max_bytes for row in replicas)
        texts.append(
            f"{len(replicas)} replicas {min(shares):.0%} to {max(shares):.0%} {byte_size(memory)} each at most"
        )
    return texts


def _gpus(gpus: Mapping[str, GpuUse]) -> list[str]:
    """Utilisation, memory and processes, a dash for what a GPU does not tell."""
    return [
        f"{gpu}: {_share(row.utilisation_mean)} (at most {_share(row.utilisation_max)}), "
        f"{'-' if row.memory_max_bytes is None else byte_size(row.memory_max_bytes)}, "
        f"{'- processes' if row.processes_max is None else plural(row.processes_max, 'process', 'processes')}"
        for gpu, row in gpus.items()
    ]


def _share(value: float | None) -> str:
    return "-" if value is None else f"{value:.0%}"
