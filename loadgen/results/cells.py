"""Groups runs by configuration and load into cells, so that results compare. Pure.

Facts that a file does not hold, such as the cores behind an external server, are None.
"""

from __future__ import annotations

import statistics
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from frontend_launch.quantities import exact, grouped, number

if TYPE_CHECKING:
    from loadgen.results.document import Results
    from loadgen.results.environment import Environment

REPLICA = "replica-"
"""How the roles of replicas begin."""


@dataclass(frozen=True, slots=True)
class Configuration:
    """What was measured, without the load.

    Attributes:
        model: its name.
        weights: which.
        inputs: what was sent.
        machine: CPU model, cores and name.
        replicas: how many.
        cpus_per_replica: cores of each.
        cores: distinct cores of all replicas.
        gpus: distinct GPUs of all replicas.
        batch_size: largest batch a replica may be given.
        frontends: query frontends; None where loadgen did not start them.
        clients: processes that sent.
        xla: the model was compiled with XLA.
        target: address of the model on an external server.
    """

    model: str
    weights: str
    inputs: str | None
    machine: str
    replicas: int | None
    cpus_per_replica: int | None
    cores: int | None
    gpus: int | None
    batch_size: int | None
    frontends: int | None = None
    clients: int = 1
    xla: bool = False
    target: str | None = None

    @property
    def name(self) -> str:
        """Such as ``r2-c1-b8``, as sweeps name their cells; with ``g1`` where there are GPUs.

        Several frontends and clients are named too: ``r2-c1-b8-f2-n2``.
        """
        sizes = {"r": self.replicas, "c": self.cpus_per_replica, "g": self.gpus or None, "b": self.batch_size}
        sizes |= {"f": _above_one(self.frontends), "n": _above_one(self.clients)}
        return "-".join(f"{letter}{size}" for letter, size in sizes.items() if size is not None) or "unknown"


def _above_one(count: int | None) -> int | None:
    """The count for a name; None for a count of one, which names leave out."""
    return count if count is not None and count > 1 else None


@dataclass(frozen=True, slots=True)
class Load:
    """How a run was loaded.

    Attributes:
        arrivals: the schedule of an open loop, in words; None for a saturating run.
        rate_rps: its rate; None where it varies.
        window: most requests in flight of a saturating run; None in an open loop, where it is no part of the load.
    """

    arrivals: str | None
    rate_rps: float | None
    window: int | None


@dataclass(frozen=True, slots=True)
class Run:
    """One results file.

    Attributes:
        configuration: what was measured.
        load: how.
        results: the document.
        path: where it was read from.
        repeat: earlier measurements of the cell in its sweep; 0 outside sweeps.
        anchor: a sweep measured the cell again to expose drift.
        sweep: the directory of the sweep that measured it; None outside sweeps.
    """

    configuration: Configuration
    load: Load
    results: Results
    path: Path
    repeat: int = 0
    anchor: bool = False
    sweep: Path | None = None

    @property
    def series(self) -> Path:
        """The series of its repeats: its sweep, or the run alone."""
        return self.path if self.sweep is None else self.sweep

    @property
    def transport(self) -> str | None:
        """How client and replicas reached the query frontend, such as ``client ipc, replicas tcp``; None if unknown."""
        known = self.results.transport
        ways = {} if known is None else {"client": known.client, "replicas": known.replicas}
        return ", ".join(f"{who} {how}" for who, how in ways.items() if how is not None) or None

    @property
    def lost(self) -> int:
        """Requests of the measured part without a good answer; they count as slower than any answer."""
        summary = self.results.summary
        if summary.lost is not None:
            return summary.lost
        return 0 if summary.planned is None else max(0, summary.planned - summary.measured.completed)

    @property
    def invalid(self) -> str | None:
        """Why the figures of the run do not count; None for a valid run.

        A file from before there was a certificate says in its verdict that its client did not keep the schedule.
        """
        failed, verdict = self.results.invalid, self.results.verdict
        if failed is not None:
            return failed.reason
        late = not self.results.certificate and self.load.arrivals is not None and verdict.limit == "client"
        return verdict.text if late else None


@dataclass(frozen=True, slots=True)
class Spread:
    """One figure of repeated runs: the median, the least and the most."""

    median: float
    low: float
    high: float


class Measured(NamedTuple):
    """One run of a cell that a sweep measures again against drift.

    Attributes:
        anchor: it is a run against drift.
        throughput_rps: answers a second.
        p99_ms: 99th percentile of the latency; None where not known.
        invalid: why its figures do not count; None for a valid run that ended as asked.
    """

    anchor: bool
    throughput_rps: float
    p99_ms: float | None
    invalid: str | None


