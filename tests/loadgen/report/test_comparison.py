"""What is said of two results, and of rounds."""

import xml.etree.ElementTree as ET
from dataclasses import replace
from pathlib import Path

import pytest
from sample_results import GOLDEN, INVALID, at_a_rate, results

from loadgen.config import ExperimentConfig
from loadgen.experiments.compare import CompareConfig, Compared, ComparePlan
from loadgen.judging.comparison import OPEN_LOOP, paired, unpaired
from loadgen.judging.validity import Check
from loadgen.report.comparison import (
    compare_plan_text,
    compared_markdown,
    compared_text,
    comparison_rows,
    described,
    differences,
    junit,
    outcome_text,
)
from loadgen.results.cells import run_of
from loadgen.results.files import read
from loadgen.results.sections import Transport
from loadgen.served import Deploy

PASSED = Check("outside load", "nobody", "nobody", "passed", "")
START = "2026-11-29T10:00:00+00:00"


def run(name="a", started_at=START, **changes):
    return run_of(results(started_at=started_at, **{"certificate": [PASSED], **changes}), Path(f"{name}.json"))


def test_the_same_run_differs_by_nothing():
    """And nothing follows from that either."""
    found = described(run(), run("b"))
    assert found.differences == ()
    assert found.text().startswith("differs  nothing that is known\n")
    assert found.summary == "A and B are the same run"
    assert described(run(), run("b", "2026-11-29T10:00:01+00:00")).summary == (
        "B differs by +0.0% in throughput, +0.0% in p50, +0.0% in p99; "
        "not comparable because they are one run each, measured 1 second apart, "
        "which does not tell a difference from chance"
    )


def test_what_differs():
    """Configuration, machine, software and validity, each once, and why nothing follows."""
    environment = replace(GOLDEN.environment, cores=8, packages={"numpy": "1"}, variables={"OMP_NUM_THREADS": "4"})
    a = run(batch=2)
    b = run("b", "2026-11-27T10:00:00+00:00", batch=8, environment=environment, certificate=[INVALID])
    found = {row.what: (row.a, row.b) for row in differences(a, b)}
    assert found["batch size"] == ("2", "8")
    assert found["validity"] == ("valid", f"invalid: {INVALID.reason}")
    assert found["OMP_NUM_THREADS"][1] == "4"
    assert found["numpy"][1] == "1"
    assert "model" not in found
    summary = described(a, b).summary
    assert "measured 2 days apart, which does not tell a difference from chance; their machines differ; " in summary
    assert summary.endswith("; B is invalid: outside load: somebody used core 3")


def test_a_saturating_run_and_a_rate_differ_by_their_load():
    """A schedule has no window, which is not unknown."""
    found = {row.what: row[1:] for row in differences(run(), run_of(at_a_rate(5.0), Path("b.json")))}
    assert found["load"] == ("saturating", "poisson 5 requests/s")
    assert found["in flight"] == ("200", "as scheduled")


def test_the_transport_is_a_difference():
    """Where both are known; that of rounds and of a baseline, with its machine, is named beside the verdicts."""
    ipc, tcp = Transport("ipc", "ipc"), Transport("tcp", "tcp")
    (row,) = differences(run(transport=ipc), run("b", transport=tcp))
    assert row == ("transport", "client ipc, replicas ipc", "client tcp, replicas tcp")
    assert list(differences(run(transport=ipc), run("b"))) == []
    done = compared(*[(1.0, False)] * 6)
    pairs = tuple((replace(a, transport=ipc), replace(b, transport=tcp)) for a, b in done.rounds)
    line = "transport: A client ipc, replicas ipc, B client tcp, replicas tcp"
    assert f"\ndiffers     {line}\n" in compared_text(replace(done, rounds=pairs))
    assert f"\n\n* {line}\n" in compared_markdown(replace(done, rounds=pairs))
    assert "differs" not in compared_text(done)
    other = replace(GOLDEN.environment, cores=8)
    moved = tuple((a, replace(b, environment=other)) for a, b in done.rounds)
    assert "\ndiffers     machine: A " in compared_text(replace(done, rounds=moved))


