"""What may be secret stands in no message, no log line and no results file."""

import json
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from program import LOADGEN, asked

from loadgen import Access, ConfigError, Deploy, ExperimentConfig, External, SweepConfig
from loadgen.errors import without_secret_members, without_secrets
from loadgen.results import environment
from loadgen.targets.access import LEAST_SECRET
from loadgen.targets.address import parse_address
from loadgen.targets.mailbox import Mailbox

SECRET = "s3cret-value"
URL = f"http+json://h:1/p?v=2&token={SECRET}"


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("http://h:1/m", "http://h:1/m"),
        (f"http://u:{SECRET}@h:1/m", "http://…@h:1/m"),
        (f"http://u:{SECRET}/x@h:1/m", "http://…@h:1/m"),
        ("http://h:1/model@2", "http://h:1/model@2"),
        (f"http://h/p?api_key={SECRET}&v=2024-10-21&on=true", "http://h/p?api_key=…&v=2024-10-21&on=true"),
        ("http://h/p?token=12345", "http://h/p?token=…"),
        (f"http://h/p?x={SECRET}", "http://h/p?x=…"),
        (f"http://h/p#access_token={SECRET}", "http://h/p#access_token=…"),
        (f"u:{SECRET}@h:1/m", "…@h:1/m"),
        ("h:1/m", "h:1/m"),
        ("photo@2.png", "photo@2.png"),
        (f"http://h/p?{SECRET}1", "http://h/p?…"),
        (f"http://h/p?v=1&{SECRET * 5}#x", "http://h/p?v=1&…#x"),
        ("http://h/p?verbose&v=1", "http://h/p?verbose&v=1"),
        (f"http://u:{SECRET}@h and http://h?k={SECRET}", "http://…@h and http://h?k=…"),
    ],
)
def test_urls(url, shown):
    """Users, and values of queries that are no numbers."""
    assert without_secrets(url) == shown


@pytest.mark.parametrize(
    "text",
    [
        f"http://u:{SECRET}@h:1/p?token={SECRET}",
        f"http+json://u:{SECRET}@h:1/p",
        f"http+json://h:{SECRET}/p",
        f"http+json://[u:{SECRET}@h:1/p",
        f"http+json://:1/p?token={SECRET}",
        f"oip+http://h:1/a/b/c?token={SECRET}",
    ],
)
def test_an_address_that_is_none(text):
    """Its error may be in a log."""
    with pytest.raises(ConfigError) as caught:
        parse_address(text)
    assert SECRET not in str(caught.value).replace(f"h:{SECRET}", "h:port")


def test_an_address_as_it_is_shown():
    """It is sent whole."""
    address = parse_address(URL)
    assert (address.text, address.path) == ("http+json://h:1/p?v=2&token=…", f"/p?v=2&token={SECRET}")


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        (f'{{"api_key": "{SECRET}", "n": 1}}', '{"api_key": "…", "n": 1}'),
        (
            f'{{"p":"$input","auth":{{"Authorization":"Bearer {SECRET}"}}}}',
            '{"p":"$input","auth":{"Authorization":"…"}}',
        ),
        (f'{{"client-secret" : "a\\"{SECRET}", "x": "y"}}', '{"client-secret" : "…", "x": "y"}'),
        ('{"key": "$input", "signature_name": "a", "max_tokens": "b", "keys": "c", "role": "user"}', None),
        (f"{{'{SECRET}", None),
    ],
)
def test_members_of_json(text, shown):
    """Those that are called as secrets are."""
    assert without_secret_members(text) == (shown or text)


def test_a_token_or_a_key_in_place_of_its_file(tmp_path, monkeypatch):
    """The shell has put what the file holds onto the command line."""
    monkeypatch.chdir(tmp_path)
    words = [
        LOADGEN,
        "saturate",
        "--target",
        "https+json://h:1/p",
        "--body",
        '"$input"',
        "--results-dir",
        str(tmp_path),
    ]
    key = f"-----BEGIN PRIVATE KEY-----\n{SECRET}\n-----END PRIVATE KEY-----"
    for options in (["--token-file", SECRET], ["--tls-ca", key], ["--tls-key", key, "--tls-cert", key]):
        done = asked([*words, *options])
        assert (done.returncode, done.stderr.count("\n")) == (2, 1)
        assert SECRET not in done.stderr


def test_a_command_in_results(monkeypatch):
    """However options are written."""
    header = f"Authorization: Bearer {SECRET}"
    words = [
        "--header",
        header,
        f"--header={header}",
        "--header",
        "@file:1",
        "--target",
        URL,
        "--body",
        '{"a": "b?c=d"}',
        f'--body={{"api_key": "{SECRET}"}}',
    ]
    monkeypatch.setattr(sys, "argv", [LOADGEN, *words, "--header"])
    hidden = ["--header", "Authorization: …", "--header=Authorization: …", "--header", "@file:1"]
    others = [
        "--target",
        "http+json://h:1/p?v=2&token=…",
        "--body",
        '{"a": "b?c=d"}',
        '--body={"api_key": "…"}',
        "--header",
    ]
    assert environment.command() == [LOADGEN, *hidden, *others]


