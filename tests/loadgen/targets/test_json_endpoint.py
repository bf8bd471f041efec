"""Any JSON: templates, inputs, and paths to answers."""

import asyncio
import json

import numpy as np
import pytest

from loadgen.errors import ConfigError
from loadgen.targets.address import parse_address
from loadgen.targets.http_answers import JsonAnswers
from loadgen.targets.http_endpoint import HttpEndpoint
from loadgen.targets.http_request import json_values
from loadgen.targets.oip.answers import AnswerJudge
from loadgen.targets.oip.tensors import Tensor
from loadgen.targets.remote import RequestOptions, TargetOptions

ADDRESS = parse_address("http+json://host:8000/v1/completions")


def endpoint(body='{"prompt": "$input", "n": 1}', answer=None, **options):
    return asyncio.run(HttpEndpoint.at(TargetOptions(ADDRESS, body=body, answer=answer, **options)))


def bodies(found, asked):
    return [json.loads(bytes(one).partition(b"\r\n\r\n")[2]) for one in found.inputs(asked).make().payloads()]


def test_the_input_stands_where_the_template_has_its_mark(tmp_path):
    """Nothing else of the template changes."""
    (tmp_path / "x.txt").write_text("one\ntwo\n")
    found = bodies(endpoint(), RequestOptions(1, tmp_path / "x.txt", None, 0))
    assert found == [{"prompt": "one", "n": 1}, {"prompt": "two", "n": 1}]


def test_several_inputs_are_a_list(tmp_path):
    """As many as the batch size says."""
    (tmp_path / "x.json").write_text('[{"a": 1}, [2], 3]')
    found = bodies(endpoint('{"all": "$inputs"}'), RequestOptions(2, tmp_path / "x.json", None, 0))
    assert found == [{"all": [{"a": 1}, [2]]}, {"all": [3, {"a": 1}]}]
    with pytest.raises(ConfigError, match=r"count 4: .*x.json holds 3"):
        bodies(endpoint(), RequestOptions(1, tmp_path / "x.json", 4, 0))


def test_numbers_of_a_shape_are_drawn():
    """The same for the same seed."""
    found = endpoint(shapes={"": (2, 3)})
    (first, second) = bodies(found, RequestOptions(1, None, 2, 5))
    assert np.array(first["prompt"]).shape == (2, 3)
    assert first != second
    assert bodies(found, RequestOptions(1, None, 2, 5)) == [first, second]


def test_whole_numbers_in_a_range_are_drawn():
    """Such as ids of tokens; texts have no range."""
    found = endpoint(shapes={"": (100,)})
    (body,) = bodies(found, RequestOptions(1, None, 1, 5, {"": (1000, 1003)}, "int64"))
    assert set(body["prompt"]) == {1000, 1001, 1002}
    with pytest.raises(ConfigError, match="the input is text"):
        bodies(endpoint(), RequestOptions(1, None, 1, 5, {"": (0, 3)}))


def texts(found, asked):
    """The bodies as they are written."""
    return [bytes(one).partition(b"\r\n\r\n")[2].decode() for one in found.inputs(asked).make().payloads()]


@pytest.mark.parametrize(
    ("body", "value", "expected"),
    [
        ('{"p": "Translate: $input"}', 'a "b" \\1', 'Translate: a "b" \\1'),
        ('{"p": "$input and $input."}', "x", "x and x."),
        ('{"p": "$input"}', "x", "x"),
        ('{"p": "data:image/png;base64,$input"}', "x", "data:image/png;base64,x"),
        ('{"p": "$inputs$input"}', "x", None),
        ('{"p": "$input_ids: $input"}', "x", "$input_ids: x"),
    ],
)
def test_the_input_stands_inside_a_text(tmp_path, body, value, expected):
    """At each mark, and as it is; other words with a dollar are no marks."""
    (tmp_path / "x.json").write_text(json.dumps([value]))
    if expected is None:
        with pytest.raises(ConfigError, match=r'has "\$inputs" inside a text, but it is a list; let it stand alone'):
            endpoint(body)
        return
    assert bodies(endpoint(body), RequestOptions(1, tmp_path / "x.json", None, 0)) == [{"p": expected}]


def test_what_is_no_text_stands_in_a_text_as_json(tmp_path):
    """Numbers, lists and objects."""
    (tmp_path / "x.json").write_text('[5, [1, "\u00e9"], {"a": true}]')
    found = bodies(endpoint('{"p": "Sum: $input"}'), RequestOptions(1, tmp_path / "x.json", None, 0))
    assert [body["p"] for body in found] == ["Sum: 5", 'Sum: [1, "\u00e9"]', 'Sum: {"a": true}']


