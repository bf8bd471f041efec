"""The results document: its schema, its version, and how it is saved."""

import json
import time
from dataclasses import replace
from functools import reduce
from pathlib import Path

import jsonschema
import pytest

from frontend_launch.histogram import LatencyHistogram
from loadgen.errors import ConfigError
from loadgen.load.record import Offered, Record
from loadgen.load.summary import summarise
from loadgen.load.target import Outcome
from loadgen.results.document import SCHEMA_PATH
from loadgen.results.files import read, save

VERSION_1 = Path(__file__).parents[2] / "golden" / "results-v1.json"


@pytest.fixture
def results():
    return read(VERSION_1)


def test_a_stored_file_of_version_1_is_read():
    """Whatever the present version is."""
    results = read(VERSION_1)
    assert results.model["name"] == "noop"
    assert results.summary.sent == results.summary.completed + results.summary.abandoned
    assert results.verdict.evidence.max_batch == 2
    histogram = LatencyHistogram.decode(results.histograms.latency)
    assert histogram.total == results.summary.measured.completed
    p99_ns = histogram.percentile_ns(99)
    assert p99_ns is not None
    assert p99_ns / 1e6 == pytest.approx(results.summary.latency_ms["p99"], rel=1e-3)


def test_the_stored_file_and_what_is_written_now_keep_the_schema(results, tmp_path):
    """And are the same document."""
    schema = json.loads(SCHEMA_PATH.read_text())
    written = json.loads(save(results, tmp_path).read_text())
    stored = json.loads(VERSION_1.read_text())
    jsonschema.validate(stored, schema)
    jsonschema.validate(written, schema)
    later = {"planned": None, "offered_rps": None, "latency_above_ms": None, "service_ms": None, "lag_ms": None}
    stored["summary"] |= later
    stored["histograms"] |= {"service": None, "lag": None}
    stored["verdict"]["evidence"] |= {"offered_rps": None, "throughput_rps": None, "lag_p99_ms": None, "clients": 1}
    stored["verdict"]["evidence"] |= {"answered_share": None, "rows": 1, "queued_mean": None}
    stored["verdict"]["evidence"] |= {"sent": None, "gap_ms": None}
    assert written == {
        "server_statistics": None,
        "server_metrics": None,
        "failures": {},
        "transport": None,
        "connections": None,
        "inputs": None,
        "arrivals": None,
        "answers": None,
        "hardware": None,
        "thresholds": None,
        "stages": None,
        **stored,
    }


@pytest.mark.parametrize(
    "section",
    ["", "summary", "summary.measured", "verdict", "verdict.evidence", "histograms", "client_metrics", "window"],
)
def test_members_of_a_later_version_are_ignored(tmp_path, section):
    """Wherever they are; they change nothing of what is known."""
    document = json.loads(VERSION_1.read_text())
    reduce(dict.__getitem__, filter(None, section.split(".")), document)["of_a_later_version"] = {"any": ["thing"]}
    path = tmp_path / "results.json"
    path.write_text(json.dumps(document))
    found, known = read(path), read(VERSION_1)
    if section == "window":  # a mapping is kept as it is
        known = replace(known, window={**known.window, "of_a_later_version": {"any": ["thing"]}})
    assert found == known


@pytest.mark.parametrize(
    ("change", "text"),
    [
        pytest.param(lambda d: d | {"schema_version": 2}, "is of version 2", id="a later version"),
        pytest.param(lambda d: {"schema_version": 1}, "is not a results file", id="nothing in it"),
        pytest.param(lambda d: [], "is not a results file", id="something else"),
    ],
)
def test_what_cannot_be_read_is_one_line(tmp_path, change, text):
    """With the file's name."""
    path = tmp_path / "odd.json"
    path.write_text(json.dumps(change(json.loads(VERSION_1.read_text()))))
    with pytest.raises(ConfigError, match=text) as refusal:
        read(path)
    assert str(path) in str(refusal.value)


def test_a_missing_file_is_one_line(tmp_path):
    """Likewise."""
    with pytest.raises(ConfigError, match="cannot be read"):
        read(tmp_path / "none.json")


def test_saving_never_overwrites_and_leaves_no_draft(results, tmp_path, monkeypatch):
    """Within one second too."""
    monkeypatch.setattr(time, "strftime", lambda _: "results-171001_001313")
    paths = [save(results, tmp_path / "new").name for _ in range(3)]
    assert paths == ["results-171001_001313.json", "results-171001_001313-2.json", "results-171001_001313-3.json"]
    assert len(list((tmp_path / "new").iterdir())) == 3


def test_a_file_system_without_links_does_too(results, tmp_path, monkeypatch):
    """Two results of one second, and no draft left."""

    def refused(*_):
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(Path, "hardlink_to", refused)
    first, second = save(results, tmp_path), save(results, tmp_path)
    assert sorted(tmp_path.iterdir()) == sorted({first, second})
    assert read(first).summary == read(second).summary == results.summary


def test_a_directory_that_cannot_be_made_is_one_line(results, tmp_path):
    """It names the option."""
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigError, match="--results-dir"):
        save(results, tmp_path / "file" / "below")


def test_a_path_is_no_part_of_the_document(results):
    """It says where the document is."""
    assert "path" not in replace(results, path=Path("/x")).document()


def test_a_summary_without_answers_has_no_latencies():
    """Null, not zero."""
    record = Record(sent=3, measured_ns=10**9)
    record.outcomes[Outcome.ABANDONED] = 3
    summary = summarise(record)
    assert set(summary.latency_ms.values()) == {None}
    assert (summary.throughput_rps, summary.abandoned) == (0.0, 3)


def test_where_nothing_was_answered_in_time_the_timeout_is_a_lower_bound():
    """Of each percentile; but not where some failed at once."""
    record = Record(sent=10, measured_ns=10**9, offered=Offered(planned=10))
    record.outcomes[Outcome.TIMED_OUT] = 10
    above_ms = summarise(record, 0.5).latency_above_ms
    assert above_ms is not None
    assert above_ms["p50"] == 500
    record.outcomes[Outcome.TIMED_OUT], record.outcomes[Outcome.FAILED] = 9, 1
    assert summarise(record, 0.5).latency_above_ms == {}
