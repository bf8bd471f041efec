"""The search for the highest rate, against servers of which it is known."""

import contextlib
from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sample_results import GOLDEN, INVALID
from simulated_search import Server, covers, found, mm1, mm1_rate, pausing

from loadgen.experiments.capacity import Backlog, FoundCapacity, probe_text
from loadgen.experiments.probes import (
    Probe,
    ProbeRequest,
    bound_s,
    cannot_pass,
    growing,
    hopeless_after,
    judge,
    samples,
)
from loadgen.experiments.search import Capacity, Limits, Searcher, effort, search
from loadgen.judging import slo
from loadgen.judging.evidence import Evidence
from loadgen.judging.validity import certificate
from loadgen.load.record import Interval
from loadgen.load.summary import MeasuredPart, Share
from loadgen.report.capacity_text import capacity_text

QUICK = Server("one at a time, exponential", "p99<50ms", mm1, lambda: mm1_rate(0.05, 0.01))


@pytest.mark.parametrize("seed", [0, 1])
def test_the_interval_holds_a_known_capacity(seed):
    """`make evidence` makes a hundred searches of each of seven servers."""
    answer = found(QUICK, seed, Limits(duration_s=10.0, confirm_s=60.0), start_rps=300.0)
    assert answer.confirmed
    assert covers(QUICK, answer)
    assert answer.interval_rps is not None
    assert answer.interval_rps[1] / answer.interval_rps[0] < 1.3
    assert {probe.duration_s for probe in answer.probes} == {10.0, 60.0}


def test_no_rate_is_confirmed_at_a_server_that_stands_still():
    """Two seconds in each minute; a probe of thirty seconds may see nothing of it."""
    server = Server("stands still", "p99<100ms", pausing)
    answer = found(server, 1, Limits(probes=14), start_rps=20.0)
    assert (answer.confirmed, answer.interval_rps) == (False, None)
    assert covers(server, answer)


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


def carries(rate_rps):
    """A server that holds the objective up to a rate."""
    return lambda ask: "pass" if ask.rate_rps < rate_rps else "fail"


def test_the_bracket_doubles_or_halves():
    """From the first rate on, and each step is in the answer."""
    capacity, asked = scripted(carries(900))
    assert [ask.rate_rps for ask in asked if ask.step == "bracket"] == [100, 200, 400, 800, 1600]
    assert capacity.interval_rps == pytest.approx((900, 900), rel=0.05)
    assert len(capacity.probes) == len(asked)
    capacity, asked = scripted(lambda ask: "pass" if ask.rate_rps < 30 else "unstable" if not ask.confirms else "fail")
    assert [ask.rate_rps for ask in asked if ask.step == "bracket"] == [100, 50, 25]
    assert capacity.rate_rps == pytest.approx(30, rel=0.05)


def asked_about(rate_rps, outcomes, limits=None):
    """A search that is asked about a rate."""
    steps = Searcher(rate_rps, limits or Limits(), asked=True).steps()
    ask, asked = next(steps), []
    while True:
        asked.append(ask)
        try:
            ask = steps.send(Probe(ask.step, ask.rate_rps, ask.duration_s, outcomes(ask), "because"))
        except StopIteration as end:
            return end.value, asked


def test_a_rate_that_is_asked_about_is_decided_first():
    """By a long probe; only where it passes are higher ones sent, in small steps."""
    capacity, asked = asked_about(100.0, carries(900))
    assert (asked[0].step, asked[0].rate_rps, asked[0].duration_s) == ("confirm", 100.0, Limits().confirm_s)
    up = [ask.rate_rps for ask in asked if ask.step == "bracket"]
    assert up == pytest.approx([100 * 1.5**each for each in range(1, 7)])
    assert sum(ask.confirms for ask in asked) == 3
    assert capacity.interval_rps == pytest.approx((900, 900), rel=0.05)


@pytest.mark.parametrize("outcome", ["fail", "unstable", "undecided"])
def test_a_rate_that_does_not_pass_is_not_exceeded(outcome):
    """The search goes on below it."""
    capacity, asked = asked_about(100.0, lambda ask: "pass" if ask.rate_rps < 30 else outcome)
    assert [ask.rate_rps for ask in asked if ask.step == "bracket"] == [50, 25]
    assert max(ask.rate_rps for ask in asked) == 100.0
    assert capacity.rate_rps == pytest.approx(30, rel=0.05)


