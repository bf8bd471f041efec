"""Turns a run's record and the server's counters into the evidence of a verdict; pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from frontend_launch.counters import Counters
from loadgen.judging.verdict import Evidence
from loadgen.load.record import Record
from model_containers.units import NS_PER_S


def gather(record: Record, frontends: Sequence[Counters], application: str, max_batch: int, window: int) -> Evidence:
    """Put together what is known of a run on query frontends.

    Args:
        record: of the client.
        frontends: the counters of each, over the measured part; none where they could not be read.
        application: what was asked; its model is found by its name.
        max_batch: the largest batch a replica was given.
        window: most requests in flight.
    """
    client = client_evidence(record, max_batch, window)
    if not frontends:
        return client
    counters = Counters.merged(frontends)
    key = _model_key(application, counters)
    if key is None:
        return client
    model = counters.models[key]
    replicas = [row for name, row in counters.replicas.items() if name.startswith(f"{key}:") and row.alive]
    elapsed_ns = max(1, counters.now_ns)  # of all frontends
    available_ns = max(1, len(replicas) * elapsed_ns // len(frontends))
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
    )


def client_evidence(record: Record, max_batch: int, window: int) -> Evidence:
    """What the client knows of a run; see `gather`.

    Args:
        record: of all clients together.
        max_batch: the largest batch a replica is given, in queries.
        window: most requests in flight, of all clients together.
    """
    measured_ns = max(1, record.measured_ns)
    client = Evidence(
        max_batch=max_batch,
        client_cpu_share=max(client.cpu_ns for client in record.clients) / measured_ns,
        window=window,
        in_flight_mean=sum(client.in_flight_ns for client in record.clients) / measured_ns,
        clients=len(record.clients),
        sent=record.sent,
    )
    if (offered := record.offered) is not None:
        lag_p99_ns = offered.lag.percentile_ns(99)
        client = replace(
            client,
            offered_rps=offered.planned / measured_ns * NS_PER_S,
            throughput_rps=offered.arrived / measured_ns * NS_PER_S,
            answered_share=offered.answered / offered.planned if offered.planned else None,
            lag_p99_ms=None if lag_p99_ns is None else lag_p99_ns / 1e6,
        )
    return client


def _model_key(application: str, counters: Counters) -> str | None:
    """The model that answers: the one named like the application, or the only one there is."""
    named = [name for name in counters.models if name.startswith(f"{application}:")]
    candidates = named or list(counters.models)
    return candidates[0] if len(candidates) == 1 else None
