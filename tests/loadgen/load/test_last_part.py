"""A record that is limited to the time in which its run was steady, on a simulated server that is slow at first."""

import numpy as np
import pytest
from slow_start import SLOW_S, simulated

from frontend_launch.histogram import LatencyHistogram
from loadgen.judging.intervals import intervals, with_intervals
from loadgen.load.arrivals import Renewal
from loadgen.load.last_part import last_part
from loadgen.load.parts import HistogramByPart
from loadgen.load.summary import slow_name, summarise
from loadgen.load.target import Outcome


def slow_share(record):
    """Of 100 ms and more."""
    shares = with_intervals(summarise(record), record).shares
    assert shares is not None
    return shares[slow_name(100_000_000)]


@pytest.mark.parametrize("warmup_s", [0.0, 1.0])
def test_a_closed_loop_reports_what_was_steady(warmup_s):
    """Four times as slow for five seconds: the whole run has a p99 of 160 ms, and a sixth less throughput."""
    whole, first = simulated(warmup_s=warmup_s)
    record = last_part(whole, first)
    summary, before = summarise(record), summarise(whole)
    assert before.latency_ms["p99"] == pytest.approx(160, rel=0.01)
    assert before.throughput_rps < 0.87 * summary.throughput_rps
    assert summary.throughput_rps == pytest.approx(100, rel=0.005)
    assert [summary.latency_ms[name] for name in ("p50", "p99", "max")] == pytest.approx([40, 40, 40], rel=0.001)
    window_s = summary.measured.steady_window_s
    assert window_s is not None
    assert window_s[0] >= SLOW_S - warmup_s
    assert window_s[1] - window_s[0] == pytest.approx(summary.measured.duration_s)
    assert window_s[1] == pytest.approx(before.measured.duration_s)
    agrees_with_rows(record)
    assert summary.measured.sent == pytest.approx(summary.measured.completed, abs=4)
    assert (summary.sent, summary.completed) == (before.sent, before.completed)
    assert record.clients[0].in_flight_ns == pytest.approx(3 * record.measured_ns, rel=0.01)
    assert intervals(record).throughput_rps == pytest.approx((100, 100), rel=0.01)
    slow = slow_share(record)
    assert (slow.count, slow.requests) == (0, summary.measured.completed)
    assert slow_share(whole).count > 0


@pytest.mark.parametrize("timeout_s", [None, 1.0])
def test_an_open_loop_reports_what_was_planned_while_it_was_steady(timeout_s):
    """Sixty requests a second wait behind a backlog for nine seconds; some time out, all of them before the window."""
    whole, first = simulated(Renewal(60.0, 60.0, 0.0, 0), timeout_s=timeout_s)
    record = last_part(whole, first)
    summary, before = summarise(record, timeout_s), summarise(whole, timeout_s)
    assert (before.latency_ms["p99"] or np.inf) > 500
    assert summary.latency_ms["p99"] == pytest.approx(10, rel=0.01)
    assert summary.planned == summary.measured.sent == summary.measured.completed
    assert summary.offered_rps == pytest.approx(60, rel=0.01)
    assert summary.throughput_rps == pytest.approx(60, rel=0.01)
    assert (summary.lost, bool(before.lost)) == (0, timeout_s is not None)
    assert slow_share(record).count < 0.1 * slow_share(whole).count
    assert summary.lag_ms is not None
    assert summary.lag_ms["max"] == pytest.approx(0, abs=1)
    agrees_with_rows(record)


def test_of_several_clients_the_same_window_is_reported():
    """Their parts are merged, interval by interval."""
    arrivals = Renewal(60.0, 60.0, 0.0, 0)
    (whole, first), (other, _) = (simulated(arrivals, client=number, clients=2) for number in (0, 1))
    one = last_part(whole, first).latency.total
    whole.merge(other)
    record = last_part(whole, first)
    assert record.latency.total > 1.8 * one
    assert record.offered is not None
    assert record.offered.planned == record.offered.answered == record.latency.total
    assert len(record.clients) == 2


def test_a_run_that_was_steady_from_its_first_interval_on_is_reported_whole():
    """And one of whose first intervals nothing is known."""
    whole, _ = simulated()
    assert last_part(whole, 0) is whole
    assert last_part(whole, len(whole.intervals)) is whole


def agrees_with_rows(record):
    """The latencies are those of the rows of the window."""
    rows = record.requests[0].table(inputs=3)
    by = rows["done_ns"] if record.offered is None else rows["planned_ns"]
    until_ns = record.measured_from_ns + record.measured_ns
    inside = (by >= record.measured_from_ns) & (by < until_ns) & (rows["outcome"] == Outcome.COMPLETED)
    expected = LatencyHistogram()
    expected.record((rows["done_ns"] - rows["planned_ns"])[inside])
    assert record.latency.total == expected.total
    assert record.latency.counts.tolist() == expected.counts.tolist()


def test_values_of_many_parts_are_kept_whatever_their_order():
    """Packed ones too, when a value comes late; and merged with those of another client."""
    random = np.random.default_rng(3)
    parts, values = random.integers(0, 30, 5000), random.integers(1000, 10**9, 5000)
    whole, one, other = HistogramByPart(), HistogramByPart(), HistogramByPart()
    for begin in range(0, 5000, 10):
        chunk = slice(begin, begin + 10)
        whole.record(parts[chunk], values[chunk])
        (one if begin % 20 else other).record(parts[chunk], values[chunk])
    one.add(other)
    for first in (0, 7, 29, 30):
        expected = LatencyHistogram()
        if (parts >= first).any():
            expected.record(values[parts >= first])
        for found in (whole.since(first), one.since(first)):
            assert found.counts.tolist() == expected.counts.tolist()
            assert (found.total, found.sum_ns) == (expected.total, expected.sum_ns)
            assert (found.min_ns, found.max_ns) == (expected.min_ns, expected.max_ns)
