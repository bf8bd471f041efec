"""Bulk recording agrees with the library's own, value for value."""

from fractions import Fraction

import numpy as np
import pytest
from hdrh.histogram import HdrHistogram
from hypothesis import given, settings
from hypothesis import strategies as st

from frontend_launch.histogram import DIGITS, HIGHEST_NS, LOWEST_NS, LatencyHistogram, rank

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


@given(st.lists(values, min_size=1, max_size=4), st.booleans())
def test_a_few_at_a_time_are_the_same_values(parts, array_first):
    """However many come each time, and whichever way."""
    histogram, samples = LatencyHistogram(), [sample for part in parts for sample in part]
    for place, part in enumerate(parts):
        if place % 2 == array_first:
            histogram.record_few(part)
        else:
            histogram.record(np.array(part, dtype=np.int64))
    whole = bulk(samples)
    assert histogram.total == len(samples)
    assert np.array_equal(histogram.counts, whole.counts)
    assert (histogram.sum_ns, histogram.min_ns, histogram.max_ns) == (whole.sum_ns, whole.min_ns, whole.max_ns)


def test_a_few_at_a_time_are_counted_before_they_are_many():
    """What waits does not grow with what was recorded."""
    histogram = LatencyHistogram()
    for _ in range(10_000):
        histogram.record_few((5_000, 6_000))
    assert len(histogram._few) < 5_000
    assert (histogram.total, histogram.sum_ns) == (20_000, 110_000_000)


percentiles = st.integers(1, 1000).map(lambda tenths: tenths / 10)


@given(percentiles, st.integers(1, 10**9))
def test_the_share_at_or_below_a_percentile_is_the_least_that_suffices(percentile, number):
    """In exact arithmetic, whatever the number of values."""
    share, found = Fraction(round(percentile * 10), 1000), rank(percentile, number)
    assert Fraction(found, number) >= share
    assert found == 1 or Fraction(found - 1, number) < share


@given(values, st.integers(0, 50), percentiles)
def test_a_percentile_has_its_share_at_or_below_it(samples, beyond, percentile):
    """To a bucket's width, never above the largest; values that were not recorded count as larger than all."""
    library = HdrHistogram(LOWEST_NS, HIGHEST_NS, DIGITS)
    position, found = rank(percentile, len(samples) + beyond), bulk(samples).percentile_ns(percentile, beyond)
    ordered = sorted(samples)
    if position > len(samples):
        assert found is None
    else:
        assert found == min(library.get_highest_equivalent_value(ordered[position - 1]), ordered[-1])


@pytest.mark.parametrize(
    ("percentile", "number", "found"),
    [(99.9, 1000, 999), (99, 60, 60), (99, 100, 99), (50, 2, 1), (50, 3, 2), (95, 20, 19), (0, 5, 1), (100, 5, 5)],
)
def test_ranks(percentile, number, found):
    """No rounding to the nearest, and none by floating point."""
    assert rank(percentile, number) == found


def test_one_lost_of_51_leaves_no_p99():
    """It is the lost one."""
    assert bulk(range(1, 51)).percentile_ns(99, 1) is None


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
def test_a_spectrum_shows_percentiles(samples):
    """To a bucket's width, from the smallest value to the largest; it never falls."""
    one_in, latency_ns = bulk(samples).spectrum()
    ordered = sorted(samples)
    assert one_in[0] == 1
    assert one_in[-1] == pytest.approx(len(samples) + 1)
    assert latency_ns[-1] == ordered[-1]
    assert np.all(np.diff(latency_ns) >= 0)
    library = HdrHistogram(LOWEST_NS, HIGHEST_NS, DIGITS)
    for x, latency in zip(one_in, latency_ns, strict=True):
        exact = ordered[max(1, len(samples) - int(len(samples) / x + 1e-9)) - 1]
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
