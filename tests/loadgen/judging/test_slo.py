"""Objectives: what may be written, and what holds."""

import contextlib
import re
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from loadgen.errors import ConfigError, FieldError
from loadgen.judging import slo
from loadgen.load.summary import MeasuredPart, Share, slow_name
from loadgen.results.files import read

GOLDEN = read(Path(__file__).parents[2] / "golden" / "results-v1.json").summary
SUMMARY = replace(
    GOLDEN,
    sent=1000,
    completed=990,
    failed=1,
    timed_out=0,
    defaulted=4,
    abandoned=5,
    measured=MeasuredPart(duration_s=9.0, sent=900, completed=891),
    throughput_rps=99.0,
    latency_ms={**GOLDEN.latency_ms, "p50": 40.0, "p90": 90.0, "p99": 250.0, "max": 1500.0},
)


@pytest.mark.parametrize(
    ("text", "metric", "operator", "value", "unit"),
    [
        ("p99<250ms", "p99", "<", 250.0, "ms"),
        ("p99.9 <= 1.5 s", "p99.9", "<=", 1500.0, "ms"),
        ("mean<800us", "mean", "<", 0.8, "ms"),
        ("max<800µs", "max", "<", 0.8, "ms"),
        ("P95<1S", "p95", "<", 1000.0, "ms"),
        ("throughput>=100req/s", "throughput", ">=", 100.0, "req/s"),
        ("throughput>.5", "throughput", ">", 0.5, "req/s"),
        ("throughput>6000/m", "throughput", ">", 100.0, "req/s"),
        ("throughput>=6000 req/min", "throughput", ">=", 100.0, "req/s"),
        ("throughput<3.6e3/h", "throughput", "<", 1.0, "req/s"),
        ("throughput<2requests/s", "throughput", "<", 2.0, "req/s"),
        ("throughput<2RPS", "throughput", "<", 2.0, "req/s"),
        ("p99<1m", "p99", "<", 60_000.0, "ms"),
        ("p99<.5min", "p99", "<", 30_000.0, "ms"),
        ("p99<1h", "p99", "<", 3_600_000.0, "ms"),
        ("p99<1e3ms", "p99", "<", 1000.0, "ms"),
        ("p99<800\N{GREEK SMALL LETTER MU}s", "p99", "<", 0.8, "ms"),
        ("failed<1e-3%", "failed", "<", 1e-5, "%"),
        ("failed<0.1%", "failed", "<", 0.001, "%"),
        ("timed_out<1", "timed_out", "<", 1.0, ""),
        ("achieved>=99%", "achieved", ">=", 0.99, "%"),
        ("failed_batches>0", "failed_batches", ">", 0.0, ""),
        ("goodput(latency<100ms)>99%", "goodput", ">", 0.99, "%"),
        ("Goodput ( latency <= 0.1 s ) >= 99.9 %", "goodput", ">=", 0.999, "%"),
        ("resent>0", "resent", ">", 0.0, ""),
        ("resent>1%", "resent", ">", 0.01, "%"),
    ],
)
def test_what_may_be_written(text, metric, operator, value, unit):
    """Spaces and case do not matter; a value is kept in one unit for each metric."""
    (condition,) = slo.parse(text)
    assert (condition.metric, condition.operator, condition.unit) == (metric, operator, unit)
    assert condition.value == pytest.approx(value)
    assert str(condition) == text.replace(" ", "")


