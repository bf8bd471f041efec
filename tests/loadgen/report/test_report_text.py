"""What `report` prints of searches and comparisons."""

import io
from pathlib import Path

from rich.console import Console
from sample_searches import make_capacity, make_comparison

from loadgen.report.answers import answers
from loadgen.report.reading import collect
from loadgen.report.report_text import report_markdown, report_text
from loadgen.results.files import read, save


def shown(*paths):
    what = collect(paths)
    written = io.StringIO()
    Console(width=200, file=written, markup=False, highlight=False).print(report_text(what, answers(what), 200))
    return [" ".join(line.split()) for line in written.getvalue().splitlines()]


def test_a_search_for_capacity_is_shown(tmp_path):
    """With its objective, its probes, its rate and interval; the probes are no cells of the table."""
    directory = make_capacity(tmp_path / "capacity-1")
    assert shown(directory) == [
        "deploy r1-c1-b2 of noop, for up to 100 requests/s with p99<50ms",
        "cores 1 core, 0 GPUs",
        "head-room none at 100 requests/s, the highest rate that holds",
        "interval 100 to 110 requests/s, with 95% confidence",
        "evidence Runs of 30 s: the objective held at 100 requests/s and did not at 110",
        f"source {directory}",
        "",
        f"search {directory}",
        "objective p99<50ms, for noop",
        "probe requests/s s outcome",
        "confirm 100 30 pass p99 40 ms",
        "capacity 100 requests/s (100 to 110 with 95% confidence)",
        "confirmed by runs of 30 s: the objective held at 100 requests/s, and did not at 110",
    ]


def test_a_comparison_is_shown(tmp_path):
    """With what its rounds show, and what was left out."""
    lines = shown(make_comparison(tmp_path / "compare-1"))
    assert lines == [
        f"comparison {tmp_path / 'compare-1'}",
        "metric A B B / A 95% interval",
        "requests/s 4,948 4,948 +0.0% -1.0% to +1.0% not worse, within the margin of -4.8%",
        "left out round 2, A: no replica",
        "outcome not worse: B is not worse than A by 5% or more, in 1 round",
    ]


def test_a_killed_comparison_is_shown(tmp_path):
    """As far as it came."""
    directory = make_comparison(tmp_path / "compare-1")
    (directory / "comparison.json").unlink()
    (directory / "compare.json").write_text('{"rounds": 6, "metrics": ["throughput"], "margin": 0.05}')
    assert shown(directory)[-5:] == [
        "metric A B B / A 95% interval",
        "requests/s 4,948 4,948 +0.0% - undecided, the margin of -4.8%",
        "left out round 2, A: no replica",
        "unfinished 1 of 6 rounds measured: it was killed, or still runs",
        "outcome undecided: throughput in 1 round; about 5 more rounds would decide: --rounds 6",
    ]


def markdown(*paths):
    what = collect(paths)
    return report_markdown(what, answers(what)).splitlines()


def test_a_search_for_capacity_as_markdown(tmp_path):
    """The same lines: what to deploy first, then the probes and the answer of the search."""
    directory = make_capacity(tmp_path / "capacity-1")
    assert markdown(directory) == [
        "* deploy: r1-c1-b2 of noop, for up to 100 requests/s with p99<50ms",
        "* cores: 1 core, 0 GPUs",
        "* head-room: none at 100 requests/s, the highest rate that holds",
        "* interval: 100 to 110 requests/s, with 95% confidence",
        "* evidence: Runs of 30 s: the objective held at 100 requests/s and did not at 110",
        f"* source: {directory}",
        "",
        f"* search: {directory}",
        "* objective: p99<50ms, for noop",
        "",
        "| probe | requests/s | s | outcome |  |",
        "|---|---|---|---|---|",
        "| confirm | 100 | 30 | pass | p99 40 ms |",
        "",
        "* capacity: 100 requests/s (100 to 110 with 95% confidence)",
        "* confirmed: by runs of 30 s: the objective held at 100 requests/s, and did not at 110",
    ]


def test_a_comparison_as_markdown(tmp_path):
    """Likewise."""
    lines = markdown(make_comparison(tmp_path / "compare-1"))
    assert lines == [
        f"* comparison: {tmp_path / 'compare-1'}",
        "",
        "| metric | A | B | B / A | 95% interval |  |",
        "|---|---|---|---|---|---|",
        "| requests/s | 4,948 | 4,948 | +0.0% | -1.0% to +1.0% | not worse, within the margin of -4.8% |",
        "",
        "* left out: round 2, A: no replica",
        "* outcome: not worse: B is not worse than A by 5% or more, in 1 round",
    ]


def test_what_is_not_known_is_found_out_by_a_command(tmp_path):
    """Which is code, above the table of runs."""
    save(read(Path(__file__).parents[2] / "golden" / "results-v2.json"), tmp_path)
    lines = markdown(tmp_path)
    assert lines[0].startswith("* deploy: not known for ")
    assert lines[1].startswith("* find out: `")
    assert lines[1].endswith("`")
    assert lines[2] == ""
    assert lines[3].startswith("| cell | ")
