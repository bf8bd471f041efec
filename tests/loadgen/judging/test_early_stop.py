"""What ends a run early, and how."""

import asyncio
import logging
from dataclasses import replace

import pytest
import uvloop
from hypothesis import given
from hypothesis import strategies as st

from frontend_launch.ports import Ports
from loadgen.config import Client, ExperimentConfig, OpenLoop, Output
from loadgen.experiments.experiment import run_experiment
from loadgen.judging import early_stop as watchers
from loadgen.judging.early_stop import Decided, FirstOf, UntilSteady, Watched
from loadgen.judging.slo import LATENCIES, METRICS, parse
from loadgen.judging.steady import Steadiness
from loadgen.load.arrivals import Renewal
from loadgen.load.ending import Ending
from loadgen.load.record import Interval
from loadgen.served import Deploy


def interval(duration_s=1.0, rate_rps=100.0, p99_s=0.02):
    completed = round(rate_rps * duration_s)
    return Interval(1.0, duration_s, completed, p99_s, p99_s, 1.0, None)


class After:
    """Ends a run after a number of intervals."""

    ended: Ending = Ending.CUT_SHORT

    def __init__(self, count, drains):
        self.left, self.drains = count, drains

    def should_end(self, _):
        self.left -= 1
        return not self.left


@pytest.mark.parametrize("drains", [True, False])
def test_enough_is_said_once_and_lines_end_with_it(caplog, drains):
    """A fragment that comes after it has no line."""
    caplog.set_level(logging.INFO)
    stop_sending, halt = asyncio.Event(), asyncio.Event()
    watched = Watched(After(2, drains), stop_sending, halt)
    for _ in range(4):
        watched(interval())
    assert (stop_sending.is_set(), halt.is_set()) == (drains, not drains)
    assert watched.ended == "cut_short"
    assert len(caplog.records) == 2


def test_what_was_halted_by_others_was_not_ended_by_the_watcher():
    """Such as by the loss of the server."""
    halt = asyncio.Event()
    halt.set()
    watched = Watched(After(1, drains=False), asyncio.Event(), halt)
    watched(interval())
    assert watched.ended is None


def test_steady_intervals_end_a_run():
    """Thirty at least, and five looks; a fragment at the end is not looked at."""
    watcher = UntilSteady(1.0)
    answers = [watcher.should_end(interval()) for _ in range(33)]
    assert not any(answers)
    assert not watcher.should_end(interval(duration_s=0.1, rate_rps=5.0))
    assert watcher.should_end(interval())


def test_a_late_interval_is_not_the_measure_of_the_others():
    """Nor is the short one after it judged; where the steady part begins, it counts as one of the run."""
    watcher = UntilSteady(1.0)
    late, short = interval(duration_s=2.4, rate_rps=50.0), interval(duration_s=0.01)
    answers = [watcher.should_end(each) for each in (late, short, *[interval()] * 34)]
    assert answers.index(True) == 35
    assert watcher.first == 6, "the last thirty"


def test_intervals_that_change_do_not():
    """However many there are."""
    watcher = UntilSteady(1.0)
    assert not any(watcher.should_end(interval(rate_rps=100 + n)) for n in range(100))


def ended_in(good=0, slow=0, failed=0):
    """An interval in which requests ended so, of a tally with one bound; slow ones are completed too."""
    return replace(interval(), ended=(good + slow, 0, failed, 0, 0, slow, slow))


@pytest.mark.parametrize(
    ("text", "most", "decided_at"),
    [
        pytest.param("goodput(latency<100ms)<99%", 1000, 3, id="goodput: more than ten of a thousand"),
        pytest.param("goodput(latency<100ms)<=99%", 1000, 2, id="goodput: ten of a thousand"),
        pytest.param("goodput(latency<100ms)<99%", None, None, id="of how many is not known"),
        pytest.param("goodput(latency<100ms)>99%", 1000, None, id="more slow ones make it false"),
        pytest.param("p99>=100ms", 1000, 3, id="a percentile"),
        pytest.param("p50>=100ms", 1000, None, id="a percentile that may still be low"),
        pytest.param("p99<100ms", 1000, None, id="a percentile that is to be low"),
        pytest.param("max>=100ms", None, 1, id="the slowest"),
        pytest.param("failed>0", None, 2, id="a number of requests"),
        pytest.param("failed>0.4%", 1000, 2, id="a share of requests"),
        pytest.param("failed>0.4%", None, None, id="a share of a number that is not known"),
        pytest.param("failed<0.4%", 1000, None, id="a share that grows"),
        pytest.param("throughput<9", 1000, None, id="what no single request decides"),
    ],
)
def test_a_condition_ends_a_run_once_it_is_true_whatever_follows(text, most, decided_at):
    """Five slow ones, five that failed, one more slow one; many good ones between."""
    conditions = parse(text)
    watcher = Decided(conditions, (100_000_000,), most, drains=True)
    intervals = [ended_in(90, slow=5), ended_in(90, failed=5), ended_in(90, slow=1)]
    found = [number for number, each in enumerate(intervals, 1) if watcher.should_end(each)]
    assert (found[0] if found else None) == decided_at
    assert not Decided(conditions, (100_000_000,), most, drains=True).should_end(interval())


@given(st.sampled_from(METRICS), st.sampled_from(["<", "<=", ">", ">="]), st.floats(0, 2))
def test_of_a_condition_and_its_opposite_one_is_true(metric, operator, value):
    """And both count the same requests as slow."""
    if metric == "goodput":
        text = f"goodput(latency<7ms){operator}99%"
    else:
        text = f"{metric}{operator}7{'ms' if metric in LATENCIES else '%' if metric == 'achieved' else ''}"
    (condition,) = parse(text)
    assert condition.allows(value) != condition.opposite.allows(value)
    assert parse(condition.opposite.text) == [condition.opposite]
    assert condition.opposite.opposite == condition
    assert condition.slow_ns == condition.opposite.slow_ns


def test_the_first_of_several_watchers_ends_a_run():
    """In its way; the others have seen all intervals."""
    steady, slow = After(3, drains=True), After(2, drains=False)
    steady.ended = Ending.STEADY
    watcher = FirstOf(steady, slow)
    assert [watcher.should_end(interval()) for _ in range(2)] == [False, True]
    assert (watcher.ended, watcher.drains, steady.left) == (Ending.CUT_SHORT, False, 1)


def test_a_run_that_ended_early_has_all_of_its_answers(tmp_path, monkeypatch):
    """What was outstanding is waited for; of the plan, what was sent in the steady window counts."""
    monkeypatch.setattr(watchers, "steadiness", lambda rates, _: Steadiness(len(rates) == 4, "it is", 3))
    config = ExperimentConfig(
        Deploy("noop", ports=Ports(0, 0, 0, 0, 0)),
        OpenLoop(Renewal(200.0, 60.0, 0.0, 0), warmup_s=0.1),
        until_steady=True,
        client=Client(ceiling=False),
        output=Output(tmp_path, log_every_s=0.2),
    )
    results = uvloop.run(run_experiment(config))
    assert (results.ended, results.error) == ("steady", None)
    assert results.summary.sent == results.summary.completed
    assert results.summary.planned == results.summary.measured.sent < 1000
    assert len(results.client_metrics.thrus) >= 3
    assert results.summary.measured.steady_window_s is not None
    assert results.summary.measured.steady_window_s[0] == pytest.approx(0.2)
