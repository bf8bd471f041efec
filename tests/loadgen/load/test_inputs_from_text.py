"""Inputs from files of text: lines, JSON and CSV."""

import numpy as np
import pytest

from loadgen.errors import ConfigError
from loadgen.load.input_files import FileInputs, inputs_of_entry
from loadgen.load.text_files import entries
from model_containers.model import TensorSpec

VECTOR_2 = TensorSpec((2,), "float32")
VECTOR = TensorSpec((4,), "float32")
TEXT = TensorSpec((), "str")


def test_text_from_files(tmp_path):
    """A string a line; empty lines are none."""
    (tmp_path / "a.txt").write_bytes(b"one\n\ntwo words\r\n")
    pool = FileInputs(tmp_path / "a.txt", TEXT, None, None).make()
    assert [bytes(payload) for payload in pool.payloads()] == [b"one", b"two words"]
    assert pool.stacked().tolist() == [b"one", b"two words"]


def numbers(path, name, content, spec=VECTOR):
    """The inputs of a file of text, as lists."""
    (path / name).write_text(content)
    return [array.tolist() for array in FileInputs(path / name, spec, None, None).make().arrays]


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("x.json", "[[1, 2, 3, 4], [5, 6, 7, 8.5]]"),
        ("x.json", '[{"x": [1, 2, 3, 4]}, {"x": [5, 6, 7, 8.5]}]'),
        ("x.json", '[{"a": 1, "b": 2, "c": 3, "d": 4}, {"a": 5, "b": 6, "c": 7, "d": 8.5}]'),
        ("x.jsonl", '{"a": 1, "b": 2, "c": 3, "d": 4}\n{"d": 8.5, "c": 7, "a": 5, "b": 6}\n'),
        ("x.jsonl", "[1, 2, 3, 4]\n[5, 6, 7, 8.5]\n"),
        ("x.csv", "1,2,3,4\n5,6,7,8.5\n"),
        ("x.csv", ",a,b,c,d\n0,1,2,3,4\n1,5,6,7,8.5\n"),
    ],
)
def test_numbers_from_text(tmp_path, name, content):
    """An input an entry, whose members or columns are its elements."""
    assert numbers(tmp_path, name, content) == [[1, 2, 3, 4], [5, 6, 7, 8.5]]


@pytest.mark.parametrize(
    ("spec", "content", "expected"),
    [
        (TensorSpec((2, 2), "float32"), "[[1, 2, 3, 4]]", [[[1, 2], [3, 4]]]),
        (TensorSpec((2, 2), "float32"), "[[[1, 2], [3, 4]]]", [[[1, 2], [3, 4]]]),
        (TensorSpec((1,), "float32"), "[1, [2]]", [[1], [2]]),
        (TensorSpec((), "float32"), "[1, [2]]", [1, 2]),
        (TensorSpec(None, "float32"), "[[1], [2, 3], [[4]]]", [[1], [2, 3], [[4]]]),
        (TensorSpec((1,), "int64"), "[9007199254740993]", [[2**53 + 1]]),
        (TensorSpec((2,), "uint64"), "[[18446744073709551615, 1]]", [[2**64 - 1, 1]]),
        (TensorSpec((2,), "uint8"), "[[0, 255]]", [[0, 255]]),
        (TensorSpec((2,), "bool"), "[[true, false], [0, 1]]", [[True, False], [False, True]]),
    ],
)
def test_numbers_of_each_type_and_shape(tmp_path, spec, content, expected):
    """Flat ones in row-major order; integers are exact."""
    if spec.dtype in ("int64", "uint64", "bool"):  # of external servers only
        (tmp_path / "x.json").write_text(content)
        found = [inputs_of_entry(entry, spec.dtype, (spec.shape,)).tolist() for entry in entries(tmp_path / "x.json")]
    else:
        found = numbers(tmp_path, "x.json", content, spec)
    assert found == expected


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        ("[[1, 2, 3]]", "x.json, entry 1: holds inputs of 3, the model takes 4; resize them before"),
        ("[[1, 2], [[1, 2], [3]]]", "x.json, entry 1: holds inputs of 2"),
        ("[[[1, 2], [3]]]", "x.json, entry 1: its lists differ in length"),
        ("[" + "[" * 300 + "1" + "]" * 300 + "]", "x.json, entry 1: its lists differ in length, or are too deep"),
        ('[["1", 2, 3, 4]]', "x.json, entry 1: holds <U21, the model takes float32"),
        ("[[1, null, 3, 4]]", "x.json, entry 1: holds object, the model takes float32"),
        ('[{"a": 1, "b": "x"}]', "x.json, entry 1: has the members a, b, the model takes one; leave the others out"),
        (
            '[{"a": 1, "b": 2, "c": 3, "d": 4}, {"a": 1, "b": 2, "c": 3, "e": 4}]',
            "x.json, entry 2: has a, b, c, e, the first entry a, b, c, d; give all entries the same members",
        ),
        ("[{}]", "x.json, entry 1: holds an object without members; write its values"),
        ("[[1e999, 1, 1, 1]]", "x.json, entry 1: holds numbers that are not finite in float32"),
    ],
)
def test_numbers_from_text_that_do_not_fit(tmp_path, content, reason):
    """Are refused, with their place."""
    with pytest.raises(ConfigError, match=reason):
        numbers(tmp_path, "x.json", content)


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("x.txt", "one\n007\n"),
        ("x.json", '["one", "007"]'),
        ("x.jsonl", '{"prompt": "one"}\n{"prompt": "007"}\n'),
        ("x.csv", "prompt\none\n007\n"),
    ],
)
def test_texts_from_text(tmp_path, name, content):
    """As they are written, also where they look like numbers."""
    (tmp_path / name).write_text(content)
    pool = FileInputs(tmp_path / name, TEXT, None, None).make()
    assert [bytes(payload) for payload in pool.payloads()] == [b"one", b"007"]


