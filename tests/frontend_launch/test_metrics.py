"""The shape and the arithmetic of the original's metrics."""

import json
import math

import pytest
from prometheus_client import CollectorRegistry, generate_latest

from frontend_launch.counters import Counters, ModelCounters, ReplicaCounters
from frontend_launch.frontends import metrics, prometheus
from frontend_launch.frontends.metric_definitions import ApplicationMetrics, InternalMetrics, ModelMetrics
from frontend_launch.frontends.metrics import Counter, Histogram, Meter, RatioCounter, Registry
from frontend_launch.frontends.prometheus import exposition
from model_containers.units import NS_PER_S


def test_the_report_lists_categories_in_order_and_every_value_as_text():
    """Counters, ratio counters, meters, histograms; one-key objects in the order of creation."""
    registry = Registry()
    InternalMetrics(registry, 0)
    ApplicationMetrics(registry, "vgg", 0)
    ModelMetrics(registry, "vgg", "1", 0)
    report = registry.report(NS_PER_S)
    assert {category: [name for row in rows for name in row] for category, rows in report.items()} == {
        "counters": ["internal:aggregate_num_predictions", "app:vgg:num_predictions", "model:vgg:1:num_predictions"],
        "ratio_counters": ["app:vgg:default_prediction_ratio", "model:vgg:1:cache_hit_ratio"],
        "meters": [
            "internal:aggregate_model_throughput",
            "app:vgg:prediction_throughput",
            "model:vgg:1:prediction_throughput",
        ],
        "histograms": [
            "internal:rpc_request_queueing_delay",
            "app:vgg:prediction_latency",
            "model:vgg:1:prediction_latency",
            "model:vgg:1:batch_size",
        ],
    }
    values = [value for rows in report.values() for row in rows for fields in row.values() for value in fields.values()]
    assert all(isinstance(value, str) for value in values)
    assert list(report["meters"][0]["internal:aggregate_model_throughput"]) == [
        "unit",
        "rate",
        "rate_1min",
        "rate_5min",
        "rate_15min",
    ]
    assert list(report["histograms"][0]["internal:rpc_request_queueing_delay"]) == [
        "unit",
        "size",
        "min",
        "max",
        "mean",
        "std_dev",
        "p50",
        "p95",
        "p99",
    ]


def test_a_category_without_members_is_absent():
    """As the original."""
    registry = Registry()
    registry.add("some:counter", Counter())
    assert list(registry.report(0)) == ["counters"]


def test_moving_averages_follow_the_ticks():
    """Per-5 s counts 100, 50, 0, 200 give the one-minute rates of the specification, to the last digit."""
    meter, rates = Meter(0), []
    for tick, events in enumerate([100, 50, 0, 200]):
        if events:
            meter.mark(events, tick * 5 * NS_PER_S + 1)
        rates.append(meter.fields((tick + 1) * 5 * NS_PER_S)["rate_1min"])
    assert rates == ["20", "19.200444146293233", "17.665261395199373", "19.451048494447257"]


def test_a_young_meter_says_minus_one_and_an_idle_one_decays():
    """Ticks that were missed are made up for when it is read."""
    meter = Meter(0)
    meter.mark(10, 1)
    assert meter.fields(4 * NS_PER_S)["rate_1min"] == "-1"
    meter.fields(5 * NS_PER_S)
    assert 0 < float(meter.fields(600 * NS_PER_S)["rate_1min"]) < 1e-3


def test_a_meter_that_was_never_marked_has_no_ticks_to_make_up_for(monkeypatch):
    """However long ago it was made; it says the same as one that was read all the time."""
    read, idle = Meter(0), Meter(0)
    for tick in range(1, 1001):
        expected = read.fields(tick * 5 * NS_PER_S)
    steps = []

    def counted(*given, strict):
        steps.append(given)
        return zip(*given, strict=strict)

    monkeypatch.setattr(metrics, "zip", counted, raising=False)
    assert idle.fields(1000 * 5 * NS_PER_S) == expected
    assert len(steps) == 2, "one for the tick, one for the text"
    idle.mark(10, 5001 * NS_PER_S)
    read.mark(10, 5001 * NS_PER_S)
    assert idle.fields(5011 * NS_PER_S) == read.fields(5011 * NS_PER_S)


def test_a_ratio_without_events_is_not_a_number():
    """Then it is one."""
    ratio = RatioCounter()
    assert math.isnan(float(ratio.fields(0)["ratio"]))
    ratio.add(1, 4)
    assert ratio.fields(0)["ratio"] == "0.25"


def test_histogram_statistics():
    """The specification's small example: position q(n + 1), population deviation."""
    histogram = Histogram("microseconds", 100)
    histogram.record([16, 53, 104, 113, 185, 202])
    fields = histogram.fields(0)
    assert (fields["size"], fields["min"], fields["max"]) == ("6", "16", "202")
    assert (fields["p50"], fields["p95"], fields["p99"]) == ("108.5", "202", "202")
    assert float(fields["mean"]) == pytest.approx(673 / 6)
    assert float(fields["std_dev"]) == pytest.approx(66.0691977)


