"""The certificate of a run: checks that have to pass before anything is concluded from it. Pure.

To add a check, write a function from the evidence to a `Check` and register it in `CHECKS`, in the order of precedence:
the first check that failed is the reason why a run is invalid.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Annotated, Literal, get_args

from msgspec import Meta

from frontend_launch.integers import core_ranges
from frontend_launch.quantities import number, plural, seconds
from loadgen.judging.evidence import Evidence, RoleUse

CheckVerdict = Literal["passed", "noted", "failed", "unknown"]

CLIENT_BUSY = 0.5
"""From this share of a core on, more client processes may help."""

STALLED_SHARE = 0.02
"""From this share of lost time on, the client of a closed loop ran too little."""

LATE_MS = 10.0
LATE_SHARE = 0.25
"""From this schedule lag on, in milliseconds and as a share of the reported percentile, a schedule was not kept."""

LATE_START_MS = 50.0
"""A worker that begins this much later than agreed did not send with the others."""

UNSENT_SHARE = 0.1
"""From this share of due but unsent requests at the end on, the client was behind its schedule."""

HUNG_S = 1.0
HUNG_TIMES = 20
"""From this time of one batch on, in seconds and as a multiple of the median batch, its replica hung."""

HELD_BACK_SHARE = 0.05
"""From this share of time on, a CPU quota decided the result."""

DISTURBED_SHARE = 0.25
NOTED_SHARE = 0.05
"""From these shares of time on, processes outside the plan decided the result, or are mentioned."""

EDGES_SHARE, EDGES_S, EDGES = 0.05, 0.5, 10
"""A server is read shortly before the measured part begins and after it ends, so it counts more answers: at most this
share of all, this many seconds of answers, and this many answers."""

GAP_DISTANCE = 0.1
"""From this distance between two distributions on, a schedule was not sent as planned."""

CHANGED_SHARE = 0.2
CHANGED_SIGMAS = 4.0
"""From this change of throughput on, as a share and in standard deviations of full batches, a run counts as changed."""

PAUSE_S = 0.5
"""From this pause of the client on, intervals show when answers were read, not when they arrived."""

WATCHED_SHARE = 0.5
"""Below this share of the time, the machine was not watched."""

LOST_SHARE = 0.01
IDLE_SHARE = 0.9
"""From this share on, lost requests need a reason; below this share of busy time, it is not overload."""

STRAGGLER = 1.2
"""From this ratio to the median of its peers on, the compute time of a replica is mentioned."""


_KEEP_APART = "if the server runs there, give the client other cores (--client-cpus)"


@dataclass(frozen=True, slots=True)
class Check:
    """One check of a run.

    Attributes:
        name: what was checked.
        measured: what was found, in words.
        limit: the bound that it must keep, in words.
        verdict: `passed`; `noted`: passed, but the reader should know; `failed`; `unknown`: the data for it is missing.
        remedy: what to do about a failure; None where it passed.
    """

    name: str
    measured: str
    limit: str
    verdict: Annotated[str, Meta(extra_json_schema={"enum": list(get_args(CheckVerdict))})]
    remedy: str | None = None

    @property
    def reason(self) -> str:
        """What was found, in one line."""
        return f"{self.name}: {self.measured}"


def certificate(evidence: Evidence) -> list[Check]:
    """All checks, in their order; that of the end only where it failed, that of workers only where there are some."""
    broke_off = [] if evidence.broke_off is None else [_complete(evidence.broke_off)]
    workers = [] if evidence.workers is None else [_workers(evidence.workers)]
    return [*broke_off, *workers, *(check(evidence) for check in CHECKS)]


def of_worker(evidence: Evidence) -> list[Check]:
    """The checks of one client of a worker, which say whether it sent as it should."""
    return [check(evidence) for check in (_client, _as_planned)]


def invalid(checks: Sequence[Check]) -> Check | None:
    """The first check that failed; None for a valid run."""
    return next((check for check in checks if check.verdict == "failed"), None)


def notes(evidence: Evidence, checks: Sequence[Check]) -> list[str]:
    """Notes on a valid run: checks that were noted, and replicas slower than their peers."""
    return [
        *(check.reason for check in checks if check.verdict == "noted"),
        *_stragglers(evidence),
    ]


# The checks --------------------------------------------------------------------------------------------------


def _complete(reason: str) -> Check:
    """Of a run that could not go on."""
    return Check("run complete", reason, "it goes on to its end", "failed", "find out why: see the notes and the logs")


def _workers(faults: Sequence[str]) -> Check:
    """Whether all workers on other machines began together, sent as they should, and lived to the end."""
    limit = f"all began within {LATE_START_MS:g} ms, sent on time, and lived to the end"
    measured = "; ".join(faults) or "no fault"
    return _check("workers", measured, limit, bool(faults), "look at the node of the worker, or leave it out")


def _client(evidence: Evidence) -> Check:
    """Whether the client ran when it should: without gaps in a closed loop, on schedule in an open one."""
    remedy = _leave_cores(evidence)
    if evidence.offered_rps is not None:
        limit = f"schedule lag p99 below {LATE_MS:g} ms, or below {LATE_SHARE:.0%} of the latency p99"
        if evidence.unsent_share >= UNSENT_SHARE:
            return Check("client on time", behind(evidence), limit, "failed", remedy)
        lag_ms, p99_ms = evidence.lag_p99_ms, evidence.latency_p99_ms
        if lag_ms is None:
            return Check("client on time", "nothing was sent", limit, "unknown")
        share = "" if not p99_ms else f", {lag_ms / p99_ms:.0%} of the latency p99"
        measured = f"schedule lag p99 {number(lag_ms, 3)} ms{share}{_when(evidence)}"
        late = lag_ms >= max(LATE_MS, LATE_SHARE * (p99_ms or 0.0))
        return _check("client on time", measured + _kept(evidence), limit, late, remedy)
    limit = f"less than {STALLED_SHARE:.0%} of the time lost"
    gaps, duration_s = evidence.client_gaps, evidence.duration_s
    if gaps is None or not duration_s:
        return Check("client on time", "no gap above 10 ms", limit, "passed")
    measured = f"{gaps.lost_s / duration_s:.1%} of the time lost in {plural(gaps.count, 'gap')}{_when(evidence)}"
    late = gaps.lost_s >= STALLED_SHARE * duration_s
    return _check("client on time", measured + _kept(evidence), limit, late, remedy)


def _leave_cores(evidence: Evidence) -> str:
    """What to do about a client that was late; more processes help one that was busy."""
    alone = "leave the client's cores to it"
    if _kept(evidence) and _measures_external(evidence):
        alone = f"{alone}; {_KEEP_APART}"
    busy = evidence.client_cpu_share >= CLIENT_BUSY
    return f"{alone}, or spread the load over more client processes" if busy else alone


def behind(evidence: Evidence) -> str:
    """How far the client was behind its schedule."""
    sent = evidence.sent or 0
    return f"the client had sent {sent:,} of {sent + evidence.unsent:,} due requests when the run ended"


def _when(evidence: Evidence) -> str:
    gaps = evidence.client_gaps
    return (
        ""
        if gaps is None
        else f"; the longest gap {seconds(gaps.longest_s)}, {seconds(gaps.longest_at_s)} after the start"
    )


def _kept(evidence: Evidence) -> str:
    """Whether other load kept the client from its cores, which explains its lateness."""
    clients = [role.disturbed_share for role in evidence.roles if role.role.startswith("client")]
    share = max(clients, default=0.0)
    return f"; processes outside the plan kept it waiting {share:.0%} of the time" if share >= NOTED_SHARE else ""


def _hung(evidence: Evidence) -> Check:
    """Whether each replica answered its batches."""
    limit = f"no batch of {HUNG_S:g} s and {HUNG_TIMES} times the median"
    if not evidence.replica_use:
        return Check("replicas answer", "not seen from here", limit, "unknown")
    aside = [replica for replica in evidence.replica_use if replica.aside_s and not replica.failing_times]
    serving = [replica for replica in evidence.replica_use if replica not in aside]
    longest = max(serving or evidence.replica_use, key=lambda replica: replica.longest_batch_s)
    known = [each.median_batch_s for each in evidence.replica_use if each.median_batch_s is not None]
    if not known:
        return Check("replicas answer", "the time of batches is not known", limit, "unknown")
    bound_s = max(HUNG_S, HUNG_TIMES * statistics.median(known))
    measured = f"longest batch {seconds(longest.longest_batch_s)}, of {longest.label}"
    hung = longest.longest_batch_s >= bound_s
    if hung and _stood_still(evidence, longest.longest_batch_s):
        return Check("replicas answer", f"{measured}, while others did not run either", limit, "unknown")
    remedy = "see the log of the replica that registered as {}; leave it out or restart it"
    if aside and not hung:
        measured = f"{measured}; set aside: {', '.join(f'{one.label} for {seconds(one.aside_s)}' for one in aside)}"
        return Check("replicas answer", measured, limit, "noted", remedy.format(aside[0].label))
    return _check("replicas answer", measured, limit, hung, remedy.format(longest.label))


def _stood_still(evidence: Evidence, batch_s: float) -> bool:
    """Whether the client did not run for as long as a batch took, or roles were kept from their cores."""
    gaps = evidence.client_gaps
    if gaps is not None and gaps.longest_s >= batch_s / 2:
        return True
    return any(role.disturbed_share >= DISTURBED_SHARE for role in evidence.roles)


def _alive(evidence: Evidence) -> Check:
    """Whether all replicas lived to the end; a run whose last one is gone is invalid."""
    limit = "all of them at the end"
    planned = evidence.planned + len(evidence.unseen_replicas)
    if not planned:
        return Check("replicas alive", "not seen from here", limit, "unknown")
    gone = _gone(evidence)
    there = len(evidence.replica_use) + len(evidence.unseen_replicas) - len(gone)
    measured = f"{there} of {planned}"
    if not gone:
        return Check("replicas alive", measured, limit, "passed")
    gone_text = f"{'gone' if there < planned else 'replaced'}: {', '.join(gone)}"
    verdict: CheckVerdict = "noted" if there else "failed"
    return Check("replicas alive", f"{measured}; {gone_text}", limit, verdict, "see the logs of those gone")


def _gone(evidence: Evidence) -> list[str]:
    """The replicas that ended, as their frontend saw it; where no frontend tells of one, as its launcher did."""
    unseen = [role for role, runs in evidence.unseen_replicas.items() if not runs]
    return [*(replica.label for replica in evidence.replica_use if not replica.alive), *unseen]


def _quota(evidence: Evidence) -> Check:
    """Whether a CPU quota held a role back."""
    limit = f"no role held back {HELD_BACK_SHARE:.0%} of the time"
    roles = _measuring(evidence)
    if not roles:
        return Check("CPU quota", "not watched", limit, "unknown")
    worst = max(roles, key=lambda role: role.held_back_share)
    measured = f"{worst.role} held back {worst.held_back_share:.1%} of the time"
    if worst.held_back_share == 0:
        measured = "none held back"
    remedy = f"lift the CPU quota of {worst.role}, or give it more"
    return _check("CPU quota", measured, limit, worst.held_back_share >= HELD_BACK_SHARE, remedy)


def _outside(evidence: Evidence) -> Check:
    """Whether processes outside the plan took the cores of a role while it could have run."""
    limit = f"no role kept from its cores {DISTURBED_SHARE:.0%} of the time"
    roles = _measuring(evidence)
    if not roles:
        return Check("outside load", "not watched", limit, "unknown")
    worst = max(roles, key=lambda role: role.disturbed_share)
    share = worst.disturbed_share
    if share < NOTED_SHARE:
        measured = f"no role kept from its cores {NOTED_SHARE:.0%} of the time"
        return Check("outside load", measured, limit, "passed")
    measured = f"{_outside_text(worst)} kept {worst.role} waiting {share:.0%} of the time"
    remedy = f"end what else runs on {_cores(worst)}, or place {worst.role} elsewhere"
    if _measures_external(evidence):
        remedy = f"end what else runs on {_cores(worst)}; {_KEEP_APART}"
    return Check("outside load", measured, limit, "failed" if share >= DISTURBED_SHARE else "noted", remedy)


def _measuring(evidence: Evidence) -> list[RoleUse]:
    """The roles that send, serve or answer; the coordinator of workers on other machines may wait."""
    return [role for role in evidence.roles if role.role != "coordinator"]


def _measures_external(evidence: Evidence) -> bool:
    """Whether the plan has the client only, so that the server may be among the processes outside it."""
    return all(role.role.startswith("client") for role in _measuring(evidence))


def _outside_text(role: RoleUse) -> str:
    return f"processes outside the plan used {role.outside_share:.0%} of {_cores(role)} and"


def _cores(role: RoleUse) -> str:
    return f"core{'' if len(role.cores) == 1 else 's'} {core_ranges(role.cores)}"


def _answers(evidence: Evidence) -> Check:
    """Whether requests were lost: overload excuses timeouts, and where replicas are not seen, it may be overload.

    Nothing excuses that none was answered.
    """
    limit = f"at most {LOST_SHARE:.0%} lost, but for timeouts of replicas that are busy {IDLE_SHARE:.0%} of the time"
    where = ", ".join(f"{count:,} {how.replace('_', ' ')}" for how, count in evidence.lost.items() if count)
    measured = (
        f"{evidence.lost_share:.2%} lost: {where}" if where else "none lost" if evidence.sent else "nothing was sent"
    )
    remedy = "find out where they were lost: see the notes and the logs"
    if evidence.completed == 0:
        remedy = remedy if where else "run for longer, or find out why none came"
        measured = f"no answer in the measured part; {measured}"
        return Check("answers", measured, "one answer or more in the measured part", "failed", remedy)
    if not evidence.sent:
        return Check("answers", measured, limit, "unknown")
    if evidence.lost_share <= LOST_SHARE:
        return Check("answers", measured, limit, "passed")
    if evidence.replicas is None:
        return Check("answers", measured, limit, "noted", remedy)
    timed_out = evidence.lost.get("timed_out", 0) / evidence.sent
    busy = (evidence.in_flight_share or 0.0) >= IDLE_SHARE
    excused = busy and evidence.lost_share - timed_out <= LOST_SHARE
    return Check("answers", measured, limit, "noted" if excused else "failed", remedy)


def _counts(evidence: Evidence) -> Check:
    """Whether client and server count the same answers; else another client or another server takes part."""
    limit = f"within {EDGES_SHARE:.0%}, or what is answered in {EDGES_S:g} s"
    seen = evidence.answers.get("client")
    others = {who: count for who, count in evidence.answers.items() if who != "client"}
    if seen is None or not others:
        return Check("counts agree", "counted by the client only", limit, "unknown")
    measured = ", ".join(f"{who} {count:,}" for who, count in evidence.answers.items())
    # Of replicas that are seen, no more than their batches are answered at once.
    at_once = evidence.in_flight_mean if evidence.replicas is None else evidence.max_batch * evidence.replicas
    edges = max(EDGES_SHARE * seen, EDGES_S * (evidence.throughput_rps or 0.0), at_once, EDGES)
    # The server may have answered what timed out or was sent once more; what failed may have been refused or lost.
    twice = evidence.lost.get("timed_out", 0) + evidence.resent
    too_many = max(others.values()) > seen + twice + edges
    too_few = min(others.values()) < seen - evidence.lost.get("failed", 0) - evidence.lost.get("defaulted", 0) - edges
    remedy = "load the server from here only" if too_many else "load one server, and nothing that answers in its place"
    return _check("counts agree", measured, limit, too_many or too_few, remedy)


def _as_planned(evidence: Evidence) -> Check:
    """Whether requests were sent at the distances of the schedule, whatever its process."""
    limit = f"distance of the distributions at most {GAP_DISTANCE:g}"
    if evidence.gap_distance is None:
        without = evidence.offered_rps is None
        measured = "no schedule" if without else "gaps too short, or too few, for the timers of this machine"
        return Check("sent as planned", measured, limit, "unknown")
    measured = f"distance {evidence.gap_distance:.3f}"
    remedy = _leave_cores(evidence)
    return _check("sent as planned", measured, limit, evidence.gap_distance > GAP_DISTANCE, remedy)


def _unchanged(evidence: Evidence) -> Check:
    """Whether the first and the last third of the run had the same throughput."""
    limit = f"within {CHANGED_SHARE:.0%}, or chance"
    first, last, duration_s = evidence.first_third_rps, evidence.last_third_rps, evidence.duration_s
    if first is None or last is None or not duration_s:
        text = "less than three intervals of the log, or a schedule that varies"
        return Check("throughput unchanged", text, limit, "unknown")
    measured = f"first third {number(first)} requests/s, last {number(last)}"
    # Answers come in batches, so their number varies like that of batches.
    chance = CHANGED_SIGMAS * math.sqrt(3 * evidence.max_batch * (first + last) / duration_s)
    changed = abs(last - first) > max(CHANGED_SHARE * max(first, last), chance)
    gaps = evidence.client_gaps
    if changed and gaps is not None and gaps.longest_s >= PAUSE_S:
        text = f"{measured}, but the client did not run for {seconds(gaps.longest_s)}, and read answers late"
        return Check("throughput unchanged", text, limit, "unknown")
    if changed and _gone(evidence):
        return Check("throughput unchanged", f"{measured}: a replica is gone", limit, "noted", "see its log")
    if changed and evidence.worked < evidence.planned:
        return Check("throughput unchanged", f"{measured}: a replica was set aside", limit, "noted", "see its log")
    return _check("throughput unchanged", measured, limit, changed, "run for longer, or find out what changed")


def _batches(evidence: Evidence) -> Check:
    """Whether no batch had to be computed again."""
    limit = "none"
    if evidence.failed_batches is None:
        return Check("failed batches", "not seen from here", limit, "unknown")
    remedy = "see the logs of the replicas for the reason"
    measured = "none"
    if evidence.failed_batches:
        measured = f"{evidence.failed_batches:,} of {plural(evidence.batches or 0, 'batch', 'batches')} failed"
        where = [f"{one.failed_batches:,} of {one.label}" for one in evidence.replica_use if one.failed_batches]
        measured += f" ({', '.join(where)})" if where and len(evidence.replica_use) > 1 else ""
    return _check("failed batches", measured, limit, evidence.failed_batches > 0, remedy)


def _placement(evidence: Evidence) -> Check:
    """Whether all roles ran on the cores of the plan."""
    limit = "all roles on their cores"
    if evidence.misplaced is None:
        return Check("placement", "not seen from here", limit, "unknown")
    measured = "; ".join(evidence.misplaced) or "as planned"
    return _check("placement", measured, limit, bool(evidence.misplaced), "end what moved them to other cores")


def _watched(evidence: Evidence) -> Check:
    """Whether the machine was watched, on which other checks rest."""
    limit = f"at least {WATCHED_SHARE:.0%} of the time"
    if evidence.watched_share is None:
        return Check("machine watched", "not at all", limit, "unknown")
    measured = f"{evidence.watched_share:.0%} of the time"
    remedy = "see the notes for why the sampler ended"
    return _check("machine watched", measured, limit, evidence.watched_share < WATCHED_SHARE, remedy)


def _stragglers(evidence: Evidence) -> list[str]:
    """Replicas that compute slower than their peers."""
    timed = [replica for replica in evidence.replica_use if replica.compute_ms is not None and replica.batches]
    cores = {role.role: _cores(role) for role in evidence.roles}
    lines = []
    for replica in timed:
        peers = [
            peer.compute_ms
            for peer in timed
            if peer is not replica
            and peer.compute_ms is not None
            and (not peer.role or peer.role != replica.role)  # else one took the other's place
        ]
        if not peers or replica.compute_ms is None:
            continue
        usual_ms = statistics.median(peers)
        if replica.compute_ms > STRAGGLER * usual_ms:
            where = cores.get(replica.role or f"replica-{replica.name.rpartition(':')[2]}")
            on = "" if where is None else f" (on {where})"
            own, usual = number(replica.compute_ms, 3), number(usual_ms, 3)
            lines.append(f"straggler: {replica.name}{on} takes {own} ms a batch, its peers {usual} ms")
    return lines


def _check(name: str, measured: str, limit: str, failed: bool, remedy: str) -> Check:
    return Check(name, measured, limit, "failed", remedy) if failed else Check(name, measured, limit, "passed")


CHECKS: tuple[Callable[[Evidence], Check], ...] = (
    _client,
    _hung,
    _alive,
    _quota,
    _outside,
    _answers,
    _counts,
    _as_planned,
    _unchanged,
    _batches,
    _placement,
    _watched,
)
