"""The search for the highest rate, against servers of which it is known."""

from dataclasses import replace

import numpy as np
import pytest
from sample_results import GOLDEN

from loadgen import slo
from loadgen.arrivals import Renewal
from loadgen.capacity import Ask, Limits, Probe, bound_ms, growing, hopeless, judge, search
from loadgen.probing import Backlog
from loadgen.recorder import ClientUse, Interval, Offered, Record
from loadgen.results import summarise
from loadgen.targets.target import Outcome

NS = 1_000_000_000
SERVICE_S = 0.002
"""Time for a request at a server that takes one at a time: 500 requests/s, if it never waits."""


def waits(times_ns, service_ns):
    """When each answer comes, of a server that takes requests one at a time in the order of their arrival."""
    order = np.arange(len(times_ns))
    return np.maximum.accumulate(times_ns - order * service_ns) + (order + 1) * service_ns


def probe(ask, conditions, seed, service_s=SERVICE_S):
    """A probe in virtual time, cut short as a real one is."""
    warmup_s, interval_s = 1.0, 1.0
    times_ns = Renewal(ask.rate_rps, ask.duration_s, 1.0, seed).times_ns(warmup_s)
    done_ns = waits(times_ns, round(service_s * NS))
    in_flight, cut = [], False
    for begin_s in np.arange(0.0, ask.duration_s - interval_s / 2, interval_s):
        begin_ns, end_ns = begin_s * NS, (begin_s + interval_s) * NS
        held_ns = np.clip(np.minimum(done_ns, end_ns) - np.maximum(times_ns, begin_ns), 0, None)
        in_flight.append(float(held_ns.sum()) / (interval_s * NS))
        if cut := hopeless(in_flight, ask.rate_rps, bound_ms(conditions)):
            break
    measured = times_ns >= 0
    offered = Offered()
    record = Record(measured_ns=round(ask.duration_s * NS), offered=offered, clients=[ClientUse()])
    record.latency.record((done_ns - times_ns)[measured].astype(np.int64))
    record.outcomes[Outcome.COMPLETED] = len(times_ns)
    record.sent = len(times_ns)
    offered.planned = offered.answered = int(measured.sum())
    offered.arrived = int(np.count_nonzero((done_ns >= 0) & (done_ns < ask.duration_s * NS)))
    results = replace(GOLDEN, summary=summarise(record), ended="cut_short" if cut else "schedule", path=None)
    return judge(ask, results, conditions, in_flight)


def found(conditions, seed, limits, start_rps=40.0, service_s=SERVICE_S):
    steps = search(start_rps, limits)
    ask = next(steps)
    number = 0
    while True:
        number += 1
        try:
            ask = steps.send(probe(ask, conditions, 1000 * seed + number, service_s))
        except StopIteration as end:
            return end.value


def highest_rate(bound_s, quantile, service_s=SERVICE_S):
    """What a very long run finds: of two million requests, by bisection."""
    low, high = 0.05 / service_s, 1 / service_s
    unit = np.cumsum(np.random.default_rng(1).exponential(1.0, 2_000_000))
    while high / low > 1.0005:
        rate = (low * high) ** 0.5
        times_ns = unit / rate * NS
        latency_ns = waits(times_ns, service_s * NS) - times_ns
        low, high = (rate, high) if np.quantile(latency_ns, quantile) < bound_s * NS else (low, rate)
    return low


@pytest.mark.parametrize("text", ["p99<20ms", "p95<10ms,failed<0.1%", "p99<250ms"])
def test_a_known_capacity_is_found_within_the_tolerance(text):
    """In at least 19 of 20 trials, each with arrivals of its own."""
    conditions = slo.parse(text)
    bound = bound_ms(conditions)
    assert bound is not None
    expected = highest_rate(bound / 1000, 0.99 if "p99" in text else 0.95)
    limits = Limits(tolerance=0.02, duration_s=30.0)
    answers = [found(conditions, seed, limits) for seed in range(20)]
    right = [one for one in answers if one.confirmed and abs(one.rate_rps / expected - 1) <= limits.tolerance]
    assert len(right) >= 19, [one.rate_rps and one.rate_rps / expected - 1 for one in answers]
    for one in answers:
        assert one.probes[-1].step == "above"
        assert one.probes[-1].outcome != "pass"
        assert one.rate_rps < one.failed_rps <= 1.06 * one.rate_rps


def scripted(outcomes, limits=None, start_rps=100.0):
    """A search whose probes come out as a function of the rate says."""
    steps = search(start_rps, limits or Limits())
    ask = next(steps)
    asked = [ask]
    while True:
        try:
            ask = steps.send(Probe(ask.step, ask.rate_rps, ask.duration_s, outcomes(ask), "because"))
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
            lambda ask: "pass" if ask.rate_rps < 150 else "client-limited",
            Limits(),
            "200 requests/s: because",
            100.0,
            id="the client is the limit",
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
    assert hopeless(in_flight, 100.0, bound) is cut


def test_requests_under_way_before_the_first_answers_are_no_backlog():
    """A server that takes five seconds for each has five seconds' worth of them, and no more."""
    backlog = Backlog(10.0, slo.parse("failed<0.1%"), drains=False)
    for second in range(1, 13):
        completed = 0 if second <= 5 else 10
        interval = Interval(float(second), 1.0, completed, None, None, min(second, 5) * 10.0, None)
        assert not backlog.enough(interval)
    assert not growing(backlog.in_flight)


def test_what_a_probe_came_to():
    """Its conditions, its ending, and whether the client could send it."""
    ask = Ask("narrow", 100.0, 10.0)
    conditions = slo.parse("p99<250ms")
    summary = replace(
        GOLDEN.summary,
        latency_ms={**GOLDEN.summary.latency_ms, "p99": 100.0},
        planned=1000,
        offered_rps=100.0,
        throughput_rps=100.0,
    )
    good = replace(GOLDEN, ended="schedule", summary=summary)
    late = replace(good, verdict=replace(good.verdict, limit="client", text="sent late"))
    slow = replace(good, summary=replace(summary, latency_ms={**summary.latency_ms, "p99": 300.0}))
    fewer = replace(good, summary=replace(summary, throughput_rps=90.0))

    def outcome(results, in_flight=(1.0, 1.0, 1.0, 1.0)):
        return judge(ask, results, conditions, in_flight).outcome

    assert outcome(good) == "pass"
    assert outcome(good, (10.0, 20.0, 30.0, 40.0)) == "unstable"
    assert outcome(slow) == outcome(fewer) == "fail"
    assert outcome(replace(good, ended="cut_short")) == outcome(replace(good, ended="overrun")) == "fail"
    assert outcome(late) == "client-limited"
    assert outcome(replace(good, ended="server_lost", error="it is gone")) == "lost"
