"""What a configuration comes to, before anything is started."""

import asyncio
from dataclasses import replace

import pytest

from frontend_launch.errors import DescribeError, PlacementError
from frontend_launch.launch.topology import describe
from loadgen.config import SaturateConfig, default_window, prepare
from loadgen.errors import ConfigError
from loadgen.report import plan_text

MACHINE = describe("cpus=0-31,gpus=0-1")
IMAGE_BYTES = 299 * 299 * 3 * 4


@pytest.mark.parametrize(
    ("payload_bytes", "places", "window"),
    [
        pytest.param(4, 2, 10_000, id="small payloads: ten thousand"),
        pytest.param(IMAGE_BYTES, 2, 1000, id="images: what fits in 1 GiB"),
        pytest.param(IMAGE_BYTES, 512, 2048, id="many places in batches: four times as many"),
        pytest.param(1 << 40, 1, 4, id="huge payloads: still four batches"),
    ],
)
def test_default_window(payload_bytes, places, window):
    """Deep enough for full batches, no deeper than memory likes."""
    assert default_window(payload_bytes, places) == window


def planned(**changes):
    return asyncio.run(prepare(replace(SaturateConfig("inception", topology=MACHINE), **changes)))


@pytest.mark.parametrize(
    ("changes", "gpus"),
    [
        pytest.param({}, [0], id="the model's own GPU where it exists"),
        pytest.param({"gpus": ()}, [None], id="none forces the CPU"),
        pytest.param({"gpus": (1, 0)}, [1, 0], id="a replica for each GPU named"),
        pytest.param({"gpus": (0,), "replicas": 3}, [0, None, None], id="further replicas on cores"),
        pytest.param({"topology": describe("cpus=0-3")}, [None], id="no GPU on the machine"),
    ],
)
def test_replicas_and_gpus(changes, gpus):
    """Named or the model's defaults."""
    assert [row.gpu for row in planned(**changes).placement.replicas] == gpus


@pytest.mark.parametrize(
    ("changes", "error", "text"),
    [
        ({"model": "resnet"}, DescribeError, "resnet"),
        ({"gpus": (5,)}, PlacementError, "5"),
        ({"model": "noop", "gpus": (0,)}, ConfigError, "no GPU code"),
        ({"batch_size": 0}, ConfigError, "--batch-size 0"),
        ({"warmup_s": -1.0}, ConfigError, "--warmup -1"),
        ({"requests": 0}, ConfigError, "--requests 0"),
        ({"input_shape": (2, 2)}, DescribeError, "--input-shape"),
    ],
)
def test_contradictions(changes, error, text):
    """One line each, with the option and the value."""
    with pytest.raises(error, match=text):
        planned(**changes)


def test_a_plan_as_text():
    """What will run, for how long, with how much in flight."""
    text = plan_text(planned(duration_s=30.0, gpus=(0, 1)))
    assert text == (
        "inception (tensorflow, weights seeded:0), 2 replicas, batches up to 2, for 30 s\n"
        "32 seeded inputs 299x299x3 float32, at most 1000 in flight (1023 MiB)"
    )
