"""What workers did, from the records of their clients, and why a run is invalid because of one. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from frontend_launch.histogram import LatencyHistogram
from frontend_launch.quantities import number
from loadgen.judging import validity
from loadgen.judging.evidence import of_client
from loadgen.load.job import Job
from loadgen.load.record import Record
from loadgen.load.summary import latencies_ms
from loadgen.load.worker_use import WorkersUse, WorkerUse
from loadgen.workers.clocks import Began, ClockOffset, start_skew
from model_containers.units import NS_PER_S


@dataclass(frozen=True, slots=True)
class ClientRun:
    """One client of a worker in one run.

    Attributes:
        role: its name.
        job: its share.
        record: what it measured; None where it was lost.
        late_ns: how much later than agreed it began; None where it never did.
        lost: how it was lost, or why the run ended because of it; empty where neither is so.
    """

    role: str
    job: Job
    record: Record | None
    late_ns: int | None
    lost: str = ""


@dataclass(frozen=True, slots=True)
class WorkerRun:
    """One worker in one run.

    Attributes:
        name: in the run.
        node: the host's name.
        address: of the host.
        offset: of its clock.
        clients: of it; at least one.
    """

    name: str
    node: str
    address: str
    offset: ClockOffset
    clients: Sequence[ClientRun]


def late_ns(job: Job, begins_ns: int, told_late_ns: int, record: Record | None) -> int:
    """How much later than agreed a client began.

    A schedule has planned times, whenever its client begins: it is late where the start came late. A window begins with
    its first request.

    Args:
        job: of the client.
        begins_ns: the agreed start, by the clock of `record`.
        told_late_ns: how much later than that the client was told.
        record: of the client; None where it was lost.
    """
    if record is None or not record.measured_from_ns or job.arrivals is not None:
        return told_late_ns
    return max(told_late_ns, record.measured_from_ns - begins_ns - round(job.warmup_s * NS_PER_S))


def workers_use(cluster: str, runs: Sequence[WorkerRun]) -> WorkersUse:
    """All workers of a run.

    Args:
        cluster: as it was asked for.
        runs: of each worker; at least one.
    """
    rows = [_worker_use(run) for run in runs]
    began = [
        Began(max(each), run.offset.error_ns)
        for run in runs
        if (each := [client.late_ns for client in run.clients if client.late_ns is not None])
    ]
    lost = [f"{run.name} on {run.node}: {client.lost}" for run in runs for client in run.clients if client.lost]
    ended_by = lost[0] if lost else None
    if len(began) < len(runs):
        return WorkersUse(cluster, None, None, rows, ended_by)
    skew = start_skew(began)
    return WorkersUse(cluster, skew.skew_ns / 1e6, skew.error_ns / 1e6, rows, ended_by)


def _worker_use(run: WorkerRun) -> WorkerUse:
    records = [client.record for client in run.clients if client.record is not None]
    latency = LatencyHistogram()
    for record in records:
        latency.add(record.latency)
    measured_ns = max((record.measured_ns for record in records), default=0)
    lost = sum(record.lost for record in records)
    late = [client.late_ns for client in run.clients if client.late_ns is not None]
    cpu_ns = max((use.cpu_ns for record in records for use in record.clients), default=0)
    answers = sum(record.latency.total if record.offered is None else record.offered.arrived for record in records)
    return WorkerUse(
        name=run.name,
        node=run.node,
        address=run.address,
        clients=[client.role for client in run.clients],
        sent=sum(record.sent for record in records),
        completed=latency.total,
        lost=lost,
        throughput_rps=answers / measured_ns * NS_PER_S if measured_ns else 0.0,
        latency_ms=latencies_ms(latency, lost),
        cpu_share=max(0, cpu_ns) / measured_ns if measured_ns else 0.0,
        clock_offset_ns=run.offset.offset_ns,
        clock_error_ms=run.offset.error_ns / 1e6,
        start_late_ms=max(late) / 1e6 if late else None,
        faults=list(dict.fromkeys(fault for client in run.clients for fault in _faults(client))),
    )


def _faults(client: ClientRun) -> list[str]:
    """Why a run is invalid because of a client, a line each."""
    if client.record is None:
        return [client.lost or f"{client.role} was lost"]
    faults = [client.lost] if client.lost else []
    if client.late_ns is not None and client.late_ns >= validity.LATE_START_MS * 1e6:
        faults.append(f"{client.role} began {number(client.late_ns / 1e6, 3)} ms after the agreed start")
    if client.record.measured_ns:
        evidence = of_client(client.record, 1, client.job.window, client.job.timeout_s)
        failed = [check for check in validity.of_worker(evidence) if check.verdict == "failed"]
        faults += [f"{client.role}: {check.reason}" for check in failed]
    return faults