@dataclass(frozen=True, slots=True)
class Drift:
    """How the last anchor of a sweep compares with the first run of its cell.

    Attributes:
        throughput: of the last valid anchor ÷ of the first valid run, less 1; None where either is missing.
        first_p99_ms: of that run; None where not known.
        p99_ms: of that anchor; None where not known.
        invalid: why the last anchor, or else the first run, is invalid; None where both are valid.
    """

    throughput: float | None
    first_p99_ms: float | None
    p99_ms: float | None
    invalid: str | None

    @property
    def text(self) -> str:
        """For a reader."""
        parts = [] if self.invalid is None else [self.invalid]
        if self.throughput is not None:
            first, last = ("unknown" if ms is None else f"{number(ms)} ms" for ms in (self.first_p99_ms, self.p99_ms))
            parts.insert(0, f"{self.throughput:+.1%} requests/s, p99 {last} instead of {first}")
        return "; ".join(parts)


@dataclass(frozen=True, slots=True)
class Cell:
    """One configuration under one load, and what one sweep, or one run outside sweeps, measured of it.

    Attributes:
        name: of the configuration, with the settings that distinguish it from others of that name.
        runs: all but anchors, in the order they were started.
        anchors: measured again to expose drift.
    """

    name: str
    runs: tuple[Run, ...]
    anchors: tuple[Run, ...] = ()

    @property
    def configuration(self) -> Configuration:
        """What was measured."""
        return self.runs[0].configuration

    @property
    def load(self) -> Load:
        """How it was loaded."""
        return self.runs[0].load

    @property
    def sweep(self) -> Path | None:
        """The directory of the sweep that measured it; None for a run outside sweeps."""
        return self.runs[0].sweep

    @property
    def counted(self) -> tuple[Run, ...]:
        """The runs on which the figures rest.

        Valid runs that ended as asked; failing those, runs that ended as asked; failing those, valid runs; else all.
        Valid and invalid runs are never mixed, nor are runs without a certificate, of earlier versions, with others.
        """
        return tuple(run for run in self.runs if _worth(run) == min(map(_worth, self.runs)))

    @property
    def invalid(self) -> str | None:
        """Why the runs behind the figures are invalid, where no valid ones exist; None where they are valid."""
        return next((run.invalid for run in self.counted if run.invalid is not None), None)

    @property
    def left_out(self) -> tuple[Run, ...]:
        """Invalid runs, anchors included, that the figures leave out; empty where no run is valid."""
        if self.invalid is not None:
            return ()
        return tuple(run for run in (*self.runs, *self.anchors) if run.invalid is not None)

    @property
    def throughput_rps(self) -> Spread:
        """Completed requests a second."""
        spread = self._spread(lambda results: results.summary.throughput_rps)
        assert spread is not None
        return spread

    @property
    def offered_rps(self) -> Spread | None:
        """Requests a second that the schedule of an open loop planned; None for saturating runs."""
        return self._spread(lambda results: results.summary.offered_rps)

    def latency_ms(self, metric: str) -> Spread | None:
        """A percentile such as ``p99``, or ``mean``; None where a run has none."""
        return self._spread(lambda results: results.summary.latency_ms.get(metric))

    def uncertain(self, metric: str) -> bool:
        """Whether a run on which a latency rests has no interval for it."""
        return any(metric in run.results.summary.uncertain for run in self.counted)

    def few(self, metric: str) -> bool:
        """Whether a run on which a percentile rests has too few requests for it."""
        return any(metric in run.results.summary.few for run in self.counted)

    @property
    def busy_share(self) -> Spread | None:
        """Share of the replicas' time in compute; None where a run does not tell."""
        return self._spread(lambda results: results.verdict.evidence.busy_share)

    @property
    def mean_batch(self) -> Spread | None:
        """Mean size of batches; None where a run does not tell."""
        return self._spread(lambda results: results.verdict.evidence.mean_batch)

    def verdicts(self, member: str) -> str:
        """The values of ``saturated`` or ``limit`` in the verdicts, each once."""
        return ", ".join(dict.fromkeys(getattr(run.results.verdict, member) for run in self.counted))

    @property
    def drift(self) -> Drift | None:
        """The drift that its anchors show; None without one."""
        return drift(
            Measured(
                run.anchor,
                run.results.summary.throughput_rps,
                run.results.summary.latency_ms.get("p99"),
                run.results.error or run.invalid,
            )
            for run in (*self.runs, *self.anchors)
        )

    def _spread(self, figure: Callable[[Results], float | None]) -> Spread | None:
        values = [figure(run.results) for run in self.counted]
        known = [value for value in values if value is not None]
        if len(known) < len(values):  # a median over some of them would be another figure
            return None
        return Spread(statistics.median(known), min(known), max(known))


