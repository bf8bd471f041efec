"""What is installed: its licences, and advisories about it."""

import json
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer

import audit
import licences
import pytest


def test_the_licences_of_what_is_installed():
    """Each is allowed, and listed in docs/licences.md."""
    installed = {name: licences.licence(package) for name, package in licences.needed().items()}
    assert "numpy" in installed
    assert list(licences.faults(installed, licences.listed(licences.DOCUMENT.read_text()))) == []


@pytest.mark.parametrize(
    ("name", "licence", "fault"),
    [
        ("other", "MIT OR Apache-2.0", None),
        ("other", "GPL-3.0-only", "other: GPL-3.0-only is not allowed; leave the package out"),
        ("other", "MIT AND LGPL-2.1-or-later", "other: LGPL-2.1-or-later is not allowed; leave the package out"),
        ("other", "MPL-2.0", "other: MPL-2.0 is not allowed; leave the package out"),
        ("certifi", "MPL-2.0", None),
        ("other", None, "other: its metadata names no licence; read its source and add it to UNSAID"),
    ],
)
def test_a_licence(name, licence, fault):
    """The GPL's never; the MPL for the packages that are named."""
    listed = {} if licence is None else {name: licence}
    assert list(licences.faults({name: licence}, listed)) == ([] if fault is None else [fault])


def test_a_licence_that_is_not_listed():
    """A new dependency, or one that changed its licence."""
    (fault,) = licences.faults({"new": "MIT"}, {"new": "ISC"})
    assert fault == "new: MIT is not in docs/licences.md; run make docs"


class Advisories(BaseHTTPRequestHandler):
    """Knows something of each version 1."""

    def do_POST(self):
        queries = json.loads(self.rfile.read(int(self.headers["Content-Length"])))["queries"]
        results = [{"vulns": [{"id": "X-1"}]} if query["version"] == "1" else {} for query in queries]
        self.send_response(200)
        self.end_headers()
        self.wfile.write(json.dumps({"results": results}).encode())

    def log_message(self, *_):
        """Nothing."""


def test_the_audit():
    """Asks of what is pinned, and names what is known."""
    pins = audit.pinned("# made\nb==1\na-c==2.0 ; python_version > '3'\n")
    assert pins == [("b", "1"), ("a-c", "2.0")]
    with HTTPServer(("127.0.0.1", 0), Advisories) as server:
        thread = threading.Thread(target=server.handle_request)
        thread.start()
        assert audit.known(pins, f"http://127.0.0.1:{server.server_port}") == ["b 1: X-1"]
        thread.join()


def test_no_audit(monkeypatch, capsys):
    """Where no database can be reached, that is said, and the exit code is not that of a passed audit."""
    monkeypatch.setenv("LOADGEN_ADVISORIES", "http://127.0.0.1:1")
    with pytest.raises(SystemExit) as ended:
        audit.main()
    assert ended.value.code == audit.NOT_AUDITED
    assert capsys.readouterr().err.startswith("not audited: http://127.0.0.1:1 cannot be asked: ")
