"""Inputs from files: which of them are taken, arrays, and images."""

import base64
import io
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from loadgen.cli.console import worded
from loadgen.errors import ConfigError
from loadgen.load.image_layout import ImageOptions
from loadgen.load.input_files import FileInputs, content_of, files_in, shapes_in
from model_containers.model import TensorSpec

PIXELS = (5, 7, 3)
IMAGE = TensorSpec(PIXELS, "float32")
VECTOR = TensorSpec((4,), "float32")
TEXT = TensorSpec((), "str")


def noise(shape=PIXELS, seed=0):
    return np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)


def decoded(payload):
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(bytes(payload), validate=True))))


def test_the_array_with_the_name_of_the_input_is_it(tmp_path):
    """Labels and the like may lie beside it, also in JSON."""
    np.savez(tmp_path / "a.npz", y=np.arange(2), x=np.arange(8.0).reshape(2, 4), z=np.zeros((2, 4)))
    (tmp_path / "b.json").write_text('[{"y": 1, "x": [1, 2, 3, 4]}]')
    pool = FileInputs(tmp_path, VECTOR, None, None, names=("x",)).make()
    assert [array.tolist() for array in pool.arrays] == [[0, 1, 2, 3], [4, 5, 6, 7], [1, 2, 3, 4]]
    with pytest.raises(ConfigError, match=r"y: holds inputs of 2, .*, or save the inputs alone, named 'w'"):
        FileInputs(tmp_path, VECTOR, None, None, names=("w",)).make()
    with pytest.raises(ConfigError, match="has the members y, x, not 'w'; name one so"):
        FileInputs(tmp_path / "b.json", VECTOR, None, None, names=("w",)).make()


@pytest.mark.parametrize(
    ("shape", "options", "remedy"),
    [
        ((5, 7, 4), ImageOptions(), "save its pixels as npy, since images have 1 or 3 channels"),
        ((3, 9, 9), ImageOptions("NHWC", "box"), "leave layout out"),
        ((3, 9, 9), ImageOptions(), "resize it before, or with resize bilinear"),
        ((3, 7, 5), ImageOptions(), "transpose it before"),
    ],
)
def test_an_image_that_does_not_fit_says_what_helps(tmp_path, shape, options, remedy):
    """Resizing gives no channels."""
    Image.fromarray(noise()).save(tmp_path / "a.png")
    with pytest.raises(ConfigError, match=rf"a\.png: an image of .*; {remedy}$"):
        FileInputs(tmp_path, TensorSpec(shape, "float32"), None, None, image_options=options).make()


def test_columns_are_found_by_their_names(tmp_path):
    """In the order of the model, whatever theirs is; NaN only where it is allowed."""
    names, spec = ("age", "fare"), TensorSpec((2,), "float32")
    (tmp_path / "a.csv").write_text("fare,name,age\n10,x,1\n20,y,2\n")
    np.savez(tmp_path / "b.npz", fare=[30.0, np.nan], age=[[3], [4]], other=np.zeros(9))
    pool = FileInputs(tmp_path, spec, None, None, names=names, allow_nan=True).make()
    expected = np.array([[1, 10], [2, 20], [3, 30], [4, np.nan]])
    assert np.array_equal(np.stack(pool.arrays), expected, equal_nan=True)
    with pytest.raises(ConfigError, match="allow NaN"):
        FileInputs(tmp_path, spec, None, None, names=names).make()
    np.savez(tmp_path / "b.npz", fare=[30.0, 40.0], age=[3])
    with pytest.raises(ConfigError, match=r"b\.npz: holds arrays of different lengths \(age, fare\)"):
        FileInputs(tmp_path, spec, None, None, names=names).make()


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
        ("a.npy", VECTOR, None, "a.npy: holds inputs of 3, the model takes 4; resize them before"),
        ("a.npy", TensorSpec((3,), "uint8"), None, "a.npy: holds float32, the model takes uint8"),
        ("a.npy", TEXT, PIXELS, "a.npy: holds numbers where strings are sent"),
        (
            "a.png",
            TensorSpec((9, 9, 3), "uint8"),
            (9, 9, 3),
            "the model takes 9x9x3; resize it before, or with resize b",
        ),
        ("a.png", VECTOR, None, "a.png: an image, and this model takes none; save numbers, as npy or csv"),
        ("a.txt", VECTOR, None, "a.txt: a text, and this model takes none; save numbers, as npy or csv"),
        ("a.jpg", IMAGE, PIXELS, "a.jpg: not an image"),
        ("a.jpg", TEXT, PIXELS, "a.jpg: not an image, or damaged"),
        ("a.npz", VECTOR, None, "a.npz: holds no arrays, or is damaged"),
        ("a.bin", VECTOR, None, "a.bin: neither a directory nor a file that ends in .npy"),
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
    with pytest.raises(ConfigError, match=r"nowhere\.npy: not there"):
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
        (np.full(4, -(1 << 24) - 1), "float32", "holds -16777217, which float32 rounds to -16777216; scale it before"),
        (np.array([0, 0, 0, 2049], np.uint16), "float16", "holds 2049, which float16 rounds to 2048"),
        (np.full(4, (1 << 53) + 1), "float64", "holds 9007199254740993, which float64 rounds to 9007199254740992"),
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
        with pytest.raises(ConfigError, match=f"{name}: holds no arrays"):
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


