"""The batch curve, the law of replicas, and the simulated queue."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from loadgen.experiments.scaling import BatchCurve, Estimate, Law, latencies_s


def curve(alpha, beta, sizes, width=0.01):
    return BatchCurve({size: Estimate.around(size / (alpha + beta * size), width) for size in sizes})


@pytest.mark.parametrize("sizes", [(1, 8), (1, 8, 32)])
def test_a_line_through_batch_times_tells_sizes_between(sizes):
    """As exact as the measurements."""
    predicted = curve(0.01, 0.002, sizes).at(16)
    assert predicted.value == pytest.approx(16 / 0.042, rel=1e-6)
    assert predicted.width == pytest.approx(0.01, rel=1e-3)


def test_a_size_that_was_measured_is_as_measured_unless_it_is_close_to_the_line():
    """Of which a count of few batches is a rough measure."""
    far = Estimate(50.0, 45.0, 55.0)
    assert BatchCurve({1: Estimate.around(100, 0.1), 8: far}).at(8) is far
    points = dict(curve(0.01, 0.002, (1, 8, 32)).measured)
    points[32] = Estimate.around(1.03 * points[32].value, 0.1)
    weighed = BatchCurve(points, {1: 800, 8: 380, 32: 13})
    assert weighed.at(32).value == pytest.approx(32 / 0.074, rel=0.005)
    assert weighed.at(16).value == pytest.approx(16 / 0.042, rel=0.005)


def test_one_size_tells_nothing_of_what_batches_save():
    """Each request is taken to cost as much in a larger one."""
    assert curve(0.01, 0.002, (1,)).coefficients_s == pytest.approx((0.0, 0.012))


@pytest.mark.parametrize(
    ("times", "wanted"),
    [
        pytest.param({1: 0.010, 8: 0.085}, (0.0, pytest.approx(0.0103, rel=0.05)), id="batches that cost more"),
        pytest.param({1: 0.010, 8: 0.009}, (pytest.approx(0.0095, rel=0.05), 0.0), id="batches that cost less"),
    ],
)
def test_no_coefficient_is_negative(times, wanted):
    """Noise must not predict batches in no time."""
    measured = {size: Estimate.around(size / time_s, 0.1) for size, time_s in times.items()}
    assert BatchCurve(measured).coefficients_s == wanted


def test_a_point_off_the_line_widens_what_the_line_says():
    """By what it misses."""
    points = dict(curve(0.01, 0.002, (1, 8, 32)).measured)
    points[8] = Estimate.around(1.2 * points[8].value, 0.01)
    assert BatchCurve(points).at(16).width > 0.05


def test_without_a_measurement_replicas_do_at_most_as_much_more():
    """And perhaps hardly more at all."""
    predicted = Law().at(4)
    assert (predicted.high, predicted.low < 0.3) == (1.0, True)


@given(st.floats(0, 0.3), st.floats(0, 0.02), st.integers(3, 30))
def test_the_law_covers_what_it_was_made_from(sigma, kappa, count):
    """Between and beyond the numbers of replicas that were measured."""

    def share(number):
        return 1 / (1 + sigma * (number - 1) + kappa * number * (number - 1))

    law = Law({number: Estimate.around(share(number), 0.05) for number in (2, 4)})
    predicted = law.at(count)
    assert predicted.low * 0.98 <= share(count) <= predicted.high * 1.02


def test_more_measurements_narrow_the_law():
    """Two numbers of replicas leave it open what many do."""
    few, more = (
        Law({number: Estimate.around(1 / (1 + 0.1 * (number - 1)), 0.03) for number in numbers}).at(32)
        for numbers in ((2,), (2, 8, 16))
    )
    assert more.high - more.low < (few.high - few.low) / 2


def test_a_queue_of_batches_of_one_is_known():
    """M/D/1 at half of its throughput waits half a service time on the average."""
    latencies = latencies_s((0.01, 0.0), 1, 1, 50.0)
    assert latencies.mean() == pytest.approx(0.015, rel=0.05)
    assert np.all(np.diff(latencies) >= 0)


def test_replicas_and_batches_shorten_a_queue():
    """Of one throughput, more replicas wait less; without load, a batch is of one."""
    assert latencies_s((0.0, 0.01), 4, 1, 300.0).mean() < latencies_s((0.0, 0.01), 1, 4, 90.0).mean()
    assert latencies_s((0.01, 0.001), 2, 8, 1.0)[0] == pytest.approx(0.011)
