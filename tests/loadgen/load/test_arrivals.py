"""Each schedule is of the distribution that its name says, and the same each time."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from loadgen.errors import ConfigError
from loadgen.load.arrivals import MAX_REQUESTS, Ramp, Renewal, Steps, Trace, parse_arrivals
from model_containers.units import NS_PER_S

REJECTED_BELOW = 0.001
"""Of a true distribution one seed in a thousand would be rejected; these seeds are not."""


@pytest.fixture(scope="module")
def stats():
    """A second to import, which no worker needs that runs other tests."""
    from scipy import stats

    return stats


def gaps_s(arrivals, warmup_s=0.0):
    return np.diff(arrivals.times_ns(warmup_s)) / NS_PER_S


@pytest.mark.parametrize("seed", range(5))
def test_poisson_gaps_are_exponential(stats, seed):
    """Kolmogorov and Smirnov do not object, and would to a rate that is 5% off."""
    gaps = gaps_s(parse_arrivals("poisson", 200, 100, seed))
    assert stats.kstest(gaps, stats.expon(scale=1 / 200).cdf).pvalue > REJECTED_BELOW
    assert stats.kstest(gaps, stats.expon(scale=1 / 210).cdf).pvalue < REJECTED_BELOW


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("cv", [0.5, 2.0])
def test_gamma_gaps_have_their_variation(stats, cv, seed):
    """Gamma of shape 1/cv², and not exponential."""
    gaps = gaps_s(parse_arrivals(f"gamma:cv={cv}", 200, 100, seed))
    shape = 1 / cv**2
    assert stats.kstest(gaps, stats.gamma(shape, scale=1 / (200 * shape)).cdf).pvalue > REJECTED_BELOW
    assert stats.kstest(gaps, stats.expon(scale=1 / 200).cdf).pvalue < REJECTED_BELOW


def test_poisson_counts_are_poisson(stats):
    """The number of requests varies from seed to seed as much as it should."""
    counts = [len(Renewal(50.0, 10.0, 1.0, seed).times_ns(0.0)) for seed in range(400)]
    assert stats.ttest_1samp(counts, 500).pvalue > REJECTED_BELOW
    dispersion = np.var(counts, ddof=1) * (len(counts) - 1) / 500
    assert REJECTED_BELOW < stats.chi2(len(counts) - 1).cdf(dispersion) < 1 - REJECTED_BELOW


@pytest.mark.parametrize("warmup_s", [0.0, 3.0])
@pytest.mark.parametrize("cv", [0.3, 0.5, 1.0, 2.0, 10.0])
def test_renewal_counts_have_the_mean_of_the_rate(stats, cv, warmup_s):
    """In the whole measured part and in its first second, however bursty: no burst is bound to the beginning."""
    schedules = [Renewal(10.0, 10.0, cv, seed).times_ns(warmup_s) for seed in range(800)]
    for until_s in (1, 10):
        counts = [int(np.count_nonzero((times >= 0) & (times < until_s * NS_PER_S))) for times in schedules]
        assert stats.ttest_1samp(counts, 10 * until_s).pvalue > REJECTED_BELOW


@pytest.mark.parametrize("cv", [0.3, 2.0])
def test_the_first_gap_is_what_is_left_of_one(stats, cv):
    """Of the equilibrium distribution, whose density is the share of gaps that are longer over their mean."""
    firsts = [Renewal(5.0, 10.0, cv, seed).times_ns(0.0)[0] / NS_PER_S for seed in range(2000)]
    gaps = stats.gamma(1 / cv**2, scale=cv**2 / 5.0)
    # Its distribution function: the mean of the smaller of gap and x, over the mean of a gap.
    longer = stats.gamma(1 / cv**2 + 1, scale=cv**2 / 5.0)
    assert stats.kstest(firsts, lambda x: longer.cdf(x) + 5.0 * x * gaps.sf(x)).pvalue > REJECTED_BELOW


@pytest.mark.parametrize(
    ("text", "rate", "duration", "expected_s"),
    [
        pytest.param("constant", 4, 1, [0, 0.25, 0.5, 0.75], id="constant"),
        pytest.param("steps:2x1s,4x500ms", None, None, [0, 0.5, 1, 1.25], id="steps"),
        pytest.param("steps:" + ",".join(["0.1x1s"] * 10), None, None, [0], id="steps of parts of a request"),
        pytest.param("steps:0.4x1s,0.4x1s,0.8x1s", None, None, [0, 2.25], id="a request over three steps"),
        pytest.param("steps:0.1x3s,0.7x1s,5x200ms", None, None, [0, 4.0], id="sums that are not exact"),
        pytest.param("steps:0x10s,2x1s", None, None, [10, 10.5], id="a pause first"),
        pytest.param("steps:2x1s,0x10s,2x1s,0x5s", None, None, [0, 0.5, 11, 11.5], id="a pause between, and after"),
        pytest.param("steps:0.5x1s,0x10s,0.5x1s,1x1s", None, None, [0, 12], id="a pause within a request's time"),
        # The integral of 4t is 2t²: request k is due at sqrt(k/2).
        pytest.param("ramp:0..4", None, 1, [0, 0.7071067811865476], id="ramp from nothing"),
        # The integral of 8-8t over 1 s is 4: 8t - 4t² = k, t = 1 - sqrt(1 - k/4).
        pytest.param("ramp:8..0", None, 1, [0, 1 - 0.75**0.5, 1 - 0.5**0.5, 1 - 0.25**0.5], id="ramp to nothing"),
        pytest.param("ramp:4..4", None, 1, [0, 0.25, 0.5, 0.75], id="ramp that stays"),
    ],
)
def test_regular_schedules(text, rate, duration, expected_s):
    """Requests where the integrated rate reaches whole numbers."""
    times_ns = parse_arrivals(text, rate, duration, 0).times_ns(0.0)
    assert times_ns.tolist() == pytest.approx([time_s * NS_PER_S for time_s in expected_s], abs=1)


SCHEDULES = st.one_of(
    st.builds(
        lambda rate, cv, seed: Renewal(rate, 3.0, cv, seed),
        st.floats(1, 2000),
        st.sampled_from([0, 1, 3]),
        st.integers(0, 9),
    ),
    st.builds(lambda a, b: parse_arrivals(f"ramp:{a}..{b}", None, 3.0, 0), st.integers(1, 900), st.integers(0, 900)),
    st.builds(
        lambda *rates: parse_arrivals("steps:" + ",".join(f"{rate}x0.7s" for rate in rates), None, None, 0),
        *[st.one_of(st.integers(0, 900), st.floats(0.01, 3).map("{:.3f}".format))] * 4,
        st.integers(1, 900),
    ),
)


@given(SCHEDULES, st.sampled_from([0.0, 0.5, 2.0]))
def test_every_schedule_ascends_within_its_time(arrivals, warmup_s):
    """Warm-up before 0 at the first rate, the measured part from 0 to its end; the same when it is made again."""
    times_ns = arrivals.times_ns(warmup_s)
    assert times_ns.dtype == np.int64
    assert (np.diff(times_ns) >= 0).all()
    assert np.array_equal(times_ns, arrivals.times_ns(warmup_s))
    if times_ns.size:
        assert times_ns[0] >= -warmup_s * NS_PER_S - 1
        assert times_ns[-1] <= arrivals.duration_s * NS_PER_S + 1
    measured = int((times_ns >= 0).sum())
    expected = arrivals.mean_rps * arrivals.duration_s
    assert abs(measured - expected) <= 1 + 6 * getattr(arrivals, "cv", 0) * np.sqrt(expected)
    warm = arrivals.initial_rps * warmup_s
    assert abs(len(times_ns) - measured - warm) <= 1 + 6 * getattr(arrivals, "cv", 0) * np.sqrt(warm + 1)


def test_a_trace_is_replayed(tmp_path):
    """From its first time on, as fast as is wanted; a heading and further columns do not matter."""
    path = tmp_path / "trace.csv"
    path.write_text("time,who\n100.5,a\n101.0,b\n\n103.5,c\n")
    arrivals = parse_arrivals(f"trace:{path}", None, None, 0, time_scale=0.5)
    assert arrivals.times_ns(0.0).tolist() == [0, NS_PER_S // 4, 3 * NS_PER_S // 2]
    assert arrivals.duration_s == 2.25
    assert arrivals.mean_rps == pytest.approx(3 / 2.25)


@pytest.mark.parametrize(
    "content",
    [
        "0\n1.5\n2\n",
        "\ufeff0\n1.5\n2\n",
        "0\r\n\r\n1.5\r\n2\r\n",
        "\ufefftime (s),status\r\n0,200\r\n1.5,200\r\n2,503\r\n",
        "\n\ntime\n0\n1.5\n2",
        "0,200,5\n15e-1,200,5\n2.,503,5\n",
        '"time"\n"0"\n" 1.5"\n+2\n',
        "seconds,id\n0,7\n1.5,8\n2,9\n",
        "start_time,end_time\n0,7\n1.5,8\n2,9\n",
    ],
    ids=[
        "plain",
        "BOM",
        "CRLF",
        "all of it",
        "empty lines",
        "three columns",
        "quotes",
        "a name without time",
        "two times",
    ],
)
def test_a_trace_as_tools_write_it(tmp_path, content):
    """No request is lost, and none is added."""
    path = tmp_path / "trace.csv"
    path.write_bytes(content.encode())
    times_ns = parse_arrivals(f"trace:{path}", None, None, 0).times_ns(0.0)
    assert times_ns.tolist() == [0, 3 * NS_PER_S // 2, 2 * NS_PER_S]


@pytest.mark.parametrize("content", ["time_ms\n5\n105\n", "1700000000000\n1700000000100\n"])
def test_a_trace_in_another_unit(tmp_path, content):
    """The scale makes it seconds."""
    path = tmp_path / "trace.csv"
    path.write_text(content)
    times_ns = parse_arrivals(f"trace:{path}", None, None, 0, time_scale=0.001).times_ns(0.0)
    assert times_ns.tolist() == [0, NS_PER_S // 10]


def test_a_trace_that_can_be_read_once_only():
    """Is no trace: it is read for the plan and for the run."""
    for path in ("/dev/zero", "/"):
        with pytest.raises(ConfigError, match=f"{path}: not a file on disk, and a trace is read several times"):
            parse_arrivals(f"trace:{path}", None, None, 0)
    with pytest.raises(ConfigError, match="x: cannot be read: File name too long"):
        parse_arrivals("trace:" + "x" * 5000, None, None, 0)


@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        ("1\n0.5\n", "line 2: '0.5' comes before"),
        ("1\n2\nx\n", "line 3: 'x' is not a time"),
        ("", "names no time"),
        ("3\n3\n", "names 2 times that do not differ; write two that differ"),
        ("3\n", "names one time only; write two that differ"),
        ("1\nnan\n", "line 2: 'nan' is not a time"),
        ("1\n1_000\n", "line 2: '1_000' is not a time"),
        ("2024-01-01T00:00:00,a\n1,b\n2,c\n", "line 1: '2024-01-01T00:00:00' is not a time in seconds; write a number"),
        ("0..5\n1\n", "line 1: '0..5' is not a time"),
        ("t0\n1\n2\n", "line 1: 't0' is not a time"),
        ("0,5\n1,0\n", "line 1: '0,5' may be 0.5 or two columns; write 0.5, or name the columns in line 1"),
        ("time\n0\n0,5\n", "line 3: '0,5' may be 0.5"),
        ('"0,5"\n"1,0"\n', "line 1: '0,5' may be 0.5"),
        ("0,5;a\n1,0;b\n", "line 1: has semicolons; separate columns by commas"),
        ("0\n1e300\n", "lasts 1e[+]300 s, more than a year; write its times in seconds"),
        ("-1e308\n1e308\n", "more than a year"),
        ("0\n1e10\n", "lasts 10,000,000,000 s, more than a year"),
        ("0\n1e-300\n", "names 2 times within 1e-300 s"),
        ("0\n\xe9\n", "line 2 is not UTF-8; save it as UTF-8"),
        ("time\n\n", "names no time"),
        ("0,a\n,b\n2,c\n", "line 2: '' is not a time"),
        ("nan\n1\n2\n", "line 1: 'nan' is not a time"),
        (",timestamp\n0,0.5\n1,0.7\n", "line 1: has '' first, and 'timestamp' later; put the column of times first"),
        ("id,arrival\n1,0.5\n2,0.7\n", "line 1: has 'id' first, and 'arrival' later"),
        ("id,input,planned_ns\n0,1,5\n1,1,6\n", "line 1: has 'id' first, and 'planned_ns' later"),
        ("Request Index,size\n0,1\n1,1\n", "line 1: has 'request index' first; put"),
        ("ContextTokens,TIMESTAMP\n10,1\n20,2\n", "has 'contexttokens' first, and 'timestamp' later"),
        ("time_ms\n0\n100\n", "names 'time_ms', and times are in seconds; use time_scale 0.001"),
        ("Offset (us),a\n0,1\n100,1\n", "and times are in seconds; use time_scale 1e-6"),
        ("1700000000000\n1700000000100\n", "begins at 1700000000000, which is a date of the far future in seconds"),
    ],
)
def test_a_trace_that_makes_no_sense(tmp_path, content, complaint):
    """The file and the line are named."""
    path = tmp_path / "trace.txt"
    path.write_text(content, "latin-1")
    with pytest.raises(ConfigError, match=complaint) as refusal:
        parse_arrivals(f"trace:{path}", None, None, 0)
    assert str(path) in str(refusal.value)


@pytest.mark.parametrize(
    ("text", "rate", "duration", "scale", "complaint"),
    [
        ("constant", None, None, 1, "needs a rate; add rate_rps"),
        ("constant", 0, None, 1, "rate_rps 0: not positive"),
        ("constant:3", 2, None, 1, "takes no '3'"),
        ("gamma", 2, None, 1, "write gamma:cv=2"),
        ("gamma:cv=0", 2, None, 1, "write gamma:cv=2"),
        ("ramp:1-2", None, None, 1, "write ramp:50..500"),
        ("ramp:0..0", None, None, 1, "names no two rates"),
        ("ramp:1..2", 5, None, 1, "leave rate_rps 5 out"),
        ("steps:1", None, None, 1, "'1' is not a step"),
        ("steps:0x1s,0x2s", None, None, 1, "names pauses only; give one step a rate"),
        ("steps:1xs", None, None, 1, "not a duration"),
        ("steps:1x1s", None, 5, 1, "leave duration_s 5 out"),
        ("trace:", None, None, 1, "write trace:FILE"),
        ("trace:/nowhere", None, None, 1, "cannot be read: No such file"),
        ("poisson", 5, None, 2, "time_scale 2: for a trace"),
        ("bursts", 5, None, 1, "not a schedule; write constant, poisson"),
        ("constant", 1e6, 3600, 1, f"more than {MAX_REQUESTS:,}"),
    ],
)
def test_schedules_that_make_no_sense(text, rate, duration, scale, complaint):
    """One line each, with the remedy."""
    with pytest.raises(ConfigError, match=complaint):
        parse_arrivals(text, rate, duration, 0, scale)


@pytest.mark.parametrize(
    ("text", "same"),
    [
        ("ramp:6/m..2/s", "ramp 0.1 to 2 requests/s"),
        ("ramp:50...500", "ramp 50 to 500 requests/s"),
        ("steps:6/mx1m30s,360/h x 30s", "steps 0.1 requests/s for 90 s, 0.1 requests/s for 30 s"),
    ],
)
def test_rates_of_schedules_may_have_units(text, same):
    """As those of `--rate`."""
    assert parse_arrivals(text, None, None, 0).text == same


@pytest.mark.parametrize(
    ("arrivals", "shown"),
    [
        (Renewal(2000.5, 10.0, 1.0, 0), "poisson 2,000.5 requests/s"),
        (Renewal(1e6, 10.0, 0.0, 0), "constant 1,000,000 requests/s"),
        (Ramp(50.0, 5000.0, 10.0), "ramp 50 to 5,000 requests/s"),
        (Steps(((1200.0, 60.0), (0.5, 5.0))), "steps 1,200 requests/s for 60 s, 0.5 requests/s for 5 s"),
        (Trace(Path("20240101.csv"), 1.0, 10.0, 2345), "trace 20240101.csv, 2,345 requests"),
    ],
)
def test_a_schedule_for_readers(arrivals, shown):
    """Has thousands separators; its text in results files, by which runs are compared, stays."""
    assert arrivals.shown == shown
    assert arrivals.text.split(", ") == [part.replace(",", "") for part in shown.split(", ")]


@pytest.mark.parametrize("text", ["ramp:6/x..5", "steps:6/dx30s"])
def test_a_unit_that_is_none(text):
    """The rate is named."""
    with pytest.raises(ConfigError, match=r"not a rate; "):
        parse_arrivals(text, None, None, 0)
