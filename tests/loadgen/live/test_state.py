"""What a live process knows of a measurement."""

import math

import pytest
from live_screens import BEGAN_NS, interval, planned, reading

from loadgen.feed.messages import Begin, Closed, IntervalDone, LoadBegins, LogLine, RunEnds, Waits
from loadgen.judging.slo import parse
from loadgen.live.state import MOST_POINTS, CheckState, State
from loadgen.load.tally import OUTCOMES
from loadgen.load.target import Outcome


def running(*intervals, conditions="", **more):
    """A run with these intervals."""
    state = State()
    state.take(planned(conditions=tuple(parse(conditions)) if conditions else (), warmup_s=0.0, **more))
    state.take(LoadBegins(BEGAN_NS))
    for one in intervals:
        state.take(IntervalDone(one))
    return state


def test_counts_are_those_of_all_intervals():
    """Of the run, and of all runs."""
    state = running(interval(1, completed=100, lost=3), interval(2, completed=200))
    assert (state.run.counts.sent, state.run.counts.completed, state.run.counts.lost) == (303, 300, 3)
    assert state.run.counts.latency.total == 300
    assert state.run.throughput_rps == 50
    state.take(RunEnds())
    state.take(planned())
    state.take(LoadBegins(BEGAN_NS))
    state.take(IntervalDone(interval(1, completed=50), dropped=7))
    assert (state.counts.completed, state.run.counts.completed, state.runs, state.dropped) == (350, 50, 2, 7)


def test_what_is_waited_for_is_over_when_load_begins():
    """It is not shown any more."""
    state = State()
    state.take(Begin("rate"))
    state.take(Waits("replicas", 5))
    assert state.waits == Waits("replicas", 5)
    state.take(planned())
    state.take(LoadBegins(10))
    assert state.waits is None


def test_lines_of_the_log_are_taken_once():
    """In their order."""
    state = State()
    state.take(LogLine("a"))
    state.take(LogLine("b"))
    assert state.take_lines() == ["a", "b"]
    assert state.take_lines() == []
    state.take(Closed())
    assert state.closed


def test_messages_without_a_run_change_nothing():
    """The message of the run was dropped."""
    state = State()
    for message in (LoadBegins(1), IntervalDone(interval(1)), RunEnds()):
        state.take(message)
    assert state.run is None
    assert state.counts.completed == 0


@pytest.mark.parametrize(
    ("condition", "expected"),
    [
        ("p99<=30ms", "fails"),
        ("p99<=42ms", "near"),
        ("p99<=100ms", None),
        ("mean<=10ms", "fails"),
        ("max<=30ms", "fails"),
        ("throughput>=2100", "fails"),
        ("throughput>=1900", "near"),
        ("throughput>=100", None),
        ("failed<=0.1%", "fails"),
        ("failed<=5", "fails"),
        ("failed<=100", None),
        ("goodput(latency<100ms)>=99.99%", "fails"),
        ("goodput(latency<100ms)>=50%", None),
        ("resent<=1", None),  # not known while the run is under way
    ],
)
def test_conditions_are_judged_as_things_stand(condition, expected):
    """One that fails, one that is near its bound, and one that is neither."""
    counted = [0] * OUTCOMES
    counted[Outcome.COMPLETED], counted[Outcome.FAILED] = 6000, 10
    state = running(interval(1, lost=10, ended=tuple(counted)), conditions=condition)
    found = [("fails" if check.fails else "near") for check in state.run.checks]
    assert found == ([] if expected is None else [expected])


def test_a_percentile_among_lost_requests_is_above_all_answers():
    """It fails any bound."""
    state = running(interval(1, completed=90, lost=10), conditions="p99<=1h")
    assert state.run.checks == [CheckState("p99", "p99 above all answers, wanted <=1h", True)]
    assert state.run.counts.percentile_ms(99) is None
    assert math.isclose(state.run.counts.percentile_ms(50), 20.8, rel_tol=0.05)


def test_a_client_that_did_not_run_is_said():
    """Before the certificate does."""
    state = running(interval(1, gaps_s=0.06))
    assert [check.name for check in state.run.checks] == ["client on time"]
    assert running(interval(1, gaps_s=0.03)).run.checks == []


def test_outside_load_is_said():
    """By the check of the certificate, from the readings."""
    state = running(interval(1))
    for second in range(10):
        state.run.read(reading(second, own=0.4, outside=0.55))
    (check,) = state.run.checks
    assert (check.name, check.fails) == ("outside load", True)
    assert state.run.sample.busy[0] == pytest.approx(0.95)
    assert state.run.sample.batch_fill["elastic-net:1"] == pytest.approx(0.95)
    assert state.run.queue_length == {"elastic-net:1": 1234}


def test_a_long_run_keeps_few_intervals():
    """Its counts stay whole."""
    state = running(*(interval(number, completed=1) for number in range(1, MOST_POINTS + 50)))
    assert len(state.run.points) == MOST_POINTS
    assert state.run.counts.completed == MOST_POINTS + 49
