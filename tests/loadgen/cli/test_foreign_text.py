"""Escape sequences that servers and files put into names and errors: shown, not obeyed."""

import csv
import http.server
import io
import threading
from dataclasses import replace

import pytest
from sample_results import results
from typer.testing import CliRunner

from loadgen.cli.verbs import app
from loadgen.results.files import save
from loadgen.results.sections import ServedModel

EVIL = "\x1b]0;owned\x07\x1b[31m"
SHOWN = "\\x1b]0;owned\\x07\\x1b[31m"


class Hostile(http.server.BaseHTTPRequestHandler):
    """Answers each request with an error that takes over a terminal."""

    def do_GET(self):
        self.send_response(500)
        self.end_headers()
        self.wfile.write(EVIL.encode())

    def log_message(self, *_):
        """Nothing."""


@pytest.fixture
def port():
    with http.server.HTTPServer(("127.0.0.1", 0), Hostile) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield server.server_port
        server.shutdown()
        thread.join()


def test_a_server_s_error(port):
    """In the line that says what went wrong, colours too."""
    done = CliRunner().invoke(app, ["metrics", "--host", "127.0.0.1", "--metrics-port", str(port)])
    assert "refuses: \\x1b]0;owned\\x07\\x1b[31m (status 500)" in done.stderr
    assert "\x1b" not in done.output


@pytest.mark.parametrize("words", [[], ["--csv", "-"], ["--json", "-"]], ids=["table", "csv", "json"])
def test_a_results_file(tmp_path, words):
    """Of somebody else: its model, its error and its limit."""
    path = save(replace(results(seconds=3), error=EVIL, model=ServedModel(EVIL, "none", EVIL)), tmp_path)
    done = CliRunner().invoke(app, ["report", str(path), *words])
    assert done.exit_code == 0
    assert "owned" in done.stdout
    assert not set("\x1b\x07") & set(done.stdout)


def test_a_table_with_colours_of_its_own(tmp_path, monkeypatch):
    """On a terminal rich writes escape sequences, and only those."""
    monkeypatch.setenv("FORCE_COLOR", "1")
    path = save(replace(results(seconds=3), error=EVIL), tmp_path)
    done = CliRunner().invoke(app, ["report", str(path)])
    assert SHOWN in done.stdout
    assert "\x1b[1m" in done.stdout


@pytest.mark.parametrize("begin", ["=", "+", "-", "@", " =", "\t", "\r", "\n", "＝"])
def test_a_formula_in_a_spreadsheet(tmp_path, begin):
    """Text that would be run has an apostrophe before it; numbers stay numbers."""
    cell = begin + "cmd|' /C calc'!A0"
    path = save(replace(results(seconds=3), error=cell, started_at=cell), tmp_path)
    done = CliRunner().invoke(app, ["report", str(path), "--csv", "-"])
    (row,) = csv.DictReader(io.StringIO(done.stdout))
    assert {row["error"], row["started_at"]} == {"'" + cell.replace("\r", "\\r").replace("\n", "\\n")}
    assert float(row["throughput_rps"]) > 0


@pytest.mark.parametrize(("delimiter", "mark"), [(";", ";"), ("\t", "\t"), (";", "\n"), (",", "\r\n")])
def test_a_formula_in_a_spreadsheet_with_other_marks(tmp_path, delimiter, mark):
    """Where commas are part of numbers a semicolon or a tab ends a cell, also within quotes."""
    path = save(replace(results(seconds=3), error=f"refused{mark} =cmd|' /C calc'!A0"), tmp_path)
    done = CliRunner().invoke(app, ["report", str(path), "--csv", "-"])
    rows = list(csv.reader(io.StringIO(done.stdout), delimiter=delimiter))
    assert len(rows) == 2
    assert any("=cmd" in cell for row in rows for cell in row)
    assert not [cell for row in rows for cell in row if cell.lstrip().startswith("=")]


def test_a_line_of_a_file_is_one_line(tmp_path):
    """What a results file says does not look like a line of loadgen."""
    path = save(replace(results(seconds=3), error="failed\nSaved results to /elsewhere"), tmp_path)
    done = CliRunner().invoke(app, ["report", str(path)])
    assert "failed\\nSaved results to /elsewhere" in done.stdout
    assert "\nSaved" not in done.stdout
