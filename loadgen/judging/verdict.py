"""Judges from the evidence of a valid run whether it was saturated, and what the limit was. Pure.

Saturated is a statement about replicas: they always had a batch in flight, and batches were full. A batch in flight is
the model's time and the way between frontend and replica: both belong to the replica's cycle. In front of a model that
does nothing the frontend is the limit and the replicas look the same, so its cores are asked first.

A cause is named only where the evidence excludes the others; else the verdict is undecided and says what is excluded.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Literal, get_args

from msgspec import Meta

from frontend_launch.quantities import number, plural
from loadgen.judging.evidence import Evidence, RoleUse
from loadgen.judging.validity import CLIENT_BUSY, Check, invalid

Saturated = Literal["yes", "near", "no", "undecided"]
Limit = Literal["replicas", "frontend", "client", "load", "unknown"]

NEAR_SHARE = 0.9
"""From this share of time with a batch in flight on, replicas are near their limit, ..."""

NEAR_FILL = 0.85
"""... if batches have this share of the largest on the average."""

WINDOW_FULL_SHARE = 0.9
"""From this mean share of the window on, the client counts as having kept it full."""

OWN_SHARE = 0.9
"""From this share of CPU time of the plan's own roles on, their cores are exhausted."""

WAITING_SHARE, COMPUTING_SHARE = 0.5, 0.75
"""Below the first share of time in the model, replicas mostly wait; from the second on, they mostly compute."""

CARRIED_SHARE = 0.99
"""From this share of the offered rate on, it counts as carried."""

UNDER_WAY = 3.0
"""At most this many more requests under way at the end than at the beginning are chance, not a backlog."""

FEW_WINDOWS = 3
"""A run of fewer windows of requests than this is mostly its beginning and its end."""

