"""A node of a real Ray cluster without loadgen: it is named, or gets loadgen by Ray's runtime environment.

Without the extras these are skipped: make install EXTRAS=ray,oip. The cluster takes half a minute.
"""

import json
from pathlib import Path

import pytest
from cluster_of_tests import counting_server
from ray_nodes import own_address
from ray_runs import Runs

ROOT = Path(__file__).parents[2]
PACKAGES = ("loadgen", "frontend_launch", "model_containers")
HIDDEN = f"""
import sys
from importlib.machinery import PathFinder

class Hidden:
    @staticmethod
    def find_spec(name, path=None, target=None):
        if name not in {PACKAGES}:
            return None
        found = PathFinder.find_spec(name, [entry for entry in sys.path if "runtime_resources" in entry])
        if found is None:
            raise ModuleNotFoundError(f"No module named {{name!r}}", name=name)
        return found

sys.meta_path.insert(0, Hidden)
"""
"""Hides packages from each Python, but those that a runtime environment of Ray brings."""

ENVIRONMENT = json.dumps({"py_modules": [str(ROOT / name) for name in PACKAGES]})


@pytest.fixture(scope="module", autouse=True)
def bare(nodes, tmp_path_factory):
    """The fourth node is without loadgen."""
    directory = tmp_path_factory.mktemp("bare")
    (directory / "sitecustomize.py").write_text(HIDDEN)
    nodes.add({"PYTHONPATH": str(directory)})


@pytest.fixture
def workers(nodes, tmp_path):
    with counting_server(own_address()) as server:
        yield Runs(nodes, tmp_path, "--workers", "ray", "--clients", "4", "--target", server.url)


@pytest.fixture
def deployment(nodes, tmp_path):
    return Runs(nodes, tmp_path, "--runtime", "ray", "-m", "noop", "--replicas", "4")


@pytest.mark.parametrize("kind", ["workers", "deployment"])
def test_a_node_without_loadgen_is_named(request, kind):
    """With the remedy, in one line."""
    run = request.getfixturevalue(kind).ran("saturate", "--requests", "1000")
    assert run.returncode == 4, run.stdout
    (line,) = run.stderr.splitlines()
    assert "No module named" in line
    assert line.endswith("install this version there, or name a runtime environment with it in RAY_RUNTIME_ENV")


@pytest.mark.parametrize("kind", ["workers", "deployment"])
def test_a_runtime_environment_brings_loadgen(request, kind):
    """To processes that send and serve too."""
    runs = request.getfixturevalue(kind)
    run = runs.ran("saturate", "--requests", "1000", RAY_RUNTIME_ENV=ENVIRONMENT)
    assert run.returncode == 0, run.stderr
    rows = runs.results()["placement"]
    assert {"worker-3", "replica-3"} & {row["role"] for row in rows}


@pytest.mark.parametrize(
    ("environment", "problem", "code"),
    [
        ("[]", "not an object in JSON", 2),
        ('{"pipp": []}', "Ray has no field 'pipp'; did you mean 'pip'?", 2),
        ('{"config": {"setup_timeout": 1}}', "config has no field 'setup_timeout'; did you mean", 2),
        ('{"pip": 5}', "runtime_env['pip'] must be of type", 2),
        ('{"py_modules": ["/nowhere"]}', "/nowhere", 2),
        ('{"pip": ["loadgen-no-such-package==1"]}', ": node ", 4),
    ],
)
def test_a_runtime_environment_that_cannot_be_is_one_line(deployment, environment, problem, code):
    """With the variable, its value and the problem; one that makes no sense as other options do."""
    run = deployment.ran("saturate", "--requests", "1000", RAY_RUNTIME_ENV=environment)
    assert run.returncode == code, run.stdout
    (line,) = run.stderr.splitlines()
    assert line.startswith(f"loadgen: RAY_RUNTIME_ENV {environment}: ")
    assert problem in line


def test_the_environment_of_a_job_is_waited_for_too(deployment):
    """Ray tells a job of it in a variable of its own."""
    job = json.dumps({"runtime_env": {"pip": ["loadgen-no-such-package==1"]}})
    run = deployment.ran("saturate", "--requests", "1000", RAY_JOB_CONFIG_JSON_ENV_VAR=job)
    assert run.returncode == 4, run.stdout
    (line,) = run.stderr.splitlines()
    assert line.startswith("loadgen: runtime environment of the job: node ")
    assert line.endswith("; correct it")
