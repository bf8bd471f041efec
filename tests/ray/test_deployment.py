"""Replicas and frontends on the nodes of a real Ray cluster: three nodes on this machine.

Without the extras these are skipped: make install EXTRAS=ray,oip. Cluster and runs take one to three minutes.
"""

import os
import re
import signal

import pytest
from ray_runs import Runs, gone


@pytest.fixture
def runs(nodes, tmp_path):
    return Runs(nodes, tmp_path, "-m", "noop", "--runtime", "ray")


def test_replicas_on_other_nodes_count_as_the_client_does(nodes, runs, tmp_path):
    """Client, frontends and replicas reconcile; each replica has a node, its logs come here."""
    run = runs.ran("saturate", "--replicas", "3", "--frontends", "2", "--requests", "3000", "--verify", "1")
    assert run.returncode == 0, run.stderr
    found = runs.results()
    counters = found["frontend_counters"]
    assert found["summary"]["completed"] == counters["replies"] == found["answers"]["compared"] == 3000
    assert sum(row["queries"] for row in counters["replicas"].values()) == 3000
    rows = {row["role"]: row for row in found["placement"]}
    assert len({rows[f"replica-{number}"]["node"] for number in range(3)}) == 3
    assert [rows[f"frontends-{number}"]["node"] for number in range(2)] == [
        rows[f"replica-{number}"]["node"] for number in range(2)
    ]
    (logs,) = tmp_path.glob("*.logs")
    assert {f"replica-{number}.log" for number in range(3)} <= {path.name for path in logs.iterdir()}
    assert found["node_configs"][0]["runtime"] == "ray"
    assert not nodes.parts()


OWN_MODEL = """
from model_containers.model import TensorSpec

class Half:
    name = "half"
    input = output = TensorSpec((4,), "float32")

    def predict(self, batch):
        return batch / 2
"""


@pytest.mark.parametrize("environment", ["", '{"working_dir": "."}'], ids=["same path", "working_dir"])
def test_a_model_is_named_by_a_file_of_the_working_directory(nodes, tmp_path, monkeypatch, environment):
    """Which each node has at the same path, or gets."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "half.py").write_text(OWN_MODEL)
    runs = Runs(nodes, tmp_path / "results", "-m", "half.py:Half", "--runtime", "ray")
    run = runs.ran("saturate", "--replicas", "2", "--requests", "200", RAY_RUNTIME_ENV=environment)
    assert run.returncode == 0, run.stderr
    assert runs.results()["summary"]["completed"] == 200


def test_a_dry_run_names_the_nodes(nodes, runs):
    """And starts nothing on them."""
    run = runs.ran("saturate", "--replicas", "3", "--workers", "ray", "--clients", "4", "--dry-run")
    assert run.returncode == 0, run.stderr
    assert re.search(r"^clients     2 on .*, 1 on .*, 1 on ", run.stdout, re.MULTILINE)
    assert "#2" in run.stdout
    assert "#3" in run.stdout


def test_load_and_replicas_share_the_cluster(nodes, runs):
    """Workers get the cores that replicas leave."""
    run = runs.ran("saturate", "--replicas", "2", "--workers", "ray", "--clients", "2", "--requests", "2000")
    assert run.returncode == 0, run.stderr
    found = runs.results()
    assert found["frontend_counters"]["replies"] == found["summary"]["completed"] == 2000
    assert sum(row["completed"] for row in found["workers"]["workers"]) == 2000


def test_an_interrupt_ends_all(nodes, runs):
    """What was measured is kept, and nothing is left."""
    with runs.running("saturate", "-d", "60s", "--replicas", "2") as run:
        pids = nodes.parts()
        run.process.send_signal(signal.SIGINT)
        assert run.exit_code() == 130
    assert len(pids) == 3
    assert gone(pids)
    assert runs.results()["ended"] == "interrupted"


def test_a_coordinator_that_is_killed_leaves_nothing(nodes, runs):
    """The cluster ends its actors, and their processes end with them."""
    with runs.running("saturate", "-d", "60s", "--replicas", "2") as run:
        pids = nodes.parts()
        run.process.kill()
    assert len(pids) == 3
    assert gone(pids)


def test_the_actor_of_a_replica_that_dies_is_named(nodes, runs):
    """The replica ends with it, the other one goes on."""
    with runs.running("saturate", "-d", "60s", "--replicas", "2") as run:
        pids = nodes.parts()
        (replica, *_) = [part for part in pids.values() if "model_containers" in part.words]
        os.kill(replica.actor, signal.SIGKILL)
        run.until("1 replica goes on")
        run.process.send_signal(signal.SIGINT)
        assert run.exit_code() == 130
    assert gone(pids)
    lost = "is lost: the actor that supervises it, or its node, cannot be reached; 1 replica goes on"
    assert any(lost in note for note in runs.results()["notes"])


def test_a_node_that_dies_is_named(nodes, runs):
    """The last of the tests: a node is gone."""
    with runs.running("saturate", "-d", "60s", "--replicas", "3") as run:
        pids = nodes.parts()
        nodes.kill_raylet()
        run.until("cannot be reached")
        run.process.send_signal(signal.SIGINT)
        run.exit_code()
    assert gone(pids)
    assert " is lost: " in run.log
