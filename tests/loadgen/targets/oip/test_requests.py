"""Whole requests from drawn inputs and from files."""

import json

import numpy as np
import pytest

from loadgen.errors import ConfigError
from loadgen.load import inputs
from loadgen.targets.access import Access
from loadgen.targets.address import parse_address
from loadgen.targets.http_request import post
from loadgen.targets.oip import inference_pb2 as pb
from loadgen.targets.oip.requests import FileContents, RequestInputs, SeededContents, seeded_count
from loadgen.targets.oip.tensors import Tensor

ROWS = Tensor("A", "FP32", (2, 3))
ADDRESS = parse_address("oip+http://host:8000/m/2")


def contents_of(path, tensors=(ROWS,), batched=True, most=None):
    return list(FileContents(path, tensors, batched, most).each())


def test_rows_are_taken_in_turn(tmp_path):
    """Three inputs, two rows a request: after the last comes the first."""
    np.save(tmp_path / "x.npy", np.arange(9, dtype=np.float32).reshape(3, 3))
    rows = [
        np.frombuffer(content, "<f4").reshape(2, 3)[:, 0].tolist() for (content,) in contents_of(tmp_path / "x.npy")
    ]
    assert rows == [[0, 3], [6, 0]]


def test_several_inputs_come_from_one_file_by_their_names(tmp_path):
    """As many of each."""
    file, other = tmp_path / "x.npz", Tensor("B", "INT64", (2, 1))
    np.savez(file, A=np.ones((4, 3), np.float32), B=np.arange(4).reshape(4, 1))
    assert [np.frombuffer(b, "<i8").tolist() for _, b in contents_of(file, (ROWS, other))][:2] == [[0, 1], [2, 3]]
    np.savez(file, A=np.ones((4, 3), np.float32), B=np.arange(3).reshape(3, 1))
    with pytest.raises(ConfigError, match="holds 3 and 4 inputs"):
        contents_of(file, (ROWS, other))
    np.savez(file, A=np.ones((4, 3), np.float32))
    with pytest.raises(ConfigError, match="has no array 'B'"):
        contents_of(file, (ROWS, other))
    np.savez(file, A=np.ones((4, 2), np.float32), B=np.arange(4).reshape(4, 1))
    with pytest.raises(ConfigError, match="A holds inputs of 2, the model takes 3"):
        contents_of(file, (ROWS, other))


def damaged(path):
    """An npz whose compressed array has other bytes than were written."""
    np.savez_compressed(path, A=np.arange(3000, dtype=np.float32).reshape(1000, 3))
    content = bytearray(path.read_bytes())
    content[100:200] = bytes(100)
    path.write_bytes(content)


def junk(path):
    """What begins as an npz does."""
    path.write_bytes(b"PK\3\4 and nothing else")


@pytest.mark.parametrize("spoil", [damaged, junk])
def test_files_that_are_spoilt(tmp_path, spoil):
    """In whichever way, for one input and for several."""
    spoil(tmp_path / "x.npz")
    with pytest.raises(ConfigError, match=r"x.npz cannot be read: "):
        contents_of(tmp_path / "x.npz")
    with pytest.raises(ConfigError, match=r"x.npz is no npz: "):
        contents_of(tmp_path / "x.npz", (ROWS, Tensor("B", "INT64", (2, 1))))


def test_no_fewer_inputs_than_were_asked_for(tmp_path):
    """They would be sent more often than was meant."""
    np.save(tmp_path / "x.npy", np.zeros((3, 3), np.float32))
    assert len(contents_of(tmp_path / "x.npy", most=3)) == 2
    with pytest.raises(ConfigError, match=r"count 4: .*x.npy holds 3; ask for no more than that"):
        contents_of(tmp_path / "x.npy", most=4)


def test_requests_that_are_too_many_for_memory(monkeypatch):
    """Are refused before they fill it; a single one may be larger."""
    monkeypatch.setattr(inputs, "MAX_POOL_BYTES", 100)
    assert len(inputs.request_pool([bytes(50)] * 2, "x")) == 2
    assert len(inputs.request_pool([bytes(101)], "x")) == 1
    with pytest.raises(ConfigError, match="x make more than 0 GiB of requests: take fewer with count"):
        inputs.request_pool(iter([bytes(50)] * 3), "x")