def test_conditions_are_joined_by_commas():
    """In the order written."""
    assert [c.text for c in slo.parse("p99<250ms, failed<0.1%,achieved>=99%")] == [
        "p99<250ms",
        "failed<0.1%",
        "achieved>=99%",
    ]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        pytest.param("", "not a condition", id="nothing"),
        pytest.param("p99", "not a condition", id="no bound"),
        pytest.param("p99=250ms", "not a condition", id="an operator that is none"),
        pytest.param("p99<250ms,", "not a condition", id="a comma too many"),
        pytest.param("p99<-1ms", "not a condition", id="a negative bound"),
        pytest.param("p98<250ms", "there is no metric p98; use one of p50, ", id="a metric that is none"),
        pytest.param("p99<250", "write p99<250ms", id="a latency without a unit"),
        pytest.param("p99<250%", "measured in us or µs or ms or s or m or min or h", id="a latency as a share"),
        pytest.param("throughput>100MB/s", "measured in req/s or req/m or req/h or no unit", id="a rate of bytes"),
        pytest.param("p99<0,5s", "write 0.5 for a half", id="a decimal comma"),
        pytest.param("throughput>1,000", "and 1000 for a thousand", id="a comma between thousands"),
        pytest.param("failed<3ms", "measured in % or no unit", id="a share as a latency"),
        pytest.param("failed_batches<1%", "write failed_batches<1", id="a number of batches as a share"),
        pytest.param("achieved>0.99", "write achieved>=99%", id="a share without a unit"),
        pytest.param("throughput>1" + "0" * 400, "too large", id="infinite"),
        pytest.param("goodput(latency<0ms)>99%", "no answer is so quick as 0ms", id="a goodput that nothing has"),
        pytest.param("goodput>99%", "write goodput(latency<100ms)>99%", id="a goodput without a latency"),
        pytest.param("p99(latency<1s)<1s", "only goodput has a latency", id="a percentile with one"),
        pytest.param("goodput(latency<100)>99%", "not a bound of a latency", id="a latency without a unit in goodput"),
        pytest.param("goodput(p99<1s)>99%", "write goodput(latency<100ms)>99%", id="a goodput of a percentile"),
        pytest.param("goodput(latency<100ms)>99", "measured in %", id="a goodput without a unit"),
        pytest.param("goodput(latency<1" + "0" * 400 + "s)>9%", "too large", id="an infinite latency"),
    ],
)
def test_what_makes_no_sense_is_one_line(text, said):
    """It names the value and the remedy."""
    with pytest.raises(ConfigError, match=re.escape(said)) as refusal:
        slo.parse(text)
    assert "\n" not in str(refusal.value)


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("p99>1s", "a lower p99 is better, so good servers miss this objective; write p99<1s"),
        ("max>=1s", "a lower max is better, so good servers miss this objective; write max<=1s"),
        ("failed > 0.1%", "a lower failed is better, so good servers miss this objective; write failed<0.1%"),
        ("resent>0", "a lower resent is better, so good servers miss this objective; write resent<=0"),
        ("throughput<9/s", "a higher throughput is better, so good servers miss this objective; write throughput>9/s"),
        (
            "goodput(latency<1s)<=9%",
            "a higher goodput is better, so good servers miss this objective; write goodput(latency<1s)>=9%",
        ),
    ],
)
def test_a_reversed_comparison_is_refused(text, problem):
    """An objective that good servers miss, or a limit that good runs break."""
    (condition,) = slo.parse(text)
    slo.check_direction("X.limits", [condition], objective=False)
    with pytest.raises(FieldError) as refusal:
        slo.check_direction("X.conditions", [condition], objective=True)
    assert str(refusal.value) == f"conditions {condition.text}: {problem}"
    remedy = problem.rpartition("; write ")[2]
    slo.check_direction("X.conditions", slo.parse(remedy), objective=True)
    with pytest.raises(FieldError, match="is better, so good runs fail; write "):
        slo.check_direction("X.limits", slo.parse(remedy), objective=False)


