"""Jobs as text, by the registry of target specs."""

import importlib
import json
import pickle
import pkgutil
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from cluster_of_tests import CLIPPER, SEEDED, job

import loadgen
from loadgen.errors import ConfigError
from loadgen.load.answers import AnswerCheck
from loadgen.load.arrivals import Arrivals, Ramp, Renewal, Steps, Trace
from loadgen.load.image_layout import ImageOptions
from loadgen.load.input_files import FileInputs
from loadgen.load.inputs import InputSource, MadeInputs, Pool
from loadgen.load.target import TargetSpec
from loadgen.targets import specs
from loadgen.targets.access import Access
from loadgen.targets.address import parse_address
from loadgen.targets.balanced import BalancedSpec
from loadgen.targets.bodies import Body, FormBody, JsonBody, NoBody, Part, TextBody, WholeBody
from loadgen.targets.http1 import HttpSpec, TensorAnswers
from loadgen.targets.http_answers import AnyAnswers, JsonAnswers, JudgeSpec
from loadgen.targets.http_endpoint import EndpointInputs
from loadgen.targets.oip.grpc_target import OipGrpcSpec
from loadgen.targets.oip.requests import Contents, FileContents, RequestInputs, SeededContents
from loadgen.targets.oip.tensors import Tensor
from loadgen.targets.remote import RequestOptions, TargetOptions
from loadgen.workers.job_text import decode, encode
from model_containers.data_types import DataType
from model_containers.model import TensorSpec

KEPT_HERE = {MadeInputs}
"""Made for the trials against the null server of this machine."""

GRPC = parse_address("oip+grpc://host:8001/model")
HTTP = parse_address("https://host/path?x=1")
ACCESS = Access((("authorization", "Bearer t"),), Path("/ca.pem"))
TENSOR = Tensor("x", "FP32", (1, -1))
OPTIONS = TargetOptions(HTTP, access=ACCESS, shapes={"": (2, 3)}, form=("a=b",))
REQUEST = RequestOptions(1, Path("in"), None, 7, {"x": (0, 9)}, None, ImageOptions("NCHW", "bilinear"))

TARGETS = [
    CLIPPER,
    BalancedSpec((CLIPPER, CLIPPER)),
    HttpSpec(HTTP, ACCESS, AnyAnswers(), 4, 1.5, head=True),
    HttpSpec(HTTP, ACCESS, JsonAnswers(("a", 0)), 4),
    HttpSpec(HTTP, ACCESS, TensorAnswers((TENSOR,)), 4),
    OipGrpcSpec(GRPC, ACCESS, (TENSOR,), 3, None),
]
INPUTS = [
    SEEDED,
    FileInputs(Path("/data"), TensorSpec((3,), "str"), (1, 2, 3), 5, "text", 9),
    EndpointInputs(OPTIONS, JsonBody({"a": ["$input", 1, None]}), "POST", REQUEST),
    EndpointInputs(OPTIONS, NoBody(), "GET", REQUEST, in_path=True),
    EndpointInputs(OPTIONS, TextBody(b"\xff$input", "text/plain"), "POST", REQUEST),
    EndpointInputs(OPTIONS, WholeBody(), "PUT", REQUEST),
    EndpointInputs(OPTIONS, FormBody((Part("a", b"c", "f", "t", True),)), "POST", REQUEST),
    RequestInputs(SeededContents((TENSOR,), 4, 0, {"x": (0, 1)}, ("y",)), GRPC, ACCESS, (TENSOR,), True, "r"),
    RequestInputs(FileContents(Path("/f"), (TENSOR,), True, 3), GRPC, ACCESS, (), False, parameters={"k": True}),
]
ARRIVALS = [
    None,
    Renewal(100.0, 5.0, 1.0, 3),
    Ramp(1.0, 9.0, 3.0),
    Steps(((5.0, 1.0), (0.0, 2.0))),
    Trace(Path("/trace"), 2.0, 3.0, 9),
]
CHECKS = [
    None,
    AnswerCheck(10, np.arange(6.0).reshape(2, 3), "float32", 0.5),
    AnswerCheck(1, np.array([b"cat", b"horse"]), "str", 0.0),
]


@pytest.mark.parametrize(
    "changes",
    [
        *({"target": target} for target in TARGETS),
        *({"inputs": inputs} for inputs in INPUTS),
        *({"arrivals": arrivals} for arrivals in ARRIVALS),
    ],
    ids=str,
)
def test_a_job_crosses_as_it_is(changes):
    """Equal in each field, and of the same types."""
    sent = job(**changes)
    read = decode(encode(sent))
    assert read == sent
    assert pickle.dumps(read.target) == pickle.dumps(decode(encode(read)).target)
    assert repr(read) == repr(sent)


@pytest.mark.parametrize("check", CHECKS, ids=["none", "numbers", "texts"])
def test_a_check_of_answers_crosses_as_it_is(check):
    """With the right answers, bit for bit."""
    read = decode(encode(job(check=check))).check
    if check is None or read is None:
        assert read is check
        return
    assert (read.every, read.dtype, read.tolerance) == (check.every, check.dtype, check.tolerance)
    assert read.expected.dtype == check.expected.dtype
    assert np.array_equal(read.expected, check.expected)


def classes() -> Iterator[type]:
    for module in pkgutil.walk_packages(loadgen.__path__, "loadgen."):
        if module.name.startswith(("loadgen.load.", "loadgen.targets.")) and not module.name.endswith("_pb2"):
            found: object
            for found in vars(importlib.import_module(module.name)).values():
                if (
                    isinstance(found, type)
                    and found.__module__ == module.name
                    and "__dataclass_fields__" in vars(found)
                ):
                    yield found


def test_each_spec_is_registered():
    """Of targets, inputs, answers, bodies and schedules; and each is in the tests above."""
    protocols = (TargetSpec, InputSource, JudgeSpec, Body, Contents, Arrivals)
    wanted = {found for found in classes() if any(protocol in found.__mro__ for protocol in protocols)} - KEPT_HERE
    assert {found.__qualname__ for found in wanted if specs.name_of(found) is None} == set()
    text = "".join(encode(job(**each)) for each in [*({"target": one} for one in TARGETS)])
    text += "".join(encode(job(inputs=one)) for one in INPUTS) + "".join(encode(job(arrivals=one)) for one in ARRIVALS)
    text += "".join(encode(job(check=one)) for one in CHECKS)
    assert {name for name in specs.TYPES if f'"{name}":' not in text} == set()


def test_registered_types_are_there():
    """Each name leads to a dataclass, and back."""
    for name in specs.TYPES:
        found: type = specs.type_of(name)
        assert "__dataclass_fields__" in vars(found)
        assert specs.name_of(found) == name


def test_what_is_not_registered_does_not_leave():
    """One line says what it is, and what to do."""
    made = MadeInputs(SEEDED, Pool([], DataType.FLOATS))
    with pytest.raises(ConfigError, match="workers: a MadeInputs cannot be sent to workers; leave it out"):
        encode(job(inputs=made))


@pytest.mark.parametrize(
    "text",
    [
        "nonsense",
        "1",
        '{"job":{}}',
        '{"job":{"target":1}}',
        '{"os:system":{"command":"true"}}',
        '{"a":1,"b":2}',
        json.dumps({"array": "AAAA"}),
        json.dumps({"path": "/x"}),
    ],
)
def test_what_is_no_job_does_not_enter(text):
    """One line, whatever it is."""
    with pytest.raises(ConfigError, match="a job for this worker cannot be read"):
        decode(text)
