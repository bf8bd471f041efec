"""Results files and sweeps that are damaged: one line each, and never a traceback."""

import json
import os
import random
from pathlib import Path

import pytest
from damaged_results import damaged
from program import LOADGEN, asked

from loadgen.cli import exit_codes
from loadgen.errors import ConfigError
from loadgen.report.timeline import throughput_and_p99
from loadgen.results.files import read

GOLDEN = [Path(__file__).parents[2] / "golden" / f"results-v{version}.json" for version in (1, 2)]
DOCUMENTS = [json.loads(path.read_text()) for path in GOLDEN]
CODES = (exit_codes.OK, exit_codes.CONFIG, exit_codes.THRESHOLD, exit_codes.UNDECIDED)


@pytest.fixture
def complaint(tmp_path):
    """Reads a file in each way, beside a good one; says how that went wrong, or None."""
    path, good = tmp_path / "results-1.json", tmp_path / "results-2.json"
    good.write_text(GOLDEN[1].read_text())
    out = [str(tmp_path / f"report.{kind}") for kind in ("html", "csv", "json")]
    ways = (
        ["report", str(path), str(good), "--html", out[0], "--csv", out[1], "--json", out[2]],
        ["best", str(path), "--rate", "5", "--slo", "p99<10s"],
        ["compare", str(path), str(good)],
    )

    def check(text, number):
        path.write_text(text)
        for words in ways if number % 4 == 0 else ways[:1]:
            try:
                done = asked([LOADGEN, *words])
            except Exception as error:
                return f"{words[0]}: {error!r}"
            if done.returncode not in CODES or done.stderr.count("\n") != (done.returncode == exit_codes.CONFIG):
                return f"{words[0]}: {done.returncode}, {done.stderr}"
        return None

    return check


@pytest.mark.parametrize("number", range(2))
def test_one_or_two_values_changed(number, complaint):
    """A few dozen of each file; `tests/evidence` has thousands."""
    generator = random.Random(number)
    texts = [json.dumps(damaged(DOCUMENTS[number], generator)) for _ in range(24)]
    assert [found for at, text in enumerate(texts) if (found := complaint(text, at)) is not None] == []


def changed(member, value):
    document = json.loads(GOLDEN[1].read_text())
    holder = document
    *path, last = member.split(".")
    for name in path:
        holder = holder[name]
    holder[last] = value
    return document


@pytest.mark.parametrize(
    ("member", "value", "reason"),
    [
        ("summary.throughput_rps", 1e308, "summary.throughput_rps is a number that no measurement comes to"),
        ("summary.throughput_rps", 1e400, "summary.throughput_rps is a number that no measurement comes to"),
        ("window.requests", 10**400, "window.requests is a number that no measurement comes to"),
        ("histograms.latency", "HISTF", "a histogram is damaged"),
        ("histograms.latency", "é", "a histogram is damaged"),
        ("histograms.latency", "", "a histogram is damaged"),
    ],
)
def test_values_that_no_run_writes(tmp_path, member, value, reason):
    """They are named; readers need not expect them."""
    path = tmp_path / "results.json"
    path.write_text(json.dumps(changed(member, value)).replace("Infinity", "1e400"))
    with pytest.raises(ConfigError) as caught:
        read(path)
    assert str(caught.value).startswith(f"{path}: not a results file: {reason}")


def test_figures_of_another_servers_metrics_may_be_any(tmp_path):
    """They are its own."""
    path = tmp_path / "results.json"
    path.write_text(json.dumps(changed("server_metrics", {"x": [0.0, 1e308]})))
    assert read(path).server_metrics == {"x": [0.0, 1e308]}


def test_a_damaged_histogram_of_an_interval(tmp_path):
    """The page knows the length of intervals by it, and can do without."""
    path = tmp_path / "results.json"
    document = changed("histograms.intervals", ["damaged", None, None])
    path.write_text(json.dumps(document))
    throughput_and_p99(read(path))


HEADER = json.dumps({"schema_version": 1, "settings": {}})


@pytest.mark.parametrize(
    ("header", "ledger", "reason"),
    [
        ("[]", "", "not the directory of a sweep: "),
        ("[" * 100_000, "", "not the directory of a sweep: "),
        ('{"schema_version": "1"}', "", "not the directory of a sweep: "),
        (HEADER, "\xff\n[1]\n" + "[" * 100_000, "holds no finished measurement"),
        (HEADER, None, "ledger.jsonl: cannot be read: Is a directory"),
        (None, "", "not the directory of a sweep: "),
    ],
)
def test_a_damaged_sweep(tmp_path, header, ledger, reason):
    """Its header, or its ledger."""
    for name, text in (("sweep.json", header), ("ledger.jsonl", ledger)):
        if text is None:
            (tmp_path / name).mkdir()
        else:
            (tmp_path / name).write_text(text, "latin-1")
    done = asked([LOADGEN, "report", str(tmp_path)])
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (2, "", 1)
    assert reason in done.stderr


def test_what_is_no_file_of_results(tmp_path):
    """A device without an end, a pipe without a writer, and a file that is too large are not read for ever."""
    os.mkfifo(tmp_path / "pipe")
    with (tmp_path / "large.json").open("wb") as file:
        file.truncate(1 << 40)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("loadgen.files.PATIENCE_S", 0.01)
        patch.setattr("loadgen.results.files.MAX_BYTES", 1 << 20)
        for name in ("/dev/full", tmp_path / "large.json", tmp_path / "pipe"):
            done = asked([LOADGEN, "report", str(name)])
            assert (done.returncode, done.stdout, done.stderr.count("\n")) == (2, "", 1)
            assert f"{name}: cannot be read: " in done.stderr