def test_both_sides_are_confirmed_by_probes_of_their_own():
    """A tolerance to each side of what the short ones found; they are as long as was asked."""
    capacity, asked = scripted(carries(900), Limits(confirm_s=77.0))
    below, above = (ask for ask in asked if ask.confirms)
    assert (below.step, above.step) == ("confirm", "above")
    assert below.rate_rps < 900 < above.rate_rps
    assert below.duration_s == above.duration_s == capacity.confirm_s == 77.0
    assert capacity.interval_rps == (below.rate_rps, above.rate_rps)
    assert above.rate_rps / below.rate_rps == pytest.approx(1.02**2)


NO_BRACKET = "no bracket between 0.01 and 1,000,000 requests/s"


@pytest.mark.parametrize(
    ("outcomes", "limits", "ended", "rate_rps", "undecided"),
    [
        pytest.param(lambda _: "fail", Limits(), NO_BRACKET, None, False, id="no"),
        pytest.param(lambda _: "pass", Limits(), NO_BRACKET, 819200.0, False, id="always"),
        pytest.param(
            lambda ask: "pass" if ask.rate_rps < 150 else "lost",
            Limits(),
            "200 requests/s: because",
            100.0,
            False,
            id="the server is lost",
        ),
        pytest.param(
            lambda ask: "pass" if ask.rate_rps < 150 else "invalid",
            Limits(),
            "200 requests/s: invalid 5 times: because",
            100.0,
            True,
            id="an invalid probe",
        ),
        pytest.param(carries(900), Limits(probes=4), "4 probes were not enough", 800.0, False, id="too few probes"),
        pytest.param(
            lambda ask: "undecided" if ask.confirms else carries(900)(ask),
            Limits(),
            "16 probes of 300 s were not enough",
            891.5,
            True,
            id="long probes that decide nothing",
        ),
        pytest.param(
            lambda ask: "fail" if ask.confirms else carries(900)(ask),
            Limits(),
            "16 probes of 300 s were not enough",
            None,
            False,
            id="a server that collapses after a while",
        ),
    ],
)
def test_a_search_that_ends_otherwise(outcomes, limits, ended, rate_rps, undecided):
    """Says why, with what it knows until then, and does not call it confirmed."""
    capacity, _ = scripted(outcomes, limits)
    assert (capacity.ended, capacity.confirmed, capacity.undecided) == (ended, False, undecided)
    assert capacity.rate_rps == (None if rate_rps is None else pytest.approx(rate_rps, rel=0.001))
    assert capacity.interval_rps is None


def test_an_invalid_probe_is_made_again_after_a_while():
    """The wait doubles; it counts neither as one that passed nor as one that failed."""
    made: Counter[float] = Counter()

    def outcome(ask):
        made[ask.rate_rps] += 1
        return "invalid" if made[ask.rate_rps] <= 3 else carries(150)(ask)

    capacity, asked = scripted(outcome)
    assert [(ask.rate_rps, ask.wait_s) for ask in asked[:5]] == [(100, 0), (100, 5), (100, 10), (100, 20), (200, 0)]
    assert capacity.confirmed
    assert capacity.interval_rps == pytest.approx((150, 150), rel=0.05)


@pytest.mark.parametrize("late", [0.7, 0.9, 0.99])
def test_a_server_that_collapses_late_is_confirmed_below_that(late):
    """Short probes pass at what long ones do not."""
    capacity, _ = scripted(lambda ask: carries(900 * late if ask.confirms else 900)(ask))
    assert capacity.interval_rps is not None
    assert capacity.interval_rps[0] < 900 * late <= capacity.interval_rps[1]
    assert capacity.interval_rps[1] / capacity.interval_rps[0] < 1.081


def test_short_probes_that_failed_by_chance_are_put_right():
    """The long ones go up until one fails, and the middle is probed where the ends are far apart."""
    capacity, asked = scripted(lambda ask: carries(900 if ask.confirms else 600)(ask))
    assert capacity.interval_rps is not None
    assert capacity.interval_rps[0] < 900 <= capacity.interval_rps[1]
    long = [ask.rate_rps for ask in asked if ask.confirms]
    assert len(set(long)) == len(long)


def test_a_long_probe_that_decides_nothing_is_not_made_again():
    """The next is farther away: a search that probes until something passes selects the lucky probe."""
    _, asked = scripted(lambda ask: "undecided" if ask.confirms and ask.rate_rps > 800 else carries(900)(ask))
    rates = [ask.rate_rps for ask in asked if ask.step == "confirm"]
    assert rates == sorted(set(rates), reverse=True)
    assert rates[-1] <= 800
    away = [rates[0] * 1.02 / rate - 1 for rate in rates]
    assert away == pytest.approx([0.02 * 2**n for n in range(len(rates))])


