"""Inputs and parameters that are written by hand."""

import pytest

from loadgen.errors import ConfigError
from loadgen.targets.oip.written import parse_inputs, parse_parameters


@pytest.mark.parametrize(
    ("text", "shapes", "datatypes"),
    [
        ("299x299x3", {"": (299, 299, 3)}, {}),
        ("A:4x4, B:2", {"A": (4, 4), "B": (2,)}, {}),
        ("A:FP32:4", {"A": (4,)}, {"A": "FP32"}),
        ("A:fp32:4x4,text:BYTES", {"A": (4, 4), "text": ()}, {"A": "FP32", "text": "BYTES"}),
        ("A:BYTES:,B:float32:1", {"A": (), "B": (1,)}, {"A": "BYTES", "B": "FP32"}),
        ("input:0:INT64:8", {"input:0": (8,)}, {"input:0": "INT64"}),
        ("input:0:8", {"input:0": (8,)}, {}),
        ("input:0:BOOL", {"input:0": ()}, {"input:0": "BOOL"}),
        ("FP32:4", {"FP32": (4,)}, {}),
        ("u:uint16:1,b:BF16:1,s:str:2", {"u": (1,), "b": (1,), "s": (2,)}, {"u": "UINT16", "b": "BF16", "s": "BYTES"}),
    ],
)
def test_inputs(text, shapes, datatypes):
    """Names may have colons; datatypes may have numpy's names."""
    assert parse_inputs(text) == (shapes, datatypes)


@pytest.mark.parametrize("text", ["A:FP32:x", "A:FP32:-1", "A:FP32:0", "A:4,A:FP32:4", "BYTES", "", "A", ":FP32:x"])
def test_inputs_that_are_none(text):
    """Whichever part of it is wrong."""
    with pytest.raises(ConfigError):
        parse_inputs(text)


def test_a_datatype_that_is_none():
    """Is not taken for a part of the name."""
    for text in ("A:FP99:4", "A:float:4", "A:int:4", "a:4,b:0:uint128:4"):
        with pytest.raises(ConfigError, match="is not a datatype; write one of BOOL, UINT8"):
            parse_inputs(text)


def test_parameters():
    """Of the types that JSON and the protocol both have."""
    found = parse_parameters(
        ["priority=1", "a=true", "b=1.5", "c=text", 'd="1"', "e=", "f=null", "g=[1]", "h=a=b", "i=NaN"]
    )
    assert found == {
        **{"priority": 1, "a": True, "b": 1.5, "c": "text", "d": "1", "e": "", "f": "null", "g": "[1]", "h": "a=b"},
        "i": "NaN",
    }
    assert (found["priority"], found["a"]) == (1, True)
    assert type(found["a"]) is bool


@pytest.mark.parametrize(
    ("options", "match"),
    [
        (["priority"], "priority: not a parameter; write NAME=VALUE"),
        (["=1"], ": not a parameter"),
        (["a=1", "a=2"], "a: given twice"),
        ([f"a={1 << 64}"], ": beyond 64 bits"),
        (["binary_data_output=true"], ": set by loadgen"),
        (["a=\udcff"], ": not printable"),
    ],
)
def test_parameters_that_are_none(options, match):
    """One line each."""
    with pytest.raises(ConfigError, match=match):
        parse_parameters(options)
