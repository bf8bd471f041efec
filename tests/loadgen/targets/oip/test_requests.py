"""Whole requests from drawn inputs and from files."""

import json

import numpy as np
import pytest
from PIL import Image

from loadgen.errors import ConfigError
from loadgen.load import inputs
from loadgen.load.image_layout import ImageOptions
from loadgen.targets.access import Access
from loadgen.targets.address import parse_address
from loadgen.targets.http_request import post
from loadgen.targets.oip import inference_pb2 as pb
from loadgen.targets.oip.requests import FileContents, RequestInputs, SeededContents, seeded_count
from loadgen.targets.oip.tensors import Tensor, decode_numbers, decode_strings

ROWS = Tensor("A", "FP32", (2, 3))
ADDRESS = parse_address("oip+http://host:8000/m/2")


def contents_of(path, tensors=(ROWS,), batched=True, most=None):
    return [tuple(content for _, content in each) for each in FileContents(path, tensors, batched, most).each()]


def test_numbers_are_drawn_in_the_range_of_their_tensor():
    """As ids and a mask need it; a half of 16 bits too."""
    tensors = tuple(Tensor(name, kind, (100,)) for name, kind in (("ids", "INT64"), ("mask", "BOOL"), ("x", "BF16")))
    ranges = {"ids": (1000, 1002), "mask": (1, 2), "x": (2, 3)}
    (each,) = SeededContents(tensors, 1, 0, ranges).each()
    ids, mask, numbers = (decode_numbers(content, tensor.datatype) for tensor, content in each)
    assert set(ids.tolist()) == {1000, 1001}
    assert mask.all()
    assert 2 <= numbers.min() < numbers.max() <= 3


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
    with pytest.raises(ConfigError, match="A: holds inputs of 2, the model takes 3"):
        contents_of(file, (ROWS, other))


def test_labels_beside_the_only_input(tmp_path):
    """Its name finds the input; where no array has it, the refusal says the name."""
    file = tmp_path / "x.npz"
    np.savez(file, A=np.ones((4, 3), np.float32), y=np.arange(4))
    assert len(contents_of(file)) == 2
    np.savez(file, a=np.ones((4, 3), np.float32), y=np.arange(4))
    with pytest.raises(ConfigError, match=r"y: holds inputs of 4, .*, or save the inputs alone, named 'A'"):
        contents_of(file)


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
    with pytest.raises(ConfigError, match=r"x.npz: holds no arrays"):
        contents_of(tmp_path / "x.npz")
    with pytest.raises(ConfigError, match=r"x.npz: holds no arrays"):
        contents_of(tmp_path / "x.npz", (ROWS, Tensor("B", "INT64", (2, 1))))


def test_no_fewer_inputs_than_were_asked_for(tmp_path):
    """They would be sent more often than was meant."""
    np.save(tmp_path / "x.npy", np.zeros((3, 3), np.float32))
    assert len(contents_of(tmp_path / "x.npy", most=3)) == 2
    with pytest.raises(ConfigError, match=r"count 4: .*x.npy holds 3"):
        contents_of(tmp_path / "x.npy", most=4)


def test_requests_that_are_too_many_for_memory(monkeypatch):
    """Are refused before they fill it; a single one may be larger."""
    monkeypatch.setattr(inputs, "MAX_POOL_BYTES", 100)
    assert len(inputs.request_pool([bytes(50)] * 2, "x")) == 2
    assert len(inputs.request_pool([bytes(101)], "x")) == 1
    with pytest.raises(ConfigError, match="x: more than 0 GiB of requests; take fewer with count"):
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
        ({"A": np.full((2, 3), "x"), "B": np.ones((2, 1), np.int64)}, "A: holds <U1, the model takes float32"),
        ({"A": np.ones((2, 3), complex), "B": np.ones((2, 1), np.int64)}, "A: holds complex128"),
        ({"A": np.ones((2, 3)), "B": np.full((2, 1), 1e30)}, "B: holds float64, the model takes int64"),
        ({"A": np.full((2, 3), np.nan), "B": np.ones((2, 1), np.int64)}, "A: holds numbers that are not finite"),
        ({"A": np.float32(1), "B": np.ones((2, 1), np.int64)}, "A: holds one number"),
    ],
    ids=["nothing", "texts", "complex", "floats for integers", "not finite", "a number"],
)
def test_several_inputs_that_a_model_cannot_take(tmp_path, arrays, match):
    """One line for each, as for a single input."""
    file = tmp_path / "x.npz"
    np.savez(file, **arrays)
    with pytest.raises(ConfigError, match=match):
        contents_of(file, (ROWS, Tensor("B", "INT64", (2, 1))))