@pytest.mark.parametrize(
    ("objective", "text", "problem"),
    [
        (True, "goodput(latency<1s)>150%", "true in no run; use 0% to 100%"),
        (True, "goodput(latency<1s)>100%", "true in no run; write goodput(latency<1s)>=100%"),
        (True, "goodput(latency<1s)>=0%", "true in every run; write goodput(latency<1s)>0%"),
        (True, "failed<0", "true in no run; write failed<=0"),
        (True, "failed<0%", "true in no run; write failed<=0%"),
        (True, "timed_out<=100%", "true in every run; write timed_out<100%"),
        (True, "p99<=0ms", "true in no run; use a bound above 0"),
        (True, "throughput>=0", "true in every run; write throughput>0"),
        (False, "failed>=0", "true in every run; write failed>0"),
        (False, "failed>120%", "true in no run; use 0% to 100%"),
        (False, "p99>0ms", "true in every run; use a bound above 0"),
        (False, "achieved<0%", "true in no run; write achieved<=0%"),
    ],
)
def test_a_condition_that_no_run_decides_is_refused(objective, text, problem):
    """It is true whatever is measured, or never."""
    with pytest.raises(FieldError) as refusal:
        slo.check_direction("X.conditions", slo.parse(text), objective=objective)
    assert str(refusal.value) == f"conditions {text}: {problem}"
    if "write " in problem:
        slo.check_direction("X.conditions", slo.parse(problem.rpartition("write ")[2]), objective=objective)


def test_more_answers_than_requests_are_refused():
    """Of an objective for a rate; as many can be shown of no server, since arrivals vary."""
    slo.check_rate("X.conditions", slo.parse("throughput>199,p99<1s"), 200.0)
    for text in ("throughput>200", "throughput>=12000/m"):
        with pytest.raises(FieldError, match="200 requests/s have at most as many answers; write achieved>=99%"):
            slo.check_rate("X.conditions", slo.parse(text), 200.0)


@pytest.mark.parametrize(
    ("text", "holds", "said"),
    [
        ("p50<41ms", True, "p50 40 ms, wanted <41ms"),
        ("p99<250ms", False, "p99 250 ms, wanted <250ms"),
        ("p99<=250ms", True, "p99 250 ms, wanted <=250ms"),
        ("max<1.5s", False, "max 1,500 ms, wanted <1.5s"),
        ("p90>100ms", False, "p90 90 ms, wanted >100ms"),
        ("throughput>=99req/s", True, "throughput 99 req/s, wanted >=99req/s"),
        ("throughput>99", False, "throughput 99 req/s, wanted >99"),
        ("throughput>=5940/m", True, "throughput 99 req/s, wanted >=5940/m"),
        ("failed<0.1%", False, "failed 0.1%, wanted <0.1%"),
        ("failed<2", True, "failed 1, wanted <2"),
        ("timed_out<=0", True, "timed_out 0, wanted <=0"),
        ("defaulted<0.5%", True, "defaulted 0.4%, wanted <0.5%"),
        ("abandoned<5", False, "abandoned 5, wanted <5"),
        ("achieved>=99%", True, "achieved 99%, wanted >=99%"),
        ("achieved>99.5%", False, "achieved 99%, wanted >99.5%"),
    ],
)
def test_what_holds(text, holds, said):
    """With what was measured, in words."""
    (condition,) = slo.parse(text)
    finding = slo.evaluate(condition, SUMMARY)
    assert (finding.holds, finding.text) == (holds, said)


@pytest.mark.parametrize("text", ["p99<250ms", "p99>1us", "p90<1s", "failed<0.1%", "failed>=0%", "achieved>=0%"])
def test_what_was_not_measured_is_undecided(text):
    """Nothing was sent, so there is neither a latency nor a share."""
    nothing = replace(
        SUMMARY, sent=0, failed=0, measured=MeasuredPart(9.0, 0, 0), latency_ms=dict.fromkeys(GOLDEN.latency_ms)
    )
    finding = slo.evaluate(slo.parse(text)[0], nothing)
    assert (finding.holds, finding.value, finding.decided, finding.sure) == (False, None, False, False)
    assert " unknown, " in finding.text


