"""Bulk recording agrees with the library's own, value for value."""

import numpy as np
import pytest
from hdrh.histogram import HdrHistogram
from hypothesis import given
from hypothesis import strategies as st

from loadgen.recorder import DIGITS, HIGHEST_NS, LOWEST_NS, LatencyHistogram, Record, Recorder
from loadgen.targets.target import Outcome

values = st.lists(st.integers(0, HIGHEST_NS), min_size=1, max_size=200)


def bulk(samples):
    histogram = LatencyHistogram()
    histogram.record(np.array(samples, dtype=np.int64))
    return histogram


@given(values)
def test_bulk_recording_fills_the_librarys_buckets(samples):
    """The same samples give the same counts as HdrHistogram's own recording."""
    library = HdrHistogram(LOWEST_NS, HIGHEST_NS, DIGITS)
    for sample in samples:
        library.record_value(sample)
    assert np.array_equal(bulk(samples).counts, np.frombuffer(library.counts, dtype=np.uint64))


@given(values, st.sampled_from([0.1, 25, 50, 90, 95, 99, 99.9]))
def test_percentiles_are_the_librarys(samples, percentile):
    """A percentile is the library's, never beyond the true maximum."""
    library = HdrHistogram(LOWEST_NS, HIGHEST_NS, DIGITS)
    for sample in samples:
        library.record_value(sample)
    assert bulk(samples).percentile_ns(percentile) == min(library.get_value_at_percentile(percentile), max(samples))


@given(values, values)
def test_merging_is_recording_everything_in_one(first, second):
    """Adding two histograms equals one histogram of all samples, bucket for bucket."""
    merged, whole = bulk(first), bulk(first + second)
    merged.add(bulk(second))
    assert np.array_equal(merged.counts, whole.counts)
    assert (merged.total, merged.sum_ns, merged.min_ns, merged.max_ns) == (
        whole.total,
        whole.sum_ns,
        whole.min_ns,
        whole.max_ns,
    )


@given(values)
def test_encoded_blobs_read_back(samples):
    """The library decodes the blob to the same counts, and so do we."""
    blob = bulk(samples).encode()
    library = HdrHistogram.decode(blob.encode())
    assert library.get_total_count() == len(samples)
    assert np.array_equal(LatencyHistogram.decode(blob).counts, bulk(samples).counts)


def test_values_beyond_an_hour_count_as_an_hour():
    """Nothing is lost at the upper end."""
    histogram = bulk([2 * HIGHEST_NS])
    assert (histogram.total, histogram.max_ns) == (1, HIGHEST_NS)


def test_an_empty_histogram_has_no_percentile():
    """No samples, no numbers."""
    empty = LatencyHistogram()
    assert (empty.percentile_ns(99), empty.mean_ns) == (None, None)


def replies(*rows):
    outcomes, sent, done = zip(*rows, strict=True)
    return np.array(outcomes, np.uint8), np.array(sent, np.int64), np.array(done, np.int64)


def test_only_answers_that_arrive_in_the_measured_part_are_measured():
    """Warm-up, defaults, failures and what comes after the end are counted, not measured."""
    recorder = Recorder()
    recorder.replied(*replies((Outcome.COMPLETED, 0, 50)))
    recorder.begin_measured(100, until_ns=200)
    recorder.replied(
        *replies(
            (Outcome.COMPLETED, 0, 99),
            (Outcome.COMPLETED, 90, 100),
            (Outcome.DEFAULTED, 110, 120),
            (Outcome.FAILED, 110, 130),
            (Outcome.COMPLETED, 150, 199),
            (Outcome.COMPLETED, 150, 200),
        )
    )
    recorder.cut(200)
    recorder.end_measured(200)
    record = recorder.record
    assert record.latency.total == 2
    assert (record.latency.min_ns, record.latency.max_ns) == (10, 49)
    assert record.outcomes[Outcome.COMPLETED] == 5
    assert record.outcomes[Outcome.DEFAULTED] == record.outcomes[Outcome.FAILED] == 1


def test_intervals_add_up_to_the_whole():
    """Each answer is in exactly one interval."""
    recorder = Recorder()
    recorder.begin_measured(0, until_ns=None)
    for done in range(10, 100, 10):
        recorder.replied(*replies((Outcome.COMPLETED, 0, done)))
        recorder.cut(done)
    assert recorder.cut(90) is None
    assert sum(interval.completed for interval in recorder.record.intervals) == recorder.record.latency.total == 9


def test_records_of_two_clients_merge():
    """Counts add, the longer measured part counts."""
    one, other = Record(sent=3, measured_ns=10, left_behind=1), Record(sent=4, measured_ns=12, left_behind=None)
    one.outcomes[Outcome.COMPLETED], other.outcomes[Outcome.COMPLETED] = 3, 4
    one.merge(other)
    assert (one.sent, one.measured_ns, one.left_behind, one.outcomes[Outcome.COMPLETED]) == (7, 12, 1, 7)


@pytest.mark.parametrize("count", [0, 1, 5])
def test_sent_requests_count_as_measured_only_in_the_measured_part(count):
    """Sending before the measured part is warm-up."""
    recorder = Recorder()
    recorder.sent(2)
    recorder.begin_measured(0, None)
    recorder.sent(count)
    assert (recorder.record.sent, recorder.record.measured_sent) == (2 + count, count)
