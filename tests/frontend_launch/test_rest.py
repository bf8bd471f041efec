"""REST bodies: what is read, what is refused and with which words, what is written."""

from __future__ import annotations

import contextlib
import json
from dataclasses import fields, is_dataclass
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from frontend_launch import rest
from frontend_launch.errors import RestError
from frontend_launch.records import Application, ModelVersion, ReplicaRecord
from model_containers.data_types import DataType

BODIES = (
    rest.AddApplication,
    rest.AddModel,
    rest.AddModelLinks,
    rest.SetModelVersion,
    rest.SetBatchSize,
    rest.GetAllApplications,
    rest.GetApplication,
    rest.GetLinkedModels,
    rest.GetAllModels,
    rest.GetModel,
    rest.GetAllContainers,
    rest.GetContainer,
    rest.GetState,
)

APPLICATION = {"name": "app", "input_type": "floats", "default_output": "TIMEOUT", "latency_slo_micros": 500_000}
MODEL = {
    "model_name": "vgg",
    "model_version": "1",
    "labels": ["a", "b"],
    "input_type": "ints",
    "container_name": "image",
    "model_data_path": "DEPRECATED",
    "batch_size": 2,
}

texts = st.text(st.characters(exclude_categories=["Cs"]))
types = st.sampled_from(DataType)
integers = st.integers(-(2**31), 2**31 - 1)
FIELDS = {
    "str": texts,
    "int": integers,
    "bool": st.booleans(),
    "DataType": types,
    "tuple[str, ...]": st.lists(texts, max_size=3).map(tuple),
}


def body_of(body_type: type) -> st.SearchStrategy[Any]:
    """Any body of one route."""
    assert is_dataclass(body_type)
    return st.builds(body_type, **{field.name: FIELDS[str(field.type)] for field in fields(body_type)})


def application(**changes: object) -> bytes:
    """The JSON of an application with other or, for a member that is given as None, fewer members."""
    members = APPLICATION | changes
    return json.dumps({key: value for key, value in members.items() if value is not None}).encode()


def test_every_route_has_a_body() -> None:
    """The twelve routes of the original are there, each once, and ours."""
    routes = "add_app add_model add_model_links set_model_version get_all_applications get_application"
    routes += " get_linked_models get_all_models get_model get_all_containers get_container get_state set_batch_size"
    assert {body.path for body in BODIES} == {f"/admin/{route}" for route in routes.split()}


@given(st.sampled_from(BODIES).flatmap(body_of))
def test_what_is_written_is_read(body: rest.Body) -> None:
    """A body survives its own JSON."""
    assert rest.parse(type(body), rest.encode(body).encode()) == body


@given(st.sampled_from(BODIES), st.binary() | st.text().map(str.encode))
def test_garbage(body_type: type[rest.Body], body: bytes) -> None:
    """Whatever arrives is a body or a RestError, never another exception."""
    with contextlib.suppress(RestError):
        rest.parse(body_type, body)


def test_reads_a_body() -> None:
    """Members become typed values; those that are unknown are ignored."""
    body = json.dumps(MODEL | {"cache_size": 33554432}).encode()
    expected = rest.AddModel("vgg", "1", ("a", "b"), DataType.INTS, "image", "DEPRECATED", 2)
    assert rest.parse(rest.AddModel, body) == expected


SCHEMA = (
    'expected {"name": string, "input_type": string, "default_output": string, "latency_slo_micros": 32-bit integer}'
)


@pytest.mark.parametrize(
    ("body", "text"),
    [
        pytest.param(b"", "the body is not JSON: Expecting value at character 0", id="empty"),
        pytest.param(b'{"name": ', "the body is not JSON: Expecting value at character 9", id="cut off"),
        pytest.param(b"{} {}", "the body is not JSON: Extra data at character 3", id="two documents"),
        pytest.param(
            b'{"name": "\xff"}', "the body is not JSON: invalid start byte at byte 10, which is not UTF-8", id="bytes"
        ),
        pytest.param(b"[" * 100_000, "the body is not JSON: nested too deeply", id="nested"),
        pytest.param(b'{"name": NaN}', "the body is not JSON: NaN is not a JSON value", id="NaN"),
        pytest.param(b"[]", "the body is a list, not an object", id="a list"),
        pytest.param(b"null", "the body is null, not an object", id="null"),
        pytest.param(b"{}", 'key "name" is missing', id="nothing"),
        pytest.param(application(default_output=None), 'key "default_output" is missing', id="one key missing"),
        pytest.param(application(name=5), 'key "name" must be a string, found an integer', id="integer for string"),
        pytest.param(application(name=["a"]), 'key "name" must be a string, found a list', id="list for string"),
        pytest.param(application(name={}), 'key "name" must be a string, found an object', id="object for string"),
        pytest.param(
            application(name="\ud800"), 'key "name" must be a string, found a string with half a surrogate pair', id="½"
        ),
        pytest.param(
            application(latency_slo_micros="5"),
            'key "latency_slo_micros" must be a 32-bit integer, found a string',
            id="string for integer",
        ),
        pytest.param(
            application(latency_slo_micros=True),
            'key "latency_slo_micros" must be a 32-bit integer, found a boolean',
            id="boolean for integer",
        ),
        pytest.param(
            application(latency_slo_micros=1.0),
            'key "latency_slo_micros" must be a 32-bit integer, found a fractional number',
            id="fraction for integer",
        ),
        pytest.param(
            application(latency_slo_micros=2**31),
            'key "latency_slo_micros" must be a 32-bit integer, found an integer beyond 32 bits',
            id="too large",
        ),
        pytest.param(
            application(latency_slo_micros=-(2**31) - 1),
            'key "latency_slo_micros" must be a 32-bit integer, found an integer beyond 32 bits',
            id="too small",
        ),
    ],
)
def test_refusals(body: bytes, text: str) -> None:
    """A body that cannot be read is told why, where, and what is expected, in one line."""
    with pytest.raises(RestError) as caught:
        rest.parse(rest.AddApplication, body)
    assert str(caught.value) == f"{text}; {SCHEMA}"