@pytest.mark.parametrize(
    ("value", "said"),
    [(249.9999, "249.9999 ms"), (12345.6, "12,350 ms"), (0.000123456, "0.0001235 ms"), (250.0, "250 ms")],
)
def test_digits_show_on_which_side_a_value_is(value, said):
    """Four of them, or as many as it takes."""
    summary = replace(SUMMARY, latency_ms={"p99": value})
    assert slo.evaluate(slo.parse("p99<250ms")[0], summary).text.startswith(f"p99 {said}, ")


@given(st.floats(0, 1e6), st.floats(0, 1e6))
def test_a_bound_and_its_opposite_part_all_values(bound, value):
    """Exactly one of them holds."""
    summary = replace(SUMMARY, latency_ms={"p99": value})
    below, above = (
        slo.evaluate(slo.Condition("p99", operator, bound, "ms", f"p99{operator}{bound}ms"), summary)
        for operator in ("<", ">=")
    )
    assert below.holds != above.holds


def test_requests_that_were_sent_once_more_cross_a_condition():
    """As a number and as a share of all."""
    summary = replace(SUMMARY, resent=1, sent=50)
    assert slo.crossed(slo.parse("resent>0")[0], summary) == (True, "resent is 1")
    assert slo.crossed(slo.parse("resent>1%")[0], summary) == (True, "resent is 2%")
    assert slo.crossed(slo.parse("resent>2%")[0], summary) == (False, "resent is 2%")


@pytest.mark.parametrize(
    ("failed", "found"),
    [
        (3, (True, "failed_batches is 3")),
        (0, (False, "failed_batches is 0")),
        (None, (None, "failed_batches is unknown")),
    ],
)
def test_batches_that_failed_cross_a_condition(failed, found):
    """So does a server that does not count them."""
    summary = replace(SUMMARY, failed_batches=failed)
    assert slo.crossed(slo.parse("failed_batches>0")[0], summary) == found


@pytest.mark.parametrize(
    ("text", "crossed"),
    [
        ("p99>200ms", True),
        ("p99>300ms", False),
        ("p99<220ms", None),
        ("p99>=255ms", None),
        ("throughput<9", False),
        ("throughput<10.2", None),
        ("throughput<11", True),
        ("p50>1ms", True),
    ],
)
def test_a_condition_whose_bound_lies_in_the_interval_is_undecided(text, crossed):
    """Where no interval is known, the value decides."""
    summary = replace(
        SUMMARY,
        throughput_rps=10.0,
        throughput_interval_rps=(9.5, 10.5),
        latency_ms={"p50": 100.0, "p99": 231.0},
        intervals_ms={"p99": (210.0, 255.0)},
    )
    assert slo.crossed(slo.parse(text)[0], summary)[0] is crossed


def counted(text, slow, interval, **members):
    """A summary that knows how many of 1000 requests are slow in the sense of a condition."""
    (condition,) = slo.parse(text)
    name = "failed" if condition.slow_ns is None else slow_name(condition.slow_ns)
    return condition, replace(SUMMARY, shares={name: Share(slow, 1000, interval)}, **members)


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("p99<250ms", "latency>=250ms"),
        ("p99<=250ms", "latency>=250.000001ms"),
        ("p99>250ms", "latency>=250.000001ms"),
        ("p99>=250ms", "latency>=250ms"),
        ("goodput(latency<1us)>99%", "latency>=0.001ms"),
        ("goodput(latency<=1us)>99%", "latency>=0.001001ms"),
    ],
)
def test_what_a_condition_counts_as_slow(text, name):
    """To the nanosecond."""
    slow_ns = slo.parse(text)[0].slow_ns
    assert slow_ns is not None
    assert slow_name(slow_ns) == name


def test_bounds_of_several_conditions():
    """None where no condition is about single requests."""
    assert slo.slow_bounds_ns(slo.parse("p99<2us,goodput(latency<1us)>5%,max<2us,mean<1us")) == (1000, 2000)
    assert slo.slow_bounds_ns(slo.parse("failed<1%")) == ()
    assert slo.slow_bounds_ns(slo.parse("mean<1s,throughput>9")) is None
    assert slo.slow_bounds_ns([]) is None