@pytest.mark.parametrize(
    "array",
    [np.array(["one", "zwö"]), np.array([b"one", "zwö".encode()]), np.array(["one", "zwö".encode()], object)],
    ids=["U", "S", "objects"],
)
@pytest.mark.parametrize("save", [np.save, np.savez])
def test_texts_from_arrays(tmp_path, array, save):
    """Each element is one."""
    path = tmp_path / f"x.{'npy' if save is np.save else 'npz'}"
    save(path, array)
    pool = FileInputs(path, TEXT, None, None).make()
    assert [bytes(payload) for payload in pool.payloads()] == [b"one", "zwö".encode()]


@pytest.mark.parametrize(
    ("array", "reason"),
    [
        (np.array([1j, 2, 3, 4]), "x.npy: holds complex128, the model takes float32"),
        (np.array(["2024-01-01"] * 4, "M8[D]"), r"x.npy: holds datetime64\[D\], the model takes"),
        (np.array([(1, 2.0)], [("a", "i4"), ("b", "f4")]), "x.npy: holds .*, the model takes float32"),
        (np.array(["a"] * 4), "x.npy: holds <U1, the model takes float32"),
        (np.array([1, None, 3, 4], object), "x.npy: holds object, the model takes float32"),
        (np.zeros((2, 0)), "x.npy: holds inputs of 0, the model takes 4"),
        (np.zeros((0, 4)), "x.npy: holds no input"),
    ],
)
def test_arrays_that_a_model_cannot_take(tmp_path, array, reason):
    """Of any kind that numpy saves."""
    np.save(tmp_path / "x.npy", array)
    with pytest.raises(ConfigError, match=reason):
        FileInputs(tmp_path / "x.npy", VECTOR, None, None).make()


def test_arrays_of_any_shape_without_elements(tmp_path):
    """Would be requests of nothing."""
    for array in (np.zeros(0), np.zeros((2, 0))):
        np.save(tmp_path / "x.npy", array)
        with pytest.raises(ConfigError, match=r"x\.npy: holds an input without elements; remove it"):
            FileInputs(tmp_path / "x.npy", TensorSpec(None, "float32"), None, None).make()


def test_inputs_and_labels_in_one_file(tmp_path):
    """Labels are no input of a model that takes any."""
    np.savez(tmp_path / "x.npz", X=np.zeros((3, 2)), y=np.arange(3))
    with pytest.raises(ConfigError, match=r"x\.npz: holds arrays of other dimensions \(X, y\); save the inputs only"):
        FileInputs(tmp_path / "x.npz", TensorSpec(None, "float32"), None, None).make()


def test_one_element_a_row(tmp_path):
    """An array of n numbers is n inputs of one."""
    np.save(tmp_path / "x.npy", np.arange(3.0))
    pool = FileInputs(tmp_path / "x.npy", TensorSpec((1,), "float32"), None, None).make()
    assert [array.tolist() for array in pool.arrays] == [[0], [1], [2]]


def test_integers_of_another_type_that_fit(tmp_path):
    """Nothing of them is lost."""
    np.save(tmp_path / "x.npy", np.array([0, 255]))
    pool = FileInputs(tmp_path / "x.npy", TensorSpec((2,), "uint8"), None, None).make()
    assert (pool.arrays[0].tolist(), str(pool.arrays[0].dtype)) == ([0, 255], "uint8")