def test_every_metric_is_fed():
    """By the events of one batch of two queries, of which the frontend tells."""
    registry = Registry()
    internal, model = InternalMetrics(registry, 0), ModelMetrics(registry, "vgg", "1", 0)
    application = ApplicationMetrics(registry, "vgg", 0)
    internal.scheduled(2)
    model.queued(2)
    internal.sent(3_000_000)
    internal.answered(2, NS_PER_S)
    model.answered(2, 8_000_000, NS_PER_S)
    application.answered([0, 1_000_000], default=False, now_ns=11_000_000)
    report = registry.report(2 * NS_PER_S)
    fields = {name: fields for rows in report.values() for row in rows for name, fields in row.items()}
    assert {name: row["count"] for name, row in fields.items() if "count" in row} == {
        "internal:aggregate_num_predictions": "2",
        "model:vgg:1:num_predictions": "2",
        "app:vgg:num_predictions": "2",
    }
    assert {name: row["ratio"] for name, row in fields.items() if "ratio" in row} == {
        "model:vgg:1:cache_hit_ratio": "0",
        "app:vgg:default_prediction_ratio": "0",
    }
    assert {name: row["rate"] for name, row in fields.items() if "rate" in row} == {
        "internal:aggregate_model_throughput": "1",
        "model:vgg:1:prediction_throughput": "1",
        "app:vgg:prediction_throughput": "1",
    }
    assert {name: (row["min"], row["max"]) for name, row in fields.items() if "min" in row} == {
        "internal:rpc_request_queueing_delay": ("3000", "3000"),
        "model:vgg:1:prediction_latency": ("8000", "8000"),
        "model:vgg:1:batch_size": ("2", "2"),
        "app:vgg:prediction_latency": ("10000", "11000"),
    }


def test_a_reservoir_is_bounded_and_samples_everything():
    """After many values it still holds its capacity, spread over all of them."""
    histogram = Histogram("queries", 256)
    histogram.record(range(100_000))
    fields = histogram.fields(0)
    assert fields["size"] == "256"
    assert 30_000 < float(fields["mean"]) < 70_000


def registry_of(applications):
    registry = Registry()
    InternalMetrics(registry, 0)
    ModelMetrics(registry, 'a "quoted"\nname', "1", 0).answered(2, 8_000_000, NS_PER_S)
    for number in range(applications):
        application = ApplicationMetrics(registry, f"app-{number}", 0)
        application.answered([0, number], default=bool(number % 2), now_ns=NS_PER_S + number)
    return registry


@pytest.mark.parametrize("registry", [Registry(), registry_of(0), registry_of(120)], ids=["none", "few", "many"])
def test_the_text_in_parts_is_that_of_the_report(registry):
    """To the last space."""
    assert b"".join(registry.text(7 * NS_PER_S)).decode() == json.dumps(registry.report(7 * NS_PER_S), indent=4)


def test_what_is_added_while_the_text_is_made_is_not_in_it():
    """And a value that is newer than the text does no harm."""
    registry = registry_of(3)
    meter = registry.add("app:late:meter", Meter(0))
    text = json.dumps(registry.report(NS_PER_S), indent=4)
    parts = registry.text(NS_PER_S)
    begun = next(parts)
    registry.add("app:later:counter", Counter())
    meter.fields(20 * NS_PER_S)
    rest = b"".join(parts)
    assert set(json.loads(begun + rest)) == set(json.loads(text))
    assert b"later" not in rest
    meter.mark(1, 20 * NS_PER_S)
    assert meter._ticked_ns == 20 * NS_PER_S


@pytest.mark.parametrize(
    "text_of", [Registry.text, lambda registry, now_ns: exposition(registry, Counters(1), (), now_ns)]
)
def test_what_is_removed_while_the_text_is_made_does_no_harm(text_of):
    """It is left out; all others are there."""
    registry = registry_of(1)
    gone = ModelMetrics(registry, "gone", "1", 0)
    parts = text_of(registry, NS_PER_S)
    begun = next(parts)
    gone.remove()
    text = begun + b"".join(parts)
    assert b"gone" not in text
    assert b"app-0" in text
    again = ModelMetrics(registry, "gone", "1", 0)
    for _ in range(9):
        again.remove()
        again = ModelMetrics(registry, "gone", "1", 0)
    fresh = registry_of(1)
    ModelMetrics(fresh, "gone", "1", 0)
    assert b"".join(text_of(registry, NS_PER_S)) == b"".join(text_of(fresh, NS_PER_S))
    assert registry._removed <= len(registry._metrics)


def test_the_parts_for_prometheus_are_the_whole(monkeypatch):
    """However many samples a family has, it has one head."""
    counters = Counters(1, dropped={"text": 1}, models={"m:1": ModelCounters()}, replicas={"m:1:0": ReplicaCounters()})
    registry, families = registry_of(120), []

    def note(family, begins):
        if begins:
            families.append(family)
        else:
            families[-1].samples += family.samples
        return text(family, begins)

    text = prometheus._text
    monkeypatch.setattr(prometheus, "_text", note)
    parts = list(exposition(registry, counters, (), 7 * NS_PER_S))
    monkeypatch.undo()
    collectors = CollectorRegistry()
    collectors.register(prometheus._Families(families))
    assert b"".join(parts) == generate_latest(collectors)
    assert max(map(len, parts)) < 12_000