def test_what_is_confirmed_stays_so_where_the_middle_is_not_decided():
    """Also when there are no more probes."""
    capacity, _ = scripted(lambda ask: "undecided" if ask.confirms and 700 < ask.rate_rps < 1100 else carries(900)(ask))
    assert (capacity.confirmed, capacity.undecided, capacity.ended) == (True, False, "confirmed")
    assert capacity.interval_rps is not None
    assert capacity.interval_rps[0] <= 700 < 1100 <= capacity.interval_rps[1]


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
    assert capacity.rate_rps == pytest.approx(900, rel=0.05)


@pytest.mark.parametrize("probes", range(1, 20))
def test_the_answer_names_rates_that_were_probed(probes):
    """However early the search ends."""
    capacity, _ = scripted(lambda ask: carries(880 if ask.confirms else 900)(ask), Limits(probes=probes))
    passed = {probe.rate_rps for probe in capacity.probes if probe.outcome == "pass"}
    failed = {probe.rate_rps for probe in capacity.probes if probe.outcome == "fail"}
    assert capacity.rate_rps in passed
    assert capacity.failed_rps in (failed or {None})


def test_probes_at_low_rates_are_longer():
    """Percentiles want samples, up to a point."""
    _, asked = scripted(carries(9), Limits(duration_s=10.0), start_rps=16.0)
    assert [(ask.rate_rps, ask.duration_s) for ask in asked[:2]] == [(16, 40.0), (8, 40.0)]
    _, asked = scripted(carries(900), Limits(duration_s=10.0))
    assert asked[0].duration_s == 10.0
    assert {ask.duration_s for ask in asked if ask.confirms} == {300.0}
    assert Limits().length_s(1.0, confirms=True) == 660.0


@pytest.mark.parametrize(
    ("objective", "wanted"),
    [
        ("p99<1s", 660),
        ("p50<1s,failed<0.1%", 6600),
        ("p99.9<1s", 6600),
        ("goodput(latency<1s)>95%", 132),
        ("mean<1s,failed<1", 660),
        ("failed<=0%,p50<1s", 14),
    ],
)
def test_how_many_requests_an_objective_wants(objective, wanted):
    """The rarer the requests that may be slow, the more."""
    assert samples(slo.parse(objective)) == wanted


outcomes_of_probes = st.lists(st.sampled_from(["pass", "fail", "unstable", "undecided", "invalid"]), max_size=70)


@given(outcomes_of_probes, st.integers(1, 60), st.sampled_from([5.0, 30.0, 300.0]), st.sampled_from([0.02, 0.1, 0.5]))
def test_effort_bounds_every_search(results, probes, confirm_s, tolerance):
    """Whatever the probes come to: their number and their time."""
    limits = Limits(tolerance, 30.0, probes, confirm_s)
    effort_ = effort(limits, warmup_s=1.0, first_s=5.0)
    coming = iter(results)
    capacity, asked = scripted(lambda _: next(coming, "pass"), limits, start_rps=1000.0)
    took_s = 5.0 + sum(
        ask.duration_s + ask.wait_s + 1.0 for ask in asked if ask.rate_rps >= effort_.stretched_below_rps
    )
    assert len(asked) <= effort_.probes[1]
    assert took_s <= effort_.measured_s[1]
    if capacity.confirmed:
        assert len(asked) >= effort_.probes[0]
        passed_s = sum(probe.duration_s for probe in capacity.probes if probe.outcome == "pass")
        assert 5.0 + len(asked) * 1.0 + passed_s >= effort_.measured_s[0]


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
        pytest.param([101, 200, 300, 400, 500], 0.25, True, id="beyond four times the bound"),
        pytest.param([100, 200, 300, 400, 500], 0.25, False, id="not for so long yet"),
        pytest.param([5, 6, 7, 300, 500], 0.25, False, id="a moment in which the server stands still"),
        pytest.param([200, 300, 250, 400, 500], 0.25, False, id="it does not only grow"),
        pytest.param([200, 300, 400, 500], 0.25, False, id="too early to say"),
        pytest.param([101, 200, 300, 400, 500], None, False, id="no bound: four seconds' worth"),
        pytest.param([150, 250, 350, 450, 550], 10.0, False, id="the first answers are under way, and may be for long"),
    ],
)
def test_a_probe_is_cut_short_when_it_is_hopeless(in_flight, bound, cut):
    """At 100 requests a second."""
    assert cannot_pass(in_flight, 100.0, bound) is cut