def test_a_directory_as_people_have_it(tmp_path):
    """Below it too, in the order of names; what starts with a dot or comes from file managers is no input."""
    for name in (
        ".DS_Store",
        "._a.txt",
        ".git/x.txt",
        "__MACOSX/._a.txt",
        "Thumbs.db",
        "b.txt",
        "a/z.txt",
        "labels.md",
    ):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(f"{name}\n")
    (tmp_path / "a" / "up").symlink_to(tmp_path)
    (tmp_path / "c").symlink_to(tmp_path / "a")
    texts = [bytes(payload) for payload in FileInputs(tmp_path, TEXT, None, None).make().payloads()]
    assert texts == [b"a/z.txt", b"b.txt", b"a/z.txt"]
    everything = [file.relative_to(tmp_path).as_posix() for file in files_in(tmp_path, ())]
    assert everything == ["a/z.txt", "b.txt", "c/z.txt", "labels.md"]


def test_labels_beside_images(tmp_path):
    """Are left out, as of a model that takes vectors pictures are."""
    Image.fromarray(noise()).save(tmp_path / "a.png")
    (tmp_path / "labels.csv").write_text("file,label\na.png,cat\n")
    (tmp_path / "notes.txt").write_text("of 2024\n")
    assert len(FileInputs(tmp_path, IMAGE, PIXELS, None).make()) == 1
    np.save(tmp_path / "x.npy", np.zeros(4))
    assert len(FileInputs(tmp_path / "x.npy", VECTOR, None, None).make()) == 1


def test_names_that_are_too_long():
    """As anything else that is not there."""
    with pytest.raises(ConfigError, match="x: cannot be read: File name too long"):
        FileInputs(Path("x" * 5000), VECTOR, None, None).make()


def test_what_can_be_read_once_only(tmp_path):
    """Is no input: files are read for the plan and for the run, and by each client."""
    os.mkfifo(tmp_path / "x.txt")
    for path in (tmp_path / "x.txt", Path("/dev/zero")):
        with pytest.raises(ConfigError, match=f"{path}: not a file on disk, and inputs are read several times"):
            files_in(path, ())
    (tmp_path / "y.txt").write_text("y\n")
    assert len(FileInputs(tmp_path, TEXT, None, None).make()) == 1
    (tmp_path / "z.txt").symlink_to(tmp_path / "nowhere")
    with pytest.raises(ConfigError, match=r"z\.txt: cannot be read: No such file"):
        FileInputs(tmp_path, TEXT, None, None).make()


def test_a_directory_named_as_a_file(tmp_path):
    """Is a directory."""
    (tmp_path / "x.npy").mkdir()
    np.save(tmp_path / "x.npy" / "y.npy", np.zeros(4))
    assert len(FileInputs(tmp_path, VECTOR, None, None).make()) == 1


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("x.jsonl.gz", "holds many inputs in a form that is not read; unpack it"),
        ("x.tsv", "holds many inputs in a form that is not read; save it as csv or jsonl"),
        ("x.parquet", "holds many inputs in a form that is not read; save it as csv or jsonl"),
        ("x.bin", "empty; remove it"),
    ],
)
def test_whole_files_that_are_no_input(tmp_path, name, reason):
    """Although any file may be one string."""
    (tmp_path / name).write_bytes(b"" if name == "x.bin" else b"x")
    with pytest.raises(ConfigError, match=f"{name}: {reason}"):
        content_of(tmp_path / name)


def test_images_that_lie_on_their_side(tmp_path):
    """A portrait photograph has the shape that it is seen in; one of another shape is not transposed in silence."""
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(noise((7, 5, 3))).save(tmp_path / "a.png", exif=exif)
    pool = FileInputs(tmp_path / "a.png", IMAGE, PIXELS, None).make()
    assert np.array_equal(pool.arrays[0], noise((7, 5, 3))[::-1].transpose(1, 0, 2))
    Image.fromarray(noise((7, 5, 3))).save(tmp_path / "a.png")
    with pytest.raises(ConfigError, match=": an image of 7x5x3, the model takes 5x7x3; transpose it before"):
        FileInputs(tmp_path / "a.png", IMAGE, PIXELS, None).make()


@pytest.mark.parametrize("suffix", ["webp", "gif", "bmp", "tif", "tiff", "png", "jpg"])
def test_images_of_all_formats(tmp_path, suffix):
    """Their first picture, with the channels where the model has them."""
    grey = np.full((5, 7, 3), 90, np.uint8)
    Image.fromarray(grey).save(tmp_path / f"a.{suffix}")
    for shape, form in ((PIXELS, grey), ((3, 5, 7), grey.transpose(2, 0, 1)), ((1, 5, 7), grey[None, ..., 0])):
        (array,) = FileInputs(tmp_path, TensorSpec(shape, "uint8"), None, None).make().arrays
        assert np.abs(array.astype(int) - form).max() <= 2  # lossy ones
    (text,) = FileInputs(tmp_path, TEXT, PIXELS, None).make().payloads()
    assert base64.b64decode(text).startswith(b"\xff\xd8\xff")


