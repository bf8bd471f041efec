"""Files that a user names: their bounds, and the one rule for text."""

import os
import threading
from pathlib import Path

import pytest

from loadgen import files
from loadgen.files import UnreadableError, decoded, parse_json, read_bytes, read_text


@pytest.mark.parametrize("name", ["/dev/zero", "/dev/full"])
def test_a_file_without_an_end(name):
    """Is read up to the bound."""
    with pytest.raises(UnreadableError, match=r"^it has more than 1 MiB; name a smaller file$"):
        read_bytes(Path(name), 1 << 20)


@pytest.mark.parametrize(
    ("path", "reason"),
    [("/", "Is a directory"), ("/nowhere", "No such file or directory"), ("x" * 5000, "File name too long")],
)
def test_what_is_no_file(path, reason):
    """Says why, in the system's words."""
    with pytest.raises(UnreadableError, match=f"^{reason}; name another file$"):
        read_text(Path(path))


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        ("one\ntwo \u00e9\n".encode("latin-1"), "line 2 is not UTF-8; save it as UTF-8"),
        ("one\r\n".encode("utf-16"), "it is UTF-16; save it as UTF-8"),
        ("\ufeffone\r\n".encode("utf-16-be"), "it is UTF-16; save it as UTF-8"),
        ("one".encode("utf-16-le"), "it has NUL bytes, as UTF-16 and binary files have; save it as text in UTF-8"),
        ("one".encode("utf-32"), "it is UTF-32; save it as UTF-8"),
        ("\ufeffone".encode("utf-32-be"), "it is UTF-32; save it as UTF-8"),
    ],
)
def test_text_in_another_encoding(content, reason):
    """Is refused, since what it says would be another thing."""
    with pytest.raises(UnreadableError, match=f"^{reason}$"):
        decoded(content)


def test_a_byte_order_mark_is_no_text():
    """One at the beginning; another one belongs to the text."""
    assert decoded(b"\xef\xbb\xbf\xef\xbb\xbfa\r\n") == "\ufeffa\r\n"


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("[NaN]", "JSON has no NaN"),
        ("[-Infinity]", "JSON has no -Infinity"),
        ("[" * 100_000, "nested too deep"),
        ('{"a": 1, "b": {"c": 1, "d": 2, "c": 3}}', "an object has 'c' twice"),
        ("9" * 5000, "Exceeds the limit"),
        ("", "Expecting value"),
    ],
)
def test_what_is_no_json(text, reason):
    """Is a ValueError, whatever is wrong with it."""
    with pytest.raises(ValueError, match=reason):
        parse_json(text)


def test_a_pipe_is_read_until_its_writer_is_done(tmp_path):
    """Such as that of `@<(pass show token)`, whose writer may come later."""
    path = tmp_path / "pipe"
    os.mkfifo(path)
    writer = threading.Thread(target=path.write_bytes, args=(b"x" * 100_000,))
    writer.start()
    assert files.read_bytes(path) == b"x" * 100_000
    writer.join()


def test_a_pipe_without_a_writer_is_given_up(tmp_path, monkeypatch):
    """It would never say anything."""
    monkeypatch.setattr(files, "PATIENCE_S", 0.01)
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(files.UnreadableError, match=r"^nothing came for 0\.01 s; name another file, or write to it$"):
        files.read_bytes(tmp_path / "pipe")


def test_a_name_that_cannot_be_one():
    """It is refused like a file that is not there."""
    with pytest.raises(files.UnreadableError, match="null character"):
        files.read_bytes(Path("a\0b"))