def test_a_column_of_numbers_as_texts(tmp_path):
    """Is not read and written again, which would change it."""
    (tmp_path / "x.csv").write_text("price\n1.50\n2e3\n")
    pool = FileInputs(tmp_path / "x.csv", TEXT, None, None).make()
    assert [bytes(payload) for payload in pool.payloads()] == [b"1.50", b"2e3"]


def test_a_text_that_the_wire_would_split(tmp_path):
    """A NUL ends a string there, and frontends refuse one inside."""
    (tmp_path / "x.jsonl").write_text('"a\\u0000b"\n')
    with pytest.raises(ConfigError, match=r"x\.jsonl: holds a text with a NUL, which ends a string on the wire"):
        FileInputs(tmp_path / "x.jsonl", TEXT, None, None).make()


def test_an_empty_text_is_an_input(tmp_path):
    """Where a file says so; a request of it still has a size."""
    (tmp_path / "x.jsonl").write_text('""\n')
    source = FileInputs(tmp_path / "x.jsonl", TEXT, None, None).checked()
    assert ([bytes(payload) for payload in source.make().payloads()], source.payload_bytes) == ([b""], 1)


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("a.jsonl", "[16777217, 1]"),
        ("a.jsonl", "[16777217, 0.5]"),
        ("a.json", "[[0.5, 16777217]]"),
        ("a.csv", "a,b\n1,0.5\n16777217,2\n"),
        ("a.csv", "16777217,2\n"),
    ],
)
def test_integers_that_a_float_rounds_are_refused(tmp_path, name, content):
    """As those that an integer type lacks."""
    (tmp_path / name).write_text(content)
    with pytest.raises(ConfigError, match=r"holds 16777217, which float32 rounds to 16777216; .* write it as a float"):
        FileInputs(tmp_path / name, VECTOR_2, None, None).make()


def test_a_large_integer_among_floats(tmp_path):
    """Also where all of them are 64 bits wide."""
    (tmp_path / "a.jsonl").write_text("[9007199254740993, 0.5]\n")
    with pytest.raises(ConfigError, match="holds 9007199254740993, which float64 rounds to 9007199254740992"):
        FileInputs(tmp_path / "a.jsonl", TensorSpec((2,), "float64"), None, None).make()


def test_integers_that_a_float_has_and_floats_are_sent(tmp_path):
    """Floats are rounded, as their type is."""
    (tmp_path / "a.jsonl").write_text("[16777218, -33554432]\n[16777217.0, 0.1]\n[4294967296, 1e30]\n")
    pool = FileInputs(tmp_path / "a.jsonl", VECTOR_2, None, None).make()
    found = [np.frombuffer(payload, "<f4").tolist() for payload in pool.payloads()]
    assert found[0] == [16777218, -33554432]
    assert found[1][0] == 16777216
    assert found[2][0] == 1 << 32


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("a.csv", "a,b,c,d\n1,,NaN,4\n1,2,3,4"),
        ("b.ndjson", "[1, null, null, 4]"),
        ("d.json", '[{"a": 1, "b": null, "c": null, "d": 4}]'),
    ],
)
def test_missing_values_are_nan_on_demand(tmp_path, name, content):
    """As pandas reads them; whole numbers have none."""
    (tmp_path / name).write_text(content)
    with pytest.raises(ConfigError, match=r"has no value|holds object"):
        FileInputs(tmp_path, VECTOR, None, 1).make()
    (array,) = FileInputs(tmp_path, VECTOR, None, 1, allow_nan=True).make().arrays
    assert np.isnan(array).tolist() == [False, True, True, False]
    with pytest.raises(ConfigError, match="the model takes int32"):
        FileInputs(tmp_path, TensorSpec((4,), "int32"), None, 1, allow_nan=True).make()
