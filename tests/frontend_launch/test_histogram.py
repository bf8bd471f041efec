"""Bulk recording agrees with the library's own, value for value."""

import numpy as np
import pytest
from hdrh.histogram import HdrHistogram
from hypothesis import given, settings
from hypothesis import strategies as st

from frontend_launch.histogram import DIGITS, HIGHEST_NS, LOWEST_NS, LatencyHistogram

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


@settings(max_examples=25)  # the library walks over all values that there could be
@given(values)
def test_what_is_read_back_has_the_librarys_mean(samples):
    """Without its walk over all values."""
    blob = bulk(samples).encode()
    library = HdrHistogram.decode(blob.encode()).get_mean_value()
    assert LatencyHistogram.decode(blob).mean_ns == pytest.approx(library, rel=1e-9, abs=1)


@given(values)
def test_one_in_so_many_values_reaches_what_the_spectrum_says(samples):
    """To a bucket's width, from all of them to the largest alone; it never falls."""
    one_in, latency_ns = bulk(samples).spectrum()
    ordered = sorted(samples)
    assert one_in[0] == 1
    assert one_in[-1] == pytest.approx(len(samples))
    assert latency_ns[-1] == ordered[-1]
    assert np.all(np.diff(latency_ns) >= 0)
    library = HdrHistogram(LOWEST_NS, HIGHEST_NS, DIGITS)
    for x, latency in zip(one_in, latency_ns, strict=True):
        exact = ordered[-int(len(samples) / x + 1e-9)]
        assert latency == min(library.get_highest_equivalent_value(exact), ordered[-1])


@given(values, st.integers(1, 50))
def test_a_spectrum_ends_where_values_were_not_recorded(samples, beyond):
    """What is beyond counts as slower than all, so it is that of all values as far as these go."""
    largest = bulk([*samples, *[HIGHEST_NS] * beyond])
    one_in, latency_ns = bulk(samples).spectrum(beyond)
    whole_in, whole_ns = largest.spectrum()
    assert np.array_equal(one_in, whole_in[: len(one_in)])
    assert np.all(latency_ns <= whole_ns[: len(one_in)])
    assert np.all(whole_ns[len(one_in) :] == HIGHEST_NS)


def test_values_beyond_an_hour_count_as_an_hour():
    """Nothing is lost at the upper end."""
    histogram = bulk([2 * HIGHEST_NS])
    assert (histogram.total, histogram.max_ns) == (1, HIGHEST_NS)


def test_an_empty_histogram_has_no_percentile():
    """No samples, no numbers."""
    empty = LatencyHistogram()
    assert (empty.percentile_ns(99), empty.mean_ns) == (None, None)
    assert [len(values) for values in empty.spectrum()] == [0, 0]