MIN_BATCHES = 3
"""Batches each replica must have answered before its shares mean anything."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """The judgement.

    Attributes:
        saturated: whether the replicas were busy all the time.
        limit: what kept the throughput from being higher; a later version may have more values.
        text: one sentence for a reader.
        evidence: what it rests on.
    """

    saturated: Annotated[str, Meta(extra_json_schema={"enum": list(get_args(Saturated))})]
    limit: Annotated[str, Meta(extra_json_schema={"enum": list(get_args(Limit))})]
    text: str
    evidence: Evidence


@dataclass(frozen=True, slots=True)
class _Judgement:
    saturated: Saturated
    limit: Limit
    text: str


def judge(evidence: Evidence, checks: Sequence[Check]) -> Verdict:
    """Judge one run.

    Args:
        evidence: of the run.
        checks: its certificate; nothing is concluded from a run that is invalid.
    """
    if invalid(checks) is not None:
        found = _Judgement("undecided", "unknown", "the run is invalid")
    else:
        found = _seen(evidence) if evidence.replicas is not None else _unseen(evidence)
    return Verdict(found.saturated, found.limit, f"{found.saturated}: {_worked(evidence)}{found.text}", evidence)


def _worked(evidence: Evidence) -> str:
    """The number of replicas that worked, where not all did."""
    worked, planned = evidence.worked, evidence.planned
    return "" if worked == planned else f"{worked} of {planned} replicas worked throughout; "


def _seen(evidence: Evidence) -> _Judgement:
    """The limit where the replicas are seen."""
    replicas, batches = evidence.replicas or 0, evidence.batches or 0
    if replicas == 0:
        return _Judgement("undecided", "unknown", "no replica was left at the end")
    carried = _carried(evidence)
    if batches < MIN_BATCHES * replicas:
        if carried:
            return _Judgement("no", "load", f"{_offered(evidence)}, as many answered")
        text = f"{plural(batches, 'batch', 'batches')} on {plural(replicas, 'replica')}: too few; run for longer"
        return _Judgement("undecided", "unknown", text)
    if carried:
        return _load(evidence)
    if evidence.always_busy and evidence.full:
        return _frontend(evidence) or _replicas(evidence)
    if evidence.offered_rps is not None:
        return _not_carried(evidence)
    return _closed_loop(evidence)


def carried(throughput_rps: float, offered_rps: float, duration_s: float) -> bool:
    """Whether an offered rate was answered within a time, except for a few requests.

    Args:
        throughput_rps: answers a second in that time.
        offered_rps: requests a second that were planned for it.
        duration_s: its length; 0 where it is not known.
    """
    missing = (offered_rps - throughput_rps) * duration_s
    return throughput_rps >= CARRIED_SHARE * offered_rps or 0 < round(missing, 6) <= UNDER_WAY


def _carried(evidence: Evidence) -> bool:
    """Whether a schedule was answered within the measured part, except for requests in flight at its end."""
    if not evidence.offered_rps or (evidence.answered_share or 0.0) < CARRIED_SHARE:
        return False
    return carried(evidence.throughput_rps or 0.0, evidence.offered_rps, evidence.duration_s or 0.0)


def _load(evidence: Evidence) -> _Judgement:
    """The offered rate was answered."""
    said = f"{_offered(evidence)}, as many answered; {_state(evidence)}"
    if evidence.always_busy and evidence.full:
        return _Judgement("yes", "load", f"{said}: without reserve")
    if (evidence.in_flight_share or 0.0) >= NEAR_SHARE and (
        evidence.mean_batch or 0.0
    ) >= NEAR_FILL * evidence.max_batch:
        return _Judgement("near", "load", f"{said}: near the limit")
    if evidence.always_busy:
        return _Judgement("no", "load", f"{said}: with room in batches")
    return _Judgement("no", "load", said)


_FRONTENDS = ("frontend", "query")
"""How the roles of query frontends begin."""


def _frontend(evidence: Evidence) -> _Judgement | None:
    """The frontend, where its cores are exhausted and replicas mostly wait for it; None for the replicas."""
    role, computing = _busiest(evidence, _FRONTENDS), evidence.busy_share or 0.0
    if role is None:
        share = evidence.frontend_cpu_share or 0.0
        if share < OWN_SHARE or computing >= WAITING_SHARE:
            return None
        return _Judgement("no", "frontend", f"the frontend's process used {share:.0%} of a core; {_state(evidence)}")
    # Processes that wake up for each reply use a core up before it is full: replicas that compute are asked too.
    if computing >= COMPUTING_SHARE or _largest_user(evidence, role).role.startswith("replica"):
        return None
    used_up, state = _used_up(evidence, role), _state(evidence)
    either = "the frontend or the replicas are the limit"
    if role.own_share < OWN_SHARE:
        if role.own_share + role.disturbed_share < OWN_SHARE:
            return None
        return _Judgement(
            "undecided", "unknown", f"{used_up}, in part by processes outside the plan; {state}, {either}"
        )
    if computing >= WAITING_SHARE:
        return _Judgement("undecided", "unknown", f"{used_up}; {state}, {either}")
    return _Judgement("no", "frontend", f"{used_up}, and replicas waited for them; {state}")


def _replicas(evidence: Evidence) -> _Judgement:
    return _Judgement("yes", "replicas", f"{_state(evidence)}, the replicas are the limit")


def _not_carried(evidence: Evidence) -> _Judgement:
    """A schedule that was not carried by replicas that were not always busy with full batches."""
    answered = f"{_offered(evidence)}, {number(evidence.throughput_rps or 0.0)} answered; {_state(evidence)}"
    if (evidence.in_flight_share or 0.0) >= NEAR_SHARE:
        return _Judgement("near", "replicas", f"{answered}, the replicas are at their limit")
    text = f"{answered}; replicas had time to spare and the client sent on time: requests were held up elsewhere"
    return _Judgement("undecided", "unknown", text)


def _closed_loop(evidence: Evidence) -> _Judgement:
    """Who kept the replicas waiting: follow the request from the client."""
    places = -(-evidence.max_batch // evidence.rows) * (evidence.replicas or 0)
    window = f"{plural(evidence.window, 'request')} in flight"
    if evidence.window < places:
        text = f"{window} cannot fill {plural(places, 'place')} in batches; raise --max-in-flight"
        return _Judgement("no", "load", f"{text} ({_state(evidence)})")
    islands = [role for part in (_FRONTENDS, ("client",)) if (role := _busiest(evidence, part)) is not None]
    full = max(islands, key=lambda role: role.own_share, default=None)
    used_up = full is not None and full.own_share >= OWN_SHARE
    if (evidence.in_flight_share or 0.0) >= NEAR_SHARE and not evidence.full and not used_up:
        return _Judgement("no", "load", f"{_state(evidence)}; raise --max-in-flight to fill them")
    if (few := _few_requests(evidence)) is not None:
        return few
    if evidence.in_flight_mean < WINDOW_FULL_SHARE * evidence.window:
        return _client(evidence)
    if full is not None and used_up:
        return _Judgement("no", _part(_largest_user(evidence, full)), f"{_used_up(evidence, full)}; {_state(evidence)}")
    if full is not None and full.own_share + full.disturbed_share >= OWN_SHARE:
        text = f"{_used_up(evidence, full)}, in part by processes outside the plan; {_state(evidence)}"
        return _Judgement("undecided", "unknown", text)
    text = f"{window}: too few to cover the way there and back; raise --max-in-flight"
    return _Judgement("no", "load", f"{text} ({_state(evidence)})")


def _unseen(evidence: Evidence) -> _Judgement:
    """The limit where the replicas are not seen: only what the client itself shows."""
    statistics = _statistics(evidence)
    if _carried(evidence):
        return _Judgement("undecided", "load", f"{_offered(evidence)}, as many answered; {statistics}")
    if evidence.offered_rps is not None:
        text = f"{_offered(evidence)}, {number(evidence.throughput_rps or 0.0)} answered; the client sent on time"
        return _Judgement("undecided", "unknown", f"{text}: the limit is the server or the way to it; {statistics}")
    if (few := _few_requests(evidence)) is not None:
        return few
    if evidence.in_flight_mean < WINDOW_FULL_SHARE * evidence.window:
        return _client(evidence)
    role = _busiest(evidence, ("client",))
    if role is not None and role.own_share >= OWN_SHARE:
        return _Judgement("undecided", "client", f"{_used_up(evidence, role)}; {_more_clients(evidence)}")
    text = f"the client kept {plural(evidence.window, 'request')} in flight; {statistics}"
    more = f"if {2 * evidence.window:,} bring no more, the limit is the server or the way to it"
    return _Judgement("undecided", "unknown", f"{text}; {more}")


def _statistics(evidence: Evidence) -> str:
    """The server's own figures, which prove nothing."""
    mean = "" if evidence.mean_batch is None else f", batches of {number(evidence.mean_batch, 3)}"
    if evidence.batch_ms is not None:
        return f"the frontend's metrics have {number(evidence.batch_ms, 3)} ms a batch{mean}"
    if evidence.busy_share is None:
        return "the replicas are not seen from here"
    mean += f" (at most {evidence.max_batch})"
    return f"the server says its instances were busy {_percent(evidence.busy_share)} of the time{mean}"


