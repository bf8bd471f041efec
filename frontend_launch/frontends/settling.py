"""What the answer of a replica does to its batch under way: it answers it, fails it, or belongs to no batch. Pure.

The state is settled here, before anything is sent, counted or logged: whatever a replica sends, a batch that is no
longer with it is in what `settle` returns.
"""

from __future__ import annotations

from typing import NamedTuple

from frontend_launch.frontends.batching import Query
from frontend_launch.frontends.replica import Batch, Replica
from frontend_launch.frontends.replicas import ReplicaTable
from model_containers.errors import WireError
from model_containers.wire import BatchResponse, ReplyTimes

CLOCK_ERROR = 100
CLOCK_ERROR_NS = 10_000_000
"""Clocks of two machines may differ by one part in this many, and by this time; times that are longer are wrong."""


class Settled(NamedTuple):
    """The outcome of one answer; a named tuple because one is made for every batch.

    Attributes:
        batch: what was answered; None where nothing was.
        response: the answer to it.
        again: queries that the replica failed on, for another one.
        latency_ns: how long the batch was the replica's batch under way.
        error: what is wrong with the answer; with `response` alone, what was left out of it.
    """

    batch: Batch | None = None
    response: BatchResponse | None = None
    again: tuple[Query, ...] = ()
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
    if isinstance(answer, WireError):
        return _failed(table, replica, answer, now_ns)
    batch = replica.outstanding[0] if replica.outstanding else None
    if batch is None or batch.message_id != answer.message_id:
        return _out_of_turn(table, replica, answer.message_id, now_ns)
    if batch.moved:
        table.answered(replica, None, now_ns)
        return Settled()
    if len(answer.outputs) != len(batch.queries):
        text = f"{len(answer.outputs)} outputs for a batch of {len(batch.queries)}"
        return _failed(table, replica, WireError("output_count", text), now_ns)
    if table.differs(replica, answer.output_type):
        text = f"{answer.output_type.canonical} where most replicas answer with another type"
        return _failed(table, replica, WireError("output_type", text), now_ns)
    error = None
    latency_ns = now_ns - replica.began_ns
    if answer.times is not None:
        error = _disbelief(answer.times, now_ns - batch.sent_ns)
        answer = answer if error is None else answer._replace(times=None)
    if batch.queries[0].failed_on is not None:
        _resolve(table, replica, batch, answer, now_ns)
    if _computed_nothing(answer) and table.working(replica.model) > 1:
        again = tuple(query._replace(suspect=True) for query in batch.queries if not query.requeued)
        if again:
            table.failed(replica, now_ns, blame=False)
            failed, response = _second_failures(batch, answer)
            return Settled(failed, response, again, latency_ns, error)
    table.answered(replica, answer.times, now_ns)
    return Settled(batch, answer, latency_ns=latency_ns, error=error)


def _out_of_turn(table: ReplicaTable, replica: Replica, message_id: int, now_ns: int) -> Settled:
    """An answer to a batch that is not the first: replicas answer in order, so those before it never get theirs.

    Args:
        table: where the replica is.
        replica: who answers.
        message_id: of its answer.
        now_ns: monotonic clock.
    """
    places = [place for place, each in enumerate(replica.outstanding) if each.message_id == message_id]
    if not places:
        return Settled(error=WireError("stray_response", f"an answer to message {message_id}, not in flight"))
    skipped = [table.failed(replica, now_ns) for _ in range(places[0] + 1)]
    again = tuple(query for batch in skipped if batch is not None for query in batch.queries)
    text = f"an answer to message {message_id} before the answers to {places[0]} earlier ones"
    return Settled(again=again, error=WireError("skipped_response", text))


def _failed(table: ReplicaTable, replica: Replica, error: WireError, now_ns: int) -> Settled:
    batch = table.failed(replica, now_ns)
    return Settled(again=() if batch is None else batch.queries, error=error)


def _resolve(table: ReplicaTable, replica: Replica, batch: Batch, answer: BatchResponse, now_ns: int) -> None:
    """Where the model of another replica failed on queries of a batch, its answer tells whether the inputs were bad."""
    told: dict[bool, set[int]] = {False: set(), True: set()}
    for query, output in zip(batch.queries, answer.outputs, strict=True):
        if query.suspect and query.failed_on is not None and query.failed_on != replica.replica_id:
            told[len(output) > 0].add(query.failed_on)
    table.confirmed(replica.model, told[True], now_ns)
    table.vindicated(replica.model, told[False] - told[True], now_ns)


def _computed_nothing(answer: BatchResponse) -> bool:
    """Whether the model failed on every input."""
    return answer.times is not None and bool(answer.times.failed) and not any(map(len, answer.outputs))


def _second_failures(batch: Batch, answer: BatchResponse) -> tuple[Batch, BatchResponse] | tuple[None, None]:
    """Of a batch on which a model failed, the queries on which another replica's model had failed before."""
    places = [place for place, query in enumerate(batch.queries) if query.requeued]
    if not places:
        return None, None
    queries, outputs = zip(*((batch.queries[place], answer.outputs[place]) for place in places), strict=True)
    return batch._replace(queries=queries), answer._replace(outputs=outputs)


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