@pytest.mark.parametrize(
    ("text", "slow", "interval", "holds", "sure"),
    [
        ("p99<250ms", 3, (0.001, 0.009), True, True),
        ("p99<250ms", 9, (0.002, 0.011), True, False),
        ("p99<250ms", 30, (0.011, 0.06), False, True),
        ("p99<250ms", 9, None, True, False),
        ("p99>250ms", 30, (0.011, 0.06), True, True),
        ("p99.9<250ms", 1, (0.0, 0.001), True, True),
        ("goodput(latency<250ms)>99%", 3, (0.001, 0.009), True, True),
        ("goodput(latency<250ms)>99%", 9, (0.001, 0.02), True, False),
        ("goodput(latency<250ms)>99%", 20, (0.011, 0.02), False, True),
        ("failed<1%", 5, (0.001, 0.008), True, True),
        ("failed<1%", 5, (0.001, 0.02), True, False),
    ],
)
def test_a_finding_is_sure_where_its_whole_interval_is_on_one_side(text, slow, interval, holds, sure):
    """The share of slow requests decides, which is known long before a percentile's interval."""
    condition, summary = counted(text, slow, interval, failed=slow, latency_ms={"p99": 100.0, "p99.9": 249.0})
    if condition.metric.startswith("p"):
        p_ms = 251.0 if slow == 30 else 249.0
        summary = replace(summary, latency_ms={"p99": p_ms, "p99.9": p_ms})
    finding = slo.evaluate(condition, summary)
    assert (finding.holds, finding.sure) == (holds, sure)
    crossed = slo.crossed(condition, summary)[0]
    assert crossed is (holds if sure or interval is None else None)


@pytest.mark.parametrize(("slow", "requests", "bound"), [(1, 1000, "99.9%"), (1, 100, "99%"), (3, 10_000, "99.97%")])
def test_a_goodput_that_is_its_bound_keeps_it(slow, requests, bound):
    """Whatever their quotients are as floats."""
    at_least, more = slo.parse(f"goodput(latency<1s)>={bound},goodput(latency<1s)>{bound}")
    summary = replace(SUMMARY, shares={"latency>=1000ms": Share(slow, requests)})
    assert slo.evaluate(at_least, summary).holds
    assert not slo.evaluate(more, summary).holds
    assert slo.comes_true(
        slo.parse(f"goodput(latency<1s)<={bound}")[0], [requests, 0, 0, 0, 0, slow], [10**9], requests
    )


def test_facts_are_sure_and_estimates_without_an_interval_are_not():
    """A number of requests is a fact."""
    findings = [slo.evaluate(one, SUMMARY) for one in slo.parse("max<2s,failed<5,p99<1s,throughput>9,failed<1%")]
    assert [finding.sure for finding in findings] == [True, True, False, False, False]


@pytest.mark.parametrize(
    ("text", "crossed", "said"),
    [
        ("p99>100ms", True, "p99 is 231 ms"),
        ("p99>200ms", None, "p99 is 231 ms, of too few independent answers: it is roughly between 150 and 924"),
        ("p99>900ms", None, "p99 is 231 ms, of too few independent answers: it is roughly between 150 and 924"),
        ("p99>1s", False, "p99 is 231 ms"),
        ("p99.9>200ms", True, "p99.9 is 240 ms"),
        ("p99.9>1h", None, "p99.9 is 240 ms, of too few requests: it is at least 240"),
        ("p50>1ms", True, "p50 is 100 ms"),
    ],
)
def test_a_condition_on_what_is_not_known_is_undecided(text, crossed, said):
    """Unless a bound of it decides."""
    summary = replace(
        SUMMARY,
        latency_ms={"p50": 100.0, "p99": 231.0, "p99.9": 240.0},
        intervals_ms={"p50": (95.0, 104.0)},
        bounds_ms={"p99": (150.0, 924.0), "p99.9": (240.0, None)},
    )
    (condition,) = slo.parse(text.replace("1h", "3600s"))
    assert slo.crossed(condition, summary) == (crossed, said)
    finding = slo.evaluate(condition, summary)
    assert (finding.holds, finding.decided) == (condition.allows(finding.value or 0.0), crossed is not None)