def _few_requests(evidence: Evidence) -> _Judgement | None:
    if evidence.sent is None or evidence.sent >= FEW_WINDOWS * evidence.window:
        return None
    if evidence.in_flight_mean >= WINDOW_FULL_SHARE * evidence.window:
        return None
    text = f"{plural(evidence.sent, 'request')}: too few to keep {evidence.window:,} in flight; send more"
    return _Judgement("undecided", "unknown", text)


def _client(evidence: Evidence) -> _Judgement:
    in_flight = f"the client kept {number(evidence.in_flight_mean)} of {plural(evidence.window, 'request')} in flight"
    state: Saturated = "undecided" if evidence.replicas is None else "no"
    return _Judgement(state, "client", f"{in_flight}; {_more_clients(evidence)}")


def _more_clients(evidence: Evidence) -> str:
    if evidence.client_cpu_share >= CLIENT_BUSY:
        return f"try --clients {2 * evidence.clients}"
    share = f"{evidence.client_cpu_share:.0%} of a core"
    used = f"its process used {share}" if evidence.clients == 1 else f"each of its processes used at most {share}"
    if evidence.workers is not None:
        return f"{used}; whether other programs had the cores of their nodes is not seen"
    return f"{used}, so more processes would not help"


def _busiest(evidence: Evidence, parts: tuple[str, ...]) -> RoleUse | None:
    """The role among some parts of the plan whose island is used most."""
    roles = [role for role in evidence.roles if role.role.startswith(parts)]
    return max(roles, key=lambda role: role.own_share, default=None)


def _sharing(evidence: Evidence, role: RoleUse) -> list[RoleUse]:
    """The roles on the cores of one, itself included, the one that used most first."""
    cores = set(role.cores)
    return sorted(
        (other for other in evidence.roles if cores & set(other.cores)), key=lambda other: other.cpu_share, reverse=True
    )


def _largest_user(evidence: Evidence, role: RoleUse) -> RoleUse:
    return _sharing(evidence, role)[0]


def _used_up(evidence: Evidence, role: RoleUse) -> str:
    users = ", ".join(f"{other.role} {other.cpu_share:.0%}" for other in _sharing(evidence, role))
    return f"the cores of {role.role} were used up ({users})"


def _part(role: RoleUse) -> Limit:
    return "client" if role.role.startswith("client") else "replicas" if role.role.startswith("replica") else "frontend"


def _offered(evidence: Evidence) -> str:
    return f"{number(evidence.offered_rps)} requests/s offered"


def _state(evidence: Evidence) -> str:
    """How busy the replicas were, and with what."""
    busy = f"replicas had a batch in flight {_percent(evidence.in_flight_share)} of the time"
    fill = f"{_percent(evidence.full_batch_share)} of batches full"
    mean = "" if evidence.mean_batch is None else f" (mean {number(evidence.mean_batch, 3)} of {evidence.max_batch})"
    return f"{busy}, {fill}{mean}{_cycle(evidence)}"


def _cycle(evidence: Evidence) -> str:
    if evidence.busy_share is None or evidence.gap_ms is None or not evidence.batches or not evidence.duration_s:
        return ""
    compute_ms = 1000 * evidence.busy_share * (evidence.replicas or 0) * evidence.duration_s / evidence.batches
    return f", {number(compute_ms, 3)} ms in the model per batch, {number(evidence.gap_ms, 2)} ms between"


def _percent(share: float | None) -> str:
    return "an unknown share" if share is None else f"{100 * share:.0f}%"
