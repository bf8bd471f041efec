"""Batches of latencies by time: their number is bounded, nothing is lost, and clients merge."""

import pickle

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from loadgen.load.time_batches import COARSE_NS, FIRST_LENGTH_NS, MAX_BATCHES, TimeBatches
from model_containers.units import NS_PER_S

MS = 1_000_000
BEGUN_NS = 12_345


def recorded(since_ns, latency_ns=None, size=7):
    """Batches of answers, recorded some at a time."""
    since = np.array(since_ns, dtype=np.int64)
    latency = np.full(len(since), 5 * MS) if latency_ns is None else np.array(latency_ns, dtype=np.int64)
    batches = TimeBatches()
    for first in range(0, len(since), size):
        batches.record(latency[first : first + size], since[first : first + size] + BEGUN_NS, BEGUN_NS)
    return batches


def answers(batches, measured_ns):
    """Number of answers in each batch."""
    return batches.within(0, measured_ns)[0].sum(axis=1).tolist()


def test_answers_are_in_the_batch_of_their_time():
    """A batch holds what arrived from its beginning, until just before its end."""
    length = FIRST_LENGTH_NS
    batches = recorded([0, length - 1, length, 3 * length + 5])
    assert answers(batches, 4 * length) == [2, 1, 0, 1]


@pytest.mark.parametrize("seconds", [1, 4, 100, 86_400])
def test_the_number_of_batches_is_bounded(seconds):
    """However long a run is, and once it has as many as two seconds have, there are never fewer than 128."""
    since = np.linspace(0, seconds * NS_PER_S - 1, 5000).astype(np.int64)
    batches = recorded(since)
    count = len(answers(batches, seconds * NS_PER_S))
    assert count <= MAX_BATCHES
    assert count >= min(128, 64 * seconds) - 1
    assert sum(answers(batches, (seconds + 1) * 2 * NS_PER_S)) == 5000


def test_a_long_silence_costs_no_memory():
    """The next answer may belong to a batch far beyond."""
    batches = recorded([0, 1000 * NS_PER_S])
    assert sum(answers(batches, 1001 * NS_PER_S)) == 2


def test_what_arrives_after_the_measured_part_counts_in_its_last_batch():
    """Answers to requests that were planned for it."""
    batches = recorded([0, NS_PER_S, 3 * NS_PER_S])
    counts = answers(batches, 2 * NS_PER_S)
    assert counts[-1] == 1
    assert sum(counts) == 3


def test_a_part_that_is_shorter_than_a_batch_has_none():
    """There is nothing to compare."""
    counts, sums_ns = recorded([0, 1]).within(0, FIRST_LENGTH_NS - 1)
    assert (len(counts), len(sums_ns)) == (0, 0)


def test_buckets_are_narrow():
    """Two per cent, or the histogram's own half a microsecond."""
    low, high = COARSE_NS[:-1], COARSE_NS[1:]
    assert np.all(high - low <= 0.02 * low + np.maximum(512, low / 500))
    assert len(COARSE_NS) < 1200


@given(
    st.lists(st.lists(st.tuples(st.integers(0, 20 * NS_PER_S), st.integers(0, NS_PER_S)), max_size=60), max_size=4),
)
def test_clients_merge_to_what_one_would_have_recorded(clients):
    """Whatever the lengths of their batches."""
    whole = TimeBatches()
    for client in clients:
        since, latency = zip(*sorted(client), strict=True) if client else ((), ())
        whole.merge(pickle.loads(pickle.dumps(recorded(since, latency))))
    everything = sorted(each for client in clients for each in client)
    since, latency = zip(*everything, strict=True) if everything else ((), ())
    one = recorded(since, latency)
    for mine, other in zip(whole.within(0, 20 * NS_PER_S), one.within(0, 20 * NS_PER_S), strict=True):
        assert np.array_equal(mine, other)
