"""`loadgen metrics` of a frontend that wants credentials."""

import http.server
import threading

import pytest
from typer.testing import CliRunner

from loadgen.cli.verbs import app
from model_containers import credentials


class Frontend(http.server.BaseHTTPRequestHandler):
    """Answers with the header that it was asked with."""

    def do_GET(self):
        self.send_response(200)
        self.end_headers()
        self.wfile.write(b'{"authorization": "%s"}' % (self.headers["Authorization"] or "").encode())

    def log_message(self, *_):
        """Nothing."""


@pytest.fixture
def words():
    """The verb, on a port of that frontend."""
    with http.server.HTTPServer(("127.0.0.1", 0), Frontend) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield ["metrics", "--host", "127.0.0.1", "--metrics-port", str(server.server_port)]
        server.shutdown()
        thread.join()


def test_the_token_of_a_file(words, tmp_path):
    """Goes along; without a file no token is sent."""
    made, path = credentials.make(), tmp_path / "credentials.json"
    made.for_clients().write(path)
    assert f"Bearer {made.token}" in CliRunner().invoke(app, [*words, "--credentials", str(path)]).stdout
    assert '"authorization": ""' in CliRunner().invoke(app, words).stdout


def test_a_file_that_others_can_read(words, tmp_path):
    """Is refused before anybody is asked."""
    path = tmp_path / "credentials.json"
    credentials.make().write(path)
    path.chmod(0o644)
    done = CliRunner().invoke(app, [*words, "--credentials", str(path)])
    assert done.exit_code == 2
    assert done.stderr == f"loadgen: --credentials {path}: can be read by others; chmod 600 it\n"
