"""How many requests are to be sent now."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from loadgen.load.ending import Ending
from loadgen.load.pace import NEVER_NS, Schedule, Window


@pytest.mark.parametrize(
    ("requests", "sent", "outstanding", "due", "over"),
    [
        pytest.param(None, 100, 7, 3, None, id="what there is room for"),
        pytest.param(None, 100, 12, 0, None, id="never less than none"),
        pytest.param(102, 100, 7, 2, None, id="the last ones"),
        pytest.param(100, 100, 7, 0, None, id="all sent, some outstanding"),
        pytest.param(100, 100, 0, 0, "requests", id="all sent and answered"),
    ],
)
def test_a_window_of_ten(requests, sent, outstanding, due, over):
    """Time has no part in it."""
    window = Window(10, requests, 0, None)
    assert window.due(5, sent, outstanding) == due
    assert window.over(5, sent, outstanding) == over
    assert window.next_ns(sent) == NEVER_NS
    assert window.times(0, 3, 5, 6) == (5, None)


def test_a_window_is_over_when_its_time_is():
    """Which begins with the measured part."""
    window = Window(10, None, 50, 100)
    assert window.over(10**6, 3, 1) is None
    window.begin_measured(60)
    assert (window.measured_from_ns, window.ends_ns) == (60, 160)
    assert window.over(159, 3, 1) is None
    assert window.over(160, 3, 1) is Ending.DURATION


@given(st.lists(st.integers(0, 1000), max_size=50).map(sorted), st.lists(st.integers(0, 1200), max_size=20).map(sorted))
def test_a_schedule_sends_each_request_when_it_is_due(times, looks):
    """However seldom one looks, and however much is outstanding."""
    schedule = Schedule(np.array(times, dtype=np.int64), 0, 1100, most=10**9)
    sent = 0
    for now in looks:
        sent += schedule.due(now, sent, outstanding=10**6)
        assert sent == sum(time <= now for time in times)
        assert schedule.next_ns(sent) == (times[sent] if sent < len(times) else NEVER_NS)
    sent_ns, planned_ns = schedule.times(0, sent, 1200, 1201)
    assert sent_ns == 1201
    assert planned_ns is not None
    assert planned_ns.tolist() == times[:sent]


def test_a_schedule_is_over_when_its_time_is():
    """Not with its last request; and when too much is outstanding."""
    schedule = Schedule(np.array([10, 20, 30]), 0, 100, most=2)
    assert schedule.over(99, 3, 1) is None
    assert schedule.over(100, 2, 1) is None
    assert schedule.over(100, 3, 1) == "schedule"
    assert schedule.over(50, 3, 3) == "overrun"
    assert (schedule.between(10, 30), schedule.between(11, 31), schedule.between(31, 99)) == (2, 2, 0)