OPEN = Tensor("A", "FP32", (1, -1))
TEXT = Tensor("T", "BYTES", (1, 1))
TEXTS = Tensor("T", "BYTES", (1, -1))
PAIR = (Tensor("A", "FP32", (1, 2)), TEXT)


def filled(path, name, content, *tensors, **options):
    """What requests of one row carry: shapes, and numbers or texts."""
    (path / name).write_bytes(content if isinstance(content, bytes) else content.encode())
    found = []
    for each in FileContents(path / name, tensors, True, None, **options).each():
        values = [
            decode_strings(content) if tensor.datatype == "BYTES" else decode_numbers(content, tensor.datatype).tolist()
            for tensor, content in each
        ]
        found.append([(tensor.shape, value) for (tensor, _), value in zip(each, values, strict=True)])
    return found


def two(first, second):
    """Two requests of a number tensor and a text."""
    return [[((1, 2), numbers), ((1, 1), [text])] for numbers, text in (first, second)]


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("x.jsonl", '{"T": "one", "A": [1, 2]}\n\n{"T": ["zw\u00f6"], "A": [3, 4.5], "label": 1}\n'),
        ("x.json", '[{"T": "one", "A": [1, 2]}, {"T": "zw\u00f6", "A": [3, 4.5]}]'),
        (
            "x.json",
            '{"data": [{"T": ["one"], "A": {"content": [1, 2], "shape": [2]}},'
            ' {"T": {"b64": "BAAAAHp3w7Y="}, "A": {"content": {"b64": "AABAQAAAkEA="}, "shape": [2]}}]}',
        ),
        (
            "x.ndjson",
            '\ufeff{"T": {"content": ["one"]}, "A": [1, 2]}\r\n{"T": "zw\u00f6", "A": {"b64": "AABAQAAAkEA="}}',
        ),
    ],
)
def test_a_request_an_entry(tmp_path, name, content):
    """Of several inputs by their names, in whatever form JSON has them, perf_analyzer's too."""
    assert filled(tmp_path, name, content, *PAIR) == two(([1, 2], b"one"), ([3, 4.5], "zw\u00f6".encode()))


def test_a_request_a_row(tmp_path):
    """Columns have the inputs' names; texts stay as they are written."""
    tensors = (Tensor("A", "FP32", (1, 1)), TEXT)
    content = ',T,A,other\n0,"1.50, or",1.5,x\n1,007,2,y\n'
    assert filled(tmp_path, "x.csv", content, *tensors) == [
        [((1, 1), [1.5]), ((1, 1), [b"1.50, or"])],
        [((1, 1), [2]), ((1, 1), [b"007"])],
    ]


