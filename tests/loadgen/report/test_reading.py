"""Files and directories → runs; what cannot be read is a line."""

import json
from dataclasses import asdict

import pytest
from sample_results import GOLDEN
from sample_searches import CAPACITY, make_capacity, make_comparison

from loadgen.errors import ConfigError
from loadgen.experiments.ledger import Entry
from loadgen.report.reading import Missing, UnfinishedSize, collect
from loadgen.results.files import save


def entry(cell, results=None, error=None, repeat=0, kind="cell"):
    return Entry(cell, 1, 1, 2, repeat, kind, results, error, None, None, None, "2026-11-23T10:00:00+00:00")


def make_sweep(directory, entries, tail=""):
    directory.mkdir(exist_ok=True)
    (directory / "sweep.json").write_text(json.dumps({"schema_version": 1, "settings": {}}))
    lines = [json.dumps(asdict(row)) + "\n" for row in entries]
    (directory / "ledger.jsonl").write_text("".join(lines) + tail)
    return directory


def test_files_and_directories(tmp_path):
    """A file that is named twice counts once."""
    first, second = save(GOLDEN, tmp_path), save(GOLDEN, tmp_path)
    cells = collect([tmp_path, first]).cells
    assert sorted(run.path for cell in cells for run in cell.runs) == sorted([first, second])
    assert len(cells) == 2  # they are no repeats of one sweep


def test_a_sweep_is_what_its_ledger_says(tmp_path):
    """Repeats, anchors, failures; neither a line nor a file of a measurement that was cut off."""
    first, second, anchor, _ = (save(GOLDEN, tmp_path).name for _ in range(4))
    entries = [
        entry("r1-c1-b2", first),
        entry("r1-c1-b2", second, repeat=1),
        entry("r9-c1-b2", error="replica-8 did not become ready"),
        entry("r1-c1-b2", anchor, kind="anchor"),
    ]
    sweep = make_sweep(tmp_path, entries, tail='{"cell": "r1-c1-b2", "repl')
    collection = collect([tmp_path / first, sweep])
    (cell,) = collection.cells
    assert [(run.path.name, run.repeat) for run in cell.runs] == [(first, 0), (second, 1)]
    assert [run.path.name for run in cell.anchors] == [anchor]
    assert collection.missing == (Missing("r9-c1-b2", "replica-8 did not become ready"),)
    assert collection.unreadable == ()


def test_what_cannot_be_read_is_a_line_each_and_the_rest_is_there(tmp_path):
    """With its name."""
    good = save(GOLDEN, tmp_path / "good")
    (tmp_path / "torn.json").write_text(good.read_text()[:1000])
    (tmp_path / "empty").mkdir()
    sweep = make_sweep(tmp_path / "sweep-1", [entry("r1-c1-b2", "gone.json")])
    paths = [tmp_path / "torn.json", tmp_path / "none.json", tmp_path / "empty", good, sweep, tmp_path]
    collection = collect(paths)
    assert len(collection.cells) == 1
    named = [tmp_path / "torn.json", tmp_path / "none.json", tmp_path / "empty", sweep / "gone.json"]
    for path, line in zip(named, collection.unreadable, strict=True):
        assert line.startswith(f"{path}: ")
        assert "\n" not in line


def test_a_directory_is_read_with_all_that_is_inside(tmp_path):
    """Sweeps, searches with their answers, comparisons and plain directories; neither logs nor hidden directories."""
    save(GOLDEN, tmp_path)
    for empty in ("other", "results-1.logs", ".hidden"):
        (tmp_path / empty).mkdir()
    sweep = make_sweep(tmp_path / "sweep-1", [entry("r1-c1-b2", save(GOLDEN, tmp_path / "sweep-1").name)])
    size = make_sweep(tmp_path / "size-1", [entry("r1-c1-b2", save(GOLDEN, tmp_path / "size-1").name)])
    answer = {"rate_rps": 5.0, "slo": ["p99<50ms"], "model": "noop", "state": "none", "best": None, "ended": "searched"}
    (size / "size.json").write_text(json.dumps(answer))
    capacity, compared = make_capacity(tmp_path / "capacity-1"), make_comparison(tmp_path / "compare-1")
    save(GOLDEN, tmp_path / "monday" / "morning")
    save(GOLDEN, tmp_path / ".hidden")
    found = collect([tmp_path])
    assert (len(found.cells), found.unreadable, found.left_out) == (7, (), ())
    assert {cell.sweep for cell in found.cells} == {None, sweep.resolve(), size.resolve()}
    assert len(found.own_cells) == 4  # neither the probe nor the rounds
    assert [(one.directory, one.objective, one.capacity.interval_rps) for one in found.capacities] == [
        (capacity, "p99<50ms", (100.0, 110.0))
    ]
    assert [(one.directory, one.state, one.objective) for one in found.sizes] == [(size, "none", "p99<50ms")]
    (rounds,) = found.comparisons
    assert (rounds.directory, rounds.left_out) == (compared, ("round 2, A: no replica",))
    assert [tuple(name[:2] for name in pair if name) for pair in rounds.rounds] == [("a/", "b/")]
    assert len(collect([tmp_path, *tmp_path.glob("[!.]*")]).cells) == len(found.cells)