def test_strings_come_from_lines_and_from_whole_files(tmp_path):
    """A file that is no text is one string."""
    tensor = Tensor("A", "BYTES", (1, 1))
    (tmp_path / "a.txt").write_text("one\ntwo\n")
    (tmp_path / "b.jpg").write_bytes(b"\xff\xd8")
    assert contents_of(tmp_path, (tensor,)) == [(b"\3\0\0\0one",), (b"\3\0\0\0two",), (b"\2\0\0\0\xff\xd8",)]
    assert len(contents_of(tmp_path, (tensor,), most=2)) == 2


@pytest.mark.parametrize(
    ("arrays", "match"),
    [
        ({"A": np.ones((0, 3)), "B": np.ones((0, 1), np.int64)}, "holds no input"),
        ({"A": np.full((2, 3), "x"), "B": np.ones((2, 1), np.int64)}, "A holds <U1, the model takes float32"),
        ({"A": np.ones((2, 3), complex), "B": np.ones((2, 1), np.int64)}, "A holds complex128"),
        ({"A": np.ones((2, 3)), "B": np.full((2, 1), 1e30)}, "B holds float64, the model takes int64"),
        ({"A": np.full((2, 3), np.nan), "B": np.ones((2, 1), np.int64)}, "A holds numbers that are not finite"),
        ({"A": np.float32(1), "B": np.ones((2, 1), np.int64)}, "A is one number"),
    ],
    ids=["nothing", "texts", "complex", "floats for integers", "not finite", "a number"],
)
def test_several_inputs_that_a_model_cannot_take(tmp_path, arrays, match):
    """One line for each, as for a single input."""
    file = tmp_path / "x.npz"
    np.savez(file, **arrays)
    with pytest.raises(ConfigError, match=match):
        contents_of(file, (ROWS, Tensor("B", "INT64", (2, 1))))


@pytest.mark.parametrize("name", ["empty.txt", "directory"])
def test_files_without_any_text(tmp_path, name):
    """Are refused."""
    path = tmp_path / name
    path.mkdir() if name == "directory" else path.write_text("")
    with pytest.raises(ConfigError, match="holds no input"):
        contents_of(path, (Tensor("A", "BYTES", (1, 1)),))


def test_a_request_over_http_is_whole():
    """With the version in its path, and our headers in place of its own."""
    access = Access(headers=(("host", "elsewhere"), ("x-key", "1")))
    inputs = RequestInputs(SeededContents((ROWS,), 3, 0), ADDRESS, access, (), binary=True)
    pool = inputs.make()
    assert len(pool) == 3
    request = pool.payloads()[0].tobytes()
    head, _, body = request.partition(b"\r\n\r\n")
    first, *fields = head.decode().split("\r\n")
    headers = dict(field.split(": ") for field in fields)
    assert first == "POST /v2/models/m/versions/2/infer HTTP/1.1"
    assert (headers["host"], headers["x-key"], int(headers["content-length"])) == ("elsewhere", "1", len(body))
    length = int(headers["inference-header-content-length"])
    assert len(body) - length == json.loads(body[:length])["inputs"][0]["parameters"]["binary_data_size"] == 24
    assert inputs.payload_bytes == len(request)


def test_shared_contents_lie_one_after_the_other():
    """Each request says where its own begin."""
    address = parse_address("oip+grpc://host:8001/m")
    inputs = RequestInputs(SeededContents((ROWS, ROWS), 2, 0), address, Access(), (), binary=True, region="r")
    offsets = [
        [
            row.parameters["shared_memory_offset"].int64_param
            for row in pb.ModelInferRequest.FromString(bytes(one)[5:]).inputs  # behind its prefix
        ]
        for one in inputs.make().payloads()
    ]
    assert offsets == [[0, 24], [48, 72]]


def test_what_is_drawn_fits_in_memory():
    """Large requests are fewer."""
    assert seeded_count([Tensor("A", "FP32", (64, 299, 299, 3))], 32) == 15
    assert seeded_count([ROWS], 32) == 32


def test_an_ipv6_host_stands_in_brackets():
    """In the host header too."""
    request = post(parse_address("http+json://[::1]:80/x"), "/x", Access(), "application/json", {}, b"{}")
    assert b"\r\nhost: [::1]:80\r\n" in request
