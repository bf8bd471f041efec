"""Who was the limit, from the evidence alone."""

from dataclasses import replace

import pytest

from loadgen.judging.verdict import Evidence, judge

SATURATED = Evidence(
    replicas=2,
    busy_share=0.98,
    in_flight_share=0.995,
    batches=400,
    max_batch=2,
    mean_batch=1.99,
    full_batch_share=0.99,
    queue_empty_share=0.0,
    frontend_cpu_share=0.1,
    client_cpu_share=0.1,
    window=1000,
    in_flight_mean=998.0,
)


@pytest.mark.parametrize(
    ("changes", "saturated", "limit"),
    [
        pytest.param({}, "yes", "replicas", id="busy replicas are the limit"),
        pytest.param({"busy_share": 0.95}, "yes", "replicas", id="95 % is busy"),
        pytest.param({"busy_share": 0.949}, "no", "frontend", id="a little less is not"),
        pytest.param({"busy_share": 0.18}, "no", "frontend", id="full batches before idle replicas are the frontend's"),
        pytest.param(
            {"busy_share": 0.18, "queue_empty_share": 0.9, "in_flight_mean": 300.0},
            "no",
            "client",
            id="an empty queue and an unfilled window are the client's",
        ),
        pytest.param(
            {"busy_share": 0.18, "queue_empty_share": 0.9, "frontend_cpu_share": 0.6},
            "no",
            "frontend",
            id="a full window that does not reach the queue is the frontend's",
        ),
        pytest.param(
            {"busy_share": 0.18, "queue_empty_share": 0.9, "frontend_cpu_share": 0.4, "client_cpu_share": 0.5},
            "no",
            "client",
            id="a full window that does not reach the queue is the client's when it works more",
        ),
        pytest.param(
            {"busy_share": 0.18, "queue_empty_share": 0.9, "frontend_cpu_share": 0.05},
            "no",
            "load",
            id="a full window that everybody waits for is too small",
        ),
        pytest.param({"busy_share": 0.5, "window": 3}, "no", "load", id="a window smaller than the batches"),
        pytest.param({"busy_share": 0.97, "window": 3}, "yes", "replicas", id="a small window can still saturate"),
        pytest.param({"busy_share": None}, "undecided", "unknown", id="foreign replicas do not say"),
        pytest.param({"batches": 5}, "undecided", "unknown", id="too few batches"),
        pytest.param({"replicas": None}, "undecided", "unknown", id="no counters"),
        pytest.param({"replicas": 0}, "undecided", "unknown", id="no replica"),
    ],
)
def test_judge(changes, saturated, limit):
    """One row, one judgement."""
    evidence = replace(SATURATED, **changes)
    verdict = judge(evidence)
    assert (verdict.saturated, verdict.limit, verdict.evidence) == (saturated, limit, evidence)


def test_the_text_names_the_share_and_the_limit():
    """A reader needs no table."""
    text = judge(replace(SATURATED, busy_share=0.18, mean_batch=2.0)).text
    assert text == (
        "no (replicas busy 18 %, batches 2.00 of 2): queries always waited and replicas did too, "
        "so the frontend is the limit"
    )


REMOTE = replace(SATURATED, busy_share=0.7, queue_empty_share=None, frontend_cpu_share=None, max_batch=8, replicas=1)


@pytest.mark.parametrize(
    ("changes", "saturated", "text"),
    [
        (
            {"queued_mean": 0.003, "mean_batch": 1.0},
            "undecided",
            "room in their batches; a higher --max-in-flight",
        ),
        ({"queued_mean": 1.2, "mean_batch": 2.5}, "undecided", "with room in their batches"),
        ({"queued_mean": 50.0, "mean_batch": 4.0}, "yes", "the replicas are the limit"),
        ({"queued_mean": 1.2, "mean_batch": 8.0}, "yes", "the replicas are the limit"),
        ({"queue_empty_share": 0.3, "mean_batch": 2.5}, "undecided", "with room in their batches"),
        ({"queue_empty_share": 0.0, "mean_batch": 2.5}, "yes", "the replicas are the limit"),
        (
            {"queued_mean": 1.2, "mean_batch": 2.5, "offered_rps": 50.0, "throughput_rps": 50.0},
            "undecided",
            "50 requests/s offered, as many answered, with room in batches (2.50 of 8)",
        ),
    ],
    ids=[
        "one at a time",
        "some",
        "chosen by the server",
        "full",
        "queue seen empty",
        "queue never empty",
        "a schedule",
    ],
)
def test_replicas_that_are_always_busy_with_batches_that_are_not_full(changes, saturated, text):
    """They could carry more where nothing that waited was left out of a batch."""
    verdict = judge(replace(REMOTE, busy_share=0.99, **changes))
    assert verdict.saturated == saturated
    assert text in verdict.text


def test_replicas_that_idle_are_not_said_to_have_room_in_batches():
    """A schedule that asks for little; here also for too little to judge."""
    little = replace(REMOTE, busy_share=0.01, queued_mean=0.0, mean_batch=1.0, offered_rps=0.3, throughput_rps=0.3)
    for evidence in (little, replace(little, batches=2)):
        assert judge(evidence).text.endswith("0.3 requests/s offered, as many answered")


def test_fewer_requests_than_a_window_say_little():
    """Nobody is blamed."""
    verdict = judge(replace(REMOTE, busy_share=0.03, queued_mean=0.0, in_flight_mean=5.0, sent=16))
    assert (verdict.saturated, verdict.limit) == ("no", "unknown")
    assert "16 requests are too few to keep 1000 in flight" in verdict.text


@pytest.mark.parametrize(
    ("changes", "limit", "text"),
    [
        (
            {"queued_mean": 12.0},
            "frontend",
            "12 requests waited in the server's queue on average and instances did",
        ),
        ({"queued_mean": 0.1, "in_flight_mean": 300.0}, "client", "the client did not fill its window"),
        ({"queued_mean": 0.1}, "load", "raise --max-in-flight"),
        ({"queued_mean": 0.1, "window": 1, "rows": 4}, "load", "1 requests in flight cannot fill 2 places"),
        ({"queued_mean": 12.0, "window": 2, "rows": 4, "in_flight_mean": 2.0}, "frontend", "the server's own work"),
    ],
    ids=["queue", "client", "window", "rows do not fill", "rows fill"],
)
def test_a_server_that_tells_means_only(changes, limit, text):
    """Its mean queue stands for the share of time that it was empty; a request fills as many places as it has rows."""
    verdict = judge(replace(REMOTE, **changes))
    assert verdict.limit == limit
    assert text in verdict.text


def test_what_was_never_answered_is_not_answered_in_time():
    """However many answers a second there were."""
    load = replace(SATURATED, busy_share=0.3, offered_rps=20.0, throughput_rps=20.0, lag_p99_ms=0.1)
    assert judge(replace(load, answered_share=1.0)).text.endswith("as many answered")
    assert judge(replace(load, answered_share=0.78)).text.endswith("20 requests/s offered, 78 % of them answered")
