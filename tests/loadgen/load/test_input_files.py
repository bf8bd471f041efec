"""Inputs from files."""

import base64
import io

import numpy as np
import pytest
from PIL import Image

from loadgen.errors import ConfigError
from loadgen.load.input_files import FileInputs
from model_containers.model import TensorSpec

PIXELS = (5, 7, 3)
IMAGE = TensorSpec(PIXELS, "float32")
VECTOR = TensorSpec((4,), "float32")
TEXT = TensorSpec((), "str")


def noise(shape=PIXELS, seed=0):
    return np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)


def decoded(payload):
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(bytes(payload), validate=True))))


def test_arrays_from_files(tmp_path):
    """One input or many, npy or npz, cast where nothing is lost but precision."""
    np.save(tmp_path / "a.npy", np.arange(4.0))
    np.save(tmp_path / "b.npy", np.arange(8, dtype=np.float32).reshape(2, 4))
    np.savez(tmp_path / "c.npz", x=np.ones(4, np.uint8), y=np.zeros((1, 4), np.float32))
    pool = FileInputs(tmp_path, VECTOR, None, None).make()
    assert [array.tolist() for array in pool.arrays] == [
        [0, 1, 2, 3],
        [0, 1, 2, 3],
        [4, 5, 6, 7],
        [1, 1, 1, 1],
        [0, 0, 0, 0],
    ]
    assert all(array.dtype == np.dtype("<f4") for array in pool.arrays)
    assert pool.stacked().shape == (5, 4)
    assert len(FileInputs(tmp_path, VECTOR, None, 2).make()) == 2


def test_arrays_for_a_model_of_any_shape(tmp_path):
    """The first of two dimensions and more counts inputs."""
    np.save(tmp_path / "a.npy", np.zeros((3, 2, 2), np.float32))
    np.save(tmp_path / "b.npy", np.zeros(9, np.float32))
    pool = FileInputs(tmp_path, TensorSpec(None, "float32"), None, None).make()
    assert [array.shape for array in pool.arrays] == [(2, 2)] * 3 + [(9,)]
    with pytest.raises(ConfigError, match="of one shape"):
        pool.stacked()


@pytest.mark.parametrize("dtype", ["float32", "uint8"])
def test_images_from_files(tmp_path, dtype):
    """Their pixels, whatever the mode of the file."""
    Image.fromarray(noise()).save(tmp_path / "a.png")
    Image.fromarray(noise()[..., 0]).save(tmp_path / "b.PNG")
    Image.fromarray(noise()).save(tmp_path / "c.jpg")
    pool = FileInputs(tmp_path, TensorSpec(PIXELS, dtype), PIXELS, None).make()
    assert [(array.shape, str(array.dtype)) for array in pool.arrays] == [(PIXELS, dtype)] * 3
    assert np.array_equal(pool.arrays[0], noise())
    assert np.array_equal(pool.arrays[1], np.repeat(noise()[..., :1], 3, axis=2))


def test_images_as_strings_from_files(tmp_path):
    """A JPEG file as it is, of any size; a PNG as JPEG."""
    Image.fromarray(noise((9, 9, 3))).save(tmp_path / "a.jpeg")
    Image.fromarray(noise()).save(tmp_path / "b.png")
    first, second = FileInputs(tmp_path, TEXT, PIXELS, None).make().payloads()
    assert base64.b64decode(bytes(first)) == (tmp_path / "a.jpeg").read_bytes()
    assert decoded(second).shape == PIXELS


def test_text_from_files(tmp_path):
    """A string a line; empty lines are none."""
    (tmp_path / "a.txt").write_bytes(b"one\n\ntwo words\r\n")
    pool = FileInputs(tmp_path / "a.txt", TEXT, None, None).make()
    assert [bytes(payload) for payload in pool.payloads()] == [b"one", b"two words"]
    assert pool.stacked().tolist() == [b"one", b"two words"]


def write(path):
    suffix = path.suffix
    if suffix == ".npy":
        np.save(path, np.zeros((2, 3), np.float32))
    elif suffix == ".png":
        Image.fromarray(noise()).save(path)
    else:
        path.write_text("text\n")


