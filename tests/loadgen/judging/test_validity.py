"""The certificate: each fault flips its own check and no other."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from loadgen.judging.evidence import ClientGaps, Evidence, ReplicaUse, RoleUse
from loadgen.judging.validity import certificate, invalid, notes
from loadgen.judging.verdict import judge

ROLES = [
    RoleUse("client", [0], 0.2, wait_share=0.01, own_share=0.4, outside_share=0.02),
    RoleUse("frontends", [0], 0.2, wait_share=0.01, own_share=0.4, outside_share=0.02),
    RoleUse("replica-0", [1], 0.5, wait_share=0.01, own_share=1.0, outside_share=0.0),
    RoleUse("replica-1", [1], 0.5, wait_share=0.5, own_share=1.0, outside_share=0.0),
]
REPLICAS = [ReplicaUse(f"m:1:{number}", True, 500, 10.0, 0.01, 0.03) for number in range(2)]
CLEAN = Evidence(
    max_batch=2,
    client_cpu_share=0.2,
    window=200,
    in_flight_mean=199.0,
    replicas=2,
    busy_share=0.9,
    in_flight_share=0.8,
    batches=1000,
    mean_batch=2.0,
    full_batch_share=1.0,
    throughput_rps=400.0,
    sent=2200,
    duration_s=5.0,
    latency_p99_ms=600.0,
    roles=ROLES,
    replica_use=REPLICAS,
    answers={"client": 2000, "frontend": 2010, "replicas": 2010},
    failed_batches=0,
    first_third_rps=400.0,
    last_third_rps=410.0,
    misplaced=[],
    watched_share=0.97,
)
OPEN = replace(CLEAN, offered_rps=400.0, answered_share=1.0, lag_p99_ms=2.0, latency_p99_ms=20.0, gap_distance=0.02)


def role(changed: int, **changes: Any) -> list[RoleUse]:
    """The roles, one of them changed."""
    return [replace(one, **changes) if number == changed else one for number, one in enumerate(ROLES)]


def replica(**changes: Any) -> list[ReplicaUse]:
    """The replicas, the second of them changed."""
    return [REPLICAS[0], replace(REPLICAS[1], **changes)]


FAULTS = [
    pytest.param(CLEAN, {"broke_off": "no answer to any request for 60 s (--stall)"}, "run complete", id="a stall"),
    pytest.param(CLEAN, {"completed": 0}, "answers", id="no answer"),
    pytest.param(
        CLEAN, {"replica_use": [replace(one, alive=False) for one in REPLICAS]}, "replicas alive", id="no replica left"
    ),
    pytest.param(
        CLEAN, {"client_gaps": ClientGaps(2, 0.5, 0.4, 3.0, 0.1)}, "client on time", id="a client that stood still"
    ),
    pytest.param(OPEN, {"lag_p99_ms": 12.0}, "client on time", id="a client that was late"),
    pytest.param(OPEN, {"lag_p99_ms": None, "unsent": 250}, "client on time", id="a client that could not send"),
    pytest.param(CLEAN, {"replica_use": replica(longest_batch_s=1.0)}, "replicas answer", id="a replica that hung"),
    pytest.param(CLEAN, {"roles": role(2, held_back_share=0.05)}, "CPU quota", id="a quota"),
    pytest.param(CLEAN, {"roles": role(2, wait_share=0.4, outside_share=0.3)}, "outside load", id="a busy core"),
    pytest.param(
        CLEAN, {"roles": role(2, wait_share=None, outside_share=0.5)}, "outside load", id="a kernel that tells no waits"
    ),
    pytest.param(CLEAN, {"lost": {"timed_out": 23}}, "answers", id="answers that were lost"),
    pytest.param(
        CLEAN, {"lost": {"failed": 23}, "in_flight_share": 1.0}, "answers", id="failures are no matter of overload"
    ),
    pytest.param(
        CLEAN,
        {"window": 10_000, "in_flight_mean": 9999.0, "answers": {"client": 2000, "frontend": 2900}},
        "counts agree",
        id="another client beside a large window",
    ),
    pytest.param(CLEAN, {"answers": {"client": 2000, "server": 2201}}, "counts agree", id="another client"),
    pytest.param(CLEAN, {"answers": {"client": 2000, "server": 1799}}, "counts agree", id="another server"),
    pytest.param(OPEN, {"gap_distance": 0.11}, "sent as planned", id="another process"),
    pytest.param(CLEAN, {"last_third_rps": 270.0}, "throughput unchanged", id="a server that got slower"),
    pytest.param(CLEAN, {"failed_batches": 1}, "failed batches", id="a batch that failed"),
    pytest.param(CLEAN, {"misplaced": ["client is planned on 0 and may run on 1"]}, "placement", id="a moved process"),
    pytest.param(CLEAN, {"watched_share": 0.4}, "machine watched", id="a sampler that was killed"),
]


@pytest.mark.parametrize(("evidence", "changes", "name"), FAULTS)
def test_a_fault_flips_its_own_check_and_no_other(evidence, changes, name):
    """Without it all pass."""
    assert invalid(certificate(evidence)) is None
    failed = [check for check in certificate(replace(evidence, **changes)) if check.verdict == "failed"]
    assert [check.name for check in failed] == [name]
    assert failed[0].remedy


@pytest.mark.parametrize("evidence", [CLEAN, OPEN])
def test_a_clean_run_passes(evidence):
    """Waiting for each other on a shared core is no fault."""
    checks = certificate(evidence)
    assert {check.verdict for check in checks} <= {"passed", "unknown"}
    assert not notes(evidence, checks)
    assert not [check.remedy for check in checks if check.remedy is not None]


@pytest.mark.parametrize(
    ("changes", "note"),
    [
        ({"roles": role(2, wait_share=0.1, outside_share=0.3)}, "outside load"),
        ({"replica_use": replica(alive=False)}, "replicas alive"),
        ({"replica_use": replica(aside_s=2.0, hung_times=1, longest_batch_s=9.0)}, "replicas answer"),
        ({"replica_use": replica(compute_ms=12.1)}, "straggler"),
        (
            {"lost": {"timed_out": 300}, "in_flight_share": 0.9, "answers": {"client": 2000, "frontend": 2300}},
            "answers",
        ),
    ],
)
def test_what_is_only_noted(changes, note):
    """It leaves the run valid."""
    evidence = replace(CLEAN, **changes)
    checks = certificate(evidence)
    assert invalid(checks) is None
    assert [line.partition(":")[0] for line in notes(evidence, checks)] == [note]


SILENT: dict[str, Any] = {
    "replica_use": [],
    "replicas": None,
    "failed_batches": None,
    "answers": {"client": 2000},
}
"""What changes where no frontend is left that tells of replicas."""

NO_ANSWER = {"completed": 0, "answers": {"client": 0}, "first_third_rps": 0.0, "last_third_rps": 0.0}
UNKNOWN = ("unknown", "not seen from here")
CLIENT = "a client process ended early, was stopped or fell silent: what the clients measured is kept"


def roles_of(*alive: bool) -> list[ReplicaUse]:
    """Replicas with their roles."""
    return [
        replace(use, alive=lives, role=f"replica-{number}")
        for number, (use, lives) in enumerate(zip(REPLICAS, alive, strict=False))
    ]


@pytest.mark.parametrize(
    ("changes", "reason", "alive"),
    [
        pytest.param(
            SILENT
            | {
                "broke_off": "frontends ended with exit code -9",
                "unseen_replicas": {"replica-0": True, "replica-1": True},
            },
            "run complete: frontends ended with exit code -9",
            ("passed", "2 of 2"),
            id="the frontends",
        ),
        pytest.param(
            SILENT
            | {
                "broke_off": "frontends is lost: the actor that supervises it, or its node, cannot be reached",
                "unseen_replicas": {"replica-0": False, "replica-1": True},
            },
            "run complete: frontends is lost: the actor that supervises it, or its node, cannot be reached",
            ("noted", "1 of 2; gone: replica-0"),
            id="the node of the frontends and of a replica",
        ),
        pytest.param(
            SILENT
            | {
                "broke_off": "query ended with exit code 137",
                "unseen_replicas": {"replica-0": False, "replica-1": False},
            },
            "run complete: query ended with exit code 137",
            ("failed", "0 of 2; gone: replica-0, replica-1"),
            id="the frontend and all replicas",
        ),
        pytest.param(
            {
                "replicas": 1,
                "replica_use": roles_of(True),
                "unseen_replicas": {"replica-1": True},
                "broke_off": "frontends-1 ended with exit code -9",
            },
            "run complete: frontends-1 ended with exit code -9",
            ("passed", "2 of 2"),
            id="one of two frontends",
        ),
        pytest.param(
            {
                "replicas": 1,
                "replica_use": roles_of(True, False),
                "broke_off": "replica-1, the last replica of its frontend, ended with exit code -9",
            },
            "run complete: replica-1, the last replica of its frontend, ended with exit code -9",
            ("noted", "1 of 2; gone: m:1:1 (replica-1)"),
            id="the last replica of one of two frontends",
        ),
        pytest.param(
            {
                "replicas": 0,
                "replica_use": roles_of(False, False),
                "broke_off": "replica-1, the last replica, ended with exit code -9",
                "lost": {"defaulted": 500},
            },
            "run complete: replica-1, the last replica, ended with exit code -9",
            ("failed", "0 of 2; gone: m:1:0 (replica-0), m:1:1 (replica-1)"),
            id="the last replica",
        ),
        pytest.param(
            {"replicas": 0, "replica_use": roles_of(False, False)},
            "replicas alive: 0 of 2; gone: m:1:0 (replica-0), m:1:1 (replica-1)",
            ("failed", "0 of 2; gone: m:1:0 (replica-0), m:1:1 (replica-1)"),
            id="the last replica of a frontend that ran already",
        ),
        pytest.param(
            SILENT | {"broke_off": "the server was gone at the end: cannot be reached: Connection refused"},
            "run complete: the server was gone at the end: cannot be reached: Connection refused",
            UNKNOWN,
            id="an external server",
        ),
        pytest.param(
            {"broke_off": CLIENT},
            f"run complete: {CLIENT}",
            ("passed", "2 of 2"),
            id="a client process",
        ),
        pytest.param(
            {"workers": ["worker-1 on b: it is lost"]},
            "workers: worker-1 on b: it is lost",
            ("passed", "2 of 2"),
            id="a worker",
        ),
        pytest.param(
            SILENT | NO_ANSWER | {"lost": {"failed": 2200}},
            "answers: no answer in the measured part; 100.00% lost: 2,200 failed",
            UNKNOWN,
            id="all answers of an external server",
        ),
        pytest.param(
            NO_ANSWER | {"lost": {"timed_out": 2200}, "in_flight_share": 1.0, "answers": {"client": 0, "frontend": 9}},
            "answers: no answer in the measured part; 100.00% lost: 2,200 timed out",
            ("passed", "2 of 2"),
            id="all answers, though overload excuses timeouts",
        ),
        pytest.param(
            SILENT | NO_ANSWER | {"sent": 0},
            "answers: no answer in the measured part; nothing was sent",
            UNKNOWN,
            id="no request was sent",
        ),
    ],
)
def test_a_part_that_is_lost_makes_a_run_invalid(changes, reason, alive):
    """The check that fails first names it; what no frontend tells of replicas, their launcher does."""
    evidence = replace(CLEAN, **changes)
    checks = certificate(evidence)
    failed = invalid(checks)
    assert failed is not None
    assert failed.reason == reason
    assert [(check.verdict, check.measured) for check in checks if check.name == "replicas alive"] == [alive]
    verdict = judge(evidence, checks)
    assert (verdict.saturated, verdict.limit) == ("undecided", "unknown")
    assert verdict.text.endswith("the run is invalid")


def test_a_replica_that_only_its_launcher_saw_end_explains_less_throughput():
    """As one does of which a frontend tells."""
    evidence = replace(CLEAN, **SILENT, unseen_replicas={"replica-0": False, "replica-1": True}, last_third_rps=200.0)
    checks = certificate(evidence)
    assert invalid(checks) is None
    assert notes(evidence, checks) == [
        "replicas alive: 1 of 2; gone: replica-0",
        "throughput unchanged: first third 400 requests/s, last 200: a replica is gone",
    ]


@pytest.mark.parametrize(("counted", "verdict"), [(2501, "passed"), (2701, "failed")])
def test_a_server_may_count_what_was_sent_once_more_twice(counted, verdict):
    """Whether it had looked at a request before it closed the connection is not known."""
    evidence = replace(CLEAN, answers={"client": 2000, "server": counted}, resent=500)
    assert {check.name: check.verdict for check in certificate(evidence)}["counts agree"] == verdict


def test_a_replica_that_died_explains_less_throughput():
    """The run stays valid, and both are noted."""
    evidence = replace(CLEAN, replica_use=replica(alive=False), last_third_rps=200.0)
    checks = certificate(evidence)
    assert invalid(checks) is None
    said = notes(evidence, checks)
    assert [line.partition(":")[0] for line in said] == ["replicas alive", "throughput unchanged"]


def test_a_replica_that_was_set_aside_explains_less_throughput():
    """The run stays valid, and both are noted."""
    evidence = replace(CLEAN, replica_use=replica(aside_s=2.0, hung_times=1), last_third_rps=200.0)
    checks = certificate(evidence)
    assert invalid(checks) is None
    assert notes(evidence, checks) == [
        "replicas answer: longest batch 30 ms, of m:1:0; set aside: m:1:1 for 2 s",
        "throughput unchanged: first third 400 requests/s, last 200: a replica was set aside",
    ]


def test_a_replica_that_hangs_beside_one_that_was_set_aside():
    """Nothing served its batch."""
    uses = [replace(REPLICAS[0], longest_batch_s=4.0), replace(REPLICAS[1], aside_s=2.0, hung_times=1)]
    failed = invalid(certificate(replace(CLEAN, replica_use=uses)))
    assert failed is not None
    assert failed.reason == "replicas answer: longest batch 4 s, of m:1:0"


@pytest.mark.parametrize(("roles", "said"), [(("replica-0", "replica-1"), 1), (("replica-0", "replica-0"), 0)])
def test_one_that_took_the_place_of_another_is_no_peer_of_it(roles, said):
    """They never served at the same time."""
    uses = [replace(use, role=role) for use, role in zip(replica(compute_ms=12.1), roles, strict=True)]
    evidence = replace(CLEAN, replica_use=uses)
    lines = notes(evidence, certificate(evidence))
    assert sum(line.startswith("straggler") for line in lines) == said


def test_failed_batches_name_their_replicas():
    """Where there are several."""
    uses = replica(failed_batches=3, failing_times=1, aside_s=1.0)
    failed = invalid(certificate(replace(CLEAN, replica_use=uses, failed_batches=3)))
    assert failed is not None
    assert failed.measured == "3 of 1,000 batches failed (3 of m:1:1)"


@pytest.mark.parametrize(
    "changes",
    [
        {"client_gaps": ClientGaps(2, 0.4, 0.3, 3.0, 0.09)},
        {"last_third_rps": 100.0, "client_gaps": ClientGaps(1, 0.6, 0.6, 3.0, 0.0)},
        {"replica_use": replica(longest_batch_s=1.0), "client_gaps": ClientGaps(1, 0.6, 0.6, 3.0, 0.0)},
        {"replica_use": replica(longest_batch_s=0.99)},
        {"replica_use": [replace(one, median_batch_s=0.2, longest_batch_s=3.9) for one in REPLICAS]},
        {"replica_use": [replace(one, median_batch_s=None, longest_batch_s=3.0) for one in REPLICAS]},
        {"roles": role(2, wait_share=0.4, outside_share=0.24)},
        {"roles": role(2, wait_share=0.24, outside_share=0.4)},
        {"lost": {"timed_out": 22}},
        {"lost": {"timed_out": 300}, "in_flight_share": 0.9, "answers": {"client": 2000, "frontend": 2300}},
        {"lost": {"failed": 300}, "replicas": None, "in_flight_share": None},
        {"answers": {"client": 2000, "server": 2199}},
        {"first_third_rps": 9.0, "last_third_rps": 5.0},
    ],
)
def test_just_within_the_limits(changes):
    """What requests in flight covered, what a slow model takes, what overload loses, what chance does."""
    assert invalid(certificate(replace(CLEAN, **changes))) is None


@pytest.mark.parametrize(
    ("counted", "in_flight", "failed", "remedy"),
    [
        (1000, 0, 0, None),
        (1049, 0, 0, None),
        (1051, 0, 0, "load the server from here only"),
        (1090, 100, 0, None),
        (1110, 100, 0, "load the server from here only"),
        (951, 0, 0, None),
        (949, 0, 0, "load one server, and nothing that answers in its place"),
        (949, 0, 100, None),
        (849, 0, 100, "load one server, and nothing that answers in its place"),
        (1149, 0, 100, None),
        (1151, 0, 100, "load the server from here only"),
    ],
)
def test_answers_that_others_had_or_gave(counted, in_flight, failed, remedy):
    """Beyond what the edges of the measured part, and failures on the way, explain."""
    evidence = replace(
        CLEAN,
        sent=1_000_000,
        replicas=None,
        throughput_rps=20.0,
        in_flight_mean=in_flight,
        answers={"client": 1000, "server": counted},
        lost={"failed": failed, "timed_out": failed},
    )
    failure = invalid(certificate(evidence))
    assert (None if failure is None else failure.remedy) == remedy


def test_a_late_client_that_was_kept_from_its_cores():
    """The check says so."""
    evidence = replace(OPEN, lag_p99_ms=12.0, roles=role(0, wait_share=0.3, outside_share=0.4))
    failed = invalid(certificate(evidence))
    assert failed is not None
    assert failed.measured == (
        "schedule lag p99 12 ms, 60% of the latency p99; processes outside the plan kept it waiting 30% of the time"
    )


@pytest.mark.parametrize("late", [False, True])
def test_an_external_server_may_be_what_runs_beside_the_client(late):
    """It is not to be ended then."""
    (client,) = (one for one in ROLES if one.role == "client")
    busy = [replace(client, wait_share=0.3, outside_share=0.4)]
    evidence = replace(OPEN, lag_p99_ms=12.0) if late else CLEAN
    failed = invalid(certificate(replace(evidence, roles=busy, replica_use=[], replicas=None)))
    assert failed is not None
    apart = "; if the server runs there, give the client other cores (--client-cpus)"
    before = "leave the client's cores to it" if late else f"end what else runs on core {client.cores[0]}"
    assert (failed.name, failed.remedy) == ("client on time" if late else "outside load", before + apart)


def test_a_coordinator_that_waits_made_no_client_late():
    """It sends nothing, and the server may be what keeps its cores; those of the clients are not seen from here."""
    (client,) = (one for one in ROLES if one.role == "client")
    busy = [replace(client, role="coordinator", wait_share=0.3, outside_share=0.4, held_back_share=0.3)]
    evidence = replace(OPEN, lag_p99_ms=12.0, roles=busy, replica_use=[], replicas=None)
    found = {check.name: check for check in certificate(evidence)}
    assert "kept it waiting" not in found["client on time"].measured
    assert found["client on time"].remedy == "leave the client's cores to it"
    for name in ("outside load", "CPU quota"):
        assert (found[name].verdict, found[name].measured) == ("unknown", "not watched")
    replicas = [replace(busy[0], role="replica-0", cores=[3])]
    found = {check.name: check for check in certificate(replace(evidence, roles=[*busy, *replicas]))}
    assert "kept replica-0 waiting 30%" in found["outside load"].measured
    assert found["CPU quota"].verdict == "failed"


def test_the_first_failure_is_the_reason():
    """In the order of the checks: a client that was not there makes everything else look wrong."""
    gaps = ClientGaps(2, 1.2, 0.7, 3.0, 0.2)
    evidence = replace(CLEAN, client_gaps=gaps, lost={"timed_out": 100}, failed_batches=3)
    failed = invalid(certificate(evidence))
    assert failed is not None
    assert failed.name == "client on time"
    assert failed.measured == "4.0% of the time lost in 2 gaps; the longest gap 700 ms, 3 s after the start"
