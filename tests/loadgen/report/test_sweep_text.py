"""What a terminal shows of sweeps."""

from dataclasses import replace
from pathlib import Path

from loadgen.experiments.ledger import Entry
from loadgen.experiments.sweep import Sweep
from loadgen.report.sweep_text import sweep_text


def test_a_sweep_marks_invalid_runs():
    """With the reason, unless another one stands there."""
    whole = Entry("b1", 1, 1, 1, 0, "cell", "x", None, 9.0, 1.0, "yes", "2026-01-01T00:00:00+00:00")
    entries = [
        whole,
        replace(whole, invalid="a replica hung", saturated="undecided"),
        replace(whole, invalid="a replica hung", error="stalled"),
        replace(whole, invalid="a replica hung", kind="anchor"),
    ]
    rows = [" ".join(row.split()) for row in sweep_text(Sweep(Path(), tuple(entries))).splitlines()]
    assert rows[1:] == [
        "b1 9 1q yes",
        "b1 9 1w invalid a replica hung",
        "b1 9 1q invalid stalled",
        "b1 9 1q invalid anchor, a replica hung",
        "q a saturated run: this latency is its queue's, not what users wait at a lower rate",
        "w a closed loop: this latency is that of its requests in flight, not of a rate",
        "drift: the first cell again, the last anchor is invalid: a replica hung",
    ]


def test_a_rate_of_a_sweep_has_no_mark():
    """Its latency is that of users."""
    rate = Entry("b1-q9", 1, 1, 1, 0, "cell", "x", None, 9.0, 1.0, "no", "2026-01-01T00:00:00+00:00", rate_rps=9.0)
    rows = [" ".join(row.split()) for row in sweep_text(Sweep(Path(), (rate,))).splitlines()]
    assert rows[1:] == ["b1-q9 9 1 no"]


def test_a_sweep_says_that_a_p99_is_uncertain_and_what_an_anchor_shows():
    """A p99 that is another is drift, whatever the throughput."""
    whole = Entry("b1", 1, 1, 1, 0, "cell", "x", None, 9.0, 3.2, "yes", "2026-01-01T00:00:00+00:00", p99_uncertain=True)
    sweep = Sweep(Path(), (whole, replace(whole, kind="anchor", p99_ms=247.9, p99_uncertain=False)))
    rows = [" ".join(row.split()) for row in sweep_text(sweep).splitlines()]
    assert rows[1:] == [
        "b1 9 ~3.2q yes",
        "b1 9 247.9q yes anchor",
        "~ too few independent answers for an interval",
        "q a saturated run: this latency is its queue's, not what users wait at a lower rate",
        "drift: the first cell again, +0.0% requests/s, p99 247.9 ms instead of 3.2 ms",
    ]
