"""Images as models take them."""

import numpy as np
import pytest

from loadgen.errors import ConfigError
from loadgen.load.image_layout import METHODS, ImageOptions, is_image, laid_out

RED = np.array([255, 0, 0], np.uint8)
PIXELS = np.random.default_rng(0).integers(0, 256, (4, 6, 3), dtype=np.uint8)


@pytest.mark.parametrize(
    ("shape", "layout", "expected"),
    [
        pytest.param((4, 6, 3), None, PIXELS, id="channels last"),
        pytest.param((3, 4, 6), None, PIXELS.transpose(2, 0, 1), id="channels first"),
        pytest.param((3, -1, -1), None, PIXELS.transpose(2, 0, 1), id="channels first, of any size"),
        pytest.param((-1, -1, 3), None, PIXELS, id="channels last, of any size"),
        pytest.param((-1, -1, -1), None, PIXELS, id="of any shape"),
        pytest.param((-1, -1, -1), "NCHW", PIXELS.transpose(2, 0, 1), id="of any shape, forced"),
        pytest.param((4, 6, 3), "NCHW", PIXELS.transpose(2, 0, 1), id="forced against the shape"),
    ],
)
def test_channels_are_where_the_model_has_them(shape, layout, expected):
    """Seen by the shape, or said."""
    found = laid_out(PIXELS, [shape], ImageOptions(layout), "x.png")
    assert found.flags.c_contiguous
    assert np.array_equal(found, expected)


@pytest.mark.parametrize(("shape", "form"), [((1, 4, 6), (1, 4, 6)), ((4, 6, 1), (4, 6, 1)), ((4, 6), (4, 6))])
def test_a_model_of_one_channel_gets_grey_pixels(shape, form):
    """By the usual weights of colours."""
    found = laid_out(np.tile(RED, (4, 6, 1)), [shape], ImageOptions(), "x.png")
    assert found.shape == form
    assert set(found.reshape(-1).tolist()) == {76}


@pytest.mark.parametrize("method", METHODS)
def test_resizing_is_by_the_method_that_was_named(method):
    """To the model's height and width, also of one with channels first."""
    from PIL import Image

    found = laid_out(PIXELS, [(3, 2, 5)], ImageOptions(resize=method), "x.png")
    expected = np.asarray(Image.fromarray(PIXELS).resize((5, 2), Image.Resampling[method.upper()]))
    assert np.array_equal(found, expected.transpose(2, 0, 1))


def test_an_image_of_the_right_size_is_not_resized():
    """That of another shape that the model takes too."""
    shapes = [(9, 9, 3), (4, 6, 3)]
    assert laid_out(PIXELS, shapes, ImageOptions(resize="nearest"), "x.png") is PIXELS
    assert laid_out(PIXELS, [(9, 9, 3)], ImageOptions(), "x.png") is PIXELS


def test_resizing_wants_a_size():
    """Which a model of any has not."""
    with pytest.raises(ConfigError, match="any size; name one with input_shape"):
        laid_out(PIXELS, [(3, -1, -1)], ImageOptions(resize="box"), "x.png")


@pytest.mark.parametrize(("shape", "is_one"), [((4, 6), True), ((3, 4, 6), True), ((7,), False), ((1, 3, 4, 6), False)])
def test_what_may_be_an_image(shape, is_one):
    """Two or three dimensions."""
    assert is_image(shape, ImageOptions()) is is_one