@pytest.mark.parametrize(
    ("name", "content", "expected"),
    [
        ("x.txt", "\ufeffone\r\n\r\ntw\u00f6\n", ["one", "tw\u00f6"]),
        ("x.jsonl", '{"p": "one", "n": 2}\n\n[9007199254740993, true]\n', [{"p": "one", "n": 2}, [2**53 + 1, True]]),
        ("x.json", '{"data": [{"payload": [{"model": "m"}]}, {"A": [1]}]}', [{"model": "m"}, {"A": [1]}]),
        (
            "x.jsonl",
            '{"custom_id": "1", "method": "POST", "url": "/v1/completions", "body": {"prompt": "one"}}',
            [{"prompt": "one"}],
        ),
        ("x.csv", 'prompt\n"one, two"\n007\n', ["one, two", "007"]),
        ("x.csv", "a,t\n1.50,x\n2,y\n", [{"a": 1.5, "t": "x"}, {"a": 2, "t": "y"}]),
        ("x.csv", "1,2\n3,4\n", [[1, 2], [3, 4]]),
        ("x.png", "\x89PNG", ["wolQTkc="]),
    ],
)
def test_an_input_an_entry(tmp_path, name, content, expected):
    """Of any kind; an image is the base64 of its file."""
    (tmp_path / name).write_text(content)
    found = bodies(endpoint('{"p": "$input"}'), RequestOptions(1, tmp_path / name, None, 0))
    assert [body["p"] for body in found] == expected


def test_an_entry_is_a_whole_request(tmp_path):
    """With the mark alone for a template."""
    (tmp_path / "x.jsonl").write_text('{"prompt": "one", "max_tokens": 3}\n')
    assert bodies(endpoint('"$input"'), RequestOptions(1, tmp_path / "x.jsonl", None, 0)) == [
        {"prompt": "one", "max_tokens": 3}
    ]


@pytest.mark.parametrize(
    ("array", "expected"),
    [
        (np.array([[2**53 + 1, -1]]), ["[9007199254740993, -1]"]),
        (np.array([[2**64 - 1]], np.uint64), ["[18446744073709551615]"]),
        (np.array([[True, False]]), ["[true, false]"]),
        (np.array([[0.1, 1 / 3, 1e-7, 16777216]], np.float32), ["[0.1, 0.33333334, 1e-07, 16777216.0]"]),
        (np.array([[0.1, 65504]], np.float16), ["[0.1, 65500.0]"]),
        (np.array([[0.1, 1 / 3]]), ["[0.1, 0.3333333333333333]"]),
        (np.array([[1, 2]], ">i2"), ["[1, 2]"]),
        (np.asfortranarray(np.arange(6).reshape(2, 3)), ["[0, 1, 2]", "[3, 4, 5]"]),
        (np.arange(3), ["[0, 1, 2]"]),
        (np.array(["one", "tw\u00f6"]), ['"one"', '"tw\\u00f6"']),
        (np.array([["a", "b"]], object), ['["a", "b"]']),
    ],
    ids=lambda value: str(getattr(value, "dtype", "")),
)
def test_numbers_are_written_exactly(tmp_path, array, expected):
    """Integers as such, truth values, and the shortest text that reads back as the same number of its type."""
    np.save(tmp_path / "x.npy", array)
    found = texts(endpoint('{"p": "$input"}'), RequestOptions(1, tmp_path / "x.npy", None, 0))
    assert found == [f'{{"p": {one}}}' for one in expected]


@pytest.mark.parametrize("dtype", [np.float16, np.float32])
def test_the_shortest_text_reads_back(dtype):
    """As the same number, of which there are many."""
    every = np.random.default_rng(0).integers(0, 256, 20_000, dtype=np.uint8).view(dtype)
    numbers = every[np.isfinite(every)]
    written = json.loads(json.dumps(json_values(numbers)))
    assert np.array_equal(np.array(written).astype(dtype), numbers)
    assert all(float(f"{number:.9g}") == number for number in written)


def test_drawn_numbers_are_short(tmp_path):
    """Six decimals are six decimals."""
    (found,) = texts(endpoint('{"p": "$input"}', shapes={"": (50,)}), RequestOptions(1, None, 1, 0))
    assert len(found) < 50 * 11


