"""The results document: its schema, its version, and how it is saved."""

import errno
import json
import os
import re
import tempfile
import time
from dataclasses import replace
from functools import reduce
from pathlib import Path

import jsonschema
import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from frontend_launch.histogram import LatencyHistogram
from loadgen.errors import ConfigError, NotSavedError
from loadgen.judging.evidence import Evidence, of_client
from loadgen.judging.validity import certificate
from loadgen.judging.verdict import judge
from loadgen.load.record import ClientUse, Interval, Offered, Record
from loadgen.load.summary import summarise
from loadgen.load.target import Outcome
from loadgen.results.document import SCHEMA_PATH, client_metrics, histograms
from loadgen.results.files import make_directory, read, save
from loadgen.results.schema import schema_text

VERSION_1, VERSION_2 = (Path(__file__).parents[2] / "golden" / f"results-v{version}.json" for version in (1, 2))
GOLDEN = read(VERSION_2)
VALIDATOR = jsonschema.Draft202012Validator(json.loads(SCHEMA_PATH.read_text("utf-8")))


@pytest.fixture
def results():
    return read(VERSION_1)


def test_a_stored_file_of_version_1_is_read():
    """Whatever the present version is."""
    results = read(VERSION_1)
    assert results.model.name == "noop"
    assert results.summary.sent == results.summary.completed + results.summary.abandoned
    assert results.verdict.evidence.max_batch == 2
    histogram = LatencyHistogram.decode(results.histograms.latency)
    assert histogram.total == results.summary.measured.completed
    p99_ns = histogram.percentile_ns(99)
    assert p99_ns is not None
    assert p99_ns / 1e6 == pytest.approx(results.summary.latency_ms["p99"], rel=1e-3)


def test_a_stored_file_of_version_1_has_the_defaults_of_what_came_later():
    """And is otherwise what was stored."""
    stored = json.loads(VERSION_1.read_text())
    stored["schema_version"] = 2
    summary = ("planned", "offered_rps", "latency_above_ms", "service_ms", "lag_ms", "failed_batches", "lost")
    intervals = ("intervals_ms", "throughput_interval_rps", "shares", "bounds_ms")
    stored["summary"] |= dict.fromkeys((*summary, *intervals)) | {"upper_bounds": 0, "resent": 0, "reading_ms": 0.0}
    stored["summary"]["measured"]["steady_window_s"] = None
    stored["histograms"] |= {"service": None, "lag": None}
    defaults = msgspec.to_builtins(Evidence(max_batch=1, client_cpu_share=0.0, window=1, in_flight_mean=0.0))
    stored["verdict"]["evidence"] = defaults | stored["verdict"]["evidence"]
    for row in stored["placement"]:
        row |= {"numa_nodes": [], "shares_physical": False}
    stored["node_configs"][0]["runtime"] = "process"
    for row in (stored["frontend_counters"][part] for part in ("models", "replicas")):
        row.update({key: counters | {"failed_batches": 0} for key, counters in row.items()})
    del stored["frontend_counters"]["loop_cpu_ns"]  # no version since has it
    for replica in stored["frontend_counters"]["replicas"].values():
        replica |= {"oldest_batch_ns": 0, "full_batches": 0, "full_compute_ns": 0, "overdue": False, "aside": False}
        replica |= {"hung_times": 0, "failing_times": 0, "aside_ns": 0, "late_batches": 0, "role": ""}
    stored["frontend_counters"] |= {"default_reasons": {}, "refused": 0, "started_ns": 0}
    stored["environment"]["frequency_governors"] = {}
    stored["model"]["xla"] = False
    later = ("inputs", "arrivals", "answers", "hardware", "thresholds", "stages", "request_stages", "server_statistics")
    assert read(VERSION_1).document() == {
        **stored,
        **dict.fromkeys((*later, "server_metrics", "transport", "connections", "client_ceiling", "workers")),
        "failures": {},
        "addresses": {},
        "certificate": [],
        "tags": {},
    }


@pytest.mark.parametrize("golden", [VERSION_1, VERSION_2], ids=["version 1", "version 2"])
def test_what_is_written_keeps_the_schema_and_reads_as_it_was(golden, tmp_path):
    """Whatever version it was read from."""
    results = read(golden)
    path = save(results, tmp_path)
    VALIDATOR.validate(json.loads(path.read_text()))
    assert read(path) == results


def test_a_stored_file_of_version_2_is_what_is_written_now():
    """Member for member."""
    assert read(VERSION_2).document() == json.loads(VERSION_2.read_text())


def test_the_schema_is_the_one_that_the_classes_make():
    """``make schema`` writes it; it is a schema, and says of each member what that is."""
    assert SCHEMA_PATH.read_text("utf-8") == schema_text(), "run `make schema`"
    schema = json.loads(schema_text())
    jsonschema.Draft202012Validator.check_schema(schema)
    for component in (schema, *schema["$defs"].values()):
        assert component["required"] == list(component["properties"])
        assert component["additionalProperties"] is False
        for name, member in component["properties"].items():
            assert name == "schema_version" or (member["description"] and "\n" not in member["description"])


