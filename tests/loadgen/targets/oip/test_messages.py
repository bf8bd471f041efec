"""Requests and answers as bytes."""

import json
import struct

import pytest

from loadgen.targets.http_request import error_text
from loadgen.targets.oip import inference_pb2 as pb
from loadgen.targets.oip.answers import AnswerJudge
from loadgen.targets.oip.messages import REQUEST_ID, Shared, grpc_request, http_request
from loadgen.targets.oip.tensors import Tensor

A, B = Tensor("A", "FP32", (2,)), Tensor("B", "BYTES", (1,))
OUT = Tensor("OUT", "FP32", (1, 2))
CONTENT = (bytes(8), b"\1\0\0\0x")


def test_a_grpc_request_carries_raw_contents_in_the_order_of_its_inputs():
    """And says where those lie that it does not carry."""
    prefix, message = grpc_request("m", "2", (A, B), CONTENT)[:5], grpc_request("m", "2", (A, B), CONTENT)[5:]
    assert prefix == struct.pack(">BI", 0, len(message))
    request = pb.ModelInferRequest.FromString(message)
    assert (request.model_name, request.model_version, request.id) == ("m", "2", REQUEST_ID)
    assert [(row.name, row.datatype, list(row.shape)) for row in request.inputs] == [
        ("A", "FP32", [2]),
        ("B", "BYTES", [1]),
    ]
    assert tuple(request.raw_input_contents) == CONTENT
    shared = pb.ModelInferRequest.FromString(grpc_request("m", "", (A,), [Shared("r", 16, 8)])[5:])
    assert not shared.raw_input_contents
    parameters = shared.inputs[0].parameters
    assert parameters["shared_memory_region"].string_param == "r"
    assert parameters["shared_memory_offset"].int64_param == 16
    assert parameters["shared_memory_byte_size"].int64_param == 8


def test_an_http_request_has_its_tensors_behind_the_json():
    """Whose length is told."""
    body, length = http_request((A, B), CONTENT, (OUT,), binary=True)
    document = json.loads(body[:length])
    assert [row["parameters"]["binary_data_size"] for row in document["inputs"]] == [8, 5]
    assert document["outputs"] == [{"name": "OUT", "parameters": {"binary_data": True}}]
    assert body[length:] == b"".join(CONTENT)


def test_without_the_extension_json_has_the_elements():
    """Flat."""
    body, length = http_request((A, B), CONTENT, (OUT,), binary=False)
    assert length is None
    assert [row["data"] for row in json.loads(body)["inputs"]] == [[0.0, 0.0], ["x"]]


def grpc_answer(name="OUT", datatype="FP32", shape=(1, 2), content=bytes(8)):
    answer = pb.ModelInferResponse(model_name="m", id=REQUEST_ID, raw_output_contents=[content])
    answer.outputs.add(name=name, datatype=datatype, shape=shape)
    return answer.SerializeToString()


def http_answer(name="OUT", datatype="FP32", shape=(1, 2), content=bytes(8), size=None):
    row = {"name": name, "datatype": datatype, "shape": shape}
    row["parameters"] = {"binary_data_size": len(content) if size is None else size}
    head = json.dumps({"outputs": [row]}).encode()
    return head + content, len(head)


WRONG = [
    ({"name": "OTHER"}, "the answer has no OUT"),
    ({"datatype": "FP64", "content": bytes(16)}, "the answer has OUT FP64 1x2, the model says OUT FP32 1x2"),
    ({"shape": (2, 2), "content": bytes(16)}, "the answer has OUT FP32 2x2, the model says OUT FP32 1x2"),
    ({"content": bytes(7)}, "the answer's OUT FP32 1x2 has 7 bytes"),
]


