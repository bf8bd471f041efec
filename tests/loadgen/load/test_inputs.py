"""Inputs that are drawn."""

import base64
import io
import pickle

import numpy as np
import pytest
from PIL import Image

from loadgen.load.inputs import SeededInputs
from model_containers.data_types import DataType
from model_containers.model import TensorSpec

PIXELS = (5, 7, 3)
IMAGE = TensorSpec(PIXELS, "float32")
VECTOR = TensorSpec((4,), "float32")
TEXT = TensorSpec((), "str")


def decoded(payload):
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(bytes(payload), validate=True))))


@pytest.mark.parametrize(
    ("spec", "pixels", "data_type", "low", "high"),
    [
        pytest.param(IMAGE, PIXELS, DataType.FLOATS, 1, 255, id="pixels"),
        pytest.param(IMAGE, None, DataType.FLOATS, 1, 255, id="three dimensions are pixels"),
        pytest.param(VECTOR, None, DataType.FLOATS, 0, 1, id="numbers"),
        pytest.param(TensorSpec((4,), "float64"), None, DataType.DOUBLES, 0, 1, id="doubles"),
        pytest.param(TensorSpec((40,), "int32"), None, DataType.INTS, 1, 127, id="whole numbers"),
        pytest.param(TensorSpec(PIXELS, "uint8"), PIXELS, DataType.BYTES, 128, 255, id="pixels as bytes"),
        pytest.param(TEXT, None, DataType.STRINGS, ord("a"), ord("z"), id="text"),
    ],
)
def test_drawn_inputs_are_distinct_and_seeded(spec, pixels, data_type, low, high):
    """The same seed draws the same inputs, in the model's dtype and range."""
    source = SeededInputs(spec, pixels, 3, 7)
    first, again = source.make(), pickle.loads(pickle.dumps(source)).make()
    assert first.data_type is again.data_type is data_type
    assert [bytes(a) for a in first.payloads()] == [bytes(b) for b in again.payloads()]
    assert len({bytes(payload) for payload in first.payloads()}) == len(first) == 3
    assert {len(payload) for payload in first.payloads()} == {source.payload_bytes}
    assert low <= max(array.max() for array in first.arrays) <= high


def test_drawn_images_as_strings():
    """Base64 of JPEG files without line breaks, of the model's size."""
    source = SeededInputs(TEXT, PIXELS, 2, 0)
    payloads = source.make().payloads()
    assert [decoded(payload).shape for payload in payloads] == [PIXELS] * 2
    assert source.payload_bytes == len(payloads[0])
    assert source.make().stacked().dtype.kind == "S"
