"""Limits a record to the last logging intervals of its measured part. Pure.

What came before them then counts as warm-up. Of the whole run are, as ever, the outcomes of requests; and the replies,
which are compared with what the server counted, and the stages.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace

from frontend_launch.histogram import LatencyHistogram
from loadgen.load.record import ClientUse, Mark, Record
from model_containers.units import NS_PER_S


def last_part(record: Record, first: int) -> Record:
    """The record with a measured part that begins later.

    Args:
        record: of all clients; of a schedule with its `parts`.
        first: number of the logging interval with which it begins.
    """
    parts, offered = record.parts, record.offered
    if not 0 < first < len(record.intervals) or any(len(client.marks) < first for client in record.clients):
        return record
    if offered is not None and parts is None:
        return record
    skipped, skipped_ns = record.intervals[:first], round(record.intervals[first - 1].end_s * NS_PER_S)
    if parts is not None:
        skipped_ns = first * parts.length_ns
    marks = [client.marks[first - 1] for client in record.clients]
    limited = replace(
        record,
        measured_from_ns=record.measured_from_ns + skipped_ns,
        measured_ns=record.measured_ns - skipped_ns,
        skipped_ns=skipped_ns,
        measured_sent=record.measured_sent - sum(mark.sent for mark in marks),
        unanswered=record.unanswered - sum(mark.unanswered for mark in marks),
        timed_out=record.timed_out - sum(mark.timed_out for mark in marks),
        intervals=[
            replace(interval, end_s=interval.end_s - skipped_ns / NS_PER_S) for interval in record.intervals[first:]
        ],
        clients=[
            _use(client, mark, skipped_ns, record.measured_ns)
            for client, mark in zip(record.clients, marks, strict=True)
        ],
        silences=_after(record.silences, record.measured_from_ns + skipped_ns),
        pauses=_after(record.pauses, record.measured_from_ns + skipped_ns),
        tally=None if record.tally is None else record.tally.since(_sum(interval.ended for interval in skipped)),
    )
    if offered is None or parts is None:
        before = LatencyHistogram()
        for interval in skipped:
            if interval.histogram is not None:
                before.add(LatencyHistogram.decode(interval.histogram))
        return replace(limited, latency=record.latency.since(before))
    latency, lag = parts.latency.since(first), parts.lag.since(first)
    return replace(
        limited,
        latency=latency,
        measured_sent=lag.total,
        timed_out=sum(count for part, count in parts.timed_out.items() if part >= first),
        offered=replace(
            offered,
            # What was planned and not sent was planned before the measured part, or the run did not end as asked.
            planned=lag.total,
            answered=latency.total,
            arrived=offered.arrived - sum(interval.completed for interval in skipped),
            service=parts.service.since(first),
            lag=lag,
        ),
    )


def _use(client: ClientUse, mark: Mark, skipped_ns: int, measured_ns: int) -> ClientUse:
    """What a client did after a mark; where its CPU time was not read then, as much a second as in the whole run."""
    before_ns = client.cpu_ns * skipped_ns // measured_ns if mark.cpu_ns is None else mark.cpu_ns
    limited = ClientUse(cpu_ns=client.cpu_ns - before_ns, in_flight_ns=client.in_flight_ns - mark.in_flight_ns)
    for gap_ns, at_ns in client.longest_gaps:
        if at_ns >= skipped_ns:
            limited.add_gap(at_ns - skipped_ns, gap_ns)
    return limited


def _sum(counts: Iterable[Sequence[int]]) -> list[int]:
    return [sum(column) for column in zip(*counts, strict=True)]


def _after(times: list[tuple[int, int]], begin_ns: int) -> list[tuple[int, int]]:
    """The parts of intervals that lie after a time."""
    return [(max(from_ns, begin_ns), until_ns) for from_ns, until_ns in times if until_ns > begin_ns]
