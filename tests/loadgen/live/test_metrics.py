"""The metrics of a measurement under way."""

import os
import re
import socket
import sys
import threading
import urllib.error
import urllib.request
from pathlib import Path

import live_screens
import pytest
from prometheus_client.parser import text_string_to_metric_families
from prometheus_client.utils import floatToGoString

from frontend_launch.histogram import LatencyHistogram
from loadgen.feed.channel import pair
from loadgen.feed.messages import Begin, Closed, IntervalDone
from loadgen.live import process, served
from loadgen.live.metrics import BOUNDS_S, Metrics
from loadgen.live.served import Served
from loadgen.live.state import State


def values(state):
    """Each sample by its name and labels."""
    families = Metrics(state, threading.Lock()).registry().collect()
    return {
        (sample.name, *sorted(sample.labels.items())): sample.value for family in families for sample in family.samples
    }


TAGS = (("commit", "4f2a9c1"), ("host", "lab-3"))


def test_the_metrics_of_a_run():
    """Counts of all intervals, gauges of the last one, each with the tags."""
    found = values(live_screens.failing())
    assert found[("loadgen_requests_sent_total", *TAGS)] == 60_100
    assert found[("loadgen_requests_completed_total", *TAGS)] == 60_000
    assert found[("loadgen_requests_failed_total", *TAGS)] == 100
    assert found[("loadgen_requests_in_flight", *TAGS)] == 64
    assert found[("loadgen_throughput_requests_per_second", *TAGS)] == 2000
    assert found[("loadgen_runs_total", *TAGS)] == 1
    assert found[("loadgen_checks_failing", *TAGS)] == 3
    assert found[("loadgen_checks_near_limit", *TAGS)] == 3
    assert found[("loadgen_request_latency_seconds_count", *TAGS)] == 60_000
    assert found[("loadgen_request_latency_seconds_sum", *TAGS)] == pytest.approx(60_000 * 0.0216, rel=0.01)
    assert found[("loadgen_core_busy_ratio", *TAGS[:1], ("core", "0"), *TAGS[1:])] == pytest.approx(0.9)
    assert found[("loadgen_batch_fill_ratio", *TAGS, ("queue", "elastic-net:1"))] == pytest.approx(0.95)
    assert found[("loadgen_queue_length", *TAGS, ("queue", "elastic-net:1"))] == 1234


def test_buckets_are_cumulative_and_end_with_all():
    """As Prometheus wants them."""
    found = values(live_screens.counting())
    buckets = {
        dict(labels)["le"]: value
        for (name, *labels), value in found.items()
        if name == "loadgen_request_latency_seconds_bucket"
    }
    assert list(buckets) == [*(floatToGoString(bound_s) for bound_s in BOUNDS_S), "+Inf"]
    counts = list(buckets.values())
    assert counts == sorted(counts)
    assert (buckets["1.0"], buckets["10.0"], buckets["+Inf"]) == (0, 60_000, 60_000)
    assert 0 < buckets["2.5"] < buckets["5.0"] < 60_000


def test_between_runs_gauges_are_zero_and_counters_stay():
    """A sweep goes on with its next cell."""
    found = values(live_screens.sweeping())
    assert found[("loadgen_requests_in_flight",)] == 0
    assert found[("loadgen_throughput_requests_per_second",)] == 0
    assert found[("loadgen_requests_completed_total",)] == 60_000


def test_before_the_first_run_all_counters_are_there():
    """Prometheus then knows that they began at 0."""
    found = values(State())
    assert found[("loadgen_requests_sent_total",)] == 0
    assert found[("loadgen_request_latency_seconds_count",)] == 0
    assert found[("loadgen_info", ("command", ""), ("load", ""), ("model", ""))] == 1


ROOT = Path(__file__).parents[3]


@pytest.mark.parametrize("document", ["docs/grafana/loadgen.json", "docs/live.md"])
def test_documents_name_metrics_that_there_are(document):
    """The dashboard, and the table."""
    known = {name for name, *_ in values(live_screens.failing())}
    named = set(re.findall(r"\bloadgen_[a-z_]+", (ROOT / document).read_text()))
    assert named - {"loadgen_request_latency_seconds"} <= known
    assert len(named) > 8


def test_the_least_and_the_largest_latency_have_a_bucket():
    """The histogram's own bounds lie within those of the buckets, or in the last one."""
    histogram = LatencyHistogram()
    assert histogram.count_at_most(round(BOUNDS_S[0] * 1e9)) == 0


@pytest.fixture
def serving():
    """What is served, and its address."""
    listener = socket.create_server(("127.0.0.1", 0))
    address = f"http://127.0.0.1:{listener.getsockname()[1]}"
    found = Served()
    found.listen(listener.detach())
    yield found, address
    found.close()


def test_the_metrics_are_served(serving):
    """In the text format, which its own parser reads."""
    found, address = serving
    with found.changing():
        found.state.take(Begin("rate", {"commit": 'a"b\nc'}))
        found.state.take(live_screens.planned())
        found.state.take(IntervalDone(live_screens.interval(1)))
    with urllib.request.urlopen(f"{address}/metrics", timeout=30) as answer:
        families = list(text_string_to_metric_families(answer.read().decode()))
        assert answer.headers["Content-Type"].startswith("text/plain")
    (sent,) = (family for family in families if family.name == "loadgen_requests_sent")
    assert [(sample.labels, sample.value) for sample in sent.samples] == [({"commit": 'a"b\nc'}, 6000)]


def test_openmetrics_is_served_where_it_is_asked_for(serving):
    """As a newer Prometheus does."""
    _, address = serving
    request = urllib.request.Request(f"{address}/metrics", headers={"Accept": "application/openmetrics-text"})
    with urllib.request.urlopen(request, timeout=30) as answer:
        assert answer.headers["Content-Type"].startswith("application/openmetrics-text")
        assert answer.read().endswith(b"# EOF\n")


def test_another_path_is_not_there(serving):
    """Which the answer says."""
    _, address = serving
    with pytest.raises(urllib.error.HTTPError) as caught:
        urllib.request.urlopen(f"{address}/other", timeout=30)
    with caught.value as error:
        assert (error.code, error.read()) == (404, b"the metrics are at /metrics\n")


def test_more_connections_than_there_may_be_are_closed(monkeypatch):
    """Each is a thread."""
    monkeypatch.setattr(served, "MOST_CONNECTIONS", 1)
    listener = socket.create_server(("127.0.0.1", 0))
    address = listener.getsockname()
    found = Served()
    found.listen(listener.detach())
    with socket.create_connection(address) as idle:
        idle.sendall(b"GET /metrics HTTP/1.1\r\n")
        with socket.create_connection(address) as other:
            other.settimeout(30)
            assert other.recv(1) == b""
    found.close()


def test_the_process_serves_until_it_is_closed(monkeypatch, capfd):
    """From its command line to its end."""
    monkeypatch.setattr(os, "nice", lambda _: 0)
    sender, other = pair()
    listener = socket.create_server(("127.0.0.1", 0))
    address = f"http://127.0.0.1:{listener.getsockname()[1]}/metrics"
    arguments = ["live", f"--channel={other.detach()}", f"--prometheus={listener.detach()}"]
    monkeypatch.setattr(sys, "argv", arguments)
    thread = threading.Thread(target=process.main)
    thread.start()
    sender.offer(Begin("rate", {"a": "b"}))
    with urllib.request.urlopen(address, timeout=30) as answer:
        assert b"loadgen_info" in answer.read()
    sender.offer(Closed())
    thread.join(30)
    assert not thread.is_alive()
    assert capfd.readouterr().out == "\n"
    sender.close()
