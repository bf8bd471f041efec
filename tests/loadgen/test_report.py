"""What a terminal shows of results."""

from dataclasses import replace
from pathlib import Path

from loadgen.report import results_text
from loadgen.results import read

RESULTS = read(Path(__file__).parents[1] / "golden" / "results-v1.json")


def test_results_in_five_lines():
    """Throughput, latency, counts, window and verdict."""
    lines = results_text(RESULTS).splitlines()
    assert [line.split()[0] for line in lines] == ["throughput", "latency", "requests", "in", "saturated"]
    assert f"{RESULTS.summary.sent} sent: {RESULTS.summary.completed} completed, " in lines[2]
    assert lines[3].startswith("in flight   10000 at most (39.06 KiB), turned over in ")


def test_what_is_out_of_the_ordinary_is_said():
    """Late and unexpected replies, what is left behind, and notes."""
    summary = replace(RESULTS.summary, late=3, unexpected=1, left_behind=0)
    text = results_text(replace(RESULTS, summary=summary, notes=["metrics could not be read"]))
    assert "; late: 3; unexpected: 1; left_behind: 0" in text
    assert text.endswith("note        metrics could not be read")


def test_without_answers_there_are_no_numbers():
    """A dash, and no time to turn over."""
    latency = dict.fromkeys(RESULTS.summary.latency_ms)
    summary = replace(RESULTS.summary, completed=0, abandoned=0, throughput_rps=0.0, latency_ms=latency)
    text = results_text(replace(RESULTS, summary=summary))
    assert "mean -" in text
    assert "none answered" in text
    assert "turned over" not in text
