"""The page as text: how large it is, and what it names."""

import hashlib
import json
import re
from dataclasses import replace
from importlib.resources import files

import pytest
from sample_pages import collection, large, small
from sample_results import INVALID, results

from loadgen.judging.ceiling import ClientCeiling
from loadgen.load.worker_use import WorkersUse, WorkerUse
from loadgen.report.page import PLOTLY, SCRIPTS, page, page_data

HTML = files("loadgen.report") / "html"
PAGE_BYTES = 1_500_000
"""No page of a single run is larger."""

CELL_BYTES = 40_000
"""Most that a cell adds, however long it ran."""


@pytest.mark.no_cover  # other tests have a few cells
def test_200_cells_stay_small():
    """However long they ran, and with plotly in it once."""
    text = page(large())
    assert len(text) < PAGE_BYTES + 200 * CELL_BYTES
    assert len(page(collection([results(8, 8, 512, described=True, seconds=36_000, throughput_rps=50.0)]))) < PAGE_BYTES
    assert text.count("plotly.js (basic - minified) v") == 1
    long = page_data(collection([results(8, 8, 512, described=True, seconds=36_000, throughput_rps=50.0)]))
    assert len(json.dumps(long)) < CELL_BYTES


def test_the_bundle_of_plotly_is_the_recorded_one():
    """With its licence; it has the chart type that the page draws."""
    for line in HTML.joinpath("plotly.sha256").read_text().splitlines():
        digest, name = line.split()
        assert hashlib.sha256(HTML.joinpath(name).read_bytes()).hexdigest() == digest
    assert HTML.joinpath("plotly-LICENSE").read_text().startswith("MIT License")
    scripts = "".join(HTML.joinpath(name).read_text() for name in SCRIPTS)
    assert set(re.findall(r'type: "(scatter|bar|pie|heatmap|box|violin)"', scripts)) <= {"scatter", "bar", "pie"}


def test_the_page_asks_no_network_for_anything():
    """Its own parts name no address, and its policy allows none."""
    own = page(small()).replace(HTML.joinpath(PLOTLY).read_text("utf-8"), "")
    assert "default-src 'none'" in own
    assert set(re.findall(r"https?://[^\"' )]+", own)) <= {"http://www.w3.org/2000/svg"}


def test_invalid_cells_are_on_no_curve():
    """They are in the table, with the reason; each run has its certificate."""
    made = [results(replicas, seconds=3) for replicas in (1, 2, 4)]
    data = page_data(collection([*made[:2], results(4, seconds=3, certificate=[INVALID])]))
    assert [cell["invalid"] for cell in data["cells"]] == [None, None, INVALID.reason]
    assert data["fronts"] == [{"cost": "cores", "cells": [0, 1]}]
    assert [row["cells"] for row in data["scaling"]] == [[0, 1]]
    assert data["runs"][2]["invalid"] == INVALID.reason
    assert data["runs"][2]["certificate"][0]["remedy"] == "end it"


def test_workers_are_rows_of_their_run():
    """With their faults; a run on one machine has none."""
    row = WorkerUse(
        "worker-0", "a", "10.0.0.1", ["client-0"], 12, 10, 0, 9.5, {"p50": 1.0}, 0.5, 7, 0.25, None, ["lost"]
    )
    made = [results(seconds=3), results(2, seconds=3, workers=WorkersUse("ray", None, None, [row]))]
    one, other = page_data(collection(made))["runs"]
    assert one["workers"] is None
    assert other["workers"]["skewMs"] is None
    assert other["workers"]["rows"][0]["p50"] == 1.0
    assert other["workers"]["rows"][0]["faults"] == ["lost"]


def test_what_is_uncertain_or_limited_is_said():
    """Latencies without an interval are marked, with few requests named; a steady window is given."""
    made = results(seconds=3, throughput_rps=100.0)
    measured = replace(made.summary.measured, steady_window_s=(10.0, 13.0))
    summary = replace(made.summary, measured=measured, intervals_ms={"p50": (1.0, 3.0)})
    data = page_data(collection([replace(made, summary=summary)]))
    assert data["cells"][0]["uncertain"] == ["p99"]
    assert data["remarks"] == ["r1-c1-b2: too few requests for a p99; fewer than 5 are slower"]
    assert data["runs"][0]["steady"] == ", steady from 10.0 to 13.0 s after the warm-up"
    assert data["runs"][0]["whole"] == ", of all 13.0 s after the warm-up"
    assert {"p99", "mean"} <= {*data["runs"][0]["uncertain"]}


def test_the_client_s_own_part_stands_beside_the_latencies():
    """As in the summary; nothing where it is not known."""
    made = results(seconds=3)
    floor_ms, share = {"p50": 0.001, "p99": None}, {"p50": 0.05, "p99": None}
    ceiling = ClientCeiling(41_200.0, False, 0.1, 0.4, "1 request in flight", 900, floor_ms, share)
    with_it, without = page_data(collection([replace(made, client_ceiling=ceiling), made]))["runs"]
    assert re.fullmatch(r"p50 0\.001 of [\d,.]+ ms, at 1 request in flight", with_it["ownPart"])
    assert without["ownPart"] == ""


def test_characters_that_hide_what_a_name_is_are_shown():
    """As escapes; text that looks like one stays."""
    made = replace(results(seconds=3), notes=["a\u202egpj.exe", "no\u200bop", "\\u202e", "µ\n"])
    (data,) = re.findall(r'id="data">(.*?)</script>', page(collection([made])))
    assert json.loads(data)["runs"][0]["notes"] == [r"a\u202egpj.exe", r"no\u200bop", r"\u202e", "µ\n"]
