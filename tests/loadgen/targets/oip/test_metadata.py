"""What servers say of themselves, and what they count."""

import pytest

from loadgen.errors import ConfigError, TargetError
from loadgen.targets.oip.metadata import model_config, model_metadata, optional_inputs, server_metadata, unsupported
from loadgen.targets.oip.statistics import Sum, read
from loadgen.targets.oip.tensors import Tensor

MODEL = {
    "name": "m",
    "platform": "python",
    "inputs": [{"name": "A", "datatype": "FP32", "shape": ["-1", "4"]}],
    "outputs": [{"name": "OUT", "datatype": "BYTES", "shape": [-1, 1]}],
}


def test_metadata_of_a_model():
    """Dimensions may be strings, as JSON of protocol buffers has them."""
    model = model_metadata(MODEL)
    assert (model.inputs, model.outputs) == ((Tensor("A", "FP32", (-1, 4)),), (Tensor("OUT", "BYTES", (-1, 1)),))
    assert model.batched
    assert model.max_batch is None


def test_what_is_no_metadata():
    """Is refused in one line."""
    with pytest.raises(TargetError, match="not model metadata"):
        model_metadata({"inputs": []})
    with pytest.raises(TargetError, match="not model metadata"):
        model_metadata({"name": "m", "inputs": [{"name": "A", "datatype": "FP32", "shape": [float("inf")]}]})
    with pytest.raises(TargetError, match="not server metadata"):
        server_metadata({"detail": "not found"})
    with pytest.raises(ConfigError, match="A: of FP8"):
        model_metadata({"name": "m", "inputs": [{"name": "A", "datatype": "FP8", "shape": []}]})


@pytest.mark.parametrize(
    ("config", "expected"),
    [
        ({"max_batch_size": 8, "instance_group": [{"count": 2, "gpus": []}]}, (8, 2)),
        ({"max_batch_size": 0, "instance_group": []}, (0, 1)),
        ({"instance_group": [{"count": 2, "gpus": [0, 1]}, {"count": 1}]}, (0, 5)),
    ],
    ids=["cpu", "defaults", "gpus"],
)
def test_batches_and_instances(config, expected):
    """A group has its instances on each of its GPUs."""
    assert model_config(config) == expected


def test_inputs_that_a_request_may_leave_out():
    """By Triton's configuration, over HTTP and gRPC alike; what is no list of inputs says nothing."""
    rows = [{"name": "A", "optional": False}, {"name": "B", "optional": True}, {"name": "C"}, {"optional": True}, 1]
    assert optional_inputs({"input": rows}) == ("B",)
    assert [optional_inputs(one) for one in ({}, {"input": None}, {"input": {"B": True}}, {"input": "B"})] == [()] * 4


@pytest.mark.parametrize(
    "config",
    [
        {"max_batch_size": None},
        {"max_batch_size": float("inf")},
        {"instance_group": [1]},
        {"instance_group": [{"count": "x"}]},
    ],
)
def test_a_configuration_that_is_none(config):
    """Is said to be none, and can be done without."""
    with pytest.raises(TargetError, match="cannot be understood"):
        model_config(config)


def test_a_reading_of_a_server_that_was_started_again_does_not_follow():
    """However much it has counted since."""

    def reading(*factor_and_failed):
        return read(stats(*factor_and_failed), "m")

    assert reading(3).follows(reading(2))
    assert reading(2).follows(reading(2))
    assert not reading(2).follows(reading(3))
    assert not reading(3, 0).follows(reading(2, 1)), "one counter that fell is enough"


def stats(factor, failed=0):
    duration = {"count": 10 * factor, "ns": str(1000 * factor)}
    row = {
        "name": "m",
        "version": "1",
        "inference_count": 40 * factor,
        "execution_count": 5 * factor,
        "inference_stats": {
            "success": duration,
            "fail": {"count": failed},
            **dict.fromkeys(("queue", "compute_input", "compute_infer", "compute_output"), duration),
        },
        "batch_stats": [
            {
                "batch_size": 8,
                "compute_input": {"count": 5, "ns": 1},
                "compute_infer": {"count": 5 * factor, "ns": 100 * factor},
            }
        ],
    }
    return {"model_stats": [row, {**row, "name": "other"}]}


def test_what_was_counted_between_two_readings():
    """Only of this model; times of batches are what instances were busy for."""
    between = read(stats(3, failed=2), "m").since(read(stats(1), "m"))
    assert (between.rows, between.executions, between.mean_batch) == (80, 10, 8)
    assert (between.succeeded, between.failed.count) == (Sum(20, 2000), 2)
    assert between.stages["queue"].mean_ms == pytest.approx(1e-4)
    assert between.batches == {8: Sum(10, 200)}
    assert between.busy_ns == 200


def test_statistics_of_versions_are_added():
    """A request may have gone to any of them."""
    document = {"model_stats": [*stats(1)["model_stats"], *stats(2)["model_stats"]]}
    assert read(document, "m").executions == 15


def test_what_is_no_statistics():
    """Is refused in one line."""
    with pytest.raises(TargetError, match="cannot be understood"):
        read({"model_stats": [{}]}, "m")


@pytest.mark.parametrize(
    "count",
    [float("nan"), float("inf"), -1, 2**64, 10**400, "1e999", "x", None, []],
    ids=["no number", "infinite", "negative", "too large", "far too large", "a large text", "a text", "null", "a list"],
)
def test_counts_that_are_none(count):
    """Nor are they: a result could not hold what is worked out from them."""
    document = stats(1)
    document["model_stats"][0]["inference_stats"]["success"]["ns"] = count
    with pytest.raises(TargetError, match="cannot be understood"):
        read(document, "m")


@pytest.mark.parametrize(
    ("config", "reason"),
    [
        ({}, None),
        ({"model_transaction_policy": {"decoupled": False}}, None),
        ({"model_transaction_policy": None, "sequence_batching": None}, None),
        ({"model_transaction_policy": {"decoupled": True}}, "is decoupled"),
        ({"sequence_batching": {}}, "takes sequences"),
        ({"sequence_batching": {"direct": {}}}, "takes sequences"),
    ],
)
def test_models_that_cannot_be_loaded(config, reason):
    """By their configuration, before any load."""
    assert (unsupported(config) or "None").startswith(str(reason))


def test_inputs_and_outputs_that_do_not_matter():
    """Those of the server, where the user writes inputs by hand or trusts answers."""
    broken = {"name": "m", "inputs": [{"name": "A"}], "outputs": [{"datatype": "FP8"}]}
    mine = (Tensor("B", "INT8", (-1, 2)),)
    model = model_metadata(broken, mine, trusted=True)
    assert (model.inputs, model.outputs) == (mine, ())
    for more in ({"inputs": mine}, {"trusted": True}):
        with pytest.raises(TargetError, match="not model metadata"):
            model_metadata(broken, **more)
