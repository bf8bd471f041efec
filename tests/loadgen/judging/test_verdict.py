"""Who was the limit, from the evidence alone."""

import random
from collections import Counter
from dataclasses import replace

import pytest
from simulated_server import SimulatedServer, closed_loop, open_loop

from loadgen.judging.evidence import Evidence, ReplicaUse, RoleUse
from loadgen.judging.validity import Check, certificate
from loadgen.judging.verdict import Verdict, carried, judge


def roles(client=0.1, frontends=0.1, replica=0.5):
    """Client and frontends share a core, the replica has its own."""
    shared = client + frontends
    return [
        RoleUse("client", [0], client, own_share=shared),
        RoleUse("frontends", [0], frontends, own_share=shared),
        RoleUse("replica-0", [1], replica, own_share=replica),
    ]


def shared(client, frontends):
    """Processes outside the plan use a quarter of the core of client and frontends, who wait for it."""
    return [
        replace(role, wait_share=0.24, outside_share=0.24 * (role.cores == [0])) for role in roles(client, frontends)
    ]


SATURATED = Evidence(
    replicas=1,
    busy_share=0.9,
    in_flight_share=0.995,
    batches=400,
    max_batch=2,
    mean_batch=1.99,
    full_batch_share=0.99,
    frontend_cpu_share=0.1,
    client_cpu_share=0.1,
    window=1000,
    in_flight_mean=998.0,
    throughput_rps=160.0,
    duration_s=5.0,
    gap_ms=1.2,
    sent=5000,
    roles=roles(),
)
OPEN = replace(SATURATED, offered_rps=160.0, answered_share=1.0, lag_p99_ms=0.1)

UNSEEN = replace(SATURATED, replicas=None, busy_share=None, in_flight_share=None, batches=None)


def judged(evidence: Evidence) -> Verdict:
    """The verdict on evidence, whose certificate comes first."""
    return judge(evidence, certificate(evidence))


