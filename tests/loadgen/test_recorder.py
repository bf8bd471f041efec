"""What counts as measured, and what is only counted."""

import numpy as np
import pytest

from loadgen.recorder import Record, Recorder
from loadgen.targets.target import Outcome


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
