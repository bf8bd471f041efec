"""How late an open loop sends: Poisson arrivals at a target that answers at once. Beside others: `schedule_lag.py`."""

from __future__ import annotations

from dataclasses import asdict

import pytest
from open_loops import loadgen
from pytest_benchmark.fixture import BenchmarkFixture

SECONDS = 2.0


@pytest.mark.parametrize("rate_rps", [1000, 10_000, 50_000])
def test_schedule_lag(benchmark: BenchmarkFixture, rate_rps: int) -> None:
    """Percentiles in microseconds and CPU time per request are in the extra info."""
    measured = benchmark.pedantic(loadgen, args=("null", float(rate_rps), SECONDS), rounds=1)
    benchmark.extra_info |= asdict(measured)
    assert measured.sent == measured.planned > 0
