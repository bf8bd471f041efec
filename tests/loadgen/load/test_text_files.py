"""Entries of text files as people export them."""

import math

import pytest

from loadgen.errors import ConfigError
from loadgen.load.text_files import entries


def read(path, name, content):
    """The values of a file's entries, and where they stand."""
    file = path / name
    file.write_bytes(content if isinstance(content, bytes) else content.encode())
    return {entry.source.rpartition(", ")[2]: entry.value for entry in entries(file)}


LINES = {"line 1": b"one", "line 3": "zwö".encode()}
VALUES = {"line 1": {"a": 1, "b": [0.5]}, "line 3": "zwö"}
NAMES = [(2, 1, "x"), (3, None, "NA"), (4, None, "")]
ROWS = {"line 2": {"a": 1.5, "t": "x"}, "line 3": {"a": 2, "t": "y, z"}}


@pytest.mark.parametrize(
    ("name", "content", "expected"),
    [
        ("x.txt", "one\n\nzwö\n", LINES),
        ("x.txt", "\ufeffone\r\n\r\nzwö", LINES),
        ("x.txt", " one \n\t\n", {"line 1": b" one ", "line 2": b"\t"}),
        ("x.txt", "a\u2028b\x0bc\n", {"line 1": "a\u2028b\x0bc".encode()}),
        ("x.TXT", b"caf\xe9\n", {"line 1": b"caf\xe9"}),
        ("x.jsonl", '{"a": 1, "b": [0.5]}\n\n"zwö"\n', VALUES),
        ("x.ndjson", '\ufeff{"a": 1, "b": [0.5]}\r\n \r\n"zwö"', VALUES),
        ("x.jsonl", '"a\u2028b"\n', {"line 1": "a\u2028b"}),
        ("x.json", '[{"a": 1}, [2], "three"]', {"entry 1": {"a": 1}, "entry 2": [2], "entry 3": "three"}),
        ("x.json", "\ufeff\r\n[\r\n1]\r\n", {"entry 1": 1}),
        ("x.json", '{"data": [{"A": [1]}], "validation_data": [{"B": [2]}]}', {"entry 1": {"A": [1]}}),
        ("x.json", "[9007199254740993, true, null]", {"entry 1": 2**53 + 1, "entry 2": True, "entry 3": None}),
        ("x.csv", 'a,t\n1.5,x\n2,"y, z"\n', ROWS),
        ("x.csv", '\ufeffa,t\r\n1.5,x\r\n2,"y, z"\r\n,\r\n\r\n', ROWS),
        ("x.csv", '\n"a","t"\n"1.5","x"\n', {"line 3": {"a": 1.5, "t": "x"}}),
        ("x.csv", ",a,t\n0,1.5,x\n", {"line 2": {"a": 1.5, "t": "x"}}),
        ("x.csv", ",0,1\n0,1.5,x\n", {"line 2": {"0": 1.5, "1": "x"}}),
        ("x.csv", "x1,x2\n1,2\n", {"line 2": {"x1": 1, "x2": 2}}),
        ("x.csv", "1.5,2\n3,4\n", {"line 1": [1.5, 2], "line 2": [3, 4]}),
        ("x.csv", "1.0e+00\n-.5\n+2.\n", {"line 1": 1.0, "line 2": -0.5, "line 3": 2.0}),
        ("x.csv", 'prompt\n"one, ""two"""\n"a\nb"\n42\n', {"line 2": 'one, "two"', "line 4": "a\nb", "line 5": "42"}),
        ("x.csv", "code\n01234\n56789\n", {"line 2": "01234", "line 3": "56789"}),
        ("x.csv", "phone\n+4912345678\n", {"line 2": "+4912345678"}),
        ("x.csv", "a,b\n1,inf\n-inf,x\n", {"line 2": {"a": 1, "b": "inf"}, "line 3": {"a": -math.inf, "b": "x"}}),
        ("x.csv", "a,b\nTrue,1\nFalse,\n", {"line 2": {"a": True, "b": 1}, "line 3": {"a": False, "b": None}}),
        ("x.csv", "a,b\n1,x\nNA,NA\n\\N,\n", {f"line {n}": {"a": a, "b": b} for n, a, b in NAMES}),
        ("x.csv", "a,b\n1,\n2,\n", {"line 2": {"a": 1, "b": None}, "line 3": {"a": 2, "b": None}}),
        ("x.csv", "id\n9007199254740993\n", {"line 2": 2**53 + 1}),
        ("x.csv", f"t\n{'x' * 200_000}\n", {"line 2": "x" * 200_000}),
        ("x.csv", "a,b\n", {}),
        ("x.csv", "", {}),
        ("x.jsonl", "\n", {}),
    ],
)
def test_entries_are_what_the_file_says(tmp_path, name, content, expected):
    """Whatever its line ends; numbers are exact, and empty lines are none."""
    found = read(tmp_path, name, content)
    assert found == expected
    assert list(map(repr, found.values())) == list(map(repr, expected.values()))


