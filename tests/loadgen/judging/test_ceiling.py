"""What of a run is its client: shares, the floor's rate, and what the reader is told."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from loadgen.judging.ceiling import (
    FLOOR_BELOW,
    LEAST_FLOOR_RPS,
    Ceiling,
    Trial,
    floor_rate_rps,
    of_run,
    refuted,
    warnings,
)

BURST = Trial(
    20_000, 40_000.0, {"p50": 20.0, "p99": 30.0}, client_busy=0.98, server_busy=0.4, waited=0.0, others_busy=0.0
)
FLOOR = Trial(3_000, 6_000.0, {"p50": 0.2, "p99": 0.5}, client_busy=0.5, server_busy=0.3, waited=0.0, others_busy=0.0)
CEILING = Ceiling(BURST, FLOOR, "1 request in flight")


def test_shares_of_a_run():
    """Of the ceiling, and of each percentile."""
    found = of_run(CEILING, 4_000.0, {"p50": 1.0, "p99": 2.0})
    assert found.ceiling_rps == 40_000
    assert not found.at_least
    assert found.used_share == pytest.approx(0.1)
    assert found.floor_ms == {"p50": 0.2, "p99": 0.5}
    assert found.floor_share == {"p50": pytest.approx(0.2), "p99": pytest.approx(0.25)}
    assert (found.floor_requests, found.floor_load) == (3_000, "1 request in flight")


@pytest.mark.parametrize(
    ("client_busy", "server_busy", "at_least"),
    [(0.98, 0.4, False), (0.9, 1.0, False), (0.6, 0.95, True), (0.6, 0.3, True)],
    ids=["the client", "both", "the null server", "neither: other load"],
)
def test_a_trial_whose_client_was_not_the_limit_is_a_lower_bound(client_busy, server_busy, at_least):
    """Whatever the limit was instead."""
    burst = replace(BURST, client_busy=client_busy, server_busy=server_busy)
    assert of_run(replace(CEILING, burst=burst), 4_000.0, {}).at_least is at_least


@pytest.mark.parametrize("latency_ms", [{}, {"p50": None, "p99": None}, {"p50": 0.0, "p99": 0.0}])
def test_what_is_not_known_has_no_share(latency_ms):
    """A run without answers, and percentiles among answers that are missing."""
    found = of_run(CEILING, 0.0, latency_ms)
    assert found.used_share is None
    assert found.floor_share == {"p50": None, "p99": None}
    assert warnings(found) == []


def test_without_a_floor():
    """The rate was above the ceiling."""
    found = of_run(Ceiling(BURST, None, "none"), 39_000.0, {"p50": 1.0, "p99": 2.0})
    assert (found.floor_requests, found.floor_ms) == (0, {"p50": None, "p99": None})
    assert found.floor_share == {"p50": None, "p99": None}


@pytest.mark.parametrize(
    ("rps", "p50_ms", "p99_ms", "says"),
    [
        (31_000.0, 10.0, 20.0, []),
        (32_000.0, 10.0, 20.0, ["used 80% of what the client can do (40,000 requests/s)"]),
        (4_000.0, 0.8, 20.0, ["up to 25% of the p50 (a null server"]),
        (4_000.0, 10.0, 2.0, ["up to 25% of the p99 (a null server"]),
        (36_000.0, 0.4, 1.0, ["used 90%", "50% of the p50 and 50% of the p99"]),
    ],
)
def test_the_reader_is_warned(rps, p50_ms, p99_ms, says):
    """From these shares on."""
    lines = warnings(of_run(CEILING, rps, {"p50": p50_ms, "p99": p99_ms}))
    assert len(lines) == len(says)
    assert all(part in line for part, line in zip(says, lines, strict=True))


def test_a_lower_bound_blames_nobody():
    """The client may be able to do more than was seen."""
    burst = replace(BURST, client_busy=0.5)
    (line,) = warnings(of_run(replace(CEILING, burst=burst), 36_000.0, {}))
    assert "90% of what the client did against a null server" in line
    assert line.endswith("whether it limits this run is not known")


def test_a_floor_above_the_run_says_nothing():
    """Other load disturbed its trial."""
    found = of_run(CEILING, 4_000.0, {"p50": 0.4, "p99": 0.45})
    assert warnings(found)[0].startswith("the client and its sockets take up to 50% of the p50 (")
    assert warnings(found)[1].startswith("the client's part of the p99 is not known")
    assert len(warnings(found)) == 2
    assert refuted(found) == (False, True)


@pytest.mark.parametrize(
    ("waited", "others_busy", "disturbed"), [(0.05, 0.0, True), (0.0, 0.05, True), (0.04, 0.04, False)]
)
def test_a_disturbed_trial_is_a_bound_and_makes_no_warning(waited, others_busy, disturbed):
    """The client waited for a core, or others used its cores: it can do more, and its floor is lower."""
    trials = (replace(trial, waited=waited, others_busy=others_busy) for trial in (BURST, FLOOR))
    burst, floor = trials
    latency_ms = {"p50": 0.4, "p99": 0.45}
    found = of_run(Ceiling(BURST, floor, "1 request in flight"), 36_000.0, latency_ms)
    assert (found.at_least, found.disturbed, found.floor_disturbed) == (False, False, disturbed)
    assert len(warnings(found)) == (1 if disturbed else 3)
    found = of_run(Ceiling(burst, FLOOR, "1 request in flight"), 36_000.0, latency_ms)
    assert (found.at_least, found.disturbed, found.floor_disturbed) == (disturbed, disturbed, False)
    assert len(warnings(found)) == (2 if disturbed else 3)


def test_a_run_above_the_ceiling_refutes_it():
    """It shows that the client can do more."""
    assert refuted(of_run(CEILING, 40_001.0, {})) == (True, False)
    assert refuted(of_run(CEILING, 0.0, {})) == (False, False)


@given(st.floats(1e-3, 1e6), st.floats(1.0, 1e6))
def test_a_floor_is_measured_near_the_rate_of_the_run(rate_rps, ceiling_rps):
    """Unless that is too low for a p99; and never where requests would wait for the client."""
    found = floor_rate_rps(rate_rps, ceiling_rps)
    if rate_rps > FLOOR_BELOW * ceiling_rps:
        assert found is None
        return
    assert found is not None
    assert found <= FLOOR_BELOW * ceiling_rps * 1.01
    if rate_rps > LEAST_FLOOR_RPS * 1.13:
        assert rate_rps / 1.13 <= found <= rate_rps * 1.13


def test_close_rates_share_a_trial():
    """So that a search for capacity does not measure a floor for each of its probes."""
    assert len({floor_rate_rps(rate_rps, 40_000.0) for rate_rps in range(1_000, 10_000, 10)}) == 11