@pytest.mark.parametrize(
    ("tensor", "name", "content", "expected"),
    [
        (OPEN, "x.jsonl", "[1, 2]\n[3]\n", [((1, 2), [1, 2]), ((1, 1), [3])]),
        (OPEN, "x.jsonl", '{"A": [1, 2]}\n{"A": [3]}\n', [((1, 2), [1, 2]), ((1, 1), [3])]),
        (OPEN, "x.csv", "a,b\n1,2\n3,4\n", [((1, 2), [1, 2]), ((1, 2), [3, 4])]),
        (
            Tensor("A", "INT32", (1, -1, -1)),
            "x.json",
            '{"data": [{"A": {"content": [1, 2, 3, 4, 5, 6], "shape": [2, 3]}},'
            ' {"A": {"content": [1, 2], "shape": [2, 1]}}, {"A": [[1, 2]]}]}',
            [((1, 2, 3), [1, 2, 3, 4, 5, 6]), ((1, 2, 1), [1, 2]), ((1, 1, 2), [1, 2])],
        ),
        (Tensor("A", "FP32", (1, 2, 2)), "x.json", "[[1, 2, 3, 4]]", [((1, 2, 2), [1, 2, 3, 4])]),
        (Tensor("A", "INT64", (1, 1)), "x.jsonl", "[9007199254740993]", [((1, 1), [2**53 + 1])]),
        (Tensor("A", "UINT64", (1, 2)), "x.jsonl", "[18446744073709551615, 1]", [((1, 2), [2**64 - 1, 1])]),
        (Tensor("A", "UINT8", (1, 2)), "x.jsonl", "[0, 255]", [((1, 2), [0, 255])]),
        (Tensor("A", "BOOL", (1, 3)), "x.jsonl", "[true, false, 1]", [((1, 3), [True, False, True])]),
        (Tensor("A", "BF16", (1, 1)), "x.jsonl", '{"b64": "gD8="}', [((1, 1), [1])]),
        (Tensor("A", "FP16", (1, 1)), "x.jsonl", '{"A": {"b64": "ADw="}}', [((1, 1), [1])]),
        (TEXT, "x.txt", "\ufeffone\r\n\r\ntwo", [((1, 1), [b"one"]), ((1, 1), [b"two"])]),
        (Tensor("T", "BYTES", (1,)), "x.txt", "one\ntwo\n", [((1,), [b"one"]), ((1,), [b"two"])]),
        (Tensor("A", "FP32", (1,)), "x.csv", "a\n1\n2\n", [((1,), [1]), ((1,), [2])]),
        (TEXTS, "x.txt", "one\ntwo\n", [((1, 1), [b"one"]), ((1, 1), [b"two"])]),
        (TEXT, "x.txt", b"caf\xe9\n", [((1, 1), [b"caf\xe9"])]),
        (TEXT, "x.jsonl", '{"prompt": "one"}\n"two"\n', [((1, 1), [b"one"]), ((1, 1), [b"two"])]),
        (TEXT, "x.csv", "prompt\none\n007\n", [((1, 1), [b"one"]), ((1, 1), [b"007"])]),
        (TEXTS, "x.jsonl", '["one", "two"]\n["three"]\n', [((1, 2), [b"one", b"two"]), ((1, 1), [b"three"])]),
        (Tensor("T", "BYTES", (1, 2)), "x.json", '[["one", "two"]]', [((1, 2), [b"one", b"two"])]),
        (TEXT, "x.wav", b"RIFF\xff", [((1, 1), [b"RIFF\xff"])]),
    ],
)
def test_one_input_an_entry(tmp_path, tensor, name, content, expected):
    """With the shape that it brings, exact numbers, and texts as they are."""
    assert filled(tmp_path, name, content, tensor) == [[one] for one in expected]


def test_shapes_that_the_user_says(tmp_path):
    """Are those of inputs that bring none; others override them where the model leaves them open."""
    tensor = Tensor("A", "FP32", (1, -1, -1))
    content = '{"data": [{"A": [1, 2, 3, 4]}, {"A": {"content": [1, 2], "shape": [1, 2]}}]}'
    found = filled(tmp_path, "x.json", content, tensor, shapes=((2, 2),))
    assert found == [[((1, 2, 2), [1, 2, 3, 4])], [((1, 1, 2), [1, 2])]]


