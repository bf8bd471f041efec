"""Credentials: made anew, kept for their owner alone, and never shown."""

import json
import os
from pathlib import Path

import pytest

from model_containers import credentials, settings
from model_containers.errors import SettingsError


def test_a_file_of_them(tmp_path):
    """Only its owner reads it; what is read is what was written; it is never written over."""
    path, made = tmp_path / "clients.json", credentials.make()
    made.for_clients().write(path)
    assert path.stat().st_mode & 0o777 == 0o600
    assert credentials.read(path) == made.for_clients()
    assert made.server_secret not in path.read_text()
    with pytest.raises(FileExistsError):
        made.write(path)


def test_no_two_are_alike_and_none_is_shown():
    """In a log or a traceback."""
    one, other = credentials.make(), credentials.make()
    values = json.loads(one.to_json())
    assert not set(values.values()) & set(json.loads(other.to_json()).values())
    assert not [value for value in values.values() if value in repr(one)]


def made_with(**members):
    """As JSON, with members of another kind."""
    return json.dumps(json.loads(credentials.make().to_json()) | members)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "not JSON with the members of credentials"),
        ("[]", "not JSON with the members of credentials"),
        ('{"token": "secret"}', "not JSON with the members of credentials"),
        (credentials.make().to_json().replace('"token": "', '"token": "secret '), "has an invalid token or key"),
        (
            credentials.make().to_json().replace('"client_public": "', '"client_public": "secret'),
            "has an invalid token or key",
        ),
        ("[" * 100_000, "not JSON with the members of credentials"),
        ("\udcff", "not JSON with the members of credentials"),
        (made_with(server_secret="#" * 40), "has an invalid token or key"),
        (made_with(server_public=5), "has an invalid token or key"),
        (made_with(client_secret=""), "has an invalid token or key"),
        (made_with(token=""), "has an invalid token or key"),
        (made_with(client_public=credentials.make().client_public), "has halves of different keys"),
        (made_with(server_public=credentials.make().server_public), "has halves of different keys"),
    ],
    ids=[
        *("nothing", "a list", "members missing", "a token", "a key", "deep", "no text", "no digits of a key"),
        *("a number", "an empty key", "an empty token", "a client's halves", "a server's halves"),
    ],
)
def test_what_is_none(tmp_path, text, said):
    """Is refused, with what to do, and nothing of it is repeated."""
    path = tmp_path / "file"
    path.touch(mode=0o600)
    path.write_bytes(text.encode(errors="surrogateescape"))
    with pytest.raises(ValueError, match=said) as error:
        credentials.read(path)
    assert "secret" not in str(error.value)


def test_a_file_that_others_can_read(tmp_path):
    """Is refused, as by other programs that read keys."""
    path = tmp_path / "file"
    credentials.make().write(path)
    os.chmod(path, 0o640)
    with pytest.raises(ValueError, match="can be read by others; chmod 600 it"):
        credentials.read(path)


@pytest.mark.parametrize("path", ["/dev/zero", "pipe", "."])
def test_what_is_no_file(tmp_path, monkeypatch, path):
    """Has no end, no writer or no content."""
    monkeypatch.chdir(tmp_path)
    os.mkfifo("pipe", 0o600)
    with pytest.raises(ValueError, match=r"not a file; save them in one|Is a directory"):
        credentials.read(Path(path))


def test_a_replica_reads_them(tmp_path):
    """From a file, or from the environment; an error names which and repeats nothing."""
    made, path = credentials.make().for_clients(), tmp_path / "clients.json"
    made.write(path)
    assert settings.read({"credentials": str(path)}, {}).credentials == made
    assert settings.read({}, {credentials.VARIABLE: made.to_json()}).credentials == made
    assert settings.read({}, {}).credentials is None
    with pytest.raises(SettingsError, match=f"^{credentials.VARIABLE}: not JSON"):
        settings.read({}, {credentials.VARIABLE: "secret"})
    with pytest.raises(SettingsError, match=r"^--credentials /nowhere: cannot be read: No such file"):
        settings.read({"credentials": "/nowhere"}, {})
