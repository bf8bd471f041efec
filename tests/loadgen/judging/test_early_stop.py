"""What ends a run early, and how."""

import asyncio
import logging

import pytest
import uvloop

from frontend_launch.ports import Ports
from loadgen.config import Client, Deploy, ExperimentConfig, OpenLoop, Output
from loadgen.experiments.experiment import run_experiment
from loadgen.judging import early_stop as watchers
from loadgen.judging.early_stop import UntilSteady, Watched
from loadgen.judging.steady import Steadiness
from loadgen.load.arrivals import Renewal
from loadgen.load.ending import Ending
from loadgen.load.record import Interval


def interval(duration_s=1.0, rate_rps=100.0, p99_s=0.02):
    completed = round(rate_rps * duration_s)
    return Interval(1.0, duration_s, completed, p99_s, p99_s, 1.0, None)


class After:
    """Ends a run after so many intervals."""

    ended = Ending.CUT_SHORT

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
    watcher = UntilSteady()
    answers = [watcher.should_end(interval()) for _ in range(33)]
    assert not any(answers)
    assert not watcher.should_end(interval(duration_s=0.1, rate_rps=5.0))
    assert watcher.should_end(interval())


def test_intervals_that_change_do_not():
    """However many there are."""
    watcher = UntilSteady()
    assert not any(watcher.should_end(interval(rate_rps=100 + n)) for n in range(100))


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
