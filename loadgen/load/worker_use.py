"""What each worker of a run on several machines did: rows of the results. Pure."""

from __future__ import annotations

from dataclasses import dataclass, field

from loadgen.constraints import Count
from loadgen.load.summary import LatenciesMs, is_few


@dataclass(frozen=True, slots=True)
class WorkerUse:
    """One worker: its client processes on one node.

    Attributes:
        name: in the run.
        node: the host's name.
        address: of the host in the cluster.
        clients: roles of its client processes.
        sent: requests that they sent.
        completed: answers of the measured part.
        lost: requests of the measured part without a good answer.
        throughput_rps: answers a second.
        latency_ms: latencies by their clocks, mean and percentiles by name.
        cpu_share: CPU time of the busiest client; 1 is one core.
        clock_offset_ns: its monotonic clock minus that of the coordinator.
        clock_error_ms: the offset is known to this: half the least round trip of the cluster's calls.
        start_late_ms: how much later than agreed its last client began, by its own clock; None where none began.
        faults: why the run is invalid because of it.
    """

    name: str
    node: str
    address: str
    clients: list[str]
    sent: Count
    completed: Count
    lost: Count
    throughput_rps: float
    latency_ms: LatenciesMs
    cpu_share: float
    clock_offset_ns: int
    clock_error_ms: float
    start_late_ms: float | None = None
    faults: list[str] = field(default_factory=list)

    def percentile_ms(self, percentile: float) -> float | None:
        """A percentile of its latencies; None where it has too few requests for it, see `is_few`.

        Args:
            percentile: 0 to 100.
        """
        few = is_few(percentile, self.completed + self.lost)
        return None if few else self.latency_ms.get(f"p{percentile:g}")


@dataclass(frozen=True, slots=True)
class WorkersUse:
    """All workers of a run.

    Attributes:
        cluster: how they were reached, as it was asked for.
        start_skew_ms: time between the first and the last start, as the workers' own clocks have it; None where fewer
            than all began.
        start_skew_error_ms: the true skew differs by at most this, the errors of two clock offsets.
        workers: a row each.
        ended_by: why the run ended early because of one of them, with its name; None where it did not.
    """

    cluster: str
    start_skew_ms: float | None
    start_skew_error_ms: float | None
    workers: list[WorkerUse]
    ended_by: str | None = None

    @property
    def faults(self) -> list[str]:
        """Of all workers, each with its name; first that which ended the run."""
        named = [f"{row.name} on {row.node}: {fault}" for row in self.workers for fault in row.faults]
        return sorted(named, key=lambda fault: fault != self.ended_by)
