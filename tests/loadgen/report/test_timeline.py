"""What happened in the course of a run, and where time went."""

from dataclasses import replace

import numpy as np
import pytest
from sample_results import GOLDEN, results

from loadgen.hardware.summary import HardwareSample
from loadgen.report.timeline import MAX_POINTS, Stage, budget, hardware, requests_timed, stages, throughput_and_p99
from loadgen.results.sections import ClientMetrics, Histograms, RequestStage, RequestStages, StageTime

PLAIN = results(seconds=10)
DESCRIBED = results(2, seconds=10, gpus=(0,), described=True)


def test_intervals_end_when_they_ended():
    """Of 3 s each, as answers and their rate tell, but the last, which ends with the measured part."""
    throughput, p99 = throughput_and_p99(PLAIN)
    assert throughput.at_s == pytest.approx([3, 6, 9, 10], abs=0.01)
    assert throughput.lines["throughput"] == PLAIN.client_metrics.thrus
    p99_s = np.array(PLAIN.client_metrics.p99_lats)
    assert p99.lines["p99"] == pytest.approx(1000 * p99_s)


def test_intervals_without_answers():
    """Have no p99, and a throughput of nothing."""
    silent = replace(
        PLAIN, client_metrics=ClientMetrics([0.0] * 2, [None] * 2, [None] * 2), histograms=Histograms("", [None] * 2)
    )
    throughput, p99 = throughput_and_p99(silent)
    assert (throughput.at_s, throughput.lines["throughput"], p99.lines["p99"]) == ([5, 10], [0, 0], [None, None])
    none = replace(PLAIN, client_metrics=ClientMetrics([], [], []), histograms=Histograms("", []))
    assert throughput_and_p99(none)[0].at_s == []


def test_of_many_intervals_the_worst_p99_stays():
    """And the mean throughput: percentiles have no mean."""
    count = 3 * MAX_POINTS
    p99s: list[float | None] = [0.001] * count
    p99s[10], p99s[20] = 9.0, None
    long = replace(
        PLAIN,
        client_metrics=ClientMetrics([1.0, 2.0, 3.0] * MAX_POINTS, p99s, p99s),
        histograms=Histograms(PLAIN.histograms.latency, [None] * count),
    )
    throughput, p99 = throughput_and_p99(long)
    assert len(throughput.at_s) == len(p99.lines["p99"]) == MAX_POINTS
    assert throughput.at_s[-1] == long.summary.measured.duration_s
    assert set(throughput.lines["throughput"]) == {2.0}
    assert p99.lines["p99"][3] == 9000
    assert p99.lines["p99"][6] == 1


def test_what_was_watched():
    """All there is of it, without the sampler."""
    curves = hardware(DESCRIBED)
    assert {name: list(group.lines) for name, group in curves.items()} == {
        "cpu": ["client", "frontends", "replica-0", "replica-1"],
        "gpu": ["GPU 0"],
        "queue": ["noop:1"],
        "fill": ["noop:1"],
    }
    assert {len(group.at_s) for group in curves.values()} == {9}
    assert {len(values) for group in curves.values() for values in group.lines.values()} == {9}
    assert curves["fill"].lines["noop:1"][0] is None


def watched(samples):
    """Results with these samples."""
    assert DESCRIBED.hardware is not None
    return replace(DESCRIBED, hardware=replace(DESCRIBED.hardware, samples=samples))


def test_what_is_not_there_is_not_invented():
    """Older files and connected runs; a GPU that does not tell."""
    assert hardware(GOLDEN) == {}
    assert DESCRIBED.hardware is not None
    silent = [replace(sample, gpus={"0": None}, queue_length={}) for sample in DESCRIBED.hardware.samples]
    assert set(hardware(watched(silent))) == {"cpu", "fill"}
    assert stages(GOLDEN) == budget(GOLDEN) == []


