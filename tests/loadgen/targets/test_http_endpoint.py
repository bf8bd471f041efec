"""Any server that speaks HTTP: what is sent to it, as curl and its like would."""

import asyncio
import email
import email.policy
import json
from urllib.parse import quote

import pytest

from loadgen.errors import ConfigError
from loadgen.targets.access import Access
from loadgen.targets.address import parse_address
from loadgen.targets.http_answers import AnyAnswers, JsonAnswers
from loadgen.targets.http_endpoint import HttpEndpoint
from loadgen.targets.remote import RequestOptions, TargetOptions


def endpoint(url="http://host/predict", headers=(), **options):
    return asyncio.run(HttpEndpoint.at(TargetOptions(parse_address(url), Access(tuple(headers)), **options)))


def sent(found, path=None, *, batch_size=1, inputs=None):
    """Method and path, headers, and body of each request."""
    asked = RequestOptions(batch_size, path, inputs, 0)
    for one in found.inputs(asked).make().payloads():
        head, _, body = bytes(one).partition(b"\r\n\r\n")
        first, *fields = head.decode().split("\r\n")
        yield first.removesuffix(" HTTP/1.1"), dict(field.split(": ", 1) for field in fields), body


def only(found, path=None, **asked):
    ((first, fields, body),) = sent(found, path, **asked)
    return first, fields.get("content-type"), fields.get("content-length"), body


def test_without_anything_to_send_it_is_a_get():
    """As curl does; any answer counts."""
    ((first, fields, body),) = sent(endpoint("http://host/a/?b=c"))
    assert (first, body) == ("GET /a/?b=c", b"")
    assert fields == {"host": "host", "accept": "*/*", "user-agent": "loadgen"}
    assert endpoint().answers == AnyAnswers()
    assert endpoint(answer="a[0]").answers == JsonAnswers(("a", 0))


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({"body": '{"a": 1.50}'}, ("POST /predict", "application/json", "11", b'{"a": 1.50}')),
        ({"body": "[1]"}, ("POST /predict", "application/json", "3", b"[1]")),
        ({"body": "1,2"}, ("POST /predict", "text/plain", "3", b"1,2")),
        ({"body": "1,2", "content_type": "text/csv"}, ("POST /predict", "text/csv", "3", b"1,2")),
        ({"body": "{", "content_type": "text/x; charset=utf-8"}, ("POST /predict", "text/x; charset=utf-8", "1", b"{")),
        ({"body": "", "content_type": "a/b"}, ("POST /predict", "a/b", "0", b"")),
        ({"body": "x", "method": "PUT"}, ("PUT /predict", "text/plain", "1", b"x")),
        ({"body": "x", "method": "GET"}, ("GET /predict", "text/plain", "1", b"x")),
        ({"method": "POST"}, ("POST /predict", None, "0", b"")),
        ({"method": "DELETE"}, ("DELETE /predict", None, None, b"")),
        ({"body": "a", "headers": [("content-type", "x/y")]}, ("POST /predict", "x/y", "1", b"a")),
        (
            {"body": "{}", "content_type": "application/vnd.x+json"},
            ("POST /predict", "application/vnd.x+json", "2", b"{}"),
        ),
    ],
)
def test_a_body_as_it_was_typed(options, expected):
    """Not a byte of it changes; of JSON the type is seen."""
    assert only(endpoint(**options)) == expected


@pytest.mark.parametrize(
    ("name", "content", "content_type"),
    [
        ("x.bin", b"\0\xff\r\n\r\n$input", "application/octet-stream"),
        ("x", b"\x80", "application/octet-stream"),
        ("x", b'{"a": 1}', "application/json"),
        ("x.json", b"[1,  2]", "application/json"),
        ("x.csv", b"a,b\n1,2\n", "text/csv"),
        ("x.txt", b"one\ntwo\n", "text/plain"),
        ("x.png", b"\x89PNG", "image/png"),
    ],
)
def test_a_body_from_a_file(tmp_path, name, content, content_type):
    """Whole, with the type that its name has."""
    (tmp_path / name).write_bytes(content)
    assert only(endpoint(body=f"@{tmp_path / name}")) == ("POST /predict", content_type, str(len(content)), content)


