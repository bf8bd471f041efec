"""What is sent to a model, by what its server says of it."""

from pathlib import Path

import pytest

from loadgen.errors import ConfigError
from loadgen.targets.access import Access
from loadgen.targets.address import parse_address
from loadgen.targets.oip.metadata import ModelMetadata, ServerMetadata
from loadgen.targets.oip.model import OipModel
from loadgen.targets.oip.requests import SeededContents
from loadgen.targets.oip.tensors import Tensor
from loadgen.targets.oip.written import parse_inputs
from loadgen.targets.remote import RequestOptions, TargetOptions

INPUTS = (Tensor("A", "FP32", (-1, 4)), Tensor("B", "FP32", (-1, 2)), Tensor("C", "FP32", (-1, -1)))


def contents(shapes="", inputs=INPUTS, optional=("B", "C"), path=None, **options):
    """What requests to a model of batches carry."""
    given, _ = parse_inputs(shapes) if shapes else ({}, {})
    target = TargetOptions(parse_address("oip+grpc://host:8001/m"), Access(), shapes=given)
    metadata = ModelMetadata("m", "", inputs, (), max_batch=8, instances=1, optional=optional)
    model = OipModel(target, ServerMetadata("triton", "2", ()), metadata)
    return model.contents(RequestOptions(1, path, None, 0, **options))


@pytest.mark.parametrize(
    ("shapes", "ranges", "sent", "note"),
    [
        ("", {}, "AB", "optional inputs: C is left out"),
        ("A:4", {}, "A", "optional inputs: B is left out, C is left out"),
        ("B:2", {}, "AB", "optional inputs: C is left out"),
        ("C:8", {}, "AC", "optional inputs: B is left out"),
        ("B:2,C:8", {}, "ABC", ""),
        ("A:4", {"B": (0, 1)}, "AB", "optional inputs: C is left out"),
    ],
)
def test_which_optional_inputs_are_drawn(shapes, ranges, sent, note):
    """Those that the user names; without a shape by hand those of known shape."""
    made = contents(shapes, ranges=ranges)
    assert isinstance(made, SeededContents)
    assert ("".join(tensor.name for tensor in made.tensors), made.note) == (sent, note)
    assert made.text.startswith("32 seeded inputs A FP32 1x4")


def test_what_is_not_optional_wants_its_shape():
    """As does an optional input that a range names."""
    for optional, ranges in ((("B",), {}), (("B", "C"), {"C": (0, 1)})):
        with pytest.raises(ConfigError, match="C: has the shape -1, -1 may vary; name it"):
            contents(optional=optional, ranges=ranges)


def test_where_all_inputs_are_optional_all_are_sent():
    """A request without any input is refused."""
    inputs = INPUTS[:1]
    assert contents(inputs=inputs, optional=("A",)).note == ""
    with pytest.raises(ConfigError, match="C: has the shape -1"):
        contents(inputs=INPUTS[2:], optional=("C",))


def test_inputs_from_files_know_what_is_optional():
    """The file decides."""
    made = contents("A:4", path=Path("x.npz"))
    assert [tensor.name for tensor in made.tensors] == ["A", "B", "C"]
    assert made.optional == ("B", "C")