@pytest.mark.parametrize(("change", "wrong"), WRONG, ids=["name", "datatype", "shape", "size"])
def test_answers_that_are_not_what_the_model_says(change, wrong):
    """Over both protocols, in the same words, also after good ones."""
    judge = AnswerJudge([OUT])
    for _ in range(2):
        assert judge.grpc(grpc_answer()) is None
        assert judge.http(*http_answer()) is None
        assert judge.grpc(grpc_answer(**change)) == wrong
        assert judge.http(*http_answer(**change)) == wrong


def test_an_answer_that_begins_as_one_before_is_good_whatever_its_numbers_are():
    """Its numbers are not looked at."""
    judge = AnswerJudge([OUT])
    assert judge.grpc(grpc_answer()) is None
    assert judge.grpc(grpc_answer(content=bytes(range(8)))) is None
    assert judge.http(*http_answer()) is None
    assert judge.http(*http_answer(content=bytes(range(8)))) is None


def test_a_dimension_may_vary():
    """Where the model leaves it open."""
    judge = AnswerJudge([Tensor("OUT", "FP32", (1, -1))])
    assert judge.grpc(grpc_answer(shape=(1, 3), content=bytes(12))) is None
    assert judge.grpc(grpc_answer(shape=(2, 3), content=bytes(24))) is not None


def test_strings_are_looked_at_each_time():
    """Their lengths may differ."""
    judge = AnswerJudge([Tensor("OUT", "BYTES", (1,))])
    assert judge.grpc(grpc_answer("OUT", "BYTES", (1,), b"\1\0\0\0x")) is None
    assert judge.grpc(grpc_answer("OUT", "BYTES", (1,), b"\2\0\0\0x")) is not None


@pytest.mark.parametrize("answer", [b"\xff", b"\x0a"], ids=["tag", "cut short"])
def test_what_is_no_message(answer):
    """Is said to be none."""
    assert AnswerJudge([OUT]).grpc(answer) == "the answer is not a ModelInferResponse"


@pytest.mark.parametrize("size", ["8", -1, 2.5, True])
def test_a_size_that_is_none(size):
    """The answer is not valid either."""
    row = {"name": "OUT", "datatype": "FP32", "shape": [1, 2], "parameters": {"binary_data_size": size}}
    head = json.dumps({"outputs": [row]}).encode()
    assert AnswerJudge([OUT]).http(head + bytes(8), len(head)) == "the answer is not an inference response"


def test_an_output_more_of_a_datatype_that_nobody_knows():
    """Cannot be judged, and is wrong."""
    rows = [
        {"name": name, "datatype": kind, "shape": [1, 2], "parameters": {"binary_data_size": 8}}
        for name, kind in (("OUT", "FP32"), ("MORE", "FP8"))
    ]
    head = json.dumps({"outputs": rows}).encode()
    assert AnswerJudge([OUT]).http(head + bytes(16), len(head)) == "the answer's MORE FP8 1x2 has 8 bytes"


@pytest.mark.parametrize(
    ("count", "wrong"),
    [
        (2, None),
        (0, "the answer's OUT FP32 1x2 has 0 elements"),
        (1, "the answer's OUT FP32 1x2 has 1 elements"),
    ],
)
def test_contents_that_are_written_out(count, wrong):
    """In a field of their type instead of as bytes; there have to be as many."""
    answer = pb.ModelInferResponse()
    answer.outputs.add(name="OUT", datatype="FP32", shape=(1, 2)).contents.fp32_contents.extend([0.5] * count)
    assert AnswerJudge([OUT]).grpc(answer.SerializeToString()) == wrong


@pytest.mark.parametrize(
    "answer",
    [
        *(b"", b"{}", b"[]", b'{"outputs": [1]}', b'{"outputs": [{"name": "OUT"}]}'),
        pytest.param(b"[" * 100_000, id="deep"),
        b'{"outputs": [{"name": ["OUT"], "datatype": "FP32", "shape": [1, 2], "data": [0, 0]}]}',
        b'{"outputs": [{"name": "OUT", "datatype": "FP32", "shape": [null, 2], "data": [0, 0]}]}',
        b'{"outputs": [{"name": "OUT", "datatype": {}, "shape": [1, 2], "data": [0, 0]}]}',
    ],
)
def test_what_is_no_json_answer(answer):
    """Is said to be none."""
    assert AnswerJudge([Tensor("OUT", "FP32", (-1, 2))]).http(answer, None) == "the answer is not an inference response"