@pytest.mark.parametrize(
    ("objective", "worth_s"),
    [
        ("p99<100ms", 0.1),
        ("p50<10ms", 0.0664),
        ("p99.9<100ms", 0.1),
        ("mean<10ms", 0.0461),
        ("max<1s", 1.0),
        ("goodput(latency<100ms)>90%", 0.2),
        ("goodput(latency<100ms)<90%", None),
        ("p99>1s,failed<1%", None),
        ("p99<1s,p50<1ms", 1.0),
    ],
)
def test_what_a_backlog_may_be_worth(objective, worth_s):
    """As a p99: a bound of a lower percentile allows longer queues."""
    found_s = bound_s(slo.parse(objective))
    assert found_s == (None if worth_s is None else pytest.approx(worth_s, rel=0.01))


@pytest.mark.parametrize(
    ("objective", "seconds"),
    [
        ("p99<100ms", 5),
        ("p99.9<100ms", 5),
        ("p50<10ms", 150),
        ("mean<10ms", 30),
        ("max<1s", 5),
        ("goodput(latency<100ms)>90%", 30),
        ("failed<1%", 150),
        ("p99<1s,p50<1ms", 5),
    ],
)
def test_a_server_that_stands_still_for_a_moment_has_not_failed_a_long_probe(objective, seconds):
    """A stop of ten seconds of three hundred breaks a p99, and no p50."""
    conditions = slo.parse(objective)
    assert hopeless_after(conditions, ProbeRequest("narrow", 100.0, 300.0)) == 5
    assert hopeless_after(conditions, ProbeRequest("confirm", 100.0, 300.0)) == seconds
    backlog = Backlog(ProbeRequest("confirm", 100.0, 300.0), conditions, drains=False)
    stop = [backlog.should_end(Interval(n, 1.0, 100, None, None, 1.0, None)) for n in range(1, 6)]
    stop += [backlog.should_end(Interval(n, 1.0, 0, None, None, 100.0 * (n - 5), None)) for n in range(6, 16)]
    assert any(stop) is (seconds == 5)


def test_requests_under_way_before_the_first_answers_are_no_backlog():
    """A server that takes five seconds for each has five seconds' worth of them, and no more."""
    backlog = Backlog(ProbeRequest("narrow", 10.0, 30.0), slo.parse("failed<0.1%"), drains=False)
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


def test_a_long_probe_decides_by_its_interval():
    """Where that holds the bound, it is undecided; a short one is judged on what it measured."""
    conditions = slo.parse("p99<250ms")
    summary = replace(
        GOLDEN.summary,
        latency_ms={**GOLDEN.summary.latency_ms, "p99": 200.0},
        measured=MeasuredPart(300.0, 30_000, 30_000),
        offered_rps=100.0,
        throughput_rps=100.0,
    )

    def outcome(step, interval, p99_ms=200.0, **members):
        shares = {"latency>=250ms": Share(5, 1000, interval)}
        latency_ms = {**summary.latency_ms, "p99": p99_ms}
        own = replace(summary, shares=shares, latency_ms=latency_ms, **members)
        results = replace(GOLDEN, ended="schedule", summary=own)
        return judge(ProbeRequest(step, 100.0, 300.0), results, conditions, (1.0,) * 4).outcome

    assert outcome("confirm", (0.001, 0.009)) == "pass"
    assert outcome("confirm", (0.001, 0.02)) == outcome("confirm", None) == "undecided"
    assert outcome("narrow", (0.001, 0.02)) == outcome("narrow", None) == "pass"
    assert outcome("above", (0.005, 0.03), 260.0) == "undecided"
    assert outcome("above", (0.02, 0.03), 260.0) == outcome("narrow", (0.005, 0.03), 260.0) == "fail"
    few = {"throughput_rps": 98.0, "throughput_interval_rps": (97.0, 99.5)}
    assert outcome("above", (0.001, 0.009), **few) == "undecided"
    assert outcome("narrow", (0.001, 0.009), **few) == "fail"
    assert outcome("above", (0.001, 0.009), **(few | {"throughput_interval_rps": (97.0, 98.5)})) == "fail"


def test_requests_that_conditions_allow_to_be_lost_need_not_be_answered():
    """Others do: a rate that was not carried did not pass."""
    lossy = replace(
        GOLDEN.summary, sent=1000, failed=30, timed_out=0, offered_rps=100.0, throughput_rps=97.0, defaulted=0
    )
    lossy = replace(lossy, abandoned=0, measured=MeasuredPart(300.0, 30_000, 29_100))
    results = replace(GOLDEN, ended="schedule", summary=lossy)

    def outcome(text):
        return judge(ProbeRequest("narrow", 100.0, 30.0), results, slo.parse(text), (1.0,) * 4).outcome

    assert outcome("failed<5%") == "pass"
    assert outcome("timed_out<5%") == outcome("mean<1000s") == "fail"