def test_arrays_bring_their_shape(tmp_path):
    """As images do."""
    np.save(tmp_path / "x.npy", np.zeros((3, 5), np.float32))
    shapes = [[tensor.shape for tensor, _ in each] for each in FileContents(tmp_path, (OPEN,), True, None).each()]
    assert shapes == [[(1, 5)]] * 3
    Image.fromarray(np.zeros((4, 6, 3), np.uint8)).save(tmp_path / "y.png")
    image = Tensor("A", "UINT8", (1, -1, -1, 3))
    (((tensor, content),),) = FileContents(tmp_path / "y.png", (image,), True, None).each()
    assert (tensor.shape, len(content)) == ((1, 4, 6, 3), 72)


def test_rows_of_one_request_have_one_shape(tmp_path):
    """Otherwise they make no tensor."""
    (tmp_path / "x.jsonl").write_text("[1, 2]\n[3]\n")
    with pytest.raises(ConfigError, match=r"x.jsonl, line 1 and .*x.jsonl, line 2 have other shapes of A; leave batch"):
        contents_of(tmp_path / "x.jsonl", (Tensor("A", "FP32", (2, -1)),))


@pytest.mark.parametrize(
    "array",
    [np.array(["one", "two"]), np.array([b"one", b"two"]), np.array(["one", "two"], object)],
    ids=["U", "S", "O"],
)
@pytest.mark.parametrize("save", [np.save, np.savez])
@pytest.mark.parametrize("tensor", [TEXT, TEXTS])
@pytest.mark.parametrize("shape", [(2,), (2, 1)])
def test_arrays_of_texts(tmp_path, array, save, tensor, shape):
    """Each element is a string of its own."""
    path = tmp_path / f"x.{'npy' if save is np.save else 'npz'}"
    save(path, array.reshape(shape))
    assert contents_of(path, (tensor,)) == [(b"\3\0\0\0one",), (b"\3\0\0\0two",)]


def test_several_inputs_from_arrays_of_numbers_and_texts(tmp_path):
    """In one npz, by their names; of a single input the array of its name is meant."""
    np.savez(tmp_path / "x.npz", A=np.ones((2, 2), np.float32), T=np.array(["one", "two"]))
    assert [text for _, text in contents_of(tmp_path / "x.npz", PAIR)] == [b"\3\0\0\0one", b"\3\0\0\0two"]
    assert contents_of(tmp_path / "x.npz", (TEXT,)) == [(b"\3\0\0\0one",), (b"\3\0\0\0two",)]


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("x.jsonl", '{"A": [1, 2]}\n{"A": [3, 4]}\n'),
        ("x.json", '{"data": [{"A": [1, 2]}, {"A": {"content": [3, 4], "shape": [2]}, "T": null}]}'),
        ("x.npz", None),
    ],
)
def test_an_optional_input_that_a_file_lacks_is_left_out(tmp_path, name, content):
    """And said; what is not optional is wanted."""
    if content is None:
        np.savez(tmp_path / name, A=np.array([[1, 2], [3, 4]], np.float32))
        content = (tmp_path / name).read_bytes()
    assert filled(tmp_path, name, content, *PAIR, optional=("T",)) == [[((1, 2), [1, 2])], [((1, 2), [3, 4])]]
    contents = FileContents(tmp_path / name, PAIR, True, None, optional=("T",))
    assert contents.note == "optional inputs: T is left out"
    assert RequestInputs(contents, ADDRESS, Access(), (), True).note == contents.note
    for optional in ((), ("A",)):
        with pytest.raises(ConfigError, match="'T'"):
            filled(tmp_path, name, content, *PAIR, optional=optional)


