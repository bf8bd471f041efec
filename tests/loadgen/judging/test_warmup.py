"""A slow start is noted, with the warm-up that leaves it out; noise is not noted."""

import numpy as np
import pytest
from simulated_queues import batching, mm1
from slow_start import SLOW_S, simulated

from loadgen.judging.remarks import warmup
from loadgen.judging.warmup import slow_start
from loadgen.load.arrivals import Renewal
from loadgen.load.last_part import last_part
from loadgen.load.record import Record
from model_containers.units import NS_PER_S

MS = 1_000_000
TRUTH = dict.fromkeys(("p50", "p90", "p95", "p99", "p99.9", "mean"), 1.0)
"""Not asked for here."""


def record(latency_ms, done_s, seconds):
    """Of answers in this order."""
    result = Record(measured_ns=seconds * NS_PER_S, measured_from_ns=1)
    done_ns = (np.asarray(done_s) * NS_PER_S).astype(np.int64)
    result.batches.record((np.asarray(latency_ms) * MS).astype(np.int64), done_ns, 0)
    return result


@pytest.mark.parametrize("warmup_s", [0.0, 1.0])
def test_a_closed_loop_that_began_slow(warmup_s):
    """The value is the time in which the server was slow, whatever of it was warm-up; after it nothing is said."""
    whole, first = simulated(warmup_s=warmup_s)
    (said,) = warmup(whole, warmup_s)
    assert said.endswith("; --warmup 6s leaves them out")
    assert "their mean latency is 3.7" in said
    assert "the p99 with them is 4.01 times that without" in said
    assert warmup(last_part(whole, first), warmup_s) == []
    enough, _ = simulated(warmup_s=6.0)
    assert warmup(enough, 6.0) == []


def test_an_open_loop_that_began_slow():
    """The backlog of the slow time counts to it: it is gone after nine seconds and a half."""
    whole, _ = simulated(Renewal(60.0, 60.0, 0.0, 0))
    found = slow_start(whole)
    assert found is not None
    assert SLOW_S + 4 < found.length_s <= 10.5
    (said,) = warmup(whole, 0.0)
    assert "--warmup 10s" in said or "--warmup 11s" in said


def test_a_first_answer_that_took_long():
    """Such as one for which a graph is traced: the requests that wait for it are slow too."""
    rng = np.random.default_rng(4)
    done_s = np.arange(0, 60, 0.05)
    latency_ms = 20 * rng.lognormal(0, 0.1, len(done_s))
    latency_ms[:18] = np.linspace(900, 50, 18)
    found = slow_start(record(latency_ms, done_s, 60))
    assert found is not None
    assert 0.9 <= found.length_s <= 2
    assert found.tail == "p99"
    assert found.tail_times > 2


def test_a_slow_start_that_moves_nothing_but_the_slowest_answers():
    """Five slow seconds of 240, with few answers: mean and p99 stay nearly the same."""
    rng = np.random.default_rng(4)
    slow_s, rest_s = np.arange(0, 5, 1 / 32), np.arange(5, 240, 1 / 128)
    latency_ms = np.concatenate([240 * rng.gamma(16, 1 / 16, len(slow_s)), 64 * rng.gamma(16, 1 / 16, len(rest_s))])
    (said,) = warmup(record(latency_ms, np.concatenate([slow_s, rest_s]), 240), 0.0)
    assert "and the p99.9 with them is 2." in said
    assert said.endswith("without; --warmup 5s leaves them out")


@pytest.mark.parametrize(
    "slow",
    [
        pytest.param((30.0, 33.0), id="in the middle"),
        pytest.param((57.0, 60.0), id="at the end"),
        pytest.param((0.0, 0.02), id="one answer"),
        pytest.param((0.0, 40.0), id="for most of the run"),
    ],
)
def test_what_is_no_slow_start(slow):
    """Or makes no difference."""
    rng = np.random.default_rng(4)
    done_s = np.arange(0, 60, 0.01)
    latency_ms = 20 * rng.lognormal(0, 0.1, len(done_s))
    latency_ms[(done_s >= slow[0]) & (done_s < slow[1])] *= 1.5 if slow[1] < 1 else 4
    assert slow_start(record(latency_ms, done_s, 60)) is None


def test_a_fast_start_is_none():
    """A queue that fills is not warmed."""
    done_s = np.arange(0, 60, 0.01)
    assert slow_start(record(np.minimum(10 + 20 * done_s, 200), done_s, 60)) is None
    assert slow_start(record(10 + 20 * done_s, done_s, 60)) is None


def test_few_answers_say_nothing():
    """None, or less than ten for each of twenty groups."""
    assert slow_start(Record()) is None
    done_s = np.arange(0, 60, 0.5)
    assert slow_start(record(np.where(done_s < 5, 400, 20), done_s, 60)) is None


@pytest.mark.parametrize("utilisation", [0.5, 0.8, 0.9])
def test_noise_is_rarely_taken_for_a_slow_start(utilisation):
    """Of queues in their steady state."""
    rng = np.random.default_rng(5)
    queues = [mm1(utilisation)] * 15 + [batching(utilisation, TRUTH)] * 5
    assert sum(slow_start(queue.run(660, rng)) is not None for queue in queues) <= 1