def test_older_files_have_no_queues():
    """Their samples are of processes and GPUs."""
    older = watched([HardwareSample(at, {}, {"client": at / 10}, {}, {}) for at in (1, 2)])
    assert {name: (c.at_s, c.lines) for name, c in hardware(older).items()} == {"cpu": ([1, 2], {"client": [0.1, 0.2]})}


def test_many_replicas_are_shown_by_their_mean():
    """A line each would hide all."""
    sample = HardwareSample(1.0, {}, {"client": 0.5, **{f"replica-{i}": i / 10 for i in range(8)}}, {}, {})
    (cpu,) = hardware(watched([sample])).values()
    assert cpu.lines == {"client": [0.5], "mean of 8 replicas": [pytest.approx(0.35)]}


def test_requests_that_were_timed_are_the_budget():
    """Their stages are those of single requests, and their shares those of the latency."""
    timed = RequestStages(
        5,
        5,
        way_there=timed_stage(1.0, 0.25),
        frontend_queue=timed_stage(3.0, 0.75),
        client_reading=timed_stage(0.0, 0.0),
    )
    results = replace(DESCRIBED, request_stages=timed)
    assert [row.name for row in stages(results)] == ["way to the frontend", "frontend's queue", "client's reading"]
    mean_ms = DESCRIBED.summary.latency_ms["mean"]
    assert mean_ms is not None
    assert budget(results) == [
        Stage("way to the frontend", 0.25 * mean_ms),
        Stage("frontend's queue", 0.75 * mean_ms),
    ]
    silent = replace(DESCRIBED, request_stages=RequestStages(5, 5, server=timed_stage(4.0, 1.0)))
    assert budget(silent) == budget(DESCRIBED)
    assert requests_timed(results)
    assert not requests_timed(silent)


def timed_stage(mean_ms, share):
    return RequestStage(5, mean_ms, mean_ms, mean_ms, share)


def test_the_budget_adds_up_to_the_mean_latency():
    """In the order that a request meets its parts."""
    parts = budget(DESCRIBED)
    assert [part.name for part in parts] == ["queue wait", "RPC beyond compute", "compute", "client and transport"]
    assert sum(part.mean_ms for part in parts) == pytest.approx(DESCRIBED.summary.latency_ms["mean"])
    assert [stage.name for stage in stages(DESCRIBED)] == ["queue wait", "RPC", "compute"]


def test_lag_is_the_clients_wait():
    """In an open loop."""
    lag_ms = {"mean": 1.0, "p50": 0.5, "p99": 3.0}
    late = replace(DESCRIBED, summary=replace(DESCRIBED.summary, lag_ms=lag_ms))
    assert stages(late)[0].name == budget(late)[0].name == "client wait"
    assert stages(late)[0].p99_ms == 3.0


def stage(mean_ms):
    return StageTime(1, {"mean": mean_ms})


@pytest.mark.parametrize(
    ("change", "count"),
    [
        pytest.param({"rpc": stage(1e9), "compute": stage(1.0)}, 0, id="more than the latency"),
        pytest.param({"rpc": stage(1.0), "compute": stage(2.0)}, 0, id="more compute than RPC"),
        pytest.param({"compute": None}, 3, id="replicas that do not report compute"),
        pytest.param({"queue_wait": None}, 0, id="no queue wait"),
    ],
)
def test_a_budget_that_does_not_add_up_is_none(change, count):
    """Means over batches are not means over requests."""
    assert DESCRIBED.stages is not None
    times = replace(DESCRIBED.stages["noop:1"], **change)
    assert len(budget(replace(DESCRIBED, stages={"noop:1": times}))) == count


def test_two_models_have_no_common_stages():
    """Which one a request went to is not known."""
    assert DESCRIBED.stages is not None
    table = DESCRIBED.stages["noop:1"]
    assert stages(replace(DESCRIBED, stages={"noop:1": table, "vgg:1": table})) == []
