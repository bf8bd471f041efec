"""The terminal's table, CSV and JSON; the command that writes them."""

import csv
import io
import json
from dataclasses import replace
from pathlib import Path

import pytest
from rich.console import Console
from sample_results import GOLDEN, INVALID, results
from typer.testing import CliRunner

from frontend_launch.quantities import number
from loadgen.cli.verbs import app
from loadgen.load.summary import MeasuredPart
from loadgen.report.reading import Collection, Missing
from loadgen.report.tables import MARKS, csv_text, half_width, json_text, latency_kind, terminal_table
from loadgen.results.cells import Spread, cells_of, run_of
from loadgen.results.files import save

SWEEP = Path("sweep")
QUEUE = "q a saturated run: this latency is its queue's, not what users wait at a lower rate"
RUNS = [
    results(1, seconds=6, throughput_rps=100.0),
    results(1, seconds=6, throughput_rps=120.0, seed=1),
    replace(results(2, gpus=(0,), seconds=12), error="[bold]stalled[/bold]"),
]


def collection(runs=RUNS, missing=()):
    cells = cells_of(run_of(made, Path(f"{n}.json"), sweep=SWEEP) for n, made in enumerate(runs))
    return Collection(cells, tuple(missing), ())


def shown(what):
    written = io.StringIO()
    console = Console(width=200, file=written, markup=False, highlight=False)
    console.print(terminal_table(what))
    return [line.split() for line in written.getvalue().splitlines() if line.strip()]


def test_a_line_for_each_cell():
    """With the spread of repeats, and why a run or a cell failed."""
    nowhere = [Missing("r9-c1-b2", "no room [for] it"), Missing("r8-c1-b2", "no room [for] it")]
    head, _, first, second, missing, _, *below = shown(collection(missing=nowhere))
    assert head[:11] == ["cell", "cores", "gpus", "batch", "requests/s", "±", "p50", "ms", "p99", "ms", "p99"]
    assert first[:6] == ["r1-c1-b2", "1", "0", "2", "110", "9.1%"]
    low, high = sorted(run.summary.latency_ms["p99"] or 0.0 for run in RUNS[:2])
    assert first[8] == f"{(high - low) / (high + low):.1%}"
    assert first[-3:] == ["99%", "yes", "replicas"]
    assert second[:2] == ["r2-c1-g1-b2", "2"]
    assert second[-2:] == ["failed", "-"]
    assert missing == ["r9-c1-b2", "not", "measured", "-"]
    assert [" ".join(line) for line in below] == [
        "r2-c1-g1-b2: failed: [bold]stalled[/bold]",
        "r9-c1-b2, r8-c1-b2: not measured: no room [for] it",
        QUEUE,
    ]


def test_no_reason_makes_the_table_wide():
    """However long it is: it stands below, whole."""
    long = "a reason " * 30
    what = collection([replace(RUNS[2], error=long)], [Missing("r9-c1-b2", long)])
    written = io.StringIO()
    Console(width=1000, file=written, markup=False, highlight=False).print(terminal_table(what))
    head, _, *rows = written.getvalue().splitlines()
    assert max(map(len, [head, *rows[:2]])) < 100
    assert [line.count("a reason") for line in rows] == [0, 0, 30, 30, 0]


def at_a_rate(offered_rps, throughput_rps):
    made = results(seconds=10, throughput_rps=throughput_rps)
    return replace(made, summary=replace(made.summary, offered_rps=offered_rps, planned=int(10 * offered_rps)))


