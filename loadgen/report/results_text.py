"""Formats the results of a run: a few lines each for its figures, its hardware and its certificate."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from frontend_launch.integers import core_ranges
from frontend_launch.quantities import byte_size, number, plural
from loadgen.hardware.energy import energy_text
from loadgen.hardware.readings import SAMPLER
from loadgen.hardware.summary import CoreUse, GpuUse, ProcessUse
from loadgen.load.summary import Summary
from loadgen.report.columns import table
from loadgen.report.tables import LATENCY_OF, latency_kind, steady_text, tags_text, whole_text
from loadgen.report.timeline import REQUEST_STAGES, SERVER_STAGES
from loadgen.results.cells import run_of
from loadgen.results.document import Results
from loadgen.results.sections import PlacementRow, RequestStage, Threshold, Transport
from model_containers.printable import printable_line

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
            number(row.percentile_ms(50)),
            number(row.percentile_ms(99)),
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