def test_an_optional_input_that_some_entries_have(tmp_path):
    """The rows of one request have it or have it not; requests of one row are told apart."""
    content = '{"A": [1, 2], "T": "one"}\n{"A": [3, 4]}\n{"A": [5, 6]}\n'
    found = filled(tmp_path, "x.jsonl", content, *PAIR, optional=("T",))
    assert [len(each) for each in found] == [2, 1, 1]
    contents = FileContents(tmp_path / "x.jsonl", PAIR, True, None, optional=("T", "other"))
    assert contents.note == "optional inputs: T is in 1 of 3 requests, other is left out"
    rows = tuple(Tensor(tensor.name, tensor.datatype, (2, *tensor.shape[1:])) for tensor in PAIR)
    with pytest.raises(ConfigError, match=r"line 1 has T, and .*line 2 has not; leave batch_size out"):
        list(FileContents(tmp_path / "x.jsonl", rows, True, None, optional=("T",)).each())
    (tmp_path / "x.jsonl").write_text('{"A": [1, 2]}\n{"A": [3, 4]}\n{"A": [5, 6], "T": "one"}\n')
    with pytest.raises(ConfigError, match=r"line 3 has T, and .*line 1 has not"):
        list(FileContents(tmp_path / "x.jsonl", rows, True, None, optional=("T",)).each())


def test_an_optional_column_may_be_empty(tmp_path):
    """Of numbers; an empty text is a text."""
    tensors = (Tensor("A", "FP32", (1, 1)), Tensor("B", "FP32", (1, 1)), TEXT)
    found = filled(tmp_path, "x.csv", "A,B,T\n1,,\n2,3,x\n", *tensors, optional=("B", "T"))
    assert found == [[((1, 1), [1]), ((1, 1), [b""])], [((1, 1), [2]), ((1, 1), [3]), ((1, 1), [b"x"])]]


def test_where_all_inputs_are_optional_one_is_wanted(tmp_path):
    """A request without any input is refused."""
    with pytest.raises(ConfigError, match="has the members C, not 'A'; name one so"):
        filled(tmp_path, "x.jsonl", '{"C": 1}', *PAIR, optional=("A", "T"))
    assert filled(tmp_path, "x.jsonl", '{"T": "x"}', *PAIR, optional=("A", "T")) == [[((1, 1), [b"x"])]]


def test_only_what_is_optional_is_noted(tmp_path):
    """And nothing where requests carry all, as those of a single input do."""
    np.save(tmp_path / "x.npy", np.ones((2, 3), np.float32))
    assert FileContents(tmp_path / "x.npy", (ROWS,), True, None, optional=("A",)).note == ""
    assert FileContents(tmp_path / "gone.npy", (ROWS,), True, None).note == ""
    assert SeededContents((ROWS,), 1, 0, optional=("A",)).note == ""
    assert SeededContents((ROWS,), 1, 0, optional=("A", "B")).note == "optional inputs: B is left out"


