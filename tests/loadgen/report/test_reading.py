"""Files and directories → runs; what cannot be read is a line."""

import json
from dataclasses import asdict

import pytest
from sample_results import GOLDEN

from loadgen.errors import ConfigError
from loadgen.experiments.ledger import Entry
from loadgen.report.reading import Missing, collect
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
    named = [tmp_path / "torn.json", tmp_path / "none.json", tmp_path / "empty", sweep / "gone.json", tmp_path]
    for path, line in zip(named, collection.unreadable, strict=True):
        assert line.startswith(f"{path} ")
        assert "\n" not in line
    assert f"name a sweep in it, such as {sweep}" in collection.unreadable[-1]


def test_what_a_directory_of_results_has_inside_is_said(tmp_path):
    """Sweeps, searches and other directories of results, unless they are named too; neither logs nor anything else."""
    save(GOLDEN, tmp_path)
    for empty in ("other", "results-1.logs"):
        (tmp_path / empty).mkdir()
    assert collect([tmp_path]).left_out == ()
    first = make_sweep(tmp_path / "sweep-1", [entry("r1-c1-b2", save(GOLDEN, tmp_path / "sweep-1").name)])
    second = make_sweep(tmp_path / "sweep-2", [entry("r1-c1-b2", save(GOLDEN, tmp_path / "sweep-2").name)])
    search = tmp_path / "capacity-1"
    save(GOLDEN, search)
    (search / "capacity.json").write_text("{}")
    assert collect([tmp_path]).left_out == (
        f"{tmp_path}: 2 sweeps and 1 search in it left out: name what you want, such as {second}",
    )
    assert collect([tmp_path, search, first]).left_out == (
        f"{tmp_path}: 1 sweep in it left out: name what you want, such as {second}",
    )
    assert collect([tmp_path, *tmp_path.iterdir()]).left_out == ()
    save(GOLDEN, tmp_path / "ours")
    assert "and 1 directory of results in it" in collect([tmp_path]).left_out[0]
    assert collect([second, search]).left_out == ()


def test_a_directory_of_searches_only_names_one(tmp_path):
    """As one of sweeps only does."""
    save(GOLDEN, tmp_path / "capacity-1")
    with pytest.raises(ConfigError, match=f"name a directory in it, such as {tmp_path / 'capacity-1'}"):
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
    with pytest.raises(ConfigError, match=r"none\.json cannot be read"):
        collect([tmp_path / "none.json"])


@pytest.mark.parametrize("ledger", [True, False])
def test_a_sweep_without_a_measurement(tmp_path, ledger):
    """It is said what is missing, and how to go on."""
    sweep = make_sweep(tmp_path, [])
    if not ledger:
        (sweep / "ledger.jsonl").unlink()
    with pytest.raises(ConfigError) as error:
        collect([sweep])
    remedy = "wait for it, or run its command again with resume"
    assert str(error.value) == f"{sweep} holds a sweep without a finished measurement: {remedy}"


def test_a_sweep_of_failures_is_reported(tmp_path):
    """There is nothing to draw, and something to say."""
    collection = collect([make_sweep(tmp_path, [entry("r1-c1-b2", error="a port is in use")])])
    assert (collection.cells, len(collection.missing)) == ((), 1)
