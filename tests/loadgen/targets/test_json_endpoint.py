"""Any JSON: templates, inputs, and paths to answers."""

import asyncio
import json

import numpy as np
import pytest

from loadgen.errors import ConfigError
from loadgen.targets.address import parse_address
from loadgen.targets.json_endpoint import JsonAnswers, JsonEndpoint
from loadgen.targets.remote import RequestOptions, TargetOptions

ADDRESS = parse_address("http+json://host:8000/v1/completions")


def endpoint(body='{"prompt": "$input", "n": 1}', answer=None, **options):
    return asyncio.run(JsonEndpoint.at(TargetOptions(ADDRESS, body=body, answer=answer, **options)))


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
    with pytest.raises(ConfigError, match=r"count 4: .*x.json holds 3; ask for no more than that"):
        bodies(endpoint(), RequestOptions(1, tmp_path / "x.json", 4, 0))


def test_numbers_of_a_shape_are_drawn():
    """The same for the same seed."""
    found = endpoint(shapes={"": (2, 3)})
    (first, second) = bodies(found, RequestOptions(1, None, 2, 5))
    assert np.array(first["prompt"]).shape == (2, 3)
    assert first != second
    assert bodies(found, RequestOptions(1, None, 2, 5)) == [first, second]


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
    judge = JsonAnswers(endpoint(answer=path).answer).make()
    assert judge.http(json.dumps(answer).encode(), None) == wrong


def test_an_answer_that_is_no_json():
    """Is said to be none."""
    assert JsonAnswers(()).http(b"<html>", None) == "the answer is no JSON"


@pytest.mark.parametrize(
    ("options", "match"),
    [
        ({"body": None}, "needs body"),
        ({"body": "{"}, "body is no JSON"),
        ({"body": "@/nowhere"}, "body @/nowhere cannot be read"),
        ({"body": '{"a": "input"}'}, 'neither "\\$input" nor'),
        ({"answer": "a..b"}, "answer a..b is no path"),
        ({"shared_memory": True}, "shared_memory means nothing"),
        ({"shapes": {"A": (1,)}}, "shapes A: inputs of"),
    ],
)
def test_options_that_make_no_sense(options, match):
    """Are refused in one line."""
    with pytest.raises(ConfigError, match=match):
        endpoint(**options)


def test_a_batch_wants_a_place_for_it():
    """Else its rows would be lost."""
    with pytest.raises(ConfigError, match='batch_size 2 wants "\\$inputs"'):
        endpoint().inputs(RequestOptions(2, None, None, 0))
