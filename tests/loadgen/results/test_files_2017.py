"""Results files of the 2017 driver → results: what follows from them, and nothing else."""

import json
import os

import pytest
from sample_results import GOLDEN

from loadgen.errors import ConfigError
from loadgen.report.page import page_data
from loadgen.report.reading import collect
from loadgen.report.tables import csv_text, json_text, remarks, terminal_table
from loadgen.results.files import logs_beside, read, save

NODE = {
    "name": "vgg",
    "input_type": "floats",
    "model_image": "model-comp/vgg-feats",
    "allocated_cpus": [20, 21, 22, 23, 24, 25, 26],
    "cpus_per_replica": 2,
    "slo": 500000,
    "num_replicas": 3,
    "gpus": [1],
    "batch_size": 2,
    "use_nvidia_docker": True,
}
SERIES = {"thrus": [5.0, 20.0], "p99_lats": [8.5, 11.5], "mean_lats": [7.0, 10.0]}
METRICS = {
    "histograms": [
        {"model:vgg:1:prediction_latency": {"mean": "143376.261", "size": "363", "unit": "microseconds"}},
        {"model:vgg:1:batch_size": {"mean": "1.9972451790633608883", "size": "363", "unit": "queries"}},
    ],
    "ratio_counters": [{"app:vgg:default_prediction_ratio": {"ratio": "0.25"}}],
}


def written(tmp_path, name="results-171001_001313.json", **members):
    path = tmp_path / name
    document = {"node_configs": [NODE], "client_metrics": SERIES, "clipper_metrics": METRICS}
    path.write_text(json.dumps(document | members))
    return path


def test_what_follows_from_a_file(tmp_path):
    """100 answers in 10 and 2.5 s; the mean of all is that of windows of one size; the time is when the first began."""
    results = read(written(tmp_path))
    assert results.summary.completed == 100
    assert results.summary.throughput_rps == pytest.approx(100 / 12.5)
    assert results.summary.latency_ms == {"mean": 8500.0}
    assert results.started_at == "2017-10-01T00:13:00"
    assert results.verdict.evidence.mean_batch == pytest.approx(1.9972451790633608883)
    assert results.error is None
    assert "25.0% of the answers were the default output" in results.notes[-1]


def test_it_stands_beside_a_new_one(tmp_path):
    """In table, CSV, JSON and page; each replica had cores of its own, and the first ones the GPUs."""
    written(tmp_path)
    save(GOLDEN, tmp_path)
    collection = collect([tmp_path])
    assert collection.unreadable == ()
    (cell,) = (one for one in collection.cells if one.configuration.model == "vgg")
    c = cell.configuration
    assert (c.name, c.cores, c.gpus, c.machine) == ("r3-c2-g1-b2", 6, 1, "unknown machine, in containers")
    assert remarks([cell]) == [f"{cell.name}: of 2017, with a p99 of every 50 answers and no percentiles of all"]
    assert terminal_table(collection)
    assert "unknown machine" in csv_text(collection)
    assert "r3-c2-g1-b2" in json_text(collection)
    run = next(run for run in page_data(collection)["runs"] if run["model"]["name"] == "vgg")
    assert run["curves"]["throughput"] == {"at": [10.0, 12.5], "lines": {"throughput": [5.0, 20.0]}}
    assert run["curves"]["p99"]["lines"] == {"p99": [8500.0, 11500.0]}
    assert run["spectrum"] is None


def test_several_clients_add_up(tmp_path):
    """From 2017-10-10 on a file has a list of them."""
    other = {"thrus": [50.0], "p99_lats": [1.0], "mean_lats": [4.0]}
    results = read(written(tmp_path, client_metrics=[SERIES, other], clipper_metrics=None))
    assert results.summary.throughput_rps == pytest.approx(8 + 50)
    assert results.summary.latency_ms == {"mean": 7000.0}
    assert (results.summary.measured.duration_s, results.verdict.evidence.clients) == (12.5, 2)
    assert results.client_metrics.thrus == []


def test_a_file_without_answers(tmp_path):
    """Whatever came were default outputs; the time of one with another name is that of the file."""
    path = written(tmp_path, "mine.json", client_metrics={"thrus": [], "p99_lats": [], "mean_lats": []})
    os.utime(path, (0, 1_500_000_000))
    results = read(path)
    assert results.error == "fewer than 50 requests were answered by a model"
    assert results.summary.throughput_rps == 0.0
    assert results.started_at.startswith("2017-07-1")
    assert collect([path]).cells[0].throughput_rps.median == 0.0


@pytest.mark.parametrize(
    "members",
    [
        {"node_configs": []},
        {"node_configs": [{"name": "vgg"}]},
        {"client_metrics": {"thrus": [1.0], "p99_lats": [], "mean_lats": [1.0]}},
        {"client_metrics": {"thrus": [0.0], "p99_lats": [1.0], "mean_lats": [1.0]}},
        {"client_metrics": {"thrus": [1e300], "p99_lats": [1.0], "mean_lats": [1.0]}},
        {"client_metrics": {"thrus": ["5"], "p99_lats": [1.0], "mean_lats": [1.0]}},
        {"client_metrics": 7},
        {"clipper_metrics": []},
    ],
)
def test_what_is_none_is_one_line(tmp_path, members):
    """With the name of the file."""
    path = written(tmp_path, **members)
    with pytest.raises(ConfigError, match=r"results-171001_001313\.json: not a results file: ") as error:
        read(path)
    assert "\n" not in str(error.value)


def test_programs_of_2017_read_what_lies_in_a_directory_of_results(tmp_path):
    """They open whatever has `results` in its name, or ends in `json`, and take the series and the first node."""
    path = save(GOLDEN, tmp_path)
    logs_beside(path).mkdir()
    (tmp_path / "sweep-171001_001313").mkdir()
    named = [entry for entry in tmp_path.iterdir() if "results" in entry.name]
    assert named == [entry for entry in tmp_path.iterdir() if entry.name[-4:] == "json"] == [path]
    document = json.loads(path.read_text())
    series, (node,) = document["client_metrics"], document["node_configs"]
    assert len(series["thrus"]) == len(series["p99_lats"]) == len(series["mean_lats"]) > 0
    assert node.keys() >= NODE.keys() - {"use_nvidia_docker"}
    histograms = [name for row in document["clipper_metrics"]["histograms"] for name in row]
    assert histograms[1:3] == [f"app:{node['name']}:prediction_latency", f"model:{node['name']}:1:prediction_latency"]