def test_a_search_of_sizes_without_an_answer_has_its_question(tmp_path):
    """Which the header of its ledger holds; a damaged header has none."""
    size = make_sweep(tmp_path / "size-1", [entry("r1-c1-b2", save(GOLDEN, tmp_path / "size-1").name)])
    header = {"schema_version": 1, "settings": {"slo": ["p99<50ms", "failed<1%"]}, "model": "noop", "rate_rps": 5.0}
    header["command"] = ["loadgen", "size"]
    (size / "sweep.json").write_text(json.dumps(header))
    objective = "p99<50ms,failed<1%"
    assert collect([size]).unfinished == (UnfinishedSize(size, "noop", 5.0, objective, ("loadgen", "size")),)
    (size / "sweep.json").write_text(json.dumps({**header, "rate_rps": "many"}))
    assert collect([size]).unfinished == ()


def test_what_is_skipped_inside_a_directory_is_said(tmp_path):
    """Files of other names, sweeps that only began, and what is too deep; links are not followed."""
    save(GOLDEN, tmp_path)
    (tmp_path / "before.json").write_text("{}")
    make_sweep(tmp_path / "sweep-1", [])
    save(GOLDEN, tmp_path / "1" / "2" / "3" / "4" / "5")
    (tmp_path / "loop").symlink_to(tmp_path)
    (line,) = collect([tmp_path]).left_out
    assert line == (
        f"{tmp_path}: skipped {tmp_path}/before.json (its name is not results-*.json), "
        f"{tmp_path}/1/2/3/4/5 (more than 4 levels below), {tmp_path}/sweep-1 (no finished measurement)"
    )


@pytest.mark.parametrize("text", ["{", "[]", "{}", '{"model": 1}', json.dumps(CAPACITY).replace('"pass"', "{}")])
def test_an_answer_that_cannot_be_read_leaves_its_runs(tmp_path, text):
    """And is a line."""
    found = collect([make_capacity(tmp_path, text)])
    assert (len(found.own_cells), found.capacities) == (1, ())
    (line,) = found.unreadable
    assert line.startswith(f"{tmp_path / 'capacity.json'}: cannot be read: ")


def test_an_answer_of_sizes_that_cannot_be_read_leaves_its_runs(tmp_path):
    """And is a line."""
    size = make_sweep(tmp_path / "size-1", [entry("r1-c1-b1", save(GOLDEN, tmp_path / "size-1").name)])
    (size / "size.json").write_text("{}")
    found = collect([size])
    assert (len(found.cells), found.sizes) == (1, ())
    (line,) = found.unreadable
    assert line.startswith(f"{size / 'size.json'}: cannot be read: ")


def test_half_a_round_is_no_round(tmp_path):
    """What B measured counts only beside A, unless a baseline takes A's place."""
    directory = make_comparison(tmp_path)
    ledger = directory / "rounds.jsonl"
    a, b, *_ = ledger.read_text().splitlines(keepends=True)
    alone = b.replace('"round": 0', '"round": 1')
    failed = json.dumps({"round": 1, "side": "A", "seed": 1, "results": "a/x.json", "left_out": "interrupted"})
    for lines, rounds in (([a, b, alone], 1), ([a, b, alone, failed], 1), ([failed + "\n", alone], 0), ([b, alone], 2)):
        ledger.write_text("".join(lines))
        (found,) = collect([directory]).comparisons
        assert len(found.rounds) == rounds


def killed(tmp_path, **header):
    """The directory of a comparison that was killed in its second round."""
    directory = make_comparison(tmp_path / "compare-1")
    (directory / "comparison.json").unlink()
    asked = {"rounds": 6, "metrics": ["throughput"], "margin": 0.05, "baseline": [], **header}
    (directory / "compare.json").write_text(json.dumps(asked))
    return directory


