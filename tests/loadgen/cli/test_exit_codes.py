"""Each error that ends the program has the code that the table says."""

import signal
from dataclasses import replace
from pathlib import Path

import pytest

from frontend_launch.errors import AdminError, DescribeError, LaunchError, PlacementError, RequestError, RestError
from loadgen.cli import exit_codes
from loadgen.config import ExperimentConfig, Saturate
from loadgen.errors import ConfigError, NotSavedError, TargetError
from loadgen.experiments.ledger import Entry
from loadgen.experiments.search import Capacity
from loadgen.experiments.sweep import Sweep
from loadgen.judging.slo import parse
from loadgen.judging.validity import Check
from loadgen.load.ending import Ending
from loadgen.results import files
from loadgen.results.sections import ComparedAnswers, Threshold
from loadgen.served import Deploy

RESULTS = files.read(Path(__file__).parents[2] / "golden" / "results-v1.json")
NOTHING_MEASURED = replace(RESULTS.summary, measured=replace(RESULTS.summary.measured, completed=0))
"""Though the warm-up had answers."""
CAME_TRUE, DID_NOT, UNDECIDED = (Threshold("p99>1ms", "p99 is 1 ms", crossed) for crossed in (True, False, None))
PASSED, FAILED = (Check("outside load", "a lot", "little", verdict) for verdict in ("passed", "failed"))


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (ConfigError(), 2),
        (NotSavedError(), 11),
        (DescribeError(), 2),
        (PlacementError(), 3),
        (RequestError(), 2),
        (LaunchError(""), 4),
        (AdminError(), 4),
        (RestError(), 4),
        (TargetError(), 5),
        (ValueError(), 1),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, Exception) else str(value),
)
def test_errors(error, code):
    """By class, the most special first."""
    assert exit_codes.of_error(error) == code


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({}, 0),
        ({"ended": "schedule"}, 0),
        ({"ended": "stalled"}, 6),
        ({"ended": "server_lost"}, 6),
        ({"ended": "overrun"}, 6),
        ({"ended": "no_answer"}, 5),
        ({"answers": ComparedAnswers(1, 0.0, 9, mismatched=1), "thresholds": [CAME_TRUE]}, 7),
        ({"answers": ComparedAnswers(1, 0.0, 9, mismatched=0), "thresholds": [DID_NOT, CAME_TRUE]}, 8),
        ({"thresholds": [DID_NOT]}, 0),
        ({"thresholds": [DID_NOT, UNDECIDED]}, 10),
        ({"thresholds": [UNDECIDED, CAME_TRUE]}, 8),
        ({"summary": NOTHING_MEASURED, "thresholds": [CAME_TRUE]}, 6),
        ({"certificate": [PASSED]}, 0),
        ({"certificate": [PASSED, FAILED]}, 9),
        ({"certificate": [FAILED], "thresholds": [UNDECIDED]}, 9),
        ({"certificate": [FAILED], "ended": "stalled"}, 6),
        ({"certificate": [FAILED], "answers": ComparedAnswers(1, 0.0, 9, mismatched=1)}, 7),
    ],
)
def test_results(changes, code):
    """A run with results says by its code how it went, the worst first."""
    assert exit_codes.of_results(replace(RESULTS, **changes), allow_invalid=False) == code


@pytest.mark.parametrize(("thresholds", "code"), [(None, 0), ([UNDECIDED], 10)])
def test_invalid_results_that_are_allowed(thresholds, code):
    """They are taken as they are, but decide no condition."""
    results = replace(RESULTS, certificate=[FAILED], thresholds=thresholds)
    assert exit_codes.of_results(results, allow_invalid=True) == code


@pytest.mark.parametrize("ended", Ending)
def test_each_ending_has_a_code(ended):
    """0 for those that are as asked, and only for those."""
    assert (
        exit_codes.of_results(replace(RESULTS, ended=ended), allow_invalid=False) == exit_codes.OK
    ) is ended.as_asked


@pytest.mark.parametrize("ended", Ending)
def test_a_run_that_broke_off_has_the_code_of_one_that_could_not_go_on(ended):
    """Or of a server without an answer; its certificate says so too."""
    code = exit_codes.of_results(replace(RESULTS, ended=ended), allow_invalid=True)
    assert (code in (exit_codes.RUN, exit_codes.TARGET)) is ended.broke_off


ENTRY = Entry("r1", 1, 1, 1, 0, "cell", "x.json", None, 9.0, 1.0, "yes", "2026-01-01T00:00:00+00:00")
INVALID, CROSSED, LOST = replace(ENTRY, invalid="x"), replace(ENTRY, crossed=["p99>1ms"]), replace(ENTRY, error="x")
UNSURE = replace(ENTRY, undecided=["p99>1ms: p99 is 1.1 ms"])


@pytest.mark.parametrize(
    ("entries", "allowed", "conditions", "code"),
    [
        ([ENTRY], False, "p99>1ms", 0),
        ([ENTRY, CROSSED], False, "p99>1ms", 8),
        ([CROSSED, INVALID], False, "p99>1ms", 9),
        ([INVALID], False, None, 9),
        ([INVALID], True, None, 0),
        ([INVALID, ENTRY], True, "p99>1ms", 10),
        ([INVALID, CROSSED], True, "p99>1ms", 8),
        ([INVALID, CROSSED, LOST], False, "p99>1ms", 6),
        ([ENTRY, UNSURE], False, "p99>1ms", 10),
        ([CROSSED, UNSURE], False, "p99>1ms", 8),
        ([CROSSED, replace(ENTRY, results="/elsewhere/x.json")], False, "p99>1ms", 11),
        ([CROSSED, replace(ENTRY, rows_not_saved="they are in /elsewhere/rows.npz")], False, "p99>1ms", 11),
    ],
)
def test_sweeps(entries, allowed, conditions, code):
    """The worst of their measurements; a condition that came true in a valid one needs no others."""
    config = ExperimentConfig(
        Deploy("noop"), Saturate(), fail_if=tuple(parse(conditions) if conditions else ()), allow_invalid=allowed
    )
    assert exit_codes.of_sweep(Sweep(Path(), tuple(entries)), config) == code


@pytest.mark.parametrize(("confirmed", "undecided", "code"), [(True, False, 0), (False, False, 8), (False, True, 10)])
def test_searches(confirmed, undecided, code):
    """No rate was shown to do, or nothing can be said."""
    assert exit_codes.of_capacity(Capacity(1.0, 2.0, confirmed, "because", (), undecided)) == code


def test_signals():
    """As a shell reports them."""
    assert (exit_codes.of_signal(signal.SIGINT), exit_codes.of_signal(signal.SIGTERM)) == (130, 143)
