"""Groups runs by configuration and load into cells, so that results compare. Pure.

Whatever a file does not tell, such as the cores behind an external server, is None here.
"""

from __future__ import annotations

import statistics
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from loadgen.results.document import Results

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
        frontends: query frontends; None where they are not ours.
        clients: processes that sent.
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

    @property
    def name(self) -> str:
        """Such as ``r2-c1-b8``, as sweeps name their cells; with ``g1`` where there are GPUs.

        Several frontends and clients are named too: ``r2-c1-b8-f2-n2``.
        """
        sizes = {"r": self.replicas, "c": self.cpus_per_replica, "g": self.gpus or None, "b": self.batch_size}
        sizes |= {"f": _above_one(self.frontends), "n": _above_one(self.clients)}
        return "-".join(f"{letter}{size}" for letter, size in sizes.items() if size is not None) or "unknown"


def _above_one(count: int | None) -> int | None:
    """The count where a name should have it: above one."""
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
        repeat: how often a sweep had measured the cell before; 0 outside sweeps.
        anchor: a sweep measured the cell again to expose drift.
    """

    configuration: Configuration
    load: Load
    results: Results
    path: Path
    repeat: int = 0
    anchor: bool = False

    @property
    def invalid(self) -> str | None:
        """Why nothing may rest on the run; None for a valid one.

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


@dataclass(frozen=True, slots=True)
class Cell:
    """One configuration under one load, and all that was measured of it.

    Attributes:
        name: of the configuration, with what tells it apart from others of that name.
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
    def counted(self) -> tuple[Run, ...]:
        """Valid runs that ended as asked; without one those that ended as asked, without these all."""
        ended = [run for run in self.runs if run.results.error is None]
        return tuple([run for run in ended if run.invalid is None] or ended or self.runs)

    @property
    def invalid(self) -> str | None:
        """Why the figures rest on an invalid run, there being no others; None where they do not."""
        return next((run.invalid for run in self.counted if run.invalid is not None), None)

    @property
    def left_out(self) -> tuple[Run, ...]:
        """Invalid runs on which no figure rests, anchors too; none where there are no valid ones."""
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

    @property
    def busy_share(self) -> Spread | None:
        """Share of the replicas' time in compute; None where a run does not tell."""
        return self._spread(lambda results: results.verdict.evidence.busy_share)

    @property
    def mean_batch(self) -> Spread | None:
        """Mean size of batches; None where a run does not tell."""
        return self._spread(lambda results: results.verdict.evidence.mean_batch)

    def verdicts(self, member: str) -> str:
        """What the verdicts say of ``saturated`` or ``limit``, each answer once."""
        return ", ".join(dict.fromkeys(getattr(run.results.verdict, member) for run in self.counted))

    @property
    def drift(self) -> float | None:
        """What the newest sweep with a valid anchor shows; a sweep's results are those of one directory."""
        valid = [run for run in (*self.runs, *self.anchors) if run.invalid is None and run.results.error is None]
        sweep = next((run.path.parent for run in reversed(valid) if run.anchor), None)
        return drift((run.anchor, run.results.summary.throughput_rps) for run in valid if run.path.parent == sweep)

    def _spread(self, figure: Callable[[Results], float | None]) -> Spread | None:
        values = [figure(run.results) for run in self.counted]
        known = [value for value in values if value is not None]
        if len(known) < len(values):  # a median over some of them would be another figure
            return None
        return Spread(statistics.median(known), min(known), max(known))


def drift(measured: Iterable[tuple[bool, float]]) -> float | None:
    """Throughput of the last anchor ÷ that of the first run, less 1; None where either is missing.

    Args:
        measured: of each valid run of one cell in one sweep, in order: whether it is an anchor, and its throughput.
    """
    rows = list(measured)
    anchors_rps = [rps for anchor, rps in rows if anchor]
    if not anchors_rps or rows[0][0] or not rows[0][1]:
        return None
    return anchors_rps[-1] / rows[0][1] - 1


def run_of(results: Results, path: Path, repeat: int = 0, anchor: bool = False) -> Run:
    """What a results file says about itself.

    Args:
        results: as read.
        path: of the file.
        repeat: its number among the runs of its cell, from 0.
        anchor: it is a repetition of the first cell, against drift.
    """
    return Run(_configuration(results), _load(results), results, path, repeat, anchor)


def _load(results: Results) -> Load:
    if results.summary.offered_rps is None:
        return Load(None, None, results.window.requests)
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
        machine=f"{environment.cpu_model}, {environment.cores} cores ({', '.join(nodes)}){containers}",
        replicas=_instances(results),
        cpus_per_replica=None,
        cores=None,
        gpus=None,
        batch_size=_served_batch(results),
        clients=results.verdict.evidence.clients,
    )
    if node is None:
        return external
    roles = Counter(row.role.rstrip("-0123456789") for row in placement)
    rows = [row for row in placement if row.role.startswith(REPLICA)]
    return replace(
        external,
        replicas=node.num_replicas,
        cpus_per_replica=node.cpus_per_replica,
        cores=len({(row.node, core) for row in rows for core in row.cores}),
        gpus=len({(row.node, row.gpu) for row in rows if row.gpu is not None}),
        batch_size=node.batch_size,
        frontends=roles["frontends"] or roles["query"],
    )


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
    """Runs of one configuration and load together, smallest configurations first."""
    groups: dict[tuple[Configuration, Load], list[Run]] = {}
    for run in sorted(runs, key=lambda run: (run.results.started_at, run.repeat, run.path)):
        groups.setdefault((run.configuration, run.load), []).append(run)
    keys = sorted(groups, key=lambda key: _order(*key))
    return tuple(_cell(name, groups[key]) for key, name in zip(keys, _names(keys), strict=True))


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
        c.inputs or "",
        c.machine,
    )


def _names(keys: Sequence[tuple[Configuration, Load]]) -> list[str]:
    """Names of cells: what they share with all others is left out, so that they stay short."""
    several_models = len({configuration.model for configuration, _ in keys}) > 1
    plain = [f"{c.model} {c.name}" if several_models else c.name for c, _ in keys]
    names = []
    for (configuration, load), name in zip(keys, plain, strict=True):
        alike = [key for key, other in zip(keys, plain, strict=True) if other == name]
        differing = [
            text(configuration, load) for text in _QUALIFIERS if len({text(c, other) for c, other in alike}) > 1
        ]
        names.append(" ".join([name, *differing]))
    return names


_QUALIFIERS: tuple[Callable[[Configuration, Load], str], ...] = (
    lambda c, load: load.arrivals or f"window {load.window}",
    lambda c, load: c.weights,
    lambda c, load: c.inputs or "unknown inputs",
    lambda c, load: c.machine,
    lambda c, load: f"on {c.cores} cores",
)
