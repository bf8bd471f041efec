"""Judges from the evidence of a run whether it was saturated, and what the limit was. Pure.

Saturated means that the replicas were busy: their time in compute, as they report it, over the time they
had. Full batches and a full queue are not enough (a slow frontend shows them in front of idle replicas),
and a flat p99 says nothing (a window of requests in flight that is full is flat, and saturated).
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Annotated, Literal, get_args

from msgspec import Meta

from loadgen.constraints import Count, Positive

Saturated = Literal["yes", "no", "undecided"]
Limit = Literal["replicas", "frontend", "client", "load", "unknown"]

BUSY_SHARE = 0.95
"""From this share of time in compute on, replicas count as saturated."""

QUEUE_EMPTY_SHARE = 0.05
"""Up to this share of time, the queue counts as never empty: the frontend always had something to hand out."""

WINDOW_FULL_SHARE = 0.9
"""From this mean share of the window on, the client counts as having kept it full."""

WORKING_SHARE = 0.25
"""From this share of a core on, client or frontends count as working on requests that have not reached the queue."""

FULL_SHARE = 0.9
"""From this mean share of the largest batch on, batches count as full."""

FEW_WINDOWS = 3
"""With less than so many windows of requests in all, most of a run is its beginning and its end."""

LATE_MS = 10.0
"""From this schedule lag at the 99th percentile on, what was offered is not what was planned."""

CARRIED_SHARE = 0.99
"""From this share of the offered rate on, it counts as carried."""

MIN_BATCHES = 3
"""Batches each replica must have answered before its busy share means anything."""


@dataclass(frozen=True, slots=True)
class Evidence:
    """What the judgement rests on, over the measured part; shares are of its time, None where not known.

    Attributes:
        max_batch: largest batch a replica may be given.
        client_cpu_share: CPU time of the client's process, ZeroMQ's threads included; 1 is one core. Of several clients
            that of the busiest.
        window: most requests in flight that the client allows itself.
        in_flight_mean: mean number in flight.
        replicas: replicas that were alive.
        busy_share: their time in compute ÷ (replicas x time); None when none of them reports it.
        in_flight_share: their time with a batch outstanding, seen from the frontend ÷ (replicas x time).
        batches: batches answered.
        mean_batch: mean size of the batches sent.
        full_batch_share: batches of the maximum size ÷ all batches.
        queue_empty_share: time the model's queue was empty.
        frontend_cpu_share: the same of the frontends' process.
        offered_rps: requests a second that a schedule planned; None where a window says when to send.
        throughput_rps: answers a second; None likewise.
        lag_p99_ms: how much later than planned requests were sent; None likewise.
        clients: client processes.
        answered_share: share of what was planned for the measured part that was answered, whenever; None likewise.
        rows: inputs that a request carries.
        queued_mean: mean number of requests in the server's queue; where `queue_empty_share` is not known.
        sent: requests sent in all; None where that is not known.
        gap_ms: mean time between two model calls of a replica; None where they do not report their time.
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

    @property
    def batches_had_room(self) -> bool:
        """Whether batches would have been fuller, had there been more to do: whatever waited went into the next one."""
        if self.mean_batch is None or self.mean_batch >= FULL_SHARE * self.max_batch:
            return False
        return self.queued_mean * self.rows < self.max_batch if self.queued_mean is not None else self.queue_empty

    @property
    def queue_empty(self) -> bool:
        """Whether replicas had to wait for requests now and then."""
        if self.queue_empty_share is None and self.queued_mean is not None:
            return self.queued_mean < 1
        return (self.queue_empty_share or 0.0) > QUEUE_EMPTY_SHARE

    @property
    def queue_text(self) -> str:
        """How the queue was found."""
        if self.queue_empty_share is None and self.queued_mean is not None:
            return f"{self.queued_mean:.2g} requests waited in the server's queue on average"
        return f"the queue was empty {_percent(self.queue_empty_share or 0.0)} of the time"

    @property
    def more_clients(self) -> str:
        """What to do where the client is the limit."""
        return f"try --clients {2 * self.clients}"


@dataclass(frozen=True, slots=True)
class Verdict:
    """The judgement.

    Attributes:
        saturated: whether the replicas were busy all the time.
        limit: what kept the throughput from being higher; a later version may have more values.
        text: one sentence for a reader.
        evidence: what it rests on.
    """

    saturated: Saturated
    limit: Annotated[str, Meta(extra_json_schema={"enum": list(get_args(Limit))})]
    text: str
    evidence: Evidence