def test_variables_in_results(monkeypatch):
    """Those that change a measurement, by their names."""
    for name in ("TF_VAR_db_password", "LOADGEN_TOKEN", "CUDA_SECRET", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, SECRET)
    monkeypatch.setenv("TF_NUM_INTRAOP_THREADS", "1")
    monkeypatch.setenv("OMP_NUM_THREADS", "2")
    found = environment.environment().variables
    assert (found["TF_NUM_INTRAOP_THREADS"], found["OMP_NUM_THREADS"]) == ("1", "2")
    assert SECRET not in json.dumps(found)
    assert set(found) <= environment.VARIABLES


@pytest.mark.parametrize(
    "headers",
    [
        [f"Authorization Bearer {SECRET}"],
        [SECRET],
        [f"Bearer {SECRET}: x"],
        [f"A: {SECRET}é"],
        [f"A: {SECRET}\nx"],
        [f"content-length: {SECRET}"],
        ["a: 1", f": {SECRET}"],
        [f"A: {SECRET}", f"A: {SECRET}x"],
        ["@header"],
        ["@nowhere"],
    ],
)
def test_headers_that_are_none(headers, tmp_path, monkeypatch):
    """Their error names an option or a line, and no value."""
    monkeypatch.chdir(tmp_path)
    Path("header").write_text(f"A: b\nAuthorization Bearer {SECRET}\n")
    words = [word for header in headers for word in ("--header", header)]
    done = asked([LOADGEN, "saturate", "--target", "http+json://h:1/p", *words])
    assert (done.returncode, done.stderr.count("\n")) == (2, 1)
    assert done.stderr.startswith("loadgen: --header")
    assert SECRET not in done.stdout + done.stderr


def test_a_header_without_quotes():
    """The rest of its value is an argument to the parser, which quotes it."""
    words = ["--target", "http+json://h:1/p", "--header", "Authorization:", "Bearer", SECRET]
    done = asked([LOADGEN, "saturate", *words])
    assert done.returncode == 2
    assert "write --header 'NAME: VALUE' in quotes" in done.stderr
    assert SECRET not in done.stderr


def test_headers_in_a_file(tmp_path):
    """One a line; empty lines count for nothing."""
    from loadgen.cli.target import _headers

    path = tmp_path / "headers"
    path.write_text(f"\ufeffAuthorization: Bearer {SECRET}\n\nX-Team:  a \r\n")
    assert list(_headers([f"@{path}", "b: c"])) == [
        ("authorization", f"Bearer {SECRET}"),
        ("x-team", "a"),
        ("b", "c"),
    ]


def test_the_same_header_in_a_file_and_beside_it(tmp_path):
    """It is given once."""
    path = tmp_path / "headers"
    path.write_text(f"Authorization: {SECRET}\n")
    words = ["--header", f"@{path}", "--header", "authorization: x"]
    done = asked([LOADGEN, "saturate", "--target", "http+json://h:1/p", *words])
    assert done.stderr == "loadgen: --header authorization: given twice; give it once\n"


ACCESS = Access((("authorization", f"Bearer {SECRET}"), ("x", "a" * (LEAST_SECRET - 1))))


def test_what_a_server_quotes(caplog):
    """In the log, and in the reasons of failures."""
    path = f"/p?token={SECRET}2"
    mailbox = Mailbox(lambda reason: ACCESS.concealed(reason, path))
    mailbox.failed(0, f"401: bad token Bearer {SECRET} or {SECRET} at {path}, aaaaa")
    assert mailbox.drain().reasons == ("401: bad token … or … at /p?token=…, aaaaa",)
    assert SECRET not in caplog.text


def test_python_users_see_no_headers_either():
    """In the text of a configuration, and in an error about headers."""
    assert SECRET not in repr(ExperimentConfig(External.at("http+json://h:1/p", access=ACCESS)))
    with pytest.raises(ConfigError) as caught:
        Access((f"Authorization: {SECRET}",))  # type: ignore[arg-type]
    assert SECRET not in str(caught.value)


def test_patience_is_no_setting_of_a_sweep():
    """A sweep that goes on may wait for its server otherwise."""
    settings = [
        SweepConfig(ExperimentConfig(External.at("http://h/x", wait_ready_s=each))).settings for each in (None, 5.0)
    ]
    assert settings[0] == settings[1]


def test_the_settings_of_a_sweep():
    """They tell two sweeps apart, and do not hold what does so."""

    def settings(url, metrics_url, key=SECRET):
        serve = External.at(url, access=ACCESS, metrics_url=metrics_url, body=f'{{"p": "$input", "key": "{key}"}}')
        return json.dumps(SweepConfig(ExperimentConfig(serve)).settings)

    found = settings(URL, f"http://u:{SECRET}@h/metrics")
    assert SECRET not in found
    assert settings(URL, f"http://u:{SECRET}@h/metrics") == found
    assert settings(URL, f"http://u:{SECRET}x@h/metrics") != found
    assert settings(URL, f"http://u:{SECRET}@h/metrics", "other") != found
    assert settings(f"{URL}x", f"http://u:{SECRET}@h/metrics") != found
    assert "target" not in SweepConfig(replace(ExperimentConfig(Deploy("noop")))).settings["base"]["serve"]
