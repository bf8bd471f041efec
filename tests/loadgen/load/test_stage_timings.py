"""The stages of a request add up to its latency."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from loadgen.load.stage_timings import STAGES, StageTimings, TimedRequest, split

PLANNED, TURN, TAKEN, DONE = 1000, 1100, 1300, 9000
TOLD = {"queue_ns": 500, "rpc_ns": 200, "model_ns": 700}


def stages(**told):
    """The known stages of one request."""
    times = split([TimedRequest(PLANNED, TURN, TAKEN, DONE, **told)])[:, 0].tolist()
    return {name: value for name, value in zip(STAGES, times, strict=True) if value >= 0}


@pytest.mark.parametrize(
    ("told", "expected"),
    [
        pytest.param({}, {"client_queue": 200, "server": 7700}, id="a server that says nothing"),
        pytest.param(
            {"arrived_ns": 2000, "unread_ns": 4000, **TOLD},
            {"client_queue": 200, "way_there": 700, "way_back": 600, "client_reading": 5000},
            id="a reply that ended the client's sleep",
        ),
        pytest.param(
            {"arrived_ns": 2000, "unread_ns": 2500, **TOLD},
            {"client_queue": 200, "way_there": 700, "way_back": 0, "client_reading": 5600},
            id="a client that looked last before the response was sent",
        ),
        pytest.param(
            {"arrived_ns": 1200, "unread_ns": 4000, **TOLD},
            {"client_queue": 100, "way_there": 0, "way_back": 1400, "client_reading": 5000},
            id="one that had arrived before the last of its turn was taken",
        ),
        pytest.param(
            {"arrived_ns": 0, "unread_ns": 4000, **TOLD},
            {"client_queue": 200, "network": 1300, "client_reading": 5000},
            id="two clocks",
        ),
        pytest.param(
            {"arrived_ns": 10, "unread_ns": 4000, **TOLD},
            {"client_queue": 200, "network": 1300, "client_reading": 5000},
            id="a clock that cannot be this one",
        ),
        pytest.param(
            {"arrived_ns": 2000, "queue_ns": 99_999}, {"client_queue": 200, "server": 7700}, id="times that do not fit"
        ),
    ],
)
def test_stages(told, expected):
    """Each begins where the one before it ends."""
    served = {"frontend_queue": 500, "rpc": 200, "model": 700} if "server" not in expected else {}
    assert stages(**told) == {"schedule_lag": 100, **expected, **served}


def test_without_the_model_s_time_it_is_part_of_the_rpc():
    """As the server has it."""
    found = stages(arrived_ns=2000, unread_ns=4000, queue_ns=500, rpc_ns=900, model_ns=-1)
    assert found["rpc"] == 900
    assert "model" not in found


spans = st.integers(0, 10**10)
unread, arrived = st.integers(0, 2 * 10**10), st.integers(-1, 2 * 10**10)


@given(st.lists(st.tuples(*[spans] * 4, unread, arrived, *[spans] * 3), min_size=1, max_size=20))
def test_they_add_up_whatever_the_server_says(rows):
    """To the nanosecond, and none is negative."""
    requests = []
    for planned, lag, taking, waiting, *told in rows:
        turn, taken = planned + lag, planned + lag + taking
        requests.append(TimedRequest(planned, turn, taken, taken + waiting, *told))
    times = split(requests)
    assert (times >= -1).all()
    latencies = [request.done_ns - request.planned_ns for request in requests]
    assert np.where(times < 0, 0, times).sum(axis=0).tolist() == latencies


def test_timings_of_two_processes_merge():
    """A request stands for those that it was chosen from."""
    one, other = StageTimings(), StageTimings()
    one.record(TimedRequest(0, 0, 2_000, 10_000), 3)
    for _ in range(300):
        other.record(TimedRequest(0, 0, 4_000, 10_000))
    one.add(other)
    assert (one.timed, one.requests) == (301, 303)
    assert list(one.histograms) == ["schedule_lag", "client_queue", "server"]
    assert one.histograms["client_queue"].sum_ns == 3 * 2_000 + 300 * 4_000
    assert sum(histogram.sum_ns for histogram in one.histograms.values()) == 303 * 10_000
