"""Images as inputs: their pixels, JPEG files, and files as strings."""

from __future__ import annotations

import base64
import io
import warnings
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from loadgen.errors import ConfigError

if TYPE_CHECKING:
    from PIL import Image

_ORIENTATION = 0x0112
"""The number of this tag in EXIF."""

SUFFIXES = (".jpg", ".jpeg", ".png", ".webp", ".gif", ".bmp", ".tif", ".tiff")


def read_pixels(file: Path) -> np.ndarray:
    """The pixels of an image file, uint8 ``(height, width, 3)``: upright, 16 bits cut to 8, without transparency.

    Of an animation, or of several pages, it is the first picture.

    Raises:
        ConfigError: it cannot be read, or has no such pixels.
    """
    from PIL import Image, UnidentifiedImageError  # noqa: PLC0415 - most runs do without

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # such as of metadata that is cut short
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            with Image.open(file) as image:
                image.load()
                return _rgb(_upright(image), file)
    except UnidentifiedImageError:
        raise ConfigError(f"{file}: not an image, or damaged") from None
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise ConfigError(f"{file}: too large: {error}") from None
    except OSError as error:
        raise ConfigError(f"{file}: cannot be read: {error.strerror or error}") from None
    except ConfigError:
        raise
    except Exception as error:  # decoders raise whatever the bytes of a damaged file lead to
        raise ConfigError(f"{file}: damaged ({error})") from None


def _upright(image: Image.Image) -> Image.Image:
    """An image as viewers show it, by its EXIF data.

    `PIL.ImageOps.exif_transpose` would write these data anew, and fail where others of them are damaged.
    """
    from PIL.Image import Transpose  # noqa: PLC0415 - most runs do without

    turns = {
        2: Transpose.FLIP_LEFT_RIGHT,
        3: Transpose.ROTATE_180,
        4: Transpose.FLIP_TOP_BOTTOM,
        5: Transpose.TRANSPOSE,
        6: Transpose.ROTATE_270,
        7: Transpose.TRANSVERSE,
        8: Transpose.ROTATE_90,
    }
    turn = turns.get(image.getexif().get(_ORIENTATION, 1))
    return image if turn is None else image.transpose(turn)


def _rgb(image: Image.Image, file: Path) -> np.ndarray:
    if image.mode.startswith("I;16"):
        return np.repeat((np.asarray(image) >> 8).astype(np.uint8)[..., np.newaxis], 3, axis=2)
    if image.mode in ("I", "F"):
        raise ConfigError(f"{file}: has 32 bits a pixel, and no range; save it with 8 or 16, or its numbers as npy")
    image.info.pop("transparency", None)  # Pillow would warn that it goes
    return np.asarray(image.convert("RGB"))


def jpeg(pixels: np.ndarray) -> bytes:
    """Pixels, uint8 ``(height, width, 3)``, as a JPEG file at the usual quality, 75."""
    from PIL import Image  # noqa: PLC0415 - most runs do without

    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "JPEG")
    return buffer.getvalue()


def base64_of(file: bytes) -> np.ndarray:
    """The base64 of a file, without line breaks, as the bytes of a string."""
    return np.frombuffer(base64.b64encode(file), dtype=np.uint8)