def test_the_shape_is_that_of_an_input(tmp_path):
    """Where the user says it, of arrays too."""
    np.save(tmp_path / "x.npy", np.zeros((2, 3), int))
    found = bodies(endpoint('{"p": "$input"}', shapes={"": (2, 3)}), RequestOptions(1, tmp_path / "x.npy", None, 0))
    assert found == [{"p": [[0, 0, 0], [0, 0, 0]]}]
    with pytest.raises(ConfigError, match=r"x\.npy: holds inputs of 3, the model takes 4"):
        bodies(endpoint('{"p": "$input"}', shapes={"": (4,)}), RequestOptions(1, tmp_path / "x.npy", None, 0))
    (tmp_path / "x.json").write_text("[[1, 2], [3]]")
    with pytest.raises(ConfigError, match=r"x\.json, entry 2: not an array of shapes 2; leave shapes out"):
        bodies(endpoint('{"p": "$input"}', shapes={"": (2,)}), RequestOptions(1, tmp_path / "x.json", None, 0))


@pytest.mark.parametrize(
    ("name", "content", "reason"),
    [
        ("x.txt", b"one\ncaf\xe9\n", "x.txt, line 2: not UTF-8, which JSON wants; save it as UTF-8"),
        ("x.json", b'["caf\xe9"]', "x.json: cannot be read: line 1 is not UTF-8"),
        ("x.jsonl", b"[1e999]", "inputs from .*x.jsonl: JSON has no number so large"),
        ("x.json", b"[]", "x.json: holds no input; save one at least"),
        ("x.md", b"one", "x.md: neither a directory nor a file that ends in"),
    ],
)
def test_inputs_that_json_cannot_carry(tmp_path, name, content, reason):
    """They would arrive as others."""
    (tmp_path / name).write_bytes(content)
    with pytest.raises(ConfigError, match=reason):
        bodies(endpoint(), RequestOptions(1, tmp_path / name, None, 0))


@pytest.mark.parametrize(
    ("array", "reason"),
    [
        (np.array([[np.nan]]), "holds numbers that are not finite"),
        (np.array([[1j]]), "holds complex128, which JSON does not have"),
        (np.array([b"caf\xe9"]), "not UTF-8, which JSON wants"),
        (np.array(["a", None], object), "holds object, which JSON does not have"),
        (np.float32(1), "holds one number"),
    ],
)
def test_arrays_that_json_cannot_carry(tmp_path, array, reason):
    """Likewise."""
    np.save(tmp_path / "x.npy", array)
    with pytest.raises(ConfigError, match=rf"x\.npy: {reason}"):
        bodies(endpoint(), RequestOptions(1, tmp_path / "x.npy", None, 0))


def test_all_inputs_are_looked_at_before_a_run(tmp_path):
    """Whatever asks how large a request is."""
    (tmp_path / "x.txt").write_bytes(b"one\ncaf\xe9\n")
    source = endpoint().inputs(RequestOptions(1, tmp_path / "x.txt", None, 0))
    with pytest.raises(ConfigError, match=r"x\.txt, line 2: not UTF-8"):
        _ = source.payload_bytes


def test_a_template_from_a_file(tmp_path):
    """With a byte order mark too."""
    (tmp_path / "body.json").write_text('\ufeff{"p": "$input"}\r\n')
    (tmp_path / "x.json").write_text('["x"]')
    assert bodies(endpoint(f"@{tmp_path}/body.json"), RequestOptions(1, tmp_path / "x.json", None, 0)) == [{"p": "x"}]


@pytest.mark.parametrize(
    "body",
    [
        *('{"p": "$input", "stream": true}', '{"text_input": "$input", "parameters": {"stream": true}}'),
        *('{"p": "$input", "options": {"stream": true}}', '{"p": "$input", "stream": "true"}'),
        '{"p": "$input", "parameters": {"stream": "True"}}',
    ],
)
def test_streams_are_refused(tmp_path, body):
    """In the template, and where an entry of a file is a whole request."""
    refusal = r'body: asks for a stream, and answers have to be whole; set "stream" to false'
    with pytest.raises(ConfigError, match=refusal):
        endpoint(body)
    (tmp_path / "x.jsonl").write_text(body + "\n")
    with pytest.raises(ConfigError, match=refusal):
        bodies(endpoint('"$input"'), RequestOptions(1, tmp_path / "x.jsonl", None, 0))
    assert bodies(endpoint(body.replace("true", "false").replace("True", "False")), RequestOptions(1, None, 1, 0))


@pytest.mark.parametrize("value", ["true", "1", '"1"', '"on"', '"YES"'])
def test_what_servers_read_as_a_yes_is_one(value):
    """Those with pydantic take numbers and words too."""
    with pytest.raises(ConfigError, match="asks for a stream"):
        endpoint('{"p": "$input", "stream": ' + value + "}")


