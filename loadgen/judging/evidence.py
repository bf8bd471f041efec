"""Puts together what a verdict rests on: from a run's record, the server's counters and the machine; pure.

Shares are of the measured part, 0 to 1, unless said otherwise. What is not known is None, never 0.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from frontend_launch.counters import Counters, ReplicaCounters
from frontend_launch.launch.placement import Assignment
from frontend_launch.stages import Stages
from loadgen.constraints import Count, Positive
from loadgen.hardware.summary import Hardware
from loadgen.load.record import ClientUse, Record
from loadgen.load.summary import summarise
from loadgen.load.target import Outcome
from model_containers.units import NS_PER_S

FULL_SHARE = 0.9
"""From this share of full batches on, batches count as full."""

BUSY_SHARE = 0.95
"""From this share of time with a batch in flight on, replicas count as busy all the time."""


@dataclass(frozen=True, slots=True)
class RoleUse:
    """What one role of the plan did on its cores.

    Attributes:
        role: in the placement.
        cores: its cores.
        cpu_share: its CPU time ÷ the time; 1 is one core.
        wait_share: time that it could have run and had no core; None where the kernel does not tell.
        held_back_share: time that a CPU quota held it back.
        own_share: CPU time of all roles of the plan on its island ÷ the cores of that island.
        outside_share: CPU time of processes outside the plan on its island ÷ the cores of that island.
    """

    role: str
    cores: list[Count]
    cpu_share: float
    wait_share: float | None = None
    held_back_share: float = 0.0
    own_share: float = 0.0
    outside_share: float = 0.0

    @property
    def disturbed_share(self) -> float:
        """The share of time that processes outside the plan took from it.

        Waiting for another role of the plan is no disturbance, so the outside load bounds it. Where the kernel does not
        report how long a role waited, its CPU time bounds that. Under a fair scheduler, a process never waits longer
        than it runs; beside other load of a share s, it waits at most s / (1 - s) times as long.
        """
        waited = self.wait_share
        if waited is None:
            odds = self.outside_share / max(1e-9, 1 - self.outside_share)
            waited = self.cpu_share * min(1.0, odds)
        return min(waited, self.outside_share)


@dataclass(frozen=True, slots=True)
class ClientGaps:
    """Times that a client process did not run though a turn of its loop was due, each longer than 10 ms.

    Attributes:
        count: how many.
        total_s: all of them together.
        longest_s: the longest.
        longest_at_s: when it began, seconds into the measured part.
        lost_s: time in gaps during which the requests in flight did not keep the server busy.
    """

    count: Count
    total_s: float
    longest_s: float
    longest_at_s: float
    lost_s: float


@dataclass(frozen=True, slots=True)
class ReplicaUse:
    """What one replica did.

    Attributes:
        name: model, version and number.
        alive: its connection stood at the end.
        batches: batches answered.
        compute_ms: mean time in the model for a full batch; for any batch where none was full; None where unknown.
        median_batch_s: median time of a batch, as the frontend saw it; None without any.
        longest_batch_s: the longest time of a batch, or of the one without an answer at the end.
        failed_batches: batches on which its model failed, or whose answer was invalid.
        hung_times: times that it was set aside because it did not answer.
        failing_times: times that it was set aside because its batches failed.
        aside_s: how long it was set aside.
        role: its role in the plan; empty where it does not say.
    """

    name: str
    alive: bool
    batches: Count
    compute_ms: float | None = None
    median_batch_s: float | None = None
    longest_batch_s: float = 0.0
    failed_batches: Count = 0
    hung_times: Count = 0
    failing_times: Count = 0
    aside_s: float = 0.0
    role: str = ""

    @property
    def label(self) -> str:
        """Its name, and its role where it is known."""
        return f"{self.name} ({self.role})" if self.role else self.name

    @property
    def worked(self) -> bool:
        """Whether it lived to the end and got batches all the time."""
        return self.alive and not self.aside_s


@dataclass(frozen=True, slots=True)
class Evidence:
    """What the judgement rests on, over the measured part.

    Attributes:
        max_batch: largest batch a replica may be given.
        client_cpu_share: CPU time of the client's process, ZeroMQ's threads included; 1 is one core. Of several clients
            that of the busiest.
        window: most requests in flight that the client allows itself.
        in_flight_mean: mean number in flight.
        replicas: replicas that were alive; None for a server whose replicas are not seen.
        batch_ms: mean time of a batch, as the metrics of a frontend of 2017 say; None for others.
        instances: of the model, as an external server says; None for others.
        busy_share: their time in compute ÷ (replicas x time); None when none of them reports it.
        in_flight_share: their time with a batch outstanding, seen from the frontend ÷ (replicas x time).
        batches: batches answered.
        mean_batch: mean size of the batches sent.
        full_batch_share: batches of the maximum size ÷ all batches.
        queue_empty_share: time the model's queue was empty.
        frontend_cpu_share: the same of the frontends' process.
        offered_rps: requests a second that a schedule planned; None where a window says when to send.
        throughput_rps: answers a second.
        lag_p99_ms: how much later than planned requests were sent; None likewise.
        clients: client processes.
        answered_share: share of what was planned for the measured part that was answered, whenever; None likewise.
        rows: inputs that a request carries.
        queued_mean: mean number of requests in the server's queue; where `queue_empty_share` is not known.
        sent: requests sent in all; None where that is not known.
        gap_ms: mean time between two model calls of a replica; None where they do not report their time.
        duration_s: length of the measured part; None where it is not known.
        latency_p99_ms: 99th percentile that is reported; where it falls among lost requests, what it is at least. None
            without either.
        roles: the roles of the plan on their cores; none where nothing was watched.
        client_gaps: of the client that lost most time; None without a gap.
        replica_use: each replica, those that are gone too.
        lost: requests by how they were lost: `timed_out`, `failed`, `defaulted`.
        resent: requests that were sent once more, which the server may have counted twice.
        answers: answers in the measured part, as `client`, `frontend`, `replicas` and `server` counted them.
        failed_batches: batches that had to be computed again; None where the server does not say.
        first_third_rps: answers a second in the first third; None where it is not known, or the schedule varies.
        last_third_rps: the same in the last third.
        gap_distance: largest difference between the distributions of planned and real times between two requests;
            None where a window says when to send.
        misplaced: roles that did not run on the cores of the plan, a line each; None where that was not seen.
        watched_share: share of the time that the machine was watched; None where it was not.
        unsent: requests that a schedule had due when the run ended, and the client had not sent.
        workers: why workers on other machines make the run invalid, a line each; None without workers.
        broke_off: why the run could not go on, in one line; None where it could, or where `workers` has the reason.
        completed: answers in the measured part that count; None where that is not known.
        unseen_replicas: replicas of the plan of which no frontend tells, by role: whether their process ran at the end,
            where that is known.
    """

    max_batch: Count
    client_cpu_share: float
    window: Count
    in_flight_mean: float
    replicas: int | None = None
    busy_share: float | None = None
    in_flight_share: float | None = None
    batches: int | None = None
    mean_batch: float | None = None
    full_batch_share: float | None = None
    queue_empty_share: float | None = None
    frontend_cpu_share: float | None = None
    offered_rps: float | None = None
    throughput_rps: float | None = None
    lag_p99_ms: float | None = None
    clients: Positive = 1
    answered_share: float | None = None
    rows: Positive = 1
    queued_mean: float | None = None
    sent: int | None = None
    gap_ms: float | None = None
    duration_s: float | None = None
    latency_p99_ms: float | None = None
    roles: list[RoleUse] = field(default_factory=list)
    client_gaps: ClientGaps | None = None
    replica_use: list[ReplicaUse] = field(default_factory=list)
    lost: dict[str, Count] = field(default_factory=dict)
    resent: Count = 0
    answers: dict[str, Count] = field(default_factory=dict)
    failed_batches: Count | None = None
    first_third_rps: float | None = None
    last_third_rps: float | None = None
    gap_distance: float | None = None
    misplaced: list[str] | None = None
    watched_share: float | None = None
    instances: Positive | None = None
    batch_ms: float | None = None
    unsent: Count = 0
    workers: list[str] | None = None
    broke_off: str | None = None
    completed: Count | None = None
    unseen_replicas: dict[str, bool] = field(default_factory=dict)

    @property
    def unsent_share(self) -> float:
        """Requests that were due and not sent ÷ requests that were due."""
        return self.unsent / ((self.sent or 0) + self.unsent) if self.unsent else 0.0

    @property
    def always_busy(self) -> bool:
        """Whether replicas always had a batch in flight."""
        return (self.in_flight_share or 0.0) >= BUSY_SHARE

    @property
    def planned(self) -> int:
        """The number of planned replicas that are seen; a replaced one counts once."""
        return len({replica.role or replica.name for replica in self.replica_use})

    @property
    def worked(self) -> int:
        """The number of replicas that lived to the end and got batches all the time."""
        failed = {replica.role or replica.name for replica in self.replica_use if not replica.worked}
        return self.planned - len(failed)

    @property
    def full(self) -> bool:
        """Whether batches were full."""
        return (self.full_batch_share or 0.0) >= FULL_SHARE

    @property
    def lost_share(self) -> float:
        """Requests that were lost ÷ requests sent."""
        return sum(self.lost.values()) / self.sent if self.sent else 0.0


ReportedMetrics = Mapping[str, list[Mapping[str, Mapping[str, str]]]]
"""The metrics of a frontend as 2017 reports them: by kind, a list of one metric each."""


def of_frontends(
    client: Evidence, frontends: Sequence[Counters], stages: Mapping[str, Stages], application: str
) -> Evidence:
    """Adds the counters of this project's query frontends to the client's evidence.

    Args:
        client: what the client knows.
        frontends: the counters of each, over the measured part; none where they could not be read.
        stages: of all of them together, by model and by replica.
        application: what was asked; its model is found by its name.
    """
    if not frontends:
        return client
    counters = Counters.merged(frontends)
    key = _model_key(application, counters)
    if key is None:
        return client
    model = counters.models[key]
    rows = _of_run({name: row for name, row in counters.replicas.items() if name.startswith(f"{key}:")})
    replicas = [row for row in rows.values() if row.alive]
    elapsed_ns = max(1, counters.now_ns)  # of all frontends
    # One that was set aside could not compute, nor have a batch in flight.
    available_ns = max(1, len(replicas) * elapsed_ns // len(frontends) - sum(row.aside_ns for row in replicas))
    timed = any(row.timed_batches for row in replicas)
    compute_ns, batches = sum(row.compute_ns for row in replicas), sum(row.batches for row in replicas)
    return replace(
        client,
        replicas=len(replicas),
        busy_share=compute_ns / available_ns if timed else None,
        gap_ms=max(0, available_ns - compute_ns) / batches / 1e6 if timed and batches else None,
        in_flight_share=sum(row.in_flight_ns for row in replicas) / available_ns,
        batches=batches,
        mean_batch=model.batch_size_sum / model.batches if model.batches else None,
        full_batch_share=model.full_batches / model.batches if model.batches else None,
        queue_empty_share=model.queue_empty_ns / elapsed_ns,
        # The one that has most to do limits the others, since the client keeps them evenly loaded.
        frontend_cpu_share=max(each.process_cpu_ns / max(1, each.now_ns) for each in frontends),
        replica_use=[_replica_use(name, row, stages.get(name)) for name, row in rows.items()],
        answers={
            **client.answers,
            "frontend": counters.replies - counters.defaults - counters.refused,
            "replicas": sum(row.queries for row in counters.replicas.values()),
        },
        failed_batches=sum(row.failed_batches for row in counters.models.values()),
    )


def _of_run(rows: Mapping[str, ReplicaCounters]) -> dict[str, ReplicaCounters]:
    """The replicas of a run; those that ended before it count only where their place in the plan stayed empty."""
    present = {row.role for row in rows.values() if row.alive}
    return {
        name: row
        for name, row in rows.items()
        if row.alive or row.batches or row.failed_batches or row.in_flight_ns or (row.role and row.role not in present)
    }


def _replica_use(name: str, row: ReplicaCounters, stages: Stages | None) -> ReplicaUse:
    median_ns = None if stages is None else stages.rpc.percentile_ns(50)
    longest_ns = 0 if stages is None or not stages.rpc.total else stages.rpc.max_ns
    compute_ns, batches = row.full_compute_ns, row.full_batches
    if not batches:
        compute_ns, batches = row.compute_ns, row.timed_batches
    return ReplicaUse(
        name=name,
        alive=row.alive,
        batches=row.batches,
        compute_ms=compute_ns / batches / 1e6 if batches else None,
        median_batch_s=None if median_ns is None else median_ns / NS_PER_S,
        longest_batch_s=max(longest_ns, row.oldest_batch_ns) / NS_PER_S,
        failed_batches=row.failed_batches,
        hung_times=row.hung_times,
        failing_times=row.failing_times,
        aside_s=row.aside_ns / NS_PER_S,
        role=row.role,
    )


def of_metrics(client: Evidence, metrics: ReportedMetrics, application: str) -> Evidence:
    """Adds the metrics of a frontend without counters, such as that of 2017, to the client's evidence.

    They describe its latest batches, not the measured part.

    Args:
        client: what the client knows.
        metrics: as the frontend reports them.
        application: what was asked; its model is found by its name.
    """
    rows = {name: row for one in metrics.get("histograms", []) for name, row in one.items()}
    models = {name.removesuffix(_BATCH_SIZE): row for name, row in rows.items() if name.endswith(_BATCH_SIZE)}
    named = {model: row for model, row in models.items() if model.startswith(f"model:{application}:")}
    found = named or models
    if len(found) != 1:
        return client
    ((model, sizes),) = found.items()
    latencies = rows.get(f"{model}:prediction_latency", {})
    mean_us = _mean(latencies)
    return replace(client, mean_batch=_mean(sizes), batch_ms=None if mean_us is None else mean_us / 1000)


_BATCH_SIZE = ":batch_size"


def _mean(histogram: Mapping[str, str]) -> float | None:
    """Of a histogram in the report of 2017, whose numbers are texts; None where it is empty or no number."""
    try:
        return float(histogram["mean"]) if int(histogram["size"]) else None
    except (KeyError, ValueError):
        return None


def of_client(record: Record, max_batch: int, window: int, timeout_s: float | None = None) -> Evidence:
    """The client's own evidence on a run.

    Args:
        record: of all clients together.
        max_batch: the largest batch a replica is given, in queries.
        window: most requests in flight, of all clients together.
        timeout_s: patience for one reply; None where it is not known.
    """
    measured_ns = max(1, record.measured_ns)
    in_flight_ns = sum(client.in_flight_ns for client in record.clients)
    covered_ns = in_flight_ns // record.latency.total if record.latency.total else 0
    worst = max(record.clients, key=lambda client: client.uncovered_ns(covered_ns))
    client = Evidence(
        max_batch=max_batch,
        client_cpu_share=max(client.cpu_ns for client in record.clients) / measured_ns,
        window=window,
        in_flight_mean=in_flight_ns / measured_ns,
        clients=len(record.clients),
        sent=record.sent,
        throughput_rps=record.latency.total / measured_ns * NS_PER_S,
        duration_s=record.measured_ns / NS_PER_S,
        latency_p99_ms=summarise(record, timeout_s).least_ms("p99"),
        client_gaps=_gaps(worst, covered_ns) if worst.gaps else None,
        lost={outcome.name.lower(): count for outcome in _LOST if (count := record.outcomes[outcome])},
        completed=record.latency.total,
        resent=record.resent,
        answers={"client": record.replies},
        first_third_rps=_rate(record, 0.0, 1 / 3),
        last_third_rps=_rate(record, 2 / 3, 1.0),
    )
    if (offered := record.offered) is not None:
        lag_p99_ns = offered.lag.percentile_ns(99)
        client = replace(
            client,
            offered_rps=offered.planned / measured_ns * NS_PER_S,
            throughput_rps=offered.arrived / measured_ns * NS_PER_S,
            answered_share=offered.answered / offered.planned if offered.planned else None,
            lag_p99_ms=None if lag_p99_ns is None else lag_p99_ns / 1e6,
            gap_distance=offered.gap_distance,
            unsent=offered.unsent,
        )
    return client


def _rate(record: Record, begin: float, end: float) -> float | None:
    """Answers a second in a part of the measured time, from whole intervals; None with fewer than three of them."""
    measured_s = record.measured_ns / NS_PER_S
    if len(record.intervals) < 3:
        return None
    within = [
        interval
        for interval in record.intervals
        if begin * measured_s <= interval.end_s - interval.duration_s / 2 <= end * measured_s
    ]
    duration_s = sum(interval.duration_s for interval in within)
    return sum(interval.completed for interval in within) / duration_s if duration_s else None


def _gaps(client: ClientUse, covered_ns: int) -> ClientGaps:
    return ClientGaps(
        count=client.gaps,
        total_s=client.gaps_ns / NS_PER_S,
        longest_s=client.longest_gap_ns / NS_PER_S,
        longest_at_s=client.longest_gap_at_ns / NS_PER_S,
        lost_s=client.uncovered_ns(covered_ns) / NS_PER_S,
    )


def on_machine(
    evidence: Evidence, hardware: Hardware | None, assignments: Iterable[Assignment], died: bool = False
) -> Evidence:
    """Adds the readings of the machine to the evidence of client and server.

    Args:
        evidence: of client and server.
        hardware: of the measured part; None where it was not watched, or for too short a time.
        assignments: the plan.
        died: the sampler ended early.
    """
    if hardware is None:
        return replace(evidence, watched_share=0.0) if died else evidence
    # A reading stands for the time around it: readings a second apart show half of a run of two seconds between them.
    watched_s = hardware.readings * hardware.every_s
    return replace(
        evidence,
        watched_share=min(1.0, watched_s / evidence.duration_s) if evidence.duration_s else None,
        roles=[_role(row, hardware) for row in assignments if row.role in hardware.processes],
    )


def _role(row: Assignment, hardware: Hardware) -> RoleUse:
    use = hardware.processes[row.role]
    island = next((island for island in hardware.islands if row.role in island.roles), None)
    # The kernel counts the time of each core that a quota stopped; a role wanted as many as it used, rounded up.
    wanted = max(1, math.ceil(use.cpu_mean))
    return RoleUse(
        role=row.role,
        cores=list(row.cores),
        cpu_share=use.cpu_mean,
        wait_share=use.wait_share,
        held_back_share=min(1.0, use.throttled_s / hardware.watched_s / wanted),
        own_share=0.0 if island is None else island.own,
        outside_share=0.0 if island is None else island.outside or 0.0,
    )


def of_processes(evidence: Evidence, running: Mapping[str, bool]) -> Evidence:
    """Adds the replicas of which no frontend tells, as their launcher sees them.

    Args:
        evidence: of client and server.
        running: whether the process of each replica of the plan runs, by role.
    """
    if any(not replica.role for replica in evidence.replica_use):  # which of them they are is not known
        return evidence
    seen = {replica.role for replica in evidence.replica_use}
    return replace(evidence, unseen_replicas={role: runs for role, runs in running.items() if role not in seen})


_LOST = (Outcome.TIMED_OUT, Outcome.FAILED, Outcome.DEFAULTED)


def _model_key(application: str, counters: Counters) -> str | None:
    """The model that answers: the one named like the application, or the only one there is."""
    named = [name for name in counters.models if name.startswith(f"{application}:")]
    candidates = named or list(counters.models)
    return candidates[0] if len(candidates) == 1 else None
