"""The search for the highest rate, against servers of which it is known."""

import itertools
from dataclasses import replace
from pathlib import Path

import pytest
from sample_results import GOLDEN, INVALID
from simulated_search import OBJECTIVES, right, trials

from loadgen.experiments.capacity import Backlog, FoundCapacity, probe_text
from loadgen.experiments.search import Capacity, Limits, Probe, ProbeRequest, cannot_pass, growing, judge, search
from loadgen.judging import slo
from loadgen.judging.evidence import Evidence
from loadgen.judging.validity import CHECKS
from loadgen.load.record import Interval
from loadgen.report.text import capacity_text


@pytest.mark.parametrize("text", OBJECTIVES)
def test_a_known_capacity_is_found_within_the_tolerance(text):
    """In at least three of four trials, each with arrivals of its own; `make evidence` makes many."""
    limits = Limits(tolerance=0.02, duration_s=30.0)
    answers = trials(text, range(4), limits)
    assert sum(right(one, text, limits) for one in answers) >= 3
    for one in answers:
        assert one.probes[-1].step == "above"
        assert one.probes[-1].outcome != "pass"
        assert one.rate_rps is not None
        assert one.failed_rps is not None
        assert one.rate_rps < one.failed_rps <= 1.06 * one.rate_rps


def scripted(outcomes, limits=None, start_rps=100.0, invalid=None):
    """A search whose probes come out as a function of the rate says; all of them may be invalid, which is allowed."""
    steps = search(start_rps, limits or Limits())
    ask = next(steps)
    asked = [ask]
    while True:
        try:
            ask = steps.send(Probe(ask.step, ask.rate_rps, ask.duration_s, outcomes(ask), "because", invalid=invalid))
        except StopIteration as end:
            return end.value, asked
        asked.append(ask)


def test_the_bracket_doubles_or_halves():
    """From the first rate on, and each step is in the answer."""
    capacity, asked = scripted(lambda ask: "pass" if ask.rate_rps < 900 else "fail")
    assert [ask.rate_rps for ask in asked if ask.step == "bracket"] == [100, 200, 400, 800, 1600]
    assert capacity.confirmed
    assert capacity.rate_rps == pytest.approx(900, rel=0.01)
    assert len(capacity.probes) == len(asked)
    capacity, asked = scripted(lambda ask: "pass" if ask.rate_rps < 30 else "unstable")
    assert [ask.rate_rps for ask in asked if ask.step == "bracket"] == [100, 50, 25]
    assert capacity.rate_rps == pytest.approx(30, rel=0.01)


@pytest.mark.parametrize(
    ("outcomes", "limits", "ended", "rate_rps"),
    [
        pytest.param(lambda _: "fail", Limits(), "no bracket between 0.01 and 1e+06 requests/s", None, id="never"),
        pytest.param(lambda _: "pass", Limits(), "no bracket between 0.01 and 1e+06 requests/s", 819200.0, id="always"),
        pytest.param(
            lambda ask: "pass" if ask.rate_rps < 150 else "lost",
            Limits(),
            "200 requests/s: because",
            100.0,
            id="the server is lost",
        ),
        pytest.param(
            lambda ask: "pass" if ask.rate_rps < 150 else "invalid",
            Limits(),
            "200 requests/s: invalid twice: because",
            100.0,
            id="an invalid probe",
        ),
        pytest.param(
            lambda ask: "pass" if ask.rate_rps < 900 else "fail",
            Limits(probes=4),
            "4 probes were not enough",
            800.0,
            id="too few probes",
        ),
    ],
)
def test_a_search_that_ends_otherwise(outcomes, limits, ended, rate_rps):
    """Says why, with what it knows until then, and does not call it confirmed."""
    capacity, _ = scripted(outcomes, limits)
    assert (capacity.ended, capacity.rate_rps, capacity.confirmed) == (ended, rate_rps, False)
    assert capacity.undecided == ("invalid" in ended)


def test_an_invalid_probe_is_made_once_more():
    """It counts neither as one that passed or failed, nor towards the most probes."""
    seen = set()

    def outcome(ask):
        if ask.rate_rps not in seen:
            seen.add(ask.rate_rps)
            return "invalid"
        return "pass" if ask.rate_rps < 150 else "fail"

    capacity, asked = scripted(outcome, Limits(probes=3))
    assert [ask.rate_rps for ask in asked[:4]] == [100, 100, 200, 200]
    assert (capacity.ended, len(asked), capacity.undecided) == ("3 probes were not enough", 6, False)
    assert (capacity.rate_rps, capacity.failed_rps) == (pytest.approx(141.4, abs=0.1), 200.0)