@pytest.mark.parametrize(
    "section", ["", "summary", "summary.measured", "verdict", "verdict.evidence", "histograms", "window", "hardware"]
)
def test_members_of_a_later_version_are_ignored(tmp_path, section):
    """Wherever they are; they change nothing of what is known."""
    document = json.loads(VERSION_2.read_text())
    reduce(dict.__getitem__, filter(None, section.split(".")), document)["of_a_later_version"] = {"any": ["thing"]}
    assert read(written(document, tmp_path)) == read(VERSION_2)


def test_endings_and_limits_of_a_later_version_are_read(tmp_path):
    """As they are."""
    document = json.loads(VERSION_2.read_text())
    document["ended"], document["verdict"]["limit"] = "flooded", "network"
    found = read(written(document, tmp_path))
    assert (found.ended, found.verdict.limit) == ("flooded", "network")


def test_texts_that_are_not_utf_8_survive(tmp_path):
    """Such as names of files on the command line."""
    odd = replace(GOLDEN, command=["loadgen", "--input", "\udcff.npy", "ü"])
    assert read(save(odd, tmp_path)) == odd


def test_numbers_that_json_does_not_have_are_read_as_unknown(tmp_path):
    """Files of version 1 have them in metrics of servers."""
    document = json.loads(VERSION_1.read_text())
    document["server_metrics"] = {"a": [0.0, float("nan")], "b": [float("-inf"), float("inf")]}
    assert read(written(document, tmp_path)).server_metrics == {"a": [0.0, None], "b": [None, None]}


def test_numbers_that_are_too_large_are_read_as_unknown(tmp_path):
    """As the infinity that Python makes of them, which no report could write."""
    path = tmp_path / "odd.json"
    path.write_text(VERSION_2.read_text().replace('"mean_batch": ', '"mean_batch": 1e999, "ignored": ', 1))
    assert read(path).verdict.evidence.mean_batch is None


@pytest.mark.parametrize("number", ["1e400", "-1e400", "NaN", "Infinity", "1e300"])
def test_a_number_that_no_measurement_comes_to_is_named(tmp_path, number):
    """Where there has to be one, and not as the null that it is read as."""
    path = tmp_path / "odd.json"
    text = VERSION_2.read_text()
    before = json.loads(text)["summary"]["throughput_rps"]
    path.write_text(text.replace(f'"throughput_rps": {before}', f'"throughput_rps": {number}', 1))
    with pytest.raises(
        ConfigError, match=r": summary\.throughput_rps is a number that no measurement comes to; name another$"
    ):
        read(path)


def written(document, directory):
    """A file with this document."""
    path = directory / "odd.json"
    path.write_text(json.dumps(document))
    return path


def changed(path, value):
    """A function that sets a member of a document."""

    def change(document):
        *sections, name = path.split(".")
        reduce(dict.__getitem__, sections, document)[name] = value
        return document

    return change


@pytest.mark.parametrize(
    ("change", "text"),
    [
        pytest.param(changed("schema_version", 3), "version 3 is above 2", id="a later version"),
        pytest.param(
            changed("schema_version", "2"), r"Expected `int`, got `str` - at `$.schema_version`", id="no version"
        ),
        pytest.param(lambda d: {"schema_version": 2}, "not a results file: Object missing", id="nothing in it"),
        pytest.param(lambda d: [], "not a results file: Expected `object`", id="something else"),
        pytest.param(changed("summary.sent", "many"), "Expected `int`, got `str` - at `$.summary.sent`", id="a text"),
        pytest.param(changed("summary.sent", -1), "Expected `int` >= 0 - at `$.summary.sent`", id="less than nothing"),
        pytest.param(changed("window.bytes", None), "got `null` - at `$.window.bytes`", id="null"),
        pytest.param(
            changed("verdict.evidence.busy_share", []),
            "got `array` - at `$.verdict.evidence.busy_share`",
            id="an array",
        ),
        pytest.param(
            changed("placement", [{"node": "a"}]), "missing required field `role` - at `$.placement[0]`", id="a row"
        ),
    ],
)
def test_what_cannot_be_read_is_one_line(tmp_path, change, text):
    """With the file's name, and the path of what is wrong in it."""
    path = written(change(json.loads(VERSION_2.read_text())), tmp_path)
    with pytest.raises(ConfigError, match=re.escape(text)) as refusal:
        read(path)
    assert str(path) in str(refusal.value)
    assert "\n" not in str(refusal.value)


@pytest.mark.parametrize(
    ("members", "kind"),
    [
        (("schema_version", "command", "model", "cells", "settings"), "the plan of a sweep"),
        (("schema_version", "rounds", "metrics", "margin", "baseline"), "the plan of a comparison"),
        (("outcome", "effects", "rounds", "margin"), "the outcome of a comparison"),
        (("command", "model", "slo", "tolerance", "capacity"), "the answer of a search"),
        (("schema_version", "slo", "model", "state", "best", "sizes"), "the answer of a search for a size"),
        (("answers", "cells", "missing", "left_out"), "a report"),
    ],
)
def test_another_document_is_named(tmp_path, members, kind):
    """That loadgen writes too; what is wrong with its members would say nothing."""
    path = tmp_path / "other.json"
    path.write_text(json.dumps(dict.fromkeys(members, 1)))
    with pytest.raises(ConfigError) as refusal:
        read(path)
    remedy = "name a results file (results-*.json) of its runs"
    assert str(refusal.value) == f"{path}: not a results file: it is {kind}; {remedy}"


