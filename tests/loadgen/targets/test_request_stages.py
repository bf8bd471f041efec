"""Where the time of requests goes, over real sockets: each stage shows its own delay."""

import pytest
from slow_stages import STAGES, slow_stages

DELAY_NS = 5_000_000


@pytest.fixture(scope="module")
def deployment(tmp_path_factory):
    with slow_stages(tmp_path_factory.mktemp("stages")) as slow:
        yield slow


@pytest.mark.parametrize("rate_rps", [50.0, None], ids=["open", "closed"])
def test_the_stages_of_a_run_add_up_to_its_latencies(deployment, rate_rps):
    """Of every request, since all are timed at a low rate."""
    record = deployment.run(30, rate_rps)
    histograms = record.stages.histograms
    assert set(histograms) == set(STAGES)
    assert record.stages.timed == record.stages.requests == record.latency.total == 30
    assert sum(histogram.sum_ns for histogram in histograms.values()) == record.latency.sum_ns


@pytest.mark.parametrize("slowed", STAGES)
def test_a_delay_shows_in_its_own_stage(deployment, slowed):
    """In most requests, and in the quickest of them nowhere else."""
    setattr(deployment.delays, slowed, DELAY_NS / 1e9)
    try:
        histograms = deployment.run(15, 50.0).stages.histograms
    finally:
        setattr(deployment.delays, slowed, 0.0)
    median_ns = histograms[slowed].percentile_ns(50)
    assert median_ns is not None
    assert median_ns >= 0.9 * DELAY_NS
    assert [name for name in STAGES if histograms[name].min_ns >= 0.5 * DELAY_NS] in ([slowed], [])