@pytest.mark.parametrize(
    ("name", "content", "content_type", "bodies"),
    [
        ("x.jpg", b"\xff\xd8\xff", "image/jpeg", [b"\xff\xd8\xff"]),
        ("x.npy", b"\x93NUMPY", "application/octet-stream", [b"\x93NUMPY"]),
        ("x.txt", "one\nzwö\n".encode(), "text/plain", [b"one", "zwö".encode()]),
        ("x.csv", b'a,b\n1.50,"x, y"\n007,z\n', "text/csv", [b'1.50,"x, y"', b"007,z"]),
        ("x.csv", b"1,2\n3,4\n", "text/csv", [b"1,2", b"3,4"]),
        ("x.jsonl", b'{"a": 1}\n"b"\n', "application/json", [b'{"a": 1}', b'"b"']),
    ],
)
def test_each_input_is_a_body(tmp_path, name, content, content_type, bodies):
    """A line, a row or an entry of files that have some, and other files whole."""
    (tmp_path / name).write_bytes(content)
    found = list(sent(endpoint(), tmp_path / name))
    assert [body for _, _, body in found] == bodies
    assert {(first, fields["content-type"]) for first, fields, _ in found} == {("POST /predict", content_type)}
    _, fields, _ = next(sent(endpoint(content_type="a/b"), tmp_path / name))
    assert fields["content-type"] == "a/b"


@pytest.mark.parametrize(
    ("options", "batch_size", "body"),
    [
        ({"body": "a,b\n$input", "content_type": "text/csv"}, 1, b"a,b\n1.50,x"),
        ({"body": "a,b\n$inputs\n", "content_type": "text/csv"}, 2, b"a,b\n1.50,x\n2,y\n"),
        ({"body": '{"rows": "$inputs"}'}, 2, b'{"rows": [{"a": 1.5, "b": "x"}, {"a": 2, "b": "y"}]}'),
        ({"body": "$input $inputless"}, 1, b'{"a": 1.50, "b": "x"} $inputless'),
        ({"body": '{"ask": "Row: $input"}'}, 1, b'{"ask": "Row: {\\"a\\": 1.50, \\"b\\": \\"x\\"}"}'),
    ],
)
def test_rows_in_templates(tmp_path, options, batch_size, body):
    """Of a table as the file writes them, of JSON as objects."""
    (tmp_path / "x.csv").write_text("a,b\n1.50,x\n2,y\n")
    found = [content for _, _, content in sent(endpoint(**options), tmp_path / "x.csv", batch_size=batch_size)]
    assert found[0] == body


@pytest.mark.parametrize(
    ("name", "content", "text", "value"),
    [
        ("x.csv", "price\n1.50\n", "1.50", 1.5),
        ("x.csv", "price\n.5\n", ".5", 0.5),
        ("x.csv", "price\n1e3\n", "1e3", 1000.0),
        ("x.csv", "price\n0.10000000000000000000001\n", "0.10000000000000000000001", 0.1),
        ("x.csv", "sold\nTrue\n", "True", True),
        ("x.csv", "price\nNA\n1\n", "NA", None),
        ("x.csv", "code\n007\n", "007", "007"),
        ("x.csv", "1.50,+2.0\n", "[1.50, 2.0]", [1.5, 2.0]),
        ("x.jsonl", "1.50\n", "1.50", 1.5),
        ("x.jsonl", '{"a":  1.50}\n', '{"a":  1.50}', {"a": 1.5}),
        ("x.jsonl", '"b\\u00e9"\n', "bé", "bé"),
        ("x.jsonl", '{"payload": [1.50]}\n', "1.5", 1.5),
        ("x.json", '[1.50, "b"]', "1.5", 1.5),
    ],
)
def test_inside_a_text_an_input_is_as_its_file_writes_it(tmp_path, name, content, text, value):
    """By itself it is the value; the text is known of CSV and of lines of JSON."""
    (tmp_path / name).write_text(content)
    body = '{"ask": "Price: $input", "price": "$input"}'
    _, _, found = next(sent(endpoint(body=body), tmp_path / name))
    assert json.loads(found) == {"ask": f"Price: {text}", "price": value}
    _, _, found = next(sent(endpoint(body="Price: $input"), tmp_path / name))
    assert found.decode() == f"Price: {text}"
    _, _, found = next(sent(endpoint(form=("price=$input",)), tmp_path / name))
    assert f"\r\n\r\n{text}\r\n".encode() in found
    first, _, _ = next(sent(endpoint("http://host/q/$input"), tmp_path / name))
    assert first == f"GET /q/{quote(text, safe='')}"


def test_a_number_that_json_lacks_is_sent_in_a_table_alone(tmp_path):
    """Inside a text it would stand as JSON."""
    (tmp_path / "x.csv").write_text("a,b\ninf,x\n1,y\n")
    bodies = [body for _, _, body in sent(endpoint(body="$input", content_type="text/csv"), tmp_path / "x.csv")]
    assert bodies == [b"inf,x", b"1,y"]
    with pytest.raises(ConfigError, match="JSON has no number so large"):
        list(sent(endpoint(body="Row: $input"), tmp_path / "x.csv"))


def test_streams_are_refused_without_a_body_too(tmp_path):
    """Where an entry is the body, and in a form, as OpenAI's transcriptions take it."""
    (tmp_path / "x.jsonl").write_text('{"p": 1, "stream": true}\n')
    with pytest.raises(ConfigError, match="path has an entry that: asks for a stream, and answers have to be whole"):
        list(sent(endpoint(), tmp_path / "x.jsonl"))
    with pytest.raises(ConfigError, match=r'form: asks for a stream, .*; set "stream" to false'):
        endpoint(form=("file=$input", "stream=true"))
    assert list(sent(endpoint(form=("a=$input", "stream=false"))))


