"""Arrays of files: each kind that numpy writes, and damaged ones."""

import os
import pickle
import zipfile

import numpy as np
import pytest

from loadgen.errors import ConfigError
from loadgen.load.array_files import array_names, read_array


class Harmful:
    """Runs code where it is unpickled."""

    def __reduce__(self):
        return print, ("this ran",)


@pytest.mark.parametrize(
    "array",
    [
        np.arange(6.0).reshape(2, 3),
        np.asfortranarray(np.arange(6.0).reshape(2, 3)),
        np.arange(6, dtype=">i4"),
        np.array([True, False]),
        np.array([1, 2], np.float16),
        np.array([1j]),
        np.array(["one", "two"], "S5"),
        np.array(["one", "zwö"]),
        np.array(["one", b"two", "zwö"], object),
        np.array([[1, 2.5], [np.float32(3), np.int64(4)]], object),
        np.zeros((0, 4)),
        np.float32(3),
        np.array([(1, 2.0)], [("a", "i4"), ("b", "f4")]),
    ],
    ids=lambda array: f"{array.dtype}{array.shape}",
)
@pytest.mark.parametrize("suffix", ["npy", "npz"])
def test_arrays_are_read_as_they_were_saved(tmp_path, array, suffix):
    """Of any type and order, objects that are plain too."""
    path = tmp_path / f"a.{suffix}"
    (np.save if suffix == "npy" else np.savez)(path, array)
    (name,) = array_names(path)
    found = read_array(path, name)
    assert (found.dtype, found.shape) == (array.dtype, array.shape)
    assert np.array_equal(found, array)


@pytest.mark.parametrize("suffix", ["npy", "npz"])
def test_a_pickle_runs_no_code(tmp_path, suffix, capsys):
    """It is refused, with the way out."""
    path = tmp_path / f"a.{suffix}"
    (np.save if suffix == "npy" else np.savez)(path, np.array([Harmful()], object))
    (name,) = array_names(path)
    with pytest.raises(ConfigError, match=r"may run code; save numbers, or texts with astype\(str\)"):
        read_array(path, name)
    assert capsys.readouterr().out == ""


def npy(header):
    """An npy file with any header, and sixteen bytes of data."""
    return b"\x93NUMPY\x01\x00v\x00" + header.ljust(117) + b"\n" + bytes(16)


@pytest.mark.parametrize(
    "content",
    [
        npy(b"{'descr': '<f8', 'fortran_order': False, 'shape': (50000000000000,), }"),
        npy(b"{'descr': '<f8', 'fortran_order': (False, 'shape': (2,), }"),
        npy(b"{'descr': '<f8', 'fortran_order': False, 'shape': (3,), }"),
        npy(b"{'descr': '<f8', 'fortran_order': False, 'shape': (-2,), }"),
        npy(b"{'descr': '|O', 'fortran_order': False, 'shape': (2,), }"),
        npy(b"{'descr': '<f9', 'fortran_order': False, 'shape': (2,), }"),
        npy(b"(" * 117),
        npy(b"\xff" * 100),
        b"\x93NUMPY\x09\x00v\x00",
        b"\x93NUM",
        b"",
        b"PK\3\4",
        pickle.dumps([1, 2]),
        b"text\n",
    ],
    ids=str,
)
@pytest.mark.parametrize("suffix", ["npy", "npz"])
def test_damaged_files(tmp_path, content, suffix):
    """In whichever way, in one line with the file."""
    path = tmp_path / f"a.{suffix}"
    path.write_bytes(content)
    with pytest.raises(ConfigError, match=rf"a.{suffix}: holds no arrays, or is damaged; save it again with NumPy$"):
        read_array(path, array_names(path)[0])


def test_a_header_in_an_npz_that_promises_too_much(tmp_path):
    """The array has no place, whether the file has it or not."""
    with zipfile.ZipFile(tmp_path / "a.npz", "w") as members:
        members.writestr("x.npy", npy(b"{'descr': '<f8', 'fortran_order': False, 'shape': (50000000000000,), }"))
    with pytest.raises(ConfigError, match=r"a\.npz: does not fit in memory, or is damaged$"):
        read_array(tmp_path / "a.npz", "x")


@pytest.mark.parametrize("at", [30, 60, 150, 240, -30])
def test_a_byte_that_changed_in_an_npz(tmp_path, at):
    """Is found by its check sum, or makes no archive."""
    path = tmp_path / "a.npz"
    np.savez_compressed(path, np.arange(100.0))
    content = bytearray(path.read_bytes())
    content[at : at + 8] = b"\xaa" * 8
    path.write_bytes(content)
    with pytest.raises(ConfigError, match=r"a\.npz: holds no arrays"):
        read_array(path, array_names(path)[0])


def test_an_array_that_is_too_large_for_memory(tmp_path, monkeypatch):
    """In an npz is refused before it is unpacked; of an npy only what is used is read."""
    monkeypatch.setattr("loadgen.load.array_files.MOST_UNPACKED_BYTES", 1000)
    np.savez_compressed(tmp_path / "a.npz", np.zeros(200))
    with pytest.raises(ConfigError, match=r"a.npz, arr_0: has more than 0 GiB unpacked; save it as npy"):
        read_array(tmp_path / "a.npz", "arr_0")
    header = b"{'descr': '<f4', 'fortran_order': False, 'shape': (10000000000, 4), }"
    (tmp_path / "a.npy").write_bytes(npy(header))
    os.truncate(tmp_path / "a.npy", 128 + 16 * 10_000_000_000)  # 160 GB, of which the disk has one block
    assert read_array(tmp_path / "a.npy", "")[-1].tolist() == [0, 0, 0, 0]


def test_a_sparse_matrix(tmp_path):
    """Whose parts would be taken for inputs."""
    path = tmp_path / "a.npz"
    np.savez(path, data=[1], indices=[0], indptr=[0, 1], shape=[1, 1], format=b"csr")
    with pytest.raises(ConfigError, match=r"a sparse matrix; save it with toarray\(\)"):
        array_names(path)