@pytest.mark.parametrize(
    ("text", "holds", "decided"),
    [
        ("p99<100ms", False, True),
        ("p99>100ms", True, True),
        ("p99<1s", False, False),
        ("p99>1s", False, False),
        ("p99.9<1s", False, False),
    ],
)
def test_a_percentile_among_lost_requests_has_a_bound_that_may_decide(text, holds, decided):
    """At least 500 ms is more than 100 ms; where the bound does not say so, nothing is decided."""
    summary = replace(SUMMARY, latency_ms={"p99": None, "p99.9": None}, latency_above_ms={"p99": 500.0})
    finding = slo.evaluate(slo.parse(text)[0], summary)
    assert (finding.holds, finding.decided) == (holds, decided)
    assert ("above 500 ms" in finding.text) == ("p99.9" not in text)


@pytest.mark.parametrize(
    ("text", "crossed"),
    [
        ("p99>100ms", True),
        ("p99>=500ms", True),
        ("p99>500ms", None),
        ("p99>1s", None),
        ("p99<100ms", False),
        ("p99<500ms", False),
        ("p99<=500ms", None),
        ("p99<1s", None),
        ("p99.9<1s", None),
        ("mean<100ms", False),
        ("max<1s", None),
        ("max<500ms", False),
    ],
)
def test_a_condition_on_a_percentile_among_lost_requests(text, crossed):
    """It is at least 500 ms: that may decide that it is more, and that it is not less."""
    above_ms = {"p99": 500.0, "max": 500.0, "mean": 400.0}
    summary = replace(
        SUMMARY, latency_ms=dict.fromkeys(("p99", "p99.9", "max", "mean")), latency_above_ms=above_ms, lost=8
    )
    found, said = slo.crossed(slo.parse(text)[0], summary)
    assert found is crossed
    assert said.endswith(("is above 500 ms", "is above 400 ms", "is unknown"))


@pytest.mark.parametrize(
    ("text", "interval", "crossed", "sure"),
    [
        ("p99>100ms", (0.009, 0.03), True, False),
        ("p99<100ms", (0.009, 0.03), False, False),
        ("p99<1s", (0.009, 0.03), None, False),
        ("p99>1s", (0.02, 0.03), True, True),
        ("p99<1s", (0.02, 0.03), False, True),
    ],
)
def test_the_share_of_slow_requests_decides_where_the_bound_does_not(text, interval, crossed, sure):
    """Lost requests are slower than any bound; whether their share is sure, its interval says alone."""
    condition, summary = counted(text, 20, interval, latency_ms={"p99": None}, latency_above_ms={"p99": 500.0})
    assert slo.crossed(condition, summary)[0] is crossed
    assert slo.evaluate(condition, summary).sure is sure


def test_a_percentile_of_a_few_requests_is_undecided_in_files_without_bounds():
    """Of five requests, whatever their p99.9."""
    summary = replace(SUMMARY, measured=MeasuredPart(9.0, 5, 5), lost=0, latency_ms={"p99.9": 12.0, "p50": 4.0})
    assert slo.crossed(slo.parse("p99.9>1s")[0], summary)[0] is None
    assert not slo.evaluate(slo.parse("p99.9<1s")[0], summary).decided


@given(st.text(max_size=30))
def test_garbage(text):
    """Whatever is written is a list of conditions or one error, never another."""
    with contextlib.suppress(ConfigError):
        assert slo.parse(text)
