"""Percentiles among requests without an answer: what is known of them, and no more."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from frontend_launch.histogram import rank
from loadgen.judging import slo
from loadgen.load.record import Offered, Record
from loadgen.load.summary import PERCENTILES, summarise
from loadgen.load.target import Outcome

MS = 1_000_000
TIMEOUT_MS = 500
LATENCIES_MS = st.lists(st.integers(1, 900), max_size=40)


def measured(latencies_ms, timed_out, others, planned=None):
    """A run with these answers and lost requests; with a plan or without."""
    record = Record(sent=len(latencies_ms) + timed_out + others, measured_ns=10**9, timed_out=timed_out)
    record.latency.record(np.array(latencies_ms, np.int64) * MS)
    record.outcomes[Outcome.TIMED_OUT], record.outcomes[Outcome.FAILED] = timed_out, others
    if planned is None:
        record.unanswered = timed_out + others
    else:
        record.offered = Offered(planned=planned, answered=len(latencies_ms))
    return record


@given(LATENCIES_MS.filter(bool), st.integers(0, 5), st.integers(0, 5), st.integers(0, 3000), st.booleans())
def test_a_bound_never_says_too_much(latencies_ms, timed_out, others, more_ms, has_plan):
    """Whatever the lost requests would have taken, beyond the slowest answer and beyond the timeout."""
    number = len(latencies_ms) + timed_out + others
    summary = summarise(measured(latencies_ms, timed_out, others, number if has_plan else None), TIMEOUT_MS / 1000)
    slowest_ms = max(latencies_ms)
    truth_ms = sorted(
        latencies_ms
        + [slowest_ms + more_ms * place for place in range(others)]
        + [max(slowest_ms, TIMEOUT_MS) + more_ms * place for place in range(timed_out)]
    )
    assert summary.latency_above_ms is not None
    for name, position in [(f"p{p:g}", rank(p, number)) for p in PERCENTILES] + [("max", number)]:
        value, above = summary.latency_ms[name], summary.latency_above_ms.get(name)
        if position <= len(latencies_ms) and (name != "max" or number == len(latencies_ms)):
            assert value == pytest.approx(truth_ms[position - 1], rel=2e-3)
            assert above is None
        else:
            assert value is None
            assert above is not None
            assert slowest_ms <= above <= truth_ms[position - 1]
            assert position <= number - timed_out or above >= TIMEOUT_MS
    if "mean" in summary.latency_above_ms:
        assert summary.latency_ms["mean"] is None
        assert summary.latency_above_ms["mean"] <= sum(truth_ms) / number + 1e-9


def test_the_mean_of_a_run_with_lost_requests_is_not_above_its_slowest_answer():
    """One of 1000 timed out: half a millisecond more."""
    above_ms = summarise(measured([10] * 998 + [400], 1, 0), TIMEOUT_MS / 1000).latency_above_ms
    assert above_ms is not None
    assert above_ms["mean"] == pytest.approx((9980 + 400 + 500) / 1000)
    assert "mean" not in (summarise(measured([10] * 998 + [400], 0, 1)).latency_above_ms or {})


def test_without_answers_only_those_that_timed_out_are_known_to_have_waited():
    """Those that failed may have done so at once."""
    above_ms = summarise(measured([], 10, 0, planned=10), TIMEOUT_MS / 1000).latency_above_ms
    assert above_ms == dict.fromkeys(("mean", "p50", "p90", "p95", "p99", "p99.9", "max"), TIMEOUT_MS)
    above_ms = summarise(measured([], 4, 6, planned=10), TIMEOUT_MS / 1000).latency_above_ms
    assert above_ms == dict.fromkeys(("p90", "p95", "p99", "p99.9", "max"), TIMEOUT_MS)


@pytest.mark.parametrize("planned", [None, 0, 10])
def test_a_run_that_sent_nothing_has_no_latency(planned):
    """Not even a bound, though none of its requests was answered in time."""
    summary = summarise(measured([], 0, 0, planned), TIMEOUT_MS / 1000)
    assert set(summary.latency_ms.values()) == {None}
    assert summary.latency_above_ms == {}
    assert slo.crossed(slo.parse("p99>1ms")[0], summary) == (None, "p99 is unknown")