@pytest.mark.parametrize(
    ("evidence", "changes", "saturated", "limit"),
    [
        pytest.param(SATURATED, {}, "yes", "replicas", id="full batches all the time"),
        pytest.param(SATURATED, {"busy_share": 0.4}, "yes", "replicas", id="the way to the replica is its time too"),
        pytest.param(SATURATED, {"busy_share": None, "gap_ms": None}, "yes", "replicas", id="replicas without times"),
        pytest.param(SATURATED, {"in_flight_share": 0.95}, "yes", "replicas", id="95% is all the time"),
        pytest.param(SATURATED, {"full_batch_share": 0.9}, "yes", "replicas", id="90% are full"),
        pytest.param(
            SATURATED,
            {"busy_share": 0.1, "roles": roles(0.4, 0.55, 0.2)},
            "no",
            "frontend",
            id="the frontend's core has no more to give",
        ),
        pytest.param(
            SATURATED,
            {"busy_share": 0.1, "roles": roles(0.65, 0.3)},
            "no",
            "frontend",
            id="which the client uses most",
        ),
        pytest.param(
            SATURATED,
            {"busy_share": 0.75, "roles": roles(0.4, 0.55)},
            "yes",
            "replicas",
            id="before replicas that compute",
        ),
        pytest.param(
            SATURATED,
            {"busy_share": 0.5, "roles": roles(0.4, 0.55)},
            "undecided",
            "unknown",
            id="before replicas that compute half of the time",
        ),
        pytest.param(SATURATED, {"roles": roles(0.4, 0.45)}, "yes", "replicas", id="85% are not all of a core"),
        pytest.param(
            SATURATED,
            {"busy_share": 0.1, "roles": shared(0.4, 0.36)},
            "undecided",
            "unknown",
            id="a core that others use up in part",
        ),
        pytest.param(
            SATURATED,
            {"in_flight_share": 0.7, "roles": shared(0.4, 0.36)},
            "undecided",
            "unknown",
            id="the same before replicas that wait",
        ),
        pytest.param(
            SATURATED, {"roles": shared(0.1, 0.06)}, "yes", "replicas", id="others on a core that has time to spare"
        ),
        pytest.param(
            SATURATED,
            {"in_flight_share": 0.93, "full_batch_share": 0.1, "roles": roles(0.4, 0.59)},
            "no",
            "frontend",
            id="batches are not full since the frontend is used up",
        ),
        pytest.param(
            SATURATED,
            {
                "roles": [
                    RoleUse("frontends", [0], 0.2, own_share=1.0),
                    RoleUse("replica-0", [0], 0.8, own_share=1.0),
                ]
            },
            "yes",
            "replicas",
            id="a core that the replica itself uses most",
        ),
        pytest.param(
            SATURATED,
            {"busy_share": 0.1, "roles": roles()[:1], "frontend_cpu_share": 0.95},
            "no",
            "frontend",
            id="an external frontend at work",
        ),
        pytest.param(SATURATED, {"window": 1, "in_flight_share": 0.9}, "no", "load", id="a window below the places"),
        pytest.param(SATURATED, {"full_batch_share": 0.5}, "no", "load", id="room in batches"),
        pytest.param(
            SATURATED, {"in_flight_share": 0.6, "in_flight_mean": 300.0}, "no", "client", id="a window that is not full"
        ),
        pytest.param(
            SATURATED, {"in_flight_share": 0.6, "roles": roles(0.3, 0.65)}, "no", "frontend", id="works on the way"
        ),
        pytest.param(
            SATURATED, {"in_flight_share": 0.6, "roles": roles(0.65, 0.3)}, "no", "client", id="the client works more"
        ),
        pytest.param(SATURATED, {"in_flight_share": 0.6}, "no", "load", id="the way there and back"),
        pytest.param(
            SATURATED,
            {"in_flight_share": 0.6, "in_flight_mean": 5.0, "sent": 16},
            "undecided",
            "unknown",
            id="too few requests to fill a window",
        ),
        pytest.param(SATURATED, {"batches": 2}, "undecided", "unknown", id="too few batches"),
        pytest.param(SATURATED, {"replicas": 0}, "undecided", "unknown", id="no replica"),
        pytest.param(OPEN, {}, "yes", "load", id="carried without reserve"),
        pytest.param(OPEN, {"in_flight_share": 0.92}, "near", "load", id="carried near the limit"),
        pytest.param(OPEN, {"in_flight_share": 0.8}, "no", "load", id="carried"),
        pytest.param(
            OPEN, {"mean_batch": 1.2, "full_batch_share": 0.2}, "no", "load", id="carried with room in batches"
        ),
        pytest.param(OPEN, {"batches": 2, "in_flight_share": 0.01}, "no", "load", id="carried, very little"),
        pytest.param(OPEN, {"throughput_rps": 150.0}, "yes", "replicas", id="not carried by busy replicas"),
        pytest.param(
            OPEN, {"throughput_rps": 150.0, "full_batch_share": 0.7}, "near", "replicas", id="not carried at the knee"
        ),
        pytest.param(
            OPEN, {"throughput_rps": 150.0, "in_flight_share": 0.5}, "undecided", "unknown", id="not carried, but idle"
        ),
        pytest.param(
            OPEN, {"answered_share": 0.9, "in_flight_share": 0.5}, "undecided", "unknown", id="answered in part"
        ),
        pytest.param(UNSEEN, {}, "undecided", "unknown", id="unseen"),
        pytest.param(UNSEEN, {"in_flight_mean": 300.0}, "undecided", "client", id="unseen, a window that is not full"),
        pytest.param(
            UNSEEN, {"roles": [RoleUse("client", [0], 0.97, own_share=0.97)]}, "undecided", "client", id="all"
        ),
        pytest.param(
            UNSEEN,
            {"offered_rps": 160.0, "answered_share": 1.0, "lag_p99_ms": 0.1},
            "undecided",
            "load",
            id="unseen, carried",
        ),
        pytest.param(
            UNSEEN,
            {"offered_rps": 200.0, "answered_share": 1.0, "lag_p99_ms": 0.1},
            "undecided",
            "unknown",
            id="unseen, not carried",
        ),
    ],
)
def test_judge(evidence, changes, saturated, limit):
    """One row, one judgement."""
    evidence = replace(evidence, **changes)
    verdict = judged(evidence)
    assert (verdict.saturated, verdict.limit, verdict.evidence) == (saturated, limit, evidence)


def test_nothing_is_concluded_from_an_invalid_run():
    """Whatever the evidence looks like; why it is, the certificate says."""
    failed = Check("outside load", "a compiler ran on core 1", "nothing else runs there", "failed", "end it")
    verdict = judge(SATURATED, [failed])
    assert (verdict.saturated, verdict.limit) == ("undecided", "unknown")
    assert verdict.text == "undecided: the run is invalid"