def test_an_input_in_the_url(tmp_path):
    """Percent-encoded, so that requests differ."""
    (tmp_path / "x.txt").write_text("a b&c=ö/\nplain\n")
    found = [first for first, _, _ in sent(endpoint("http://host/q/$input?text=$input&n=1"), tmp_path / "x.txt")]
    assert found == ["GET /q/a%20b%26c%3D%C3%B6%2F?text=a%20b%26c%3D%C3%B6%2F&n=1", "GET /q/plain?text=plain&n=1"]


def fields_of(content_type, body):
    """A form, as Python's own parser reads it."""
    raw = b"Content-Type: " + content_type.encode() + b"\r\n\r\n" + body
    message = email.message_from_bytes(raw, policy=email.policy.HTTP)
    return [
        (
            part.get_param("name", header="content-disposition"),
            part.get_filename(),
            part.get_content_type(),
            part.get_payload(decode=True),
        )
        for part in message.iter_parts()
    ]


def test_forms(tmp_path):
    """As curl has them: values and files, one of which may be the input's."""
    (tmp_path / "x.png").write_bytes(b"\x89PNG\r\n--\0")
    (tmp_path / "y.bin").write_bytes(b"bin")
    form = ("a=b=c", f"model=@{tmp_path / 'y.bin'};type=model/x", "file=@$input", "t=is $input?")
    (tmp_path / "z.txt").write_text("one\n")
    first, content_type, _, body = only(endpoint(form=form[:3]), tmp_path / "x.png")
    assert first == "POST /predict"
    assert fields_of(content_type, body) == [
        ("a", None, "text/plain", b"b=c"),
        ("model", "y.bin", "model/x", b"bin"),
        ("file", "x.png", "image/png", b"\x89PNG\r\n--\0"),
    ]
    _, content_type, _, body = only(endpoint(form=form[3:]), tmp_path / "z.txt")
    assert fields_of(content_type, body) == [("t", None, "text/plain", b"is one?")]


@pytest.mark.parametrize(
    ("options", "match"),
    [
        ({"body": '{"a": $input}'}, "body: not JSON: .*; to send it as it is, name its type with content_type"),
        ({"body": "@/nowhere"}, "body @/nowhere: cannot be read: No such file"),
        ({"body": "x", "form": ("a=b",)}, "form and body: exclude each other"),
        ({"form": ("a=b",), "content_type": "a/b"}, "form and content_type: exclude each other"),
        ({"form": ("ab",)}, "form ab: not a field; write NAME=VALUE"),
        ({"form": ("a=@/nowhere",)}, "form a=@/nowhere: cannot be read"),
        ({"method": "G T"}, "method G T: not a method"),
        ({"method": "CONNECT"}, "method CONNECT: not a method"),
        ({"content_type": "csv"}, "content_type csv: not a content type; write it such as text/csv"),
        ({"content_type": "a/b\r\nx: y"}, ": not a content type"),
        ({"body": '{"stream": true}'}, "asks for a stream"),
        ({"shared_memory": True}, "shared_memory: means nothing with http://"),
        ({"shapes": {"A": (1,)}}, "shapes A: inputs of http:// have no names"),
        ({"url": "http+json://host/x", "body": '"$input"', "content_type": "text/csv"}, "not JSON.*; use http://"),
    ],
)
def test_options_that_make_no_sense(options, match):
    """One line each."""
    with pytest.raises(ConfigError, match=match):
        endpoint(**options)


@pytest.mark.parametrize(
    ("options", "asked", "match"),
    [
        ({"body": "x"}, {"inputs": 3}, r'count 3: has no place: body has no "\$input"'),
        ({}, {"inputs": 3}, r'count 3: has no place: the request has no "\$input"'),
        ({"body": "{}", "shapes": {"": (2,)}}, {}, "shapes 2: has no place"),
        ({"url": "http://host/v2/models/m/infer"}, {}, r"write oip\+http://host/v2/models/m/infer, .*, or name body"),
        ({"body": "$input"}, {"batch_size": 2}, r'batch_size 2: wants "\$inputs" in body'),
    ],
)
def test_inputs_that_have_no_place(options, asked, match):
    """Else they would be left out without a word."""
    with pytest.raises(ConfigError, match=match):
        list(sent(endpoint(**options), **asked))


@pytest.mark.parametrize("method", ["GET", "DELETE"])
def test_json_from_a_server_that_is_only_asked(method):
    """A method without a body needs none."""
    found = endpoint("http+json://host/x?id=1", method=method)
    assert only(found) == (f"{method} /x?id=1", None, None, b"")
    assert found.answers == JsonAnswers(())