@pytest.mark.parametrize(
    ("run", "kind"),
    [
        (results(seconds=3), "queue"),
        (replace(results(seconds=3), verdict=replace(GOLDEN.verdict, saturated="near")), "queue"),
        (replace(results(seconds=3), verdict=replace(GOLDEN.verdict, saturated="no")), "window"),
        (replace(results(seconds=3), verdict=replace(GOLDEN.verdict, saturated="undecided")), "window"),
        (at_a_rate(100.0, 100.0), "rate"),
        (at_a_rate(100.0, 60.0), "queue"),
    ],
    ids=["saturated", "near", "client's limit", "unseen replicas", "carried", "not carried"],
)
def test_what_a_latency_is_of_is_marked(run, kind):
    """Only that of a rate that was carried is what users wait."""
    what = collection([run])
    assert latency_kind(what.cells[0].counted) == kind
    mark, text = MARKS[kind]
    _, _, row, *below = map(" ".join, shown(what))
    assert f"{number(what.cells[0].latency_ms('p99').median)}{mark} " in f"{row} "
    assert (text in below) == bool(mark)


def test_a_cell_without_an_answer_has_no_legend_of_its_latency():
    """Its latency is a dash."""
    nothing = at_a_rate(50.0, 0.0)
    unknown = dict.fromkeys(nothing.summary.latency_ms)
    what = collection([replace(nothing, summary=replace(nothing.summary, latency_ms=unknown))])
    assert not any("its queue's" in " ".join(row) for row in shown(what))


@pytest.mark.parametrize("width", [60, 72, 80, 100, 120, 200])
def test_a_narrow_terminal_keeps_the_limit(width):
    """It leaves out what a name has already, and says which columns."""
    named = [replace(run, model=replace(run.model, name="a-model-of-some-name")) for run in RUNS]
    what = collection([*RUNS, *named])
    written = io.StringIO()
    Console(width=width, file=written, markup=False, highlight=False).print(terminal_table(what, width))
    lines = written.getvalue().splitlines()
    head = lines[0].split()
    assert max(map(len, lines)) <= width
    assert head[-2:] == ["saturated", "limit"]
    assert {"requests/s", "p99"} < {*head}
    assert sum("replicas" in line for line in lines) >= 2
    hidden = " ".join(lines).partition("not shown in ")[2]
    assert ("gpus" in head) != ("gpus" in hidden)
    assert ("p50" in head) != ("p50" in hidden)


def test_without_repeats_there_is_no_spread():
    """Nor an offered rate in saturating runs."""
    head = " ".join(shown(collection(RUNS[:1]))[0])
    assert head == "cell cores gpus batch requests/s p50 ms p99 ms busy saturated limit"


def test_drift_is_below_the_table():
    """Where an anchor was measured again, with its p99."""
    anchor = run_of(RUNS[1], Path("a.json"), anchor=True, sweep=SWEEP)
    cells = cells_of([run_of(RUNS[0], Path("0.json"), sweep=SWEEP), anchor])
    first, last = (f"{run.summary.latency_ms['p99']:,.0f} ms" for run in RUNS[:2])
    said = f"r1-c1-b2 measured again: +20.0% requests/s, p99 {last} instead of {first}"
    assert " ".join(shown(Collection(cells, (), ()))[-2]) == said


def test_percentiles_of_few_requests_are_marked_and_said():
    """In table, CSV and JSON; a CSV has the ends of what is known."""
    few = replace(
        RUNS[0],
        summary=replace(
            RUNS[0].summary,
            measured=MeasuredPart(6.0, 60, 60),
            lost=0,
            latency_ms={"mean": 2.0, "min": 1.0, "p50": 2.0, "p95": 3.0, "p99": 4.0, "p99.9": None, "max": 5.0},
            intervals_ms={"p50": (1.9, 2.1)},
            bounds_ms={"mean": (0.5, 8.0), "p95": (2.5, None), "p99": (3.5, None)},
            latency_above_ms={"p99.9": 5.0},
        ),
    )
    what = collection([few])
    _, _, row, *below = map(" ".join, shown(what))
    assert " 2q ~4q " in row
    assert below == [
        "r1-c1-b2: too few requests for a p99; fewer than 5 are slower",
        "~ too few independent answers for an interval",
        QUEUE,
    ]
    (line,) = csv.DictReader(io.StringIO(csv_text(what)))
    ends = {name: (line[f"{name}_low_ms"], line[f"{name}_high_ms"]) for name in ("mean", "p50", "p95", "p99", "p99.9")}
    assert ends == {
        "mean": ("0.5", "8.0"),
        "p50": ("1.9", "2.1"),
        "p95": ("2.5", ""),
        "p99": ("3.5", ""),
        "p99.9": ("5.0", ""),
    }
    (cell,) = json.loads(json_text(what))["cells"]
    assert cell["uncertain"] == ["mean", "p95", "p99"]