@pytest.mark.parametrize("word", ["slower", "faster", "worse", "better", "regress"])
def test_a_description_never_judges(word):
    """Whatever the figures."""
    found = described(run(), run("b", throughput_rps=10.0, latency_ms=500.0))
    assert word not in found.text() + found.summary + found.markdown


def test_spectra_lie_side_by_side():
    """As far as requests tell, on one axis; a ratio has ends where both figures have intervals."""
    a, b = run(latency_ms=10.0), run("b", latency_ms=20.0)
    summaries = [
        replace(each.results.summary, throughput_interval_rps=(rate * 0.9, rate * 1.1))
        for each in (a, b)
        if (rate := each.results.summary.throughput_rps)
    ]
    a, b = (
        run_of(replace(each.results, summary=summary), each.path)
        for each, summary in zip((a, b), summaries, strict=True)
    )
    rows = {row[0]: row for row in described(a, b).figures}
    assert rows["requests/s"][3] == "1.000 (0.818 to 1.222)"
    assert rows["p50 ms"][3] == "2.000"
    assert rows["p50 ms"][4].index("A") < rows["p50 ms"][4].index("B")
    assert "p99 ms" in rows
    assert "p99.99 ms" not in rows  # of some thousand requests


def test_a_percentile_among_lost_requests_is_no_figure():
    """It is later than any answer."""
    a, b = run(), run("b")
    lost = replace(b.results.summary, lost=b.results.summary.completed)
    rows = {row[0]: row for row in described(a, run_of(replace(b.results, summary=lost), b.path)).figures}
    assert rows["p75 ms"][2:] == ("-", "-", rows["p75 ms"][4])


def test_what_no_run_measures_is_no_figure():
    """A damaged file may hold it, or a time that cannot be read."""
    a = run(started_at="some day")
    summary = replace(a.results.summary, throughput_rps=-1.0, latency_ms={"mean": -1.0, "p50": 0.0})
    found = described(run_of(replace(a.results, summary=summary), a.path), run())
    assert "requests/s  -" in found.text()
    assert "they are one run each, measured at times that are not known, which does not" in found.summary


def test_a_file_of_2017_is_described_as_far_as_it_tells(tmp_path):
    """Its throughput and mean; its machine is unknown."""
    path = tmp_path / "results-171201_101010.json"
    path.write_text(
        '{"node_configs": [{"name": "noop", "input_type": "floats", "model_image": "x", "allocated_cpus": [1], '
        '"cpus_per_replica": 1, "slo": 500000, "num_replicas": 1, "gpus": [], "batch_size": 2}], '
        '"client_metrics": {"thrus": [100.0, 50.0], "p99_lats": [1.0, 1.0], "mean_lats": [0.5, 0.5]}}'
    )
    old = run_of(read(path), path)
    found = described(old, run())
    rows = {row[0]: row for row in found.figures}
    assert rows["requests/s"][1] == "66.67"
    assert rows["mean ms"][1] == "500"
    assert rows["p50 ms"][1] == "-"
    assert "a machine is unknown" in found.summary
    assert "nothing says whether A is valid" in found.summary


def compared(*pairs, margin=0.05, left_out=()):
    """Rounds in which throughput and latencies of B have these ratios."""

    def one(ratio, few=False):
        summary = GOLDEN.summary
        measured = replace(summary.measured, completed=400 if few else 100_000)
        figures = dict.fromkeys(("p50", "p95", "p99"), 10.0 * ratio)
        return replace(
            GOLDEN, summary=replace(summary, throughput_rps=100.0, latency_ms=figures, measured=measured, lost=0)
        )

    rounds = tuple((one(1.0, few), one(ratio, few)) for ratio, few in pairs)
    side = ExperimentConfig(Deploy("noop"))
    config = CompareConfig(a=side, b=side, margin=margin)
    plan = ComparePlan(config, {}, OPEN_LOOP, len(rounds))
    found = paired([(a.summary, b.summary) for a, b in rounds], OPEN_LOOP, margin)
    return Compared(plan, Path("/kept"), found, rounds, tuple(left_out))


