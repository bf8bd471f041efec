"""The lines of the tutorial on running servers, against FastAPI and Triton."""

from inference_servers import application, triton
from program import ran
from tutorials import TUTORIALS, commands, words, write_files

from loadgen.cli import exit_codes

(PAGE,) = (page for page in TUTORIALS if page.stem == "running-server")
FASTAPI, TRITON = "127.0.0.1:8000/predict", "127.0.0.1:8001/MODEL"


def run(place, to, allowed):
    """Run the lines that name a place, with another in its place."""
    lines = [line for line in commands(PAGE) if place in line]
    assert lines
    for line in lines:
        done = ran(words(line.replace(place, to), deploys=False))
        assert done.returncode in allowed, f"{line}\n{done.stdout}{done.stderr}"


def test_a_service_of_fastapi(tmp_path, monkeypatch):
    """The one that the tutorial writes."""
    monkeypatch.chdir(tmp_path)
    write_files(PAGE, tmp_path)
    with application(tmp_path) as running:
        run(FASTAPI, f"{running.http}/predict", {exit_codes.OK})


def test_a_model_on_triton(tmp_path, monkeypatch):
    """A condition on an invalid run is undecided: other tests load the machine."""
    monkeypatch.chdir(tmp_path)
    with triton(tmp_path, models=("slow",)) as running:
        run(TRITON, f"{running.grpc}/slow", {exit_codes.OK, exit_codes.UNDECIDED})


def test_each_line_names_a_server():
    """No line of the tutorial goes untested."""
    assert all(FASTAPI in line or TRITON in line for line in commands(PAGE))