def test_the_text_has_the_figures():
    """A reader needs no table."""
    assert judged(SATURATED).text == (
        "yes: replicas had a batch in flight 100% of the time, 99% of batches full (mean 1.99 of 2), "
        "11.2 ms in the model per batch, 1.2 ms between, the replicas are the limit"
    )
    text = judged(replace(SATURATED, busy_share=0.1, roles=roles(0.4, 0.55, 0.2))).text
    assert "the cores of frontends were used up (frontends 55%, client 40%)" in text


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({}, "its process used 10% of a core, so more processes would not help"),
        ({"clients": 3}, "each of its processes used at most 10% of a core, so more processes would not help"),
        (
            {"clients": 3, "workers": []},
            "each of its processes used at most 10% of a core; "
            "whether other programs had the cores of their nodes is not seen",
        ),
        ({"clients": 3, "workers": [], "client_cpu_share": 0.9}, "try --clients 6"),
    ],
    ids=["one", "several", "on nodes", "busy"],
)
def test_the_text_says_what_more_clients_would_do(changes, text):
    """Of nodes it is not known whether their cores were free."""
    found = judged(replace(UNSEEN, in_flight_mean=300.0, **changes)).text
    assert found == f"undecided: the client kept 300 of {UNSEEN.window:,} requests in flight; {text}"


def test_the_text_says_how_many_replicas_worked():
    """Where not all did: of one that was set aside no time counts, so the others are found to be the limit."""
    uses = [ReplicaUse(f"m:1:{number}", True, 130) for number in range(3)]
    hung = replace(SATURATED, replicas=3, replica_use=[*uses[:2], replace(uses[2], aside_s=3.0, hung_times=1)])
    died = replace(SATURATED, replicas=2, replica_use=[*uses[:2], replace(uses[2], alive=False)])
    roles = [replace(use, role=f"replica-{number}") for number, use in enumerate(uses)]
    again = [*roles[:2], replace(roles[2], alive=False), replace(roles[2], name="m:1:3")]
    for evidence in (hung, died, replace(SATURATED, replicas=3, replica_use=again)):
        verdict = judged(evidence)
        assert (verdict.saturated, verdict.limit) == ("yes", "replicas")
        assert verdict.text.startswith("yes: 2 of 3 replicas worked throughout; replicas had a batch in flight 100%")


SIMULATED = 100


@pytest.mark.no_cover
@pytest.mark.parametrize("load", [0.8, 1.0, 1.05])
def test_simulated_servers_are_judged_right(load):
    """Of servers whose limit is known, a schedule below it and one above it."""
    found: Counter[tuple[str, str]] = Counter()
    for number in range(SIMULATED):
        draw = random.Random(f"{load} {number}")
        server = SimulatedServer.drawn(draw)
        verdict = judged(open_loop(server, load, min(10.0, 12000 / server.capacity_rps), draw))
        found[verdict.saturated, verdict.limit] += 1
    assert sum(count for (saturated, _), count in found.items() if saturated == "undecided") <= 0.1 * SIMULATED
    if load == 0.8:
        assert found["no", "load"] >= 0.95 * SIMULATED
    elif load == 1.0:
        assert found["no", "load"] <= 0.03 * SIMULATED
    else:
        assert found["yes", "replicas"] >= 0.95 * SIMULATED


@pytest.mark.no_cover
@pytest.mark.parametrize(("windows", "limit"), [(0.5, "load"), (4.0, "replicas")])
def test_simulated_closed_loops_are_judged_right(windows, limit):
    """A window of half the places cannot fill the batches; one of four times the places keeps all replicas busy."""
    found: Counter[str] = Counter()
    for number in range(SIMULATED):
        draw = random.Random(f"{windows} {number}")
        server = replace(SimulatedServer.drawn(draw), max_batch=4, replicas=2)
        window = int(windows * server.max_batch * server.replicas)
        verdict = judged(closed_loop(server, window, min(10.0, 12000 / server.capacity_rps), draw))
        found[verdict.limit] += 1
    assert found[limit] >= 0.95 * SIMULATED


def test_a_few_requests_that_are_under_way_at_the_end_are_no_limit_of_the_server():
    """Of few requests, one more than at the beginning may be under way by chance."""
    assert carried(0.95, 1.0, 40.0)
    assert not carried(0.95, 1.0, 100.0)
    assert not carried(0.95, 1.0, 0.0)
    slow = replace(UNSEEN, answered_share=1.0, offered_rps=0.275, throughput_rps=0.225, duration_s=40.0)
    assert judged(slow).limit == "load"
    assert judged(replace(slow, duration_s=400.0)).limit == "unknown"