def test_answers_in_json():
    """Their data has to be there."""
    row: dict[str, object] = {"name": "OUT", "datatype": "FP32", "shape": [1, 2], "data": [0.0, 0.0]}
    assert AnswerJudge([OUT]).http(json.dumps({"outputs": [row]}).encode(), None) is None
    row["parameters"] = None  # as some servers write what they do not have
    assert AnswerJudge([OUT]).http(json.dumps({"outputs": [row]}).encode(), None) is None
    for data in ([], [0.0], [0.0, "x"], [[0.0], [0.0], [0.0]]):
        wrong = AnswerJudge([OUT]).http(json.dumps({"outputs": [{**row, "data": data}]}).encode(), None)
        assert wrong == "the answer's OUT FP32 1x2 has other data"
    nested = json.dumps({"outputs": [{**row, "data": [[0.0, None]]}]}).encode()
    assert AnswerJudge([OUT]).http(nested, None) is None
    del row["data"]
    assert AnswerJudge([OUT]).http(json.dumps({"outputs": [row]}).encode(), None) == "the answer has no data for OUT"


@pytest.mark.parametrize(
    ("body", "text"),
    [
        (b'{"error": "no such\\nthing"}', "no such thing"),
        (b'{"error": {"message": "no", "type": "x"}}', "no"),
        (b'{"detail": "not found"}', '{"detail": "not found"}'),
        (
            b'{"detail": [{"loc": ["body", "x", 0], "msg": "Not a number", "input": "abc"}, {"loc": [], "msg": "No"}]}',
            "body.x.0: Not a number; : No",
        ),
        (b'{"detail": [{"msg": "Not a number"}]}', '{"detail": [{"msg": "Not a number"}]}'),
        (b'{"detail": [1]}', '{"detail": [1]}'),
        (b"<html>oops</html>", "<html>oops</html>"),
        (b"\xff", "\N{REPLACEMENT CHARACTER}"),
        (b" \n", "Service Unavailable"),
        pytest.param(b"[" * 100_000, "[" * 200, id="deep"),
    ],
)
def test_what_servers_say_in_errors(body, text):
    """In one line."""
    assert error_text(503, body) == f"503: {text}"


def test_parameters_of_a_request():
    """Over gRPC each in the field of its type."""
    given: dict[str, bool | float | str] = {"priority": 1, "large": 1 << 63, "share": 0.5, "on": True, "name": "x"}
    request = pb.ModelInferRequest.FromString(grpc_request("m", "", (A,), CONTENT[:1], given)[5:])
    kinds = {key: str(one.WhichOneof("parameter_choice")) for key, one in request.parameters.items()}
    found = {key: (kind, getattr(request.parameters[key], kind)) for key, kind in kinds.items()}
    assert found == {
        "priority": ("int64_param", 1),
        "large": ("uint64_param", 1 << 63),
        "share": ("double_param", 0.5),
        "on": ("bool_param", True),
        "name": ("string_param", "x"),
    }
    body, length = http_request((A,), CONTENT[:1], (OUT,), binary=True, parameters=given)
    assert json.loads(body[:length])["parameters"] == given


def test_all_outputs_are_asked_for_where_none_are_known():
    """As bytes, where the server has those."""
    body, length = http_request((A,), CONTENT[:1], (), binary=True)
    document = json.loads(body[:length])
    assert ("outputs" in document, document["parameters"]) == (False, {"binary_data_output": True})
    assert "parameters" not in json.loads(http_request((A,), CONTENT[:1], (), binary=False)[0])
