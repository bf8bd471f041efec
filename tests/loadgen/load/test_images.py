"""The pixels of image files, of all modes, ways up and kinds of damage."""

import struct
import warnings
import zlib

import numpy as np
import pytest
from PIL import Image

from loadgen.errors import ConfigError
from loadgen.load.images import read_pixels

RGB = np.random.default_rng(0).integers(0, 256, (4, 6, 3), dtype=np.uint8)
DEEP = np.arange(24, dtype=np.uint16).reshape(4, 6) * 2730


def chunk(kind, content):
    """One chunk of a PNG file."""
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))


def png(width, height, bits, colour, rows):
    """A PNG file as no writer at hand makes it."""
    head = struct.pack(">IIBBBBB", width, height, bits, colour, 0, 0, 0)
    parts = [(b"IHDR", head), (b"IDAT", zlib.compress(rows)), (b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunk(*part) for part in parts)


def in_colours(grey):
    """Grey pixels as red, green and blue."""
    return np.repeat(np.asarray(grey, np.uint8)[..., np.newaxis], 3, axis=2)


@pytest.mark.parametrize("name", ["a.png", "a.tif.png"])
def test_sixteen_bits_are_cut_to_their_upper_half(tmp_path, name):
    """White is what was white; 1/256 of it is 1."""
    with (tmp_path / name).open("wb") as file:
        Image.fromarray(DEEP).save(file, "TIFF" if "tif" in name else "PNG")
    assert np.array_equal(read_pixels(tmp_path / name), in_colours(DEEP >> 8))


def test_sixteen_bits_of_each_colour(tmp_path):
    """Likewise, and with transparency."""
    deep = ((RGB.astype(np.uint16) << 8) + 0xF0).astype(">u2")
    rows = b"".join(b"\0" + row.tobytes() for row in deep)
    (tmp_path / "a.png").write_bytes(png(6, 4, 16, 2, rows))
    assert np.array_equal(read_pixels(tmp_path / "a.png"), RGB)
    grey = np.stack([DEEP, np.full_like(DEEP, 7)], axis=2).astype(">u2")
    rows = b"".join(b"\0" + row.tobytes() for row in grey)
    (tmp_path / "b.png").write_bytes(png(6, 4, 16, 4, rows))
    assert np.array_equal(read_pixels(tmp_path / "b.png"), in_colours(DEEP >> 8))


@pytest.mark.parametrize(
    ("mode", "options"),
    [
        ("1", {}),
        ("L", {}),
        ("L", {"transparency": 3}),
        ("LA", {}),
        ("P", {}),
        ("P", {"transparency": 3}),
        ("P", {"transparency": bytes(range(200))}),
        ("PA", {}),
        ("RGB", {"transparency": (1, 2, 3)}),
        ("RGBA", {}),
        ("CMYK", {}),
        ("YCbCr", {}),
    ],
)
def test_each_mode_has_its_colours(tmp_path, mode, options):
    """As the writer had them; transparency goes, without a word on standard error."""
    palette = Image.fromarray(RGB).convert("P", palette=Image.Palette.ADAPTIVE)
    image = palette.convert(mode) if mode in ("P", "PA") else Image.fromarray(RGB).convert(mode)
    with (tmp_path / "a.png").open("wb") as file, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        image.save(file, "TIFF" if mode in ("PA", "CMYK", "YCbCr") else "PNG", **options)
    match mode:
        case "1":
            expected = in_colours(np.asarray(image) * 255)
        case "L" | "LA":
            expected = in_colours(np.asarray(image.getchannel(0)))
        case "P" | "PA":
            expected = np.array(palette.getpalette()).reshape(-1, 3)[np.asarray(palette)]
        case _:
            expected = RGB  # CMYK too: without black, colours invert exactly
    rounding = 4 if mode == "YCbCr" else 0
    assert np.abs(read_pixels(tmp_path / "a.png").astype(int) - expected).max() <= rounding


@pytest.mark.parametrize("mode", ["I", "F"])
def test_pixels_without_a_range_are_refused(tmp_path, mode):
    """What 1000 would be of 255 is not known."""
    with (tmp_path / "a.png").open("wb") as file:
        Image.fromarray(RGB).convert(mode).save(file, "TIFF")
    with pytest.raises(ConfigError, match=r"a.png: has 32 bits a pixel, and no range; save it with 8 or 16"):
        read_pixels(tmp_path / "a.png")


UPRIGHT = {
    1: lambda pixels: pixels,
    2: lambda pixels: pixels[:, ::-1],
    3: lambda pixels: pixels[::-1, ::-1],
    4: lambda pixels: pixels[::-1],
    5: lambda pixels: pixels.transpose(1, 0, 2),
    6: lambda pixels: pixels[::-1].transpose(1, 0, 2),
    7: lambda pixels: pixels[::-1, ::-1].transpose(1, 0, 2),
    8: lambda pixels: pixels[:, ::-1].transpose(1, 0, 2),
}


@pytest.mark.parametrize("orientation", UPRIGHT)
@pytest.mark.parametrize("deep", [False, True])
def test_images_are_turned_upright(tmp_path, orientation, deep):
    """As EXIF says, and as viewers show them."""
    exif = Image.Exif()
    exif[0x0112] = orientation
    Image.fromarray(DEEP if deep else RGB).save(tmp_path / "a.png", exif=exif)
    stored = in_colours(DEEP >> 8) if deep else RGB
    assert np.array_equal(read_pixels(tmp_path / "a.png"), UPRIGHT[orientation](stored))


@pytest.mark.parametrize("orientation", [3, 6])
def test_photographs_are_turned_upright(tmp_path, orientation):
    """As cameras write them: the same pixels as of the file without the tag, turned."""
    exif = Image.Exif()
    exif[0x0112] = orientation
    Image.fromarray(RGB).save(tmp_path / "a.jpg", exif=exif)
    Image.fromarray(RGB).save(tmp_path / "b.jpg")
    assert np.array_equal(read_pixels(tmp_path / "a.jpg"), UPRIGHT[orientation](read_pixels(tmp_path / "b.jpg")))


@pytest.mark.parametrize(
    ("good", "bad", "orientation"),
    [
        (b"MM\0*\0\0\0\x08", b"MM\0*\0\0\xff\xff", 1),
        (b"\x01\x0f\0\x02", b"\x01\0\0\x02", 6),  # the maker as the width
        (b"\x01\x12\0\x03\0\0\0\x01\0\x06", b"\x01\x12\0\x03\0\0\0\x01\0\x63", 1),
    ],
    ids=["no tags", "another tag", "no such orientation"],
)
def test_metadata_that_are_damaged(tmp_path, good, bad, orientation):
    """Say nothing of the pixels, which are there."""
    exif = Image.Exif()
    exif[0x0112], exif[0x010F] = 6, "cam"
    Image.fromarray(RGB).save(tmp_path / "a.jpg", exif=exif)
    content = (tmp_path / "a.jpg").read_bytes()
    assert good in content
    (tmp_path / "a.jpg").write_bytes(content.replace(good, bad))
    Image.fromarray(RGB).save(tmp_path / "b.jpg")
    assert np.array_equal(read_pixels(tmp_path / "a.jpg"), UPRIGHT[orientation](read_pixels(tmp_path / "b.jpg")))


def test_a_single_pixel(tmp_path):
    """Is an image too."""
    Image.fromarray(RGB[:1, :1]).save(tmp_path / "a.png")
    assert np.array_equal(read_pixels(tmp_path / "a.png"), RGB[:1, :1])


def short_data(content):
    """A PNG whose data chunk has two bytes."""
    at = content.index(b"IDAT")
    return content[: at - 4] + chunk(b"IDAT", content[at + 4 : at + 6]) + chunk(b"IEND", b"")


@pytest.mark.parametrize(
    ("name", "spoil", "reason"),
    [
        ("a.png", short_data, "cannot be read"),
        ("a.png", lambda content: content.replace(b"IDAT", b"iDAT"), "not an image, or damaged"),
        ("a.png", lambda content: content[:50], "cannot be read"),
        ("a.png", lambda content: content[:8], "not an image"),
        ("a.png", lambda content: content[:16] + b"\0" * 8 + content[24:], "not an image, or damaged"),
        ("a.jpg", lambda content: content[: len(content) // 2], "cannot be read: image file is truncated"),
        ("a.jpg", lambda content: content[:4], "not an image"),
        ("a.jpg", lambda content: b"", "not an image"),
        ("a.jpg", lambda content: b"<html></html>", "not an image"),
    ],
)
def test_damaged_images(tmp_path, name, spoil, reason):
    """Whatever the decoder makes of them, it is one line with the file."""
    Image.fromarray(np.tile(RGB, (8, 8, 1))).save(tmp_path / name)
    (tmp_path / name).write_bytes(spoil((tmp_path / name).read_bytes()))
    with pytest.raises(ConfigError, match=f"{name}: {reason}"):
        read_pixels(tmp_path / name)


@pytest.mark.parametrize("side", [10_000, 30_000])
def test_images_that_are_too_large(tmp_path, side):
    """Are refused before their pixels take the memory."""
    (tmp_path / "a.png").write_bytes(png(side, side, 8, 2, b""))
    with warnings.catch_warnings():
        warnings.simplefilter("default")  # as outside of tests
        with pytest.raises(ConfigError, match=r"a\.png: too large: Image size"):
            read_pixels(tmp_path / "a.png")