@pytest.mark.parametrize(
    ("labels", "found"),
    [
        pytest.param("a", "a string", id="a string"),
        pytest.param(["a", 1], "a list that holds an integer", id="an integer inside"),
        pytest.param(["a", ["b"]], "a list that holds a list", id="a list inside"),
        pytest.param([None], "a list that holds null", id="null inside"),
    ],
)
def test_lists_of_strings(labels: object, found: str) -> None:
    """A list holds strings only."""
    with pytest.raises(RestError, match=f'key "labels" must be a list of strings, found {found}; expected'):
        rest.parse(rest.AddModel, json.dumps(MODEL | {"labels": labels}).encode())


@pytest.mark.parametrize("text", ["float32", "", "Floats", " floats"])
def test_unknown_input_types(text: str) -> None:
    """An input type that the original would not know is refused by its name."""
    with pytest.raises(RestError, match=f"unknown input type '{text}'"):
        rest.parse(rest.AddApplication, application(input_type=text))


def test_types_come_before_meaning() -> None:
    """What is no application at all is said before its input type is looked at."""
    with pytest.raises(RestError, match="latency_slo_micros"):
        rest.parse(rest.AddApplication, application(input_type="nonsense", latency_slo_micros=None))


@pytest.mark.parametrize(
    ("value", "text"),
    [
        pytest.param(
            rest.ApplicationReply.of(Application("app", DataType.INTS, "Ω", 500_000), ("vgg",)),
            '{"input_type":"integers","default_output":"Ω","latency_slo_micros":500000,'
            '"name":"app","linked_models":["vgg"]}',
            id="application",
        ),
        pytest.param(
            rest.ModelReply.of(
                ModelVersion("vgg", "1", DataType.FLOATS, ("",), "image", "path", 2), is_current_version=True
            ),
            '{"model_name":"vgg","model_version":"1","input_type":"floats","labels":[""],'
            '"container_name":"image","model_data_path":"path","is_current_version":true}',
            id="model",
        ),
        pytest.param(
            [rest.ReplicaReply.of(ReplicaRecord("vgg", "1", 3, 7, DataType.STRINGS))],
            '[{"model_id":"vgg:1","model_name":"vgg","model_version":"1","model_replica_id":3,"input_type":"strings"}]',
            id="list of replicas",
        ),
        pytest.param({}, "{}", id="unknown"),
        pytest.param([], "[]", id="none"),
        pytest.param(("a", "b"), '["a","b"]', id="names"),
    ],
)
def test_replies(value: object, text: str) -> None:
    """Replies are compact JSON in the original's order of members, with canonical type names."""
    assert rest.encode(value) == text


def test_reads_replies() -> None:
    """Replies are read back: one, none, a list of them, a list of names."""
    reply = rest.ReplicaReply("vgg:1", "vgg", "1", 3, DataType.STRINGS)
    text = rest.encode(reply).encode()
    assert rest.parse_optional(rest.ReplicaReply, text) == reply
    assert rest.parse_optional(rest.ReplicaReply, b" {}\n") is None
    assert rest.parse_list(rest.ReplicaReply, b"[" + text + b"]") == (reply,)
    assert rest.parse_names(b'["a","b"]') == ("a", "b")


@pytest.mark.parametrize("body", [b"{}", b"[1]", b"oops", b"null"])
def test_refuses_replies(body: bytes) -> None:
    """A list of something else is an error too."""
    with pytest.raises(RestError):
        rest.parse_list(rest.ReplicaReply, body)
    with pytest.raises(RestError):
        rest.parse_names(body)
