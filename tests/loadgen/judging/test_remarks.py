"""What is said beside the numbers."""

from collections import Counter
from dataclasses import replace

import numpy as np
import pytest

from frontend_launch.counters import Counters, ModelCounters
from frontend_launch.histogram import LatencyHistogram
from loadgen.judging.remarks import (
    MOST_REASONS,
    default_outputs,
    error,
    failed_batches,
    marked,
    refused,
    remarks,
    short,
    steady,
    uncertain,
    unsteady,
)
from loadgen.load.ending import Ending
from loadgen.load.record import ClientUse, Interval, Offered, Record
from loadgen.load.summary import summarise
from loadgen.load.target import Outcome
from model_containers.units import NS_PER_S

SILENCES = [(NS_PER_S * 34 // 100, 3 * NS_PER_S), (3 * NS_PER_S, 4 * NS_PER_S)]


def latencies(count, each_ns=NS_PER_S // 100):
    histogram = LatencyHistogram()
    histogram.record(np.full(count, each_ns))
    return histogram


def record_of(*completed, **fields):
    """Intervals of a second each with these numbers of answers."""
    fields.setdefault("latency", latencies(sum(completed)))
    return Record(
        outcomes=dict.fromkeys(Outcome, 0) | {Outcome.COMPLETED: sum(completed)},
        measured_ns=len(completed) * NS_PER_S,
        replies=sum(completed),
        intervals=[Interval.of(latencies(count), end_s, 1, 0) for end_s, count in enumerate(completed, 1)],
        **fields,
    )


def test_of_a_usual_run_nothing_is_said():
    """Answers in each interval, all of them good."""
    record = record_of(100, 100, 100)
    assert (error(record), remarks(record)) == (None, [])


@pytest.mark.parametrize(
    ("completed", "fields", "said"),
    [
        ((100, 0, 0, 50), {"silences": SILENCES}, ["nothing completed for 2.66 s of 4 s, from 340 ms after the "]),
        ((100, 0, 0, 50), {"silences": SILENCES, "offered": Offered()}, []),  # their latencies count from the plan
        ((0, 0), {"silences": [(0, 2 * NS_PER_S)]}, ["nothing completed for 2 s of 2 s, from 0 s after the measured "]),
        (
            (0, 0),
            {"silences": [(0, 2 * NS_PER_S)], "offered": Offered()},
            ["nothing completed for 2 s of 2 s, from 0 s "],
        ),
        ((1, 1), {"silences": [(0, NS_PER_S)], "latency": latencies(2, NS_PER_S)}, []),  # they tell it
        ((), {"ended": Ending.REQUESTS}, ["nothing was measured, the run ended within --warmup"]),
        ((), {"ended": Ending.STOPPED}, ["nothing was measured: the run ended before its measured part began"]),
    ],
)
def test_silence(completed, fields, said):
    """Requests that wait longer than the run have no latency."""
    found = remarks(record_of(*completed, **fields))
    assert len(found) == len(said)
    assert all(map(str.startswith, found, said))


@pytest.mark.parametrize(
    ("in_flight", "fields", "says"),
    [
        (10_000, {}, True),
        (101, {}, True),
        (100, {}, False),
        (10_000, {"offered": Offered()}, False),
    ],
)
def test_a_run_that_is_shorter_than_its_window_takes(in_flight, fields, says):
    """Its latencies say how long it was; a window that was mostly empty turned over more quickly."""
    record = record_of(50, 50, clients=[ClientUse(in_flight_ns=2 * NS_PER_S * in_flight)], **fields)
    said = (
        "the run was shorter than the 200 s in which its window of 10,000 turns over: its latencies grow with its "
        "length; use a longer --duration or a smaller --max-in-flight"
    )
    assert short(record, 10_000) == [said] * says
    assert short(record_of(0), 10_000) == []


def test_a_run_that_was_not_steady():
    """Only where it should have been, and something was measured."""
    (said,) = unsteady(record_of(100), until_steady=True)
    assert said.startswith("the run was not shown to be steady before it ended")
    assert unsteady(record_of(100, ended=Ending.STEADY), until_steady=True) == []
    assert unsteady(record_of(100), until_steady=False) == unsteady(record_of(), until_steady=True) == []


BEFORE = " connection before any of the answer came"


@pytest.mark.parametrize(
    ("resent", "said"),
    [
        (0, []),
        (1, ["1 request was sent once more: the server had closed its" + BEFORE]),
        (1234, ["1,234 requests were sent once more: the server had closed their" + BEFORE]),
    ],
)
def test_requests_that_were_sent_once_more(resent, said):
    """With the reason, which is all that is known."""
    assert remarks(record_of(100, resent=resent)) == said


def test_reasons_of_failures_come_with_the_most_frequent_first():
    """At most `MOST_REASONS` one by one, the others together."""
    failures = Counter({f"reason {number}": number for number in range(1, MOST_REASONS + 3)})
    found = remarks(record_of(100, failures=failures))
    assert found[0] == f"{MOST_REASONS + 2} requests failed: reason {MOST_REASONS + 2}"
    assert found[-1] == "3 requests failed for other reasons, which the results have"
    assert len(found) == MOST_REASONS + 1


@pytest.mark.parametrize(
    ("pauses", "upper_bounds", "said"),
    [
        ([], 3, []),
        ([(4, 14)], 0, ["the client did not run for 10 s, from 2 s after the measured part began"]),
        ([(1, 4)], 0, ["the client did not run for 3 s, from 1 s before the measured part began"]),
        (
            [(4, 5), (6, 9)],
            64,
            [
                "the client did not run for 3 s, from 4 s after the measured part began, the longest of 2 pauses of 4 "
                "s in all; it read 64 answers late, whose latency is an upper bound"
            ],
        ),
    ],
)
def test_pauses_of_the_client_are_said(pauses, upper_bounds, said):
    """When, for how long, and how many latencies they make uncertain."""
    pauses_ns = [(from_s * NS_PER_S, until_s * NS_PER_S) for from_s, until_s in pauses]
    record = record_of(100, measured_from_ns=2 * NS_PER_S, pauses=pauses_ns, upper_bounds=upper_bounds)
    assert remarks(record) == said


def test_the_frontends_say_why_there_were_default_outputs_and_what_they_refused():
    """By kind."""
    counters = Counters(
        1, dropped={"impossible_times": 3, "input_type": 0}, default_reasons={"no_replica": 1, "output_count": 2}
    )
    assert default_outputs(counters) == [
        "1 default output: the model had no replica",
        "2 default outputs: the answer of the second replica that had the request was none (output_count)",
    ]
    assert refused(counters) == ["the frontends refused messages, or parts of them: 3 impossible_times"]
    assert default_outputs(None) == refused(None) == refused(Counters(1)) == []


def test_failed_batches_are_said():
    """Of all models together; nothing where there are none, or none are counted."""
    models = {"a:1": ModelCounters(batches=40, failed_batches=3), "b:1": ModelCounters(batches=2)}
    (said,) = failed_batches(Counters(1, models=models))
    assert said.startswith("3 of 42 batches failed, in the model or ")
    assert failed_batches(Counters(1, models={"b:1": models["b:1"]})) == failed_batches(None) == []


def test_requests_that_failed_did_not_wait():
    """In a time without completions: the note on latencies is of those that wait."""
    record = record_of(100, 0, 50, silences=[(NS_PER_S, 2 * NS_PER_S)])
    (waits,) = remarks(record)
    record.outcomes[Outcome.FAILED] = 7
    assert remarks(record) == [waits.removesuffix(": latencies leave out the requests that are still waiting")]
    assert remarks(record)[0].endswith(" the measured part began")


@pytest.mark.parametrize(
    ("outcomes", "said"),
    [
        ({}, "no request completed: none was sent"),
        ({Outcome.TIMED_OUT: 3, Outcome.FAILED: 2}, "no request completed: 2 failed, 3 timed out"),
    ],
)
def test_a_run_without_completed_requests_is_an_error(outcomes, said):
    """Which says how they ended."""
    record = record_of()
    record.outcomes |= outcomes
    assert error(record) == said


def test_a_measured_part_without_completed_requests_is_an_error():
    """Though the warm-up had some."""
    record = record_of(0, 0)
    record.outcomes |= {Outcome.COMPLETED: 100, Outcome.FAILED: 1264}
    assert error(record) == "no request completed in the measured part: 100 completed, 1,264 failed in the whole run"


def test_wrong_answers_are_an_error():
    """However many were right."""
    assert error(record_of(100, compared=10, mismatched=1)) == "1 of 10 answers that were compared are wrong"


def test_percentiles_that_are_the_client_s_are_marked():
    """Where its lag is a tenth of them; a closed loop has no lag."""
    summary = replace(
        summarise(record_of(100)),
        latency_ms={"min": 1.0, "p50": 10.0, "p99": 20.0, "p99.9": None},
        lag_ms={"min": 1.0, "p50": 0.9, "p99": 2.0, "p99.9": 9.0},
    )
    assert summary.marked == ("p99",)
    assert marked(summary) == ["marked with *: p99; the same percentile of the client's own lag is 10% or more of it"]
    assert marked(replace(summary, lag_ms=None)) == []


def test_values_without_an_interval_are_named():
    """The smallest and the largest answer never have one; few answers are said of files without intervals too."""
    summary = summarise(record_of(100))
    few = "p99, p99.9: 100 requests are too few; fewer than 5 of them are slower"
    assert uncertain(summary) == [few]
    assert uncertain(replace(summary, intervals_ms={"p50": (9.0, 11.0)})) == [
        "mean, p90, p95: too few independent answers for an interval (marked with ~)",
        few,
    ]
    assert uncertain(replace(summary, latency_ms=dict.fromkeys(summary.latency_ms), intervals_ms={})) == []
    assert uncertain(summarise(record_of(5000))) == []


@pytest.mark.parametrize(
    ("requests", "few"),
    [
        (1, ("p50", "p90", "p95", "p99", "p99.9")),
        (9, ("p50", "p90", "p95", "p99", "p99.9")),
        (10, ("p90", "p95", "p99", "p99.9")),
        (49, ("p90", "p95", "p99", "p99.9")),
        (50, ("p95", "p99", "p99.9")),
        (499, ("p99", "p99.9")),
        (500, ("p99.9",)),
        (4999, ("p99.9",)),
        (5000, ()),
    ],
)
def test_a_percentile_wants_five_slower_requests(requests, few):
    """Lost ones count."""
    assert summarise(record_of(requests)).few == few
    lost = requests // 100
    found = summarise(record_of(requests - lost, unanswered=lost))
    assert found.few == tuple(name for name in few if found.latency_ms[name] is not None)


def test_a_measured_part_that_was_steady_is_named():
    """With what is not limited to it."""
    record = replace(record_of(100), skipped_ns=7 * 10**9, measured_ns=8 * 10**9)
    (said,) = steady(record)
    assert said.startswith("measured from 7.0 to 15.0 s after the warm-up, while the run was steady; ")
    assert steady(record_of(100)) == []