NO_LIST = r"x.json: holds no list of inputs; write \[input, …\], as pandas does with orient='records'"


@pytest.mark.parametrize(
    ("name", "content", "reason"),
    [
        ("x.json", '{"columns":["a"],"index":[0],"data":[[1]]}', NO_LIST),
        ("x.json", '{"0":{"a":1}}', NO_LIST),
        ("x.json", '{"a":{"0":1}}', NO_LIST),
        ("x.json", '{"schema":{"fields":[]},"data":[{"index":0,"a":1}]}', NO_LIST),
        ("x.json", '{"data":{"a":1}}', NO_LIST),
        ("x.json", '"text"', NO_LIST),
        (
            "x.json",
            '{"data":[[{"A":[1]}],[{"A":[2]}]]}',
            "x.json: holds sequences, which are not sent; write their steps",
        ),
        (
            "x.json",
            '{"a":1}\n{"a":2}\n',
            "x.json: not JSON: Extra data at line 2, column 1; a file with a value a line",
        ),
        ("x.json", "", "x.json: not JSON: Expecting value at column 1"),
        ("x.json", "[" * 100_000, "x.json: not JSON: it is nested too deep"),
        (
            "x.jsonl",
            '{"a":1}\n{"a":\n',
            "x.jsonl, line 2: not JSON: Expecting value at column 6; write a value a line",
        ),
        ("x.jsonl", '{\n"a":1\n}\n', "x.jsonl, line 1: not JSON: .*write a value a line"),
        ("x.jsonl", "[1, NaN]\n", "x.jsonl, line 1: not JSON: JSON has no NaN"),
        ("x.jsonl", '"one"\n"caf\u00e9"\n'.encode("latin-1"), "x.jsonl: cannot be read: line 2 is not UTF-8; save it"),
        ("x.json", '[{"a": 1, "a": 2}]', "x.json: not JSON: an object has 'a' twice"),
        (
            "x.txt",
            "one\n".encode("utf-16-le"),
            "x.txt: cannot be read: it has NUL bytes, as UTF-16 and binary files have",
        ),
        ("x.txt", "one\n".encode("utf-16"), "x.txt: cannot be read: it is UTF-16; save it as UTF-8"),
        (
            "x.csv",
            "a;b\n1,5;2\n",
            "x.csv, line 1: has semicolons or tabs; separate columns by commas, decimals by points",
        ),
        ("x.csv", "1,5;2\n", "x.csv, line 1: has semicolons"),
        ("x.csv", "a\tb\n1\t2\n", "x.csv, line 1: has semicolons or tabs"),
        ("x.csv", "a,b\n0,5,1,5\n", "x.csv, line 2: has 4 fields, the first row 2; .*write decimals with a point"),
        ("x.csv", "a,b\n1\n", "x.csv, line 2: has 1 field, the first row 2; "),
        ("x.csv", "prompt\nHello, you\n", "x.csv, line 2: has 2 fields, the first row 1; quote texts that hold commas"),
        ("x.csv", 'a, t\n1, "x"\n', "x.csv, line 2: has a space before a quote; remove it"),
        ("x.csv", "0,1\n3,4\n", "x.csv, line 1: may be a heading or numbers; name the columns"),
        ("x.csv", "1,hello\n2,you\n", "x.csv, line 1: neither a heading nor a row of numbers"),
        ("x.csv", "a,a\n1,2\n", "x.csv, line 1: does not name all columns differently"),
        ("x.csv", "a,\n1,2\n", "x.csv, line 1: does not name all columns differently"),
        ("x.csv", 'a,b\n1,"x\n', "x.csv, line 2: not CSV: unexpected end of data"),
        ("x.csv", "a\n\u00e9\n".encode("latin-1"), "x.csv: cannot be read: line 2 is not UTF-8"),
    ],
)
def test_files_that_may_mean_another_thing(tmp_path, name, content, reason):
    """Are refused with file, line and the way out."""
    with pytest.raises(ConfigError, match=reason):
        read(tmp_path, name, content)
