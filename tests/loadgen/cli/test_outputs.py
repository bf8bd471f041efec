"""The files that verbs write beside what they print."""

import csv
import json
import logging
import xml.etree.ElementTree as ET
from dataclasses import replace
from pathlib import Path

import pytest
from program import LOADGEN, asked

from loadgen.cli import capacity, console, measuring
from loadgen.cli.outputs import FORMATS
from loadgen.cli.verbs import verb
from loadgen.experiments.capacity import FoundCapacity
from loadgen.experiments.search import Capacity
from loadgen.report import junit
from loadgen.results import files
from loadgen.results.sections import Threshold

GOLDEN = Path(__file__).parents[2] / "golden" / "results-v2.json"
MEASURING = ("saturate", "rate", "sweep", "capacity", "size", "compare")


@pytest.fixture
def logs():
    """How logging was set up."""
    return []


@pytest.fixture
def measured(monkeypatch, tmp_path, logs):
    """Runs `saturate`, which finds these results."""
    directory = tmp_path / "results"
    monkeypatch.chdir(tmp_path)

    def act(*words, **members):
        async def run_experiment(_):
            return replace(files.read(GOLDEN), **{"path": directory / "results.json", "thresholds": None, **members})

        monkeypatch.setattr(measuring, "run_experiment", run_experiment)
        monkeypatch.setattr(console, "set_up_logging", lambda *how: logs.append(how))
        return asked([LOADGEN, "saturate", "-m", "noop", "-d", "1", "--results-dir", str(directory), *words])

    return act


@pytest.mark.parametrize("name", MEASURING)
def test_each_verb_that_measures_has_the_same_options(name):
    """Under the same names."""
    flags = [flag for option in verb(name).params for flag in option.opts]
    assert {"--json", "--output", "-o", "--quiet", "-q"} <= set(flags)


def test_a_run_in_each_format(measured, tmp_path):
    """The document, the tables of `report`, its page, and verdicts."""
    words = [word for form in FORMATS for word in ("-o", f"run.{form}")]
    done = measured(*words, "--json", "again.json")
    assert done.stderr == ""
    assert "Saved results to" in done.stdout
    document = json.loads(Path("run.json").read_text())
    assert document == json.loads(GOLDEN.read_text()) | {"thresholds": None}
    assert Path("again.json").read_text() == Path("run.json").read_text()
    (row,) = csv.DictReader(Path("run.csv").read_text().splitlines())
    assert float(row["throughput_rps"]) == pytest.approx(document["summary"]["throughput_rps"])
    table = Path("run.md").read_text().splitlines()
    assert table[0].startswith("| cell | cores | gpus | batch |")
    assert len(table) >= 3
    assert Path("run.html").read_text().startswith("<!doctype html>")
    assert ET.fromstring(Path("run.xml").read_text()).get("name") == "loadgen"


def test_the_answer_on_standard_output_is_alone(measured):
    """Whatever reads it gets nothing else."""
    done = measured("--json", "-")
    assert json.loads(done.stdout)["schema_version"] == 2


PLANNED = {
    **{"saturate": ["-m", "noop"], "rate": ["-m", "noop", "--rate", "5"], "sweep": ["-m", "noop"]},
    **{"capacity": ["-m", "noop", "--slo", "p99<1s"], "size": ["-m", "noop", "--rate", "5", "--slo", "p99<1s"]},
    "compare": ["--run", "side.toml", "--run", "side.toml"],
}


@pytest.mark.parametrize("name", MEASURING)
def test_a_dry_run_has_nothing_for_standard_output(name, tmp_path, monkeypatch):
    """Where something that reads JSON would get the plan."""
    monkeypatch.chdir(tmp_path)
    Path("side.toml").write_text('model = "noop"')
    named = ["--json", *(["--markdown"] if name == "compare" else [])]
    for option in named:
        done = asked([LOADGEN, name, *PLANNED[name], "--dry-run", option, "-"])
        problem = f"{option} -: a dry run prints a plan and has no results; leave out {option} or --dry-run"
        assert (done.returncode, done.stdout, done.stderr) == (2, "", f"loadgen: {problem}\n")