def test_the_whole_rounds_of_a_killed_comparison_are_judged(tmp_path):
    """As those of an interrupted one; how far it is, is said."""
    directory = killed(tmp_path)
    ledger = directory / "rounds.jsonl"
    ledger.write_text(ledger.read_text() + '{"round": 1, "si')  # torn
    found = collect([directory])
    (one,) = found.comparisons
    assert one.unfinished == "1 of 6 rounds measured: it was killed, or still runs"
    assert (one.comparison.rounds, one.comparison.outcome) == (1, "undecided")
    assert (found.left_out, found.unreadable, found.own_cells) == ((), (), ())


@pytest.mark.parametrize(
    ("header", "said"),
    [
        ({}, "{0} (a comparison without a finished round)"),
        ({"baseline": ["x.json"], "allow_unpaired": True}, "{0} (an unfinished comparison with a baseline)"),
        ({"baseline": ["x.json"]}, None),
    ],
)
def test_a_comparison_without_an_answer_leaves_its_runs(tmp_path, header, said):
    """What it lacks is said; a description lacks nothing."""
    directory = killed(tmp_path, **header)
    ledger = directory / "rounds.jsonl"
    lines = ledger.read_text().splitlines(keepends=True)
    ledger.write_text("".join(line for line in lines if ('"B"' in line) == bool(header)))
    found = collect([directory])
    assert (len(found.own_cells), found.comparisons, found.unreadable) == (2, (), ())
    assert found.left_out == (() if said is None else (f"{directory}: skipped {said.format(directory)}",))


@pytest.mark.parametrize("header", [{"margin": 0}, {"margin": 1e9}, {"metrics": ["p12"]}, {"rounds": "six"}])
def test_a_killed_comparison_that_is_damaged(tmp_path, header):
    """Is a line, and its runs are read."""
    found = collect([killed(tmp_path, **header)])
    assert (len(found.own_cells), found.comparisons) == (2, ())
    (line,) = found.unreadable
    assert line.startswith(f"{tmp_path}/compare-1/compare.json: cannot be read: ")


@pytest.mark.parametrize("margin", [0, -1.0, 1e300])
def test_a_comparison_with_a_margin_that_is_none(tmp_path, margin):
    """A damaged file is a line."""
    path = make_comparison(tmp_path) / "comparison.json"
    document = json.loads(path.read_text())
    document["effects"][0]["margin"] = margin
    path.write_text(json.dumps(document))
    found = collect([tmp_path])
    assert (len(found.cells), found.comparisons) == (2, ())
    (line,) = found.unreadable
    assert line == f"{path}: cannot be read: a margin of {margin:g} of throughput"


def test_a_directory_without_results_says_what_is_in_it(tmp_path):
    """Where that may be what was meant."""
    (tmp_path / "before.json").write_text("{}")
    with pytest.raises(ConfigError, match=r"no results files \(results-\*.json\): .*before.json \(its name is not"):
        collect([tmp_path])


def test_logs_beside_results_are_passed_over(tmp_path):
    """All that a pattern such as results/* names can be reported; logs alone are nothing to report."""
    path = save(GOLDEN, tmp_path)
    logs = [path.with_suffix(".logs"), tmp_path / "logs"]
    for directory in logs:
        directory.mkdir()
    collection = collect(sorted(tmp_path.iterdir()))
    assert (len(collection.cells), collection.unreadable) == (1, ())
    with pytest.raises(ConfigError, match="name results files, or directories of them"):
        collect(logs)


def test_nothing_to_report_is_refused(tmp_path):
    """In one line."""
    with pytest.raises(ConfigError, match=r"none\.json: cannot be read"):
        collect([tmp_path / "none.json"])


@pytest.mark.parametrize("ledger", [True, False])
def test_a_sweep_without_a_measurement(tmp_path, ledger):
    """The error says what is missing, and how to go on; there is nothing to resume."""
    sweep = make_sweep(tmp_path, [])
    if not ledger:
        (sweep / "ledger.jsonl").unlink()
    with pytest.raises(ConfigError) as error:
        collect([sweep])
    remedy = "wait for it, or run its command again"
    assert str(error.value) == f"{sweep}: holds no finished measurement; {remedy}"


def test_a_sweep_of_failures_is_reported(tmp_path):
    """There is nothing to draw, and something to say."""
    collection = collect([make_sweep(tmp_path, [entry("r1-c1-b2", error="a port is in use")])])
    assert (collection.cells, len(collection.missing)) == ((), 1)
