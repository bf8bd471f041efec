"""``loadgen capacity`` as a user types it."""

import json
import signal

import pytest
from program import BRIEFLY, DEADLINE_S, noop, ran, searched, started


def document_in(tmp_path):
    (path,) = (tmp_path / "results").glob("capacity-*/capacity.json")
    return path.parent, json.loads(path.read_text())


@pytest.mark.serial
def test_a_search_with_few_probes(tmp_path):
    """It says that they were not enough; every probe is kept with its results."""
    load = ("--slo", "p99<10s,failed<0.1%", "-d", "1s", "--start", "700", "--probes", "2")
    done, directory, document = searched(tmp_path, lambda at: noop(at, "capacity", *load))
    assert done.returncode == 8, done.stderr
    assert done.stderr == "loadgen: no capacity was confirmed: 2 probes were not enough\n"
    probes = document["capacity"]["probes"]
    assert [(probe["step"], probe["rate_rps"]) for probe in probes] == [("bracket", 700.0), ("bracket", 1400.0)]
    assert [probe["outcome"] for probe in probes] == ["pass", "pass"]
    assert all(json.loads((directory / probe["results"]).read_text())["ended"] == "schedule" for probe in probes)
    assert document["capacity"]["rate_rps"] == 1400.0
    assert not document["capacity"]["confirmed"]
    assert document["slo"] == ["p99<10s", "failed<0.1%"]
    assert (directory / "logs" / "replica-0.log").exists()
    assert "capacity    not confirmed; 1,400 requests/s passed" in done.stdout


def test_a_hopeless_probe_is_cut_short(tmp_path):
    """Long before its time."""
    arguments = ("--slo", "p99<1ms", "-d", "60s", "--start", "100000", "--probes", "1", *BRIEFLY)
    done = ran(noop(tmp_path, "capacity", *arguments))
    assert done.returncode == 8, done.stderr
    directory, document = document_in(tmp_path)
    probes = document["capacity"]["probes"]
    (probe,) = probes
    assert (probe["rate_rps"], probe["outcome"]) == (100000, "fail")
    results = json.loads((directory / probe["results"]).read_text())
    assert results["ended"] == "cut_short"
    assert results["summary"]["measured"]["duration_s"] < 30


@pytest.mark.serial
def test_ctrl_c_keeps_the_probes(tmp_path):
    """Those that were finished, and says what is known."""
    process = started(
        noop(tmp_path, "capacity", *BRIEFLY, "--slo", "p99<10s", "-d", "1s", "--start", "500"),
        "bracket: 500 requests/s",
    )
    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=DEADLINE_S)
    _, document = document_in(tmp_path)
    assert process.returncode == 130
    assert "interrupted before there was an answer; the probes are in " in said
    assert said.rstrip().endswith("requests/s passed")
    assert [probe["outcome"] for probe in document["capacity"]["probes"]][:1] == ["pass"]
    assert document["capacity"]["ended"] == "under way"