@pytest.mark.parametrize("tolerance", [0.02, 0.1, 0.3, 0.5])
def test_a_passed_probe_above_confirms_its_rate_and_the_next_is_farther_up(tolerance):
    """No confirming probe is made twice, though the other probes are worse than the server is."""
    capacity, asked = scripted(
        lambda ask: "pass" if ask.rate_rps < (990 if ask.step in ("confirm", "above") else 700) else "fail",
        Limits(tolerance),
    )
    assert capacity.confirmed
    assert capacity.rate_rps is not None
    assert capacity.failed_rps is not None
    assert capacity.rate_rps < 990
    assert capacity.failed_rps <= max(1.05, 1 + tolerance / 4) * capacity.rate_rps * 1.000001
    long = [ask.rate_rps for ask in asked if ask.step in ("confirm", "above")]
    assert len(set(long)) == len(long)


def test_the_step_above_doubles_until_a_probe_fails():
    """Then the search narrows below that."""
    _, asked = scripted(
        lambda ask: "pass" if ask.rate_rps < (150 if ask.step in ("confirm", "above") else 100) else "fail",
        Limits(0.5),
        start_rps=90.0,
    )
    first = next(number for number, ask in enumerate(asked) if ask.step == "above")
    rates = [ask.rate_rps for ask in asked[first : first + 3]]
    assert [ask.step for ask in asked[first : first + 3]] == ["above"] * 3
    assert [after / before for before, after in itertools.pairwise(rates)] == pytest.approx([1.1, 1.2])


def test_one_allowed_invalid_failure_does_not_close_the_bracket():
    """It is made once more, and the second counts; one that passes is taken as it is."""
    seen = set()

    def outcome(ask):
        disturbed = ask.rate_rps == 400 and 400 not in seen
        seen.add(ask.rate_rps)
        return "pass" if ask.rate_rps < 900 and not disturbed else "fail"

    capacity, asked = scripted(outcome, invalid="somebody used core 3")
    assert [ask.rate_rps for ask in asked[:7]] == [100, 200, 400, 400, 800, 1600, 1600]
    assert (capacity.confirmed, capacity.undecided) == (True, False)
    assert capacity.rate_rps == pytest.approx(900, rel=0.01)


@pytest.mark.parametrize("probes", range(1, 40))
def test_the_answer_names_rates_that_were_probed(probes):
    """However early the search ends: the bracket's ends are moved where chance may have decided."""
    capacity, _ = scripted(_shorter_ones_pass, Limits(probes=probes))
    passed = {probe.rate_rps for probe in capacity.probes if probe.outcome == "pass"}
    failed = {probe.rate_rps for probe in capacity.probes if probe.outcome == "fail"}
    assert capacity.rate_rps in passed
    assert capacity.failed_rps in (failed or {None})


def _shorter_ones_pass(ask):
    return "pass" if ask.rate_rps < (900 if ask.step == "confirm" else 1000) else "fail"


def test_probes_at_low_rates_are_longer():
    """Percentiles want samples, up to a point."""
    _, asked = scripted(lambda ask: "pass" if ask.rate_rps < 9 else "fail", Limits(duration_s=10.0), start_rps=16.0)
    assert [(ask.rate_rps, ask.duration_s) for ask in asked[:2]] == [(16, 40.0), (8, 40.0)]
    _, asked = scripted(lambda ask: "pass" if ask.rate_rps < 900 else "fail", Limits(duration_s=10.0))
    assert [ask.duration_s for ask in asked[:1]] == [10.0]
    assert {ask.duration_s for ask in asked if ask.step in ("confirm", "above")} == {50.0}


@pytest.mark.parametrize(
    ("in_flight", "grows"),
    [
        pytest.param([5, 5, 5, 5], False, id="steady"),
        pytest.param([10, 20, 30, 40, 50, 60], True, id="evenly"),
        pytest.param([10 * n**0.5 for n in range(1, 21)], True, id="like the square root of time"),
        pytest.param([0.1, 0.1, 0.3, 0.4], False, id="hardly any"),
        pytest.param([1, 100], False, id="too few intervals"),
        pytest.param([100, 80, 60, 40], False, id="it shrinks"),
    ],
)
def test_whether_a_backlog_grew(in_flight, grows):
    """Between the halves of a probe."""
    assert growing(in_flight) is grows