def test_an_animation_is_its_first_picture(tmp_path):
    """As servers take it that look at one."""
    frames = [Image.fromarray(np.full((5, 7, 3), shade, np.uint8)) for shade in (10, 200)]
    frames[0].save(tmp_path / "a.gif", save_all=True, append_images=frames[1:])
    (array,) = FileInputs(tmp_path, TensorSpec(PIXELS, "uint8"), PIXELS, None).make().arrays
    assert set(array.reshape(-1).tolist()) == {10}


@pytest.mark.parametrize("dtype", ["uint8", "str"])
def test_images_are_resized_on_demand(tmp_path, dtype):
    """Also those that are sent as files; without, they are refused, or left as they are."""
    Image.fromarray(noise((9, 4, 3))).save(tmp_path / "a.jpg")
    spec = TEXT if dtype == "str" else TensorSpec(PIXELS, dtype)
    options = ImageOptions(resize="bilinear")
    (array,) = FileInputs(tmp_path, spec, PIXELS, None, image_options=options).make().arrays
    if dtype == "str":
        assert Image.open(io.BytesIO(base64.b64decode(array.tobytes()))).size == (7, 5)
    else:
        assert array.shape == PIXELS


def test_nan_is_allowed_on_demand(tmp_path):
    """Not infinity."""
    np.save(tmp_path / "a.npy", np.array([1, np.nan, 3, 4], np.float32))
    with pytest.raises(ConfigError, match="not finite in float32; remove them, or allow NaN with allow_nan"):
        FileInputs(tmp_path, VECTOR, None, None).make()
    (array,) = FileInputs(tmp_path, VECTOR, None, None, allow_nan=True).make().arrays
    assert np.isnan(array).tolist() == [False, True, False, False]
    np.save(tmp_path / "a.npy", np.array([1, np.inf, 3, 4], np.float32))
    with pytest.raises(ConfigError, match="not finite in float32; remove them"):
        FileInputs(tmp_path, VECTOR, None, None, allow_nan=True).make()


@pytest.mark.parametrize("names", [{"x"}, {"x", "y"}])
def test_a_refusal_names_options_as_they_are_typed(tmp_path, names):
    """Also where more is said of a file with other arrays."""
    arrays: Any = dict.fromkeys(names, np.full((1, 4), np.nan, np.float32))
    np.savez(tmp_path / "a.npz", **arrays)
    with pytest.raises(ConfigError, match="not finite") as refused:
        FileInputs(tmp_path, VECTOR, None, None).make()
    assert "or allow NaN with --allow-nan" in worded(refused.value)


@pytest.mark.parametrize("save", [np.save, lambda path, array: np.savez(path.with_suffix(".npz"), x=array)])
def test_inputs_of_different_lengths_in_one_array(tmp_path, save):
    """As datasets of texts have their tokens."""
    rows = np.empty(3, object)
    rows[:] = [np.arange(2), [7, 8, 9], np.arange(1)]
    save(tmp_path / "a.npy", rows)
    pool = FileInputs(tmp_path, TensorSpec((-1,), "int32"), None, None).make()
    assert [array.tolist() for array in pool.arrays] == [[0, 1], [7, 8, 9], [0]]
    rows[1] = [[1, 2], [3]]
    save(tmp_path / "a.npy", rows)
    with pytest.raises(ConfigError, match="holds lists of different lengths in one input"):
        FileInputs(tmp_path, TensorSpec((-1,), "int32"), None, None).make()


def test_the_shapes_that_an_input_may_have(tmp_path):
    """By the first file; what cannot be read has none."""
    np.save(tmp_path / "a.npy", np.zeros((5, 3, 4), np.float32))
    assert shapes_in(tmp_path) == [(3, 4), (5, 3, 4)]
    np.save(tmp_path / "a.npy", np.zeros(7, np.float32))
    assert shapes_in(tmp_path) == [(7,)]
    (tmp_path / "b.jsonl").write_text("[[1, 2, 3], [4, 5, 6]]\n")
    assert shapes_in(tmp_path / "b.jsonl") == [(2, 3)]
    Image.fromarray(noise((5, 7, 3))).save(tmp_path / "c.png")
    assert shapes_in(tmp_path / "c.png")[:2] == [(5, 7, 3), (3, 5, 7)]
    (tmp_path / "d.npy").write_bytes(b"x")
    assert shapes_in(tmp_path / "d.npy") == shapes_in(tmp_path / "nowhere") == []