def test_worse():
    """It says in what, and by how much."""
    done = compared(*[(1.2, False), (1.3, False)] * 4)
    text = compared_text(done)
    assert "p50 ms      10   12.49  +24.9%  +20.0% to +30.0%  worse, beyond the margin of +5.0%" in text
    assert "outcome     worse: B is worse than A in p50, p95, p99, in 8 rounds" in text
    assert "worse, perhaps within the margin of +5.0%" in compared_text(compared(*[(1.04, False), (1.07, False)] * 4))


def test_not_worse():
    """And within what."""
    text = compared_text(compared(*[(1.01, False), (1.02, False)] * 4))
    assert "not worse, within the margin of +5.0%" in text
    assert "outcome     not worse: B is not worse than A by 5% or more, in 8 rounds" in text


def test_a_baseline_that_scatters():
    """A spread beyond the margin leaves equal sides undecided, which plan and outcome say."""
    done = compared(*[(1.0, False)] * 6)
    summary = done.rounds[0][0].summary
    baseline = [replace(summary, latency_ms={"p50": value}) for value in (10.0, 11.0, 12.0)]
    found = unpaired(baseline, [replace(summary, latency_ms={"p50": 11.5})] * 6, ["p50"], 0.05)
    assert outcome_text(found) == (
        "undecided: p50 in 6 rounds; the baseline's runs differ by the margin of 5% or more: "
        "measure both sides in turns, or allow a larger margin"
    )
    (row,) = list(comparison_rows((), found))[1:]
    assert row[1:3] == ("10.97", "11.5")
    assert row[-1] == "undecided, the margin of +5.0%; the baseline's runs differ by 20%"
    earlier = tuple(replace(GOLDEN, summary=each) for each in baseline)
    config = CompareConfig(b=ExperimentConfig(Deploy("noop")), baseline=earlier, allow_unpaired=True)
    lines = compare_plan_text(ComparePlan(config, {}, ("p50", "throughput"), 6)).splitlines()
    assert lines[2:] == [
        "margin      B may be worse by 5%",
        "baseline    3 runs of 2 s, which differ in p50 by 20%, throughput by 0%",
        "not worse   if B's loss plus the difference of these runs is below the margin",
        "worse       if B's loss is above the margin, and above the difference of these runs",
        "undecided   if B equals A: the runs differ by the margin or more in p50",
    ]


def test_undecided():
    """It says how many more rounds would tell, where that is known; what is left out and what is not gated too."""
    done = compared(*[(0.98, False), (1.055, False)] * 4, left_out=["round 3 is left out: A: it is gone"])
    text = compared_text(done)
    assert "left out    round 3 is left out: A: it is gone" in text
    assert f"about {done.comparison.more} more rounds would decide: --rounds {8 + done.comparison.more}" in text
    assert "measure longer runs, or allow a larger margin" in compared_text(compared(*[(0.5, False), (2.0, False)] * 4))
    few = compared_text(compared(*[(1.0, True)] * 8))
    assert "  p99 is not gated: a run has 400 requests" in few
    early = compared_text(replace(compared(), interrupted=True))
    assert early.endswith("interrupted 0 of 0 rounds measured\noutcome     undecided: no round was measured")


def test_for_machines():
    """JUnit has a case for each metric, Markdown a table."""
    done = compared(*[(1.2, True), (1.3, True)] * 4, left_out=["a | b"])
    suite = ET.fromstring(junit(done))
    assert {name: suite.get(name) for name in ("tests", "failures", "errors", "skipped")} == {
        **{"tests": "4", "failures": "2", "errors": "0", "skipped": "1"}
    }
    assert [[child.tag for child in case] for case in suite] == [["system-out"], ["failure"], ["failure"], ["skipped"]]
    page = compared_markdown(done)
    assert page.startswith("**worse: B is worse than A in p50, p95")
    assert "| p50 ms | 10 | 12.49 | +24.9% | +20.0% to +30.0% | worse, beyond the margin of +5.0% |" in page
    assert page.endswith("\n\n* a | b\n")