def _worth(run: Run) -> tuple[bool, bool, bool]:
    """Less is better."""
    return run.results.error is not None, run.invalid is not None, not run.results.certificate


def drift(measured: Iterable[Measured]) -> Drift | None:
    """How the last anchor compares with the first run; None where there is no anchor, or no run before it.

    Args:
        measured: the runs of one cell in one sweep, in order.
    """
    rows = list(measured)
    anchors = [row for row in rows if row.anchor]
    if not anchors or rows[0].anchor:
        return None
    valid = [row for row in rows if row.invalid is None]
    invalid = None
    if anchors[-1].invalid is not None:
        invalid = f"the last anchor is invalid: {anchors[-1].invalid}"
    elif rows[0].invalid is not None:
        invalid = f"the first run is invalid: {rows[0].invalid}"
    last = next((row for row in reversed(valid) if row.anchor), None)
    if last is None or valid[0].anchor or not valid[0].throughput_rps:
        return None if invalid is None else Drift(None, None, None, invalid)
    first = valid[0]
    return Drift(last.throughput_rps / first.throughput_rps - 1, first.p99_ms, last.p99_ms, invalid)


def run_of(results: Results, path: Path, repeat: int = 0, anchor: bool = False, sweep: Path | None = None) -> Run:
    """A run from a results file.

    Args:
        results: as read.
        path: of the file.
        repeat: its number among the runs of its cell, from 0.
        anchor: it is a repetition of the first cell, against drift.
        sweep: the directory of the sweep that measured it.
    """
    return Run(_configuration(results), _load(results), results, path, repeat, anchor, sweep)


def _load(results: Results) -> Load:
    if results.summary.offered_rps is None:
        return Load(None, None, results.window.requests or None)
    if results.arrivals is None:
        return Load("unknown schedule", None, None)
    return Load(results.arrivals.text, results.arrivals.rate_rps, None)


def _configuration(results: Results) -> Configuration:
    environment, placement = results.environment, results.placement
    node = results.node_configs[0] if results.node_configs else None
    nodes = dict.fromkeys(row.node for row in placement)
    containers = ", in containers" if node is not None and node.runtime == "docker" else ""
    external = Configuration(
        model=results.model.name,
        weights=results.model.weights,
        inputs=None if results.inputs is None else results.inputs.source,
        machine=_machine(environment, list(nodes)) + containers,
        replicas=_instances(results),
        cpus_per_replica=None,
        cores=None,
        gpus=None,
        batch_size=_served_batch(results),
        clients=results.verdict.evidence.clients,
        xla=results.model.xla,
        target=None if results.inputs is None else results.inputs.target,
    )
    if node is None or not node.allocated_cpus:  # an external server; what it is known to have is there already
        return external
    roles = Counter(row.role.rstrip("-0123456789") for row in placement)
    rows = [row for row in placement if row.role.startswith(REPLICA)]
    if not rows:  # of 2017, which gave each replica cores of its own, and GPUs to the first
        return replace(
            external,
            replicas=node.num_replicas,
            cpus_per_replica=node.cpus_per_replica,
            cores=node.num_replicas * node.cpus_per_replica,
            gpus=min(len(node.gpus), node.num_replicas),
            batch_size=node.batch_size,
        )
    return replace(
        external,
        replicas=node.num_replicas,
        cpus_per_replica=node.cpus_per_replica,
        cores=len({(row.node, core) for row in rows for core in row.cores}),
        gpus=len({(row.node, row.gpu) for row in rows if row.gpu is not None}),
        batch_size=node.batch_size,
        frontends=roles["frontends"] or roles["query"],
    )


def _machine(environment: Environment, nodes: Sequence[str]) -> str:
    if not environment.cores:
        return "unknown machine"
    return f"{environment.cpu_model}, {environment.cores} cores ({', '.join(nodes)})"


def _instances(results: Results) -> int | None:
    """Replicas behind an external frontend, or instances of the model that an external server says it has."""
    evidence = results.verdict.evidence
    return evidence.instances if evidence.replicas is None else evidence.replicas


def _served_batch(results: Results) -> int | None:
    """The rows of a request to an external server, or the largest batch of an external frontend with one model."""
    if results.inputs is not None and results.inputs.rows is not None:
        return results.inputs.rows
    models = [] if results.frontend_counters is None else list(results.frontend_counters.models.values())
    return models[0].max_batch if len(models) == 1 else None