@pytest.mark.parametrize("content", [b"", b'{"schema_version": 2, "comm', b"\xff\xfe", b"[" * 100_000])
def test_a_file_that_is_cut_off_or_no_json_is_one_line(tmp_path, content):
    """Likewise."""
    path = tmp_path / "cut.json"
    path.write_bytes(content)
    with pytest.raises(ConfigError, match=r"not a results file|cannot be read: it is UTF-16"):
        read(path)


LATENCIES = st.lists(st.integers(1, 10**13), max_size=5)
COUNTS = st.integers(0, 2**40)


def filled(latencies_ns):
    """A histogram of these."""
    histogram = LatencyHistogram()
    histogram.record(np.array(latencies_ns, dtype=np.int64))
    return histogram


@st.composite
def records(draw):
    """Runs of any kind, those in which nothing was measured or answered among them."""
    record = Record(
        sent=draw(COUNTS),
        measured_ns=draw(st.sampled_from((0, 1, 10**9, 10**15))),
        measured_sent=draw(COUNTS),
        latency=filled(draw(LATENCIES)),
        left_behind=draw(st.none() | COUNTS),
        clients=[ClientUse(draw(COUNTS), draw(COUNTS))],
        unanswered=draw(COUNTS),
        timed_out=draw(COUNTS),
        intervals=[
            Interval.of(filled(each), 1.0, draw(st.floats(1e-9, 1e9)), 1.0)
            for each in draw(st.lists(LATENCIES, max_size=3))
        ],
    )
    record.outcomes |= {outcome: draw(COUNTS) for outcome in Outcome}
    if draw(st.booleans()):
        service, lag = filled(draw(LATENCIES)), filled(draw(LATENCIES))
        answered = record.latency.total
        record.offered = Offered(answered + draw(COUNTS), answered, draw(COUNTS), service, lag)
    return record


@given(records(), st.dictionaries(st.text(), st.lists(st.floats(), min_size=2, max_size=2), max_size=3))
def test_whatever_happened_is_json_that_keeps_the_schema(record, server_metrics):
    """JSON has neither NaN nor infinity: a number that is either is null where it may be, and nowhere else."""
    evidence = of_client(record, 2, 10)
    made = replace(
        GOLDEN,
        summary=summarise(record, 0.5),
        histograms=histograms(record),
        client_metrics=client_metrics(record),
        verdict=judge(evidence, certificate(evidence)),
        certificate=certificate(evidence),
        server_metrics=server_metrics,
    )
    document = made.document()
    VALIDATOR.validate(document)
    assert json.loads(json.dumps(document, allow_nan=False)) == document


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


def test_a_directory_that_cannot_be_made_is_one_line(tmp_path):
    """It names the option, before anything is measured."""
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigError, match=r"^results_dir .*: not writable: Not a directory; name another"):
        make_directory(tmp_path / "file" / "below")


def test_a_directory_without_room_is_one_line(tmp_path, monkeypatch):
    """Found before anything is measured; nothing is left there."""

    def full(*_):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    make_directory(tmp_path)
    monkeypatch.setattr(os, "posix_fallocate", full)
    with pytest.raises(ConfigError, match=r"^results_dir .*: not writable: No space left on device; name"):
        make_directory(tmp_path)
    assert not list(tmp_path.iterdir())


def test_results_that_can_be_saved_nowhere(results, tmp_path, monkeypatch):
    """The error says what was tried."""
    (tmp_path / "file").write_text("")
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "file" / "none"))
    with pytest.raises(
        NotSavedError, match=r"below: results cannot be saved there \(Not a directory\), nor to .* \(Not a directory\)"
    ):
        save(results, tmp_path / "file" / "below")


def test_what_was_measured_is_saved_elsewhere_where_its_directory_is_gone(results, tmp_path, monkeypatch, caplog):
    """Such as on a disk that is full by now."""
    (tmp_path / "file").write_text("")
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "other"))
    path = save(results, tmp_path / "file" / "below")
    assert path.parent == tmp_path / "other"
    assert read(path).summary == results.summary
    assert f"they are in {path}" in caplog.text


def test_a_link_in_a_directory_of_everybody_s_is_not_followed(results, tmp_path, monkeypatch):
    """Somebody else guessed the second and the process."""
    monkeypatch.setattr(time, "strftime", lambda _: "results-171001_001313")
    other, directory = tmp_path / "other", tmp_path / "everybody"
    other.write_text("kept")
    directory.mkdir()
    (directory / f".results-171001_001313.{os.getpid()}.tmp").symlink_to(other)
    assert read(save(results, directory)).summary == results.summary
    assert other.read_text() == "kept"


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