def test_a_dry_run_writes_no_file(tmp_path, monkeypatch):
    """It plans the whole command, with its outputs."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(measuring, "show_plan", lambda *_: None)
    assert asked([LOADGEN, "saturate", "-m", "noop", "--dry-run", "-o", "run.json"]).returncode == 0
    assert not list(tmp_path.iterdir())


def test_quiet(measured, logs):
    """Prints errors only, and logs warnings."""
    assert measured("--quiet").stdout == ""
    measured("--json", "-")
    measured()
    assert [how[1:] for how in logs] == [(logging.WARNING,), (), ()]
    assert list(map(len, logs)) == [2, 1, 0]


@pytest.mark.parametrize(
    ("words", "text"),
    [
        (
            ["-o", "run.txt"],
            "--output run.txt: the format is unknown; end it in .json, .csv, .md, .html or .xml",
        ),
        (["-o", "run"], "--output run: the format is unknown; end it in .json, .csv, .md, .html or .xml"),
        (["-o", "-"], "--output -: standard output has no ending; use --json -"),
        (
            ["-o", "/nowhere/x.md"],
            "--output /nowhere/x.md: cannot be written: No such file or directory; name another file",
        ),
        (
            ["-o", "a.json", "--json", "./a.json"],
            "--json ./a.json and --output a.json: the same file; write one of them to another file",
        ),
    ],
)
def test_files_that_cannot_be_written(measured, words, text):
    """Are refused before anything is measured."""
    done = measured(*words)
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (2, "", 1)
    assert done.stderr.startswith(f"loadgen: {text}")


def test_a_file_that_cannot_be_written_in_the_end(measured):
    """Costs nothing of what was measured: the results are named, and the code says it."""
    Path("full.json").symlink_to("/dev/full")
    done = measured("-o", "full.json")
    assert done.returncode == 11
    assert "Saved results to" in done.stdout
    assert done.stderr == "loadgen: --output full.json: cannot be written: No space left on device; name another file\n"


def test_verdicts_of_a_run(measured):
    """Conditions and checks, by how they ended."""
    thresholds = [Threshold("p99>1s", "2 s", True), Threshold("p50>1s", "0 s", False), Threshold("failed>0", "?", None)]
    measured("-o", "run.xml", thresholds=thresholds)
    suite = ET.fromstring(Path("run.xml").read_text())
    cases = {case.get("name"): [each.tag for each in case] for case in suite}
    assert cases["not p99>1s"] == ["failure"]
    assert cases["not p50>1s"] == ["system-out"]
    assert cases["not failed>0"] == ["error"]
    assert cases["ended as asked"] == ["system-out"]
    assert suite.get("tests") == str(len(cases))
    assert (suite.get("failures"), suite.get("errors")) == ("1", "1")


@pytest.mark.parametrize(("outcome", "kind"), [(True, "passed"), (False, "failure"), (None, "error")])
def test_decisions(outcome, kind):
    """What holds passes, what is undecided is an error."""
    assert junit.decided(outcome) == kind


def test_a_search(monkeypatch, tmp_path):
    """Its answer as JSON and as one test."""

    async def find_capacity(_):
        return FoundCapacity(Capacity(412.0, 430.0, True, "confirmed", ()), 1.0, tmp_path)

    monkeypatch.setattr(capacity, "find_capacity", find_capacity)
    monkeypatch.setattr(console, "set_up_logging", lambda *_: None)
    path = tmp_path / "verdict.xml"
    done = asked([LOADGEN, "capacity", "-m", "noop", "--slo", "p99<1s", "--json", "-", "-o", str(path)])
    assert json.loads(done.stdout)["state"] == "found"
    (case,) = ET.fromstring(path.read_text())
    assert (case.get("name"), case[0].text) == ("capacity with p99<1s", "412 requests/s")