def cells_of(runs: Iterable[Run]) -> tuple[Cell, ...]:
    """Cells: the runs of one configuration, load and transport in one sweep; smallest configurations first.

    A run of the same configuration outside the sweep is a cell of its own: it was made at another time.
    """
    groups: dict[tuple[Configuration, Load, Path], list[Run]] = {}
    for run in sorted(runs, key=lambda run: (run.results.started_at, run.repeat, run.path)):
        groups.setdefault((run.configuration, run.load, run.series), []).append(run)
    alike = [runs for group in groups.values() for runs in _by_transport(group)]
    ordered = sorted(alike, key=lambda group: _order(group[0].configuration, group[0].load))
    return tuple(_cell(name, group) for group, name in zip(ordered, _names(ordered), strict=True))


def _by_transport(runs: Sequence[Run]) -> Iterable[list[Run]]:
    """Runs of each transport; those whose transport is unknown are with the first."""
    first = next((run.transport for run in runs if run.transport is not None), None)
    groups: dict[str | None, list[Run]] = {}
    for run in runs:
        groups.setdefault(run.transport or first, []).append(run)
    return groups.values()


def transports(cells: Iterable[Cell]) -> list[str]:
    """A sentence where cells are known to differ in transport, which their figures then differ by too."""
    groups: dict[str, list[str]] = {}
    for cell in cells:
        for transport in dict.fromkeys(run.transport for run in cell.runs if run.transport is not None):
            groups.setdefault(transport, []).append(cell.name)
    each = "; ".join(f"{transport} in {', '.join(names)}" for transport, names in groups.items())
    return [f"the transport differs: {each}"] if len(groups) > 1 else []


def apart(cells: Iterable[Cell]) -> list[str]:
    """A sentence for each configuration and load that was measured several times, but not by one sweep."""
    groups: dict[tuple[Configuration, Load], list[Cell]] = {}
    for cell in cells:
        groups.setdefault((cell.configuration, cell.load), []).append(cell)
    return [
        f"{', '.join(cell.name for cell in group)}: {series} separate measurements of one configuration, kept apart; "
        "repeats are runs of one sweep (--repeat)"
        for group in groups.values()
        if (series := len({cell.runs[0].series for cell in group})) > 1
    ]


def _cell(name: str, runs: Sequence[Run]) -> Cell:
    anchors = tuple(run for run in runs if run.anchor)
    measured = tuple(run for run in runs if not run.anchor)
    # An anchor whose cell was not given stands for itself.
    return Cell(name, measured, anchors) if measured else Cell(name, anchors)


def _order(configuration: Configuration, load: Load) -> tuple[Any, ...]:
    c = configuration
    sizes = (c.gpus, c.replicas, c.cpus_per_replica, c.batch_size, c.frontends, c.clients, load.rate_rps, load.window)
    return (
        c.model,
        *(-1 if size is None else size for size in sizes),
        load.arrivals or "",
        c.weights,
        c.xla,
        c.inputs or "",
        c.machine,
        c.target or "",
    )


def _names(groups: Sequence[Sequence[Run]]) -> list[str]:
    """Names of cells, each with its runs; settings that all cells share are left out, so that names stay short."""
    firsts = [group[0] for group in groups]
    several_models = len({run.configuration.model for run in firsts}) > 1
    plain = [f"{run.configuration.model} " * several_models + run.configuration.name for run in firsts]
    names = list(plain)
    for text in _QUALIFIERS:
        names = _told_apart(names, plain, [text(run.configuration, run.load) for run in firsts])
    names = _told_apart(names, names, [_time(run) for run in firsts])
    return _told_apart(names, names, [str(run.series) for run in firsts])


def _told_apart(names: Sequence[str], alike: Sequence[str], texts: Sequence[str]) -> list[str]:
    """Names with a text added where cells of the same name differ in it."""
    return [
        f"{name} {text}" if len({texts[n] for n, other in enumerate(alike) if other == one}) > 1 else name
        for name, one, text in zip(names, alike, texts, strict=True)
    ]


def _time(run: Run) -> str:
    """When it was started, by the clock of its machine, such as ``2026-11-29 10:00:00``."""
    return run.results.started_at[:19].replace("T", " ")


def _load_name(load: Load) -> str:
    """Such as ``window 1,000`` or ``poisson 2,000 requests/s``: like the other figures beside a name."""
    if load.arrivals is None:
        return "unknown window" if load.window is None else f"window {load.window:,}"
    if load.rate_rps is None:
        return load.arrivals
    return load.arrivals.replace(f" {exact(load.rate_rps)} ", f" {grouped(load.rate_rps)} ")


_QUALIFIERS: tuple[Callable[[Configuration, Load], str], ...] = (
    lambda c, load: _load_name(load),
    lambda c, load: c.weights,
    lambda c, load: "XLA" if c.xla else "no XLA",
    lambda c, load: c.target or "no target",
    lambda c, load: c.inputs or "unknown inputs",
    lambda c, load: c.machine,
    lambda c, load: f"on {c.cores} cores",
)
