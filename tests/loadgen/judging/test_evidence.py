"""From counters of one frontend and of several to evidence."""

from dataclasses import replace

import pytest

from frontend_launch.counters import Counters, ModelCounters, ReplicaCounters
from loadgen.hardware.summary import Hardware
from loadgen.judging.evidence import ReplicaUse, of_client, of_frontends, of_metrics, of_processes, on_machine
from loadgen.judging.validity import certificate
from loadgen.load.record import ClientUse, Record

SECOND = 1_000_000_000


CLIENT = of_client(
    Record(
        sent=500,
        measured_ns=SECOND,
        measured_from_ns=1,
        clients=[ClientUse(cpu_ns=SECOND // 2, in_flight_ns=10 * SECOND)],
    ),
    4,
    20,
)


def frontend(number, *, busy, cpu, batches=100, empty=0):
    return Counters(
        now_ns=SECOND,
        process_cpu_ns=round(cpu * SECOND),
        models={"m:1": ModelCounters(4, 0, batches, batches // 2, 3 * batches, empty)},
        replicas={f"m:1:{number}": ReplicaCounters(True, batches, 3 * batches, SECOND, 0, 0, busy, batches)},
    )


def test_one_frontend():
    """Shares are of the time; the gap between two batches is what a replica did not compute."""
    evidence = of_frontends(CLIENT, [frontend(0, busy=9 * SECOND // 10, cpu=0.3)], {}, "m")
    assert (evidence.replicas, evidence.batches, evidence.mean_batch) == (1, 100, 3.0)
    assert (evidence.busy_share, evidence.frontend_cpu_share) == pytest.approx((0.9, 0.3))
    assert evidence.gap_ms == pytest.approx(1.0)
    assert (evidence.in_flight_mean, evidence.client_cpu_share, evidence.sent) == (10.0, 0.5, 500)


def test_several_frontends():
    """Replicas share the time of all of them; of CPU shares the highest counts, since that one limits the others."""
    both = [frontend(0, busy=SECOND, cpu=0.3), frontend(1, busy=SECOND // 2, cpu=0.8)]
    evidence = of_frontends(CLIENT, both, {}, "m")
    assert (evidence.replicas, evidence.batches) == (2, 200)
    assert evidence.busy_share == pytest.approx(0.75)
    assert evidence.frontend_cpu_share == pytest.approx(0.8)
    assert evidence.queue_empty_share == 0.0
    assert evidence.gap_ms == pytest.approx(2.5)


def test_a_replica_that_was_set_aside():
    """It could not compute then: the others' shares are those of the time that replicas got batches."""
    reading = frontend(0, busy=SECOND, cpu=0.3)
    hung = ReplicaCounters(True, 0, 0, SECOND // 10, aside=True, hung_times=1, aside_ns=SECOND // 2)
    evidence = of_frontends(CLIENT, [replace(reading, replicas={**reading.replicas, "m:1:1": hung})], {}, "m")
    assert evidence.replicas == 2
    assert (evidence.busy_share, evidence.in_flight_share) == pytest.approx((1 / 1.5, 1.1 / 1.5))
    assert (evidence.worked, evidence.replica_use[1].aside_s, evidence.replica_use[1].hung_times) == (1, 0.5, 1)


def test_replicas_that_were_gone_before_the_run():
    """Of no use to it; but a place in the plan that is empty since then counts."""
    gone = ReplicaCounters(alive=False)
    replicas = {
        "m:1:1": gone,
        "m:1:2": replace(gone, batches=3),
        "m:1:3": replace(gone, role="replica-0"),
        "m:1:4": replace(gone, role="replica-1"),
        "m:1:5": ReplicaCounters(batches=3, role="replica-0"),
    }
    reading = frontend(0, busy=SECOND, cpu=0.3)
    evidence = of_frontends(CLIENT, [replace(reading, replicas=reading.replicas | replicas)], {}, "m")
    assert [use.name for use in evidence.replica_use] == ["m:1:0", "m:1:2", "m:1:4", "m:1:5"]
    assert (evidence.worked, evidence.planned) == (2, 4)


@pytest.mark.parametrize(
    ("roles", "unseen"),
    [
        ([], {"replica-0": True, "replica-1": False}),
        (["replica-0"], {"replica-1": False}),
        (["replica-0", "replica-1"], {}),
        (["replica-1", "replica-1"], {"replica-0": True}),
        ([""], {}),
    ],
)
def test_replicas_of_which_no_frontend_tells(roles, unseen):
    """Their launcher does; where a frontend does not say which of them it tells of, nothing is added."""
    uses = [ReplicaUse(f"m:1:{number}", True, 9, role=role) for number, role in enumerate(roles)]
    evidence = of_processes(replace(CLIENT, replica_use=uses), {"replica-0": True, "replica-1": False})
    assert evidence.unseen_replicas == unseen


METRICS = {
    "histograms": [
        {"model:m:1:prediction_latency": {"size": "9", "mean": "5200.5"}},
        {"model:m:1:batch_size": {"size": "9", "mean": "1.9"}},
        {"model:other:1:batch_size": {"size": "9", "mean": "7"}},
    ]
}


@pytest.mark.parametrize(
    ("metrics", "application", "found"),
    [
        (METRICS, "m", (1.9, 5.2005)),
        (METRICS, "app", (None, None)),
        ({"histograms": METRICS["histograms"][:2]}, "app", (1.9, 5.2005)),
        ({"histograms": [{"model:m:1:batch_size": {"size": "0", "mean": "0"}}]}, "m", (None, None)),
        ({"histograms": [{"model:m:1:batch_size": {"size": "many", "mean": "0"}}]}, "m", (None, None)),
        ({}, "m", (None, None)),
    ],
)
def test_the_metrics_of_2017(metrics, application, found):
    """Batches and their time of the model that is asked, or of the only one."""
    evidence = of_metrics(CLIENT, metrics, application)
    assert (evidence.mean_batch, evidence.batch_ms) == found
    assert evidence.replicas is None


def test_nothing_is_known_of_frontends_that_did_not_answer():
    """The client's own numbers stay."""
    evidence = of_frontends(CLIENT, [], {}, "m")
    assert (evidence.replicas, evidence.busy_share, evidence.client_cpu_share) == (None, None, 0.5)


@pytest.mark.parametrize(("died", "verdict"), [(True, "failed"), (False, "unknown")])
def test_a_machine_that_was_not_watched(died, verdict):
    """It is a fault where the sampler died; a short run has too few readings."""
    evidence = on_machine(CLIENT, None, [], died)
    assert {check.name: check.verdict for check in certificate(evidence)}["machine watched"] == verdict


@pytest.mark.parametrize(
    ("readings", "every_s", "duration_s", "share"),
    [
        pytest.param(2, 0.999, 2.001, 1.0, id="a short run"),
        pytest.param(12, 1.0, 12.4, 0.97, id="a longer one"),
        pytest.param(2, 1.9, 2.001, 1.0, id="a late sampler that saw nearly all"),
        pytest.param(4, 1.0, 10.0, 0.4, id="a sampler that was killed"),
    ],
)
def test_the_share_of_the_time_that_the_machine_was_watched(readings, every_s, duration_s, share):
    """Each reading stands for the time around it."""
    hardware = Hardware(readings, every_s, {}, {}, {}, [], [])
    evidence = on_machine(replace(CLIENT, duration_s=duration_s), hardware, [])
    assert evidence.watched_share == pytest.approx(share, abs=0.01)