def test_a_few_requests_that_are_under_way_at_the_end_are_no_overload():
    """At 0.3 requests/s, a service time of 1 s: two of eleven Poisson arrivals came in the last second."""

    def outcome(answered):
        rates = {"offered_rps": 11 / 40, "throughput_rps": answered / 40, "throughput_interval_rps": None}
        summary = replace(GOLDEN.summary, **rates, measured=MeasuredPart(40.0, 11, 11))
        results = replace(GOLDEN, ended="schedule", summary=summary)
        return judge(ProbeRequest("narrow", 0.3, 40.0), results, slo.parse("p95<1000s"), (0.3,) * 4)

    assert [outcome(answered).outcome for answered in (11, 9, 8, 7)] == ["pass", "pass", "pass", "fail"]
    assert outcome(5).text == "0.125 of 0.275 requests/s were answered"


@pytest.mark.parametrize(
    "name",
    ["run complete", "answers", "throughput unchanged", "replicas answer", "replicas alive", "failed batches"],
)
@pytest.mark.parametrize("ended", ["schedule", "cut_short", "overrun"])
def test_what_an_overloaded_server_does_is_no_fault_of_the_probe(name, ended):
    """It loses answers and changes: such a probe is judged on its conditions, others on nothing."""
    assert name in {check.name for check in certificate(Evidence(2, 0.5, 9, 9.0, broke_off="it was far behind"))}
    ask, conditions = ProbeRequest("narrow", 100.0, 10.0), slo.parse("failed<0.1%")
    summary = replace(GOLDEN.summary, failed=GOLDEN.summary.sent, offered_rps=100.0)
    own = replace(GOLDEN, ended=ended, summary=summary, certificate=[replace(INVALID, name=name)])
    assert judge(ask, own, conditions, ()).outcome == "fail"
    other = judge(ask, replace(own, certificate=[*own.certificate, INVALID]), conditions, ())
    assert (other.outcome, other.text, other.invalid) == ("invalid", f"{INVALID.reason}; end it", None)


@pytest.mark.parametrize(
    ("objective", "said"),
    [
        ("p99<100ms,failed<1%,goodput(latency<1s)>9%,throughput>9", None),
        ("max<1s", "max<1s has no interval"),
        ("p99<100ms,max<1s,failed<1", "max<1s, failed<1 have no interval"),
        ("failed_batches<1,resent<=3,resent<1%", "failed_batches<1, resent<=3 have no interval"),
    ],
)
def test_a_capacity_claims_no_confidence_where_a_condition_has_no_interval(objective, said):
    """Of its ends, which are those of single probes, it is said what was measured."""
    searcher = Searcher(100.0, Limits(tolerance=0.1), conditions=slo.parse(objective))
    steps = searcher.steps()
    ask = next(steps)
    with contextlib.suppress(StopIteration):
        while True:
            passed = ask.rate_rps < 150
            ask = steps.send(Probe(ask.step, ask.rate_rps, ask.duration_s, "pass" if passed else "fail", ""))
    capacity = searcher.so_far("confirmed")
    assert capacity.confirmed
    (line,) = [one for one in capacity_text(FoundCapacity(capacity, 9.0, Path())).splitlines() if "capacity " in one]
    assert ("confidence" in line, capacity.interval_rps is None) == (said is None, said is not None)
    assert line.endswith(" with 95% confidence)" if said is None else f", as measured: {said})")


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
    said = "capacity    undecided; 105 requests/s did not pass, and no lower rate did"
    assert said in capacity_text(undecided).splitlines()
    confirmed = capacity_text(replace(found, capacity=replace(found.capacity, confirm_s=300.0))).splitlines()
    assert "capacity    100 requests/s (100 to 105 with 95% confidence)" in confirmed
    assert any(
        line.startswith("confirmed   by runs of 300 s: the objective held at 100 requests/s") for line in confirmed
    )
    nothing = replace(found, capacity=Capacity(None, None, False, "because", ()))
    assert "capacity    not confirmed; no rate passed" in capacity_text(nothing).splitlines()
    going_on = replace(nothing, capacity=Capacity(100.0, None, False, "under way", ()))
    said = "capacity    unknown: the search has not ended; 100 requests/s passed"
    assert said in capacity_text(going_on).splitlines()
