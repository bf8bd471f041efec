"""Images as inputs: pixels, JPEG files, and files as strings."""

from __future__ import annotations

import base64
import io

import numpy as np


def jpeg(pixels: np.ndarray) -> bytes:
    """Pixels, uint8 ``(height, width, 3)``, as a JPEG file at the usual quality, 75."""
    from PIL import Image  # noqa: PLC0415 - most runs do without

    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "JPEG")
    return buffer.getvalue()


def base64_of(file: bytes) -> np.ndarray:
    """The base64 of a file, without line breaks, as the bytes of a string."""
    return np.frombuffer(base64.b64encode(file), dtype=np.uint8)