@pytest.mark.parametrize(
    ("in_flight", "bound", "cut"),
    [
        pytest.param([100, 200, 300], 250, True, id="beyond four times the bound"),
        pytest.param([20, 40, 90], 250, False, id="less than that"),
        pytest.param([300, 200, 300], 250, False, id="it does not only grow"),
        pytest.param([100, 300], 250, False, id="too early to say"),
        pytest.param([100, 200, 300], None, False, id="no bound: four seconds' worth"),
        pytest.param([50, 150, 250], 10_000, False, id="the first answers are under way, and may be for long"),
    ],
)
def test_a_probe_is_cut_short_when_it_is_hopeless(in_flight, bound, cut):
    """At 100 requests a second."""
    assert cannot_pass(in_flight, 100.0, bound) is cut


def test_requests_under_way_before_the_first_answers_are_no_backlog():
    """A server that takes five seconds for each has five seconds' worth of them, and no more."""
    backlog = Backlog(10.0, slo.parse("failed<0.1%"), drains=False)
    for second in range(1, 13):
        completed = 0 if second <= 5 else 10
        interval = Interval(float(second), 1.0, completed, None, None, min(second, 5) * 10.0, None)
        assert not backlog.should_end(interval)
    assert not growing(backlog.in_flight)


def test_what_a_probe_came_to():
    """Its conditions, its ending, and whether it is valid."""
    ask = ProbeRequest("narrow", 100.0, 10.0)
    conditions = slo.parse("p99<250ms")
    summary = replace(
        GOLDEN.summary,
        latency_ms={**GOLDEN.summary.latency_ms, "p99": 100.0},
        planned=1000,
        offered_rps=100.0,
        throughput_rps=100.0,
    )
    good = replace(GOLDEN, ended="schedule", summary=summary)
    slow = replace(good, summary=replace(summary, latency_ms={**summary.latency_ms, "p99": 300.0}))
    fewer = replace(good, summary=replace(summary, throughput_rps=90.0))

    def outcome(results, in_flight=(1.0, 1.0, 1.0, 1.0)):
        return judge(ask, results, conditions, in_flight).outcome

    assert outcome(good) == "pass"
    assert outcome(good, (10.0, 20.0, 30.0, 40.0)) == "unstable"
    assert outcome(slow) == outcome(fewer) == "fail"
    assert outcome(replace(good, ended="cut_short")) == outcome(replace(good, ended="overrun")) == "fail"
    assert outcome(replace(good, ended="server_lost", error="it is gone", certificate=[INVALID])) == "lost"


@pytest.mark.parametrize("name", ["answers", "throughput unchanged"])
@pytest.mark.parametrize("ended", ["schedule", "cut_short"])
def test_what_an_overloaded_server_does_is_no_fault_of_the_probe(name, ended):
    """It loses answers and changes: such a probe is judged on its conditions, others on nothing."""
    assert name in {check(Evidence(2, 0.5, 9, 9.0)).name for check in CHECKS}
    ask, conditions = ProbeRequest("narrow", 100.0, 10.0), slo.parse("failed<0.1%")
    summary = replace(GOLDEN.summary, failed=GOLDEN.summary.sent, offered_rps=100.0)
    own = replace(GOLDEN, ended=ended, summary=summary, certificate=[replace(INVALID, name=name)])
    assert judge(ask, own, conditions, ()).outcome == "fail"
    other = judge(ask, replace(own, certificate=[*own.certificate, INVALID]), conditions, ())
    assert (other.outcome, other.text, other.invalid) == ("invalid", INVALID.reason, None)


def test_an_invalid_probe_that_is_allowed_is_judged_and_marked():
    """The answer says that it rests on it."""
    summary = replace(GOLDEN.summary, offered_rps=100.0, throughput_rps=100.0)
    made = replace(GOLDEN, ended="schedule", summary=summary, certificate=[INVALID])
    probe = judge(ProbeRequest("narrow", 100.0, 10.0), made, slo.parse("p99<1000s"), (), allow_invalid=True)
    assert (probe.outcome, probe.invalid) == ("pass", INVALID.reason)
    assert probe_text(probe).endswith(" (invalid: outside load: somebody used core 3)")
    found = FoundCapacity(
        Capacity(100.0, 105.0, True, "confirmed", (probe, probe, replace(probe, invalid=None))), 9.0, Path()
    )
    assert found.capacity.invalid == (probe, probe)
    assert "invalid     2 of 3 probes; the answer rests on them" in capacity_text(found).splitlines()
    undecided = replace(found, capacity=replace(found.capacity, rate_rps=None, confirmed=False, undecided=True))
    assert "capacity    undecided" in capacity_text(undecided).splitlines()
