"""Foreign text on a terminal: what is escaped, and that nothing gets around it."""

import codecs
import json
import logging
import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from model_containers.batch_log import open_log
from model_containers.printable import BYTES_OF_NAMES, RecordFormatter, _Printable, printable, printable_line


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        pytest.param("\x1b]0;owned\x07", "\\x1b]0;owned\\x07", id="a title"),
        pytest.param("\x1b[31mred\x1b[0m", "\\x1b[31mred\\x1b[0m", id="a colour"),
        pytest.param("\x9b2J", "\\x9b2J", id="a sequence of one byte"),
        pytest.param("10 %\r20 %", "10 %\\r20 %", id="a line over another"),
        pytest.param("a\x08\x08b\x00\x7f", "a\\x08\\x08b\\x00\\u007f", id="backspace, null, delete"),
        pytest.param("a\u202egpj.exe\u2066", "a\\u202egpj.exe\\u2066", id="the other direction"),
        pytest.param("no\u200bop\u2060\xad\U000e0041", "no\\u200bop\\u2060\\xad\\U000e0041", id="of no width"),
        pytest.param("a\udc80.py", "a\\udc80.py", id="a file name that is no text"),
        pytest.param("größer\tals\n1 µs\r\n", "größer\tals\n1 µs\r\n", id="plain text stays"),
    ],
)
def test_what_a_terminal_would_obey_is_shown(text, shown):
    """As escapes; tabs and ends of lines stay."""
    assert printable(text) == shown
    assert printable(shown) == shown


@given(st.text(alphabet=st.characters(exclude_categories=())))
def test_nothing_that_a_terminal_obeys_is_left(text):
    """And any encoding of Unicode can print it."""
    shown = printable(text)
    shown.encode()
    assert all(char.isprintable() or char in "\t\r\n" or ord(char) > 0xFF for char in shown.replace("\xa0", ""))


@given(st.text())
def test_json_stays_json(text):
    """Escaping changes no value of it."""
    assert json.loads(printable(json.dumps(text))) == text


def test_text_that_stays_within_its_line():
    """Ends of lines are escapes as well."""
    assert printable_line("a\r\nb\n\tc\x1b") == "a\\r\\nb\\n\tc\\x1b"


def test_a_record_is_told_from_its_further_lines():
    """A model is called so that its second line looks like a record."""
    made = logging.LogRecord("", logging.INFO, "", 1, "registered %s", ("noop\n12:00 INFO gone\r\n12:01",), None)
    assert RecordFormatter("%(levelname)s %(message)s").format(made) == (
        "INFO registered noop\n    12:00 INFO gone\r\n    12:01"
    )


PROGRAM = r"""
import logging, sys
from model_containers import printable
printable.protect()
printable.protect()
logging.basicConfig(stream=sys.stdout)
print("printed \x1b[31m")
sys.stdout.writelines(["written \x1b[31m\n"])
logging.warning("logged %s", "\x1b[31m")
print("told \x1b[31m", file=sys.stderr)
try:
    sys.stdout.buffer
except AttributeError:
    raise ValueError("raised \x1b[31m")
"""


def test_bytes_of_names_are_written_where_a_stream_can(tmp_path):
    """But for those that a terminal may take for control characters."""
    codecs.register_error(BYTES_OF_NAMES, codecs.lookup_error("surrogateescape"))
    for errors, written in ((BYTES_OF_NAMES, b"\xffa\xa0\\x1b\\udc9b"), ("strict", rb"\udcffa\udca0\x1b\udc9b")):
        with (tmp_path / "out").open("w", encoding="utf-8", errors=errors) as stream:
            _Printable(stream).write("\udcffa\udca0\x1b\udc9b")
        assert (tmp_path / "out").read_bytes() == written


def test_a_process_prints_no_control_characters():
    """Whichever way: print, log, traceback."""
    done = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True, timeout=30, check=False)
    out, err = (text.replace("\\x1b[31m", "*") for text in (done.stdout, done.stderr))
    assert out.splitlines() == ["printed *", "written *", "WARNING:root:logged *"]
    assert "told *" in err
    assert "ValueError: raised *" in err
    assert "\x1b" not in out + err


def test_a_replica_s_log_file(tmp_path):
    """A model's error is in it, and a person looks at it."""
    path = tmp_path / "replica.log"
    log = open_log(path)
    log.error("failed: %s", "\x1b[2J")
    for handler in log.handlers:
        handler.close()
    assert path.read_text() == "failed: \\x1b[2J\n"
    assert isinstance(log, logging.Logger)