def judge(evidence: Evidence) -> Verdict:
    """Judge one run."""
    verdict = _judge_replicas(evidence)
    if evidence.offered_rps is None:
        return verdict
    offered, carried = f"{evidence.offered_rps:.4g} requests/s offered", evidence.throughput_rps or 0.0
    if (evidence.lag_p99_ms or 0.0) >= LATE_MS:
        late = f"sent late (p99 {evidence.lag_p99_ms:.3g} ms)"
        text = f"{offered}, but {late}: the client was the limit, so nothing is shown; {evidence.more_clients}"
        return replace(verdict, limit="client", text=f"{verdict.text}; {text}")
    if evidence.answered_share is not None and evidence.answered_share < CARRIED_SHARE:
        return replace(verdict, text=f"{verdict.text}; {offered}, {_percent(evidence.answered_share)} of them answered")
    if carried >= CARRIED_SHARE * evidence.offered_rps:
        if (evidence.busy_share or 0.0) >= BUSY_SHARE and evidence.batches_had_room:
            reserve = f"as many answered, with room in batches ({evidence.mean_batch:.2f} of {evidence.max_batch})"
        else:
            reserve = "without reserve" if verdict.saturated == "yes" else "as many answered"
        return replace(verdict, limit="load", text=f"{_state(evidence, verdict)}: {offered}, {reserve}")
    return replace(verdict, text=f"{verdict.text}; {offered}, {carried:.4g} answered")


def _state(evidence: Evidence, verdict: Verdict) -> str:
    if evidence.busy_share is None:
        return verdict.saturated
    return f"{verdict.saturated} (replicas busy {_percent(evidence.busy_share)})"


def _judge_replicas(evidence: Evidence) -> Verdict:
    if evidence.replicas is None:
        return Verdict(
            "undecided",
            "unknown",
            "undecided: nothing is known of the replicas, for want of the server's own counters of this model",
            evidence,
        )
    if evidence.replicas == 0:
        return Verdict("undecided", "unknown", "undecided: no replica was left at the end", evidence)
    if (evidence.batches or 0) < MIN_BATCHES * evidence.replicas:
        text = f"undecided: {evidence.batches or 0} batches on {evidence.replicas} replicas are too few; run for longer"
        return Verdict("undecided", "unknown", text, evidence)
    if evidence.busy_share is None:
        share = _percent(evidence.in_flight_share)
        text = (
            f"undecided: the replicas do not report their time in compute (a batch was outstanding {share} of the time)"
        )
        return Verdict("undecided", "unknown", text, evidence)
    state = f"replicas busy {_percent(evidence.busy_share)}, batches {evidence.mean_batch:.2f} of {evidence.max_batch}"
    if evidence.busy_share >= BUSY_SHARE and evidence.batches_had_room:
        more = "a higher rate" if evidence.offered_rps is not None else "a higher --max-in-flight"
        text = f"undecided ({state}): always busy, with room in their batches; {more} shows what those would carry"
        return Verdict("undecided", "load", text, evidence)
    if evidence.busy_share >= BUSY_SHARE:
        gap = "" if evidence.gap_ms is None else f", {evidence.gap_ms:.2g} ms between two"
        return Verdict("yes", "replicas", f"yes ({state}{gap}): the replicas are the limit", evidence)
    limit, reason = _limit(evidence)
    return Verdict("no", limit, f"no ({state}): {reason}", evidence)


def _limit(evidence: Evidence) -> tuple[Limit, str]:
    """Who kept the replicas waiting: follow the request from the client, the first that had no more to give."""
    needed = -(-evidence.max_batch // evidence.rows) * (evidence.replicas or 0)
    if evidence.offered_rps is None and evidence.window < needed:
        reason = f"{evidence.window} requests in flight cannot fill {needed} places in batches; raise --max-in-flight"
        return "load", reason
    if not evidence.queue_empty:
        if evidence.queue_empty_share is None:
            return "frontend", f"{evidence.queue_text} and instances did too, so the server's own work is the limit"
        return "frontend", "queries always waited and replicas did too, so the frontend is the limit"
    if evidence.offered_rps is not None:
        return "unknown", "replicas had time to spare, so what was not answered was held up elsewhere"
    if evidence.in_flight_mean < WINDOW_FULL_SHARE * evidence.window:
        if evidence.sent is not None and evidence.sent < FEW_WINDOWS * evidence.window:
            return "unknown", f"{evidence.sent} requests are too few to keep {evidence.window} in flight; send more"
        reason = f"{evidence.queue_text} and the client did not fill its window"
        return "client", f"{reason}, so the client is the limit; {evidence.more_clients}"
    frontend_cpu, client_cpu = evidence.frontend_cpu_share or 0.0, evidence.client_cpu_share
    most = max(frontend_cpu, client_cpu)
    if most >= WORKING_SHARE:
        limit: Limit = "frontend" if most == frontend_cpu else "client"
        reason = f"requests were on their way but {evidence.queue_text}"
        text = f"{reason}, and of those who carry them the {limit} worked most ({_percent(most)})"
        return limit, f"{text}; {evidence.more_clients}" if limit == "client" else text
    return "load", f"{evidence.window} requests in flight are too few for the way they travel; raise --max-in-flight"


def _percent(share: float | None) -> str:
    return "an unknown share" if share is None else f"{100 * share:.0f} %"