def test_runs_that_are_no_repeats_have_a_row_each():
    """With the time in the name, and a line that says so."""
    times = ("2026-11-23T10:00:00+00:00", "2026-11-24T10:00:00+00:00")
    runs = [run_of(replace(run, started_at=at), Path(f"{at}.json")) for run, at in zip(RUNS, times, strict=False)]
    _, _, first, second, below, _ = map(" ".join, shown(Collection(cells_of(runs), (), ())))
    assert first.startswith("r1-c1-b2 2026-11-23 10:00:00 1 0 2 100 ")
    assert second.startswith("r1-c1-b2 2026-11-24 10:00:00 1 0 2 120 ")
    assert below.endswith(
        ": 2 separate measurements of one configuration, kept apart; repeats are runs of one sweep (--repeat)"
    )


def test_invalid_runs_are_marked():
    """A cell that has no others says why instead of its limit, the others say how many are left out."""
    bad = replace(RUNS[0], certificate=[INVALID])
    what = collection([bad, RUNS[1], replace(RUNS[2], error=None, certificate=[INVALID])])
    _, _, first, second, *below = map(" ".join, shown(what))
    assert first.endswith("99% yes replicas")
    assert second.endswith("99% invalid -")
    assert below == [
        "r2-c1-g1-b2: invalid: outside load: somebody used core 3",
        "r1-c1-b2: 1 of 2 runs invalid and left out: outside load: somebody used core 3",
        QUEUE,
    ]
    rows = list(csv.DictReader(io.StringIO(csv_text(what))))
    assert [row["invalid"] for row in rows] == [INVALID.reason, "", INVALID.reason]
    document = json.loads(json_text(what))
    assert [cell["invalid"] for cell in document["cells"]] == [None, INVALID.reason]


def test_csv_has_a_line_for_each_run():
    """Empty where a file does not tell."""
    rows = list(csv.DictReader(io.StringIO(csv_text(collection([*RUNS, replace(GOLDEN, node_configs=[])])))))
    assert len(rows) == 4
    by_file = {row["file"]: row for row in rows}
    assert float(by_file["1.json"]["throughput_rps"]) == RUNS[1].summary.throughput_rps
    assert float(by_file["0.json"]["p99_ms"]) == RUNS[0].summary.latency_ms["p99"]
    assert by_file["2.json"]["error"] == "[bold]stalled[/bold]"
    assert by_file["3.json"]["cores"] == ""
    assert csv_text(collection([], [Missing("x", "y")])) == ""


def test_exports_have_the_tags_of_each_run():
    """CSV and JSON."""
    what = collection([replace(RUNS[0], tags={"commit": "4f2a9c1", "host": "lab-3"}), RUNS[1]])
    assert [row["tags"] for row in csv.DictReader(io.StringIO(csv_text(what)))] == ["commit=4f2a9c1, host=lab-3", ""]
    (cell,) = json.loads(json_text(what))["cells"]
    assert [run["tags"] for run in cell["runs"]] == ["commit=4f2a9c1, host=lab-3", ""]


