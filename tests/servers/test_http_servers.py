"""Servers as people have them: FastAPI, models that declare nothing, and addresses that name the wrong protocol."""

from pathlib import Path

import inference_servers
import pytest
from inference_servers import fastapi, kserve, mlserver, triton
from program import asked, ran, target

from loadgen.cli import exit_codes
from loadgen.results import files as results_files

LOAD = ("--requests", "30", "--connections", "3", "--max-in-flight", "6", "--no-ceiling")


@pytest.fixture(scope="module")
def app(tmp_path_factory):
    with fastapi(tmp_path_factory.mktemp("app")) as running:
        yield running


@pytest.fixture(scope="module")
def bare(tmp_path_factory):
    with mlserver(tmp_path_factory.mktemp("mlserver")) as running:
        yield running


def completed(done):
    assert done.returncode == 0, done.stdout + done.stderr
    path = Path(done.stdout.splitlines()[-1].removeprefix("Saved results to "))
    return results_files.read(path).summary.completed


@pytest.mark.parametrize(
    ("path", "options"),
    [
        ("/search", ()),
        ("/search", ("--method", "HEAD")),
        ("/search?q=$input", ("--answer", "found")),
        ("/search", ("--header", "Accept-Encoding: gzip", "--answer", "found")),
        ("/item", ("--method", "DELETE")),
        ("/predict/", ("--body", '{"x": "$input"}', "--answer", "y")),
        ("/raw", ("--body", "@x.bin", "--content-type", "application/x-tensor")),
        ("/raw", ("--body", "1,2", "--content-type", "text/csv")),
        ("/raw", ("--input", "x.csv")),
        ("/raw", ("--input", "x.bin")),
        ("/upload", ("--form", "size=3", "--form", "file=@x.bin")),
        ("/upload", ("--form", "size=3", "--form", "file=@$input", "--input", "x.bin")),
    ],
)
def test_what_fastapi_takes(app, tmp_path, monkeypatch, path, options):
    """Each answer of 2xx counts."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "x.bin").write_bytes(b"\0\xff\n")
    (tmp_path / "x.csv").write_text("a,b\n1.50,x\n")
    assert completed(ran(target(tmp_path, "saturate", f"http://{app.http}{path}", *options, *LOAD))) == 30


@pytest.mark.parametrize("form", ["option", "url"])
def test_fastapi_at_a_socket(app, tmp_path, form):
    """As it runs behind a proxy."""
    socket = app.log.parent / "app.sock"
    url = "http://localhost/search" if form == "option" else f"http+unix://{str(socket).replace('/', '%2F')}/search"
    option = ("--unix-socket", str(socket)) if form == "option" else ()
    assert completed(ran(target(tmp_path, "saturate", url, *option, *LOAD))) == 30


def test_fastapi_that_loads_and_redirects(app, tmp_path):
    """It is waited for; what it redirects is said with the place."""
    ready = ("--wait-ready", "60s")
    assert completed(ran(target(tmp_path, "saturate", f"http://{app.http}/loading", *ready, *LOAD))) == 30
    done = ran(target(tmp_path, "saturate", f"http://{app.http}/predict", "--body", '{"x": []}', *LOAD))
    assert f"307: it redirects to http://{app.http}/predict/; use that" in done.stdout


@pytest.mark.parametrize("protocol", ["grpc", "http"])
def test_kserve_without_inputs(tmp_path, monkeypatch, protocol):
    """Its default, where the model names no inputs."""
    source = (Path(__file__).parent / "kserve" / "double.py").read_text()
    (tmp_path / "kserve").mkdir()
    (tmp_path / "kserve" / "double.py").write_text(source.replace("def get_", "def own_"))
    monkeypatch.setattr(inference_servers, "KSERVE_MODEL", tmp_path / "kserve" / "double.py")
    with kserve(tmp_path) as running:
        url = f"oip+{protocol}://{running.grpc if protocol == 'grpc' else running.http}/double"
        refused = asked(target(tmp_path, "saturate", url))
        assert "the server does not say what double takes; name it for each input, as --input-shape" in refused.stderr
        shape = ("--input-shape", "INPUT:FP32:8", "-b", "2")
        assert completed(ran(target(tmp_path, "saturate", url, *shape, *LOAD))) == 30


def test_mlserver_without_inputs_and_with_a_slash(bare, tmp_path):
    """Over gRPC; over HTTP it routes the slash elsewhere, which is said."""
    shape = ("--input-shape", "INPUT:FP32:8", "--trust-answers")
    words = target(tmp_path, "saturate", f"oip+grpc://{bare.grpc}/org%2Fbare", *shape, *LOAD)
    assert completed(ran(words)) == 30
    done = asked(target(tmp_path, "saturate", f"oip+http://{bare.http}/org%2Fbare", *shape))
    assert "no model 'org/bare'" in done.stderr
    assert "many servers take no slash in a name over HTTP; use oip+grpc://" in done.stderr


@pytest.mark.parametrize(("protocol", "other"), [("grpc", "http"), ("http", "grpc")])
def test_the_wrong_port(bare, tmp_path, protocol, other):
    """Of MLServer; the line has the address that would do."""
    at = bare.http if protocol == "grpc" else bare.grpc
    done = asked(target(tmp_path, "saturate", f"oip+{protocol}://{at}/noop"))
    assert f"use oip+{other}://{at}/noop" in done.stderr
    assert done.returncode == exit_codes.TARGET


@pytest.mark.parametrize("protocol", ["grpc", "http"])
def test_parameters_reach_triton(tmp_path, protocol):
    """It takes some, and says what is wrong with others."""
    with triton(tmp_path, models=("slow",)) as running:
        url = f"oip+{protocol}://{running.grpc if protocol == 'grpc' else running.http}/slow"
        given = ("--parameter", "priority=1", "--parameter", "x=text", "--input-shape", "INPUT:FP32:8")
        assert completed(ran(target(tmp_path, "saturate", url, *given, *LOAD))) == 30
        done = ran(target(tmp_path, "saturate", url, "--parameter", "priority=text", *LOAD))
        assert "priority" in done.stdout
        assert done.returncode != 0