@pytest.mark.parametrize(
    ("name", "spec", "pixels", "text"),
    [
        ("a.npy", VECTOR, None, "a.npy holds inputs of 3, the model takes 4: resize them before"),
        ("a.npy", TensorSpec((3,), "uint8"), None, "a.npy holds float32, the model takes uint8"),
        ("a.npy", TEXT, PIXELS, "a.npy holds numbers where strings are sent"),
        ("a.png", TensorSpec((9, 9, 3), "uint8"), (9, 9, 3), "a.png holds inputs of 5x7x3, the model takes 9x9x3"),
        ("a.png", VECTOR, None, "a.png is an image, and this model takes none"),
        ("a.txt", VECTOR, None, "a.txt is a text, and this model takes none"),
        ("a.jpg", IMAGE, PIXELS, "a.jpg is not an image"),
        ("a.jpg", TEXT, PIXELS, "a.jpg is not a JPEG file"),
        ("a.npz", VECTOR, None, "a.npz cannot be read"),
        ("a.csv", VECTOR, None, "a.csv is no directory and does not end in .npy"),
    ],
)
def test_what_does_not_fit_is_refused(tmp_path, name, spec, pixels, text):
    """In one line that names the file."""
    write(tmp_path / name)
    with pytest.raises(ConfigError, match=text):
        FileInputs(tmp_path / name, spec, pixels, None).make()


def test_what_was_seen_of_files_holds(tmp_path):
    """Also when they are gone afterwards."""
    np.save(tmp_path / "a.npy", np.zeros((3, 4), np.float32))
    source = FileInputs(tmp_path / "a.npy", VECTOR, None, None).checked()
    (tmp_path / "a.npy").unlink()
    assert (source.payload_bytes, source.text) == (16, f"3 inputs from {tmp_path / 'a.npy'}")


def test_fewer_inputs_than_were_asked_for_are_refused(tmp_path):
    """Not sent more often than the user thinks."""
    path = tmp_path / "three.npy"
    np.save(path, np.zeros((3, 2), np.float32))
    spec = TensorSpec((2,), "float32")
    assert len(FileInputs(path, spec, None, 3).checked().make()) == 3
    with pytest.raises(ConfigError, match=r"count 4: .*three\.npy holds 3"):
        FileInputs(path, spec, None, 4).checked()


def test_what_is_not_there_is_refused(tmp_path):
    """A file, a directory without inputs, a file without lines."""
    with pytest.raises(ConfigError, match=r"nowhere\.npy is not there"):
        FileInputs(tmp_path / "nowhere.npy", VECTOR, None, None).make()
    with pytest.raises(ConfigError, match="holds no file that ends in"):
        FileInputs(tmp_path, VECTOR, None, None).make()
    (tmp_path / "a.txt").write_text("")
    with pytest.raises(ConfigError, match="holds no input"):
        FileInputs(tmp_path, TEXT, None, None).make()


@pytest.mark.parametrize(
    ("array", "dtype", "text"),
    [
        (np.full(4, 300, np.uint16), "uint8", "holds 300 to 300, beyond uint8"),
        (np.full(4, 1 << 40), "int32", "beyond int32"),
        (np.full(4, 1e300), "float32", "not finite in float32"),
        (np.array([0, 1, np.nan, 0], np.float32), "float32", "not finite"),
    ],
)
def test_numbers_that_do_not_fit_are_refused(tmp_path, array, dtype, text):
    """Nothing is cut off or wrapped in silence."""
    np.save(tmp_path / "a.npy", array)
    with pytest.raises(ConfigError, match=text):
        FileInputs(tmp_path / "a.npy", TensorSpec((4,), dtype), None, None).make()


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04 and no more"])
def test_broken_files_are_refused(tmp_path, content):
    """Empty, or cut off."""
    for name in ("a.npy", "a.npz"):
        (tmp_path / name).write_bytes(content)
        with pytest.raises(ConfigError, match=f"{name} cannot be read"):
            FileInputs(tmp_path / name, VECTOR, None, None).make()


def test_one_number_is_no_input(tmp_path):
    """Whatever the model takes."""
    np.save(tmp_path / "a.npy", np.float32(1))
    for spec in (VECTOR, TensorSpec(None, "float32")):
        with pytest.raises(ConfigError, match="holds one number"):
            FileInputs(tmp_path / "a.npy", spec, None, None).make()


def test_more_than_memory_is_meant_for_is_refused(tmp_path, monkeypatch):
    """With how many there is room for."""
    monkeypatch.setattr("loadgen.load.input_files.MAX_POOL_BYTES", 40)
    np.save(tmp_path / "a.npy", np.zeros((3, 4), np.float32))
    with pytest.raises(ConfigError, match="with count 2"):
        FileInputs(tmp_path, VECTOR, None, None).make()
