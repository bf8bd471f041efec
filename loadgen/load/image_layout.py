"""An image's pixels as a model takes them: channels first or last, grey or in colour, and resized on demand."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np

from loadgen.errors import ConfigError

Layout = Literal["NCHW", "NHWC"]
LAYOUTS: tuple[str, ...] = get_args(Layout)
"""Where a model has the channels of an image: before or after its height and width."""

METHODS = ("nearest", "box", "bilinear", "hamming", "bicubic", "lanczos")
"""Of resizing, as Pillow names them."""

_CHANNELS = (1, 3)
"""Of grey images and those in colour."""


@dataclass(frozen=True, slots=True)
class ImageOptions:
    """What is done with images on their way to a model.

    Attributes:
        layout: of the model's input; None to see it by the model's shape.
        resize: the method by which images are resized to the model's height and width; None for not at all.
    """

    layout: str | None = None
    resize: str | None = None


@dataclass(frozen=True, slots=True)
class _Form:
    """One shape of an input as an image's; -1 for a size that may vary.

    Attributes:
        height: of it.
        width: of it.
        channels: 1 or 3.
        first: the channels come first; None where there is no dimension for them.
    """

    height: int
    width: int
    channels: int
    first: bool | None


def is_image(shape: Sequence[int], options: ImageOptions) -> bool:
    """Whether an input of this shape, -1 for a dimension that may vary, may be an image."""
    return _form(shape, options) is not None


def has_channels(shape: Sequence[int], options: ImageOptions) -> bool:
    """Whether an input of this shape has as many channels as images have, 1 or 3, where its layout has them."""
    form = _form(shape, options)
    return form is not None and form.channels in _CHANNELS


def _form(shape: Sequence[int], options: ImageOptions) -> _Form | None:
    if len(shape) == 2:
        return _Form(shape[0], shape[1], 1, None)
    if len(shape) != 3:
        return None
    first = options.layout == "NCHW"
    if options.layout is None:
        first = shape[2] not in _CHANNELS and shape[0] in _CHANNELS
    channels, (height, width) = (shape[0], shape[1:]) if first else (shape[2], shape[:2])
    return _Form(height, width, 3 if channels < 0 else channels, first)


def laid_out(pixels: np.ndarray, shapes: Sequence[tuple[int, ...]], options: ImageOptions, source: str) -> np.ndarray:
    """An image as a model takes it; one that does not fit is left for its caller to refuse.

    Args:
        pixels: uint8 ``(height, width, 3)``.
        shapes: that the model takes, -1 for a dimension that may vary; none for any. The first is resized to.
        options: what is done with it.
        source: where the image was found, for errors.

    Raises:
        ConfigError: it is to be resized to a size that is not known.
    """
    forms = [form for shape in shapes if (form := _form(shape, options)) is not None]
    if not forms:
        first = options.layout == "NCHW"
        return np.ascontiguousarray(pixels.transpose(2, 0, 1)) if first else pixels
    size = pixels.shape[:2]
    form = next((one for one in forms if (one.height, one.width) == size), forms[0])
    if options.resize is not None and (form.height, form.width) != size:
        pixels = _resized(pixels, form, options.resize, source)
    if form.channels == 1:
        pixels = _grey(pixels)
    if form.first is None:
        return pixels[..., 0]
    return np.ascontiguousarray(pixels.transpose(2, 0, 1)) if form.first else pixels


def resized(pixels: np.ndarray, height: int, width: int, method: str) -> np.ndarray:
    """An image of another size; its sides are stretched to it.

    Args:
        pixels: uint8 ``(height, width, 3)``.
        height: of the new one.
        width: of the new one.
        method: one of `METHODS`.
    """
    from PIL import Image  # noqa: PLC0415 - most runs do without

    how = Image.Resampling[method.upper()]
    return np.asarray(Image.fromarray(pixels).resize((width, height), how))


def _resized(pixels: np.ndarray, form: _Form, method: str, source: str) -> np.ndarray:
    if min(form.height, form.width) < 0:
        raise ConfigError(f"{source}: the model takes images of any size; name one with {{Deploy.input_shape}}")
    return resized(pixels, form.height, form.width, method)


def _grey(pixels: np.ndarray) -> np.ndarray:
    """One channel: the luma of ITU-R 601, as Pillow has it."""
    from PIL import Image  # noqa: PLC0415 - most runs do without

    return np.asarray(Image.fromarray(pixels).convert("L"))[..., np.newaxis]
