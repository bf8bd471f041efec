"""Datatypes, shapes and bytes of tensors."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from loadgen.errors import ConfigError
from loadgen.targets.oip.tensors import (
    BYTES,
    DTYPES,
    Tensor,
    as_json,
    check_datatype,
    decode_strings,
    draw,
    encode_numbers,
    encode_strings,
    resolve,
    size_fits,
)


@pytest.mark.parametrize("datatype", [*DTYPES, BYTES])
def test_what_is_drawn_fits_its_tensor(datatype):
    """In size, and the same for the same seed."""
    tensor = Tensor("x", datatype, (2, 3))
    content = draw(np.random.default_rng(1), tensor)
    assert size_fits(tensor, content)
    assert not size_fits(Tensor("x", datatype, (2, 4)), content)
    assert content == draw(np.random.default_rng(1), tensor)
    assert content != draw(np.random.default_rng(2), tensor)


def test_images_are_drawn_as_pixels():
    """Three dimensions are taken for an image."""
    pixels = np.frombuffer(draw(np.random.default_rng(0), Tensor("x", "FP32", (8, 8, 3))), "<f4")
    numbers = np.frombuffer(draw(np.random.default_rng(0), Tensor("x", "FP32", (192,))), "<f4")
    assert pixels.max() > 200
    assert numbers.max() < 1


@given(st.lists(st.binary(max_size=20)))
def test_strings_come_back(strings):
    """Whatever they hold."""
    assert decode_strings(encode_strings(strings)) == strings


@pytest.mark.parametrize("content", [b"\1\0\0", b"\5\0\0\0abcd"], ids=["length", "string"])
def test_strings_that_are_cut_short(content):
    """Are not strings."""
    with pytest.raises(ValueError, match="cut short"):
        decode_strings(content)
    assert not size_fits(Tensor("x", BYTES, (1,)), content)


def test_a_length_is_four_little_endian_bytes():
    """As the binary tensor data extension says."""
    assert encode_strings([b"ab", b""]) == b"\2\0\0\0ab\0\0\0\0"


def test_bf16_is_the_upper_half_of_float32():
    """1.0 is 0x3F80."""
    assert encode_numbers(np.array([1.0, -2.0], np.float32), "BF16") == b"\x80\x3f\x00\xc0"


@pytest.mark.parametrize(
    ("shape", "rows", "given_shape", "expected"),
    [
        ((-1, 8), 4, None, (4, 8)),
        ((8,), None, None, (8,)),
        ((-1, -1), 2, (16,), (2, 16)),
        ((-1, 3), None, (5, 3), (5, 3)),
        ((-1,), 1, None, (1,)),
    ],
    ids=["batch", "fixed", "open with batch", "open", "scalars"],
)
def test_shapes_of_requests(shape, rows, given_shape, expected):
    """The batch comes first, and dimensions that may vary are said."""
    assert resolve(Tensor("x", "FP32", shape), rows, given_shape).shape == expected


@pytest.mark.parametrize(
    ("shape", "rows", "given_shape", "match"),
    [
        ((-1, -1), 1, None, "x: has the shape -1, -1 may vary; name it with shapes, as 8"),
        ((-1, 8), 1, (9,), "shapes 9: not a shape of x, which has 8"),
        ((-1, 8), 1, (8, 8), "shapes 8x8: not a shape of x"),
    ],
    ids=["unknown", "another", "too many"],
)
def test_shapes_that_no_request_can_have(shape, rows, given_shape, match):
    """Are refused."""
    with pytest.raises(ConfigError, match=match):
        resolve(Tensor("x", "FP32", shape), rows, given_shape)


def test_datatypes_are_those_of_the_protocol():
    """Nothing else is sent."""
    check_datatype(Tensor("x", "INT8", ()))
    with pytest.raises(ConfigError, match="x: of FP8, which cannot be sent, only BOOL"):
        check_datatype(Tensor("x", "FP8", ()))


def test_elements_as_json():
    """Strings as text, numbers flat; half floats cannot be."""
    assert as_json(Tensor("x", "INT16", (2,)), b"\1\0\2\0") == [1, 2]
    assert as_json(Tensor("x", BYTES, (1,)), encode_strings([b"a"])) == ["a"]
    with pytest.raises(ConfigError, match="oip\\+grpc"):
        as_json(Tensor("x", "FP16", (1,)), b"\0\0")
