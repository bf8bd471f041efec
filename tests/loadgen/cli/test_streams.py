"""Standard streams that are closed, broken, or encode little."""

import errno
import io
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from program import LOADGEN, asked

from loadgen.cli import console, measuring
from loadgen.results import files

GOLDEN = Path(__file__).parents[2] / "golden" / "results-v2.json"
OPENED = """
import os, sys
from loadgen import cli
cli._open_streams()
numbers = [os.open(os.devnull, os.O_RDONLY)]
print("text"), print("text", file=sys.stderr)
sys.exit(0 if min(numbers) > 2 and None not in (sys.stdin, sys.stdout, sys.stderr) else 3)
"""


@pytest.mark.parametrize("closed", [(0,), (1,), (2,), (0, 1), (0, 2), (1, 2), (0, 1, 2)])
def test_no_file_takes_the_number_of_a_closed_stream(closed):
    """Or a library that writes to standard error would write to a socket."""
    redirections = " ".join(f"{number}>&-" for number in closed)
    done = subprocess.run(["bash", "-c", f'exec "$0" -c "$1" {redirections}', sys.executable, OPENED], check=False)
    assert done.returncode == 0


class Gone(io.StringIO):
    """Standard output that cannot be written, such as a pipe whose reader is gone."""

    def __init__(self, number: int) -> None:
        super().__init__()
        self._file, self._number = os.open(os.devnull, os.O_WRONLY), number

    def write(self, text: str) -> int:
        raise OSError(self._number, os.strerror(self._number))

    def fileno(self) -> int:
        return self._file


@pytest.fixture
def gone():
    """Makes such a standard output."""
    streams = []

    def make(number):
        streams.append(Gone(number))
        return streams[-1]

    yield make
    for stream in streams:
        os.close(stream.fileno())


def test_a_run_whose_output_has_no_reader_says_where_its_results_are(monkeypatch, gone, tmp_path):
    """Such as `| head -1`."""
    results = replace(files.read(GOLDEN), path=tmp_path / "results.json")

    async def run_experiment(config):
        return results

    monkeypatch.setattr(measuring, "run_experiment", run_experiment)
    monkeypatch.setattr(console, "set_up_logging", lambda: None)
    done = asked([LOADGEN, "saturate", "-m", "noop", "-d", "1"], gone(errno.EPIPE))
    text = f"loadgen: the output cannot be written: Broken pipe; the results are in {results.path}\n"
    assert (done.returncode, done.stderr) == (1, text)


@pytest.mark.parametrize("number", [errno.EPIPE, errno.ENOSPC, errno.EIO])
def test_output_that_cannot_be_written(gone, number):
    """Is one line with the reason."""
    done = asked([LOADGEN, "report", str(GOLDEN)], gone(number))
    assert (done.returncode, done.stderr) == (1, f"loadgen: the output cannot be written: {os.strerror(number)}\n")


def test_a_file_that_cannot_be_used_is_not_taken_for_the_output(tmp_path):
    """A name may be too long for the file system."""
    done = asked([LOADGEN, "saturate", "-m", "noop", "--dry-run", "--input", f"{tmp_path}/{'x' * 5000}"])
    assert done.returncode == 2
    assert done.stderr.startswith("loadgen: ")
    assert done.stderr.endswith("File name too long\n")
    assert len(done.stderr) < 700


def test_names_that_the_output_cannot_encode(tmp_path):
    """Are written nevertheless."""
    name = os.fsencode(tmp_path) + b"/results-\xff\xc3\xa9.json"
    Path(os.fsdecode(name)).write_text(GOLDEN.read_text())
    environment = {**os.environ, "PYTHONIOENCODING": "ascii"}
    words = [LOADGEN.encode(), b"report", name, b"--csv", b"-"]
    done = subprocess.run(words, capture_output=True, env=environment, check=False)
    assert (done.returncode, done.stderr) == (0, b"")
    assert b".json\n" in done.stdout


SAVED = """
import os
from loadgen import cli
from model_containers import printable
cli._open_streams()
printable.protect()
print("Saved results to", os.fsdecode(NAME.encode("latin-1")))
"""


def test_an_ascii_locale_writes_the_bytes_of_names():
    """A path that is printed can be used."""
    name = "results-\xff\xc3\xa9.json"
    locale = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
    words = [sys.executable, "-c", SAVED.replace("NAME", ascii(name))]
    done = subprocess.run(words, capture_output=True, env={**os.environ, **locale}, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, f"Saved results to {name}\n".encode("latin-1"), b"")


def test_a_limit_of_open_files_that_is_too_low(monkeypatch):
    """Is said before anything is opened: an event loop needs some, and its errors say little."""
    monkeypatch.setattr("loadgen.load.open_files.raise_limit", lambda: 20)
    done = asked([LOADGEN, "saturate", "-m", "noop", "--dry-run"])
    text = "loadgen: 20 open files are too few; raise the limit, such as to 1024 (ulimit -n 1024)\n"
    assert (done.returncode, done.stderr) == (3, text)


class Terminal(io.StringIO):
    """Standard output that is a terminal."""

    def isatty(self) -> bool:
        return True


def test_a_terminal_has_a_width_and_a_pipe_has_none(monkeypatch):
    """COLUMNS says how wide it is; what a pipe gets is for programs, whose lines are whole."""
    monkeypatch.setenv("COLUMNS", "72")
    monkeypatch.setattr(sys, "stdout", Terminal())
    assert console.columns() == 72
    monkeypatch.setattr(sys, "stdout", io.StringIO())
    assert console.columns() is None
    sys.stdout.close()
    assert console.columns() is None