@pytest.mark.parametrize(
    ("tensors", "name", "content", "reason"),
    [
        (PAIR, "x.jsonl", '{"A": [1, 2]}\n', "line 1: has the members A, not 'T'; name one so"),
        (PAIR, "x.jsonl", "[1, 2]\n", "line 1: not an object; the model takes several inputs, so name them: A, T"),
        (PAIR, "x.txt", "one\n", "neither a directory nor a file that ends in .npz, .jsonl"),
        (
            (TEXT,),
            "x.jsonl",
            '{"a": "x", "b": "y"}',
            "line 1: has the members a, b, not 'T'; name one so",
        ),
        ((TEXT,), "x.jsonl", '{"T": 5}', "line 1: T: holds int where texts are sent; write texts"),
        ((TEXT,), "x.json", '{"T": "x"}', "holds no list of inputs"),
        ((TEXT,), "x.jsonl", '"\\ud800"', "line 1: T: holds half a surrogate pair"),
        (
            (OPEN,),
            "x.jsonl",
            '{"A": {"content": [1, 2], "shape": [3]}}',
            "line 1: A: holds inputs of 2, the model takes 3",
        ),
        ((OPEN,), "x.jsonl", '{"A": {"content": [1, 2], "shape": [1, 2]}}', "A has the shape 1x2, the model takes -1"),
        ((OPEN,), "x.jsonl", '{"A": {"content": [1, 2], "shape": "2"}}', "A has the shape 2; write a list of whole"),
        ((OPEN,), "x.jsonl", '{"A": {"contents": [1, 2]}}', "A is an object with contents; write a list, or 'content'"),
        ((OPEN,), "x.jsonl", '{"A": {"b64": "####"}}', "A has b64 that is not FP32: Only base64"),
        ((OPEN,), "x.jsonl", '{"A": {"b64": "AAA="}}', "A has b64 that is not FP32: buffer size"),
        ((OPEN,), "x.jsonl", '{"A": {"b64": 7}}', "A has b64 that is not FP32: "),
        ((TEXT,), "x.jsonl", '{"T": {"b64": "YWJj"}}', "T has b64 that is not BYTES: a length is cut short"),
        ((OPEN,), "x.csv", "a,b\n1,\n", "line 2: has no value for b; fill it in"),
        ((TEXT,), "x.jsonl.gz", b"x", "holds many inputs in a form that is not read; unpack it"),
    ],
)
def test_entries_that_a_model_cannot_take(tmp_path, tensors, name, content, reason):
    """Are refused with file, line, name and the way out."""
    with pytest.raises(ConfigError, match=f"{name}.*{reason}"):
        filled(tmp_path, name, content, *tensors)


@pytest.mark.parametrize(
    ("name", "content", "where"),
    [
        ("x.bin", b"\xff\xd8\xff", "x.bin"),
        ("x.txt", b"one\ncaf\xe9\n", "x.txt, line 2"),
        ("x.json", '{"data": [{"T": {"b64": "BAAAAGNhZuk="}}]}', "x.json, entry 1"),
    ],
)
def test_strings_that_json_cannot_carry(tmp_path, name, content, where):
    """They would arrive as others; over gRPC and as binary tensors they arrive as they are."""
    assert len(filled(tmp_path, name, content, TEXT)[-1]) == 1
    remedy = r"and this server takes no binary tensors over HTTP, only JSON; save it as UTF-8, or use oip\+grpc://"
    with pytest.raises(ConfigError, match=f"{where}: not UTF-8, {remedy}"):
        filled(tmp_path, name, content, TEXT, as_json=True)
    assert filled(tmp_path, "y.txt", "caf\u00e9", TEXT, as_json=True) == [[((1, 1), ["caf\u00e9".encode()])]]


def test_inputs_that_are_too_many_for_memory(tmp_path, monkeypatch):
    """Are refused, with how many there is room for."""
    monkeypatch.setattr("loadgen.targets.oip.requests.MAX_POOL_BYTES", 30)
    np.save(tmp_path / "x.npy", np.zeros((9, 3), np.float32))
    with pytest.raises(ConfigError, match=r"x.npy: holds more than 0 GiB of inputs; take 2 with count"):
        contents_of(tmp_path / "x.npy", (Tensor("A", "FP32", (1, 3)),))


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


def test_images_lie_as_the_tensor_has_them(tmp_path):
    """Channels first, resized; a tensor of any size takes them as they are."""
    pixels = np.random.default_rng(0).integers(0, 256, (6, 8, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(tmp_path / "a.png")
    tensor = (Tensor("x", "UINT8", (1, 3, -1, -1)),)
    (((filled, content),),) = FileContents(tmp_path, tensor, True, None).each()
    assert filled.shape == (1, 3, 6, 8)
    assert content == pixels.transpose(2, 0, 1).tobytes()
    options = ImageOptions(resize="nearest")
    tensor = (Tensor("x", "FP32", (1, 3, 3, 4)),)
    (((filled, _),),) = FileContents(tmp_path, tensor, True, None, image_options=options).each()
    assert filled.shape == (1, 3, 3, 4)
