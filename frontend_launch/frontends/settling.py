"""What the answer of a replica does to its batch under way: it answers it, fails it, or belongs to no batch. Pure.

The state is settled here, before anything is sent, counted or logged: whatever a replica sends, a batch that is no
longer with it is in what `settle` returns.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from frontend_launch.frontends.replicas import Batch, Replica, ReplicaTable
from model_containers.errors import WireError
from model_containers.wire import BatchResponse, ReplyTimes

CLOCK_ERROR = 100
CLOCK_ERROR_NS = 10_000_000
"""Clocks of two machines may differ by one part in so many, and by so much; times that are longer are wrong."""


@dataclass(frozen=True, slots=True)
class Settled:
    """The outcome of one answer.

    Attributes:
        batch: the batch that is no longer with the replica; None where the answer belongs to none.
        response: the answer to it; None where the batch has failed and is to be queued again.
        latency_ns: how long it was the replica's batch under way.
        error: what is wrong with the answer; with `response`, what was left out of it.
    """

    batch: Batch | None = None
    response: BatchResponse | None = None
    latency_ns: int = 0
    error: WireError | None = None


def settle(table: ReplicaTable, replica: Replica, answer: BatchResponse | WireError, now_ns: int) -> Settled:
    """Settle the answer of a replica.

    Args:
        table: where the replica is.
        replica: who answers.
        answer: what it sent, or why that cannot be read: a second answer will not come.
        now_ns: monotonic clock.
    """
    batch = replica.outstanding[0] if replica.outstanding else None
    if isinstance(answer, WireError):
        return Settled(table.failed(replica, now_ns), error=answer)
    if batch is None or batch.message_id != answer.message_id:
        return Settled(error=WireError("stray_response", f"an answer to message {answer.message_id}, not in flight"))
    if len(answer.outputs) != len(batch.queries):
        text = f"{len(answer.outputs)} outputs for a batch of {len(batch.queries)}"
        return Settled(table.failed(replica, now_ns), error=WireError("output_count", text))
    error = None
    if answer.times is not None and (error := _disbelief(answer.times, now_ns - batch.sent_ns)) is not None:
        answer = replace(answer, times=None)
    latency_ns = now_ns - replica.began_ns
    return Settled(table.answered(replica, answer.times, now_ns), answer, latency_ns, error)


def _disbelief(times: ReplyTimes, elapsed_ns: int) -> WireError | None:
    """What is wrong with times that are longer than the batch was away; None where they are possible.

    Args:
        times: as the replica reports them.
        elapsed_ns: since the batch was sent.
    """
    reported_ns = times.recv_ns + times.parse_ns + times.handle_ns
    if reported_ns <= elapsed_ns + elapsed_ns // CLOCK_ERROR + CLOCK_ERROR_NS:
        return None
    return WireError("impossible_times", f"times of {reported_ns} ns for a batch that was away for {elapsed_ns} ns")