def test_json_has_cells_with_their_runs():
    """And what was not measured."""
    document = json.loads(json_text(collection(missing=[Missing("x", "y")])))
    first = document["cells"][0]
    assert first["throughput_rps"] == {"median": 110.0, "low": 100.0, "high": 120.0}
    assert [run["file"] for run in first["runs"]] == ["0.json", "1.json"]
    assert first["cores"] == 1
    assert document["missing"] == [{"cell": "x", "reason": "y"}]


@pytest.fixture
def runner():
    return CliRunner()


def test_the_command_writes_what_is_asked_for(tmp_path, runner):
    """The table unless standard output is taken."""
    path = save(results(seconds=3), tmp_path)
    html, table = tmp_path / "report.html", tmp_path / "report.csv"
    done = runner.invoke(app, ["report", str(path), "--html", str(html), "--csv", str(table)])
    assert done.exit_code == 0
    assert "r1-c1-b2" in done.output
    assert html.read_text().startswith("<!doctype html>")
    assert table.read_text().startswith("cell,")
    done = runner.invoke(app, ["report", str(path), "--json", "-"])
    assert json.loads(done.stdout)["cells"][0]["cell"] == "r1-c1-b2"


@pytest.mark.parametrize(
    ("arguments", "said", "rest"),
    [
        ("report {good} {torn}", "torn.json: not a results file", True),
        ("report {torn}", "torn.json: not a results file", False),
        ("report {good} --csv - --json -", "both standard output; write one", False),
        ("report {good} --csv {torn}/x", "cannot be written", False),
        ("best {good} --rate 0 --slo p99<1s", "--rate 0: not positive; use a number above 0", False),
        ("best {good} --rate 1 --slo p99<1", "--slo p99<1: p99 is measured in", False),
        ("best {good} --rate 1 --slo p99>1s", "--slo p99>1s: a lower p99 is better", False),
        ("report {good} --rate 1 --slo p99>1s", "--slo p99>1s: a lower p99 is better", False),
        ("best {good} {torn} --rate 1 --slo p99<100s", "torn.json: not a results file", True),
    ],
)
def test_bad_input_is_one_line_and_code_2(tmp_path, runner, arguments, said, rest):
    """And the rest is shown where there is any."""
    names = {"good": save(results(seconds=3), tmp_path), "torn": tmp_path / "torn.json"}
    names["torn"].write_text("{")
    done = runner.invoke(app, [word.format(**names) for word in arguments.split()])
    assert done.exit_code == 2
    (line,) = done.stderr.splitlines()
    assert line.startswith("loadgen: ")
    assert said in line
    assert ("r1-c1-b2" in done.stdout) == rest


@pytest.mark.parametrize(
    ("rate", "slo", "code", "certificate"),
    [
        ("50", "p99<100ms", 0, []),
        ("500", "p99<100ms", 8, []),
        ("50", "p99<100ms", 10, [INVALID]),
        ("50", "p99.9<100ms", 10, []),
    ],
    ids=["yes", "no", "invalid", "few"],
)
def test_best_says_by_its_code_whether_there_is_one(tmp_path, runner, rate, slo, code, certificate):
    """For scripts."""
    path = save(results(seconds=6, throughput_rps=100.0, latency_ms=10.0, certificate=certificate), tmp_path)
    done = runner.invoke(app, ["best", str(path), "--rate", rate, "--slo", slo])
    assert done.exit_code == code
    assert done.stdout.startswith(
        {0: "best        r1-c1-b2 (1 core, 0 GPUs)\n", 8: "best        none: 1 ", 10: "best        undecided"}[code]
    )


@pytest.mark.parametrize(
    ("spread", "text"),
    [(None, "-"), (Spread(5.0, 5.0, 5.0), "-"), (Spread(10.0, 9.0, 11.0), "10.0%"), (Spread(0.0, 0.0, 1.0), "-")],
    ids=["unknown", "one run", "several", "of nothing"],
)
def test_one_run_has_no_spread(spread, text):
    """A share of 0.0% would say that repeats agree."""
    assert half_width(spread) == text