@pytest.mark.parametrize(
    "body",
    [
        *('{"p": "$input", "stream": null}', '{"p": "$input", "stream": "river"}', '{"p": "$input", "stream": 2}'),
        *('{"p": "$input", "stream": {"a": true}}', '{"p": "$input", "streams": true}', '[{"stream": true}, "$input"]'),
        *('{"p": "$input", "stream_options": {"include_usage": true}}', '{"p": {"stream": true}, "q": "$input"}'),
    ],
)
def test_what_is_no_request_for_a_stream_is_sent(body):
    """Such as a model's own input of that name."""
    assert bodies(endpoint(body), RequestOptions(1, None, 1, 0))


@pytest.mark.parametrize(
    ("path", "answer", "wrong"),
    [
        ("choices[0].text", {"choices": [{"text": "x"}]}, None),
        ("$.choices[0].text", {"choices": [{"text": ""}]}, None),
        ("", {}, None),
        ("choices[0].text", {"choices": []}, "the answer has no choices[0].text"),
        ("choices[0].text", {"choices": [{"text": None}]}, "the answer's choices[0].text is null"),
        ("a.b", {"a": 1}, "the answer has no a.b"),
    ],
)
def test_what_an_answer_has_to_have(path, answer, wrong):
    """Anything but null will do."""
    judge = endpoint(answer=path).answers.make()
    assert judge.http(json.dumps(answer).encode(), None) == wrong


@pytest.mark.parametrize("number", ["NaN", "Infinity", "-Infinity"])
def test_numbers_beside_json_are_numbers(number):
    """TensorFlow Serving, and Python's json, write them for a model that has them; so the server did answer."""
    assert JsonAnswers(("ok",)).http(b'{"ok": %s}' % number.encode(), None) is None
    row = b'{"name": "y", "datatype": "FP32", "shape": [2], "data": [1.5, %s]}' % number.encode()
    assert AnswerJudge([Tensor("y", "FP32", (2,))]).http(b'{"outputs": [%s]}' % row, None) is None


def test_an_answer_that_is_no_json():
    """Is said to be none."""
    for answer in (b"<html>", b"", b"data", b'{"a": 1}\n<', b"{}{}", b"[" * 5000):
        assert JsonAnswers(()).http(answer, None) == "the answer is not JSON"


@pytest.mark.parametrize(
    ("answer", "kind"),
    [
        (b'data: {"a": 1}\n\ndata: [DONE]\n\n', "text/event-stream"),
        (b"\nevent: token\ndata: x\n\n", "text/event-stream"),
        (b'{"a": 1}\n{"a": 2}\n', "newline-delimited JSON"),
        (b'{"a": 1}\r\n\r\n{"a": 2}', "newline-delimited JSON"),
    ],
)
def test_an_answer_in_parts(answer, kind):
    """Is one, whatever its type says."""
    reason = f'the answer is a stream ({kind}), and answers have to be whole; set "stream" to false'
    assert JsonAnswers(("a",)).http(answer, None) == reason


@pytest.mark.parametrize(
    ("options", "match"),
    [
        ({"body": None}, "body: missing; write such as"),
        ({"body": "{"}, "body: not JSON"),
        ({"body": '{"a": "$input", "b": NaN}'}, "body: not JSON: JSON has no NaN"),
        ({"body": "[" * 5000}, "body: not JSON: it is nested too deep"),
        ({"body": "[" * 200 + '"$input"' + "]" * 200}, "body: nested deeper than 100"),
        ({"body": "@/dev/zero"}, "body @/dev/zero: cannot be read: it has more than 16 MiB"),
        ({"body": "@" + "x" * 5000}, "cannot be read: File name too long"),
        ({"body": '{"$input": 1}'}, 'neither "\\$input" nor'),
        ({"body": "@/nowhere"}, "body @/nowhere: cannot be read"),
        ({"body": '{"a": "input"}'}, 'neither "\\$input" nor'),
        ({"answer": "a..b"}, "answer a..b: not a path"),
        ({"shared_memory": True}, "shared_memory: means nothing"),
        ({"shapes": {"A": (1,)}}, "shapes A: inputs of"),
    ],
)
def test_options_that_make_no_sense(options, match):
    """Are refused in one line."""
    with pytest.raises(ConfigError, match=match):
        endpoint(**options)


def test_a_batch_wants_a_place_for_it():
    """Else its rows would be lost."""
    with pytest.raises(ConfigError, match='batch_size 2: wants "\\$inputs"'):
        endpoint().inputs(RequestOptions(2, None, None, 0))
